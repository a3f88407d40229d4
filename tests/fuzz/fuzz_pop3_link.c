/* Fuzz target of POP3 over a Post Office Agent: what the agent says to a session that uses most of it. The first byte says what the client asks for and how
 * the rest is cut into pieces. Nothing that an agent says may abort or be kept without bounds, and its reader gives the same however the octets arrive. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../src/pop3/remote_reader.h"
#include "../../src/pop3/views.h"
#include "../unit/pop3_fake.h"
#include "postern/base/check.h"
#include "postern/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const clients[] = {
    "USER joe\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nRETR 2\r\nRETR 3\r\nTOP 1 3\r\nDELE 1\r\nQUIT\r\n",
    "USER joe:v=1d\r\nPASS secret\r\nUIDL\r\nRETR 1\r\nRETR 3\r\nDELE 2\r\nQUIT\r\n",
    "USER joe:pt=9\r\nPASS secret\r\nLIST\r\nRETR 1\r\nQUIT\r\n",
    "USER joe:sl=2\r\nPASS secret\r\nTOP 2 0\r\nRETR 1\r\nDELE 2\r\nRSET\r\nDELE 1\r\nQUIT\r\n",
    "USER joe:n\r\nPASS secret\r\nLIST\r\nRETR 1\r\nRETR 2\r\nRETR 3\r\nQUIT\r\n",
    "USER joe:nv=1\r\nPASS secret\r\nUIDL\r\nTOP 1 1\r\nRETR 3\r\nDELE 2\r\nQUIT\r\n",
    "USER joe:npt=9\r\nPASS secret\r\nLIST\r\nRETR 1\r\nQUIT\r\n",
    "USER joe:nsl=2\r\nPASS secret\r\nTOP 2 0\r\nRETR 1\r\nRETR 2\r\nQUIT\r\n",
};

/* As many octets as come at once: to the end of a line, or `piece`. */
static size_t take(const uint8_t *data, size_t size, size_t piece)
{
    const uint8_t *end = piece == 0 ? memchr(data, '\n', size) : NULL;
    if (end != NULL)
        return (size_t)(end - data) + 1;
    return piece == 0 || size < piece ? size : piece;
}

static void converse(const char *client, bool asks, bool direct_too, const uint8_t *data, size_t size, size_t piece)
{
    struct remote remote = { .in_limit = 16384, .direct_too = direct_too };
    fake_start();
    fake_sent();
    if (!asks)
        buf_append_text(&remote.capability, "UIDPLUS METADATA LITERAL+");
    fake.remote = &remote;
    fake_feed_text(client);
    for (size_t at = 0; at < size && !fake.closed;) {
        size_t len = take(data + at, size - at, piece);
        buf_append(&remote.in, slice_make((const char *)data + at, len));
        fake_run();
        buf_clear(&remote.out);
        at += len;
    }
    remote.eof = true;
    if (!fake.closed)
        fake_run();
    if (!fake.closed)
        fake_eof();
    CHECK(fake.closed);
    CHECK(strncmp(fake_sent(), "+OK ", 4) == 0);
    fake_stop();
    buf_fini(&remote.in);
    buf_fini(&remote.out);
    buf_fini(&remote.capability);
}

/* What the reader gives, with a mark where each text ends. */
static void read_all(const uint8_t *data, size_t size, size_t piece, struct buf *out)
{
    struct remote_reader reader = { 0 };
    enum remote_event event = REMOTE_MORE;
    for (size_t at = 0; at < size && event != REMOTE_BROKEN;) {
        size_t len = take(data + at, size - at, piece);
        struct slice rest = slice_make((const char *)data + at, len), got;
        at += len;
        while ((event = remote_reader_next(&reader, &rest, &got)) == REMOTE_TEXT || event == REMOTE_LITERAL) {
            buf_append(out, got);
            if (event == REMOTE_TEXT)
                buf_printf(out, "%s|", reader.begins ? "" : "+");
        }
        CHECK(reader.line.len <= REMOTE_LINE_MAX);
    }
    buf_printf(out, event == REMOTE_BROKEN ? "!" : "");
    remote_reader_fini(&reader);
}

static void parse_all(const uint8_t *data, size_t size)
{
    struct slice text = slice_make((const char *)data, size);
    struct view_record record = { 0 };
    struct fetched fetched = { 0 };
    struct buf written = { 0 };
    if (view_record_parse(text, &record)) {
        view_record_write(&record, &written);
        CHECK(written.len <= VIEW_TEXT_MAX);
    }
    fetched_take(&fetched, text, false);
    fetched_take(&fetched, text, true);
    buf_fini(&written);
    view_record_fini(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    log_set_level(LOG_ERROR);
    struct buf whole = { 0 }, cut = { 0 };
    size_t piece = data[0] & 7;
    converse(clients[((data[0] >> 4) & 3) + ((data[0] & 8) ? 4 : 0)], data[0] & 0x40, data[0] & 0x80, data + 1, size - 1, piece);
    read_all(data + 1, size - 1, size, &whole);
    read_all(data + 1, size - 1, piece, &cut);
    CHECK(slice_is_equal(buf_slice(&whole), buf_slice(&cut)));
    parse_all(data + 1, size - 1);
    buf_fini(&whole);
    buf_fini(&cut);
    return 0;
}
