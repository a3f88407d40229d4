/* From the top level down: user, distribution list, post office, domain, default. The first level where a class says something decides; two
 * classes at one level give the more generous value; a class that never was valid prevents. Called by user.c. */
#include "rights.h"

#include <string.h>

enum level { LEVEL_USER, LEVEL_LIST, LEVEL_POST_OFFICE, LEVEL_DOMAIN, LEVEL_DEFAULT, LEVEL_COUNT };
enum setting_kind { SETTING_RIGHT, SETTING_FLAG, SETTING_AMOUNT };
enum setting_id { POP3_ACCESS, POP3_DELETE, POP3_PURGE, POP3_SIZE, POP3_DAYS, POP3_MAX, IMAP4_ACCESS, INCOMING_ACCESS, OUTGOING_ACCESS, OUTGOING_SIZE, SETTING_COUNT };

#define UNDECIDED (-1)
#define SETTING(kind, field) { kind, offsetof(struct class_of_service_settings, field) }

static const struct { enum setting_kind kind; size_t offset; } settings[SETTING_COUNT] = {
    [POP3_ACCESS] = SETTING(SETTING_RIGHT, pop3_access),
    [POP3_DELETE] = SETTING(SETTING_FLAG, pop3_delete_after_download),
    [POP3_PURGE] = SETTING(SETTING_FLAG, pop3_purge_after_download),
    [POP3_SIZE] = SETTING(SETTING_FLAG, pop3_high_performance_size),
    [POP3_DAYS] = SETTING(SETTING_AMOUNT, pop3_days),
    [POP3_MAX] = SETTING(SETTING_AMOUNT, pop3_max_messages),
    [IMAP4_ACCESS] = SETTING(SETTING_RIGHT, imap4_access),
    [INCOMING_ACCESS] = SETTING(SETTING_RIGHT, smtp_incoming_access),
    [OUTGOING_ACCESS] = SETTING(SETTING_RIGHT, smtp_outgoing_access),
    [OUTGOING_SIZE] = SETTING(SETTING_AMOUNT, smtp_outgoing_max_size),
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

static int64_t more_generous(enum setting_kind kind, int64_t a, int64_t b)
{
    if (a == UNDECIDED || b == UNDECIDED)
        return a == UNDECIDED ? b : a;
    switch (kind) {
    case SETTING_RIGHT: return a == RIGHT_ALLOW || b == RIGHT_ALLOW ? RIGHT_ALLOW : RIGHT_PREVENT;
    case SETTING_FLAG: return a < b ? a : b;   /* deleting, purging, guessing sizes: off is more generous */
    case SETTING_AMOUNT: break;
    }
    return a == 0 || b == 0 ? 0 : a > b ? a : b;
}

static bool names(const struct class_of_service *class, struct slice member)
{
    return map_get(&class->version->members, member) != NULL;
}

static bool names_a_domain(const struct class_of_service *class, const struct text_list *addresses)
{
    for (size_t i = 0; i < addresses->count; i++) {
        struct slice address = slice_from_string(addresses->values[i]);
        ptrdiff_t at = slice_find_last(address, '@');
        if (at >= 0 && names(class, slice_from(address, (size_t)at + 1)))
            return true;
    }
    return false;
}

static bool is_member(const struct class_of_service *class, const struct membership *m, enum level level)
{
    switch (level) {
    case LEVEL_USER: return names(class, slice_from_string(m->user));
    case LEVEL_LIST:
        for (size_t i = 0; i < m->list_count; i++)
            if (names(class, slice_from_string(m->lists[i])))
                return true;
        return false;
    case LEVEL_POST_OFFICE: return m->post_office != NULL && names(class, slice_from_string(m->post_office));
    case LEVEL_DOMAIN: return names_a_domain(class, m->addresses);
    case LEVEL_DEFAULT: return class->settings->is_default;
    case LEVEL_COUNT: break;
    }
    return false;
}

static void decide_level(const struct snapshot *snapshot, const struct membership *m, enum level level, int64_t values[SETTING_COUNT])
{
    int64_t here[SETTING_COUNT];
    bool broken = false;
    for (size_t i = 0; i < SETTING_COUNT; i++)
        here[i] = UNDECIDED;
    for (size_t c = 0; c < snapshot->class_count; c++) {
        const struct class_of_service *class = &snapshot->classes[c];
        if (!is_member(class, m, level))
            continue;
        broken = broken || class->broken;
        for (enum setting_id id = 0; id < SETTING_COUNT; id++)
            here[id] = more_generous(settings[id].kind, here[id], class_value(class, id));
    }
    for (enum setting_id id = 0; id < SETTING_COUNT; id++) {
        if (broken && settings[id].kind == SETTING_RIGHT)
            here[id] = RIGHT_PREVENT;
        if (values[id] == UNDECIDED)
            values[id] = here[id];
    }
}

void rights_apply(const struct snapshot *snapshot, const struct membership *m, struct user *user)
{
    int64_t values[SETTING_COUNT];
    for (size_t i = 0; i < SETTING_COUNT; i++)
        values[i] = UNDECIDED;
    for (enum level level = 0; level < LEVEL_COUNT; level++)
        decide_level(snapshot, m, level, values);
    /* What nobody decides, the built-in default class allows. */
    user->pop3.allowed = values[POP3_ACCESS] != RIGHT_PREVENT;
    user->pop3.delete_after_download = values[POP3_DELETE] == 1;
    user->pop3.purge_after_download = values[POP3_PURGE] == 1;
    user->pop3.high_performance_size = values[POP3_SIZE] == 1;
    user->pop3.days = values[POP3_DAYS] > 0 ? (uint32_t)values[POP3_DAYS] : 0;
    user->pop3.max_messages = values[POP3_MAX] > 0 ? (uint32_t)values[POP3_MAX] : 0;
    user->imap4_allowed = values[IMAP4_ACCESS] != RIGHT_PREVENT;
    user->smtp_incoming_allowed = values[INCOMING_ACCESS] != RIGHT_PREVENT;
    user->smtp_outgoing_allowed = values[OUTGOING_ACCESS] != RIGHT_PREVENT;
    user->smtp_outgoing_max_size = values[OUTGOING_SIZE] > 0 ? (uint64_t)values[OUTGOING_SIZE] : 0;
}

struct list_need {
    const struct snapshot *snapshot;
    const char *user;
    bool needed;
};

static void look_at_member(struct slice key, void *value, void *context)
{
    struct list_need *need = context;
    (void)value;
    if (slice_find(key, '=') >= 0 && !slice_is(key, need->user) &&
        map_get(&snapshot_body(need->snapshot)->offices, key) == NULL)
        need->needed = true;
}

bool rights_need_lists(const struct snapshot *snapshot, const char *user_ndn)
{
    struct list_need need = { snapshot, user_ndn, false };
    for (size_t i = 0; i < snapshot->class_count && !need.needed; i++)
        map_for_each(&snapshot->classes[i].version->members, look_at_member, &need);
    return need.needed;
}
