# Archive of src/smtp.
noinst_LIBRARIES += src/smtp/libsmtp.a
src_smtp_libsmtp_a_SOURCES = \
	src/smtp/address.c src/smtp/address.h src/smtp/auth.c src/smtp/commands.c src/smtp/data.c src/smtp/data.h \
	src/smtp/deliver.c src/smtp/from.c src/smtp/header.c src/smtp/header.h src/smtp/lmtp.c src/smtp/receive.c src/smtp/recipient.c \
	src/smtp/smtp.c src/smtp/state.h src/smtp/trace.c
