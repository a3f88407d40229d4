/* Heap memory that never fails: out of memory aborts, and the supervisor restarts the agent. */
#include "postern/base/memory.h"

#include <stdlib.h>
#include <string.h>

#include "postern/base/check.h"

void *mem_alloc(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    CHECK(memory != NULL);
    return memory;
}

void *mem_alloc_array(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);
    CHECK(memory != NULL);
    return memory;
}

void *mem_resize(void *old, size_t size)
{
    void *memory = realloc(old, size ? size : 1);
    CHECK(memory != NULL);
    return memory;
}

char *mem_strdup(const char *text)
{
    if (text == NULL)
        return NULL;
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

void mem_release(void *memory)
{
    free(memory);
}
