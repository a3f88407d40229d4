/* Fuzz target: a client's bytes against a whole IMAP session over the real store. The first byte says in which pieces they come and
 * whether the client is logged in and has a mailbox open. The mailbox is made anew now and then: what inputs leave in it must not slow down
 * those after them. */
#include "../unit/imap_fake.h"

#include <stdint.h>
#include <stdlib.h>

enum { INPUTS_PER_MAILBOX = 8 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fake_set_up();
    atexit(fake_tear_down);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned inputs;
    struct client client;
    if (size == 0)
        return 0;
    if (++inputs % INPUTS_PER_MAILBOX == 0) {
        fake_tear_down();
        fake_set_up();
    }
    size_t piece = (data[0] & 0x3f) + 1;
    client_init(&client);
    if (data[0] & 0x40)
        client_say(&client, "a LOGIN joe \"se\\\"cret\"\r\n");
    if (data[0] & 0x80)
        client_say(&client, "b SELECT INBOX\r\n");
    for (size_t at = 1; at < size; at += piece)
        client_feed(&client, (const char *)data + at, size - at < piece ? size - at : piece);
    client.session.eof = true;
    client_fini(&client);
    return 0;
}
