/* write: puts one entry into the directory, on a connection of its own with the gateway's own credentials. The gateway writes nothing but its own
 * status. One thread at a time. */
#ifndef POSTERN_DIRECTORY_WRITE_H
#define POSTERN_DIRECTORY_WRITE_H

#include <stdint.h>

#include "postern/base/fault.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

struct directory_writer;
/* Opens nothing yet. options outlives the writer. */
struct directory_writer *directory_writer_new(const struct directory_options *options);
void directory_writer_free(struct directory_writer **writer);
/* The entry, whose first `fixed` attributes are only written when it is made: if it is there, the others are replaced (no values: taken away).
 * FAULT_DENIED: the gateway may not. FAULT_NOT_FOUND: there is nothing it could be put under. Within about `ms`. */
int directory_writer_put(struct directory_writer *writer, const struct directory_entry *entry, size_t fixed, uint64_t ms, struct fault *fault);
/* An entry that is not there is no fault. */
int directory_writer_remove(struct directory_writer *writer, const char *dn, uint64_t ms, struct fault *fault);

#endif
