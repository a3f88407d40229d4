/* From the top level down: user, distribution list, post office, domain, default. The first level where a class says something decides; two
 * classes at one level give the more generous value; a class that never was valid prevents. Called by user.c. It must stay quick with thousands
 * of classes: a user's classes are found by one look-up for each thing that the user is a member by. */
#include "rights.h"

#include <stdatomic.h>
#include <string.h>

#include "exceptions.h"
#include "postern/base/check.h"
#include "postern/base/memory.h"

/* How two values at one level are settled: RIGHT: allow before prevent. BURDEN, a flag: off is more generous. FAVOUR, a flag: on is. AMOUNT: 0 means
 * all, else the larger. */
enum setting_kind { SETTING_RIGHT, SETTING_BURDEN, SETTING_FAVOUR, SETTING_AMOUNT };
enum setting_id {
    POP3_ACCESS, POP3_DELETE, POP3_PURGE, POP3_MIME, POP3_SIZE, POP3_DAYS, POP3_MAX, IMAP4_ACCESS, IMAP4_CONNECTIONS, IMAP4_APPEND,
    INCOMING_ACCESS, INCOMING_SIZE, OUTGOING_ACCESS, OUTGOING_SIZE, OUTGOING_FORWARDS, OUTGOING_REPLIES, CONSOLE_ACCESS, SETTING_COUNT
};

#define UNDECIDED (-1)
#define SETTING(kind, field, built_in) { kind, offsetof(struct class_of_service_settings, field), built_in }

static const struct { enum setting_kind kind; size_t offset; int64_t built_in; } settings[SETTING_COUNT] = {
    [POP3_ACCESS] = SETTING(SETTING_RIGHT, pop3_access, RIGHT_ALLOW),
    [POP3_DELETE] = SETTING(SETTING_BURDEN, pop3_delete_after_download, 0),
    [POP3_PURGE] = SETTING(SETTING_BURDEN, pop3_purge_after_download, 0),
    [POP3_MIME] = SETTING(SETTING_FAVOUR, pop3_convert_to_mime, 1),
    [POP3_SIZE] = SETTING(SETTING_BURDEN, pop3_high_performance_size, 0),
    [POP3_DAYS] = SETTING(SETTING_AMOUNT, pop3_days, 0),
    [POP3_MAX] = SETTING(SETTING_AMOUNT, pop3_max_messages, 0),
    [IMAP4_ACCESS] = SETTING(SETTING_RIGHT, imap4_access, RIGHT_ALLOW),
    [IMAP4_CONNECTIONS] = SETTING(SETTING_AMOUNT, imap4_user_connections, 0),
    [IMAP4_APPEND] = SETTING(SETTING_AMOUNT, imap4_user_append_size, 0),
    [INCOMING_ACCESS] = SETTING(SETTING_RIGHT, smtp_incoming_access, RIGHT_ALLOW),
    [INCOMING_SIZE] = SETTING(SETTING_AMOUNT, smtp_incoming_max_size, 0),
    [OUTGOING_ACCESS] = SETTING(SETTING_RIGHT, smtp_outgoing_access, RIGHT_ALLOW),
    [OUTGOING_SIZE] = SETTING(SETTING_AMOUNT, smtp_outgoing_max_size, 0),
    [OUTGOING_FORWARDS] = SETTING(SETTING_RIGHT, smtp_outgoing_forwards, RIGHT_PREVENT),
    [OUTGOING_REPLIES] = SETTING(SETTING_RIGHT, smtp_outgoing_replies, RIGHT_ALLOW),
    [CONSOLE_ACCESS] = SETTING(SETTING_RIGHT, console_access, RIGHT_PREVENT),
};

/* What one class of the deciding level says of one direction of SMTP. */
struct smtp_rule {
    bool allow;
    const struct text_list *exceptions;
};

struct smtp_rules {
    size_t count;
    struct smtp_rule rules[];
};

/* --- the index ------------------------------------------------------------------------------------------------------------ */

/* One class among those that name a member, or are everyone's. */
struct class_node {
    const struct class_of_service *class;
    const struct class_node *next;
};

struct class_index {
    _Atomic unsigned references;
    struct arena arena;
    struct map members;                    /* normal DN or domain to the classes that name it */
    const struct class_node *defaults;
    size_t people;                         /* members that are DNs, but no post offices */
    struct class_of_service *classes;
    size_t count;
};

struct indexing {
    struct class_index *index;
    const struct slots *offices;
    const struct class_of_service *class;
};

static void index_member(struct slice key, void *value, void *context)
{
    struct indexing *indexing = context;
    struct class_index *index = indexing->index;
    struct class_node *node = ARENA_NEW(&index->arena, struct class_node);
    (void)value;
    node->class = indexing->class;
    node->next = map_put(&index->members, key, node);
    if (node->next != NULL || slice_find(key, '=') < 0)
        return;
    char *ndn = slice_to_string(key);
    index->people += slots_get(indexing->offices, ndn) == NULL;
    mem_free(&ndn);
}

struct class_index *class_index_new(struct object *const *objects, size_t count, const struct slots *offices)
{
    struct class_index *index = MEM_NEW(struct class_index);
    size_t members = 0;
    index->references = 1;
    arena_init(&index->arena);
    index->classes = MEM_NEW_ARRAY(struct class_of_service, count + 1);
    for (; index->count < count; index->count++) {
        const struct object *object = objects[index->count];
        struct class_of_service *class = &index->classes[index->count];
        class->broken = object->valid == NULL;
        class->version = version_ref(class->broken ? object->present : object->valid);
        class->settings = class->version->settings;
        members += class->version->members.count;
    }
    map_init_in(&index->members, &index->arena, members);
    /* From the last to the first: each list then has the classes in the order of the objects. */
    for (size_t i = count; i-- > 0;) {
        struct indexing indexing = { index, offices, &index->classes[i] };
        map_for_each(&indexing.class->version->members, index_member, &indexing);
        if (indexing.class->settings->is_default) {
            struct class_node *node = ARENA_NEW(&index->arena, struct class_node);
            *node = (struct class_node){ indexing.class, index->defaults };
            index->defaults = node;
        }
    }
    return index;
}

struct class_index *class_index_ref(struct class_index *index)
{
    CHECK(atomic_fetch_add(&index->references, 1) > 0);
    return index;
}

void class_index_unref(struct class_index **index)
{
    struct class_index *i = *index;
    *index = NULL;
    if (i == NULL || atomic_fetch_sub(&i->references, 1) != 1)
        return;
    for (size_t at = 0; at < i->count; at++)
        version_unref(&i->classes[at].version);
    map_fini(&i->members);
    arena_clear(&i->arena);
    mem_free(&i->classes);
    mem_release(i);
}

void class_index_show(const struct class_index *index, struct snapshot *snapshot)
{
    snapshot->classes = index->classes;
    snapshot->class_count = index->count;
}

bool rights_is_named(const struct snapshot *snapshot, const char *ndn)
{
    return map_get(&snapshot_body(snapshot)->classes->members, slice_from_string(ndn)) != NULL;
}

bool rights_need_lists(const struct snapshot *snapshot, const char *user_ndn)
{
    const struct snapshot_body *body = snapshot_body(snapshot);
    bool is_named = rights_is_named(snapshot, user_ndn) && slots_get(body->by_name, user_ndn) == NULL;
    return body->classes->people > is_named;
}

/* --- deciding ------------------------------------------------------------------------------------------------------------- */

struct decision {
    int64_t value;
    const struct class_of_service *class;
    struct slice member;
    enum rights_level level;
};

/* One of the classes that apply at a level. */
struct seat {
    const struct class_of_service *class;
    struct slice member;
};

struct judge {
    const struct class_index *classes;
    const struct membership *membership;
    struct decision decided[SETTING_COUNT];
    struct seat *seats;       /* of the level under way, each class once */
    size_t seat_count;
    size_t seat_size;
    struct map seated;        /* only of a level that more than one thing may lead to */
    struct seat *incoming;    /* those that decide about SMTP, in a row of their own */
    size_t incoming_count;
    struct seat *outgoing;
    size_t outgoing_count;
};

static int64_t class_value(const struct class_of_service *class, enum setting_id id)
{
    const char *at = (const char *)class->settings + settings[id].offset;
    if (class->broken)
        return settings[id].kind == SETTING_RIGHT ? RIGHT_PREVENT : UNDECIDED;
    if (settings[id].kind == SETTING_AMOUNT)
        return *(const int64_t *)at;
    int value = *(const int *)at;
    return settings[id].kind == SETTING_RIGHT && value == RIGHT_INHERIT ? UNDECIDED : value;
}

/* Whether a is better than b for the user; both are decided. */
static bool is_more_generous(enum setting_kind kind, int64_t a, int64_t b)
{
    switch (kind) {
    case SETTING_RIGHT: return a == RIGHT_ALLOW && b == RIGHT_PREVENT;
    case SETTING_BURDEN: return a < b;
    case SETTING_FAVOUR: return a > b;
    case SETTING_AMOUNT: break;
    }
    return b != 0 && (a == 0 || a > b);
}

static void take_seat(struct judge *j, const struct class_of_service *class, struct slice member, bool may_repeat)
{
    struct slice key = { (const char *)&class, sizeof(class) };
    if (may_repeat && map_put(&j->seated, key, j) != NULL)
        return;
    if (j->seat_count == j->seat_size) {
        j->seat_size = j->seat_size != 0 ? j->seat_size * 2 : 16;
        j->seats = mem_resize(j->seats, j->seat_size * sizeof(j->seats[0]));
    }
    j->seats[j->seat_count++] = (struct seat){ class, member };
}

static void seat_all(struct judge *j, const struct class_node *node, struct slice member, bool may_repeat)
{
    for (; node != NULL; node = node->next)
        take_seat(j, node->class, member, may_repeat);
}

static void seat_members(struct judge *j, struct slice member, bool may_repeat)
{
    seat_all(j, map_get(&j->classes->members, member), member, may_repeat);
}

static void seat_domains(struct judge *j)
{
    const struct text_list *addresses = j->membership->addresses;
    for (size_t i = 0; i < addresses->count; i++) {
        struct slice address = slice_from_string(addresses->values[i]);
        ptrdiff_t at = slice_find_last(address, '@');
        if (at >= 0)
            seat_members(j, slice_from(address, (size_t)at + 1), true);
    }
}

/* Who decides at this level. */
static void seat_level(struct judge *j, enum rights_level level)
{
    const struct membership *m = j->membership;
    j->seat_count = 0;
    map_fini(&j->seated);
    switch (level) {
    case RIGHTS_USER: seat_members(j, slice_from_string(m->user), false); break;
    case RIGHTS_LIST:
        for (size_t i = 0; i < m->list_count; i++)
            seat_members(j, slice_from_string(m->lists[i]), true);
        break;
    case RIGHTS_POST_OFFICE:
        if (m->post_office != NULL)
            seat_members(j, slice_from_string(m->post_office), false);
        break;
    case RIGHTS_DOMAIN: seat_domains(j); break;
    case RIGHTS_DEFAULT: seat_all(j, j->classes->defaults, SLICE_NONE, false); break;
    case RIGHTS_BUILT_IN: break;
    }
}

/* A class that never was valid may have been meant to prevent: no other class of its level outweighs it. */
static const struct seat *find_broken(const struct judge *j)
{
    for (size_t i = 0; i < j->seat_count; i++)
        if (j->seats[i].class->broken)
            return &j->seats[i];
    return NULL;
}

static void decide(struct judge *j, enum setting_id id, enum rights_level level, const struct seat *broken)
{
    struct decision *d = &j->decided[id];
    if (d->value != UNDECIDED)
        return;
    const struct seat *best = settings[id].kind == SETTING_RIGHT ? broken : NULL;
    for (size_t i = 0; i < j->seat_count && (best == NULL || best != broken); i++) {
        const struct seat *seat = &j->seats[i];
        int64_t value = class_value(seat->class, id);
        if (value != UNDECIDED && (best == NULL || is_more_generous(settings[id].kind, value, class_value(best->class, id))))
            best = seat;
    }
    if (best != NULL)
        *d = (struct decision){ class_value(best->class, id), best->class, best->member, level };
}

/* The classes that decide about SMTP are kept, since their exceptions count class by class. */
static void keep_seats(const struct judge *j, enum setting_id id, struct seat **out, size_t *count_out)
{
    *out = MEM_NEW_ARRAY(struct seat, j->seat_count + 1);
    for (size_t i = 0; i < j->seat_count; i++)
        if (class_value(j->seats[i].class, id) != UNDECIDED)
            (*out)[(*count_out)++] = j->seats[i];
}

static void decide_level(struct judge *j, enum rights_level level)
{
    bool incoming = j->decided[INCOMING_ACCESS].value == UNDECIDED, outgoing = j->decided[OUTGOING_ACCESS].value == UNDECIDED;
    seat_level(j, level);
    const struct seat *broken = find_broken(j);
    for (enum setting_id id = 0; id < SETTING_COUNT; id++)
        decide(j, id, level, broken);
    if (incoming && j->decided[INCOMING_ACCESS].value != UNDECIDED && broken == NULL)
        keep_seats(j, INCOMING_ACCESS, &j->incoming, &j->incoming_count);
    if (outgoing && j->decided[OUTGOING_ACCESS].value != UNDECIDED && broken == NULL)
        keep_seats(j, OUTGOING_ACCESS, &j->outgoing, &j->outgoing_count);
}

static void judge_init(struct judge *j, const struct snapshot *snapshot, const struct membership *m)
{
    *j = (struct judge){ .classes = snapshot_body(snapshot)->classes, .membership = m };
    for (size_t i = 0; i < SETTING_COUNT; i++)
        j->decided[i].value = UNDECIDED;
    for (enum rights_level level = 0; level < RIGHTS_BUILT_IN; level++)
        decide_level(j, level);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (j->decided[i].value == UNDECIDED)
            j->decided[i] = (struct decision){ .value = settings[i].built_in, .level = RIGHTS_BUILT_IN };
}

static void judge_fini(struct judge *j)
{
    map_fini(&j->seated);
    mem_free(&j->seats);
    mem_free(&j->incoming);
    mem_free(&j->outgoing);
}

/* --- SMTP exceptions --------------------------------------------------------------------------------------------------------- */

static struct smtp_rule rule_of(const struct class_of_service *class, enum setting_id id)
{
    const struct class_of_service_settings *s = class->settings;
    return (struct smtp_rule){ class_value(class, id) == RIGHT_ALLOW,
                               id == INCOMING_ACCESS ? &s->smtp_incoming_exceptions : &s->smtp_outgoing_exceptions };
}

/* NULL if there are no exceptions: then the user's plain value says it all. */
static struct smtp_rules *rules_of(const struct seat *seats, size_t count, enum setting_id id)
{
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any = any || rule_of(seats[i].class, id).exceptions->count > 0;
    if (!any)
        return NULL;
    struct smtp_rules *rules = mem_alloc(sizeof(*rules) + count * sizeof(rules->rules[0]));
    for (size_t i = 0; i < count; i++)
        rules->rules[rules->count++] = rule_of(seats[i].class, id);
    return rules;
}

static bool rule_accepts(const struct smtp_rule *rule, const struct mail_party *party)
{
    enum exception_match match = exceptions_match(rule->exceptions, party);
    return rule->allow ? match != EXCEPTION_YES : match != EXCEPTION_NO;
}

/* The most generous class counts, for this party as for everything else. */
static bool rules_accept(const struct smtp_rules *rules, const struct mail_party *party)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rule_accepts(&rules->rules[i], party))
            return true;
    return false;
}

bool user_may_receive_from(const struct user *user, const struct mail_party *sender)
{
    return user->smtp_incoming_rules != NULL ? rules_accept(user->smtp_incoming_rules, sender) : user->smtp_incoming_allowed;
}

bool user_may_send_to(const struct user *user, const struct mail_party *recipient)
{
    return user->smtp_outgoing_rules != NULL ? rules_accept(user->smtp_outgoing_rules, recipient) : user->smtp_outgoing_allowed;
}

static bool class_takes(const struct class_of_service *class, const struct mail_party *sender)
{
    if (class_value(class, INCOMING_ACCESS) == UNDECIDED || class->broken)
        return false;
    struct smtp_rule rule = rule_of(class, INCOMING_ACCESS);
    return rule_accepts(&rule, sender);
}

bool snapshot_takes_mail_from(const struct snapshot *snapshot, const struct mail_party *sender)
{
    bool decided = false;
    for (const struct class_node *node = snapshot_body(snapshot)->classes->defaults; node != NULL; node = node->next) {
        decided = decided || class_value(node->class, INCOMING_ACCESS) != UNDECIDED;
        if (class_takes(node->class, sender))
            return true;
    }
    for (size_t i = 0; decided && i < snapshot->class_count; i++)
        if (class_takes(&snapshot->classes[i], sender))
            return true;
    return !decided;
}

/* --- a user's rights ----------------------------------------------------------------------------------------------------------- */

void rights_apply(const struct snapshot *snapshot, const struct membership *m, struct user *user)
{
    struct judge j;
    judge_init(&j, snapshot, m);
    const struct decision *d = j.decided;
    user->pop3.allowed = d[POP3_ACCESS].value == RIGHT_ALLOW;
    user->pop3.delete_after_download = d[POP3_DELETE].value == 1;
    user->pop3.purge_after_download = d[POP3_PURGE].value == 1;
    user->pop3.plain = d[POP3_MIME].value == 0;
    user->pop3.high_performance_size = d[POP3_SIZE].value == 1;
    user->pop3.days = (uint32_t)d[POP3_DAYS].value;
    user->pop3.max_messages = (uint32_t)d[POP3_MAX].value;
    user->imap4_allowed = d[IMAP4_ACCESS].value == RIGHT_ALLOW;
    user->imap4_connections = (uint32_t)d[IMAP4_CONNECTIONS].value;
    user->imap4_append_size = (uint64_t)d[IMAP4_APPEND].value;
    user->smtp_incoming_rules = rules_of(j.incoming, j.incoming_count, INCOMING_ACCESS);
    user->smtp_incoming_allowed = d[INCOMING_ACCESS].value == RIGHT_ALLOW || user->smtp_incoming_rules != NULL;
    user->smtp_incoming_max_size = (uint64_t)d[INCOMING_SIZE].value;
    user->smtp_outgoing_rules = rules_of(j.outgoing, j.outgoing_count, OUTGOING_ACCESS);
    user->smtp_outgoing_allowed = d[OUTGOING_ACCESS].value == RIGHT_ALLOW || user->smtp_outgoing_rules != NULL;
    user->smtp_outgoing_max_size = (uint64_t)d[OUTGOING_SIZE].value;
    user->smtp_outgoing_forwards = d[OUTGOING_FORWARDS].value == RIGHT_ALLOW;
    user->smtp_outgoing_replies = d[OUTGOING_REPLIES].value == RIGHT_ALLOW;
    user->console_allowed = d[CONSOLE_ACCESS].value == RIGHT_ALLOW;
    judge_fini(&j);
}

void rights_fini(struct user *user)
{
    mem_free(&user->smtp_incoming_rules);
    mem_free(&user->smtp_outgoing_rules);
}

/* --- the report ------------------------------------------------------------------------------------------------------------------ */

struct report_body {
    struct rights_report public;  /* first: they are the same pointer */
    struct arena arena;
    struct rights_row *rows;
};

const char *rights_level_word(enum rights_level level)
{
    static const char *const words[] = {
        [RIGHTS_USER] = "user", [RIGHTS_LIST] = "distribution list", [RIGHTS_POST_OFFICE] = "post office", [RIGHTS_DOMAIN] = "domain",
        [RIGHTS_DEFAULT] = "default class", [RIGHTS_BUILT_IN] = "built in",
    };
    return words[level];
}

static const struct attribute_rule *rule_at(size_t offset)
{
    const struct object_class *class = &object_classes[CLASS_CLASS_OF_SERVICE];
    for (size_t i = 0; i < class->rule_count; i++)
        if (class->rules[i].offset == offset)
            return &class->rules[i];
    return NULL;
}

static const char *value_text(struct arena *arena, enum setting_kind kind, int64_t value)
{
    switch (kind) {
    case SETTING_RIGHT: return value == RIGHT_ALLOW ? "allow" : "prevent";
    case SETTING_BURDEN:
    case SETTING_FAVOUR: return value != 0 ? "TRUE" : "FALSE";
    case SETTING_AMOUNT: break;
    }
    return arena_printf(arena, "%lld", (long long)value);
}

static const char *list_text(struct arena *arena, const struct text_list *list)
{
    struct buf text;
    buf_init(&text, 0);
    for (size_t i = 0; i < list->count; i++)
        buf_printf(&text, "%s%s", i > 0 ? ", " : "", list->values[i]);
    const char *copy = arena_copy(arena, buf_slice(&text)).data;
    buf_fini(&text);
    return copy;
}

static void add_row(struct report_body *r, size_t offset, const char *value, enum rights_level level, const struct seat *seat)
{
    const struct attribute_rule *rule = rule_at(offset);
    struct rights_row *row = &r->rows[r->public.row_count++];
    *row = (struct rights_row){ rule->name, rule->doc, value, level, NULL, NULL };
    if (seat != NULL && seat->class != NULL)
        row->class_dn = arena_printf(&r->arena, "%s", seat->class->version->entry->dn);
    if (seat != NULL && seat->member.data != NULL)
        row->member = arena_copy(&r->arena, seat->member).data;
}

static void add_setting(struct report_body *r, const struct judge *j, enum setting_id id)
{
    const struct decision *d = &j->decided[id];
    struct seat seat = { d->class, d->member };
    add_row(r, settings[id].offset, value_text(&r->arena, settings[id].kind, d->value), d->level, &seat);
}

static void add_exceptions(struct report_body *r, const struct judge *j, enum setting_id id, const struct seat *seats, size_t count)
{
    size_t offset = id == INCOMING_ACCESS ? offsetof(struct class_of_service_settings, smtp_incoming_exceptions)
                                          : offsetof(struct class_of_service_settings, smtp_outgoing_exceptions);
    for (size_t i = 0; i < count; i++)
        add_row(r, offset, list_text(&r->arena, rule_of(seats[i].class, id).exceptions), j->decided[id].level, &seats[i]);
    if (count == 0)
        add_row(r, offset, "", RIGHTS_BUILT_IN, NULL);
}

struct rights_report *rights_explain(const struct snapshot *snapshot, const struct membership *m, const struct user *user)
{
    struct report_body *r = MEM_NEW(struct report_body);
    struct judge j;
    arena_init(&r->arena);
    judge_init(&j, snapshot, m);
    r->rows = ARENA_NEW_ARRAY(&r->arena, struct rights_row, SETTING_COUNT + j.incoming_count + j.outgoing_count + 2);
    for (enum setting_id id = 0; id < SETTING_COUNT; id++) {
        add_setting(r, &j, id);
        if (id == INCOMING_ACCESS)
            add_exceptions(r, &j, id, j.incoming, j.incoming_count);
        if (id == OUTGOING_ACCESS)
            add_exceptions(r, &j, id, j.outgoing, j.outgoing_count);
    }
    judge_fini(&j);
    r->public.user_id = arena_printf(&r->arena, "%s", user->id);
    r->public.user_dn = arena_printf(&r->arena, "%s", user->dn);
    r->public.disabled = user->disabled;
    r->public.rows = r->rows;
    return &r->public;
}

void rights_report_free(struct rights_report **report)
{
    struct report_body *r = (struct report_body *)*report;
    *report = NULL;
    if (r == NULL)
        return;
    arena_clear(&r->arena);
    mem_release(r);
}
