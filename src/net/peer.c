/* Facts of a finished handshake as server. Called by the service on the stream's loop. A certificate whose chain was not verified says nothing. */
#include "postern/net/peer.h"

#include <openssl/x509v3.h>

#include "tls.h"

enum { NAME_MAX_OCTETS = 320, EXPORTER_SIZE = 32, FINISHED_MAX = 64 };

static void append_name(struct buf *out, const unsigned char *text, int len)
{
    struct slice name = slice_make((const char *)text, len > 0 ? (size_t)len : 0);
    if (name.len == 0 || name.len > NAME_MAX_OCTETS)
        return;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] < ' ' || name.data[i] == 127)
            return;
    buf_append(out, name);
    buf_append_byte(out, '\n');
}

static void append_addresses(const X509 *certificate, struct buf *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_EMAIL)
            append_name(out, ASN1_STRING_get0_data(name->d.rfc822Name), ASN1_STRING_length(name->d.rfc822Name));
    }
    GENERAL_NAMES_free(names);
}

/* Of several the last, which is the most specific one. */
static void append_part(const X509_NAME *subject, int nid, struct buf *out)
{
    int at = -1, last = -1;
    while ((at = X509_NAME_get_index_by_NID(subject, nid, at)) >= 0)
        last = at;
    if (last < 0)
        return;
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)));
    if (len > 0)
        append_name(out, text, len);
    OPENSSL_free(text);
}

void peer_write_names(const struct stream *stream, struct buf *out)
{
    const SSL *ssl = stream->ssl;
    X509 *certificate = ssl != NULL && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE ? SSL_get1_peer_certificate(ssl) : NULL;
    size_t before = out->len;
    /* A session that is resumed was verified when it began. */
    if (certificate != NULL && SSL_get_verify_result(ssl) == X509_V_OK && X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0) {
        append_addresses(certificate, out);
        if (out->len == before) {
            append_part(X509_get_subject_name(certificate), NID_userId, out);
            append_part(X509_get_subject_name(certificate), NID_commonName, out);
        }
    }
    X509_free(certificate);
}

/* Before TLS 1.3 both are safe only where the master secret is bound to the handshake (RFC 7627). */
void peer_write_exporter(const struct stream *stream, struct buf *out)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    unsigned char bytes[EXPORTER_SIZE];
    SSL *ssl = stream->ssl;
    if (ssl != NULL && (SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1) &&
        SSL_export_keying_material(ssl, bytes, sizeof(bytes), label, sizeof(label) - 1, NULL, 0, 0) == 1)
        buf_append(out, slice_make((const char *)bytes, sizeof(bytes)));
}

void peer_write_unique(const struct stream *stream, struct buf *out)
{
    unsigned char bytes[FINISHED_MAX];
    SSL *ssl = stream->ssl;
    if (ssl == NULL || SSL_version(ssl) != TLS1_2_VERSION || SSL_get_extms_support(ssl) != 1)
        return;
    /* The first Finished of the handshake: the client's, or ours when a session was resumed. */
    size_t len = SSL_session_reused(ssl) ? SSL_get_finished(ssl, bytes, sizeof(bytes)) : SSL_get_peer_finished(ssl, bytes, sizeof(bytes));
    if (len > 0 && len <= sizeof(bytes))
        buf_append(out, slice_make((const char *)bytes, len));
}
