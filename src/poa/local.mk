# Archive of src/poa: client/server access to post offices.
noinst_LIBRARIES += src/poa/libpoa.a
src_poa_libpoa_a_SOURCES = src/poa/poa.c
