/* The server's certificate chain and key, exchanged as a pair while connections go on. Called by the service; must never
 * leave a certificate in use whose key does not fit. */
#include "postern/net/tls_context.h"

#include <openssl/err.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

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
    struct file_state states[2];   /* of the files when they were last read */
};

int tls_fault(struct fault *fault, enum fault_class class, const char *what)
{
    char text[160] = "connection lost";
    unsigned long error = ERR_peek_last_error();
    if (error != 0)
        ERR_error_string_n(error, text, sizeof(text));
    ERR_clear_error();
    return fault_set(fault, class, 0, "%s: %s", what, text);
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

static SSL_CTX *read_pair(const char *certificate_file, const char *key_file, struct fault *fault)
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
    else
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
    struct file_state states[2] = { state_of(certificate_file), state_of(key_file) };
    if (!again && is_same_state(&states[0], &t->states[0]) && is_same_state(&states[1], &t->states[1]))
        return 0;
    t->states[0] = states[0];
    t->states[1] = states[1];
    SSL_CTX *next = read_pair(certificate_file, key_file, fault);
    if (next == NULL)
        return -1;
    exchange(t, next);
    return 1;
}

bool tls_context_is_ready(struct tls_context *context)
{
    pthread_mutex_lock(&context->lock);
    bool ready = context->current != NULL;
    pthread_mutex_unlock(&context->lock);
    return ready;
}

SSL *tls_context_accept(struct tls_context *context)
{
    pthread_mutex_lock(&context->lock);
    SSL *ssl = context->current ? SSL_new(context->current) : NULL;
    pthread_mutex_unlock(&context->lock);
    return ssl;
}
