/* Fuzz target: a client and a POA against what lies between them. A chunk is one byte, whose highest bit says from whom it comes and the others
 * how long it is, and its bytes. What comes out must be the same however the bytes of a chunk arrive. */
#include "../../src/imap/relay_scan.h"

#include <stdint.h>
#include <stdlib.h>

#include "postern/base/check.h"

struct run {
    struct relay_scan scan;
    struct buf client, poa;      /* not taken yet */
    struct buf up, down;         /* all that came out */
    bool failed;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(struct run *run, bool from_poa, const uint8_t *bytes, size_t len)
{
    struct buf out = { .cap = 0 }, *in = from_poa ? &run->poa : &run->client;
    buf_append(in, slice_make((const char *)bytes, len));
    if (from_poa)
        run->failed = run->failed || relay_scan_poa(&run->scan, in, &out) < 0;
    else
        relay_scan_client(&run->scan, in, &out);
    buf_append(from_poa ? &run->down : &run->up, buf_slice(&out));
    buf_fini(&out);
}

static void begin(struct run *run)
{
    *run = (struct run){ 0 };
    relay_scan_init(&run->scan, (struct relay_rules){ true, 20 });
}

static void end(struct run *run)
{
    relay_scan_fini(&run->scan);
    buf_fini(&run->client);
    buf_fini(&run->poa);
    buf_fini(&run->up);
    buf_fini(&run->down);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run whole, cut;
    begin(&whole);
    begin(&cut);
    for (size_t at = 0; at < size && !whole.failed;) {
        bool from_poa = data[at] & 0x80;
        size_t len = data[at++] & 0x7f;
        if (len > size - at)
            len = size - at;
        feed(&whole, from_poa, data + at, len);
        for (size_t i = 0; i < len; i++)
            feed(&cut, from_poa, data + at + i, 1);
        feed(&cut, from_poa, data + at, 0);
        at += len;
        CHECK(slice_is_equal(buf_slice(&whole.up), buf_slice(&cut.up)));
        CHECK(slice_is_equal(buf_slice(&whole.down), buf_slice(&cut.down)));
        CHECK(slice_is_equal(buf_slice(&whole.client), buf_slice(&cut.client)));
        CHECK(whole.scan.up == cut.scan.up && whole.scan.down == cut.scan.down);
    }
    end(&whole);
    end(&cut);
    return 0;
}
