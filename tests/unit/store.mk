# Unit tests of src/store.
check_PROGRAMS += tests/unit/test_account
TESTS += tests/unit/test_account
tests_unit_test_account_SOURCES = tests/unit/test_account.c
tests_unit_test_account_LDADD = src/store/libstore.a src/base/libbase.a $(UNIT_LIBS)
