# Archive of src/queue.
noinst_LIBRARIES += src/queue/libqueue.a
src_queue_libqueue_a_SOURCES = \
	src/queue/attempt.c src/queue/attempt.h src/queue/envelope.c src/queue/inbox.c src/queue/notice.c src/queue/queue.c \
	src/queue/relay.c src/queue/relay.h src/queue/schedule.c src/queue/schedule.h src/queue/spool.c src/queue/spool.h
