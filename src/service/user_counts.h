/* user_counts: how many IMAP4 connections each user has in this process, for the limit of the class of service. */
#ifndef SERVICE_USER_COUNTS_H
#define SERVICE_USER_COUNTS_H

#include "conn.h"

struct user_counts;

struct user_counts *user_counts_new(void);
void user_counts_free(struct user_counts **counts);
/* At login: false if the user has as many as allowed. Counts the connection until user_counts_leave; of the other services none is counted. */
bool user_counts_enter(struct conn *conn, const struct user *user);
void user_counts_leave(struct conn *conn);

#endif
