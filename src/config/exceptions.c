/* Exceptions from the SMTP access of a class of service: what a pattern may be, and whether it matches the other side of a message. Called by
 * version.c when an object is read and by rights.c for each message; it must never be slow, whatever a peer calls itself. */
#include "exceptions.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum { IPV4_PARTS = 4, IPV6_BITS = 128 };

/* Any characters, * for any number of them, case ignored. Goes back only to the last star: len * len steps at most. */
static bool glob_matches(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.len && ascii_lower(pattern.data[p]) == ascii_lower(text.data[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.data[p] == '*')
        p++;
    return p == pattern.len;
}

/* --- IP addresses -------------------------------------------------------------------------------------------------------- */

static bool is_ipv4_like(struct slice pattern)
{
    bool digit = false;
    for (size_t i = 0; i < pattern.len; i++) {
        char c = pattern.data[i];
        digit = digit || ascii_is_digit(c);
        if (!ascii_is_digit(c) && c != '.' && c != '*' && c != '-')
            return false;
    }
    return digit;
}

/* One part of an IPv4 pattern: *, N or N-M. */
static bool read_part(struct slice part, uint64_t *low, uint64_t *high)
{
    ptrdiff_t dash = slice_find(part, '-');
    *low = 0;
    *high = 255;
    if (slice_is(part, "*"))
        return true;
    if (!slice_to_number(slice_part(part, 0, dash < 0 ? part.len : (size_t)dash), 255, low))
        return false;
    *high = *low;
    return dash < 0 || (slice_to_number(slice_from(part, (size_t)dash + 1), 255, high) && *low <= *high);
}

static bool read_ipv4_pattern(struct slice pattern, uint8_t low[IPV4_PARTS], uint8_t high[IPV4_PARTS])
{
    struct slice part;
    size_t count = 0;
    bool open = false;
    while (slice_split(&pattern, '.', &part)) {
        uint64_t a, b;
        if (count == IPV4_PARTS || !read_part(part, &a, &b))
            return false;
        low[count] = (uint8_t)a;
        high[count++] = (uint8_t)b;
        open = slice_is(part, "*");
    }
    if (count < IPV4_PARTS && !open)
        return false;
    for (; count < IPV4_PARTS; count++) {
        low[count] = 0;
        high[count] = 255;
    }
    return true;
}

static bool read_ip(int family, struct slice text, void *binary)
{
    char plain[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(plain))
        return false;
    memcpy(plain, text.data, text.len);
    plain[text.len] = '\0';
    return inet_pton(family, plain, binary) == 1;
}

static bool ipv4_matches(struct slice pattern, struct slice ip)
{
    uint8_t low[IPV4_PARTS], high[IPV4_PARTS], address[IPV4_PARTS];
    if (slice_starts_with_nocase(ip, "::ffff:"))
        ip = slice_from(ip, 7);
    if (!read_ipv4_pattern(pattern, low, high) || !read_ip(AF_INET, ip, address))
        return false;
    for (size_t i = 0; i < IPV4_PARTS; i++)
        if (address[i] < low[i] || address[i] > high[i])
            return false;
    return true;
}

static bool read_ipv6_pattern(struct slice pattern, struct in6_addr *address, uint64_t *bits)
{
    ptrdiff_t slash = slice_find(pattern, '/');
    *bits = IPV6_BITS;
    return read_ip(AF_INET6, slice_part(pattern, 0, slash < 0 ? pattern.len : (size_t)slash), address) &&
           (slash < 0 || slice_to_number(slice_from(pattern, (size_t)slash + 1), IPV6_BITS, bits));
}

static bool ipv6_matches(struct slice pattern, struct slice ip)
{
    struct in6_addr network, address;
    uint64_t bits;
    if (!read_ipv6_pattern(pattern, &network, &bits) || !read_ip(AF_INET6, ip, &address))
        return false;
    size_t whole = (size_t)bits / 8;
    unsigned rest = (unsigned)bits % 8, mask = rest == 0 ? 0 : 0xff00u >> rest & 0xff;
    return memcmp(&network, &address, whole) == 0 && (rest == 0 || ((network.s6_addr[whole] ^ address.s6_addr[whole]) & mask) == 0);
}

/* --- patterns ------------------------------------------------------------------------------------------------------------- */

/* Letters, digits, what host names and UTF-8 have, and stars. */
static bool is_domain_pattern(struct slice pattern)
{
    for (size_t i = 0; i < pattern.len; i++) {
        char c = pattern.data[i];
        if ((unsigned char)c < 0x80 && !ascii_is_alpha(c) && !ascii_is_digit(c) && (c == '\0' || strchr("-._*", c) == NULL))
            return false;
    }
    return pattern.len > 0 && pattern.len <= 255;
}

bool exception_is_address(struct slice pattern)
{
    uint8_t low[IPV4_PARTS], high[IPV4_PARTS];
    struct in6_addr address;
    uint64_t bits;
    if (slice_find(pattern, ':') >= 0)
        return read_ipv6_pattern(pattern, &address, &bits);
    return is_ipv4_like(pattern) && read_ipv4_pattern(pattern, low, high);
}

bool exception_is_valid(struct slice pattern)
{
    ptrdiff_t at = slice_find_last(pattern, '@');
    if (at >= 0)
        return at > 0 && slice_find(pattern, ' ') < 0 && is_domain_pattern(slice_from(pattern, (size_t)at + 1));
    if (slice_find(pattern, ':') >= 0 || is_ipv4_like(pattern))
        return exception_is_address(pattern);
    return is_domain_pattern(pattern);
}

static enum exception_match known_or(bool matches, bool known)
{
    return matches ? EXCEPTION_YES : known ? EXCEPTION_NO : EXCEPTION_UNKNOWN;
}

static struct slice domain_of(struct slice address)
{
    ptrdiff_t at = slice_find_last(address, '@');
    return at < 0 ? SLICE_NONE : slice_from(address, (size_t)at + 1);
}

enum exception_match exception_match(struct slice pattern, const struct mail_party *party)
{
    if (slice_find(pattern, '@') >= 0)
        return known_or(party->address.len > 0 && glob_matches(pattern, party->address), party->address.data != NULL);
    if (slice_find(pattern, ':') >= 0)
        return known_or(ipv6_matches(pattern, party->ip), party->ip.data != NULL);
    if (is_ipv4_like(pattern))
        return known_or(ipv4_matches(pattern, party->ip), party->ip.data != NULL);
    struct slice domain = domain_of(party->address);
    bool matches = (domain.len > 0 && glob_matches(pattern, domain)) || (party->host.len > 0 && glob_matches(pattern, party->host));
    return known_or(matches, party->address.data != NULL && party->host.data != NULL);
}

enum exception_match exceptions_match(const struct text_list *list, const struct mail_party *party)
{
    enum exception_match best = EXCEPTION_NO;
    for (size_t i = 0; i < list->count && best != EXCEPTION_YES; i++) {
        enum exception_match match = exception_match(slice_from_string(list->values[i]), party);
        best = match == EXCEPTION_NO ? best : match;
    }
    return best;
}
