/* The client's role: the one message of PLAIN (RFC 4616). Called towards servers that we log in at; must leave no copy of the password behind. */
#include "postern/base/secret.h"
#include "postern/sasl/sasl.h"

void sasl_client_base64(struct slice bytes, struct buf *base64_out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        unsigned group = 0;
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (j < left ? (unsigned char)bytes.data[i + j] : 0);
        char four[4] = { letters[group >> 18], letters[group >> 12 & 63], left > 1 ? letters[group >> 6 & 63] : '=', left > 2 ? letters[group & 63] : '=' };
        buf_append(base64_out, slice_make(four, sizeof(four)));
    }
}

bool sasl_client_plain(struct slice authorize_as, struct slice name, struct slice password, struct buf *base64_out)
{
    char message[SASL_CLIENT_PART_MAX * 3 + 2];
    if (authorize_as.len > SASL_CLIENT_PART_MAX || name.len > SASL_CLIENT_PART_MAX || password.len > SASL_CLIENT_PART_MAX || slice_has_nul(authorize_as) ||
        slice_has_nul(name) || slice_has_nul(password) || name.len == 0)
        return false;
    const struct slice parts[] = { authorize_as, name, password };
    size_t len = 0;
    for (size_t i = 0; i < 3; i++) {
        if (i > 0)
            message[len++] = '\0';
        for (size_t j = 0; j < parts[i].len; j++)
            message[len++] = parts[i].data[j];
    }
    sasl_client_base64(slice_make(message, len), base64_out);
    secret_wipe(message, sizeof(message));
    return true;
}
