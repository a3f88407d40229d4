/* snapshot: the whole configuration at one moment, immutable and counted (architecture, decision 2). Built by config.c from
 * directory entries; everybody else only reads. */
#ifndef POSTERN_CONFIG_SNAPSHOT_H
#define POSTERN_CONFIG_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "postern/base/slice.h"

enum tls_mode { TLS_DISABLED, TLS_ENABLED, TLS_REQUIRED };
enum login_method { LOGIN_BIND, LOGIN_COMPARE };
enum clear_text_login { CLEAR_TEXT_NEVER, CLEAR_TEXT_LOOPBACK, CLEAR_TEXT_ALWAYS };
enum access_mode { ACCESS_CURRENT, ACCESS_CLIENT_SERVER_AND_DIRECT, ACCESS_CLIENT_SERVER, ACCESS_DIRECT };
enum poa_tls { POA_TLS_DISABLED, POA_TLS_ENABLED, POA_TLS_REQUIRED, POA_TLS_IMPLICIT };
enum poa_login { POA_LOGIN_PASS_THROUGH, POA_LOGIN_AUTHORIZATION, POA_LOGIN_MASTER_USER, POA_LOGIN_EXTERNAL };
enum right { RIGHT_INHERIT, RIGHT_ALLOW, RIGHT_PREVENT };

/* Multi-valued text. */
struct text_list {
    char **values;
    size_t count;
};

/* Settings of the Internet Agent object, one member per row of the table: bool for BOOLEAN, uint64_t for NUMBER, int for WORD (an enum), char *
 * for TEXT and DN (NULL if absent), struct text_list for TEXTS and DNS. */
struct agent_settings {
    char *dn;
#define BOOLEAN(field, attribute, fallback, doc) bool field;
#define NUMBER(field, attribute, fallback, min, max, doc) uint64_t field;
#define WORD(field, attribute, words, fallback, doc) int field;
#define TEXT(field, attribute, doc) char *field;
#define TEXTS(field, attribute, doc) struct text_list field;
#define DN(field, attribute, doc) char *field;
#define DNS(field, attribute, doc) struct text_list field;
#include "postern/tbl/agent.h"
#include "postern/tbl/end.h"
};

/* One server to try of a post office: a host of a Post Office Agent object, or one that the link names instead. */
struct post_office_agent {
    char *dn;                    /* the object that the host came from */
    char *host;
    uint16_t port;               /* IMAP */
    uint16_t lmtp_port;
    enum poa_tls tls;
    enum poa_login login;
    bool proxy_header;           /* PROXY protocol version 2 before anything else */
    uint32_t timeout_ms;         /* until the login can be sent */
    uint32_t login_timeout_ms;   /* for its answer */
    char *ca_file;               /* in the TLS directory; NULL: those that the system trusts */
    char *certificate;           /* in the TLS directory; NULL for none */
    char *key;                   /* NULL: the certificate's file */
    char *credentials;           /* a file of the credentials directory; NULL for none */
};

/* A post office with its link already applied: what is in force, and nothing else. */
struct post_office {
    char *dn;
    char *name;                  /* cn, for logs */
    char uuid[37];               /* entryUUID in text form */
    struct text_list domains;    /* lower case */
    enum access_mode mode;       /* effective, never current */
    char *path;                  /* effective; NULL: no direct access, also when the mode forbids it */
    char *mailbox_template;
    char *prefix;                /* never NULL */
    char *control_dir;           /* never NULL */
    char separator;
    struct post_office_agent *agents;   /* in the order in which they are tried; none: no client/server access, also when the mode forbids it */
    size_t agent_count;
    enum access_mode own_mode;   /* as the post office object says; current if it says nothing */
    enum access_mode link_mode;  /* as the link says; current without one */
    char *link_dn;               /* NULL: no link */
    char *mode_from;             /* DN of the object that the mode came from; NULL: the default */
    char *path_from;             /* DN of the object that the path came from, also if the mode forbids it; NULL: there is none */
    bool move_sessions;          /* a changed link also moves sessions that are open */
};

/* Whether there is any way to it: if not, its users are told to try later. */
static inline bool post_office_is_served(const struct post_office *office)
{
    return office->path != NULL || office->agent_count > 0;
}

/* A configuration fault: what does not validate, and why. */
struct config_fault {
    char *dn;
    char *attribute;             /* or NULL */
    char *reason;
};

struct snapshot {
    uint64_t serial;             /* rises by one with every published snapshot */
    bool from_cache;             /* built from the last good state on disk; the directory has not been read yet */
    struct agent_settings agent;
    const struct post_office **post_offices;   /* each shared with other snapshots as long as nothing of it changes */
    size_t post_office_count;
    struct config_fault *faults;
    size_t fault_count;
    struct class_of_service *classes;   /* private to src/config */
    size_t class_count;
    _Atomic unsigned references;
    bool is_post_office_agent;   /* the agent is one: it serves its own post office only, directly */
    uint64_t post_offices_serial;   /* two snapshots with the same one have the same post offices; 0: not known */
};

struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot **snapshot);
/* The newest one, with a reference for the caller; NULL before the first. Any thread. */
struct snapshot *snapshot_current(void);
/* The serial of the newest one, 0 before the first: one atomic load. */
uint64_t snapshot_current_serial(void);
/* By normalised DN; NULL if unknown. */
const struct post_office *snapshot_post_office(const struct snapshot *snapshot, const char *dn);
/* The post office that serves an Internet domain (case ignored), or NULL. */
const struct post_office *snapshot_domain(const struct snapshot *snapshot, struct slice domain);

#endif
