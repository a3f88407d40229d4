/* store_fixture: a Maildir in a temporary directory for the tests of src/store, and what strangers do to it behind the store's back. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <CUnit/CUnit.h>

#include "../../src/store/internal.h"

struct maildir {
    char path[128];
    int fd;
    struct mailbox *mailbox;
};

void maildir_make(struct maildir *maildir);
/* The object anew, as another process would have it. */
void maildir_open(struct maildir *maildir);
void maildir_close(struct maildir *maildir);
/* Removes everything. */
void maildir_end(struct maildir *maildir);
/* Writes a file relative to the Maildir. */
void maildir_write(struct maildir *maildir, const char *name, const char *text);
/* The whole file; "" if absent. Freed with mem_free. */
char *maildir_read(struct maildir *maildir, const char *name, size_t *len_out);
bool maildir_has(struct maildir *maildir, const char *name);
unsigned maildir_count(struct maildir *maildir, const char *directory);
/* Sets the times of new and cur back, so that nothing looks young; and of one file. */
void maildir_age(struct maildir *maildir, const char *name, int seconds);
/* Delivers with subject and gives no UID yet. */
void maildir_deliver(struct maildir *maildir, const char *text);
uint32_t maildir_append(struct maildir *maildir, const char *text, uint8_t flags, const char *keyword);
int maildir_sync(struct maildir *maildir);
/* "1:S 3:FT(a)" for messages of the mailbox, through a view. */
void maildir_describe(struct maildir *maildir, char *out, size_t size);
#define ASSERT_DESCRIBES(maildir, expected) \
    do { \
        char description[4096]; \
        maildir_describe((maildir), description, sizeof(description)); \
        CU_ASSERT_STRING_EQUAL(description, (expected)); \
        if (strcmp(description, (expected)) != 0) \
            fprintf(stderr, "%s:%d: is \"%s\", not \"%s\"\n", __FILE__, __LINE__, description, (expected)); \
    } while (0)

#endif
