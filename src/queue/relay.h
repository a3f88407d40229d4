/* relay: hands one message to the relay host by SMTP (RFC 5321). Used by attempt.c; blocks. */
#ifndef POSTERN_QUEUE_RELAY_H
#define POSTERN_QUEUE_RELAY_H

#include "give.h"

struct agent_settings;

/* "HOST", "HOST:PORT", "[v6]", "[v6]:PORT"; false if malformed. host_out is freed by the caller. */
bool relay_parse_host(const char *text, char **host_out, uint16_t *port_out);
/* A host that cannot be reached is left alone for a while. */
void relay_send(const struct agent_settings *agent, const char *helo, struct give_job *job, const atomic_bool *stopping);

#endif
