/* Drives src/config against a real directory for tests/e2e/watch.py: prints snapshots, looks users up, verifies them, measures. Commands on
 * standard input, answers on standard output, each ended by a line ".".
 * usage: config_driver URIS AGENT_DN STATE_DIR MAIL_ROOT BIND_DN PASSWORD_FILE [WORD VALUE]...
 * Several URIs are separated by blanks. Words: start-tls, external, gssapi (any value); ca-file, cert-file, key-file (a file), keytab (a file). */
#include <inttypes.h>
#include <poll.h>
#include <ldap.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "postern/directory/directory.h"
#include "postern/directory/watch.h"

static void print_office(const struct post_office *po)
{
    printf("office name=%s mode=%d path=%s template=%s separator=%c uuid=%s domains=", po->name, (int)po->mode,
           po->path != NULL ? po->path : "-", po->mailbox_template, po->separator, po->uuid);
    for (size_t i = 0; i < po->domains.count; i++)
        printf("%s%s", i > 0 ? "," : "", po->domains.values[i]);
    printf("\n");
}

static void show(void)
{
    struct snapshot *s = snapshot_current();
    if (s == NULL) {
        printf("none\n");
        return;
    }
    printf("snapshot serial=%" PRIu64 " cache=%d threads=%" PRIu64 " pop3=%d tls=%d classes=%zu faults=%zu\n", s->serial, s->from_cache,
           s->agent.pop3_threads, s->agent.pop3_enabled, s->agent.pop3_tls, s->class_count, s->fault_count);
    for (size_t i = 0; i < s->post_office_count; i++)
        print_office(s->post_offices[i]);
    for (size_t i = 0; i < s->fault_count; i++)
        printf("fault %s|%s|%s\n", s->faults[i].dn, s->faults[i].attribute != NULL ? s->faults[i].attribute : "-", s->faults[i].reason);
    snapshot_unref(&s);
}

static void count_objects(void)
{
    struct snapshot *s = snapshot_current();
    printf("offices=%zu faults=%zu \n", s != NULL ? s->post_office_count : 0, s != NULL ? s->fault_count : 0);
    snapshot_unref(&s);
}

static struct user *find(const char *name)
{
    struct user *user = NULL;
    struct fault fault;
    if (config_find_user(slice_from_string(name), &user, &fault) == 0)
        return user;
    printf("no %s: %s\n", fault_class_word(fault.class), fault.text);
    return NULL;
}

static void describe(struct user *u)
{
    printf("user id=%s office=%s mailbox=%s disabled=%d pop3=%d imap4=%d in=%d out=%d delete=%d purge=%d size=%d days=%u max=%u outsize=%" PRIu64 " addresses=",
           u->id, u->post_office != NULL ? u->post_office->name : "-", u->mailbox_dir, u->disabled, u->pop3.allowed, u->imap4_allowed,
           u->smtp_incoming_allowed, u->smtp_outgoing_allowed, u->pop3.delete_after_download, u->pop3.purge_after_download,
           u->pop3.high_performance_size, u->pop3.days, u->pop3.max_messages, u->smtp_outgoing_max_size);
    for (size_t i = 0; i < u->addresses.count; i++)
        printf("%s%s", i > 0 ? "," : "", u->addresses.values[i]);
    printf("\n");
}

static void print_user(const char *name)
{
    struct user *u = find(name);
    if (u != NULL)
        describe(u);
    user_unref(&u);
}

static void print_kept(const char *name)
{
    struct user *u = NULL;
    if (config_find_kept_user(slice_from_string(name), &u))
        describe(u);
    else
        printf("not kept\n");
    user_unref(&u);
}

/* One user held as a session holds it. */
static struct user *held;
static _Atomic unsigned tellings;

static void users_changed(void *context)
{
    (void)context;
    tellings++;
}

static void print_held(void)
{
    printf("held current=%d told=%u\n", held != NULL && config_user_is_current(held), tellings);
}

static void refresh_held(void)
{
    struct user *u = NULL;
    struct fault fault;
    if (held == NULL || config_refresh_user(held, &u, &fault) != 0) {
        printf("no %s\n", held != NULL ? fault_class_word(fault.class) : "user");
        return;
    }
    user_unref(&held);
    held = u;
    describe(held);
}

/* How many look-ups a second, and how long each took. */
static void rate(const char *name)
{
    enum { ROUNDS = 20000 };
    uint64_t start = clock_monotonic_us();
    unsigned kept = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct user *u = NULL;
        kept += config_find_kept_user(slice_from_string(name), &u);
        user_unref(&u);
    }
    printf("rate kept=%u us=%.3f\n", kept, (double)(clock_monotonic_us() - start) / ROUNDS);
}

/* As a loop does it: a kept user on an open connection, and a thread's way for what cannot be told so. */
static void log_in(char *arguments)
{
    char *password = strchr(arguments, ' ');
    struct fault fault = { .class = FAULT_UNREACHABLE };
    struct user *u = NULL;
    int rc = -1;
    if (password == NULL)
        return;
    *password++ = '\0';
    bool kept = config_find_kept_user(slice_from_string(arguments), &u);
    struct directory_bind *bind = kept ? config_verify_begin(u, slice_from_string(password)) : NULL;
    bool began = bind != NULL;
    while (bind != NULL) {
        struct pollfd look = { .fd = config_verify_fd(bind), .events = POLLIN };
        poll(&look, 1, 1000);
        rc = config_verify_take(&bind, &fault);
    }
    bool thread = rc != 0 && fault.class == FAULT_UNREACHABLE;
    if (thread) {
        user_unref(&u);
        rc = config_find_user(slice_from_string(arguments), &u, &fault);
        rc = rc == 0 ? config_verify_user(u, slice_from_string(password), &fault) : rc;
    }
    printf("login kept=%d began=%d thread=%d %s\n", kept, began, thread, rc == 0 ? "verified" : fault_class_word(fault.class));
    user_unref(&u);
}

static void verify(char *arguments)
{
    char *password = strchr(arguments, ' ');
    struct fault fault;
    if (password != NULL)
        *password++ = '\0';
    struct user *u = find(arguments);
    if (u == NULL)
        return;
    if (config_verify_user(u, slice_from_string(password != NULL ? password : ""), &fault) == 0)
        printf("verified\n");
    else
        printf("refused %s: %s\n", fault_class_word(fault.class), fault.text);
    user_unref(&u);
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* What an edit is seen by: the agent's threads, the domain of a post office, or the path of the one that a link leads to. */
struct edit {
    const char *dn;
    const char *attribute;
    const char *prefix;      /* of the value; a number follows */
};

/* The post office of the link: looked for among all of them only the first time, or the looking would be what is measured. */
static const struct post_office *office_of_link(const struct snapshot *s, const char *link)
{
    static size_t place;
    if (place < s->post_office_count && s->post_offices[place]->link_dn != NULL && strcmp(s->post_offices[place]->link_dn, link) == 0)
        return s->post_offices[place];
    for (place = 0; place < s->post_office_count; place++)
        if (s->post_offices[place]->link_dn != NULL && strcmp(s->post_offices[place]->link_dn, link) == 0)
            return s->post_offices[place];
    return NULL;
}

static bool is_in_force(const struct edit *edit, unsigned value)
{
    struct snapshot *s = snapshot_current();
    char text[64];
    snprintf(text, sizeof(text), "%s%u", edit->prefix, value);
    bool in_force = false;
    if (s != NULL && *edit->prefix == '\0') {
        in_force = s->agent.pop3_threads == value;
    } else if (s != NULL && *edit->prefix != '/') {
        in_force = snapshot_domain(s, slice_from_string(text)) != NULL;
    } else if (s != NULL) {
        const struct post_office *po = office_of_link(s, edit->dn);
        in_force = po != NULL && po->path != NULL && strcmp(po->path, text) == 0;
    }
    snapshot_unref(&s);
    return in_force;
}

static int make_edit(LDAP *ld, const struct edit *edit, unsigned number)
{
    char value[64];
    snprintf(value, sizeof(value), "%s%u", edit->prefix, number);
    char *values[] = { value, NULL };
    LDAPMod mod = { .mod_op = LDAP_MOD_REPLACE, .mod_type = (char *)(uintptr_t)edit->attribute, .mod_values = values };
    LDAPMod *mods[] = { &mod, NULL };
    return ldap_modify_ext_s(ld, edit->dn, mods, NULL, NULL);
}

/* The serial moves with each publication: looking at it is cheap, so that the looking does not slow down what is measured. */
static bool wait_for(const struct edit *edit, unsigned number, uint64_t since)
{
    uint64_t seen = 0;
    while (clock_monotonic_us() - since < 5000000) {
        uint64_t serial = snapshot_current_serial();
        if (serial != seen && is_in_force(edit, number))
            return true;
        seen = serial;
        usleep(20);
    }
    return false;
}

/* From the directory's answer to a modification until the snapshot has it, and from its request. */
static void measure(LDAP *ld, const struct edit *edit)
{
    enum { ROUNDS = 300 };
    static uint64_t after[ROUNDS], whole[ROUNDS];
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t start = clock_monotonic_us();
        if (make_edit(ld, edit, 20 + i) != LDAP_SUCCESS) {
            printf("latency: the edit is refused\n");
            return;
        }
        uint64_t answered = clock_monotonic_us();
        if (!wait_for(edit, 20 + i, start)) {
            printf("latency: no effect of a modification in 5 s\n");
            return;
        }
        after[i] = clock_monotonic_us() - answered;
        whole[i] = clock_monotonic_us() - start;
        usleep(2000);
    }
    qsort(after, ROUNDS, sizeof(after[0]), compare_times);
    qsort(whole, ROUNDS, sizeof(whole[0]), compare_times);
    printf("latency after answer p50 %.3f ms p99 %.3f ms; from request p50 %.3f ms p99 %.3f ms\n", (double)after[ROUNDS / 2] / 1000,
           (double)after[ROUNDS * 99 / 100] / 1000, (double)whole[ROUNDS / 2] / 1000, (double)whole[ROUNDS * 99 / 100] / 1000);
}

/* arguments: who makes the edits, and the password; then, unless the edit has a DN, that. */
static void latency(const char *uri, char *arguments, const struct edit *given)
{
    LDAP *ld;
    int version = LDAP_VERSION3;
    char *password = strchr(arguments, ' ');
    if (password == NULL || ldap_initialize(&ld, uri) != LDAP_SUCCESS)
        return;
    *password++ = '\0';
    char *dn = given->dn == NULL ? strchr(password, ' ') : NULL;
    if (dn != NULL)
        *dn++ = '\0';
    struct edit edit = { dn != NULL ? dn : given->dn, given->attribute, given->prefix };
    struct berval credentials = { strlen(password), password };
    ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
    if (ldap_sasl_bind_s(ld, arguments, LDAP_SASL_SIMPLE, &credentials, NULL, NULL, NULL) == LDAP_SUCCESS)
        measure(ld, &edit);
    ldap_unbind_ext(ld, NULL, NULL);
}

/* What a look-up takes: by the directory alone (the two searches of one), the first time, and from memory; medians over users u0 to uN-1. */
static void raw_search(LDAP *ld, const char *filter)
{
    LDAPMessage *found = NULL;
    char none[] = "1.1", *attributes[] = { none, NULL };
    ldap_search_ext_s(ld, "dc=example,dc=org", LDAP_SCOPE_SUBTREE, filter, attributes, 0, NULL, NULL, NULL, 0, &found);
    ldap_msgfree(found);
}

static uint64_t raw_look_up(LDAP *ld, unsigned user)
{
    char filter[512];
    uint64_t start = clock_monotonic_us();
    snprintf(filter, sizeof(filter), "(&(objectClass=posternMailUser)(|(uid=u%u)(mail=u%u)(posternMailAlias=u%u)))", user, user, user);
    raw_search(ld, filter);
    snprintf(filter, sizeof(filter), "(&(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))(|(member=uid=u%u,ou=people,dc=example,dc=org)"
             "(uniqueMember=uid=u%u,ou=people,dc=example,dc=org)))", user, user);
    raw_search(ld, filter);
    return clock_monotonic_us() - start;
}

static double median(uint64_t *times, unsigned count)
{
    qsort(times, count, sizeof(times[0]), compare_times);
    return (double)times[count / 2];
}

static void cost(const char *uri, char *arguments)
{
    LDAP *ld;
    int version = LDAP_VERSION3;
    char *password = strchr(arguments, ' ');
    unsigned count = (unsigned)strtoul(arguments, NULL, 10);
    if (password == NULL || count == 0 || ldap_initialize(&ld, uri) != LDAP_SUCCESS)
        return;
    struct berval credentials = { strlen(password + 1), password + 1 };
    ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
    if (ldap_sasl_bind_s(ld, "cn=admin,dc=example,dc=org", LDAP_SASL_SIMPLE, &credentials, NULL, NULL, NULL) != LDAP_SUCCESS)
        return;
    uint64_t *raw = MEM_NEW_ARRAY(uint64_t, count), *first = MEM_NEW_ARRAY(uint64_t, count), *again = MEM_NEW_ARRAY(uint64_t, count);
    unsigned restricted = 0;
    for (unsigned i = 0; i < count; i++) {
        char name[32];
        struct user *user = NULL;
        snprintf(name, sizeof(name), "u%u", i);
        raw[i] = raw_look_up(ld, i);
        uint64_t start = clock_monotonic_us();
        int rc = config_find_user(slice_from_string(name), &user, NULL);
        first[i] = clock_monotonic_us() - start;
        restricted += rc == 0 && !user->imap4_allowed;
        user_unref(&user);
        start = clock_monotonic_us();
        (void)config_find_user(slice_from_string(name), &user, NULL);
        again[i] = clock_monotonic_us() - start;
        user_unref(&user);
    }
    printf("cost raw=%.0f first=%.0f kept=%.0f us restricted=%u of %u\n", median(raw, count), median(first, count), median(again, count),
           restricted, count);
    mem_free(&raw);
    mem_free(&first);
    mem_free(&again);
    ldap_unbind_ext(ld, NULL, NULL);
}

struct storm {
    const char *name;
    const char *password;
    _Atomic unsigned good;
    _Atomic unsigned refused;
};

static void *storm_thread(void *context)
{
    struct storm *storm = context;
    for (unsigned i = 0; i < 50; i++) {
        struct user *user;
        struct fault fault;
        if (config_find_user(slice_from_string(storm->name), &user, &fault) != 0)
            continue;
        bool wrong = i % 2 == 1;
        int rc = config_verify_user(user, slice_from_string(wrong ? "wrong" : storm->password), &fault);
        if (rc == 0 && !wrong)
            storm->good++;
        else if (rc != 0 && wrong && fault.class == FAULT_AUTHENTICATION)
            storm->refused++;
        user_unref(&user);
    }
    return NULL;
}

/* More threads than connections, right and wrong passwords in turn: each answer must be the one to its own question. */
static void storm(char *arguments)
{
    enum { THREADS = 40 };
    pthread_t threads[THREADS];
    char *password = strchr(arguments, ' ');
    if (password == NULL)
        return;
    *password++ = '\0';
    struct storm state = { .name = arguments, .password = password };
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, storm_thread, &state) != 0)
            exit(1);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("storm good=%u refused=%u\n", state.good, state.refused);
}

static void print_state(void)
{
    struct directory_watch_state s;
    config_directory_state(&s);
    printf("mode=%s uri=%s since=%" PRIu64 " heard=%" PRIu64 " refresh=%" PRIu64 " refreshes=%u why=%s\n", directory_watch_mode_word(s.mode),
           s.uri != NULL ? s.uri : "-", clock_monotonic_ms() - s.since_ms, s.heard_ms != 0 ? clock_monotonic_ms() - s.heard_ms : 0,
           s.refresh_ms, s.refreshes, s.mode == WATCH_AWAY ? s.why.text : "");
}

static void obey(char *line, char **argv)
{
    line[strcspn(line, "\n")] = '\0';
    char *arguments = strchr(line, ' ');
    static char none[] = "";
    if (arguments != NULL)
        *arguments++ = '\0';
    else
        arguments = none;
    if (strcmp(line, "show") == 0)
        show();
    else if (strcmp(line, "find") == 0)
        print_user(arguments);
    else if (strcmp(line, "kept") == 0)
        print_kept(arguments);
    else if (strcmp(line, "hold") == 0) {
        user_unref(&held);
        held = find(arguments);
        print_held();
    } else if (strcmp(line, "held") == 0)
        print_held();
    else if (strcmp(line, "again") == 0)
        refresh_held();
    else if (strcmp(line, "rate") == 0)
        rate(arguments);
    else if (strcmp(line, "cost") == 0)
        cost(argv[1], arguments);
    else if (strcmp(line, "login") == 0)
        log_in(arguments);
    else if (strcmp(line, "verify") == 0)
        verify(arguments);
    else if (strcmp(line, "latency") == 0)
        latency(argv[1], arguments, &(struct edit){ argv[2], "posternPop3Threads", "" });
    else if (strcmp(line, "latency-link") == 0)
        latency(argv[1], arguments, &(struct edit){ NULL, "posternPath", "/srv/mail/edited/" });
    else if (strcmp(line, "latency-domain") == 0)
        latency(argv[1], arguments, &(struct edit){ NULL, "posternDomain", "edited.d" });
    else if (strcmp(line, "count") == 0)
        count_objects();
    else if (strcmp(line, "storm") == 0)
        storm(arguments);
    else if (strcmp(line, "state") == 0)
        print_state();
    else if (strcmp(line, "refresh") == 0)
        config_refresh();
    printf(".\n");
    fflush(stdout);
}

static void take_word(struct directory_options *o, const char *word, const char *value)
{
    o->start_tls = o->start_tls || strcmp(word, "start-tls") == 0;
    o->external = o->external || strcmp(word, "external") == 0;
    o->gssapi = o->gssapi || strcmp(word, "gssapi") == 0;
    if (strcmp(word, "ca-file") == 0)
        o->ca_file = value;
    else if (strcmp(word, "cert-file") == 0)
        o->cert_file = value;
    else if (strcmp(word, "key-file") == 0)
        o->key_file = value;
    else if (strcmp(word, "keytab") == 0)
        directory_use_keytab(value);
    if (o->external || o->gssapi)
        o->bind_dn = o->password_file = NULL;
}

int main(int argc, char **argv)
{
    if (argc < 7 || argc % 2 == 0)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    char *uris[8];
    struct directory_options directory = { .uris = uris, .uri_count = 0, .bind_dn = argv[5], .password_file = argv[6] };
    struct slice rest = slice_from_string(argv[1]), uri;
    while (directory.uri_count < 8 && slice_split(&rest, ' ', &uri))
        uris[directory.uri_count++] = slice_to_string(uri);
    for (int i = 7; i + 1 < argc; i += 2)
        take_word(&directory, argv[i], argv[i + 1]);
    struct config_options options = { .directory = &directory, .agent_dn = argv[2], .state_dir = argv[3], .mail_root = argv[4],
                                      .allowed_ports = { 25, 110, 143, 465, 587, 993, 995 }, .allowed_port_count = 7, .users_changed = users_changed };
    struct fault fault;
    if (config_start(&options, NULL, NULL, &fault) != 0) {
        fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    char line[1024];
    while (fgets(line, sizeof(line), stdin) != NULL)
        obey(line, argv);
    user_unref(&held);
    config_stop();
    for (size_t i = 0; i < directory.uri_count; i++)
        mem_free(&uris[i]);
    return 0;
}
