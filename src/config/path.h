/* path: where mailboxes may lie. Pure text: no file is looked at. Every check answers NULL (good) or the reason why not. */
#ifndef CONFIG_PATH_H
#define CONFIG_PATH_H

#include "postern/base/buf.h"
#include "postern/base/slice.h"

/* An absolute directory at or below mail_root ("" for anywhere), without "." and ".." parts. */
const char *path_check_absolute(struct slice path, const char *mail_root);
/* A mailbox directory: relative; no part is empty, begins with a dot, is longer than 255 octets or has NUL or controls. */
const char *path_check_mailbox(struct slice path);
/* What a user ID or domain must be to become a part of a path. */
const char *path_check_part(struct slice part);
/* Only %u, %d, %1u to %9u, %1d to %9d and %%, and everything else as a mailbox directory; %u has to be there: users who share a
 * mailbox by a template are a mistake. */
const char *path_check_template(struct slice template);
/* Expands a valid template; the result passes path_check_mailbox. domain may be SLICE_NONE if the template has no %d. */
const char *path_expand_template(struct slice template, struct slice user, struct slice domain, struct buf *out);

#endif
