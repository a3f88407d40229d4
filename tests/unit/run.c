/* The main of every unit test program. CU_basic_run_tests returns 0 even on failures: the exit code comes from the counts. */
#include "run.h"

#include <CUnit/Basic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

int unit_run(const char *suite, const struct unit_test *tests, size_t count, int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite cu = CU_add_suite(suite, NULL, NULL);
    for (size_t i = 0; i < count; i++)
        if (argc < 2 || strstr(tests[i].name, argv[1]) != NULL)
            CU_add_test(cu, tests[i].name, tests[i].run);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_ErrorCode error = CU_basic_run_tests();
    unsigned asserts = CU_get_number_of_asserts();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return error != CUE_SUCCESS || failures != 0 || asserts == 0;
}
