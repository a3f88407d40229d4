noinst_LIBRARIES += src/pop3/libpop3.a
src_pop3_libpop3_a_SOURCES = \
	src/pop3/ahead.c src/pop3/ahead.h src/pop3/auth.c src/pop3/commands.c src/pop3/maildrop.c src/pop3/options.c src/pop3/plain.c src/pop3/pop3.c \
	src/pop3/probe.c src/pop3/remote.c src/pop3/remote_body.c src/pop3/remote_plain.c src/pop3/remote_plain.h src/pop3/remote_reader.c src/pop3/remote_update.c src/pop3/remote_view.c src/pop3/retrieve.c src/pop3/views.c src/pop3/wire.c \
	src/pop3/conversation.h src/pop3/maildrop.h src/pop3/options.h src/pop3/plain.h src/pop3/probe.h src/pop3/remote.h src/pop3/remote_reader.h src/pop3/retrieve.h \
	src/pop3/views.h src/pop3/wire.h
