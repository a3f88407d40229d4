/* search: SEARCH's arguments and result (RFC 3501 6.4.4). */
#ifndef POSTERN_IMAP_SEARCH_H
#define POSTERN_IMAP_SEARCH_H

#include "fetch.h"

struct search;

/* Parses what follows "SEARCH SP". NULL if malformed (*bad_charset_out false) or if the CHARSET is not supported (true). */
struct search *search_parse(struct imap_parser *p, bool with_uid, bool *bad_charset_out);
bool search_is_in_memory(const struct search *search);
void search_begin(struct search *search, struct view *view);
/* [T], or [L] if in memory. Writes one untagged SEARCH response when done; returns PROGRESS_MORE after about 10 ms of work so that the caller
 * can let others have the thread. */
enum progress search_step(struct search *search, struct buf *out, struct fault *fault);
void search_end(struct search *search);

#endif
