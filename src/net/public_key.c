/* Verifies signatures of tokens. Called by the service in a thread. A key is used only for the algorithm of its own kind, whatever the token says. */
#include "postern/net/public_key.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include <openssl/err.h>
#include "tls.h"

enum { KEYS_MAX = 32, RSA_BITS_MIN = 2048, NUMBER_SIZE = 32 };

static bool is_of_kind(EVP_PKEY *key, enum signature_kind kind)
{
    char group[32] = "";
    if (kind == SIGNATURE_RS256)
        return EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
    return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 && strcmp(group, "prime256v1") == 0;
}

static bool is_made_by(EVP_PKEY *key, struct slice text, struct slice signature)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(context, (const unsigned char *)signature.data, signature.len, (const unsigned char *)text.data, text.len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

/* OpenSSL wants the two numbers in DER; *out is freed with OPENSSL_free. */
static int to_der(struct slice signature, unsigned char **out)
{
    const unsigned char *bytes = (const unsigned char *)signature.data;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(bytes, NUMBER_SIZE, NULL), *s = BN_bin2bn(bytes + NUMBER_SIZE, NUMBER_SIZE, NULL);
    *out = NULL;
    if (pair == NULL || ECDSA_SIG_set0(pair, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(pair);
        return 0;
    }
    int len = i2d_ECDSA_SIG(pair, out);
    ECDSA_SIG_free(pair);
    return len;
}

static bool try_key(EVP_PKEY *key, enum signature_kind kind, struct slice text, struct slice signature)
{
    if (!is_of_kind(key, kind))
        return false;
    if (kind == SIGNATURE_RS256)
        return is_made_by(key, text, signature);
    if (signature.len != 2 * NUMBER_SIZE)
        return false;
    unsigned char *der;
    int len = to_der(signature, &der);
    bool good = len > 0 && is_made_by(key, text, slice_make((const char *)der, (size_t)len));
    OPENSSL_free(der);
    return good;
}

int public_key_verify(const char *file, enum signature_kind kind, struct slice text, struct slice signature, struct fault *fault)
{
    ERR_clear_error();
    BIO *bio = BIO_new_file(file, "r");
    if (bio == NULL)
        return tls_fault(fault, FAULT_INVALID, file);
    unsigned count = 0;
    bool good = false;
    EVP_PKEY *key;
    while (!good && count < KEYS_MAX && (key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL)) != NULL) {
        count++;
        good = try_key(key, kind, text, signature);
        EVP_PKEY_free(key);
    }
    BIO_free(bio);
    ERR_clear_error();
    return count > 0 ? good : fault_set(fault, FAULT_INVALID, 0, "%s: no public key", file);
}
