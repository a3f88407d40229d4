# Unit tests of src/imap. Only archives of lower ranks are linked.
IMAP_TEST_LIBS = src/imap/libimap.a src/session/libsession.a src/base/libbase.a $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_imap_parser
TESTS += tests/unit/test_imap_parser
tests_unit_test_imap_parser_SOURCES = tests/unit/test_imap_parser.c
tests_unit_test_imap_parser_LDADD = $(IMAP_TEST_LIBS)
# The store is faked in the test; of its archive only uidset is linked.
check_PROGRAMS += tests/unit/test_imap_fetch
TESTS += tests/unit/test_imap_fetch
tests_unit_test_imap_fetch_SOURCES = tests/unit/test_imap_fetch.c
tests_unit_test_imap_fetch_LDADD = src/imap/libimap.a src/store/libstore.a src/mime/libmime.a src/base/libbase.a $(UNIT_LIBS)
IMAP_SESSION_LIBS = src/imap/libimap.a src/session/libsession.a src/store/libstore.a src/sasl/libsasl.a src/mime/libmime.a \
	src/base/libbase.a $(GSASL_LIBS)
check_PROGRAMS += tests/unit/test_imap
TESTS += tests/unit/test_imap
tests_unit_test_imap_SOURCES = tests/unit/test_imap.c tests/unit/imap_fake.c tests/unit/imap_fake.h
tests_unit_test_imap_LDADD = $(IMAP_SESSION_LIBS) $(UNIT_LIBS)
# Run by tests/e2e/fetch_compare.py.
check_PROGRAMS += tests/e2e/fetch_driver
tests_e2e_fetch_driver_SOURCES = tests/e2e/fetch_driver.c
tests_e2e_fetch_driver_LDADD = src/imap/libimap.a src/store/libstore.a src/mime/libmime.a src/base/libbase.a
check_PROGRAMS += tests/unit/test_imap_pattern
TESTS += tests/unit/test_imap_pattern
tests_unit_test_imap_pattern_SOURCES = tests/unit/test_imap_pattern.c
tests_unit_test_imap_pattern_LDADD = $(IMAP_TEST_LIBS)
check_PROGRAMS += tests/unit/test_relay_scan
TESTS += tests/unit/test_relay_scan
tests_unit_test_relay_scan_SOURCES = tests/unit/test_relay_scan.c
tests_unit_test_relay_scan_LDADD = $(IMAP_TEST_LIBS)
check_PROGRAMS += tests/unit/test_relay
TESTS += tests/unit/test_relay
tests_unit_test_relay_SOURCES = tests/unit/test_relay.c tests/unit/imap_fake.c tests/unit/imap_fake.h
tests_unit_test_relay_LDADD = $(IMAP_SESSION_LIBS) $(UNIT_LIBS)
