/* structure: the push parser of message structure. Called by IMAP FETCH and SEARCH. It sees every stored byte once, in
 * order; it keeps one line's beginning, one header block (capped) and the tree, and nothing that grows with a body. */
#include "postern/mime/structure.h"

#include <string.h>

#include "postern/base/buf.h"
#include "postern/base/memory.h"
#include "postern/mime/header.h"

enum {
    BOUNDARY_MAX = 80,          /* RFC 2046 5.1.1 says 70; longer ones are compared by this much */
    LINE_START_MAX = 96,        /* enough of a line to know a boundary */
    TREE_BYTES_MAX = 8 * 1024 * 1024,   /* of header text kept in the tree; later parts are without */
};

enum state { STATE_HEADER, STATE_BODY, STATE_BOUNDARY_LINE };

struct boundary {
    struct part *part;
    struct slice text;
};

struct structure {
    struct arena *arena;
    struct part *root;
    struct part *part;           /* the one being read */
    size_t part_count;
    enum state state;
    bool line_start;             /* the next byte begins a line */
    struct boundary boundaries[STRUCTURE_DEPTH_MAX + 1];
    size_t boundary_count;
    char start[LINE_START_MAX];  /* beginning of the line, until it is known what it is */
    size_t start_len;
    bool held_cr;                /* a CR that may be the first half of a line end, not yet counted */
    bool last_cr;                /* the last byte was a CR, counted (header, and where no boundary can come) */
    unsigned line_end;           /* body: bytes of the last line end, not yet counted: it belongs to a boundary that follows */
    unsigned header_line_end;    /* header: bytes of its last line end, already counted */
    uint64_t offset;             /* of the next byte to be counted */
    struct buf header;           /* of the part being read */
};

static void size_add(struct part_size *to, const struct part_size *by)
{
    to->stored += by->stored;
    to->sent += by->sent;
    to->lines += by->lines;
}

/* A line end of 1 or 2 bytes. */
static void size_add_line_end(struct part_size *to, unsigned bytes)
{
    if (bytes > 0)
        size_add(to, &(struct part_size){ bytes, 2, 1 });
}

static void begin_part(struct structure *s, struct part *parent, uint64_t offset)
{
    struct part *part = ARENA_NEW(s->arena, struct part);
    part->parent = parent;
    part->offset = offset;
    if (parent != NULL) {
        part->depth = parent->depth + 1;
        if (parent->last_child != NULL)
            parent->last_child->next = part;
        else
            parent->children = part;
        parent->last_child = part;
    }
    s->part = part;
    s->part_count++;
    s->state = STATE_HEADER;
    s->header_line_end = 0;
    buf_clear(&s->header);
}

struct structure *structure_new(struct arena *arena)
{
    struct structure *s = MEM_NEW(struct structure);
    s->arena = arena;
    s->line_start = true;
    buf_init(&s->header, HEADER_BYTES_MAX);
    begin_part(s, NULL, 0);
    s->root = s->part;
    return s;
}

void structure_free(struct structure **structure)
{
    if (*structure != NULL)
        buf_fini(&(*structure)->header);
    mem_free(structure);
}

/* --- headers --------------------------------------------------------------------------------------------------------- */

/* What kind of part its header makes it. */
static void classify(struct part *part)
{
    const struct content *content = &part->content;
    if (content->type.data == NULL)
        part->message = part->parent != NULL && part->parent->digest;    /* RFC 2046 5.1.5 */
    else if (content_is_type(content, "multipart", NULL) && content->subtype.data != NULL)
        part->multipart = true;
    else
        part->message = content_is_type(content, "message", "rfc822");
    part->digest = part->multipart && slice_is_nocase(content->subtype, "digest");
}

static void push_boundary(struct structure *s, struct slice boundary)
{
    if (boundary.data == NULL)
        return;
    s->boundaries[s->boundary_count++] = (struct boundary){ s->part, slice_part(boundary, 0, BOUNDARY_MAX) };
}

static void end_header(struct structure *s, bool blank_line)
{
    struct part *part = s->part;
    bool inside_message = part->parent == NULL || part->parent->message;
    if (s->arena->used < TREE_BYTES_MAX) {
        content_parse(s->arena, buf_slice(&s->header), &part->content);
        if (inside_message) {
            part->envelope = ARENA_NEW(s->arena, struct envelope);
            envelope_parse(s->arena, buf_slice(&s->header), part->envelope);
        }
    }
    if (inside_message && !part->content.is_mime)
        part->content = (struct content){ 0 };      /* RFC 2045 section 4 */
    classify(part);
    if ((part->multipart || part->message) && (part->depth >= STRUCTURE_DEPTH_MAX || s->part_count >= STRUCTURE_PARTS_MAX)) {
        part->multipart = part->message = part->digest = false;
        part->overflow = true;
    }
    s->state = STATE_BODY;
    s->line_end = 0;
    s->last_cr = false;
    buf_clear(&s->header);
    if (part->multipart && blank_line)
        push_boundary(s, content_parameter(&part->content, "boundary"));
    if (part->message)
        begin_part(s, part, s->offset);
}

static void header_bytes(struct structure *s, struct slice bytes)
{
    struct part_size *size = &s->part->header;
    size->stored += bytes.len;
    size->sent += bytes.len;
    s->offset += bytes.len;
    size_t from = s->header.len;
    if (!s->header.overflowed)
        buf_append(&s->header, bytes);
    for (size_t i = from; i < s->header.len; i++)
        if (s->header.data[i] == '\0')
            s->header.data[i] = (char)0x80;
    bool cr = bytes.len > 1 ? bytes.data[bytes.len - 2] == '\r' : s->last_cr;
    bool lf = bytes.data[bytes.len - 1] == '\n';
    s->last_cr = bytes.data[bytes.len - 1] == '\r';
    s->header_line_end = !lf ? 0 : cr ? 2 : 1;
    if (lf) {
        size->sent += !cr;
        size->lines++;
    }
}

/* A boundary ended the header: the line end before it belongs to the boundary (RFC 2046 5.1.1). */
static void cut_header(struct structure *s)
{
    struct part *part = s->part;
    unsigned bytes = s->header_line_end;
    if (bytes == 0 || part->parent == NULL)
        return;
    part->header.stored -= bytes;
    part->header.sent -= 2;
    part->header.lines--;
    size_add_line_end(&part->parent->body, bytes);
}

/* --- bodies ---------------------------------------------------------------------------------------------------------- */

static void body_count(struct structure *s, size_t bytes)
{
    s->part->body.stored += bytes;
    s->part->body.sent += bytes;
    s->offset += bytes;
}

static void flush_line_end(struct structure *s)
{
    size_add_line_end(&s->part->body, s->line_end);
    s->offset += s->line_end;
    s->line_end = 0;
}

/* Bytes of one line; its end is kept back. */
static void body_bytes(struct structure *s, struct slice bytes)
{
    flush_line_end(s);
    if (bytes.data[bytes.len - 1] != '\n') {
        bool cr = bytes.data[bytes.len - 1] == '\r';
        body_count(s, bytes.len - cr + s->held_cr);
        s->held_cr = cr;
        return;
    }
    bool cr_here = bytes.len > 1 && bytes.data[bytes.len - 2] == '\r';
    bool cr_before = bytes.len == 1 && s->held_cr;
    body_count(s, bytes.len - 1 - cr_here + (s->held_cr && !cr_before));
    s->held_cr = false;
    s->line_end = cr_here || cr_before ? 2 : 1;
}

/* The line is as far as it matters in `start`. Innermost boundary that is the line, else the longest that begins it. */
static struct boundary *find_boundary(struct structure *s, bool *closing_out)
{
    struct boundary *best = NULL;
    if (s->start_len < 2 || memcmp(s->start, "--", 2) != 0)
        return NULL;
    struct slice rest = slice_make(s->start + 2, s->start_len - 2), line = rest;
    if (line.len > 0 && line.data[line.len - 1] == '\n') {
        line.len--;
        if (line.len > 0 && line.data[line.len - 1] == '\r')
            line.len--;
    }
    size_t without_dashes = line.len > 2 && memcmp(line.data + line.len - 2, "--", 2) == 0 ? line.len - 2 : line.len;
    for (size_t i = s->boundary_count; i-- > 0;) {
        struct slice text = s->boundaries[i].text;
        if (text.len > line.len || memcmp(text.data, line.data, text.len) != 0 || (best != NULL && best->text.len >= text.len))
            continue;
        best = &s->boundaries[i];
        if (text.len == line.len || text.len == without_dashes)
            break;
    }
    if (best != NULL)
        *closing_out = rest.len >= best->text.len + 2 && memcmp(rest.data + best->text.len, "--", 2) == 0;
    return best;
}

/* Sizes of what is inside go up to the parents. */
static void finish_parts(struct structure *s, const struct part *until)
{
    while (s->part != until) {
        struct part *part = s->part;
        size_add(&part->parent->body, &part->header);
        size_add(&part->parent->body, &part->body);
        s->part = part->parent;
    }
}

static void take_boundary(struct structure *s, struct boundary *boundary, bool closing)
{
    finish_parts(s, boundary->part);
    flush_line_end(s);
    s->boundary_count = (size_t)(boundary - s->boundaries) + !closing;
    s->state = STATE_BOUNDARY_LINE;
}

/* After a boundary line: a part, or the epilogue of the multipart. */
static void end_boundary_line(struct structure *s)
{
    flush_line_end(s);
    s->last_cr = false;
    bool own = s->boundary_count > 0 && s->boundaries[s->boundary_count - 1].part == s->part;
    s->state = STATE_BODY;
    if (own && s->part_count < STRUCTURE_PARTS_MAX)
        begin_part(s, s->part, s->offset);
}

/* --- lines ----------------------------------------------------------------------------------------------------------- */

static bool start_is_enough(const struct structure *s)
{
    const char *start = s->start;
    if (s->start_len == 0)
        return false;
    if (start[s->start_len - 1] == '\n' || s->start_len == LINE_START_MAX)
        return true;
    if (start[0] == '\r')
        return s->start_len >= 2;
    return start[0] != '-' || (s->start_len >= 2 && start[1] != '-');
}

static bool start_is_blank_line(const struct structure *s)
{
    return (s->start_len == 1 && s->start[0] == '\n') || (s->start_len == 2 && s->start[0] == '\r' && s->start[1] == '\n');
}

/* What the line is that begins with `start`. A header that a boundary ends may begin another part at once. */
static void decide_line(struct structure *s, bool *blank_out)
{
    bool closing = false;
    struct boundary *boundary = find_boundary(s, &closing);
    *blank_out = false;
    while (s->state == STATE_HEADER) {
        if (boundary == NULL) {
            *blank_out = start_is_blank_line(s);
            return;
        }
        cut_header(s);
        end_header(s, false);
    }
    if (boundary != NULL)
        take_boundary(s, boundary, closing);
}

/* Bytes of one line, whose beginning is decided. */
static void line_bytes(struct structure *s, struct slice bytes)
{
    if (bytes.len == 0)
        return;
    bool line_end = bytes.data[bytes.len - 1] == '\n';
    s->line_start = line_end;
    if (s->state == STATE_HEADER) {
        header_bytes(s, bytes);
        return;
    }
    body_bytes(s, bytes);
    if (line_end && s->state == STATE_BOUNDARY_LINE)
        end_boundary_line(s);
}

static void begin_line(struct structure *s)
{
    bool blank;
    s->line_start = false;
    decide_line(s, &blank);
    /* `start` holds no more than one line. */
    struct slice bytes = slice_make(s->start, s->start_len);
    s->start_len = 0;
    line_bytes(s, bytes);
    if (blank)
        end_header(s, true);
}

/* To the end of the message, where no boundary can come: only lines are counted. */
static void count_plain(struct structure *s, struct slice chunk)
{
    uint64_t lines = 0, without_cr = 0;
    const char *at = chunk.data, *end = chunk.data + chunk.len;
    for (const char *lf; at < end && (lf = memchr(at, '\n', (size_t)(end - at))) != NULL; at = lf + 1) {
        lines++;
        without_cr += lf > chunk.data ? lf[-1] != '\r' : !s->last_cr;
    }
    size_add(&s->part->body, &(struct part_size){ chunk.len, chunk.len + without_cr, lines });
    s->offset += chunk.len;
    s->last_cr = chunk.data[chunk.len - 1] == '\r';
}

/* Bytes of `chunk` that go on with the line or begin one that needs no look; 0 if its beginning must be gathered first. */
static size_t plain_length(const struct structure *s, struct slice chunk)
{
    if (s->line_start) {
        char first = chunk.data[0];
        if (s->start_len > 0 || first == '-' || (s->state == STATE_HEADER && (first == '\r' || first == '\n')))
            return 0;
    }
    const char *lf = memchr(chunk.data, '\n', chunk.len);
    return lf == NULL ? chunk.len : (size_t)(lf - chunk.data) + 1;
}

void structure_feed(struct structure *s, struct slice chunk)
{
    while (chunk.len > 0) {
        if (s->state == STATE_BODY && s->boundary_count == 0) {
            count_plain(s, chunk);
            return;
        }
        size_t len = plain_length(s, chunk);
        if (len > 0) {
            line_bytes(s, slice_part(chunk, 0, len));
            chunk = slice_from(chunk, len);
            continue;
        }
        while (chunk.len > 0 && !start_is_enough(s)) {
            s->start[s->start_len++] = chunk.data[0];
            chunk = slice_from(chunk, 1);
        }
        if (start_is_enough(s))
            begin_line(s);
    }
}

struct part *structure_finish(struct structure *s)
{
    if (s->start_len > 0)
        begin_line(s);
    while (s->state == STATE_HEADER)
        end_header(s, false);
    flush_line_end(s);
    if (s->held_cr)
        body_count(s, 1);
    finish_parts(s, s->root);
    return s->root;
}
