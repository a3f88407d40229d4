/* reader: one connection with the caller's own credentials, for commands that look at a directory from outside the gateway. It writes nothing.
 * One thread; may wait. */
#ifndef POSTERN_DIRECTORY_READER_H
#define POSTERN_DIRECTORY_READER_H

#include "postern/base/fault.h"
#include "postern/directory/directory.h"
#include "postern/directory/pool.h"

struct directory_reader;
/* Binds as the options say; with a password as bind_dn, with none and no other credentials as nobody. options outlive it. */
int directory_reader_open(const struct directory_options *options, struct slice password, struct directory_reader **out, struct fault *fault);
void directory_reader_close(struct directory_reader **reader);
/* The naming context that holds the DN: a new text; and whose server it is. */
int directory_reader_base(struct directory_reader *reader, const char *inside, char **out, enum directory_vendor *vendor_out, struct fault *fault);
/* Every entry, a page at a time (RFC 2696); the entries are the callback's. FAULT_LIMIT: the directory gives these credentials no more; some may have
 * come before. search->limit is not used. */
int directory_reader_search(struct directory_reader *reader, const struct directory_search *search,
                            void (*entry)(void *context, struct directory_entry *entry), void *context, struct fault *fault);

enum directory_probe { PROBE_UNKNOWN, PROBE_DENIED, PROBE_ALLOWED };
/* Whether these credentials may change the attribute of the entry, found out without a change: the request removes two different values that are not
 * there both, so that it fails when the access rules let it pass. For attributes with one value at most any two values do. */
enum directory_probe directory_reader_probe(struct directory_reader *reader, const char *dn, const char *attribute, const char *one,
                                            const char *other, struct fault *fault);

#endif
