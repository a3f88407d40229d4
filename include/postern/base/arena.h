/* arena: memory that lives as long as one command or session and is freed at once. Not thread-safe. */
#ifndef POSTERN_BASE_ARENA_H
#define POSTERN_BASE_ARENA_H

#include "postern/base/slice.h"

struct arena_block;
struct arena {
    struct arena_block *blocks;
    size_t used;    /* bytes handed out, for caps */
};

/* A zeroed struct is an empty arena. */
void arena_init(struct arena *a);
/* Frees everything; the arena can be used again. */
void arena_clear(struct arena *a);
/* Zeroed, aligned for any type. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_alloc_array(struct arena *a, size_t count, size_t size);
/* Copies, NUL-terminated after the last byte. */
struct slice arena_copy(struct arena *a, struct slice s);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Overwrites everything before freeing it, for arenas that held secrets. */
void arena_wipe(struct arena *a);

#define ARENA_NEW(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define ARENA_NEW_ARRAY(arena, type, count) ((type *)arena_alloc_array((arena), (count), sizeof(type)))

#endif
