check_PROGRAMS += tests/unit/test_ctl
TESTS += tests/unit/test_ctl
tests_unit_test_ctl_SOURCES = tests/unit/test_ctl.c
tests_unit_test_ctl_LDADD = src/ctl/libctl.a src/directory/libdirectory.a src/base/libbase.a $(LDAP_LIBS) $(UNIT_LIBS)
