EXTRA_DIST += contrib/quickstart contrib/check contrib/install-packages contrib/fetch-corpus contrib/packages contrib/sample/organisation.ldif contrib/editors.md
EXTRA_DIST += contrib/phpldapadmin/serve contrib/phpldapadmin/internet-agent.png contrib/phpldapadmin/post-office-link.png

sampledir = $(pkgdatadir)/sample
dist_sample_DATA = contrib/sample/classes-of-service.ldif contrib/sample/dovecot-office.ldif contrib/sample/first-site.ldif \
	contrib/sample/post-office-agent.ldif contrib/sample/switch-to-direct.ldif
dist_pkgdata_DATA = contrib/dovecot.conf
phpldapadmindir = $(pkgdatadir)/phpldapadmin
dist_phpldapadmin_DATA = contrib/phpldapadmin/config.php contrib/phpldapadmin/README.md
# The user that the unit names, for systemd-sysusers.
sysusersdir = $(prefix)/lib/sysusers.d
dist_sysusers_DATA = contrib/postern.conf

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
