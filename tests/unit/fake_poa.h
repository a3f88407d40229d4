/* A POA in place of src/poa for the tests of src/service: what is chosen and how it answers is the test's to say. */
#ifndef TESTS_UNIT_FAKE_POA_H
#define TESTS_UNIT_FAKE_POA_H

#include "postern/poa/poa.h"

extern _Atomic int fake_path;          /* enum poa_path */
extern _Atomic int fake_result;        /* enum poa_result */
extern _Atomic int fake_poa;           /* the POA's end of the last connection */

#endif
