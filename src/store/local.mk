# Archive of src/store: Maildir++ post offices, shared with Dovecot.
noinst_LIBRARIES += src/store/libstore.a
src_store_libstore_a_SOURCES =
src_store_libstore_a_SOURCES += src/store/internal.h
src_store_libstore_a_SOURCES += src/store/uidset.c
src_store_libstore_a_SOURCES += src/store/filename.c src/store/filename.h
src_store_libstore_a_SOURCES += src/store/lock.c src/store/lock.h
src_store_libstore_a_SOURCES += src/store/uidvalidity.c
src_store_libstore_a_SOURCES += src/store/table.c src/store/table.h
src_store_libstore_a_SOURCES += src/store/uidlist.c src/store/uidlist.h
src_store_libstore_a_SOURCES += src/store/state.h
src_store_libstore_a_SOURCES += src/store/mailbox.c
src_store_libstore_a_SOURCES += src/store/keywords.c
src_store_libstore_a_SOURCES += src/store/tree.c src/store/tree.h src/store/postoffice.c src/store/folder_name.c
src_store_libstore_a_SOURCES += src/store/account.c src/store/folder_list.c src/store/folders.c src/store/subscriptions.c
src_store_libstore_a_SOURCES += src/store/pop3views.c
