/* handlers: the functions that commands.h names. */
#ifndef POSTERN_IMAP_HANDLERS_H
#define POSTERN_IMAP_HANDLERS_H

#include "state.h"

typedef bool imap_parse(struct imap *imap, struct command *command);
typedef bool imap_run(struct imap *imap, struct command *command);

imap_run capability_run, noop_run, logout_run, id_run, enable_run, namespace_run;    /* capability.c */
imap_parse id_parse, enable_parse;
imap_run starttls_run, authenticate_run, login_run;                                   /* auth.c */
imap_parse authenticate_parse, login_parse;
imap_run select_run, examine_run, close_run, unselect_run;                            /* select.c */
imap_run status_run;                                                                  /* mailboxes.c */
imap_parse rename_parse, status_parse;                                                /* mailboxes.c */
imap_run delete_run;
imap_work create_work, rename_work, subscribe_work, unsubscribe_work, status_work;
imap_parse list_parse, lsub_parse;                                                    /* list.c */
imap_run list_run;
imap_parse append_parse;                                                              /* append.c */
imap_run append_run;
imap_run idle_run;                                                                    /* idle.c */
imap_parse search_command_parse, fetch_command_parse;                                 /* messages.c */
imap_run search_run, fetch_run;
imap_parse store_parse;                                                               /* store.c */
imap_run store_run;
imap_parse copy_parse, expunge_parse;                                                 /* copy.c */
imap_work copy_work, move_work, expunge_work;

/* messages.c: a FETCH has written a part of a response. */
bool fetch_is_midway(const struct imap *imap);

#endif
