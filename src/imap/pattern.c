/* Mailbox name patterns (RFC 3501 6.3.8). */
#include "pattern.h"

static char fold(char c, bool nocase)
{
    return nocase ? ascii_upper(c) : c;
}

/* Where to go on when a byte does not match: the wildcard takes one byte more. */
struct retry {
    size_t pattern;     /* just after the wildcard */
    size_t name;
    bool set;
};

/* When "%" cannot grow over a separator, the "*" before it does, and "%" begins anew. Two points to return to are enough: an
 * earlier wildcard of the same kind never needs to be asked again. */
bool pattern_matches(struct slice pattern, struct slice name, char separator, bool nocase)
{
    struct retry star = { 0 }, percent = { 0 };
    size_t p = 0, n = 0;
    for (;;) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = (struct retry){ ++p, n, true };
            percent.set = false;
        } else if (p < pattern.len && pattern.data[p] == '%') {
            percent = (struct retry){ ++p, n, true };
        } else if (n < name.len && p < pattern.len && fold(pattern.data[p], nocase) == fold(name.data[n], nocase)) {
            p++;
            n++;
        } else if (n == name.len && p == pattern.len) {
            return true;
        } else if (percent.set && percent.name < name.len && name.data[percent.name] != separator) {
            p = percent.pattern;
            n = ++percent.name;
        } else if (star.set && star.name < name.len) {
            p = star.pattern;
            n = ++star.name;
            percent.set = false;
        } else {
            return false;
        }
    }
}

bool pattern_ends_in_percent(struct slice pattern)
{
    return slice_ends_with(pattern, "%");
}
