/* https: one question to a web service, a form that is posted (application/x-www-form-urlencoded), and its answer. No redirection, no proxy, no other protocol;
 * the server's certificate and name are verified. */
#ifndef POSTERN_NET_HTTPS_H
#define POSTERN_NET_HTTPS_H

#include "postern/base/buf.h"
#include "postern/base/fault.h"

enum { HTTPS_ANSWER_MAX = 64 * 1024, HTTPS_MS = 5000 };

struct https_question {
    const char *url;        /* https://, or http:// for a literal address of loopback: see https_url_is_safe */
    const char *ca_file;    /* PEM, and no other authority counts; NULL: those of the system */
    const char *name;       /* the client's own, for Basic authentication (RFC 6749, section 2.3.1); NULL: none */
    const char *secret;
    struct slice form;
};

/* Appends "name=value" to a form. */
void https_form_append(struct buf *form, const char *name, struct slice value);
bool https_url_is_safe(const char *url);
/* [T] Waits for at most HTTPS_MS. 0: an answer has come, with its status and body. -1: FAULT_TIMEOUT; FAULT_UNREACHABLE: also a server that cannot be trusted;
 * FAULT_LIMIT: the answer is longer than HTTPS_ANSWER_MAX. */
int https_ask(const struct https_question *question, long *status_out, struct buf *answer, struct fault *fault);

#endif
