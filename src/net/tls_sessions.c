/* TLS sessions with peers that may be resumed, for one SSL_CTX of clients: the next connection to the same host saves the public-key work on both sides and holds
 * no certificate of its own. Used by tls_client.c. A session must never be used for another host than the one whose certificate was verified for it. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "tls.h"

enum { HOSTS_MAX = 1024, KEPT_MAX = 4, AGE_MAX_S = 600 };

/* Lives as long as the context: connections point to it. */
struct host {
    SSL_SESSION *kept[KEPT_MAX];   /* the oldest first */
    size_t count;
    bool refuses;
};

struct tls_sessions {
    pthread_mutex_t lock;
    struct map hosts;              /* name to struct host */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int context_index;

static void free_host(struct slice name, void *value, void *unused)
{
    (void)name, (void)unused;
    struct host *h = value;
    for (size_t i = 0; i < h->count; i++)
        SSL_SESSION_free(h->kept[i]);
    mem_release(h);
}

/* With the last connection of the context, in whatever thread. */
static void context_freed(void *context, void *value, CRYPTO_EX_DATA *data, int index, long number, void *pointer)
{
    (void)context, (void)data, (void)index, (void)number, (void)pointer;
    struct tls_sessions *s = value;
    if (s == NULL)
        return;
    map_for_each(&s->hosts, free_host, NULL);
    map_fini(&s->hosts);
    pthread_mutex_destroy(&s->lock);
    mem_release(s);
}

static void make_index(void)
{
    context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, context_freed);
    CHECK(context_index >= 0);
}

static struct tls_sessions *sessions_of(SSL_CTX *context)
{
    return SSL_CTX_get_ex_data(context, context_index);
}

/* A session that the peer has offered. 1: kept. */
static int offered(SSL *ssl, SSL_SESSION *session)
{
    struct tls_sessions *s = sessions_of(SSL_get_SSL_CTX(ssl));
    struct host *h = SSL_get_app_data(ssl);
    if (h == NULL || !SSL_SESSION_is_resumable(session))
        return 0;
    pthread_mutex_lock(&s->lock);
    if (h->refuses) {
        pthread_mutex_unlock(&s->lock);
        return 0;
    }
    if (h->count == KEPT_MAX) {
        SSL_SESSION_free(h->kept[0]);
        memmove(h->kept, h->kept + 1, sizeof(h->kept) - sizeof(h->kept[0]));
        h->count--;
    }
    h->kept[h->count++] = session;
    pthread_mutex_unlock(&s->lock);
    return 1;
}

void tls_sessions_keep(SSL_CTX *context)
{
    pthread_once(&once, make_index);
    struct tls_sessions *s = MEM_NEW(struct tls_sessions);
    pthread_mutex_init(&s->lock, NULL);
    CHECK(SSL_CTX_set_ex_data(context, context_index, s) == 1);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, offered);
}

static struct host *host_of(struct tls_sessions *s, const char *name)
{
    struct host *h = map_get(&s->hosts, slice_from_string(name));
    if (h == NULL && s->hosts.count < HOSTS_MAX) {
        h = MEM_NEW(struct host);
        map_put(&s->hosts, slice_from_string(name), h);
    }
    return h;
}

/* The newest; NULL if there is none that is young enough. Those of TLS 1.3 are for one connection each (RFC 8446, appendix C.4). */
static SSL_SESSION *take(struct host *h)
{
    while (h->count > 0) {
        SSL_SESSION *session = h->kept[h->count - 1];
        bool young = clock_wall().tv_sec - (time_t)SSL_SESSION_get_time(session) < AGE_MAX_S;
        if (young && SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION)
            return SSL_SESSION_dup(session);
        h->count--;
        if (young)
            return session;
        SSL_SESSION_free(session);
    }
    return NULL;
}

void tls_sessions_use(SSL *ssl, const char *name)
{
    struct tls_sessions *s = sessions_of(SSL_get_SSL_CTX(ssl));
    pthread_mutex_lock(&s->lock);
    struct host *h = host_of(s, name);
    SSL_SESSION *session = h != NULL ? take(h) : NULL;
    pthread_mutex_unlock(&s->lock);
    SSL_set_app_data(ssl, (void *)h);
    if (session != NULL)
        SSL_set_session(ssl, session);
    SSL_SESSION_free(session);
}

/* An OpenSSL that asks for certificates and was given no session id context offers sessions, and then ends the connection of whoever comes with one. */
void tls_sessions_failed(SSL *ssl)
{
    struct host *h = SSL_get_app_data(ssl);
    const SSL_SESSION *session = SSL_get_session(ssl);
    if (h == NULL || session == NULL || !SSL_SESSION_has_ticket(session) || ERR_GET_REASON(ERR_peek_error()) <= SSL_AD_REASON_OFFSET)
        return;
    struct tls_sessions *s = sessions_of(SSL_get_SSL_CTX(ssl));
    pthread_mutex_lock(&s->lock);
    h->refuses = true;
    while (h->count > 0)
        SSL_SESSION_free(h->kept[--h->count]);
    pthread_mutex_unlock(&s->lock);
}
