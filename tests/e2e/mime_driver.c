/* mime_driver: prints ENVELOPE, BODY and BODYSTRUCTURE of message files, for structure.py. Arguments: the chunk size in which the files
 * are fed, then the files. For each file: its name, the three sizes of header and body, and "length LF text LF" for each item. */
#include <stdio.h>

#include "../../src/imap/fetch_text.h"
#include "postern/base/buf.h"

static bool read_file(const char *name, struct buf *out)
{
    FILE *file = fopen(name, "rb");
    if (file == NULL)
        return false;
    for (size_t got = 1; got > 0;) {
        char *to = buf_reserve(out, 65536);
        got = to == NULL ? 0 : fread(to, 1, 65536, file);
        buf_extend(out, got);
    }
    return fclose(file) == 0;
}

static void print_item(const char *name, const struct buf *text)
{
    printf("%s %zu\n", name, text->len);
    fwrite(text->data, 1, text->len, stdout);
    putchar('\n');
}

static void print_file(const char *name, struct slice bytes, size_t chunk)
{
    struct arena arena = { 0 };
    struct buf text = { 0 };
    struct structure *structure = structure_new(&arena);
    for (size_t at = 0; at < bytes.len; at += chunk)
        structure_feed(structure, slice_part(bytes, at, chunk));
    struct part *root = structure_finish(structure);
    structure_free(&structure);
    printf("FILE %s %llu\n", name, (unsigned long long)(root->header.sent + root->body.sent));
    fetch_text_envelope(&text, root->envelope);
    print_item("ENVELOPE", &text);
    buf_clear(&text);
    fetch_text_structure(&text, root, false);
    print_item("BODY", &text);
    buf_clear(&text);
    fetch_text_structure(&text, root, true);
    print_item("BODYSTRUCTURE", &text);
    buf_fini(&text);
    arena_clear(&arena);
}

int main(int argc, char **argv)
{
    uint64_t chunk = 0;
    if (argc < 3 || !slice_to_number(slice_from_string(argv[1]), 1 << 20, &chunk) || chunk == 0) {
        fprintf(stderr, "usage: mime_driver CHUNK FILE...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        struct buf bytes = { 0 };
        if (!read_file(argv[i], &bytes)) {
            fprintf(stderr, "mime_driver: cannot read %s\n", argv[i]);
            return 1;
        }
        print_file(argv[i], buf_slice(&bytes), (size_t)chunk);
        buf_fini(&bytes);
    }
    return 0;
}
