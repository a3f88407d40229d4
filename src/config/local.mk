# The configuration: attribute tables, objects, snapshots, users.
noinst_LIBRARIES += src/config/libconfig.a
src_config_libconfig_a_SOURCES = \
	src/config/access.c src/config/access.h src/config/attributes.c src/config/attributes.h src/config/build.c src/config/build.h src/config/cache.c src/config/cache.h src/config/changes.c src/config/check.c src/config/claims.c src/config/claims.h \
	src/config/config.c src/config/explain.c src/config/gateways.c src/config/exceptions.c src/config/exceptions.h src/config/found.c src/config/found.h src/config/known_lists.c src/config/known_lists.h src/config/keys.c src/config/keys.h src/config/links.c src/config/lookup.c src/config/lookup.h src/config/members.h src/config/objects.c src/config/objects.h src/config/overlay.c src/config/overlay.h \
	src/config/parse.c src/config/parse.h src/config/parts.c src/config/parts.h src/config/path.c src/config/path.h src/config/remembered.c src/config/remembered.h src/config/report.c src/config/rights.c src/config/rights.h \
	src/config/rules.h src/config/server.c src/config/server.h src/config/snapshot.c src/config/status.c src/config/status.h src/config/status_entry.c src/config/switches.c src/config/user.c src/config/user_changes.c src/config/user_names.c src/config/user_names.h src/config/users.c src/config/users.h src/config/verify.c src/config/verify.h src/config/version.c
