/* POP3 login options: "joe:v=1sdl=10", after the user ID and a colon, without blanks. */
#ifndef POP3_OPTIONS_H
#define POP3_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/base/slice.h"

struct pop3_rights;

enum pop3_removal { POP3_KEEP, POP3_DELETE, POP3_PURGE };

/* What the client asked for; then, after pop3_options_apply, what is in force. A zeroed struct asks for nothing. */
struct pop3_options {
    unsigned view;              /* 1..31; 0: none */
    unsigned limit;             /* messages, the newest; 0: all */
    unsigned days;              /* back from today; 0: all */
    enum pop3_removal removal;  /* what QUIT does with messages that were fully retrieved */
    bool mime;
    bool plain;
    bool small_sizes;           /* report 1 KB for every message */
};

/* Splits a login name at its first colon and reads the options behind it; case is ignored. Returns NULL, or what is wrong as text that may be
 * shown to the client. name_out is a part of `login`. */
const char *pop3_options_parse(struct slice login, struct slice *name_out, struct pop3_options *options_out);
/* Fills what the client did not ask for from its class of service. */
void pop3_options_apply(struct pop3_options *options, const struct pop3_rights *rights);

#endif
