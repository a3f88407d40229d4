# Unit tests of src/directory.
check_PROGRAMS += tests/unit/test_directory
TESTS += tests/unit/test_directory
tests_unit_test_directory_SOURCES = tests/unit/test_directory.c
tests_unit_test_directory_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_directory_CFLAGS = $(AM_CFLAGS) $(LDAP_CFLAGS)
tests_unit_test_directory_LDADD = src/directory/libdirectory.a src/base/libbase.a $(LDAP_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_watch
TESTS += tests/unit/test_watch
tests_unit_test_watch_SOURCES = tests/unit/test_watch.c tests/unit/fake_directory.c tests/unit/fake_directory.h
tests_unit_test_watch_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_watch_CFLAGS = $(AM_CFLAGS) $(LDAP_CFLAGS)
tests_unit_test_watch_LDADD = src/directory/libdirectory.a src/base/libbase.a $(LDAP_LIBS) $(UNIT_LIBS)
