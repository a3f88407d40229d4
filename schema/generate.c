/* generate FORM [DN], generate phpldapadmin DIR: run by the build. */
#include "forms.h"

#include <stddef.h>
#include <string.h>

#include "templates.h"

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "phpldapadmin") == 0)
        return templates_write(argv[2]);
    return schema_print(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : NULL);
}
