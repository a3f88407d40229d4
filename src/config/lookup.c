/* Users by name, and upwards from a user to its distribution lists. Called by config.c from many threads; may wait for the directory. */
#include "lookup.h"

#include <string.h>

#include "postern/base/buf.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "rights.h"
#include "user_names.h"
#include "users.h"

#define NAME_MAX_OCTETS 320
#define LEVELS_MAX 8
#define LISTS_MAX 1024
/* Lists in one answer: directories allow 500 and no more, if not told otherwise. */
#define ANSWER_MAX 256
/* DNs in one filter: asked together, since each question is a round trip. */
#define QUESTION_MAX 32

/* Times that a look-up is done again because something changed while it was under way. */
#define ROUNDS_MAX 3

static const char *const list_attributes[] = { "entryUUID", "nsUniqueId", NULL };

const char *lookup_user_base(const struct snapshot *snapshot)
{
    return snapshot->agent.user_base != NULL ? snapshot->agent.user_base : snapshot_body(snapshot)->base;
}

/* A base that does not exist or may not be read says nothing of the user: mail must wait, not go back. */
static void not_known(struct fault *fault)
{
    if (fault->class != FAULT_TIMEOUT)
        fault->class = FAULT_UNREACHABLE;
}

int lookup_entry(struct directory_pool *pool, const char *base, struct slice name, const char *const *attributes, unsigned *server,
                 struct directory_entry **out, struct fault *fault)
{
    struct buf filter;
    buf_init(&filter, 8192);
    buf_append_text(&filter, "(&(objectClass=posternMailUser)(|(uid=");
    filter_append_value(&filter, name);
    buf_append_text(&filter, ")(mail=");
    filter_append_value(&filter, name);
    buf_append_text(&filter, ")(posternMailAlias=");
    filter_append_value(&filter, name);
    buf_append_text(&filter, ")))");
    struct directory_entry *found[2] = { NULL, NULL };
    size_t count = 0;
    struct directory_search search = { base, DIRECTORY_SCOPE_SUBTREE, buf_text(&filter), attributes, 2, server };
    int rc = directory_pool_search(pool, &search, found, &count, fault);
    buf_fini(&filter);
    if (count > 1 || (rc != 0 && fault->class == FAULT_LIMIT)) {
        log_warning("config", "the name %.*s finds more than one user: %s and %s: refused", SLICE_ARG(name), count > 0 ? found[0]->dn : "?",
                    count > 1 ? found[1]->dn : "others");
        rc = fault_set(fault, FAULT_NOT_FOUND, 0, "the name finds more than one user");
    } else if (rc == 0 && count == 0) {
        rc = fault_set(fault, FAULT_NOT_FOUND, 0, "no such user");
    } else if (rc == 0) {
        *out = found[0];
        return 0;
    } else {
        not_known(fault);
    }
    directory_entry_free(&found[0]);
    directory_entry_free(&found[1]);
    return rc;
}

struct upward {
    struct list_name names[LISTS_MAX + 1];   /* [0, asked): their own lists are known; the rest: to be asked. The first is the user itself. */
    char *written[LISTS_MAX + 1];            /* the same as the directory writes them: not every one takes the normal form for the same */
    size_t count;
    struct map known;
    bool too_many;
    unsigned server;
    unsigned *server_out;
};

static void remember_list(struct upward *u, const char *dn, const char *uuid)
{
    char *normal = dn_normalise(slice_from_string(dn));
    bool is_new = normal != NULL && map_get(&u->known, slice_from_string(normal)) == NULL;
    u->too_many = u->too_many || (is_new && u->count > LISTS_MAX);
    if (is_new && u->count <= LISTS_MAX) {
        map_put(&u->known, slice_from_string(normal), u);
        struct list_name *name = &u->names[u->count++];
        name->ndn = normal;
        memcpy(name->uuid, uuid, sizeof(name->uuid));
        u->written[u->count - 1] = mem_strdup(dn);
    } else {
        mem_free(&normal);
    }
}

/* One that is left out may be the one that prevents. */
static int ask_lists(struct directory_pool *pool, const char *base, struct upward *u, size_t from, size_t to, struct fault *fault)
{
    struct buf filter;
    buf_init(&filter, 1024 * 1024);
    buf_append_text(&filter, "(&(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))(|");
    for (size_t i = from; i < to; i++) {
        buf_append_text(&filter, "(member=");
        filter_append_value(&filter, slice_from_string(u->written[i]));
        buf_append_text(&filter, ")(uniqueMember=");
        filter_append_value(&filter, slice_from_string(u->written[i]));
        buf_append_text(&filter, ")");
    }
    buf_append_text(&filter, "))");
    struct directory_entry *found[ANSWER_MAX];
    size_t count = 0;
    struct directory_search search = { base, DIRECTORY_SCOPE_SUBTREE, buf_text(&filter), list_attributes, ANSWER_MAX, &u->server };
    int rc = directory_pool_search(pool, &search, found, &count, fault);
    buf_fini(&filter);
    for (size_t i = 0; i < count; i++) {
        remember_list(u, found[i]->dn, found[i]->uuid);
        directory_entry_free(&found[i]);
    }
    if (rc != 0 && fault->class == FAULT_LIMIT && to - from > 1) {
        size_t middle = from + (to - from) / 2;
        return ask_lists(pool, base, u, from, middle, fault) == 0 ? ask_lists(pool, base, u, middle, to, fault) : -1;
    }
    if ((rc != 0 && fault->class == FAULT_LIMIT) || (rc == 0 && u->too_many))
        rc = fault_set(fault, FAULT_LIMIT, 0, "%s is on too many distribution lists", u->names[0].ndn);
    return rc;
}

/* Level by level, each list once, so that lists that hold each other end. */
static int climb(struct directory_pool *pool, const char *base, struct upward *u, struct fault *fault)
{
    size_t asked = 0;
    for (unsigned level = 0; level < LEVELS_MAX && asked < u->count; level++) {
        size_t end = u->count;
        for (; asked < end; asked += QUESTION_MAX < end - asked ? QUESTION_MAX : end - asked) {
            size_t to = QUESTION_MAX < end - asked ? asked + QUESTION_MAX : end;
            if (ask_lists(pool, base, u, asked, to, fault) != 0)
                return -1;
        }
    }
    return 0;
}

void list_names_free(struct list_name **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(&(*names)[i].ndn);
    mem_free(names);
}

int lookup_lists(struct directory_pool *pool, const struct snapshot *snapshot, const char *dn, unsigned *server, struct list_name **out,
                 size_t *count_out, struct fault *fault)
{
    const char *base = snapshot_body(snapshot)->base != NULL ? snapshot_body(snapshot)->base : lookup_user_base(snapshot);
    struct upward *u = MEM_NEW(struct upward);
    remember_list(u, dn, (char[DIRECTORY_UUID_SIZE]){ "" });
    int rc = climb(pool, base, u, fault);
    *server = u->server;
    *count_out = u->count > 0 ? u->count - 1 : 0;
    *out = MEM_NEW_ARRAY(struct list_name, *count_out + 1);
    memcpy(*out, &u->names[1], *count_out * sizeof(u->names[0]));
    if (u->count > 0)
        mem_free(&u->names[0].ndn);
    for (size_t i = 0; i < u->count; i++)
        mem_free(&u->written[i]);
    map_fini(&u->known);
    mem_free(&u);
    if (rc == 0)
        return 0;
    list_names_free(out, *count_out);
    *count_out = 0;
    not_known(fault);
    return -1;
}

/* A question for one user: what is asked for, and how it goes. */
struct question {
    struct directory_pool *pool;
    struct snapshot *snapshot;
    struct slice name;              /* or: */
    const struct user *old;
    struct users_ticket ticket;
    bool elsewhere;                 /* a server has answered that is not the one whose changes are followed */
    bool kept;                      /* the answer will be known to be out of date */
};

static int ask_for_lists(struct question *q, const char *dn, struct list_name **out, size_t *count_out, struct fault *fault)
{
    unsigned server = q->ticket.server;
    int rc = lookup_lists(q->pool, q->snapshot, dn, &server, out, count_out, fault);
    q->elsewhere = q->elsewhere || server != q->ticket.server;
    return rc;
}

/* Takes the entry. */
static int finish_user(struct question *q, struct directory_entry *entry, struct user **out, struct fault *fault)
{
    struct list_name *lists = NULL;
    size_t count = 0;
    char *ndn = dn_normalise(slice_from_string(entry->dn));
    bool needs_lists = ndn != NULL && rights_need_lists(q->snapshot, ndn);
    mem_free(&ndn);
    int rc = needs_lists ? ask_for_lists(q, entry->dn, &lists, &count, fault) : 0;
    if (rc == 0) {
        char **names = MEM_NEW_ARRAY(char *, count + 1);
        for (size_t i = 0; i < count; i++)
            names[i] = lists[i].ndn;
        *out = user_from_entry(q->snapshot, entry, names, count, clock_wall().tv_sec, fault);
        mem_free(&names);
        rc = *out != NULL ? 0 : -1;
    }
    if (rc == 0) {
        q->ticket.followed = q->ticket.followed && !q->elsewhere;
        q->kept = users_keep(&q->ticket, *out, q->name, entry, lists, count, needs_lists);
    } else {
        directory_entry_free(&entry);
    }
    list_names_free(&lists, count);
    return rc;
}

/* From memory, if need be with the lists asked for anew. False: the directory must be asked for everything. */
static bool find_kept(struct question *q, struct user **out)
{
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        char *dn = NULL, uuid[DIRECTORY_UUID_SIZE] = "";
        enum users_answer answer = q->old != NULL ? users_find_uuid(q->snapshot, q->old->uuid, out, &dn)
                                                  : users_find(q->snapshot, q->name, out, &dn, uuid);
        if (answer != USERS_NEEDS_LISTS)
            return answer == USERS_FOUND;
        struct list_name *lists = NULL;
        size_t count = 0;
        struct fault fault;
        q->ticket = users_ticket();
        int rc = ask_for_lists(q, dn, &lists, &count, &fault);
        mem_free(&dn);
        if (rc == 0 && !q->elsewhere)
            users_give_lists(&q->ticket, q->old != NULL ? q->old->uuid : uuid, lists, count);
        list_names_free(&lists, count);
        if (rc != 0 || q->elsewhere)
            return false;
    }
    return false;
}

/* entryUUID's text form as 389-DS writes its own identifier: four groups of eight digits. */
static void append_unique_id(struct buf *filter, const char *uuid)
{
    unsigned digits = 0;
    for (const char *at = uuid; *at != '\0'; at++) {
        if (*at == '-')
            continue;
        if (digits > 0 && digits % 8 == 0)
            buf_append_byte(filter, '-');
        buf_append_byte(filter, *at);
        digits++;
    }
}

/* Where it was; when something else or nothing is there now, wherever it has gone. */
static int find_again(struct directory_pool *pool, const char *base, const struct user *old, unsigned *server, struct directory_entry **out,
                      struct fault *fault)
{
    size_t count = 0;
    struct directory_search search = { old->dn, DIRECTORY_SCOPE_BASE, "(objectClass=posternMailUser)", user_attributes, 1, server };
    int rc = directory_pool_search(pool, &search, out, &count, fault);
    if (rc == 0 && count == 1 && strcmp((*out)->uuid, old->uuid) == 0)
        return 0;
    if (count == 1)
        directory_entry_free(out);
    if (rc != 0 && fault->class != FAULT_NOT_FOUND) {
        not_known(fault);
        return -1;
    }
    if (old->uuid[0] == '\0')
        return fault_set(fault, FAULT_NOT_FOUND, 0, "%s: gone", old->dn);
    struct buf filter;
    buf_init(&filter, 1024);
    buf_printf(&filter, "(&(objectClass=posternMailUser)(|(entryUUID=%s)(nsUniqueId=", old->uuid);
    append_unique_id(&filter, old->uuid);
    buf_append_text(&filter, ")))");
    search = (struct directory_search){ base, DIRECTORY_SCOPE_SUBTREE, buf_text(&filter), user_attributes, 1, server };
    rc = directory_pool_search(pool, &search, out, &count, fault);
    buf_fini(&filter);
    if (rc == 0 && count == 1)
        return 0;
    if (count == 1)
        directory_entry_free(out);
    if (rc == 0)
        return fault_set(fault, FAULT_NOT_FOUND, 0, "%s: gone", old->dn);
    not_known(fault);
    return -1;
}

/* On DNs as written. */
static bool is_within(const char *dn, const char *base)
{
    char *inner = dn_normalise(slice_from_string(dn)), *outer = dn_normalise(slice_from_string(base));
    bool within = inner != NULL && outer != NULL && dn_is_within(inner, outer);
    mem_free(&inner);
    mem_free(&outer);
    return within;
}

static int ask_directory(struct question *q, struct user **out, struct fault *fault)
{
    struct directory_entry *entry = NULL;
    const char *base = lookup_user_base(q->snapshot);
    unsigned server = 0;
    q->ticket = users_ticket();
    q->elsewhere = false;
    int rc = q->old != NULL ? find_again(q->pool, base, q->old, &server, &entry, fault) : lookup_entry(q->pool, base, q->name, user_attributes, &server, &entry, fault);
    q->elsewhere = server != q->ticket.server;
    if (rc == 0 && q->old != NULL && !is_within(entry->dn, base)) {
        directory_entry_free(&entry);
        rc = fault_set(fault, FAULT_NOT_FOUND, 0, "%s: outside of the users' base now", q->old->dn);
    }
    return rc == 0 ? finish_user(q, entry, out, fault) : -1;
}

static int look_up(struct question *q, struct user **out, struct fault *fault)
{
    struct fault own;
    fault = fault != NULL ? fault : &own;
    *out = NULL;
    q->snapshot = snapshot_current();
    if (q->snapshot == NULL || lookup_user_base(q->snapshot) == NULL) {
        snapshot_unref(&q->snapshot);
        return fault_set(fault, FAULT_UNREACHABLE, 0, "the configuration has not been read yet");
    }
    int rc = 0;
    if (!find_kept(q, out)) {
        rc = ask_directory(q, out, fault);
        /* Something changed in between: what was read may be of before. */
        for (unsigned round = 1; rc == 0 && !q->kept && q->ticket.followed && round < ROUNDS_MAX; round++) {
            user_unref(out);
            rc = ask_directory(q, out, fault);
        }
    }
    snapshot_unref(&q->snapshot);
    return rc;
}

static bool is_askable(struct slice name)
{
    return name.len > 0 && name.len <= NAME_MAX_OCTETS && !slice_has_nul(name);
}

int lookup_user(struct directory_pool *pool, struct slice name, struct user **out, struct fault *fault)
{
    *out = NULL;
    if (!is_askable(name))
        return fault_set(fault, FAULT_NOT_FOUND, 0, "no such user");
    return look_up(&(struct question){ .pool = pool, .name = name }, out, fault);
}

int lookup_user_again(struct directory_pool *pool, const struct user *old, struct user **out, struct fault *fault)
{
    return look_up(&(struct question){ .pool = pool, .old = old }, out, fault);
}

char *lookup_moved(struct directory_pool *pool, const struct user *user)
{
    struct snapshot *snapshot = snapshot_current();
    const char *base = snapshot != NULL ? lookup_user_base(snapshot) : NULL;
    struct directory_entry *entry = NULL;
    struct fault fault = { .class = FAULT_NONE };
    struct users_ticket ticket = users_ticket();
    unsigned server = 0;
    char *dn = NULL;
    int rc = base != NULL ? find_again(pool, base, user, &server, &entry, &fault) : -1;
    bool there = rc == 0 && is_within(entry->dn, base);
    if (there && strcmp(entry->dn, user->dn) != 0)
        dn = mem_strdup(entry->dn);
    /* Of a server that lags behind no more is believed than that the DN may be tried. */
    if ((dn != NULL || (!there && (rc == 0 || fault.class == FAULT_NOT_FOUND))) && server == ticket.server)
        users_doubt_all();
    directory_entry_free(&entry);
    snapshot_unref(&snapshot);
    return dn;
}

bool lookup_kept_user(struct slice name, struct user **out)
{
    struct snapshot *snapshot = snapshot_current();
    char *dn = NULL, uuid[DIRECTORY_UUID_SIZE];
    bool found = snapshot != NULL && is_askable(name) && users_find(snapshot, name, out, &dn, uuid) == USERS_FOUND;
    mem_free(&dn);
    snapshot_unref(&snapshot);
    return found;
}
