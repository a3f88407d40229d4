# The programs. Link order: upper layers first.
sbin_PROGRAMS += posternd
posternd_SOURCES = src/posternd.c
posternd_LDADD = \
	src/service/libservice.a src/pop3/libpop3.a src/imap/libimap.a src/smtp/libsmtp.a src/queue/libqueue.a \
	src/session/libsession.a src/config/libconfig.a src/store/libstore.a src/directory/libdirectory.a \
	src/sasl/libsasl.a src/mime/libmime.a src/net/libnet.a src/base/libbase.a \
	$(LDAP_LIBS) $(GSASL_LIBS) $(NET_LIBS)

bin_PROGRAMS += posternctl
posternctl_SOURCES = src/posternctl.c
posternctl_LDADD = src/store/libstore.a src/base/libbase.a

dist_man_MANS += src/posternd.8 src/posternctl.8

systemdsystemunit_DATA = contrib/posternd.service
EXTRA_DIST += contrib/posternd.service.in
CLEANFILES += contrib/posternd.service
contrib/posternd.service: $(srcdir)/contrib/posternd.service.in Makefile
	@$(MKDIR_P) contrib
	$(AM_V_GEN)sed -e 's|@sbindir[@]|$(sbindir)|g' $(srcdir)/contrib/posternd.service.in >$@.tmp && mv $@.tmp $@
