check_PROGRAMS += tests/unit/test_service
TESTS += tests/unit/test_service
tests_unit_test_service_SOURCES = tests/unit/test_service.c tests/unit/fake_poa.c tests/unit/fake_poa.h
tests_unit_test_service_LDADD = src/service/libservice.a src/session/libsession.a src/sasl/libsasl.a src/net/libnet.a src/base/libbase.a \
	$(UNIT_LIBS) $(GSASL_LIBS) $(NET_LIBS)

check_PROGRAMS += tests/unit/test_options
TESTS += tests/unit/test_options
tests_unit_test_options_SOURCES = tests/unit/test_options.c
tests_unit_test_options_LDADD = src/service/libservice.a src/config/libconfig.a src/directory/libdirectory.a src/net/libnet.a src/base/libbase.a \
	$(UNIT_LIBS) $(LDAP_LIBS)

check_PROGRAMS += tests/unit/test_intruders
TESTS += tests/unit/test_intruders
tests_unit_test_intruders_SOURCES = tests/unit/test_intruders.c
tests_unit_test_intruders_LDADD = src/service/libservice.a src/base/libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_confine
TESTS += tests/unit/test_confine
tests_unit_test_confine_SOURCES = tests/unit/test_confine.c
tests_unit_test_confine_LDADD = src/service/libservice.a src/base/libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_paths
TESTS += tests/unit/test_paths
tests_unit_test_paths_SOURCES = tests/unit/test_paths.c
tests_unit_test_paths_LDADD = src/service/libservice.a src/base/libbase.a $(UNIT_LIBS)
