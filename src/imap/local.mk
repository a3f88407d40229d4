# Archive of src/imap: the IMAP4rev1 server side.
noinst_LIBRARIES += src/imap/libimap.a
src_imap_libimap_a_SOURCES =
src_imap_libimap_a_SOURCES += src/imap/append.c
src_imap_libimap_a_SOURCES += src/imap/auth.c
src_imap_libimap_a_SOURCES += src/imap/capability.c
src_imap_libimap_a_SOURCES += src/imap/commands.c src/imap/commands.h
src_imap_libimap_a_SOURCES += src/imap/copy.c
src_imap_libimap_a_SOURCES += src/imap/idle.c
src_imap_libimap_a_SOURCES += src/imap/imap.c src/imap/state.h src/imap/handlers.h
src_imap_libimap_a_SOURCES += src/imap/list.c
src_imap_libimap_a_SOURCES += src/imap/mailboxes.c
src_imap_libimap_a_SOURCES += src/imap/messages.c
src_imap_libimap_a_SOURCES += src/imap/pattern.c src/imap/pattern.h
src_imap_libimap_a_SOURCES += src/imap/reader.c src/imap/reader.h
src_imap_libimap_a_SOURCES += src/imap/relay.c src/imap/relay.h
src_imap_libimap_a_SOURCES += src/imap/relay_scan.c src/imap/relay_scan.h src/imap/relay_internal.h src/imap/relay_client.c src/imap/relay_poa.c
src_imap_libimap_a_SOURCES += src/imap/response.c
src_imap_libimap_a_SOURCES += src/imap/select.c
src_imap_libimap_a_SOURCES += src/imap/sequence.c
src_imap_libimap_a_SOURCES += src/imap/store.c
src_imap_libimap_a_SOURCES += src/imap/parser.c src/imap/parser.h
src_imap_libimap_a_SOURCES += \
	src/imap/fetch.c src/imap/fetch.h src/imap/fetch_internal.h src/imap/fetch_memory.c src/imap/fetch_message.c \
	src/imap/fetch_parse.c src/imap/fetch_simple.c src/imap/fetch_stream.c src/imap/fetch_text.c src/imap/fetch_text.h \
	src/imap/search.c src/imap/search.h src/imap/search_internal.h src/imap/search_parse.c src/imap/search_text.c
