/* Memory with the life of one command: blocks that double, freed at once. */
#include "postern/base/arena.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    alignas(max_align_t) char data[];
};

static const size_t FIRST_BLOCK = 1024;
static const size_t LARGEST_BLOCK = 65536;

void arena_init(struct arena *a)
{
    *a = (struct arena){ 0 };
}

static void arena_release(struct arena *a, bool wipe)
{
    while (a->blocks != NULL) {
        struct arena_block *block = a->blocks;
        a->blocks = block->next;
        if (wipe)
            secret_wipe(block->data, block->size);
        mem_free(&block);
    }
    arena_init(a);
}

void arena_clear(struct arena *a)
{
    arena_release(a, false);
}

void arena_wipe(struct arena *a)
{
    arena_release(a, true);
}

void *arena_alloc(struct arena *a, size_t size)
{
    const size_t align = alignof(max_align_t);
    CHECK(size < (size_t)-1 / 2);
    size = (size + align - 1) / align * align;
    struct arena_block *block = a->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t block_size = block == NULL ? FIRST_BLOCK : block->size * 2;
        if (block_size > LARGEST_BLOCK)
            block_size = LARGEST_BLOCK;
        if (block_size < size)
            block_size = size;
        block = mem_alloc(sizeof(*block) + block_size);
        block->size = block_size;
        block->next = a->blocks;
        a->blocks = block;
    }
    void *memory = block->data + block->used;
    block->used += size;
    a->used += size;
    return memory;
}

void *arena_alloc_array(struct arena *a, size_t count, size_t size)
{
    CHECK(size == 0 || count <= (size_t)-1 / 4 / size);
    return arena_alloc(a, count * size);
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    char *copy = arena_alloc(a, s.len + 1);
    if (s.len)
        memcpy(copy, s.data, s.len);
    return (struct slice){ copy, s.len };
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    CHECK(len >= 0);
    char *text = arena_alloc(a, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}
