# Archive of src/queue.
noinst_LIBRARIES += src/queue/libqueue.a
src_queue_libqueue_a_SOURCES = \
	src/queue/agents.c src/queue/agents.h src/queue/attempt.c src/queue/attempt.h src/queue/envelope.c src/queue/gate.c src/queue/gate.h \
	src/queue/give.c src/queue/give.h src/queue/inbox.c src/queue/introduce.c src/queue/introduce.h src/queue/lane.c src/queue/lane.h src/queue/notice.c src/queue/queue.c \
	src/queue/relay.c src/queue/relay.h src/queue/result.c src/queue/result.h src/queue/schedule.c src/queue/schedule.h src/queue/seek.c src/queue/seek.h src/queue/spool.c src/queue/spool.h \
	src/queue/talk.c src/queue/talk.h
