/* What the status entry says. Called by status.c. Every value is one line of valid UTF-8, bounded and there only once: a directory would refuse
 * the whole entry for one bad value. */
#include <inttypes.h>
#include <time.h>

#include "config.h"
#include "postern/base/buf.h"
#include "status.h"

enum { ROWS = 7 };

/* Blanks folded, since the directory compares so; no control characters, no broken UTF-8. */
static struct slice clean(struct arena *arena, struct slice text)
{
    struct buf out;
    buf_init(&out, STATUS_VALUE_MAX);
    bool room = true;
    for (text = slice_trim(text); text.len > 0 && room;) {
        size_t len = slice_utf8_length(text);
        unsigned char c = (unsigned char)text.data[0];
        bool blank = c == ' ' || c == '\t';
        if (blank && out.len > 0 && out.data[out.len - 1] == ' ')
            room = true;
        else if (blank || len == 0 || c < ' ' || c == 127)
            room = buf_append_byte(&out, blank ? ' ' : '?');
        else
            room = buf_append(&out, slice_part(text, 0, len));
        text = slice_from(text, len > 0 ? len : 1);
    }
    struct slice copy = arena_copy(arena, slice_trim(buf_slice(&out)));
    buf_fini(&out);
    return copy;
}

struct values {
    struct arena arena;
    struct slice at[STATUS_VALUES_MAX + 1];
    size_t count;
    size_t more;
    struct map seen;
};

static void add_value(struct values *v, struct slice text)
{
    if (v->count == STATUS_VALUES_MAX) {
        v->more++;
        return;
    }
    struct slice value = clean(&v->arena, text);
    if (value.len == 0 || map_get(&v->seen, value) != NULL)
        return;
    map_put(&v->seen, value, v);
    v->at[v->count++] = value;
}

static void set_values(struct directory_entry *entry, size_t row, const char *name, struct values *v)
{
    if (v->more > 0)
        v->at[v->count++] = slice_from_string(arena_printf(&v->arena, "... and %zu more", v->more));
    directory_entry_set(entry, row, slice_from_string(name), v->at, v->count);
    map_fini(&v->seen);
    arena_clear(&v->arena);
}

static void set_text(struct directory_entry *entry, size_t row, const char *name, const char *text)
{
    struct slice value = slice_from_string(text);
    directory_entry_set(entry, row, slice_from_string(name), &value, 1);
}

static const char *print_time(struct arena *arena, int64_t seconds)
{
    struct tm tm;
    time_t t = (time_t)seconds;
    gmtime_r(&t, &tm);
    char text[32];
    return strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", &tm) > 0 ? arena_printf(arena, "%s", text) : "19700101000000Z";
}

static void set_faults(struct directory_entry *entry, size_t row, const struct snapshot *snapshot)
{
    struct values v = { .count = 0 };
    for (size_t i = 0; i < snapshot->fault_count; i++) {
        const struct config_fault *f = &snapshot->faults[i];
        if (v.count == STATUS_VALUES_MAX) {
            v.more = snapshot->fault_count - i;
            break;
        }
        const char *attribute = f->attribute != NULL ? f->attribute : "";
        add_value(&v, slice_from_string(arena_printf(&v.arena, "%s: %s%s%s", f->dn, attribute, *attribute != '\0' ? ": " : "", f->reason)));
    }
    set_values(entry, row, "posternFault", &v);
}

static void set_links(struct directory_entry *entry, size_t row, struct slice links, struct map *since, int64_t now)
{
    struct values v = { .count = 0 };
    struct map still = { 0 };
    struct slice line;
    while (slice_split(&links, '\n', &line)) {
        if (line.len == 0 || v.count == STATUS_VALUES_MAX) {
            v.more += line.len > 0;
            continue;
        }
        void *first = map_get(since, line);
        int64_t seconds = first != NULL ? (int64_t)(intptr_t)first : now;
        map_put(&still, line, (void *)(intptr_t)seconds);
        add_value(&v, slice_from_string(arena_printf(&v.arena, "%.*s, since %s", SLICE_ARG(line), print_time(&v.arena, seconds))));
    }
    map_fini(since);
    *since = still;
    set_values(entry, row, "posternLinkState", &v);
}

struct directory_entry *status_entry_new(const struct status_identity *identity, const struct snapshot *snapshot, int64_t change_time,
                                         const struct slice *links, struct map *since, int64_t now)
{
    struct directory_entry *entry = directory_entry_new(slice_from_string(identity->dn), NULL);
    directory_entry_reserve(entry, links != NULL ? ROWS : ROWS - 1);
    set_text(entry, 0, "objectClass", "posternAgentStatus");
    set_text(entry, 1, "cn", identity->host);
    set_text(entry, 2, "posternVersion", PACKAGE_VERSION);
    set_text(entry, 3, "posternStartTime", print_time(&entry->arena, identity->start_time));
    set_text(entry, 4, "posternChangeTime", print_time(&entry->arena, change_time));
    set_faults(entry, 5, snapshot);
    if (links != NULL)
        set_links(entry, 6, *links, since, now);
    return entry;
}
