/* generate FORM [DN]: run by the build. */
#include "forms.h"

#include <stddef.h>

int main(int argc, char **argv)
{
    return schema_print(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : NULL);
}
