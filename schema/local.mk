# The schema for each kind of directory server and its manual page, generated from the tables that the program reads.
noinst_PROGRAMS = schema/generate
schema_generate_SOURCES = schema/generate.c schema/forms.c schema/forms.h schema/templates.c schema/templates.h
schema_generate_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
schema_generate_LDADD = src/config/libconfig.a src/base/libbase.a

schemadir = $(pkgdatadir)/schema
nodist_schema_DATA = schema/postern-openldap.ldif schema/postern-openldap-upgrade.ldif schema/postern-389ds.ldif
dist_schema_DATA = schema/acl-openldap.ldif schema/scram-openldap.ldif schema/aci-389ds.ldif schema/openldap-database.ldif
nodist_man_MANS += schema/postern-schema.5
CLEANFILES += $(nodist_schema_DATA) schema/postern-schema.5

schema/postern-openldap.ldif: schema/generate$(EXEEXT)
	$(AM_V_GEN)schema/generate openldap >$@.tmp && mv $@.tmp $@
schema/postern-openldap-upgrade.ldif: schema/generate$(EXEEXT)
	$(AM_V_GEN)schema/generate openldap-upgrade >$@.tmp && mv $@.tmp $@
schema/postern-389ds.ldif: schema/generate$(EXEEXT)
	$(AM_V_GEN)schema/generate rfc4512 >$@.tmp && mv $@.tmp $@
schema/postern-schema.5: schema/generate$(EXEEXT)
	$(AM_V_GEN)schema/generate man >$@.tmp && mv $@.tmp $@
