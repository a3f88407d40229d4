/* What TLS needs to know about a peer before it is spoken to: whom to trust and what to show. Called by who reads the files, used by streams; must never
 * take a certificate of another host when it was told to verify. */
#include "postern/net/tls_client.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "tls.h"

struct tls_client {
    SSL_CTX *context;
    bool verify;
    _Atomic unsigned references;
};

/* A key under a passphrase is refused: nobody is there to be asked. */
static int no_passphrase(char *buffer, int size, int writing, void *context)
{
    (void)buffer, (void)size, (void)writing, (void)context;
    return -1;
}

static int trust(SSL_CTX *c, const char *ca_file, struct fault *fault)
{
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
    if (ca_file == NULL ? SSL_CTX_set_default_verify_paths(c) == 1 : SSL_CTX_load_verify_locations(c, ca_file, NULL) == 1)
        return 0;
    return tls_fault(fault, FAULT_INVALID, ca_file != NULL ? ca_file : "the certificates that the system trusts");
}

static int show(SSL_CTX *c, const char *certificate_file, const char *key_file, struct fault *fault)
{
    if (key_file == NULL)
        key_file = certificate_file;
    if (SSL_CTX_use_certificate_chain_file(c, certificate_file) != 1)
        return tls_fault(fault, FAULT_INVALID, certificate_file);
    if (SSL_CTX_use_PrivateKey_file(c, key_file, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(c) != 1)
        return tls_fault(fault, FAULT_INVALID, key_file);
    return 0;
}

int tls_client_new(const char *ca_file, bool verify, const char *certificate_file, const char *key_file, struct tls_client **out, struct fault *fault)
{
    ERR_clear_error();
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    CHECK(c != NULL);
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    tls_sessions_keep(c);
    SSL_CTX_set_default_passwd_cb(c, no_passphrase);
    if ((verify && trust(c, ca_file, fault) < 0) || (certificate_file != NULL && show(c, certificate_file, key_file, fault) < 0)) {
        SSL_CTX_free(c);
        return -1;
    }
    struct tls_client *client = MEM_NEW(struct tls_client);
    client->context = c;
    client->verify = verify;
    client->references = 1;
    *out = client;
    return 0;
}

struct tls_client *tls_client_ref(struct tls_client *client)
{
    client->references++;
    return client;
}

void tls_client_unref(struct tls_client **client)
{
    struct tls_client *c = *client;
    *client = NULL;
    if (c == NULL || --c->references > 0)
        return;
    SSL_CTX_free(c->context);
    mem_release(c);
}

SSL *tls_client_connect(struct tls_client *client, const char *host)
{
    SSL *ssl = SSL_new(client->context);
    CHECK(ssl != NULL);
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    bool numeric = X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    ERR_clear_error();
    if (!numeric) {
        SSL_set_tlsext_host_name(ssl, host);
        if (client->verify) {
            /* RFC 6125, sections 6.4.3 and 6.4.4: one wildcard as the whole first label; the common name is not looked at. */
            SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
            CHECK(SSL_set1_host(ssl, host) == 1);
        }
    }
    tls_sessions_use(ssl, host);
    return ssl;
}
