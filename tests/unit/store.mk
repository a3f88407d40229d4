# Unit tests of src/store.
check_PROGRAMS += tests/unit/test_account
TESTS += tests/unit/test_account
tests_unit_test_account_SOURCES = tests/unit/test_account.c
tests_unit_test_account_LDADD = src/store/libstore.a src/base/libbase.a $(UNIT_LIBS)
check_PROGRAMS += tests/e2e/maildir_driver
tests_e2e_maildir_driver_SOURCES = tests/e2e/maildir_driver.c
tests_e2e_maildir_driver_LDADD = src/store/libstore.a src/base/libbase.a
check_PROGRAMS += tests/unit/test_store
TESTS += tests/unit/test_store
tests_unit_test_store_SOURCES = tests/unit/test_store.c tests/unit/store_fixture.c tests/unit/store_fixture.h
tests_unit_test_store_LDADD = src/store/libstore.a src/base/libbase.a $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_store_sharing
TESTS += tests/unit/test_store_sharing
tests_unit_test_store_sharing_SOURCES = tests/unit/test_store_sharing.c tests/unit/store_fixture.c tests/unit/store_fixture.h
tests_unit_test_store_sharing_LDADD = src/store/libstore.a src/base/libbase.a $(UNIT_LIBS)
