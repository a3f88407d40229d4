/* relay: hands one message to the relay host by SMTP (RFC 5321), or to a Post Office Agent by LMTP (RFC 2033). Used by attempt.c; blocks. */
#ifndef POSTERN_QUEUE_RELAY_H
#define POSTERN_QUEUE_RELAY_H

#include <stdatomic.h>

#include "spool.h"

struct relay_job {
    const char *host;
    uint16_t port;
    const char *helo;
    bool lmtp;                               /* RFC 2033 */
    bool clear_text;                         /* no STARTTLS */
    unsigned connect_ms, greeting_ms, read_ms;
    const struct envelope *envelope;
    int message;                             /* descriptor, read from its beginning */
    struct envelope_recipient **recipients;  /* each gets outcome, status, text; WAITING: not now */
    size_t count;
    const atomic_bool *stopping;             /* ends waiting for the peer early */
    bool unreachable;                        /* out: no conversation came about */
    bool try_again_soon;                     /* out: the host took some and no more at once (RFC 5321 4.5.3.1.10) */
};

/* "HOST", "HOST:PORT", "[v6]", "[v6]:PORT"; false if malformed. host_out is freed by the caller. */
bool relay_parse_host(const char *text, char **host_out, uint16_t *port_out);
void relay_send(struct relay_job *job);

#endif
