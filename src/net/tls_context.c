/* The server's certificate chain and key, exchanged as a pair while connections go on. Called by the service; must never
 * leave a certificate in use whose key does not fit. */
#include "postern/net/tls_context.h"

#include <openssl/err.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "tls.h"

/* Tells one state of a file from another. */
struct file_state {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
    bool exists;
};

struct tls_context {
    pthread_mutex_t lock;
    SSL_CTX *current;              /* NULL: no TLS */
    char *certificate_file;
    char *key_file;
    char *client_ca_file;          /* or NULL */
    bool client_ca_changed;
    struct file_state states[3];   /* of the files when they were last read */
};

/* The last error says most, unless the kernel refused something before it, or it says only which part of OpenSSL has failed ("PEM lib"). */
int tls_fault(struct fault *fault, enum fault_class class, const char *what)
{
    char text[160] = "connection lost";
    const char *why = text;
    unsigned long error = 0, next;
    while (!ERR_SYSTEM_ERROR(error) && (next = ERR_get_error()) != 0)
        if (error == 0 || (ERR_GET_RFLAGS(next) & ERR_RFLAG_COMMON) == 0)
            error = next;
    ERR_clear_error();
    if (ERR_SYSTEM_ERROR(error))
        why = strerror_r(ERR_GET_REASON(error), text, sizeof(text));
    else if (error != 0)
        ERR_error_string_n(error, text, sizeof(text));
    return fault_set(fault, class, 0, "%s: %s", what, why);
}

struct tls_context *tls_context_new(void)
{
    struct tls_context *t = MEM_NEW(struct tls_context);
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void tls_context_free(struct tls_context **context)
{
    struct tls_context *t = *context;
    if (t == NULL)
        return;
    SSL_CTX_free(t->current);
    mem_free(&t->certificate_file);
    mem_free(&t->key_file);
    mem_free(&t->client_ca_file);
    pthread_mutex_destroy(&t->lock);
    mem_free(context);
}

static struct file_state state_of(const char *path)
{
    struct stat st;
    struct file_state state = { .exists = false };
    if (stat(path, &st) == 0) {
        state.device = st.st_dev;
        state.inode = st.st_ino;
        state.size = st.st_size;
        state.changed = st.st_mtim;
        state.exists = true;
    }
    return state;
}

static bool is_same_state(const struct file_state *a, const struct file_state *b)
{
    return a->exists == b->exists && a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static void exchange(struct tls_context *t, SSL_CTX *next)
{
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->current;
    t->current = next;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);   /* connections hold references of their own */
}

/* A key under a passphrase is refused: nobody is there to be asked. */
static int no_passphrase(char *buffer, int size, int writing, void *context)
{
    (void)buffer, (void)size, (void)writing, (void)context;
    return -1;
}

/* What is wrong with a client's certificate stays in the handshake's result: whoever logs in by it is refused, others are not kept out. */
static int note_only(int good, X509_STORE_CTX *store)
{
    (void)good, (void)store;
    return 1;
}

static bool read_client_ca(SSL_CTX *c, const char *file, struct fault *fault)
{
    static const unsigned char id[] = "postern";
    if (file == NULL)
        return true;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
    if (names == NULL || SSL_CTX_load_verify_file(c, file) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        tls_fault(fault, FAULT_INVALID, file);
        return false;
    }
    SSL_CTX_set_client_CA_list(c, names);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, note_only);
    SSL_CTX_set_session_id_context(c, id, sizeof(id) - 1);
    return true;
}

static SSL_CTX *read_pair(const char *certificate_file, const char *key_file, const char *client_ca_file, struct fault *fault)
{
    ERR_clear_error();
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    CHECK(c != NULL);
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(c, 1);
    SSL_CTX_set_default_passwd_cb(c, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(c, certificate_file) != 1)
        tls_fault(fault, FAULT_INVALID, certificate_file);
    else if (SSL_CTX_use_PrivateKey_file(c, key_file, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(c) != 1)
        tls_fault(fault, FAULT_INVALID, key_file);
    else if (read_client_ca(c, client_ca_file, fault))
        return c;
    SSL_CTX_free(c);
    return NULL;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

int tls_context_load(struct tls_context *context, const char *certificate_file, const char *key_file, bool again,
                     struct fault *fault)
{
    struct tls_context *t = context;
    if (key_file == NULL)
        key_file = certificate_file;
    if (!is_same_text(t->certificate_file, certificate_file) || !is_same_text(t->key_file, key_file)) {
        mem_free(&t->certificate_file);
        mem_free(&t->key_file);
        t->certificate_file = mem_strdup(certificate_file);
        t->key_file = mem_strdup(key_file);
        again = true;
    }
    if (certificate_file == NULL) {
        bool had = tls_context_is_ready(t);
        exchange(t, NULL);
        return had;
    }
    /* States are taken before the files are read: a change in between is found at the next call. */
    struct file_state states[3] = { state_of(certificate_file), state_of(key_file) };
    if (t->client_ca_file != NULL)
        states[2] = state_of(t->client_ca_file);
    bool same = !t->client_ca_changed;
    for (size_t i = 0; i < 3; i++)
        same = same && is_same_state(&states[i], &t->states[i]);
    if (!again && same)
        return 0;
    memcpy(t->states, states, sizeof(states));
    t->client_ca_changed = false;
    SSL_CTX *next = read_pair(certificate_file, key_file, t->client_ca_file, fault);
    if (next == NULL)
        return -1;
    exchange(t, next);
    return 1;
}

void tls_context_set_client_ca(struct tls_context *context, const char *file)
{
    if (is_same_text(context->client_ca_file, file))
        return;
    mem_free(&context->client_ca_file);
    context->client_ca_file = file != NULL ? mem_strdup(file) : NULL;
    context->client_ca_changed = true;
}

bool tls_context_is_ready(struct tls_context *context)
{
    pthread_mutex_lock(&context->lock);
    bool ready = context->current != NULL;
    pthread_mutex_unlock(&context->lock);
    return ready;
}

static bool take_time(const ASN1_TIME *time, int64_t *out)
{
    struct tm tm;
    if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *out = timegm(&tm);
    return true;
}

bool tls_context_validity(struct tls_context *context, int64_t *from_out, int64_t *until_out)
{
    pthread_mutex_lock(&context->lock);
    const X509 *certificate = context->current != NULL ? SSL_CTX_get0_certificate(context->current) : NULL;
    bool good = certificate != NULL && take_time(X509_get0_notBefore(certificate), from_out) && take_time(X509_get0_notAfter(certificate), until_out);
    pthread_mutex_unlock(&context->lock);
    return good;
}

SSL *tls_context_accept(struct tls_context *context)
{
    pthread_mutex_lock(&context->lock);
    SSL *ssl = context->current ? SSL_new(context->current) : NULL;
    pthread_mutex_unlock(&context->lock);
    return ssl;
}
