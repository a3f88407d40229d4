/* switches: the Internet Agent's command-line switches as data, and their arguments turned into values as the directory would write them.
 * Pure data; which words of a command line are switches is the caller's affair. */
#ifndef POSTERN_CONFIG_SWITCHES_H
#define POSTERN_CONFIG_SWITCHES_H

#include <stdint.h>

#include "postern/base/buf.h"
#include "postern/base/fault.h"

enum switch_form {
    SWITCH_NOTHING,     /* taken, without an effect */
    SWITCH_FIXED,       /* no argument: the value stands in the table */
    SWITCH_PLAIN,
    SWITCH_COMMAS,      /* a list separated by commas or blanks */
    SWITCH_THOUSANDS,
    SWITCH_TLS,         /* enable, disable and require are taken too */
    SWITCH_LEVEL,       /* off and diagnostic are taken too */
};

struct switch_rule {
    const char *name;
    const char *attribute;   /* that it overrides; NULL: SWITCH_NOTHING */
    const char *argument;    /* NULL: none */
    const char *value;       /* SWITCH_FIXED */
    const char *doc;         /* of the attribute, or its own */
    enum switch_form form;
    bool many;               /* may be given more than once */
};

/* By position; NULL after the last. */
const struct switch_rule *switch_at(size_t n);
/* Case ignored; NULL: there is none. */
const struct switch_rule *switch_find(struct slice name);
/* Appends the value that the argument stands for. What is wrong with it is said by config_check_switches. */
void switch_translate(const struct switch_rule *rule, struct slice argument, struct buf *out);

/* One override: its strings outlive config_stop. */
struct config_switch {
    const char *attribute;
    const char *value;
    const char *given;       /* as the command line had it, for people */
};

/* The values by themselves, with the ports that may be bound: FAULT_INVALID names the switch and the reason. */
int config_check_switches(const struct config_switch *switches, size_t count, const uint16_t *allowed_ports, size_t allowed_port_count,
                          struct fault *fault);

#endif
