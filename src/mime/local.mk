# Archive of src/mime.
noinst_LIBRARIES += src/mime/libmime.a
src_mime_libmime_a_SOURCES = \
	src/mime/address.c src/mime/charset.c src/mime/content.c src/mime/fold.c src/mime/header.c src/mime/lexer.c \
	src/mime/lexer.h src/mime/structure.c src/mime/transfer.c src/mime/words.c
