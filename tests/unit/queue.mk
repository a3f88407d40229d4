check_PROGRAMS += tests/unit/test_queue
TESTS += tests/unit/test_queue
tests_unit_test_queue_SOURCES = tests/unit/test_queue.c
tests_unit_test_queue_LDADD = src/queue/libqueue.a src/net/libnet.a src/base/libbase.a $(NET_LIBS) $(UNIT_LIBS)
