/* Fuzz target of src/pop3 over the fake session and store of the unit tests. The first byte says how the rest is cut into pieces and
 * whether it comes after a login. Nothing that a client sends may abort, and every answer must be whole lines. */
#include <stddef.h>
#include <stdint.h>

#include "../unit/pop3_fake.h"
#include "postern/base/check.h"
#include "postern/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answers(void)
{
    struct slice sent = buf_slice(&fake.sent);
    if (sent.len != 0)
        CHECK(slice_starts_with(sent, "+") || slice_starts_with(sent, "-ERR"));
    if (sent.len != 0)
        CHECK(slice_ends_with(sent, "\r\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    log_set_level(LOG_ERROR);
    fake_start();
    fake_sent();
    if (data[0] & 0x80)
        fake_feed_text("USER joe:v=1\r\nPASS secret\r\n");
    fake.session.tls_offered = data[0] & 0x40;
    fake.busy = (data[0] >> 4) & 3;
    size_t piece = (data[0] & 15) != 0 ? data[0] & 15 : size;
    for (size_t at = 1; at < size; at += piece)
        fake_feed((const char *)data + at, size - at < piece ? size - at : piece);
    check_answers();
    if (!fake.closed)
        fake_eof();
    CHECK(fake.closed);
    fake_stop();
    return 0;
}
