check_PROGRAMS += tests/unit/test_poa tests/unit/test_poa_look
TESTS += tests/unit/test_poa tests/unit/test_poa_look
tests_unit_test_poa_SOURCES = tests/unit/test_poa.c
tests_unit_test_poa_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_poa_LDADD = src/poa/libpoa.a src/config/libconfig.a src/store/libstore.a src/directory/libdirectory.a src/sasl/libsasl.a \
	src/mime/libmime.a src/net/libnet.a src/base/libbase.a $(LDAP_LIBS) $(GSASL_LIBS) $(NET_LIBS) $(UNIT_LIBS)
tests_unit_test_poa_look_SOURCES = tests/unit/test_poa_look.c
tests_unit_test_poa_look_CPPFLAGS = $(tests_unit_test_poa_CPPFLAGS)
tests_unit_test_poa_look_LDADD = $(tests_unit_test_poa_LDADD)
