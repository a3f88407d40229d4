/* Fuzz target of src/smtp over the fake service of the unit tests. The first byte says how the rest is cut into pieces, on which port, and
 * whether it comes after a login. Nothing that a client sends may abort; every answer is whole lines of a code and a text. */
#include <stddef.h>
#include <stdint.h>

#include "../unit/smtp_fake.h"
#include "postern/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answers(void)
{
    struct slice rest = buf_slice(&fake.session.out), line;
    CHECK(slice_ends_with(rest, "\r\n"));
    while (slice_split(&rest, '\n', &line) && line.len != 0) {
        uint64_t code;
        CHECK(line.len > 4 && slice_to_number(slice_part(line, 0, 3), 599, &code) && code >= 200);
        CHECK(line.data[3] == ' ' || line.data[3] == '-');
        CHECK(line.data[line.len - 1] == '\r');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum listener_kind kinds[] = { LISTENER_PLAIN, LISTENER_SUBMISSION, LISTENER_SUBMISSIONS, LISTENER_LMTP };
    if (size == 0)
        return 0;
    log_set_level(LOG_ERROR);
    here_is_loopback = true;
    begin(kinds[data[0] >> 4 & 3]);
    snapshot.agent.relay_host = relay_text;
    world.trusted = "192.0.2.1";   /* the client: by LMTP it may speak for others */
    fake.session.tls = fake.session.clear_login = (data[0] & 0x40) != 0;
    if (data[0] & 0x80)
        give(SLICE_LITERAL("EHLO c\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\nMAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\n"));
    size_t piece = (data[0] & 15) != 0 ? data[0] & 15 : size;
    for (size_t at = 1; at < size; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        give(slice_make((const char *)data + at, len));
        /* Whatever waits in `in` is bounded: a line, or nothing. */
        CHECK(fake.session.closing || fake.session.in.len < 16 * 1024);
    }
    check_answers();
    fake.session.eof = true;
    pump();
    CHECK(fake.session.closing);
    end();
    return 0;
}
