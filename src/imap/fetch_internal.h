/* fetch_internal: what the FETCH files share: the items asked for, the message being written, the stream of its bytes. */
#ifndef POSTERN_IMAP_FETCH_INTERNAL_H
#define POSTERN_IMAP_FETCH_INTERNAL_H

#include <sys/types.h>

#include "fetch.h"
#include "postern/mime/structure.h"

enum item_kind {
    ITEM_FLAGS, ITEM_UID, ITEM_SIZE, ITEM_DATE,             /* from memory */
    ITEM_ENVELOPE, ITEM_BODY, ITEM_BODYSTRUCTURE,           /* computed, cached */
    ITEM_SECTION,                                           /* bytes of the message */
};
enum { ITEM_TEXTS = 3, ITEMS_MAX = 1000, SECTION_DEPTH_MAX = 100, FIELDS_MAX = 1000 };

enum section_kind { SECTION_ALL, SECTION_HEADER, SECTION_FIELDS, SECTION_FIELDS_NOT, SECTION_TEXT, SECTION_MIME };

struct section {
    enum section_kind kind;
    uint32_t *numbers;
    size_t number_count;
    struct slice *fields;
    size_t field_count;
    bool usual;                /* all fields are in the cached digest of the header */
    bool partial;
    uint64_t start, length;    /* if partial */
    struct slice label;        /* "BODY[1.TEXT]", as in the response */
};

/* Bytes of the file. */
struct extent {
    uint64_t from, to;         /* stored */
    uint64_t sent;             /* octets with every line ended by CRLF */
};

/* Where a conversion to CRLF line ends stands. */
struct position {
    uint64_t sent;             /* of the extent's octets as sent, so many are behind */
    uint64_t stored;           /* offset in the file of the next byte */
    bool after_cr;             /* the byte before was a CR */
    bool owes_lf;              /* the CR of the next LF was already sent */
};

struct stream {
    struct extent extent;
    struct position at;
    uint64_t start;            /* octets before it are not written */
    uint64_t end;              /* the literal ends here */
    bool padded;               /* the file was shorter than it should be */
};

struct item {
    struct item *next;
    enum item_kind kind;
    struct section *section;
    /* Of the message being written: */
    bool present;              /* the part exists */
    struct extent extent;
    struct position remembered;
};

enum { BATCH_MAX = 512, BATCH_SEEN = 32 };

struct fetch {
    struct arena *arena;
    struct item *items;
    bool with_uid;             /* UID is written although it was not asked for */
    bool simple;               /* only items from memory */
    bool wants_size, wants_date, sets_seen, wants_digest;
    bool wants_text[ITEM_TEXTS];

    struct view *view;
    struct mailbox *mailbox;
    const struct uidset *uids;
    bool read_only, had_expunged;
    size_t range;              /* of uids, being worked on */
    uint32_t next_uid;
    struct message *batch;
    size_t batch_count, batch_at;
    uint32_t batch_sequence;   /* of batch[0] */
    bool prepared;             /* the batch is loaded and its flags are set */
    struct uidset newly_seen;  /* of the batch */
    struct slice keywords[KEYWORDS_MAX];
    size_t keyword_bytes;
    uint64_t keywords_version;
    int64_t zone_block;        /* quarter of an hour for which zone_offset holds */
    int zone_offset;

    /* The message being written: */
    bool writing, streaming;
    struct item *at;
    int fd;                    /* -1 */
    uint64_t stored_size;
    struct arena work;
    struct part *root;
    bool header_read;
    struct part_size header_size;
    struct buf header;
    struct buf digest;
    struct buf texts[ITEM_TEXTS];
    struct stream stream;
};

/* --- fetch_message.c --- */
/* Learns all that is needed to write the message: 1 ready, 0 it is gone, -1 fault. Nothing has been written yet. */
int fetch_message_open(struct fetch *fetch, const struct message *message, struct fault *fault);
void fetch_message_close(struct fetch *fetch);
/* The text of a HEADER.FIELDS item. */
void fetch_fields(struct fetch *fetch, const struct item *item, struct buf *out);
/* The digest of a header that CACHE_HEADER holds: the fields that clients usually ask for, lines ended by CRLF, and a blank line. */
void fetch_digest(struct slice header, struct buf *out);
void fetch_digest_put(struct mailbox *mailbox, uint32_t uid, struct slice digest);
bool fetch_field_is_usual(struct slice name);

/* --- fetch_stream.c --- */
/* Appends until the literal is whole (true) or out holds SESSION_OUT_CHUNK. A file that is shorter than it was is made up for with spaces. */
bool fetch_stream_write(struct stream *stream, int fd, struct buf *out);
/* Reads a header from `from` to its blank line or `to`: its size and, in text_out, at most HEADER_BYTES_MAX of it, NUL as 0x80. */
int fetch_header_read(int fd, uint64_t from, uint64_t to, struct buf *text_out, struct part_size *size_out, struct fault *fault);

/* --- fetch_memory.c --- */
/* Extents and positions of earlier partial fetches, of the whole process, so that <0.65536>, <65536.65536> ... read each byte once. */
bool fetch_memory_get(int fd, struct slice label, struct extent *extent_out, struct position *position_out);
void fetch_memory_put(int fd, struct slice label, const struct extent *extent, const struct position *position);

/* --- fetch_simple.c --- */
/* One whole response of a message of which only memory is asked. */
void fetch_simple_write(struct fetch *fetch, struct buf *out, uint32_t sequence, const struct message *message);
/* " FLAGS (...)" and the like: one item, without the blank before it. */
void fetch_simple_item(struct fetch *fetch, struct buf *out, enum item_kind kind, const struct message *message);
void fetch_load_keywords(struct fetch *fetch);

#endif
