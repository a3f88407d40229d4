noinst_LIBRARIES += src/service/libservice.a
src_service_libservice_a_SOURCES = \
	src/service/claims.c src/service/claims.h src/service/confine.c src/service/conn.c src/service/conn.h src/service/conn_ops.c src/service/control.c \
	src/service/control.h src/service/crash_notes.c src/service/crash_notes.h src/service/fair_key.c src/service/following.c src/service/following.h src/service/gateway.c src/service/gateway.h src/service/intruders.c src/service/intruders.h src/service/listeners.c \
	src/service/listeners.h src/service/lockouts.c src/service/login_gate.c src/service/login_gate.h src/service/mechanisms.c src/service/mechanisms.h src/service/look_up.c src/service/option_words.c src/service/option_words.h src/service/options.c src/service/reach.c src/service/reach.h src/service/pool.c src/service/pool.h src/service/reports.c src/service/sessions.c \
	src/service/revoke.c src/service/revoke.h src/service/tokens.c src/service/tokens.h src/service/user_counts.c src/service/user_counts.h src/service/status.c src/service/step.c src/service/supervisor.c src/service/supervisor_wire.c src/service/supervisor_wire.h src/service/system_calls.c src/service/system_calls.h
