# Archive of src/store: Maildir++ post offices, shared with Dovecot.
noinst_LIBRARIES += src/store/libstore.a
src_store_libstore_a_SOURCES =
src_store_libstore_a_SOURCES += src/store/internal.h
