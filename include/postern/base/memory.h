/* Heap memory: allocation never fails (the process aborts when memory is exhausted) and returns zeroed bytes.
 * Everything a peer can grow has a cap of its own above this. */
#ifndef POSTERN_BASE_MEMORY_H
#define POSTERN_BASE_MEMORY_H

#include <stddef.h>

/* size bytes, zeroed; size 0 gives a unique pointer. */
void *mem_alloc(size_t size);
/* count * size bytes, zeroed; aborts on overflow. */
void *mem_alloc_array(size_t count, size_t size);
/* Like realloc: bytes beyond the old size are not zeroed. */
void *mem_resize(void *old, size_t size);
/* A NUL-terminated copy; NULL gives NULL. */
char *mem_strdup(const char *text);
/* Frees *pointer (may be NULL) and sets it to NULL. */
#define mem_free(pointer) (mem_release(*(pointer)), (void)(*(pointer) = NULL))
void mem_release(void *memory);

#define MEM_NEW(type) ((type *)mem_alloc(sizeof(type)))
#define MEM_NEW_ARRAY(type, count) ((type *)mem_alloc_array((count), sizeof(type)))

#endif
