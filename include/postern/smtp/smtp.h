/* smtp: the SMTP server side on ports 25, 587 and 465 (RFC 5321, RFC 6409, RFC 8314), used by the service. */
#ifndef POSTERN_SMTP_SMTP_H
#define POSTERN_SMTP_SMTP_H

struct protocol;

extern const struct protocol smtp_protocol;

/* Before the first session: where messages too big for memory are kept while they come in (files without a name). NULL: $TMPDIR or /tmp. */
void smtp_configure(const char *state_dir);

#endif
