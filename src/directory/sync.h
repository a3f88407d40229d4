/* sync: the controls and messages of RFC 4533, and the control of persistent search, encoded and decoded. Internal to src/directory; no connection is used. */
#ifndef DIRECTORY_SYNC_H
#define DIRECTORY_SYNC_H

#include <lber.h>
#include <stdbool.h>

#define SYNC_REQUEST_OID "1.3.6.1.4.1.4203.1.9.1.1"
#define SYNC_STATE_OID "1.3.6.1.4.1.4203.1.9.1.2"
#define SYNC_INFO_OID "1.3.6.1.4.1.4203.1.9.1.4"
#define BELL_REQUEST_OID "2.16.840.1.113730.3.4.3"
#define BELL_NOTICE_OID "2.16.840.1.113730.3.4.7"

enum sync_state { SYNC_PRESENT, SYNC_ADD, SYNC_MODIFY, SYNC_DELETE };
enum sync_info { SYNC_INFO_COOKIE, SYNC_INFO_REFRESHING, SYNC_INFO_REFRESHED, SYNC_INFO_ID_SET };

/* The value of a refreshAndPersist request without a cookie; false when memory is exhausted. Freed with ber_memfree(value->bv_val). */
bool sync_encode_request(struct berval *value);
/* The value of a Persistent Search control (draft-ietf-ldapext-psearch): every kind of change, nothing that is there already. */
bool bell_encode_request(struct berval *value);
/* The same with a cookie, for what changes from there on. */
bool sync_encode_request_after(struct berval *value, const char *cookie);
/* As bell_encode_request, but each notice says by a control what kind of change it tells. */
bool bell_encode_request_telling(struct berval *value);
/* The value of an Entry Change Notification control: false if it is malformed. */
bool bell_decode_notice(const struct berval *value, bool *gone_out);
/* The value of a Sync State Control: false if it is malformed. */
bool sync_decode_state(const struct berval *value, enum sync_state *state_out, unsigned char uuid_out[16]);
/* The value of a Sync Info message: false if it is malformed. */
bool sync_decode_info(const struct berval *value, enum sync_info *info_out);

#endif
