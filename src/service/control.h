/* control: the socket of posternctl: one command a line, answers of "key: value" lines that end with an empty line. First loop only. */
#ifndef SERVICE_CONTROL_H
#define SERVICE_CONTROL_H

#include "gateway.h"

int control_new(struct gateway *gateway, const char *path, struct control **out, struct fault *fault);
void control_free(struct control **control);

#endif
