check_PROGRAMS += tests/unit/test_service
TESTS += tests/unit/test_service
tests_unit_test_service_SOURCES = tests/unit/test_service.c
tests_unit_test_service_LDADD = src/service/libservice.a src/session/libsession.a src/net/libnet.a src/base/libbase.a \
	$(UNIT_LIBS) $(NET_LIBS)
