/* address: an IP address with a port. */
#ifndef POSTERN_NET_ADDRESS_H
#define POSTERN_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "postern/base/slice.h"

enum { ADDRESS_TEXT = 48 };

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t len;
};

/* Numeric IPv4 or IPv6, also in brackets; "" or "*" is every address of this machine. */
bool address_parse(struct slice text, uint16_t port, struct address *out);
/* Without the port; an IPv4-mapped address is written as IPv4. out has ADDRESS_TEXT bytes. */
void address_format(const struct address *address, char *out);
uint16_t address_port(const struct address *address);
bool address_is_loopback(const struct address *address);
bool address_is_equal(const struct address *a, const struct address *b);
/* The two ends of a connected socket; an unspecified address if there is none. */
void address_of_peer(int fd, struct address *out);
void address_of_socket(int fd, struct address *out);

#endif
