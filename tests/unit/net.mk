check_PROGRAMS += tests/unit/test_net
TESTS += tests/unit/test_net
tests_unit_test_net_SOURCES = tests/unit/test_net.c
tests_unit_test_net_CFLAGS = $(AM_CFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_net_LDADD = src/net/libnet.a src/base/libbase.a $(UNIT_LIBS) $(NET_LIBS)

check_PROGRAMS += tests/unit/test_connector
TESTS += tests/unit/test_connector
tests_unit_test_connector_SOURCES = tests/unit/test_connector.c
tests_unit_test_connector_LDADD = src/net/libnet.a src/base/libbase.a $(UNIT_LIBS) $(NET_LIBS)

check_PROGRAMS += tests/unit/test_pass
TESTS += tests/unit/test_pass
tests_unit_test_pass_SOURCES = tests/unit/test_pass.c
tests_unit_test_pass_LDADD = src/net/libnet.a src/base/libbase.a $(UNIT_LIBS) $(NET_LIBS)
