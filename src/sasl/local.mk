noinst_LIBRARIES += src/sasl/libsasl.a
src_sasl_libsasl_a_SOURCES = src/sasl/client.c src/sasl/json.c src/sasl/json.h src/sasl/jwt.c src/sasl/oauth.c src/sasl/sasl.c src/sasl/scram.c src/sasl/server.h
src_sasl_libsasl_a_CFLAGS = $(AM_CFLAGS) $(GSASL_CFLAGS)
