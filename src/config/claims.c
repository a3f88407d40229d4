/* Who names what. Called by build.c only; it decides nothing. */
#include "claims.h"

#include <string.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"

static struct claim *find(const struct map *claims, enum claim_kind kind, const char *key, struct buf *text)
{
    buf_init(text, 0);
    buf_append_byte(text, (char)kind);
    buf_append_text(text, key);
    return map_get(claims, buf_slice(text));
}

static size_t place_of(const struct claim *claim, const struct object *object)
{
    size_t from = 0, to = claim->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (strcmp(claim->by[middle]->uuid, object->uuid) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

void claims_add(struct map *claims, enum claim_kind kind, const char *key, struct object *object)
{
    struct buf text;
    struct claim *claim = find(claims, kind, key, &text);
    if (claim == NULL) {
        claim = MEM_NEW(struct claim);
        map_put(claims, buf_slice(&text), claim);
    }
    buf_fini(&text);
    size_t place = place_of(claim, object);
    /* Powers of two. */
    if ((claim->count & (claim->count - 1)) == 0)
        claim->by = mem_resize(claim->by, (claim->count != 0 ? claim->count * 2 : 1) * sizeof(claim->by[0]));
    memmove(&claim->by[place + 1], &claim->by[place], (claim->count - place) * sizeof(claim->by[0]));
    claim->by[place] = object;
    claim->count++;
}

static void claim_free(struct claim *claim)
{
    mem_free(&claim->by);
    mem_release(claim);
}

void claims_remove(struct map *claims, enum claim_kind kind, const char *key, struct object *object)
{
    struct buf text;
    struct claim *claim = find(claims, kind, key, &text);
    CHECK(claim != NULL);
    size_t place = place_of(claim, object);
    while (place < claim->count && claim->by[place] != object)
        place++;
    CHECK(place < claim->count);
    claim->count--;
    memmove(&claim->by[place], &claim->by[place + 1], (claim->count - place) * sizeof(claim->by[0]));
    if (claim->count == 0) {
        map_remove(claims, buf_slice(&text));
        claim_free(claim);
    }
    buf_fini(&text);
}

struct claim claims_of(const struct map *claims, enum claim_kind kind, const char *key)
{
    struct buf text;
    const struct claim *claim = find(claims, kind, key, &text);
    buf_fini(&text);
    return claim != NULL ? *claim : (struct claim){ NULL, 0 };
}

struct object *claims_first(const struct map *claims, enum claim_kind kind, const char *key)
{
    struct claim claim = claims_of(claims, kind, key);
    return claim.count > 0 ? claim.by[0] : NULL;
}

static void free_value(struct slice key, void *value, void *context)
{
    (void)key, (void)context;
    claim_free(value);
}

void claims_fini(struct map *claims)
{
    map_for_each(claims, free_value, NULL);
    map_fini(claims);
}
