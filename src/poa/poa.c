/* The ways to a post office. In this version only direct paths are chosen, as the snapshot has them: every access to a POA fails. */
#include "postern/poa/poa.h"

#include "postern/base/check.h"
#include "postern/base/memory.h"

struct poa_opening {
    struct poa_open_request request;
    bool cancelled;
};

enum poa_path poa_choose(const struct post_office *post_office)
{
    return post_office->path != NULL ? PATH_DIRECT : PATH_NONE;
}

bool poa_is_used(const struct post_office *post_office)
{
    (void)post_office;
    return false;
}

static void answer(void *arg)
{
    struct poa_opening *opening = arg;
    struct fault fault;
    fault_set(&fault, FAULT_UNREACHABLE, 0, "client/server access is not in this version");
    if (!opening->cancelled)
        opening->request.answered(opening->request.context, POA_FAILED, &fault);
    mem_free(&opening);
}

struct poa_opening *poa_open(const struct poa_open_request *request)
{
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
    (void)stream, (void)in, (void)capability, (void)callback, (void)context;
    CHECK(opening == NULL);
}
