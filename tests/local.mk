# Every module's unit tests are one CUnit program; tests/unit/run.c gives them their main.
if HAVE_CUNIT
check_LIBRARIES += tests/unit/librun.a
tests_unit_librun_a_SOURCES = tests/unit/run.c tests/unit/run.h
tests_unit_librun_a_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
UNIT_LIBS = tests/unit/librun.a $(CUNIT_LIBS)
include tests/unit/base.mk
include tests/unit/net.mk
include tests/unit/mime.mk
include tests/unit/sasl.mk
include tests/unit/directory.mk
include tests/unit/store.mk
include tests/unit/config.mk
include tests/unit/poa.mk
include tests/unit/queue.mk
include tests/unit/pop3.mk
include tests/unit/imap.mk
include tests/unit/smtp.mk
include tests/unit/service.mk
include tests/unit/ctl.mk
endif

# The layer rule, by include lines and by the linker.
# Not the folder itself: a build folder would add its object files.
EXTRA_DIST += tests/lint/layers tests/lint/link tests/e2e/run tests/e2e/schema-first.ldif tests/e2e/crash_preload.c $(wildcard $(srcdir)/tests/e2e/*.py)
check-local: check-layers
.PHONY: check-layers
check-layers: $(noinst_LIBRARIES)
	$(AM_V_GEN)sh $(srcdir)/tests/lint/layers $(srcdir)
	$(AM_V_at)CC="$(CC)" SANITIZE="$(SANITIZE)" LIBS_ALL="$(LDAP_LIBS) $(CURL_LIBS) $(OPENSSL_LIBS) $(CARES_LIBS) $(GSASL_LIBS) $(EV_LIBS) $(LIBS)" \
	  sh $(srcdir)/tests/lint/link $(builddir)

# A file system that can be frozen, for test_bad_input.py.
if HAVE_FUSE
check_PROGRAMS += tests/e2e/frozen_fs
tests_e2e_frozen_fs_SOURCES = tests/e2e/frozen_fs.c
tests_e2e_frozen_fs_CFLAGS = $(WARNINGS) $(FUSE_CFLAGS)
tests_e2e_frozen_fs_LDFLAGS =
tests_e2e_frozen_fs_LDADD = $(FUSE_LIBS)
endif

include tests/fuzz/local.mk

# The client of the benchmarks (tests/bench/README.md).
check_PROGRAMS += tests/bench/load
tests_bench_load_SOURCES = tests/bench/load.c
tests_bench_load_CFLAGS = $(WARNINGS) $(OPENSSL_CFLAGS)
tests_bench_load_LDADD = $(OPENSSL_LIBS)
check_PROGRAMS += tests/bench/binds
tests_bench_binds_SOURCES = tests/bench/binds.c
tests_bench_binds_CFLAGS = $(WARNINGS) $(LDAP_CFLAGS)
tests_bench_binds_LDADD = $(LDAP_LIBS)
EXTRA_DIST += tests/bench/README.md tests/bench/run tests/bench/bench.py tests/bench/latency.py tests/bench/logins.py tests/bench/rights.py
