check_PROGRAMS += tests/unit/test_queue tests/unit/test_agents
TESTS += tests/unit/test_queue tests/unit/test_agents
tests_unit_test_queue_SOURCES = tests/unit/test_queue.c tests/unit/queue_world.h
tests_unit_test_agents_SOURCES = tests/unit/test_agents.c tests/unit/queue_world.h
tests_unit_test_agents_LDADD = $(tests_unit_test_queue_LDADD)
tests_unit_test_queue_LDADD = src/queue/libqueue.a src/mime/libmime.a src/net/libnet.a src/base/libbase.a $(NET_LIBS) $(UNIT_LIBS)
