noinst_LIBRARIES += src/net/libnet.a
src_net_libnet_a_SOURCES = \
	src/net/client.c src/net/connector.c src/net/endpoint.c src/net/keyed_hash.c src/net/listener.c src/net/loop.c src/net/loop.h src/net/pass.c src/net/pass.h src/net/peer.c src/net/proxy_header.c src/net/public_key.c src/net/resolver.c src/net/stream.c \
	src/net/https.c src/net/https_url.c src/net/tls.h src/net/tls_client.c src/net/tls_context.c src/net/tls_sessions.c
src_net_libnet_a_CFLAGS = $(AM_CFLAGS) $(OPENSSL_CFLAGS) $(CARES_CFLAGS) $(CURL_CFLAGS)
NET_LIBS = $(CURL_LIBS) $(OPENSSL_LIBS) $(CARES_LIBS) $(EV_LIBS)
