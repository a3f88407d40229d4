/* server: the object of a Post Office Agent read as the settings of the posternd that serves as it. Internal to src/config. */
#ifndef CONFIG_SERVER_H
#define CONFIG_SERVER_H

#include "parse.h"

/* v: a version of a Post Office Agent. An entry of the same name with the Internet Agent's attributes; the caller's. */
struct directory_entry *server_entry(const struct version *v);
/* The Post Office Agent's attribute that an Internet Agent's stands for, as far as they differ. */
const char *server_attribute(const char *agent_attribute);

#endif
