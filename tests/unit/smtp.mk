check_PROGRAMS += tests/unit/test_smtp
TESTS += tests/unit/test_smtp
tests_unit_test_smtp_SOURCES = tests/unit/test_smtp.c tests/unit/smtp_fake.h
tests_unit_test_smtp_LDADD = src/smtp/libsmtp.a src/session/libsession.a src/sasl/libsasl.a src/net/libnet.a src/base/libbase.a $(NET_LIBS) $(GSASL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_lmtp
TESTS += tests/unit/test_lmtp
tests_unit_test_lmtp_SOURCES = tests/unit/test_lmtp.c tests/unit/smtp_fake.h
tests_unit_test_lmtp_LDADD = $(tests_unit_test_smtp_LDADD)
