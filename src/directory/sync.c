/* The BER of RFC 4533 and of persistent search. */
#include "sync.h"

#include <stddef.h>
#include <string.h>

#define MODE_REFRESH_AND_PERSIST 3

enum { BELL_ADD = 1, BELL_DELETE = 2, BELL_MODIFY = 4, BELL_MOVE = 8 };

static bool finish(BerElement *ber, bool good, struct berval *value)
{
    good = good && ber_flatten2(ber, value, 1) == 0;
    ber_free(ber, 1);
    return good;
}

/* RFC 4533, section 2.2: mode, cookie, reloadHint at its default. */
static bool encode_request(struct berval *value, const char *cookie)
{
    BerElement *ber = ber_alloc_t(LBER_USE_DER);
    value->bv_val = NULL;
    if (ber == NULL)
        return false;
    int rc = cookie != NULL ? ber_printf(ber, "{es}", MODE_REFRESH_AND_PERSIST, cookie) : ber_printf(ber, "{e}", MODE_REFRESH_AND_PERSIST);
    return finish(ber, rc != -1, value);
}

bool sync_encode_request(struct berval *value)
{
    return encode_request(value, NULL);
}

bool sync_encode_request_after(struct berval *value, const char *cookie)
{
    return encode_request(value, cookie);
}

/* draft-ietf-ldapext-psearch, section 3: changeTypes, changesOnly, returnECs. */
static bool encode_bell(struct berval *value, bool telling)
{
    BerElement *ber = ber_alloc_t(LBER_USE_DER);
    value->bv_val = NULL;
    if (ber == NULL)
        return false;
    return finish(ber, ber_printf(ber, "{ibb}", BELL_ADD | BELL_DELETE | BELL_MODIFY | BELL_MOVE, 1, (int)telling) != -1, value);
}

bool bell_encode_request(struct berval *value)
{
    return encode_bell(value, false);
}

bool bell_encode_request_telling(struct berval *value)
{
    return encode_bell(value, true);
}

/* liblber does not survive reading from nothing. */
static BerElement *open_value(const struct berval *value)
{
    struct berval copy = *value;
    return value->bv_val != NULL && value->bv_len > 0 ? ber_init(&copy) : NULL;
}

bool bell_decode_notice(const struct berval *value, bool *gone_out)
{
    ber_int_t type = 0;
    BerElement *ber = open_value(value);
    if (ber == NULL)
        return false;
    bool good = ber_scanf(ber, "{e", &type) != LBER_ERROR;
    *gone_out = type == BELL_DELETE;
    ber_free(ber, 1);
    return good;
}

bool sync_decode_state(const struct berval *value, enum sync_state *state_out, unsigned char uuid_out[16])
{
    struct berval uuid = { 0, NULL };
    ber_int_t state = -1;
    BerElement *ber = open_value(value);
    if (ber == NULL)
        return false;
    /* Section 2.3. ber_init has copied the value: uuid points into the copy until ber_free. */
    bool good = ber_scanf(ber, "{em", &state, &uuid) != LBER_ERROR && state >= SYNC_PRESENT && state <= SYNC_DELETE && uuid.bv_len == 16;
    if (good) {
        *state_out = (enum sync_state)state;
        memcpy(uuid_out, uuid.bv_val, 16);
    }
    ber_free(ber, 1);
    return good;
}

/* Section 2.5: refreshDelete [1] and refreshPresent [2] hold an optional cookie and refreshDone, by default true. */
static bool decode_refresh(BerElement *ber, enum sync_info *info_out)
{
    ber_len_t len;
    ber_int_t done = 1;
    struct berval cookie;
    if (ber_scanf(ber, "{") == LBER_ERROR)
        return false;
    ber_tag_t tag = ber_peek_tag(ber, &len);
    if (tag == LBER_OCTETSTRING) {
        if (ber_scanf(ber, "m", &cookie) == LBER_ERROR)
            return false;
        tag = ber_peek_tag(ber, &len);
    }
    if (tag == LBER_BOOLEAN && ber_scanf(ber, "b", &done) == LBER_ERROR)
        return false;
    *info_out = done ? SYNC_INFO_REFRESHED : SYNC_INFO_REFRESHING;
    return true;
}

bool sync_decode_info(const struct berval *value, enum sync_info *info_out)
{
    ber_len_t len;
    BerElement *ber = open_value(value);
    if (ber == NULL)
        return false;
    bool good = true;
    switch (ber_peek_tag(ber, &len)) {
    case LBER_CLASS_CONTEXT | 0: *info_out = SYNC_INFO_COOKIE; break;
    case LBER_CLASS_CONTEXT | LBER_CONSTRUCTED | 1:
    case LBER_CLASS_CONTEXT | LBER_CONSTRUCTED | 2: good = decode_refresh(ber, info_out); break;
    case LBER_CLASS_CONTEXT | LBER_CONSTRUCTED | 3: *info_out = SYNC_INFO_ID_SET; break;
    default: good = false;
    }
    ber_free(ber, 1);
    return good;
}
