# Archive of src/store: Maildir++ post offices, shared with Dovecot.
noinst_LIBRARIES += src/store/libstore.a
src_store_libstore_a_SOURCES =
src_store_libstore_a_SOURCES += src/store/internal.h
src_store_libstore_a_SOURCES += src/store/uidset.c
src_store_libstore_a_SOURCES += src/store/filename.c src/store/filename.h
src_store_libstore_a_SOURCES += src/store/lock.c src/store/lock.h
src_store_libstore_a_SOURCES += src/store/uidvalidity.c
