noinst_LIBRARIES += src/session/libsession.a
src_session_libsession_a_SOURCES = src/session/exchange.c src/session/session.c
