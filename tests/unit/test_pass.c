/* Unit test of octets that pass from one connection to another, inside the kernel and by the hand of who takes them before they are kept. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "postern/base/memory.h"
#include "postern/net/loop.h"
#include "postern/net/stream.h"
#include "run.h"

enum { PASSED = 6 * 1000 * 1000, BEHIND = 5000 };

/* Two connections in one loop: the first PASSED octets go from one to the other unseen, those behind them as input. */
struct passage {
    struct loop *loop;
    struct stream from, to;
    struct buf in, unused;
    uint64_t left;
    size_t seen;
    size_t taken;
    bool eof;
    int feed, drain;      /* the other ends */
};

static void passage_settle(struct passage *p)
{
    if (p->left == 0)
        stream_pass(&p->from, NULL, NULL);
    p->seen += p->in.len;
    stream_send(&p->to, &p->in);
    stream_want_input(&p->from, !p->eof && stream_pending(&p->to) == 0);
    if (p->eof && stream_pending(&p->to) == 0)
        loop_stop(p->loop);
}

static void from_news(struct stream *stream, enum stream_event event, void *context)
{
    (void)stream;
    struct passage *p = context;
    CU_ASSERT(event == STREAM_INPUT || event == STREAM_EOF);
    p->eof = p->eof || event == STREAM_EOF;
    passage_settle(p);
}

static void to_news(struct stream *stream, enum stream_event event, void *context)
{
    (void)stream;
    CU_ASSERT(event == STREAM_WRITTEN);
    passage_settle(context);
}

static unsigned char octet_at(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 13);
}

static void *feed(void *arg)
{
    const struct passage *p = arg;
    unsigned char *all = mem_alloc(PASSED + BEHIND);
    for (size_t i = 0; i < PASSED + BEHIND; i++)
        all[i] = octet_at(i);
    for (size_t done = 0; done < PASSED + BEHIND;) {
        ssize_t n = write(p->feed, all + done, PASSED + BEHIND - done);
        CU_ASSERT_FATAL(n > 0);
        done += (size_t)n;
    }
    mem_release(all);
    shutdown(p->feed, SHUT_WR);
    return NULL;
}

/* In small pieces: the pipe stays full. */
static void *drain(void *arg)
{
    const struct passage *p = arg;
    unsigned char piece[1777];
    size_t done = 0, wrong = 0;
    while (done < PASSED + BEHIND) {
        ssize_t n = read(p->drain, piece, sizeof(piece));
        CU_ASSERT_FATAL(n > 0);
        for (ssize_t i = 0; i < n; i++)
            wrong += piece[i] != octet_at(done + (size_t)i);
        done += (size_t)n;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    return NULL;
}

/* Sends on what it is lent, and leaves every third time some of it. */
static bool take(struct stream *stream, struct buf *bytes, void *context)
{
    (void)stream;
    struct passage *p = context;
    size_t kept = bytes->len > 100 && p->taken % 3 == 0 ? 100 : 0, len = bytes->len - kept;
    CU_ASSERT_EQUAL(p->in.len, 0);
    p->taken++;
    stream_send_slice(&p->to, slice_part(buf_slice(bytes), 0, len));
    buf_consume(bytes, len);
    return kept == 0 && stream_pending(&p->to) == 0;
}

static void run_passage(struct passage *p, bool inside)
{
    int from[2], to[2];
    pthread_t feeder, drainer;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, from), 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, to), 0);
    fcntl(from[0], F_SETFL, O_NONBLOCK);
    fcntl(to[0], F_SETFL, O_NONBLOCK);
    p->feed = from[1];
    p->drain = to[1];
    stream_init(&p->from, p->loop, from[0], &p->in, 4096, from_news, p);
    stream_init(&p->to, p->loop, to[0], &p->unused, 4096, to_news, p);
    p->from.take = take;
    if (inside)
        CU_ASSERT_TRUE(stream_pass(&p->from, &p->to, &p->left));
    stream_want_input(&p->from, true);
    pthread_create(&feeder, NULL, feed, p);
    pthread_create(&drainer, NULL, drain, p);
    loop_run(p->loop);
    pthread_join(feeder, NULL);
    pthread_join(drainer, NULL);
    CU_ASSERT_PTR_NULL(p->to.passed);   /* an idle connection holds no pipe */
    stream_fini(&p->from);
    stream_fini(&p->to);
    buf_fini(&p->in);
    loop_free(&p->loop);
    close(p->feed);
    close(p->drain);
}

static void test_pass(void)
{
    struct passage p = { .loop = loop_new(), .left = PASSED };
    run_passage(&p, true);
    CU_ASSERT_EQUAL(p.left, 0);
    CU_ASSERT(p.seen < BEHIND && p.taken > 0);
}

static void test_take(void)
{
    struct passage p = { .loop = loop_new() };
    run_passage(&p, false);
    CU_ASSERT(p.seen > 0 && p.seen < PASSED / 10 && p.taken > 1000);
}

/* The last octets come while the peer takes nothing; when it has taken all that the kernel had, the pipe is given up. */
struct ending {
    struct passage p;
    struct loop_timer deadline;
    char *octets;
    bool given_up;
    bool told;
};

enum { ENDING = 300 * 1000 };

static void *feed_ending(void *arg)
{
    const struct ending *e = arg;
    for (size_t done = 0; done < ENDING;) {
        ssize_t n = write(e->p.feed, e->octets, ENDING - done);
        CU_ASSERT_FATAL(n > 0);
        done += (size_t)n;
    }
    return NULL;
}

static void ending_from_news(struct stream *stream, enum stream_event event, void *context)
{
    struct ending *e = context;
    CU_ASSERT_EQUAL(event, STREAM_INPUT);
    stream_want_input(stream, e->p.left > 0);
    if (e->p.left > 0)
        return;
    CU_ASSERT_TRUE(stream_pending(&e->p.to) > 0);
    while (recv(e->p.drain, e->octets, ENDING, MSG_DONTWAIT) > 0) {
    }
    stream_pass(stream, NULL, NULL);
    e->given_up = true;
}

static void ending_to_news(struct stream *stream, enum stream_event event, void *context)
{
    struct ending *e = context;
    CU_ASSERT_EQUAL(event, STREAM_WRITTEN);
    if (!e->given_up || stream_pending(stream) > 0)
        return;
    e->told = true;
    loop_stop(e->p.loop);
}

static void ending_late(void *context)
{
    loop_stop(((struct ending *)context)->p.loop);
}

/* Who waits until all has been written hears of it. */
static void test_end_is_told(void)
{
    struct ending e = { .p = { .loop = loop_new(), .left = ENDING } };
    int from[2], to[2];
    pthread_t feeder;
    e.octets = mem_alloc(ENDING);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, from), 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, to), 0);
    fcntl(from[0], F_SETFL, O_NONBLOCK);
    fcntl(to[0], F_SETFL, O_NONBLOCK);
    e.p.feed = from[1];
    e.p.drain = to[1];
    stream_init(&e.p.from, e.p.loop, from[0], &e.p.in, 4096, ending_from_news, &e);
    stream_init(&e.p.to, e.p.loop, to[0], &e.p.unused, 4096, ending_to_news, &e);
    CU_ASSERT_TRUE(stream_pass(&e.p.from, &e.p.to, &e.p.left));
    stream_want_input(&e.p.from, true);
    loop_timer_init(&e.deadline, e.p.loop, ending_late, &e);
    loop_timer_set(&e.deadline, 5000);
    pthread_create(&feeder, NULL, feed_ending, &e);
    loop_run(e.p.loop);
    pthread_join(feeder, NULL);
    CU_ASSERT_TRUE(e.told);
    CU_ASSERT_PTR_NULL(e.p.to.passed);
    loop_timer_cancel(&e.deadline);
    stream_fini(&e.p.from);
    stream_fini(&e.p.to);
    loop_free(&e.p.loop);
    close(e.p.feed);
    close(e.p.drain);
    mem_free(&e.octets);
}

static const struct unit_test tests[] = {
    { "pass", test_pass },
    { "take", test_take }, { "end is told", test_end_is_told },
};

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    return unit_run("pass", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
