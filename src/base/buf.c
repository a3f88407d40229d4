/* Owned, growing, capped bytes. */
#include "postern/base/buf.h"

#include <stdio.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"

void buf_init(struct buf *b, size_t cap)
{
    *b = (struct buf){ .cap = cap };
}

void buf_fini(struct buf *b)
{
    mem_free(&b->data);
    buf_init(b, b->cap);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->overflowed = false;
}

void buf_shrink(struct buf *b)
{
    if (b->len == 0 && b->data != NULL)
        buf_fini(b);
}

struct slice buf_slice(const struct buf *b)
{
    return (struct slice){ b->data, b->len };
}

char *buf_reserve(struct buf *b, size_t more)
{
    if (b->cap != 0 && (more > b->cap || b->len > b->cap - more)) {
        b->overflowed = true;
        return NULL;
    }
    CHECK(more <= (size_t)-1 / 4 && b->len <= (size_t)-1 / 4);
    if (b->data == NULL || b->len + more > b->size) {
        size_t size = b->size ? b->size : 64;
        while (size < b->len + more)
            size *= 2;
        b->data = mem_resize(b->data, size);
        b->size = size;
    }
    return b->data + b->len;
}

void buf_extend(struct buf *b, size_t more)
{
    CHECK(more <= b->size - b->len);
    b->len += more;
}

bool buf_append(struct buf *b, struct slice s)
{
    if (s.len == 0)
        return true;
    char *end = buf_reserve(b, s.len);
    if (end == NULL)
        return false;
    memcpy(end, s.data, s.len);
    b->len += s.len;
    return true;
}

bool buf_append_text(struct buf *b, const char *text)
{
    return buf_append(b, slice_from_string(text));
}

bool buf_append_byte(struct buf *b, char byte)
{
    return buf_append(b, (struct slice){ &byte, 1 });
}

bool buf_append_number(struct buf *b, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return buf_append(b, (struct slice){ digits + at, sizeof(digits) - at });
}

/* Mostly there is room already; vsnprintf also writes the NUL that a buf does not count. */
bool buf_vprintf(struct buf *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = b->data != NULL ? b->size - b->len : 0;
    int len = vsnprintf(room > 0 ? b->data + b->len : NULL, room, format, args);
    CHECK(len >= 0);
    char *end = buf_reserve(b, (size_t)len + 1);
    if (end != NULL) {
        if ((size_t)len >= room)
            vsnprintf(end, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
    return end != NULL;
}

bool buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool fits = buf_vprintf(b, format, args);
    va_end(args);
    return fits;
}

void buf_consume(struct buf *b, size_t count)
{
    CHECK(count <= b->len);
    b->len -= count;
    if (b->len != 0 && count != 0)
        memmove(b->data, b->data + count, b->len);
}

void buf_truncate(struct buf *b, size_t len)
{
    CHECK(len <= b->len);
    b->len = len;
}

void buf_swap(struct buf *a, struct buf *b)
{
    struct buf other = *a;
    *a = *b;
    *b = other;
}

const char *buf_text(struct buf *b)
{
    size_t cap = b->cap;
    b->cap = 0;   /* the NUL is not content */
    char *end = buf_reserve(b, 1);
    b->cap = cap;
    *end = '\0';
    return b->data;
}

void buf_wipe(struct buf *b)
{
    if (b->data != NULL)
        secret_wipe(b->data, b->size);
    buf_fini(b);
}
