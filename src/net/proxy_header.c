/* The PROXY protocol, version 2, section 2.2, as who makes the connection. Called in front of connections to Post Office Agents. */
#include "postern/net/proxy_header.h"

#include "postern/net/endpoint.h"

static void append_port(struct buf *out, uint16_t port)
{
    buf_append_byte(out, (char)(port >> 8));
    buf_append_byte(out, (char)(port & 255));
}

void proxy_header_write(struct buf *out, const char *client, uint16_t client_port, const char *local, uint16_t local_port)
{
    struct endpoint from, to;
    buf_append(out, slice_make("\r\n\r\n\0\r\nQUIT\n", 12));
    bool told = client != NULL && local != NULL && endpoint_parse(slice_from_string(client), client_port, &from) &&
                endpoint_parse(slice_from_string(local), local_port, &to) && from.any.sa_family == to.any.sa_family;
    if (!told) {
        buf_append(out, slice_make("\x20\0\0\0", 4));   /* LOCAL */
        return;
    }
    bool six = from.any.sa_family == AF_INET6;
    buf_append(out, slice_make(six ? "\x21\x21\0\x24" : "\x21\x11\0\x0c", 4));
    const void *addresses[] = { six ? (const void *)&from.v6.sin6_addr : &from.v4.sin_addr, six ? (const void *)&to.v6.sin6_addr : &to.v4.sin_addr };
    buf_append(out, slice_make(addresses[0], six ? 16 : 4));
    buf_append(out, slice_make(addresses[1], six ? 16 : 4));
    append_port(out, client_port);
    append_port(out, local_port);
}
