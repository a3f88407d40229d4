# Unit tests of src/config, and the driver that tests/e2e/watch.py talks to.
check_PROGRAMS += tests/e2e/config_driver
tests_e2e_config_driver_SOURCES = tests/e2e/config_driver.c
tests_e2e_config_driver_CFLAGS = $(AM_CFLAGS) $(LDAP_CFLAGS)
tests_e2e_config_driver_LDADD = src/config/libconfig.a src/directory/libdirectory.a src/sasl/libsasl.a src/net/libnet.a src/base/libbase.a $(LDAP_LIBS) \
	$(GSASL_LIBS) $(NET_LIBS)
EXTRA_DIST += tests/e2e/directory.py tests/e2e/watch.py tests/e2e/schema.py

check_PROGRAMS += tests/unit/test_config
TESTS += tests/unit/test_config
tests_unit_test_config_SOURCES = tests/unit/test_config.c
tests_unit_test_config_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_config_LDADD = src/config/libconfig.a src/directory/libdirectory.a src/sasl/libsasl.a src/net/libnet.a src/base/libbase.a $(LDAP_LIBS) \
	$(GSASL_LIBS) $(NET_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_publication
TESTS += tests/unit/test_publication
tests_unit_test_publication_SOURCES = tests/unit/test_publication.c
tests_unit_test_publication_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_publication_LDADD = $(tests_unit_test_config_LDADD)

check_PROGRAMS += tests/unit/test_moments
TESTS += tests/unit/test_moments
tests_unit_test_moments_SOURCES = tests/unit/test_moments.c tests/unit/fake_directory.c tests/unit/fake_directory.h
tests_unit_test_moments_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_moments_LDADD = $(tests_unit_test_config_LDADD)

check_PROGRAMS += tests/unit/test_remembered
TESTS += tests/unit/test_remembered
tests_unit_test_remembered_SOURCES = tests/unit/test_remembered.c
tests_unit_test_remembered_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_remembered_LDADD = src/config/libconfig.a src/directory/libdirectory.a src/net/libnet.a src/base/libbase.a $(LDAP_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_rights
TESTS += tests/unit/test_rights
tests_unit_test_rights_SOURCES = tests/unit/test_rights.c
tests_unit_test_rights_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_rights_LDADD = $(tests_unit_test_config_LDADD)

check_PROGRAMS += tests/unit/test_users
TESTS += tests/unit/test_users
tests_unit_test_users_SOURCES = tests/unit/test_users.c
tests_unit_test_users_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_users_LDADD = $(tests_unit_test_remembered_LDADD)

check_PROGRAMS += tests/unit/test_settings
TESTS += tests/unit/test_settings
tests_unit_test_settings_SOURCES = tests/unit/test_settings.c
tests_unit_test_settings_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_settings_LDADD = src/config/libconfig.a src/directory/libdirectory.a src/net/libnet.a src/base/libbase.a $(LDAP_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_server
TESTS += tests/unit/test_server
tests_unit_test_server_SOURCES = tests/unit/test_server.c
tests_unit_test_server_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_server_LDADD = $(tests_unit_test_config_LDADD)

# The tables, for tests/e2e/test_faults.py.
check_PROGRAMS += tests/e2e/tables_driver
tests_e2e_tables_driver_SOURCES = tests/e2e/tables_driver.c
tests_e2e_tables_driver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_e2e_tables_driver_LDADD = src/config/libconfig.a src/base/libbase.a
