/* folder_name: IMAP folder names to Maildir++ directories and back (maildir.md, rule 12; RFC 3501 5.1). Pure; account, list and
 * subscriptions call it. It must never give a directory name that leaves the Maildir or that another name also leads to. */
#include <string.h>

#include "postern/base/arena.h"
#include "tree.h"

static int sextet_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (ascii_is_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == ',' ? 63 : -1;
}

/* UTF-16 unit by unit: printable US-ASCII must not be encoded, surrogates come in pairs, controls have no place in a name. */
static bool take_unit(unsigned unit, bool *high)
{
    bool is_low = unit >= 0xdc00 && unit <= 0xdfff;
    if (*high != is_low)
        return false;
    *high = unit >= 0xd800 && unit <= 0xdbff;
    return unit >= 0xa0;
}

/* The part between '&' and '-' (RFC 3501 5.1.3; RFC 2152 for the padding bits). */
static bool is_shifted_part(struct slice part)
{
    unsigned bits = 0, count = 0;
    bool high = false;
    for (size_t i = 0; i < part.len; i++) {
        int sextet = sextet_of(part.data[i]);
        if (sextet < 0)
            return false;
        bits = (bits << 6) | (unsigned)sextet;
        count += 6;
        if (count >= 16) {
            count -= 16;
            if (!take_unit((bits >> count) & 0xffff, &high))
                return false;
            bits &= (1u << count) - 1;
        }
    }
    return count < 6 && bits == 0 && !high && part.len > 0;
}

bool folder_name_is_utf7(struct slice name)
{
    bool after_shift = false;   /* "&...-&...-" would be a superfluous shift */
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < ' ' || name.data[i] > '~')
            return false;
        if (name.data[i] != '&') {
            after_shift = false;
            continue;
        }
        struct slice rest = slice_from(name, i + 1);
        ptrdiff_t end = slice_find(rest, '-');
        if (end < 0 || (end > 0 && (after_shift || !is_shifted_part(slice_part(rest, 0, (size_t)end)))))
            return false;
        after_shift = end > 0;
        i += (size_t)end + 1;
    }
    return true;
}

static bool is_inbox(struct slice name)
{
    return slice_is_nocase(name, "INBOX");
}

/* Past the namespace prefix; the first level INBOX is the same in any case (RFC 3501 5.1). */
static bool skip_prefix(struct tree_namespace space, struct slice *name)
{
    size_t len = space.prefix.len;
    if (name->len < len)
        return false;
    struct slice start = slice_part(*name, 0, len);
    struct slice first = space.prefix;
    ptrdiff_t end = slice_find(first, space.separator);
    bool nocase = is_inbox(slice_part(first, 0, end < 0 ? first.len : (size_t)end));
    size_t loose = nocase ? 5 : 0;
    if (!slice_is_equal_nocase(slice_part(start, 0, loose), slice_part(first, 0, loose)) ||
        !slice_is_equal(slice_from(start, loose), slice_from(first, loose)))
        return false;
    *name = slice_from(*name, len);
    return true;
}

/* Levels between separators of the disk: none is empty. */
static bool has_good_levels(struct slice disk)
{
    struct slice rest = disk, level;
    while (slice_split(&rest, '.', &level))
        if (level.len == 0)
            return false;
    return disk.len > 0;
}

int folder_name_to_disk(struct tree_namespace space, struct slice name, char *disk_out, struct fault *fault)
{
    disk_out[0] = '\0';
    if (name.len > 1 && name.data[name.len - 1] == space.separator)
        name.len--;
    if (is_inbox(name))
        return 0;
    struct slice rest = name;
    if (!folder_name_is_utf7(name))
        return fault_set(fault, FAULT_INVALID, 0, "folder name is not modified UTF-7: %.*s", SLICE_ARG(slice_part(name, 0, 80)));
    if (!skip_prefix(space, &rest))
        return fault_set(fault, FAULT_INVALID, 0, "folder name is outside the namespace: %.*s", SLICE_ARG(slice_part(name, 0, 80)));
    if (rest.len + 2 > TREE_NAME_SIZE)
        return fault_set(fault, FAULT_INVALID, 0, "folder name is too long");
    char other = space.separator == '/' ? '.' : '/';
    if (slice_find(rest, other) >= 0)
        return fault_set(fault, FAULT_INVALID, 0, "folder name holds '%c': %.*s", other, SLICE_ARG(rest));
    disk_out[0] = '.';
    for (size_t i = 0; i < rest.len; i++)
        disk_out[i + 1] = rest.data[i] == space.separator ? '.' : rest.data[i];
    disk_out[rest.len + 1] = '\0';
    struct slice disk = slice_make(disk_out + 1, rest.len);
    if (space.prefix.len == 0 && disk.len >= 5 && is_inbox(slice_part(disk, 0, 5)) && (disk.len == 5 || disk.data[5] == '.'))
        memcpy(disk_out + 1, "INBOX", 5);
    if (has_good_levels(disk) && !is_inbox(disk))
        return 0;
    disk_out[0] = '\0';
    return fault_set(fault, FAULT_INVALID, 0, "no valid folder name: %.*s", SLICE_ARG(name));
}

bool folder_name_from_disk(struct tree_namespace space, struct slice disk, struct arena *arena, struct slice *name_out)
{
    if (is_inbox(disk)) {
        *name_out = SLICE_LITERAL("INBOX");
        return true;
    }
    if (disk.len + 2 > TREE_NAME_SIZE || slice_has_nul(disk) || slice_find(disk, '/') >= 0)
        return false;
    char *name = (char *)arena_alloc(arena, space.prefix.len + disk.len + 1);
    if (space.prefix.len > 0)
        memcpy(name, space.prefix.data, space.prefix.len);
    for (size_t i = 0; i < disk.len; i++)
        name[space.prefix.len + i] = disk.data[i] == '.' ? space.separator : disk.data[i];
    *name_out = slice_make(name, space.prefix.len + disk.len);
    char back[TREE_NAME_SIZE];
    return folder_name_to_disk(space, *name_out, back, NULL) == 0 && back[0] == '.' && slice_is(disk, back + 1);
}
