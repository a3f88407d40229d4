/* plain_file: regular files in directories that a user may have filled with anything: nothing here follows a symbolic link, waits for the
 * other end of a FIFO, or writes into what somebody else made. */
#ifndef STORE_PLAIN_FILE_H
#define STORE_PLAIN_FILE_H

#include <sys/stat.h>

#include "postern/base/fault.h"

/* Opens for reading; *st_out is of the file. -1 with errno ENOENT kept in fault->error if there is none; FAULT_CORRUPT if it is no regular file. */
int plain_file_open(int dir, const char *name, struct stat *st_out, struct fault *fault);
/* A new, empty file, open for writing, in place of whatever has that name. */
int plain_file_make(int dir, const char *name, struct fault *fault);
/* Renames within the directory, and never over a file that is there: EEXIST. */
int rename_keeping(int dir, const char *from, const char *to);

#endif
