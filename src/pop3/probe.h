/* probe: what a stored message needs beyond CRLF line ends to be sent: an end for its last line, and MIME fields if it has 8-bit text
 * without any. Pure; bytes may come in pieces of any size. */
#ifndef POP3_PROBE_H
#define POP3_PROBE_H

#include "postern/base/slice.h"

struct probe {
    bool has_mime;           /* MIME-Version or Content-Type is there: nothing is added */
    bool in_body;
    bool eight_bit;          /* in the body */
    bool not_utf8;
    bool held_cr;
    unsigned utf8_left;      /* continuation bytes that must follow */
    unsigned char utf8_low;  /* range of the next one */
    unsigned char utf8_high;
    char name[16];           /* start of the current header line */
    size_t name_len;
};

/* Set in one byte, for the cache. */
enum probe_result {
    PROBE_KNOWN = 1,         /* always set */
    PROBE_OPEN_END = 2,      /* the last line has no LF */
    PROBE_UTF8 = 4,          /* MIME fields are missing; 8-bit text is UTF-8 */
    PROBE_UNKNOWN = 8,       /* the same, another charset */
};

/* A zeroed struct is the start. */
void probe_write(struct probe *probe, struct slice stored);
/* True if only the last byte of the message still matters. */
bool probe_is_decided(const struct probe *probe);
/* last: the last byte of the message, or '\n' if it is empty. */
unsigned probe_end(const struct probe *probe, char last);
/* The fields to be added for a result, with CRLF line ends, or NULL. */
const char *probe_fields(unsigned result);

#endif
