/* fuzz_mime: a message through all of src/mime and the writers of ENVELOPE and BODYSTRUCTURE. The first byte is the size of the chunks
 * in which the structure parser is fed; what it finds must not depend on it, and sizes must add up. */
#include <string.h>

#include "../../src/imap/fetch_text.h"
#include "postern/base/check.h"
#include "postern/mime/decode.h"
#include "postern/mime/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_message(struct slice message, size_t chunk, struct buf *out)
{
    struct arena arena = { 0 };
    struct structure *structure = structure_new(&arena);
    for (size_t at = 0; at < message.len; at += chunk)
        structure_feed(structure, slice_part(message, at, chunk));
    struct part *root = structure_finish(structure);
    structure_free(&structure);
    CHECK(root->header.stored + root->body.stored == message.len);
    fetch_text_envelope(out, root->envelope);
    fetch_text_structure(out, root, false);
    fetch_text_structure(out, root, true);
    arena_clear(&arena);
}

static void decode(struct slice text)
{
    struct buf out = { 0 }, folded = { 0 };
    struct transfer_decoder decoder = { .encoding = text.len % 3 };
    struct header_field field;
    int64_t day;
    transfer_decode(&decoder, text, &out);
    transfer_decode_end(&decoder, &out);
    words_decode(text, &out);
    text_fold(buf_slice(&out), &folded);
    CHECK(folded.len == out.len);
    while (header_next(&text, &field))
        (void)header_date(field.value, &day);
    buf_fini(&out);
    buf_fini(&folded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = { 0 }, split = { 0 };
    if (size == 0)
        return 0;
    struct slice message = slice_make((const char *)data + 1, size - 1);
    write_message(message, size, &whole);
    write_message(message, (size_t)data[0] + 1, &split);
    CHECK(slice_is_equal(buf_slice(&whole), buf_slice(&split)));
    decode(message);
    buf_fini(&whole);
    buf_fini(&split);
    return 0;
}
