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
