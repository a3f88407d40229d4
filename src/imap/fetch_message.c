/* fetch_message: learns what is needed to write one message's response, before any of it is written: cached texts, the header, the
 * structure, where each section lies. Called by fetch.c in a step. A message that is opened only for what the cache lacks
 * is put there, so that it is not opened for it again. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fetch_internal.h"
#include "fetch_text.h"
#include "postern/mime/header.h"

enum { DIGEST_MAX = 16 * 1024, TEXT_MAX = 64 * 1024, CHUNK = 64 * 1024 };

/* What Thunderbird, mutt, Apple Mail, Outlook, K-9 and web mailers ask of every message. */
static const char *const usual_fields[] = {
    "Date", "Subject", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References",
    "Newsgroups", "Priority", "X-Priority", "Importance", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
    "Content-Description", "Content-Class", "Delivered-To", "Lines", "List-ID", "List-Post", "List-Help", "List-Subscribe",
    "List-Unsubscribe", "Mail-Followup-To", "Mail-Reply-To", "Disposition-Notification-To", "Return-Receipt-To", "X-Label",
    "X-Original-To", "X-Draft-Info", "X-Uniform-Type-Identifier", "X-Universally-Unique-Identifier", "User-Agent", "X-Mailer",
    "X-Spam-Status", "X-Spam-Flag", "Auto-Submitted", "Resent-From", "Resent-To", "Resent-Date",
};

static const enum cache_kind text_caches[ITEM_TEXTS] = { CACHE_ENVELOPE, CACHE_BODY, CACHE_BODYSTRUCTURE };

bool fetch_field_is_usual(struct slice name)
{
    for (size_t i = 0; i < sizeof(usual_fields) / sizeof(usual_fields[0]); i++)
        if (slice_is_nocase(name, usual_fields[i]))
            return true;
    return false;
}

/* --- fields ---------------------------------------------------------------------------------------------------------- */

static bool is_listed(const struct section *section, struct slice name)
{
    for (size_t i = 0; i < section->field_count; i++)
        if (slice_is_equal_nocase(section->fields[i], name))
            return true;
    return false;
}

/* With CRLF at every line's end. */
static void append_lines(struct buf *out, struct slice raw)
{
    while (raw.len > 0) {
        const char *lf = memchr(raw.data, '\n', raw.len);
        size_t len = lf == NULL ? raw.len : (size_t)(lf - raw.data);
        size_t text = len > 0 && raw.data[len - 1] == '\r' ? len - 1 : len;
        buf_append(out, slice_make(raw.data, text));
        buf_append_text(out, "\r\n");
        raw = slice_from(raw, lf == NULL ? len : len + 1);
    }
}

/* section NULL: the usual fields. The blank line is always there (RFC 3501 6.4.5). */
static void select_fields(struct slice header, const struct section *section, struct buf *out)
{
    struct header_field field;
    while (header_next(&header, &field)) {
        bool take = section == NULL ? fetch_field_is_usual(field.name)
                                    : is_listed(section, field.name) == (section->kind == SECTION_FIELDS);
        if (take)
            append_lines(out, field.raw);
    }
    buf_append_text(out, "\r\n");
}

void fetch_fields(struct fetch *fetch, const struct item *item, struct buf *out)
{
    const struct section *section = item->section;
    if (section->usual && fetch->digest.len > 0) {
        select_fields(buf_slice(&fetch->digest), section, out);
    } else if (section->number_count == 0) {
        select_fields(buf_slice(&fetch->header), section, out);
    } else {
        struct buf header = { 0 };
        struct part_size size;
        struct fault fault;
        (void)fetch_header_read(fetch->fd, item->extent.from, item->extent.to, &header, &size, &fault);
        select_fields(buf_slice(&header), section, out);
        buf_fini(&header);
    }
}

/* --- parts ----------------------------------------------------------------------------------------------------------- */

static struct part *nth_child(struct part *part, uint32_t number)
{
    struct part *child = part->children;
    while (child != NULL && --number > 0)
        child = child->next;
    return child;
}

/* The part that the numbers name (RFC 3501 6.4.5): a message/rfc822 part's numbers go on inside its message, and number 1 of
 * what is no multipart is the same again, once for the message itself. */
static struct part *find_part(struct part *root, const struct section *section)
{
    struct part *part = root;
    for (size_t i = 0; i < section->number_count && part != NULL; i++) {
        if (part->message && i > 0)
            part = part->children;
        if (part->multipart)
            part = nth_child(part, section->numbers[i]);
        else if (section->numbers[i] != 1 || (part == root && i > 0))
            return NULL;
    }
    return part;
}

static void set_extent(struct item *item, uint64_t from, const struct part_size *size)
{
    item->present = true;
    item->extent = (struct extent){ from, from + size->stored, size->sent };
    item->remembered = (struct position){ .stored = from };
}

static void locate_numbered(struct item *item, struct part *root)
{
    const struct section *section = item->section;
    struct part *part = find_part(root, section);
    if (part == NULL)
        return;
    uint64_t body = part->offset + part->header.stored;
    if (section->kind == SECTION_ALL) {
        set_extent(item, body, &part->body);
    } else if (section->kind == SECTION_MIME) {
        set_extent(item, part->offset, &part->header);
    } else if (part->message) {
        const struct part *inner = part->children;
        if (section->kind == SECTION_TEXT)
            set_extent(item, inner->offset + inner->header.stored, &inner->body);
        else
            set_extent(item, inner->offset, &inner->header);
    }
}

/* Sections without numbers. */
static void locate_whole(struct fetch *fetch, struct item *item, const struct message *message)
{
    uint64_t header_sent = fetch->header_size.sent;
    struct part_size all = { fetch->stored_size, message->size, 0 };
    struct part_size text = { fetch->stored_size - fetch->header_size.stored, message->size > header_sent ? message->size - header_sent : 0, 0 };
    item->present = true;
    if (item->section->kind == SECTION_ALL)
        set_extent(item, 0, &all);
    else if (item->section->kind == SECTION_HEADER)
        set_extent(item, 0, &fetch->header_size);
    else if (item->section->kind == SECTION_TEXT)
        set_extent(item, fetch->header_size.stored, &text);
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

static int read_structure(struct fetch *fetch, struct fault *fault)
{
    char *chunk = arena_alloc(&fetch->work, CHUNK);
    struct structure *structure = structure_new(&fetch->work);
    ssize_t got = 0;
    for (uint64_t at = 0; at < fetch->stored_size; at += (uint64_t)got) {
        got = pread(fetch->fd, chunk, CHUNK, (off_t)at);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got <= 0)
            break;
        structure_feed(structure, slice_make(chunk, (size_t)got));
    }
    int error = errno;
    fetch->root = structure_finish(structure);
    structure_free(&structure);
    return got < 0 ? fault_set_errno(fault, error, "reading a message") : 0;
}

static int read_header(struct fetch *fetch, struct fault *fault)
{
    if (fetch->header_read)
        return 0;
    fetch->header_read = true;
    return fetch_header_read(fetch->fd, 0, fetch->stored_size, &fetch->header, &fetch->header_size, fault);
}

static void make_text(struct fetch *fetch, uint32_t uid, size_t which)
{
    struct buf *text = &fetch->texts[which];
    if (which == ITEM_ENVELOPE - ITEM_ENVELOPE) {
        struct envelope envelope;
        envelope_parse(&fetch->work, buf_slice(&fetch->header), &envelope);
        fetch_text_envelope(text, &envelope);
    } else {
        fetch_text_structure(text, fetch->root, which == ITEM_BODYSTRUCTURE - ITEM_ENVELOPE);
    }
    if (text->len <= TEXT_MAX)
        mailbox_cache_put(fetch->mailbox, uid, text_caches[which], buf_slice(text));
}

void fetch_digest(struct slice header, struct buf *out)
{
    select_fields(header, NULL, out);
}

void fetch_digest_put(struct mailbox *mailbox, uint32_t uid, struct slice digest)
{
    if (digest.len <= DIGEST_MAX)
        mailbox_cache_put(mailbox, uid, CACHE_HEADER, digest);
}

/* What the cache does not give. */
struct lacks {
    bool texts[ITEM_TEXTS];
    bool digest, header, structure, file;
};

static void look_up(struct fetch *fetch, uint32_t uid, struct lacks *lacks)
{
    for (size_t i = 0; i < ITEM_TEXTS; i++)
        lacks->texts[i] = fetch->wants_text[i] && !mailbox_cache_get(fetch->mailbox, uid, text_caches[i], &fetch->texts[i]);
    lacks->digest = fetch->wants_digest && !mailbox_cache_get(fetch->mailbox, uid, CACHE_HEADER, &fetch->digest);
    lacks->structure = lacks->texts[1] || lacks->texts[2];
    lacks->header = lacks->texts[0] || lacks->digest;
    for (const struct item *item = fetch->items; item != NULL; item = item->next) {
        const struct section *section = item->section;
        if (section == NULL || section->usual)
            continue;
        lacks->file = true;
        lacks->header = lacks->header || (section->number_count == 0 && section->kind != SECTION_ALL);
    }
    lacks->file = lacks->file || lacks->header || lacks->structure;
}

/* Numbered sections need the structure, unless they were asked for before. */
static bool recall_sections(struct fetch *fetch)
{
    bool all = true;
    for (struct item *item = fetch->items; item != NULL; item = item->next) {
        const struct section *section = item->section;
        if (section == NULL || section->usual)
            continue;
        item->present = section->partial && section->fields == NULL &&
                        fetch_memory_get(fetch->fd, section->label, &item->extent, &item->remembered);
        all = all && (item->present || section->number_count == 0);
    }
    return all;
}

static int read_what_lacks(struct fetch *fetch, const struct message *message, struct lacks *lacks, struct fault *fault)
{
    if (!recall_sections(fetch))
        lacks->structure = true;
    if ((lacks->header && read_header(fetch, fault) != 0) || (lacks->structure && read_structure(fetch, fault) != 0))
        return -1;
    for (size_t i = 0; i < ITEM_TEXTS; i++)
        if (lacks->texts[i])
            make_text(fetch, message->uid, i);
    if (lacks->digest) {
        fetch_digest(buf_slice(&fetch->header), &fetch->digest);
        fetch_digest_put(fetch->mailbox, message->uid, buf_slice(&fetch->digest));
    }
    for (struct item *item = fetch->items; item != NULL; item = item->next) {
        if (item->section == NULL || item->section->usual || item->present)
            continue;
        if (item->section->number_count > 0)
            locate_numbered(item, fetch->root);
        else
            locate_whole(fetch, item, message);
    }
    return 0;
}

int fetch_message_open(struct fetch *fetch, const struct message *message, struct fault *fault)
{
    struct lacks lacks = { 0 };
    struct fault gone;
    for (struct item *item = fetch->items; item != NULL; item = item->next)
        item->present = item->section != NULL && item->section->usual;
    look_up(fetch, message->uid, &lacks);
    if (!lacks.file)
        return 1;
    if (mailbox_open_message(fetch->mailbox, message->uid, &fetch->fd, &fetch->stored_size, &gone) != 0) {
        fetch->fd = -1;
        fetch_message_close(fetch);
        *fault = gone;
        return gone.class == FAULT_GONE || gone.class == FAULT_NOT_FOUND ? 0 : -1;
    }
    if (read_what_lacks(fetch, message, &lacks, fault) != 0) {
        fetch_message_close(fetch);
        return -1;
    }
    return 1;
}

void fetch_message_close(struct fetch *fetch)
{
    if (fetch->fd >= 0)
        close(fetch->fd);
    fetch->fd = -1;
    fetch->root = NULL;
    fetch->header_read = false;
    fetch->header_size = (struct part_size){ 0 };
    arena_clear(&fetch->work);
    buf_clear(&fetch->header);
    buf_clear(&fetch->digest);
    for (size_t i = 0; i < ITEM_TEXTS; i++)
        buf_clear(&fetch->texts[i]);
}
