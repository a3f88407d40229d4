/* CHECK's end: says what broke and aborts, so that the supervisor restarts the agent. */
#include "postern/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "postern: bug: %s at %s:%d\n", condition, file, line);
    abort();
}
