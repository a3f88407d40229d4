/* Unit tests of src/directory that need no server: names, filters, entries, the messages of RFC 4533, and servers that are mute or gone. */
#include <arpa/inet.h>
#include <ldap.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "postern/directory/entry.h"
#include "postern/directory/pool.h"
#include "postern/directory/write.h"
#include "run.h"
#include "src/directory/choice.h"
#include "src/directory/server.h"
#include "src/directory/sync.h"

static void test_normalise(void)
{
    static const struct { const char *dn; const char *normal; } rows[] = {
        { "cn=Sales,dc=example,dc=org", "cn=sales,dc=example,dc=org" },
        { "CN = Sales , DC=Example,dc=ORG", "cn=sales,dc=example,dc=org" },
        { "cn=Two  Words,dc=x", "cn=two words,dc=x" },
        { "cn=\\ edge\\ ,dc=x", "cn=edge,dc=x" },
        { "cn=a\\,dc=x", "cn=a\\2cdc\\3dx" },
        { "cn=a\\2Cb,dc=x", "cn=a\\2cb,dc=x" },
        { "cn=back\\\\,dc=x", "cn=back\\5c,dc=x" },
        { "uid=b+cn=a,dc=x", "cn=a+uid=b,dc=x" },
        { "commonName=A+2.5.4.11=B,domainComponent=x", "cn=a+ou=b,dc=x" }, { "userID=a,0.9.2342.19200300.100.1.25=x", "uid=a,dc=x" },
        { "1.2.3.4=A,cnx=b", "1.2.3.4=a,cnx=b" },
        { "cn=B\xc3\x9cRO \xc5\x81,dc=x", "cn=b\xc3\xbcro \xc5\x82,dc=x" }, { "cn=b\\C3\\9Cro,dc=x", "cn=b\xc3\xbcro,dc=x" },
        { "cn=\xce\xa9\xce\x91\xd0\x96\xd0\xaf\xd0\x81,dc=x", "cn=\xcf\x89\xce\xb1\xd0\xb6\xd1\x8f\xd1\x91,dc=x" },
        { "cn=\xc3\x97\xc3\x9f\xe2\x82\xac\xd7\x90,dc=x", "cn=\xc3\x97\xc3\x9f\xe2\x82\xac\xd7\x90,dc=x" },
        { "cn=a+uid=b,dc=x", "cn=a+uid=b,dc=x" },
        { "", "" },
        { "no name", NULL }, { "=x", NULL }, { "cn", NULL }, { "cn=a,,dc=x", NULL }, { ",", NULL }, { "cn=\"open", NULL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *normal = dn_normalise(slice_from_string(rows[i].dn));
        bool good = rows[i].normal == NULL ? normal == NULL : normal != NULL && strcmp(normal, rows[i].normal) == 0;
        if (!good)
            fprintf(stderr, "%s: %s\n", rows[i].dn, normal != NULL ? normal : "(none)");
        CU_ASSERT(good);
        mem_free(&normal);
    }
    CU_ASSERT_PTR_NULL(dn_normalise(slice_make("cn=a\0b", 6)));
    char *long_dn = mem_alloc(6000);
    memset(long_dn, 'a', 5999);
    memcpy(long_dn, "cn=", 3);
    CU_ASSERT_PTR_NULL(dn_normalise(slice_from_string(long_dn)));
    mem_free(&long_dn);
}

static void test_within(void)
{
    CU_ASSERT(dn_is_within("cn=a,dc=x", "dc=x"));
    CU_ASSERT(dn_is_within("dc=x", "dc=x"));
    CU_ASSERT(dn_is_within("dc=x", ""));
    CU_ASSERT_FALSE(dn_is_within("dc=x", "cn=a,dc=x"));
    CU_ASSERT_FALSE(dn_is_within("cn=a,adc=x", "dc=x"));
    CU_ASSERT_FALSE(dn_is_within("cn=a\\2cdc\\3dx", "dc=x"));
    CU_ASSERT(dn_is_parent("dc=x", "cn=a,dc=x"));
    CU_ASSERT_FALSE(dn_is_parent("dc=x", "cn=b,cn=a,dc=x"));
    CU_ASSERT_FALSE(dn_is_parent("dc=x", "dc=x"));
    char *value = dn_first_value(SLICE_LITERAL("cn=Sales\\2C East,dc=x"));
    CU_ASSERT_STRING_EQUAL(value, "Sales, East");
    mem_free(&value);
}

static void test_filter(void)
{
    static const struct { struct slice value; const char *escaped; } rows[] = {
        { { "joe", 3 }, "joe" }, { { "*", 1 }, "\\2a" }, { { "a)(uid=*", 8 }, "a\\29\\28uid=\\2a" }, { { "\\2a", 3 }, "\\5c2a" },
        { { "a\0b", 3 }, "a\\00b" }, { { "\xc3\xa4", 2 }, "\xc3\xa4" }, { { "", 0 }, "" }, { { "\r\n", 2 }, "\\0d\\0a" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf filter;
        buf_init(&filter, 100);
        CU_ASSERT(filter_append_value(&filter, rows[i].value));
        CU_ASSERT(slice_is(buf_slice(&filter), rows[i].escaped));
        buf_fini(&filter);
    }
    struct buf small;
    buf_init(&small, 4);
    CU_ASSERT_FALSE(filter_append_value(&small, SLICE_LITERAL("a**")));
    buf_fini(&small);
}

static struct directory_entry *make_entry(const char *dn, const char *name, const char *first, const char *second)
{
    struct directory_entry *entry = directory_entry_new(slice_from_string(dn), "00112233-4455-6677-8899-aabbccddeeff");
    struct slice values[2] = { slice_from_string(first), slice_from_string(second) };
    directory_entry_reserve(entry, 1);
    directory_entry_set(entry, 0, slice_from_string(name), values, second != NULL ? 2 : 1);
    return entry;
}

/* Members m0 to m(COUNT-1), without the first `taken` ones, and others in their place. */
static struct directory_entry *make_members(size_t taken)
{
    enum { COUNT = 60000 };
    static char names[2 * COUNT][12];
    static struct slice values[COUNT];
    struct directory_entry *entry = directory_entry_new(slice_from_string("cn=a"), NULL);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i + taken], sizeof(names[0]), "m%zu", i + taken);
        values[i] = slice_from_string(names[i + taken]);
    }
    directory_entry_reserve(entry, 1);
    directory_entry_set(entry, 0, slice_from_string("posternMember"), values, COUNT);
    return entry;
}

/* One of very many members taken away and another added: the whole configuration waits for it. */
static void test_many_values(void)
{
    struct directory_entry *before = make_members(0), *same = make_members(0), *after = make_members(1);
    struct slice first = same->attributes[0].values[0];
    size_t last = same->attributes[0].count - 1;
    memmove(&same->attributes[0].values[0], &same->attributes[0].values[1], last * sizeof(first));
    same->attributes[0].values[last] = first;
    clock_t began = clock();
    CU_ASSERT_FALSE(directory_entry_is_equal(after, before));
    CU_ASSERT_FALSE(directory_entry_is_equal(before, after));
    CU_ASSERT(directory_entry_is_equal(same, before));
    CU_ASSERT(directory_entry_is_equal(before, same));
    CU_ASSERT((clock() - began) / (double)CLOCKS_PER_SEC < 1);   /* of the processor; a walk for each value takes twenty or more */
    directory_entry_free(&before);
    directory_entry_free(&same);
    directory_entry_free(&after);
}

static void test_entries(void)
{
    static const struct { const char *dn; const char *name; const char *first; const char *second; bool equal; } rows[] = {
        { "cn=a", "mail", "x", "y", true }, { "cn=a", "MAIL", "y", "x", true }, { "cn=A", "mail", "x", "y", false },
        { "cn=a", "mail", "x", NULL, false }, { "cn=a", "mail", "x", "z", false }, { "cn=a", "uid", "x", "y", false },
    };
    struct directory_entry *one = make_entry("cn=a", "mail", "x", "y");
    CU_ASSERT_STRING_EQUAL(one->uuid, "00112233-4455-6677-8899-aabbccddeeff");
    CU_ASSERT(directory_entry_has(one, "Mail", "Y"));
    CU_ASSERT_FALSE(directory_entry_has(one, "mail", "z"));
    CU_ASSERT_FALSE(directory_entry_has(one, "mai", "x"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct directory_entry *other = make_entry(rows[i].dn, rows[i].name, rows[i].first, rows[i].second);
        CU_ASSERT_EQUAL(directory_entry_is_equal(one, other), rows[i].equal);
        directory_entry_free(&other);
    }
    directory_entry_free(&one);
    CU_ASSERT_PTR_NULL(one);
    char text[DIRECTORY_UUID_SIZE];
    directory_uuid_print((const unsigned char *)"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", text);
    CU_ASSERT_STRING_EQUAL(text, "00112233-4455-6677-8899-aabbccddeeff");
}

static void test_sync_request(void)
{
    struct berval value;
    CU_ASSERT_FATAL(sync_encode_request(&value));
    CU_ASSERT_EQUAL(value.bv_len, 5);
    CU_ASSERT(memcmp(value.bv_val, "\x30\x03\x0a\x01\x03", 5) == 0);
    ber_memfree(value.bv_val);
}

/* Every prefix of a message is cut off, and each must be refused without reading past its end. */
static void test_sync_state(void)
{
    char good[] = "\x30\x15\x0a\x01\x03\x04\x10" "0123456789abcdef";
    enum sync_state state;
    unsigned char uuid[16];
    struct berval value = { sizeof(good) - 1, good };
    CU_ASSERT(sync_decode_state(&value, &state, uuid));
    CU_ASSERT_EQUAL(state, SYNC_DELETE);
    CU_ASSERT(memcmp(uuid, "0123456789abcdef", 16) == 0);
    for (size_t len = 0; len < sizeof(good) - 1; len++) {
        char *copy = mem_alloc(len + 1);
        memcpy(copy, good, len);
        struct berval cut = { len, copy };
        CU_ASSERT_FALSE(sync_decode_state(&cut, &state, uuid));
        mem_free(&copy);
    }
    good[4] = 4;
    CU_ASSERT_FALSE(sync_decode_state(&value, &state, uuid));
    good[4] = 1;
    CU_ASSERT(sync_decode_state(&value, &state, uuid) && state == SYNC_ADD);
    char small[] = "\x30\x06\x0a\x01\x01\x04\x01" "0";
    CU_ASSERT_FALSE(sync_decode_state(&(struct berval){ sizeof(small) - 1, small }, &state, uuid));
}

static void test_sync_info(void)
{
    static const struct { const char *bytes; size_t len; bool good; enum sync_info info; } rows[] = {
        { "\x80\x02" "ab", 4, true, SYNC_INFO_COOKIE },
        { "\xa1\x00", 2, true, SYNC_INFO_REFRESHED },
        { "\xa1\x04\x04\x02" "ab", 6, true, SYNC_INFO_REFRESHED },
        { "\xa2\x03\x01\x01\x00", 5, true, SYNC_INFO_REFRESHING },
        { "\xa2\x07\x04\x02" "ab\x01\x01\x00", 9, true, SYNC_INFO_REFRESHING },
        { "\xa1\x03\x01\x01\xff", 5, true, SYNC_INFO_REFRESHED },
        { "\xa3\x02\x31\x00", 4, true, SYNC_INFO_ID_SET },
        { "\x30\x00", 2, false, SYNC_INFO_COOKIE }, { "", 0, false, SYNC_INFO_COOKIE }, { "\xa1", 1, false, SYNC_INFO_COOKIE },
        { "\xa1\x05\x04\x7f" "a", 5, false, SYNC_INFO_COOKIE },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char bytes[32] = { 0 };
        memcpy(bytes, rows[i].bytes, rows[i].len);
        enum sync_info info = SYNC_INFO_COOKIE;
        struct berval value = { rows[i].len, bytes };
        bool good = sync_decode_info(&value, &info);
        CU_ASSERT_EQUAL(good, rows[i].good);
        if (good && rows[i].good)
            CU_ASSERT_EQUAL(info, rows[i].info);
    }
}

static void test_bell_request(void)
{
    struct berval value;
    CU_ASSERT_FATAL(bell_encode_request(&value));
    CU_ASSERT_EQUAL(value.bv_len, 11);
    CU_ASSERT(memcmp(value.bv_val, "\x30\x09\x02\x01\x0f\x01\x01\xff\x01\x01\x00", 11) == 0);
    ber_memfree(value.bv_val);
}

/* `csns`: values separated by blanks; NULL: an entry without any. */
static struct directory_entry *entry_with_csn(const char *csns)
{
    struct directory_entry *entry = directory_entry_new(SLICE_LITERAL("dc=x"), NULL);
    struct slice values[4], rest = slice_from_string(csns);
    size_t count = 0;
    while (csns != NULL && count < 4 && slice_split(&rest, ' ', &values[count]))
        count++;
    directory_entry_reserve(entry, count > 0);
    if (count > 0)
        directory_entry_set(entry, 0, SLICE_LITERAL("contextCSN"), values, count);
    return entry;
}

static void test_csn(void)
{
#define CSN(time, sid) "202611230900" time ".000000Z#000000#" sid "#000000"
    static const struct { const char *own; const char *other; bool reached; } rows[] = {
        { CSN("01", "000"), CSN("01", "000"), true },
        { CSN("02", "000"), CSN("01", "000"), true },
        { CSN("01", "000"), CSN("02", "000"), false },
        /* each server ID for itself, in any order */
        { CSN("01", "001") " " CSN("05", "002"), CSN("04", "002") " " CSN("01", "001"), true },
        { CSN("09", "001") " " CSN("05", "002"), CSN("06", "002") " " CSN("01", "001"), false },
        /* what it has of others does not matter, what it lacks does */
        { CSN("01", "001") " " CSN("05", "002"), CSN("01", "001"), true },
        { CSN("09", "001"), CSN("01", "001") " " CSN("05", "002"), false },
        { CSN("09", "001"), "rubbish", false }, { "rubbish", CSN("01", "001"), false },
        { NULL, CSN("01", "001"), false }, { CSN("01", "001"), NULL, false }, { NULL, NULL, false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct directory_entry *own = entry_with_csn(rows[i].own), *other = entry_with_csn(rows[i].other);
        CU_ASSERT_EQUAL(csn_has_reached(own, other), rows[i].reached);
        directory_entry_free(&own);
        directory_entry_free(&other);
    }
}

static void test_choice(void)
{
    struct directory_choice *choice = directory_choice_new(3);
    CU_ASSERT_EQUAL(choice_current(choice), 0);
    choice_set_failed(choice, 1);
    CU_ASSERT_EQUAL(choice_current(choice), 0);
    CU_ASSERT(choice_failed_since(choice, 1) != 0);
    /* over the one that has failed too */
    choice_set_failed(choice, 0);
    CU_ASSERT_EQUAL(choice_current(choice), 2);
    choice_set_failed(choice, 2);
    CU_ASSERT(choice_current(choice) < 3);
    choice_set_current(choice, 0);
    CU_ASSERT_EQUAL(choice_current(choice), 0);
    CU_ASSERT_EQUAL(choice_failed_since(choice, 0), 0);
    CU_ASSERT(choice_failed_since(choice, 2) != 0);
    /* one that is behind, when there is no other */
    choice_set_current(choice, 1);
    choice_set_current(choice, 2);
    choice_set_behind(choice, 0, true);
    choice_set_failed(choice, 2);
    CU_ASSERT_EQUAL(choice_current(choice), 1);
    choice_set_failed(choice, 1);
    CU_ASSERT_EQUAL(choice_current(choice), 0);
    choice_set_current(choice, 0);
    CU_ASSERT_FALSE(choice_is_behind(choice, 0));
    directory_choice_free(&choice);
}

/* A socket that takes connections in its backlog and never answers. */
static int mute_server(char *uri, size_t size)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, 8) == 0);
    CU_ASSERT_FATAL(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    snprintf(uri, size, "%s%u", "ldap://127.0.0.1:", ntohs(address.sin_port));
    return fd;
}

static void test_mute(void)
{
    static const struct { bool start_tls; } rows[] = { { false }, { true } };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char uri[64];
        char *uris[] = { uri };
        int fd = mute_server(uri, sizeof(uri));
        struct directory_options options = { .uris = uris, .uri_count = 1, .start_tls = rows[i].start_tls };
        struct directory_pool *pool = directory_pool_new(&options, DIRECTORY_POOL_BINDS, 1);
        struct fault fault;
        uint64_t start = clock_monotonic_ms();
        CU_ASSERT_EQUAL(directory_pool_bind(pool, "cn=a", SLICE_LITERAL("b"), &fault), -1);
        CU_ASSERT(fault.class == FAULT_TIMEOUT || fault.class == FAULT_UNREACHABLE);
        CU_ASSERT(clock_monotonic_ms() - start < 25000);
        directory_pool_free(&pool);
        close(fd);
    }
}

/* A write ends in time, whatever the server does. */
static void test_write(void)
{
    char mute[64], gone[64];
    char *uris[] = { mute };
    int fd = mute_server(mute, sizeof(mute));
    close(mute_server(gone, sizeof(gone)));
    struct directory_options options = { .uris = uris, .uri_count = 1 };
    struct directory_writer *writer = directory_writer_new(&options);
    struct directory_entry *entry = directory_entry_new(slice_from_string("cn=a,dc=x"), NULL);
    struct slice value = SLICE_LITERAL("a");
    struct fault fault;
    directory_entry_reserve(entry, 2);
    directory_entry_set(entry, 0, slice_from_string("cn"), &value, 1);
    directory_entry_set(entry, 1, slice_from_string("description"), NULL, 0);
    uint64_t start = clock_monotonic_ms();
    CU_ASSERT_EQUAL(directory_writer_put(writer, entry, 1, 300, &fault), -1);
    CU_ASSERT(fault.class == FAULT_TIMEOUT || fault.class == FAULT_UNREACHABLE);
    CU_ASSERT_EQUAL(directory_writer_remove(writer, "cn=a,dc=x", 300, &fault), -1);
    CU_ASSERT(clock_monotonic_ms() - start < 9000);
    uris[0] = gone;
    CU_ASSERT_EQUAL(directory_writer_put(writer, entry, 1, 300, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_UNREACHABLE);
    directory_entry_free(&entry);
    directory_writer_free(&writer);
    directory_writer_free(&writer);
    close(fd);
}

static void test_refused(void)
{
    char gone[64];
    close(mute_server(gone, sizeof(gone)));
    char other[] = "ldapi://%2Fnonexistent%2Fldapi";
    char *uris[] = { gone, other };
    struct directory_options options = { .uris = uris, .uri_count = 2 };
    struct directory_pool *pool = directory_pool_new(&options, DIRECTORY_POOL_BINDS, 2);
    struct fault fault;
    CU_ASSERT_EQUAL(directory_pool_bind(pool, "cn=a", SLICE_LITERAL("b"), &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_UNREACHABLE);
    /* What must never reach a directory does not even try: here an attempt would be FAULT_UNREACHABLE. */
    CU_ASSERT_EQUAL(directory_pool_bind(pool, "cn=a", SLICE_LITERAL(""), &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_AUTHENTICATION);
    CU_ASSERT_EQUAL(directory_pool_bind(pool, "", SLICE_LITERAL("b"), &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_AUTHENTICATION);
    CU_ASSERT_EQUAL(directory_pool_bind(pool, "cn=a", SLICE_LITERAL("\0b"), &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_AUTHENTICATION);
    directory_pool_free(&pool);
}

static _Atomic int slowness_ms;   /* of who is asked first */

/* One reads the request and answers anything; that is enough to be alive, and the answer to a bind is a refusal. */
static void *answer_all(void *argument)
{
    int fd = accept(*(int *)argument, NULL, NULL);
    poll(NULL, 0, atomic_exchange(&slowness_ms, 0));
    unsigned char request[512];
    ssize_t len;
    while (fd >= 0 && (len = read(fd, request, sizeof(request))) > 4) {
        bool bind = len > 5 && request[5] == 0x60;
        unsigned char answer[] = { 0x30, 0x0c, 0x02, 0x01, request[4], bind ? 0x61 : 0x65, 0x07, 0x0a, 0x01, bind ? 49 : 0, 0x04, 0x00, 0x04, 0x00 };
        if (write(fd, answer, sizeof(answer)) < 0)
            break;
    }
    close(fd);
    return NULL;
}

/* The first server is mute: the second one answers in its place, soon, and from then on it is asked first. */
static void test_mute_first(void)
{
    char mute[64], good[64];
    char *uris[] = { mute, good };
    int mute_fd = mute_server(mute, sizeof(mute)), good_fd = mute_server(good, sizeof(good));
    struct directory_options options = { .uris = uris, .uri_count = 2, .choice = directory_choice_new(2) };
    struct directory_pool *pool = directory_pool_new(&options, DIRECTORY_POOL_BINDS, 1);
    struct fault fault;
    pthread_t thread;
    CU_ASSERT_FATAL(pthread_create(&thread, NULL, answer_all, &good_fd) == 0);
    uint64_t start = clock_monotonic_ms();
    CU_ASSERT_EQUAL(directory_pool_bind(pool, "cn=a", SLICE_LITERAL("b"), &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_AUTHENTICATION);
    CU_ASSERT(clock_monotonic_ms() - start < 4500);   /* the mute one is not waited for to the end */
    CU_ASSERT_EQUAL(choice_current(options.choice), 1);
    directory_pool_free(&pool);
    pthread_join(thread, NULL);
    close(mute_fd);
    close(good_fd);
    directory_choice_free(&options.choice);
}

/* A server that takes its time is waited for where the other one has not caught up: it would not know a user who is there. And when it says nothing
 * at all, the other one is better than none. */
static void test_behind(void)
{
    static const struct { bool slow_answers; unsigned at; } rows[] = { { true, 0 }, { false, 1 } };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char slow[64], other[64];
        char *uris[] = { slow, other };
        int slow_fd = mute_server(slow, sizeof(slow)), other_fd = mute_server(other, sizeof(other));
        struct directory_options options = { .uris = uris, .uri_count = 2, .choice = directory_choice_new(2) };
        struct directory_pool *pool = directory_pool_new(&options, DIRECTORY_POOL_BINDS, 1);
        struct fault fault;
        pthread_t threads[2];
        atomic_store(&slowness_ms, rows[i].slow_answers ? 500 : 0);
        choice_set_behind(options.choice, 1, true);
        CU_ASSERT_FATAL(pthread_create(&threads[0], NULL, answer_all, rows[i].slow_answers ? &slow_fd : &other_fd) == 0);
        if (rows[i].slow_answers)
            CU_ASSERT_FATAL(pthread_create(&threads[1], NULL, answer_all, &other_fd) == 0);
        CU_ASSERT_EQUAL(directory_pool_bind(pool, "cn=a", SLICE_LITERAL("b"), &fault), -1);
        CU_ASSERT_EQUAL(fault.class, FAULT_AUTHENTICATION);
        CU_ASSERT_EQUAL(choice_current(options.choice), rows[i].at);
        directory_pool_free(&pool);
        shutdown(slow_fd, SHUT_RDWR);
        shutdown(other_fd, SHUT_RDWR);
        directory_choice_free(&options.choice);
        pthread_join(threads[0], NULL);
        if (rows[i].slow_answers)
            pthread_join(threads[1], NULL);
        close(slow_fd);
        close(other_fd);
    }
}

/* --- a directory that compares ------------------------------------------------------------------------------------------------- */

/* What it answers: a root DSE, a result of compare, and whether the account is disabled. */
struct comparing {
    int fd;
    const char *class, *vendor;
    int result;
    bool disabled;
    char compared[64];
    unsigned compares;
};

static void put_result(BerElement *out, int id, ber_tag_t tag, int code)
{
    ber_printf(out, "{it{ess}}", id, tag, code, "", "");
}

static void answer_search(struct comparing *d, BerElement *out, int id, struct berval *base)
{
    if (base->bv_len == 0)
        ber_printf(out, "{it{s{{s[s]}{s[s]}}}}", id, LDAP_RES_SEARCH_ENTRY, "", "objectClass", d->class, "vendorName", d->vendor);
    else if (d->disabled)
        ber_printf(out, "{it{s{}}}", id, LDAP_RES_SEARCH_ENTRY, base->bv_val);
    put_result(out, id, LDAP_RES_SEARCH_RESULT, 0);
}

static void answer_request(struct comparing *d, BerElement *in, BerElement *out)
{
    ber_int_t id = 0;
    ber_tag_t tag = 0;
    struct berval base = { 0, NULL }, attribute = { 0, NULL }, value = { 0, NULL };
    ber_scanf(in, "it", &id, &tag);
    if (tag == LDAP_REQ_SEARCH) {
        ber_scanf(in, "{m", &base);
        answer_search(d, out, id, &base);
    } else if (tag == LDAP_REQ_COMPARE) {
        ber_scanf(in, "{m{mm}}", &base, &attribute, &value);
        snprintf(d->compared, sizeof(d->compared), "%.*s %.*s %.*s", (int)base.bv_len, base.bv_val, (int)attribute.bv_len, attribute.bv_val, (int)value.bv_len,
                 value.bv_val);
        d->compares++;
        put_result(out, id, LDAP_RES_COMPARE, d->result);
    } else if (tag == LDAP_REQ_BIND)
        put_result(out, id, LDAP_RES_BIND, 0);
}

static void *serve_compares(void *argument)
{
    struct comparing *d = argument;
    Sockbuf *socket = ber_sockbuf_alloc();
    int fd = accept(d->fd, NULL, NULL);
    ber_sockbuf_add_io(socket, &ber_sockbuf_io_tcp, LBER_SBIOD_LEVEL_PROVIDER, &fd);
    for (;;) {
        BerElement *in = ber_alloc_t(LBER_USE_DER), *out = ber_alloc_t(LBER_USE_DER);
        ber_len_t len;
        bool got = ber_get_next(socket, &len, in) == LDAP_TAG_MESSAGE;
        if (got) {
            answer_request(d, in, out);
            got = ber_flush2(socket, out, LBER_FLUSH_FREE_NEVER) == 0;
        }
        ber_free(in, 1);
        ber_free(out, 1);
        if (!got)
            break;
    }
    ber_sockbuf_free(socket);
    return NULL;
}

static void test_compare(void)
{
    static const struct { const char *class, *vendor; int result; bool disabled; int rc; enum fault_class fault; unsigned compares; } rows[] = {
        { "top", "Novell, Inc.", LDAP_COMPARE_TRUE, false, 0, FAULT_NONE, 1 },
        { "top", "Novell, Inc.", LDAP_COMPARE_TRUE, true, -1, FAULT_AUTHENTICATION, 1 },
        { "top", "Novell, Inc.", LDAP_COMPARE_FALSE, false, -1, FAULT_AUTHENTICATION, 1 },
        { "top", "Novell, Inc.", LDAP_NO_SUCH_OBJECT, false, -1, FAULT_AUTHENTICATION, 1 },
        { "top", "Novell, Inc.", LDAP_NO_SUCH_ATTRIBUTE, false, -1, FAULT_AUTHENTICATION, 1 },
        { "top", "Novell, Inc.", LDAP_SUCCESS, false, -1, FAULT_UNREACHABLE, 1 },
        { "top", "Novell, Inc.", LDAP_INSUFFICIENT_ACCESS, false, -1, FAULT_UNREACHABLE, 1 },
        { "top", "Novell, Inc.", LDAP_REFERRAL, false, -1, FAULT_UNREACHABLE, 1 },
        { "OpenLDAProotDSE", "x", LDAP_COMPARE_TRUE, false, -1, FAULT_UNREACHABLE, 0 },
        { "top", "389 Project", LDAP_COMPARE_TRUE, false, -1, FAULT_UNREACHABLE, 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char uri[64];
        char *uris[] = { uri };
        struct comparing d = { .class = rows[i].class, .vendor = rows[i].vendor, .result = rows[i].result, .disabled = rows[i].disabled };
        d.fd = mute_server(uri, sizeof(uri));
        struct directory_options options = { .uris = uris, .uri_count = 1 };
        struct directory_pool *pool = directory_pool_new(&options, DIRECTORY_POOL_LOOK_UPS, 1);
        struct fault fault = { .class = FAULT_NONE };
        pthread_t thread;
        CU_ASSERT_EQUAL(directory_pool_compare(pool, "cn=a", SLICE_LITERAL(""), &fault), -1);
        CU_ASSERT_EQUAL(fault.class, FAULT_AUTHENTICATION);
        CU_ASSERT_FATAL(pthread_create(&thread, NULL, serve_compares, &d) == 0);
        CU_ASSERT_EQUAL(directory_pool_compare(pool, "cn=a,dc=x", SLICE_LITERAL("p w"), &fault), rows[i].rc);
        if (rows[i].rc != 0 && fault.class != rows[i].fault)
            fprintf(stderr, "row %zu: %s\n", i, fault.text);
        if (rows[i].rc != 0)
            CU_ASSERT_EQUAL(fault.class, rows[i].fault);
        directory_pool_free(&pool);
        close(d.fd);
        pthread_join(thread, NULL);
        CU_ASSERT(d.compares == 0 || strcmp(d.compared, "cn=a,dc=x userPassword p w") == 0);
        CU_ASSERT_EQUAL(d.compares > 0, rows[i].compares > 0);
    }
}

static void test_environment(void)
{
    directory_init();
    CU_ASSERT_STRING_EQUAL(getenv("LDAPNOINIT"), "1");
}

static const struct unit_test tests[] = {
    { "normalise", test_normalise }, { "within", test_within }, { "filter", test_filter }, { "entries", test_entries },
    { "sync request", test_sync_request }, { "sync state", test_sync_state }, { "sync info", test_sync_info }, { "mute", test_mute },
    { "refused", test_refused }, { "write", test_write }, { "environment", test_environment },
    { "bell request", test_bell_request }, { "csn", test_csn }, { "choice", test_choice }, { "mute first", test_mute_first },
    { "compare", test_compare }, { "many values", test_many_values }, { "behind", test_behind },
};

UNIT_MAIN("directory", tests)
