check_PROGRAMS += tests/unit/test_pop3
TESTS += tests/unit/test_pop3
tests_unit_test_pop3_SOURCES = tests/unit/test_pop3.c tests/unit/pop3_fake.c tests/unit/pop3_fake_store.c tests/unit/pop3_fake.h
tests_unit_test_pop3_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/pop3
# The store is a fake: of libstore only the UID sets are taken.
tests_unit_test_pop3_LDADD = src/pop3/libpop3.a src/session/libsession.a src/store/libstore.a src/mime/libmime.a src/sasl/libsasl.a src/base/libbase.a \
	$(GSASL_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_pop3_messages
TESTS += tests/unit/test_pop3_messages
tests_unit_test_pop3_messages_SOURCES = tests/unit/test_pop3_messages.c tests/unit/pop3_fake.c tests/unit/pop3_fake_store.c tests/unit/pop3_fake.h
tests_unit_test_pop3_messages_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/pop3
tests_unit_test_pop3_messages_LDADD = $(tests_unit_test_pop3_LDADD)
check_PROGRAMS += tests/unit/test_pop3_store
TESTS += tests/unit/test_pop3_store
tests_unit_test_pop3_store_SOURCES = tests/unit/test_pop3_store.c tests/unit/pop3_fake.c tests/unit/pop3_fake.h
tests_unit_test_pop3_store_LDADD = src/pop3/libpop3.a src/session/libsession.a src/store/libstore.a src/mime/libmime.a src/sasl/libsasl.a src/base/libbase.a \
	$(GSASL_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_pop3_remote
TESTS += tests/unit/test_pop3_remote
POP3_POA = tests/unit/pop3_poa.c tests/unit/pop3_poa.h tests/unit/pop3_fake.c tests/unit/pop3_fake_store.c tests/unit/pop3_fake.h
tests_unit_test_pop3_remote_SOURCES = tests/unit/test_pop3_remote.c $(POP3_POA)
tests_unit_test_pop3_remote_LDADD = $(tests_unit_test_pop3_LDADD)
check_PROGRAMS += tests/unit/test_pop3_ahead
TESTS += tests/unit/test_pop3_ahead
tests_unit_test_pop3_ahead_SOURCES = tests/unit/test_pop3_ahead.c $(POP3_POA)
tests_unit_test_pop3_ahead_LDADD = $(tests_unit_test_pop3_LDADD)
check_PROGRAMS += tests/unit/test_pop3_plain
TESTS += tests/unit/test_pop3_plain
tests_unit_test_pop3_plain_SOURCES = tests/unit/test_pop3_plain.c $(POP3_POA)
tests_unit_test_pop3_plain_LDADD = $(tests_unit_test_pop3_LDADD)
check_PROGRAMS += tests/unit/test_pop3_views
TESTS += tests/unit/test_pop3_views
tests_unit_test_pop3_views_SOURCES = tests/unit/test_pop3_views.c
tests_unit_test_pop3_views_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/pop3
tests_unit_test_pop3_views_LDADD = src/pop3/libpop3.a src/store/libstore.a src/base/libbase.a $(UNIT_LIBS)
