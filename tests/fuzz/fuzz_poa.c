/* Fuzz target: what a POA says until the user is logged in, and what it shows of the user's mailboxes for the comparison with the path. The first byte chooses
 * how its object says to log in. What is said to it must be the same however its bytes arrive. */
#include "../../src/poa/dialogue.h"
#include "../../src/poa/picture.h"

#include <stdint.h>

#include "postern/base/check.h"

struct talk {
    struct dialogue dialogue;
    struct buf in, out;
    enum dialogue_result result;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void begin(struct talk *t, const struct post_office_agent *agent, const struct dialogue_who *who, bool probe)
{
    *t = (struct talk){ .result = DIALOGUE_MORE };
    dialogue_init(&t->dialogue, agent, who, probe);
    dialogue_begin(&t->dialogue, &t->out);
}

static void end(struct talk *t)
{
    dialogue_fini(&t->dialogue);
    buf_fini(&t->in);
    buf_fini(&t->out);
}

static void hear(struct talk *t, const uint8_t *bytes, size_t len)
{
    buf_append(&t->in, slice_make((const char *)bytes, len));
    t->result = dialogue_run(&t->dialogue, &t->in, &t->out);
    CHECK((t->result != DIALOGUE_FAILED && t->result != DIALOGUE_REFUSED) || t->dialogue.fault.class != FAULT_NONE);
}

static void look(struct slice said)
{
    struct buf picture = { .cap = 0 };
    struct fault fault;
    picture_exists(said);
    picture_of_poa(said, &picture, &fault);
    buf_fini(&picture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct post_office_agent agent = { .tls = (enum poa_tls)(data[0] & 3), .login = (enum poa_login)(data[0] >> 2 & 3), .proxy_header = data[0] & 0x80 };
    struct dialogue_who who = { .user = SLICE_LITERAL("jo,e"), .password = SLICE_LITERAL("p\xc3\xa4 \"\\"), .name = SLICE_LITERAL("gate"),
                                .secret = SLICE_LITERAL("s3"), .client = "10.1.2.3", .local = "10.1.2.4", .client_port = 4567, .local_port = 143,
                                .token = data[0] & 0x20 };
    bool probe = data[0] & 0x10;
    struct talk whole, cut;
    begin(&whole, &agent, &who, probe);
    begin(&cut, &agent, &who, probe);
    hear(&whole, data + 1, size - 1);
    bool tls = false;
    for (size_t i = 1; i < size && cut.result == DIALOGUE_MORE; i++) {
        hear(&cut, data + i, 1);
        if (cut.result == DIALOGUE_START_TLS) {
            tls = true;     /* what came behind it in one packet is refused, and this is none */
            CHECK(whole.result == DIALOGUE_START_TLS || whole.result == DIALOGUE_FAILED);
            dialogue_tls_up(&cut.dialogue, &cut.out);
            cut.result = DIALOGUE_MORE;
        }
    }
    CHECK(tls || whole.result == cut.result);
    CHECK(tls || slice_is_equal(buf_slice(&whole.out), buf_slice(&cut.out)));
    end(&whole);
    end(&cut);
    look(slice_make((const char *)data + 1, size - 1));
    return 0;
}
