/* The words of services and close reasons. */
#include "postern/session/session.h"

#include "postern/base/check.h"

static const char *const service_words[SERVICE_COUNT] = {
#define X(name, word, title) [SERVICE_##name] = word,
#include "postern/tbl/services.h"
#undef X
};

static const char *const close_words[CLOSE_COUNT] = {
#define X(name, word) [CLOSE_##name] = word,
#include "postern/tbl/close_reasons.h"
#undef X
};

const char *service_word(enum service service)
{
    CHECK(service < SERVICE_COUNT);
    return service_words[service];
}

const char *close_reason_word(enum close_reason reason)
{
    CHECK(reason < CLOSE_COUNT);
    return close_words[reason];
}
