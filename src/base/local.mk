noinst_LIBRARIES += src/base/libbase.a
src_base_libbase_a_SOURCES = \
	src/base/answer.c src/base/arena.c src/base/buf.c src/base/check.c src/base/clock.c src/base/counter.c src/base/fault.c \
	src/base/log.c src/base/map.c src/base/memory.c src/base/secret.c src/base/slice.c
