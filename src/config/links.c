/* Where the way to a post office is said. Called for posternctl; decides nothing: what is in force stands in the snapshot (build.c). */
#include "postern/config/links.h"

#include <inttypes.h>

#include "build.h"
#include "postern/base/memory.h"

/* The objects that have a say. */
struct say {
    const struct version *office;
    const struct version *link;
    const struct version *agent;     /* the first Post Office Agent */
};

const char *access_mode_word(enum access_mode mode)
{
    const char *word;
    int value;
    for (size_t i = 0; (word = word_at("access_mode", i, &value)) != NULL; i++)
        if (value == (int)mode)
            return word;
    return "";
}

static const char *text_of(const struct version *version, const char *attribute)
{
    const struct directory_attribute *found = version != NULL ? directory_entry_find(version->entry, attribute) : NULL;
    return found != NULL && found->count > 0 ? found->values[0].data : NULL;
}

static struct link_value first_value(const struct version *first, const struct version *second, const char *attribute)
{
    const struct version *said = text_of(first, attribute) != NULL ? first : second;
    const char *value = text_of(said, attribute);
    return (struct link_value){ value, value != NULL ? said->entry->dn : NULL };
}

static enum access_mode mode_of(const struct version *version, enum object_class_id id)
{
    if (version == NULL)
        return ACCESS_CURRENT;
    return (enum access_mode)(id == CLASS_LINK ? ((const struct link_settings *)version->settings)->mode
                                               : ((const struct post_office_settings *)version->settings)->mode);
}

static void fill_row(struct arena *arena, struct link_row *row, const struct say *say)
{
    enum access_mode over = mode_of(say->link, CLASS_LINK), own = mode_of(say->office, CLASS_POST_OFFICE);
    row->link_dn = say->link != NULL ? say->link->entry->dn : NULL;
    row->configured = say->link != NULL ? access_mode_word(over) : NULL;
    row->own = access_mode_word(own);
    row->mode = (struct link_value){ access_mode_word(row->office->mode), row->office->mode_from };
    row->path = row->office->path != NULL ? first_value(say->link, say->office, "posternPath") : (struct link_value){ NULL, NULL };
    row->host = first_value(say->link, say->agent, "posternHost");
    row->port = first_value(say->link, say->agent, "posternPort");
    if (row->port.value == NULL && say->agent != NULL)
        row->port.value = arena_printf(arena, "%" PRIu64, ((const struct post_office_agent_settings *)say->agent->settings)->port);
}

struct link_rows *link_rows_new(const struct snapshot *snapshot)
{
    const struct slots *offices = snapshot_body(snapshot)->offices;
    struct link_rows *rows = MEM_NEW(struct link_rows);
    arena_init(&rows->arena);
    rows->rows = ARENA_NEW_ARRAY(&rows->arena, struct link_row, offices->count + 1);
    for (size_t i = 0; i < offices->count; i++) {
        const struct part *part = offices->at[i].part;
        struct link_row *row = &rows->rows[rows->count++];
        row->office = &part->office;
        fill_row(&rows->arena, row, &(struct say){ part->version, part->link, part->agent_count > 0 && !snapshot->is_post_office_agent ? part->agents[0] : NULL });
    }
    return rows;
}

void link_rows_free(struct link_rows **rows)
{
    if (*rows != NULL)
        arena_clear(&(*rows)->arena);
    mem_free(rows);
}
