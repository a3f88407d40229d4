/* fetch: works FETCH off: batches of messages from the view, one response after the other, as far as there is room. Called by the
 * command table: on the loop if all is in memory, else in a step. Nothing of a response is written before it is known that all of
 * it can be. */
#include "fetch.h"

#include "fetch_internal.h"
#include "fetch_text.h"
#include "postern/session/session.h"

enum { IN_MEMORY_MAX = 4096 };

void fetch_begin(struct fetch *fetch, struct view *view, const struct uidset *uids, bool read_only)
{
    fetch->view = view;
    fetch->mailbox = view_mailbox(view);
    fetch->uids = uids;
    fetch->read_only = read_only;
    fetch->batch = ARENA_NEW_ARRAY(fetch->arena, struct message, BATCH_MAX);
    fetch->next_uid = uids->count > 0 ? uids->ranges[0].first : 0;
}

bool fetch_is_writing(const struct fetch *fetch)
{
    return fetch->writing;
}

bool fetch_had_expunged(const struct fetch *fetch)
{
    return fetch->had_expunged;
}

void fetch_end(struct fetch *fetch)
{
    if (fetch == NULL)
        return;
    fetch_message_close(fetch);
    buf_fini(&fetch->header);
    buf_fini(&fetch->digest);
    for (size_t i = 0; i < ITEM_TEXTS; i++)
        buf_fini(&fetch->texts[i]);
    uidset_fini(&fetch->newly_seen);
    fetch->batch_count = fetch->batch_at = 0;
}

/* --- batches --------------------------------------------------------------------------------------------------------- */

static bool lacks_memory(const struct fetch *fetch, const struct message *message)
{
    return (fetch->wants_size && message->size == 0) || (fetch->wants_date && message->internal_date == 0);
}

/* The next messages of the set, without a gap between their sequence numbers. False: there are none. */
static bool next_batch(struct fetch *fetch, size_t most)
{
    fetch->batch_count = fetch->batch_at = 0;
    for (; fetch->range < fetch->uids->count; fetch->range++) {
        const struct uid_range *range = &fetch->uids->ranges[fetch->range];
        uint32_t from = fetch->next_uid > range->first ? fetch->next_uid : range->first;
        if (from > range->last)
            continue;
        fetch->batch_sequence = view_sequence_at_or_above(fetch->view, from);
        size_t count = view_read(fetch->view, fetch->batch_sequence, fetch->batch, most);
        while (count > 0 && fetch->batch[count - 1].uid > range->last)
            count--;
        if (count == 0)
            continue;
        uint32_t last = fetch->batch[count - 1].uid;
        fetch->batch_count = count;
        if (last < range->last)
            fetch->next_uid = last + 1;
        else
            fetch->range++;
        return true;
    }
    return false;
}

/* The same messages as they are now. */
static void read_batch_again(struct fetch *fetch)
{
    fetch->batch_count = view_read(fetch->view, fetch->batch_sequence, fetch->batch, fetch->batch_count);
}

static int load_batch(struct fetch *fetch, struct fault *fault)
{
    struct uidset missing = { 0 };
    int result = 0;
    for (size_t i = 0; i < fetch->batch_count; i++)
        if (lacks_memory(fetch, &fetch->batch[i]))
            uidset_add(&missing, fetch->batch[i].uid);
    if (missing.count > 0) {
        result = mailbox_load(fetch->mailbox, &missing, fault);
        if (result == 0)
            read_batch_again(fetch);
    }
    uidset_fini(&missing);
    return result;
}

/* BODY[...] without PEEK (RFC 3501 6.4.5). Their responses carry FLAGS, and the client is told no second time. */
static int set_seen(struct fetch *fetch, struct fault *fault)
{
    const struct flag_update update = { .change = FLAGS_ADD, .flags = MESSAGE_SEEN };
    uidset_clear(&fetch->newly_seen);
    if (!fetch->sets_seen || fetch->read_only)
        return 0;
    for (size_t i = 0; i < fetch->batch_count; i++)
        if (!(fetch->batch[i].flags & MESSAGE_SEEN))
            uidset_add(&fetch->newly_seen, fetch->batch[i].uid);
    if (fetch->newly_seen.count == 0)
        return 0;
    if (mailbox_update_flags(fetch->mailbox, &fetch->newly_seen, &update, fault) != 0)
        return -1;
    view_forget_flag_changes(fetch->view, &fetch->newly_seen);
    read_batch_again(fetch);
    return 0;
}

/* --- one message ----------------------------------------------------------------------------------------------------- */

/* "{n}" and the first bytes' place; true if the item is already whole. */
static void begin_literal(struct fetch *fetch, const struct item *item, struct buf *out)
{
    const struct section *section = item->section;
    uint64_t start = section->partial ? section->start : 0;
    uint64_t left = start < item->extent.sent ? item->extent.sent - start : 0;
    uint64_t len = section->partial && section->length < left ? section->length : left;
    struct stream *stream = &fetch->stream;
    *stream = (struct stream){ .extent = item->extent, .at = item->remembered, .start = start, .end = start + len };
    if (stream->at.sent > start)
        stream->at = (struct position){ .stored = item->extent.from };
    /* All lines end in CRLF already: the place is known. */
    if (item->extent.sent == item->extent.to - item->extent.from && len > 0 && stream->at.sent < start)
        stream->at = (struct position){ .sent = start, .stored = item->extent.from + start, .after_cr = true };
    buf_append_byte(out, '{');
    buf_append_number(out, len);
    buf_append_text(out, "}\r\n");
    fetch->streaming = len > 0;
}

/* Text that is already there, as a literal, in part if so asked. */
static void write_fields(struct fetch *fetch, const struct item *item, struct buf *out)
{
    const struct section *section = item->section;
    struct buf text = { 0 };
    fetch_fields(fetch, item, &text);
    struct slice part = buf_slice(&text);
    if (section->partial)
        part = slice_part(part, (size_t)section->start, (size_t)section->length);
    buf_printf(out, "{%zu}\r\n", part.len);
    buf_append(out, part);
    buf_fini(&text);
}

static void write_section(struct fetch *fetch, const struct item *item, struct buf *out)
{
    const struct section *section = item->section;
    buf_append(out, section->label);
    if (section->partial)
        buf_printf(out, "<%llu>", (unsigned long long)section->start);
    buf_append_byte(out, ' ');
    if (!item->present)
        buf_append_text(out, "NIL");
    else if (section->kind == SECTION_FIELDS || section->kind == SECTION_FIELDS_NOT)
        write_fields(fetch, item, out);
    else
        begin_literal(fetch, item, out);
}

static void write_item(struct fetch *fetch, const struct item *item, const struct message *message, struct buf *out)
{
    static const char *const names[ITEM_TEXTS] = { "ENVELOPE ", "BODY ", "BODYSTRUCTURE " };
    if (item != fetch->items)
        buf_append_byte(out, ' ');
    if (item->kind <= ITEM_DATE) {
        fetch_simple_item(fetch, out, item->kind, message);
    } else if (item->kind == ITEM_SECTION) {
        write_section(fetch, item, out);
    } else {
        buf_append_text(out, names[item->kind - ITEM_ENVELOPE]);
        buf_append(out, buf_slice(&fetch->texts[item->kind - ITEM_ENVELOPE]));
    }
}

static void begin_message(struct fetch *fetch, const struct message *message, struct buf *out)
{
    buf_append_text(out, "* ");
    buf_append_number(out, fetch->batch_sequence + fetch->batch_at);
    buf_append_text(out, " FETCH (");
    if (fetch->with_uid) {
        buf_append_text(out, "UID ");
        buf_append_number(out, message->uid);
        buf_append_byte(out, ' ');
    }
    if (uidset_has(&fetch->newly_seen, message->uid)) {
        bool asked = false;
        for (const struct item *item = fetch->items; item != NULL; item = item->next)
            asked = asked || item->kind == ITEM_FLAGS;
        if (!asked) {
            fetch_simple_item(fetch, out, ITEM_FLAGS, message);
            buf_append_byte(out, ' ');
        }
    }
    fetch->at = fetch->items;
    fetch->writing = true;
}

/* True when the response is whole, false when out is full. */
static bool write_message(struct fetch *fetch, const struct message *message, struct buf *out)
{
    if (!fetch->writing)
        begin_message(fetch, message, out);
    while (fetch->at != NULL) {
        const struct item *item = fetch->at;
        if (!fetch->streaming) {
            if (out->len >= SESSION_OUT_CHUNK)
                return false;
            write_item(fetch, item, message, out);
        }
        if (fetch->streaming) {
            if (!fetch_stream_write(&fetch->stream, fetch->fd, out))
                return false;
            fetch->streaming = false;
            if (item->section->partial && !fetch->stream.padded)
                fetch_memory_put(fetch->fd, item->section->label, &fetch->stream.extent, &fetch->stream.at);
        }
        fetch->at = item->next;
    }
    buf_append_text(out, ")\r\n");
    fetch->writing = false;
    fetch_message_close(fetch);
    return true;
}

/* A size that could not be learned: the file is gone, or truly empty. 1 it is there, 0 it is gone, -1 fault. */
static int check_exists(struct fetch *fetch, const struct message *message, struct fault *fault)
{
    uint64_t size;
    if (mailbox_open_message(fetch->mailbox, message->uid, &fetch->fd, &size, fault) != 0) {
        fetch->fd = -1;
        return fault->class == FAULT_GONE || fault->class == FAULT_NOT_FOUND ? 0 : -1;
    }
    fetch_message_close(fetch);
    return 1;
}

/* 1 written or left out, 0 out is full, -1 fault. */
static int fetch_message(struct fetch *fetch, struct buf *out, struct fault *fault)
{
    const struct message *message = &fetch->batch[fetch->batch_at];
    if (!fetch->writing) {
        int there = lacks_memory(fetch, message) ? check_exists(fetch, message, fault) : 1;
        if (there == 1 && !fetch->simple)
            there = fetch_message_open(fetch, message, fault);
        if (there <= 0) {
            fetch->had_expunged = fetch->had_expunged || there == 0;
            return there == 0 ? 1 : -1;
        }
        if (fetch->simple) {
            fetch_simple_write(fetch, out, fetch->batch_sequence + (uint32_t)fetch->batch_at, message);
            return 1;
        }
    }
    return write_message(fetch, message, out) ? 1 : 0;
}

/* --- the whole ------------------------------------------------------------------------------------------------------- */

bool fetch_is_in_memory(const struct fetch *fetch)
{
    if (!fetch->simple)
        return false;
    if (!fetch->wants_size && !fetch->wants_date)
        return true;
    if (fetch->view == NULL || uidset_size(fetch->uids) > IN_MEMORY_MAX)
        return false;
    for (size_t i = 0; i < fetch->uids->count; i++) {
        uint32_t uid = fetch->uids->ranges[i].first, last = fetch->uids->ranges[i].last;
        for (uint32_t at = view_sequence_at_or_above(fetch->view, uid);; at += BATCH_SEEN) {
            struct message messages[BATCH_SEEN];
            size_t count = view_read(fetch->view, at, messages, BATCH_SEEN);
            for (size_t j = 0; j < count && messages[j].uid <= last; j++)
                if (lacks_memory(fetch, &messages[j]))
                    return false;
            if (count < BATCH_SEEN || messages[count - 1].uid >= last)
                break;
        }
    }
    return true;
}

/* Fails before anything of a message is written; what was written before is sent first. */
static enum progress fail(const struct fault *fault, const struct buf *out, size_t before)
{
    return fault->class == FAULT_BUSY && out->len > before ? PROGRESS_MORE : PROGRESS_FAILED;
}

/* A batch is left as it is after FAULT_BUSY and prepared again: what changes something comes last. */
static int prepare_batch(struct fetch *fetch, struct fault *fault)
{
    fetch_load_keywords(fetch);
    if ((fetch->wants_size || fetch->wants_date) && load_batch(fetch, fault) != 0)
        return -1;
    return set_seen(fetch, fault);
}

static enum progress fetch_batches(struct fetch *fetch, struct buf *out, struct fault *fault)
{
    const size_t before = out->len;
    for (;;) {
        if (fetch->batch_at == fetch->batch_count) {
            if (!next_batch(fetch, fetch->sets_seen ? BATCH_SEEN : BATCH_MAX))
                return PROGRESS_DONE;
            fetch->prepared = false;
        }
        if (!fetch->prepared) {
            if (prepare_batch(fetch, fault) != 0)
                return fail(fault, out, before);
            fetch->prepared = true;
        }
        while (fetch->batch_at < fetch->batch_count) {
            if (out->len >= SESSION_OUT_CHUNK)
                return PROGRESS_MORE;
            int done = fetch_message(fetch, out, fault);
            if (done < 0)
                return fail(fault, out, before);
            if (done == 0)
                return PROGRESS_MORE;
            fetch->batch_at++;
        }
    }
}

enum progress fetch_step(struct fetch *fetch, struct buf *out, struct fault *fault)
{
    enum progress progress = fetch_batches(fetch, out, fault);
    if (!fetch->simple)
        mailbox_cache_rest(fetch->mailbox);
    return progress;
}
