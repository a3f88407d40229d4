# Archive of src/imap: the IMAP4rev1 server side.
noinst_LIBRARIES += src/imap/libimap.a
src_imap_libimap_a_SOURCES =
src_imap_libimap_a_SOURCES += src/imap/parser.c src/imap/parser.h
