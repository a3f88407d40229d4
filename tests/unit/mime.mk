# Unit tests of src/mime, and the program that the comparison with Dovecot (tests/e2e/structure.py) runs.
check_PROGRAMS += tests/unit/test_mime tests/e2e/mime_driver
TESTS += tests/unit/test_mime
tests_unit_test_mime_SOURCES = tests/unit/test_mime.c
tests_unit_test_mime_LDADD = src/mime/libmime.a src/base/libbase.a $(UNIT_LIBS)
tests_e2e_mime_driver_SOURCES = tests/e2e/mime_driver.c src/imap/fetch_text.c src/imap/fetch_text.h
tests_e2e_mime_driver_LDADD = src/mime/libmime.a src/base/libbase.a
