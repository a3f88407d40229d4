/* IP addresses in text and in binary. Called by listeners, sessions and the supervisor; must never ask the DNS. */
#include "postern/net/endpoint.h"

#include <arpa/inet.h>
#include <string.h>

static void set_v4(struct endpoint *out, const struct in_addr *ip, uint16_t port)
{
    memset(out, 0, sizeof(*out));
    out->v4.sin_family = AF_INET;
    out->v4.sin_addr = *ip;
    out->v4.sin_port = htons(port);
    out->len = sizeof(out->v4);
}

static void set_v6(struct endpoint *out, const struct in6_addr *ip, uint16_t port)
{
    memset(out, 0, sizeof(*out));
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_addr = *ip;
    out->v6.sin6_port = htons(port);
    out->len = sizeof(out->v6);
}

bool endpoint_parse(struct slice text, uint16_t port, struct endpoint *out)
{
    if (text.len == 0 || slice_is(text, "*")) {
        set_v6(out, &in6addr_any, port);
        return true;
    }
    if (text.len > 2 && text.data[0] == '[' && text.data[text.len - 1] == ']')
        text = slice_part(text, 1, text.len - 2);
    char copy[INET6_ADDRSTRLEN];
    if (text.len >= sizeof(copy) || slice_has_nul(text))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, copy, &v4) == 1)
        set_v4(out, &v4, port);
    else if (inet_pton(AF_INET6, copy, &v6) == 1)
        set_v6(out, &v6, port);
    else
        return false;
    return true;
}

void endpoint_format(const struct endpoint *address, char *out)
{
    memset(out, 0, ENDPOINT_TEXT);
    if (address->any.sa_family == AF_INET)
        inet_ntop(AF_INET, &address->v4.sin_addr, out, ENDPOINT_TEXT);
    else if (address->any.sa_family != AF_INET6)
        out[0] = '-';
    else if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr))
        inet_ntop(AF_INET, &address->v6.sin6_addr.s6_addr[12], out, ENDPOINT_TEXT);
    else
        inet_ntop(AF_INET6, &address->v6.sin6_addr, out, ENDPOINT_TEXT);
}

uint16_t endpoint_port(const struct endpoint *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohs(address->v4.sin_port);
    return address->any.sa_family == AF_INET6 ? ntohs(address->v6.sin6_port) : 0;
}

bool endpoint_is_loopback(const struct endpoint *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    if (address->any.sa_family != AF_INET6)
        return false;
    const struct in6_addr *ip = &address->v6.sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(ip) || (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127);
}

bool endpoint_is_equal(const struct endpoint *a, const struct endpoint *b)
{
    if (a->any.sa_family != b->any.sa_family || endpoint_port(a) != endpoint_port(b))
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return a->any.sa_family == AF_INET6 && memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) == 0;
}

static void keep_only_ip(struct endpoint *out, socklen_t len, int result)
{
    if (result < 0 || (out->any.sa_family != AF_INET && out->any.sa_family != AF_INET6))
        memset(out, 0, sizeof(*out));
    else
        out->len = len;
}

void endpoint_of_peer(int fd, struct endpoint *out)
{
    memset(out, 0, sizeof(*out));
    socklen_t len = sizeof(out->v6);
    keep_only_ip(out, len, getpeername(fd, &out->any, &len));
}

void endpoint_of_socket(int fd, struct endpoint *out)
{
    memset(out, 0, sizeof(*out));
    socklen_t len = sizeof(out->v6);
    keep_only_ip(out, len, getsockname(fd, &out->any, &len));
}
