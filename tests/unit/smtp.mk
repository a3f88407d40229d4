check_PROGRAMS += tests/unit/test_smtp
TESTS += tests/unit/test_smtp
tests_unit_test_smtp_SOURCES = tests/unit/test_smtp.c tests/unit/smtp_fake.h
tests_unit_test_smtp_LDADD = src/smtp/libsmtp.a src/session/libsession.a src/sasl/libsasl.a src/base/libbase.a $(GSASL_LIBS) $(UNIT_LIBS)
