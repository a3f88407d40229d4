# The commands of posternctl.
noinst_LIBRARIES += src/ctl/libctl.a
src_ctl_libctl_a_SOURCES = src/ctl/ctl.h src/ctl/gateway.c src/ctl/postoffice.c
