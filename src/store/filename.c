/* The parts of a message's file name. Called by everything in src/store that names a message; never touches the disk. */
#include "filename.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/store/mailbox.h"

static const struct { char letter; uint8_t flag; } letters[] = {
    { 'D', MESSAGE_DRAFT }, { 'F', MESSAGE_FLAGGED }, { 'R', MESSAGE_ANSWERED }, { 'S', MESSAGE_SEEN }, { 'T', MESSAGE_DELETED },
};
enum { LETTERS = sizeof(letters) / sizeof(letters[0]) };

bool filename_is_usable(struct slice name)
{
    return name.len > 0 && name.data[0] != '.' && slice_find(name, '\n') < 0 && slice_find(name, '\r') < 0 &&
           slice_find(name, '/') < 0 && !slice_has_nul(name);
}

struct slice filename_base(struct slice name)
{
    ptrdiff_t colon = slice_find(name, ':');
    return colon < 0 ? name : slice_part(name, 0, (size_t)colon);
}

/* The letters behind ":2,", up to a second comma; *more_out starts at that comma. */
static struct slice info_of(struct slice name, struct slice *more_out)
{
    struct slice info = slice_from(name, filename_base(name).len);
    *more_out = SLICE_NONE;
    if (!slice_starts_with(info, ":2,"))
        return SLICE_NONE;
    info = slice_from(info, 3);
    ptrdiff_t comma = slice_find(info, ',');
    if (comma < 0)
        return info;
    *more_out = slice_from(info, (size_t)comma);
    return slice_part(info, 0, (size_t)comma);
}

void filename_parse(struct slice name, uint8_t *flags_out, uint32_t *keywords_out)
{
    struct slice more, info = info_of(name, &more);
    *flags_out = 0;
    *keywords_out = 0;
    for (size_t i = 0; i < info.len; i++) {
        if (info.data[i] >= 'a' && info.data[i] <= 'z')
            *keywords_out |= 1u << (info.data[i] - 'a');
        for (size_t k = 0; k < LETTERS; k++)
            if (letters[k].letter == info.data[i])
                *flags_out |= letters[k].flag;
    }
}

void filename_make(struct slice old, uint8_t flags, uint32_t keywords, struct buf *out)
{
    bool has[256] = { false };
    struct slice more, info = info_of(old, &more);
    for (size_t i = 0; i < info.len; i++)
        has[(unsigned char)info.data[i]] = info.data[i] < 'a' || info.data[i] > 'z';
    for (size_t k = 0; k < LETTERS; k++)
        has[(unsigned char)letters[k].letter] = flags & letters[k].flag;
    for (unsigned i = 0; i < KEYWORDS_MAX; i++)
        has['a' + i] = keywords >> i & 1;
    buf_append(out, filename_base(old));
    buf_append(out, SLICE_LITERAL(":2,"));
    for (unsigned c = 1; c < 256; c++)
        if (has[c])
            buf_append_byte(out, (char)c);
    buf_append(out, more);
}

uint64_t filename_size(struct slice name)
{
    struct slice rest = filename_base(name), part;
    uint64_t size = 0;
    slice_split(&rest, ',', &part);
    while (slice_split(&rest, ',', &part))
        if (slice_starts_with(part, "W=") && slice_to_number(slice_from(part, 2), INT64_MAX, &size))
            return size;
    return 0;
}

static void order_of(struct slice name, uint64_t *seconds_out, uint64_t *micros_out)
{
    struct slice rest = filename_base(name), part;
    *seconds_out = *micros_out = 0;
    if (!slice_split(&rest, '.', &part) || !slice_to_number(part, UINT64_MAX, seconds_out) || !slice_split(&rest, '.', &part))
        return;
    ptrdiff_t mark = slice_find(part, 'M');
    if (mark < 0)
        return;
    part = slice_from(part, (size_t)mark + 1);
    size_t digits = 0;
    while (digits < part.len && ascii_is_digit(part.data[digits]))
        digits++;
    slice_to_number(slice_part(part, 0, digits), UINT64_MAX, micros_out);
}

int filename_compare(struct slice a, struct slice b)
{
    uint64_t a_seconds, a_micros, b_seconds, b_micros;
    order_of(a, &a_seconds, &a_micros);
    order_of(b, &b_seconds, &b_micros);
    if (a_seconds != b_seconds)
        return a_seconds < b_seconds ? -1 : 1;
    if (a_micros != b_micros)
        return a_micros < b_micros ? -1 : 1;
    return slice_compare(a, b);
}

static char host_name[65];
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

/* A host's name goes into file names: '/', ':' and ',' would change their meaning. */
static void host_read(void)
{
    if (gethostname(host_name, sizeof(host_name) - 1) != 0 || host_name[0] == '\0') {
        host_name[0] = '-';
        host_name[1] = '\0';
    }
    for (char *at = host_name; *at != '\0'; at++)
        if (*at == '/' || *at == ':' || *at == ',' || (unsigned char)*at <= ' ')
            *at = '_';
}

const char *filename_host(void)
{
    pthread_once(&host_once, host_read);
    return host_name;
}

void filename_unique(struct buf *out)
{
    static _Atomic unsigned counter;
    struct timespec now = clock_wall();
    buf_printf(out, "%lld.M%ldP%ldQ%u.%s", (long long)now.tv_sec, now.tv_nsec / 1000, (long)getpid(),
               atomic_fetch_add(&counter, 1) + 1, filename_host());
}

void filename_add_sizes(struct buf *out, uint64_t stored, uint64_t sent)
{
    buf_printf(out, ",S=%llu,W=%llu", (unsigned long long)stored, (unsigned long long)sent);
}
