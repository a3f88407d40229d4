/* The fake directory: one thread for all connections. */
#include "fake_directory.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "run.h"

enum { DEADLINE_MS = 15000 };

void fake_put_result(BerElement *out, int id, ber_tag_t tag, int code)
{
    ber_printf(out, "{it{ess}}", id, tag, code, "", "");
}

void fake_put_object(BerElement *out, int id, const char *dn, char number, enum sync_state state, const char *class, const char *attribute, const char *value)
{
    char uuid[16] = { 0 };
    struct berval control = { 0, NULL };
    BerElement *ber = ber_alloc_t(LBER_USE_DER);
    uuid[15] = number;
    ber_printf(ber, "{eo}", (int)state, uuid, (ber_len_t)sizeof(uuid));
    ber_flatten2(ber, &control, 0);
    ber_printf(out, "{it{s{{s[s]}{s[s]}}}t{{sO}}}", id, LDAP_RES_SEARCH_ENTRY, dn, "objectClass", class, attribute, value, LDAP_TAG_CONTROLS, SYNC_STATE_OID,
               &control);
    ber_free(ber, 1);
}

void fake_put_refreshed(BerElement *out, int id)
{
    ber_printf(out, "{it{tsto}}", id, LDAP_RES_INTERMEDIATE, LDAP_TAG_IM_RES_OID, SYNC_INFO_OID, LDAP_TAG_IM_RES_VALUE, "\xa1\x00", (ber_len_t)2);
}

/* True: it was one for everything. */
static bool answer_search(struct fake_directory *d, Sockbuf *socket, BerElement *in, BerElement *out, int id)
{
    struct berval base = { 0, NULL };
    ber_int_t scope = 0;
    ber_scanf(in, "{me", &base, &scope);
    if (scope == LDAP_SCOPE_SUBTREE) {
        d->read_id = id;
        d->read_socket = socket;
        d->read(d, out, id, atomic_load(&d->reads));
        return true;
    }
    const char *csn = atomic_load(&d->csn);
    if (base.bv_len == 0)
        ber_printf(out, "{it{s{{s[s]}{s[s]}{s[s]}}}}", id, LDAP_RES_SEARCH_ENTRY, "", "objectClass", "OpenLDAProotDSE", "namingContexts", "dc=x",
                   "supportedControl", SYNC_REQUEST_OID);
    else if (csn != NULL)
        ber_printf(out, "{it{s{{s[s]}}}}", id, LDAP_RES_SEARCH_ENTRY, "dc=x", "contextCSN", csn);
    else
        ber_printf(out, "{it{s{}}}", id, LDAP_RES_SEARCH_ENTRY, "dc=x");
    fake_put_result(out, id, LDAP_RES_SEARCH_RESULT, 0);
    if (base.bv_len > 0)
        atomic_fetch_add(&d->csns_asked, 1);
    return false;
}

/* One request and its answer, in one piece. False: the connection is over. */
static bool answer(struct fake_directory *d, Sockbuf *socket)
{
    BerElement *in = ber_alloc_t(LBER_USE_DER), *out = ber_alloc_t(LBER_USE_DER);
    ber_len_t len = 0, said = 0;
    ber_int_t id = 0;
    ber_tag_t tag = 0;
    bool read = false, good = ber_get_next(socket, &len, in) == LDAP_TAG_MESSAGE && ber_scanf(in, "it", &id, &tag) != LBER_ERROR;
    if (good && tag == LDAP_REQ_SEARCH)
        read = answer_search(d, socket, in, out, id);
    else if (good && tag == LDAP_REQ_BIND)
        fake_put_result(out, id, LDAP_RES_BIND, 0);
    else if (good && (tag == LDAP_REQ_MODIFY || tag == LDAP_REQ_ADD || tag == LDAP_REQ_DELETE)) {
        fake_put_result(out, id, tag == LDAP_REQ_MODIFY ? LDAP_RES_MODIFY : tag == LDAP_REQ_ADD ? LDAP_RES_ADD : LDAP_RES_DELETE, d->write_result);
        atomic_fetch_add(&d->writes, 1);
    }
    ber_get_option(out, LBER_OPT_BER_BYTES_TO_WRITE, &said);
    if (good && said > 0)
        good = ber_flush2(socket, out, LBER_FLUSH_FREE_NEVER) == 0;
    atomic_fetch_add(&d->reads, read);
    ber_free(in, 1);
    ber_free(out, 1);
    return good;
}

static void *serve(void *argument)
{
    struct fake_directory *d = argument;
    d->fds[0] = (struct pollfd){ .fd = d->listener, .events = POLLIN };
    d->count = 1;
    while (poll(d->fds, d->count, -1) > 0) {
        for (nfds_t i = d->count - 1; i > 0; i--) {
            if (d->fds[i].revents == 0 || answer(d, d->sockets[i]))
                continue;
            ber_sockbuf_free(d->sockets[i]);
            d->count--;
            d->fds[i] = d->fds[d->count];
            d->sockets[i] = d->sockets[d->count];
        }
        if (d->fds[0].revents == 0 || d->count > FAKE_CONNECTIONS)
            continue;
        int fd = accept(d->listener, NULL, NULL);
        if (fd < 0)
            break;
        d->fds[d->count] = (struct pollfd){ .fd = fd, .events = POLLIN };
        d->sockets[d->count] = ber_sockbuf_alloc();
        ber_sockbuf_add_io(d->sockets[d->count], &ber_sockbuf_io_tcp, LBER_SBIOD_LEVEL_PROVIDER, &fd);
        d->count++;
    }
    while (d->count > 1)
        ber_sockbuf_free(d->sockets[--d->count]);
    return NULL;
}

void fake_directory_init(struct fake_directory *d)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    d->listener = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(d->listener >= 0 && bind(d->listener, (struct sockaddr *)&address, len) == 0);
    CU_ASSERT_FATAL(getsockname(d->listener, (struct sockaddr *)&address, &len) == 0);
    snprintf(d->uri, sizeof(d->uri), "%s%u", "ldap://127.0.0.1:", ntohs(address.sin_port));
}

void fake_directory_start(struct fake_directory *d)
{
    CU_ASSERT_FATAL(listen(d->listener, FAKE_CONNECTIONS) == 0 && pthread_create(&d->thread, NULL, serve, d) == 0);
}

void fake_directory_stop(struct fake_directory *d)
{
    shutdown(d->listener, SHUT_RDWR);
    pthread_join(d->thread, NULL);
    close(d->listener);
}

void fake_directory_say(struct fake_directory *d, BerElement *out)
{
    CU_ASSERT(ber_flush2(d->read_socket, out, LBER_FLUSH_FREE_ALWAYS) == 0);
}

bool fake_reaches(atomic_uint *number, unsigned least)
{
    uint64_t end = clock_monotonic_ms() + DEADLINE_MS;
    while (atomic_load(number) < least && clock_monotonic_ms() < end)
        poll(NULL, 0, 1);
    return atomic_load(number) >= least;
}
