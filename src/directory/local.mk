# The LDAP side: the only users of libldap.
noinst_LIBRARIES += src/directory/libdirectory.a
src_directory_libdirectory_a_SOURCES = \
	src/directory/changes.c src/directory/choice.c src/directory/choice.h \
	src/directory/compare.c src/directory/compare.h src/directory/connection.c src/directory/connection.h src/directory/credentials.c src/directory/dn.c src/directory/entry.c src/directory/following.h src/directory/notices.c src/directory/pool.c src/directory/reader.c \
	src/directory/probe.c src/directory/probe.h src/directory/server.c src/directory/server.h src/directory/sync.c src/directory/sync.h src/directory/tls.c src/directory/tls.h src/directory/watch.c src/directory/write.c
src_directory_libdirectory_a_CFLAGS = $(AM_CFLAGS) $(LDAP_CFLAGS)
