# The programs. Link order: upper layers first.
sbin_PROGRAMS += posternd
posternd_SOURCES = src/posternd.c
posternd_LDADD = \
	src/service/libservice.a src/pop3/libpop3.a src/imap/libimap.a src/smtp/libsmtp.a src/queue/libqueue.a src/poa/libpoa.a \
	src/session/libsession.a src/config/libconfig.a src/store/libstore.a src/directory/libdirectory.a \
	src/sasl/libsasl.a src/mime/libmime.a src/net/libnet.a src/base/libbase.a \
	$(LDAP_LIBS) $(GSASL_LIBS) $(NET_LIBS)

bin_PROGRAMS += posternctl
posternctl_SOURCES = src/posternctl.c schema/forms.c schema/forms.h
posternctl_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
posternctl_LDADD = src/ctl/libctl.a src/config/libconfig.a src/store/libstore.a src/directory/libdirectory.a src/sasl/libsasl.a src/net/libnet.a \
	src/base/libbase.a $(LDAP_LIBS) $(GSASL_LIBS) $(OPENSSL_LIBS)

dist_man_MANS += src/posternctl.8
# The list of switches comes from the table that the program reads.
nodist_man_MANS += src/man/posternd.8
EXTRA_DIST += src/posternd.8
CLEANFILES += src/man/posternd.8 src/man/switches
src/man/posternd.8: $(srcdir)/src/posternd.8 schema/generate$(EXEEXT)
	@$(MKDIR_P) src/man
	$(AM_V_GEN)schema/generate switches >src/man/switches && sed -e '/SWITCHES: the build/{r src/man/switches' -e 'd;}' $(srcdir)/src/posternd.8 >$@.tmp && mv $@.tmp $@

systemdsystemunit_DATA = contrib/posternd.service
EXTRA_DIST += contrib/posternd.service.in
CLEANFILES += contrib/posternd.service
contrib/posternd.service: $(srcdir)/contrib/posternd.service.in Makefile
	@$(MKDIR_P) contrib
	$(AM_V_GEN)sed -e 's|@sbindir[@]|$(sbindir)|g' $(srcdir)/contrib/posternd.service.in >$@.tmp && mv $@.tmp $@

bashcompletiondir = $(datadir)/bash-completion/completions
bashcompletion_DATA = contrib/completions/posternctl
EXTRA_DIST += contrib/posternctl.bash
CLEANFILES += contrib/completions/posternctl
contrib/completions/posternctl: $(srcdir)/contrib/posternctl.bash
	@$(MKDIR_P) contrib/completions
	$(AM_V_GEN)cp $(srcdir)/contrib/posternctl.bash $@
