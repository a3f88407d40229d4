/* posternctl postoffice init: marks the directory of a post office. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "postern/base/answer.h"
#include "postern/store/account.h"

/* 32 hexadecimal digits, wherever the hyphens stand (389-DS has them elsewhere), in the form that the gateway compares. */
static bool take_uuid(const char *text, struct buf *out)
{
    size_t digits = 0;
    for (; *text != '\0'; text++) {
        char c = ascii_lower(*text);
        if (c == '-')
            continue;
        if (digits == 32 || !(ascii_is_digit(c) || (c >= 'a' && c <= 'f')))
            return false;
        if (digits == 8 || digits == 12 || digits == 16 || digits == 20)
            buf_append_byte(out, '-');
        buf_append_byte(out, c);
        digits++;
    }
    return digits == 32;
}

static void say(const struct ctl *ctl, const char *path, struct slice uuid)
{
    struct buf out = { .cap = 0 };
    struct answer a;
    if (!ctl->json) {
        printf("%s is the directory of post office %.*s\n", path, SLICE_ARG(uuid));
        return;
    }
    answer_init(&a, &out, true, false);
    answer_text(&a, "path", path);
    answer_slice(&a, "uuid", uuid);
    answer_fini(&a);
    printf("%.*s", SLICE_ARG(buf_slice(&out)));
    buf_fini(&out);
}

int ctl_init_post_office(const struct ctl *ctl, const char *given, const char *uuid)
{
    /* The gateway knows post offices by absolute path as the directory has it; a relative one is made absolute. */
    char resolved[PATH_MAX];
    const char *path = given;
    if (given[0] != '/' && (path = realpath(given, resolved)) == NULL)
        return ctl_complain(given, strerror(errno));
    struct buf asked;
    buf_init(&asked, 256);
    int code = 0;
    if (uuid == NULL)
        code = ctl_ask(ctl, "post-office", path, &asked);
    else if (!take_uuid(uuid, &asked))
        code = ctl_complain(uuid, "not a UUID, which is 32 hexadecimal digits and hyphens");
    struct fault fault;
    if (code == 0 && postoffice_init(path, buf_slice(&asked), &fault) < 0)
        code = ctl_complain(given, fault.text);
    if (code == 0)
        say(ctl, path, buf_slice(&asked));
    buf_fini(&asked);
    return code;
}
