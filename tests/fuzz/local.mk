# Fuzz targets: configure --enable-fuzzers CC=clang builds them; `make fuzz-smoke` runs each for FUZZ_SECONDS on its seeds. What a run
# finds lies in fuzz-work/ of the build directory.
FUZZ_TARGETS = fuzz_fetch fuzz_imap fuzz_mime fuzz_poa fuzz_pop3 fuzz_pop3_link fuzz_relay fuzz_sasl fuzz_smtp
EXTRA_DIST += tests/fuzz/smoke tests/fuzz/seeds
FUZZ_SECONDS = 10
.PHONY: fuzz-smoke
if FUZZERS
FUZZ_LIST = tests/fuzz/fuzz_fetch tests/fuzz/fuzz_imap tests/fuzz/fuzz_mime tests/fuzz/fuzz_poa tests/fuzz/fuzz_pop3 tests/fuzz/fuzz_pop3_link tests/fuzz/fuzz_relay tests/fuzz/fuzz_sasl tests/fuzz/fuzz_smtp
noinst_PROGRAMS += $(FUZZ_LIST)
FUZZ_FLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
FUZZ_FETCH_LIBS = src/imap/libimap.a src/store/libstore.a src/mime/libmime.a src/base/libbase.a
FUZZ_SASL_LIBS = src/sasl/libsasl.a src/base/libbase.a $(GSASL_LIBS)

tests_fuzz_fuzz_fetch_SOURCES = tests/fuzz/fuzz_fetch.c
tests_fuzz_fuzz_fetch_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_fetch_LDADD = $(FUZZ_FETCH_LIBS)

tests_fuzz_fuzz_imap_SOURCES = tests/fuzz/fuzz_imap.c tests/unit/imap_fake.c tests/unit/imap_fake.h
tests_fuzz_fuzz_imap_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_imap_LDADD = src/imap/libimap.a src/session/libsession.a src/store/libstore.a src/mime/libmime.a $(FUZZ_SASL_LIBS)

tests_fuzz_fuzz_mime_SOURCES = tests/fuzz/fuzz_mime.c
tests_fuzz_fuzz_mime_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_mime_LDADD = $(FUZZ_FETCH_LIBS)

tests_fuzz_fuzz_poa_SOURCES = tests/fuzz/fuzz_poa.c
tests_fuzz_fuzz_poa_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_poa_LDADD = src/poa/libpoa.a src/store/libstore.a src/mime/libmime.a src/net/libnet.a src/sasl/libsasl.a src/base/libbase.a

tests_fuzz_fuzz_pop3_SOURCES = tests/fuzz/fuzz_pop3.c tests/unit/pop3_fake.c tests/unit/pop3_fake_store.c tests/unit/pop3_fake.h
tests_fuzz_fuzz_pop3_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_pop3_LDADD = src/pop3/libpop3.a src/session/libsession.a src/store/libstore.a src/mime/libmime.a $(FUZZ_SASL_LIBS)

tests_fuzz_fuzz_pop3_link_SOURCES = tests/fuzz/fuzz_pop3_link.c tests/unit/pop3_fake.c tests/unit/pop3_fake_store.c tests/unit/pop3_fake.h
tests_fuzz_fuzz_pop3_link_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_pop3_link_LDADD = $(tests_fuzz_fuzz_pop3_LDADD)

tests_fuzz_fuzz_relay_SOURCES = tests/fuzz/fuzz_relay.c
tests_fuzz_fuzz_relay_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_relay_LDADD = src/imap/libimap.a src/base/libbase.a

tests_fuzz_fuzz_sasl_SOURCES = tests/fuzz/fuzz_sasl.c
tests_fuzz_fuzz_sasl_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_sasl_LDADD = $(FUZZ_SASL_LIBS)

tests_fuzz_fuzz_smtp_SOURCES = tests/fuzz/fuzz_smtp.c tests/unit/smtp_fake.h
tests_fuzz_fuzz_smtp_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_smtp_LDADD = src/smtp/libsmtp.a src/session/libsession.a src/net/libnet.a $(FUZZ_SASL_LIBS) $(NET_LIBS)

fuzz-smoke: $(FUZZ_LIST)
	$(AM_V_GEN)sh $(srcdir)/tests/fuzz/smoke $(srcdir) $(FUZZ_SECONDS) $(FUZZ_TARGETS)
else
fuzz-smoke:
	@echo 'configure --enable-fuzzers CC=clang first' >&2; exit 1
endif
