# Archive of src/poa: client/server access to post offices.
noinst_LIBRARIES += src/poa/libpoa.a
src_poa_libpoa_a_SOURCES = \
	src/poa/accepted.c src/poa/accepted.h src/poa/circuit.c src/poa/circuit.h src/poa/compare.c src/poa/compare.h src/poa/dialogue.c src/poa/dialogue.h src/poa/look.c src/poa/look.h src/poa/material.c src/poa/material.h \
	src/poa/opening.c src/poa/opening.h src/poa/picture.c src/poa/picture.h src/poa/poa.c src/poa/report.c
