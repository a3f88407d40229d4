# The commands of posternctl.
noinst_LIBRARIES += src/ctl/libctl.a
src_ctl_libctl_a_SOURCES = src/ctl/check.c src/ctl/check.h src/ctl/check_say.c src/ctl/check_state.h src/ctl/ctl.h src/ctl/edit.c src/ctl/edit.h src/ctl/gateway.c src/ctl/ldif.c src/ctl/ldif.h src/ctl/password.c src/ctl/postoffice.c
