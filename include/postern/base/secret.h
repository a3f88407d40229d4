/* secret: bytes that must not outlive their use. */
#ifndef POSTERN_BASE_SECRET_H
#define POSTERN_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* Overwrites; never optimised away. */
void secret_wipe(void *memory, size_t len);
/* Wipes and frees a NUL-terminated string, and sets *text to NULL. NULL inside is accepted. */
void secret_free(char **text);
/* In time that depends on the lengths only. */
bool secret_is_equal(const void *a, size_t a_len, const void *b, size_t b_len);
/* len random bytes from the kernel. */
void secret_random(void *memory, size_t len);

#endif
