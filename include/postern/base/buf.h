/* buf: owned, growing bytes with a cap. An append beyond the cap appends nothing and returns false, once and for all
 * visible in `overflowed`. A zeroed struct is an empty buf without a cap; init sets one. Not thread-safe. */
#ifndef POSTERN_BASE_BUF_H
#define POSTERN_BASE_BUF_H

#include <stdarg.h>
#include "postern/base/slice.h"

struct buf {
    char *data;       /* not NUL-terminated; NULL while empty and unallocated */
    size_t len;
    size_t size;      /* allocated */
    size_t cap;       /* 0: no cap */
    bool overflowed;
};

void buf_init(struct buf *b, size_t cap);
/* Frees the bytes; the cap stays and the buf can be used again. NULL is not accepted. */
void buf_fini(struct buf *b);
/* Keeps the memory, forgets the content. */
void buf_clear(struct buf *b);
/* Frees the memory when it is empty: idle connections hold none. */
void buf_shrink(struct buf *b);
struct slice buf_slice(const struct buf *b);
bool buf_append(struct buf *b, struct slice s);
bool buf_append_text(struct buf *b, const char *text);
bool buf_append_byte(struct buf *b, char byte);
bool buf_append_number(struct buf *b, uint64_t number);
bool buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
/* Room for `more` bytes at the end (data + len), to be claimed with buf_extend; NULL when the cap forbids it. */
char *buf_reserve(struct buf *b, size_t more);
void buf_extend(struct buf *b, size_t more);
/* Drops `count` bytes from the front. */
void buf_consume(struct buf *b, size_t count);
/* Cuts the end to `len` bytes. */
void buf_truncate(struct buf *b, size_t len);
/* Exchanges the contents. */
void buf_swap(struct buf *a, struct buf *b);
/* The content as NUL-terminated C text, owned by the buf, valid until the next change. */
const char *buf_text(struct buf *b);
/* Overwrites the content before freeing it, for secrets. */
void buf_wipe(struct buf *b);

#endif
