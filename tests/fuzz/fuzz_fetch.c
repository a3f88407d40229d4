/* fuzz_fetch: the arguments of FETCH and SEARCH. The first byte picks which; what is accepted is freed without having been run. */
#include <string.h>

#include "../../src/imap/fetch.h"
#include "../../src/imap/search.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = { 0 };
    struct imap_parser p = { { NULL, 0 }, &arena };
    bool bad_charset;
    if (size == 0)
        return 0;
    p.rest = slice_make((const char *)data + 1, size - 1);
    if (data[0] & 1)
        fetch_end(fetch_parse(&p, data[0] & 2));
    else
        search_end(search_parse(&p, data[0] & 2, &bad_charset));
    arena_clear(&arena);
    return 0;
}
