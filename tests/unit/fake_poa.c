/* The POA of the tests of src/service: a pair of sockets. */
#include "fake_poa.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "postern/config/found.h"
#include "postern/store/account.h"

_Atomic int fake_path = PATH_DIRECT;
_Atomic int fake_result = POA_OPEN;
_Atomic int fake_poa = -1;

struct poa_opening {
    struct poa_open_request request;
    bool cancelled;
};

enum poa_path poa_choose(const struct post_office *post_office)
{
    (void)post_office;
    return (enum poa_path)fake_path;
}

enum poa_path poa_fallback(const struct post_office *post_office)
{
    return post_office->path != NULL ? PATH_DIRECT : PATH_NONE;
}

bool poa_is_used(const struct post_office *post_office)
{
    (void)post_office;
    return fake_path == PATH_POA;
}

bool poa_is_away(const struct post_office *post_office, size_t agent, uint64_t since_ms)
{
    (void)post_office, (void)agent, (void)since_ms;
    return false;
}

size_t poa_agent(const struct poa_opening *opening)
{
    (void)opening;
    return 0;
}

static void answer(void *arg)
{
    struct poa_opening *opening = arg;
    struct fault fault = { .class = FAULT_UNREACHABLE };
    if (!opening->cancelled)
        opening->request.answered(opening->request.context, (enum poa_result)fake_result, &fault);
    mem_free(&opening);
}

struct poa_opening *poa_open(const struct poa_open_request *request)
{
    CHECK(slice_is(request->password, "good"));
    struct poa_opening *opening = MEM_NEW(struct poa_opening);
    opening->request = *request;
    loop_post(request->loop, answer, opening);
    return opening;
}

void poa_open_cancel(struct poa_opening **opening)
{
    (*opening)->cancelled = true;
    *opening = NULL;
}

void poa_take(struct poa_opening *opening, struct stream *stream, struct buf *in, struct buf *capability, stream_callback *callback,
              void *context)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
    buf_append_text(capability, "IMAP4rev1");
    stream_init(stream, opening->request.loop, pair[0], in, 16 * 1024, callback, context);
    fake_poa = pair[1];
}

void poa_describe(const struct post_office *post_office, void (*visit)(const struct poa_report *report, void *context), void *context)
{
    const struct poa_report report = { .post_office = post_office, .now = post_office->path != NULL ? PATH_DIRECT : PATH_NONE,
                                       .state = post_office->path != NULL ? "direct access" : "not reachable" };
    visit(&report, context);
}

/* What src/service/paths.c finds out, and whom it tells, has a test of its own: test_paths.c. */
int postoffice_check(const char *path, struct slice uuid, bool own, struct fault *fault)
{
    (void)path, (void)uuid, (void)own, (void)fault;
    return 0;
}

void config_set_found(enum found_by by, const struct config_fault *faults, size_t count)
{
    (void)by, (void)faults, (void)count;
}

bool config_found_reason(enum found_by by, const char *dn, struct buf *out)
{
    (void)by, (void)dn, (void)out;
    return false;
}
