check_PROGRAMS += tests/unit/test_sasl
TESTS += tests/unit/test_sasl
tests_unit_test_sasl_SOURCES = tests/unit/test_sasl.c
tests_unit_test_sasl_LDADD = src/sasl/libsasl.a src/base/libbase.a $(GSASL_LIBS) $(UNIT_LIBS)
