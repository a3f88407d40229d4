EXTRA_DIST += contrib/quickstart contrib/check contrib/install-packages contrib/fetch-corpus contrib/packages $(wildcard $(srcdir)/contrib/sample/*.ldif) contrib/editors.md
EXTRA_DIST += contrib/dovecot.conf
EXTRA_DIST += contrib/phpldapadmin/serve contrib/phpldapadmin/README.md contrib/phpldapadmin/config.php contrib/phpldapadmin/internet-agent.png contrib/phpldapadmin/post-office-link.png

# The forms of phpLDAPadmin, as many as the tables make.
noinst_DATA = contrib/phpldapadmin/templates/stamp
contrib/phpldapadmin/templates/stamp: schema/generate$(EXEEXT)
	@$(MKDIR_P) contrib/phpldapadmin && rm -rf contrib/phpldapadmin/templates
	$(AM_V_GEN)schema/generate phpldapadmin contrib/phpldapadmin/templates && touch $@
templates = $(DESTDIR)$(pkgdatadir)/phpldapadmin
install-data-local: contrib/phpldapadmin/templates/stamp
	for kind in creation modification; do \
	  $(MKDIR_P) "$(templates)/$$kind" && $(INSTALL_DATA) contrib/phpldapadmin/templates/$$kind/*.xml "$(templates)/$$kind" || exit 1; \
	done
uninstall-local:
	rm -f "$(templates)"/creation/postern*.xml "$(templates)"/modification/postern*.xml
clean-local:
	rm -rf contrib/phpldapadmin/templates
