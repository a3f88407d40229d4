/* stream: one connected, non-blocking descriptor on a loop, in clear text, as a TLS server or as a TLS client. Holds no buffers while idle. Everything is
 * called on its loop's thread. */
#ifndef POSTERN_NET_STREAM_H
#define POSTERN_NET_STREAM_H

#include "postern/base/buf.h"
#include "postern/base/counter.h"
#include "postern/net/loop.h"
#include "postern/net/tls_client.h"
#include "postern/net/tls_context.h"

enum stream_event {
    STREAM_INPUT,      /* bytes were added to the input */
    STREAM_EOF,        /* the peer sends no more */
    STREAM_WRITTEN,    /* some of the output that had to wait was written: see stream_pending */
    STREAM_TLS_UP,
    STREAM_FAILED,     /* see failure; nothing is called after it */
};

enum stream_failure { STREAM_NO_FAILURE, STREAM_READ_FAILED, STREAM_WRITE_FAILED, STREAM_TLS_FAILED };

struct pass;
struct stream;
/* Must not call stream_fini. Never called from within another function of this header. */
typedef void stream_callback(struct stream *stream, enum stream_event event, void *context);
/* Input that comes while none is kept, before it is: bytes is lent for the call, and may be consumed, not grown or freed. True: all is done. False: what is left in bytes
 * goes to `in`, and INPUT is told. */
typedef bool stream_taker(struct stream *stream, struct buf *bytes, void *context);

struct stream {
    struct loop *loop;
    uint64_t storage[7];          /* libev's watcher */
    int fd;
    void *ssl;
    stream_callback *callback;
    stream_taker *take;           /* set by the owner; may be NULL */
    void *context;
    struct buf *in;
    size_t in_limit;              /* no more than this is kept in `in` */
    struct buf out;               /* handed over and not yet written, from out_at on */
    size_t out_at;
    struct counters *counters;    /* may be NULL */
    struct pass *passed;          /* bytes of another stream, to be written before those of `out`; or NULL */
    struct stream *pass_to;       /* see stream_pass; or NULL */
    uint64_t *pass_left;
    uint64_t waiting_since;       /* the last time that output that had to wait moved, in clock_monotonic_ms */
    enum stream_failure failure;
    bool input_wanted;
    bool end_follows;
    bool input_left;              /* reading stopped at the limit: TLS may hold more */
    bool tls_wants_write;
    bool handshaking;
    bool eof;
    bool passing;                 /* another stream's pass_to */
};

/* Takes the descriptor over; what is received is added to `in` as far as in_limit, once stream_want_input was called. */
void stream_init(struct stream *stream, struct loop *loop, int fd, struct buf *in, size_t in_limit,
                 stream_callback *callback, void *context);
/* Closes. A zeroed one is accepted. */
void stream_fini(struct stream *stream);
/* To be called after each change of `in` and of in_limit, too. While input is not wanted `in` is not touched. */
void stream_want_input(struct stream *stream, bool wanted);
/* Writes what the kernel takes now and keeps the rest; the bytes are taken over without copying if nothing waits. *bytes is
 * empty afterwards. */
void stream_send(struct stream *stream, struct buf *bytes);
/* The same with bytes of which a copy is kept if they must wait. */
void stream_send_slice(struct stream *stream, struct slice bytes);
/* The same as stream_send before stream_end_output, which is to be called at once if nothing had to wait: one packet carries both. */
void stream_send_last(struct stream *stream, struct buf *bytes);
/* Bytes that had to wait. */
size_t stream_pending(const struct stream *stream);
/* From now on what `from` receives goes to `to` without being seen: *left octets, which is counted down and lives until it is 0 or `from` ends; then it is input
 * as before. INPUT is told each time. Nothing may be pending in `to`, nor be in `in`. When `to` has written all that was pending, input has to be wanted anew. False: not with TLS, or
 * not now; the bytes come as input. `to` lives as long as `from`'s input is wanted. to NULL: no more. */
bool stream_pass(struct stream *from, struct stream *to, uint64_t *left);
/* With nothing pending: the handshake as server, then TLS_UP or FAILED. -1: there is no certificate. */
int stream_start_tls(struct stream *stream, struct tls_context *context);
/* With nothing pending: the handshake as client, then TLS_UP or FAILED; host is the name that the peer's certificate must bear, if the
 * client verifies. stream_tls_fault says why it failed. */
void stream_start_tls_client(struct stream *stream, struct tls_client *client, const char *host);
/* Fills the fault of a handshake that failed. Returns -1. */
int stream_tls_fault(const struct stream *stream, struct fault *fault);
/* Hands the connection, with what it has read ahead, over to another struct on the same loop; `from` is as after stream_fini. Not within a call of `from`'s
 * callback for FAILED. Input is not wanted until stream_want_input. */
void stream_move(struct stream *to, struct stream *from, struct buf *in, size_t in_limit, stream_callback *callback, void *context);
/* With nothing pending: says that no more will come. */
void stream_end_output(struct stream *stream);

#endif
