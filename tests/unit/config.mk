# Unit tests of src/config, and the driver that tests/e2e/watch.py talks to.
check_PROGRAMS += tests/e2e/config_driver
tests_e2e_config_driver_SOURCES = tests/e2e/config_driver.c
tests_e2e_config_driver_CFLAGS = $(AM_CFLAGS) $(LDAP_CFLAGS)
tests_e2e_config_driver_LDADD = src/config/libconfig.a src/directory/libdirectory.a src/base/libbase.a $(LDAP_LIBS)
EXTRA_DIST += tests/e2e/directory.py tests/e2e/watch.py tests/e2e/schema.py
