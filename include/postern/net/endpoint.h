/* endpoint: an IP address with a port. */
#ifndef POSTERN_NET_ENDPOINT_H
#define POSTERN_NET_ENDPOINT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "postern/base/slice.h"

enum { ENDPOINT_TEXT = 48 };

struct endpoint {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t len;
};

/* Numeric IPv4 or IPv6, also in brackets; "" or "*" is every address of this machine. */
bool endpoint_parse(struct slice text, uint16_t port, struct endpoint *out);
/* Without the port; an IPv4-mapped address is written as IPv4. out has ENDPOINT_TEXT bytes. */
void endpoint_format(const struct endpoint *address, char *out);
uint16_t endpoint_port(const struct endpoint *address);
bool endpoint_is_loopback(const struct endpoint *address);
bool endpoint_is_equal(const struct endpoint *a, const struct endpoint *b);
/* The two ends of a connected socket; an unspecified address if there is none. */
void endpoint_of_peer(int fd, struct endpoint *out);
void endpoint_of_socket(int fd, struct endpoint *out);

#endif
