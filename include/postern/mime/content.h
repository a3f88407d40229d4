/* content: the Content-* fields of a part (RFC 2045, 2183, 3282, 2557, 1864) and the envelope fields of a message. Pure. */
#ifndef POSTERN_MIME_CONTENT_H
#define POSTERN_MIME_CONTENT_H

#include "postern/mime/address.h"

/* RFC 2231 sections are joined to one value; character set and percent signs stay as they are, as IMAP clients expect. */
struct parameter {
    struct parameter *next;
    struct slice name;
    struct slice value;
};

struct language {
    struct language *next;
    struct slice tag;
};

/* data NULL: the field is not there. */
struct content {
    struct slice type;
    struct slice subtype;
    struct parameter *parameters;
    struct slice id;
    struct slice description;
    struct slice encoding;
    struct slice md5;
    struct slice disposition;
    struct parameter *disposition_parameters;
    struct language *languages;
    struct slice location;
    bool is_mime;      /* MIME-Version or Content-Type was there */
};

/* Fills *out from a header block; text lives in the arena. */
void content_parse(struct arena *arena, struct slice header, struct content *out);
/* Value of a parameter of Content-Type, compared without case; SLICE_NONE. */
struct slice content_parameter(const struct content *content, const char *name);
bool content_is_type(const struct content *content, const char *type, const char *subtype);

struct envelope {
    struct slice date;
    struct slice subject;
    struct address *from;
    struct address *sender;
    struct address *reply_to;
    struct address *to;
    struct address *cc;
    struct address *bcc;
    struct slice in_reply_to;
    struct slice message_id;
};

void envelope_parse(struct arena *arena, struct slice header, struct envelope *out);

#endif
