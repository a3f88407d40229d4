# Unit tests of src/imap. Only archives of lower ranks are linked.
IMAP_TEST_LIBS = src/imap/libimap.a src/session/libsession.a src/base/libbase.a $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_imap_parser
TESTS += tests/unit/test_imap_parser
tests_unit_test_imap_parser_SOURCES = tests/unit/test_imap_parser.c
tests_unit_test_imap_parser_LDADD = $(IMAP_TEST_LIBS)
