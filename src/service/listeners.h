/* listeners: the ports that are open, following the configuration. First loop only. */
#ifndef SERVICE_LISTENERS_H
#define SERVICE_LISTENERS_H

#include "gateway.h"
#include "postern/base/answer.h"

struct listeners *listeners_new(struct gateway *gateway);
/* Opens what the snapshot wants and is not open, closes what it does not want; tries again what could not be opened. */
void listeners_follow(struct listeners *listeners, const struct snapshot *snapshot);
/* A table with the service's ports and whether they are open. */
void listeners_status(const struct listeners *listeners, enum service service, struct answer *a);
void listeners_free(struct listeners **listeners);

#endif
