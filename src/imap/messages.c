/* The commands FETCH and SEARCH, with UID or without: sets, steps and ends. What they read and write is in fetch.h and search.h. */
#include "handlers.h"

#include "search.h"

/* More than that is gone through in a thread even if all is in memory: no command holds a loop for more than a few milliseconds. */
enum { LOOP_MESSAGES_MAX = 20000, LOOP_RANGES_MAX = 500 };

/* --- FETCH ----------------------------------------------------------------------------------------------------------- */

struct fetch_command {
    struct sequence_set set;
    struct uidset uids;
    struct fetch *fetch;
    bool begun;
};

static void release_fetch(struct command *command)
{
    struct fetch_command *data = command->data;
    fetch_end(data->fetch);
    uidset_fini(&data->uids);
}

bool fetch_command_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct fetch_command *data = ARENA_NEW(&command->arena, struct fetch_command);
    command->data = data;
    command->release = release_fetch;
    if (!parse_space(p) || !parse_sequence_set(p, &data->set) || !parse_space(p))
        return false;
    data->fetch = fetch_parse(p, command->row->flags & UID_KEYWORD);
    return data->fetch != NULL && parse_end(p);
}

bool fetch_is_midway(const struct imap *imap)
{
    const struct command *command = imap->command;
    if (command == NULL || command->row == NULL || command->row->run != fetch_run || command->data == NULL)
        return false;
    const struct fetch_command *data = command->data;
    return data->fetch != NULL && fetch_is_writing(data->fetch);
}

static bool begin_fetch(struct imap *imap, struct command *command, struct fetch_command *data)
{
    data->begun = imap_resolve_set(imap->view, &data->set, command->row->flags & UID_KEYWORD, &data->uids);
    if (data->begun)
        fetch_begin(data->fetch, imap->view, &data->uids, imap->read_only);
    else
        imap_reply(command, REPLY_BAD, "No such message number.");
    return data->begun;
}

static enum step_result fetch_work(struct imap *imap, struct command *command)
{
    struct fetch_command *data = command->data;
    struct fault fault;
    if (!data->begun && !begin_fetch(imap, command, data))
        return STEP_DONE;
    switch (fetch_step(data->fetch, &imap->session->out, &fault)) {
    case PROGRESS_FAILED:
        if (fault.class != FAULT_BUSY)
            counter_add(imap->session->counters, COUNTER_STORE_RETRIEVAL_ERROR, 1);
        return imap_fail_selected(imap, command, &fault);
    case PROGRESS_DONE:
        if (fetch_had_expunged(data->fetch))
            imap_reply(command, REPLY_NO, "[EXPUNGEISSUED] Some of the messages have been expunged.");
        else
            imap_reply(command, REPLY_OK, "Completed.");
        return STEP_DONE;
    case PROGRESS_MORE:
    default:
        return STEP_DONE;
    }
}

/* On the loop if it cannot wait, else as a step. */
static bool run_piece(struct imap *imap, struct command *command, bool on_loop, imap_work *work)
{
    if (!session_out_has_room(imap->session))
        return false;
    if (on_loop && view_count(imap->view) <= LOOP_MESSAGES_MAX && work(imap, command) == STEP_DONE)
        return true;
    return imap_step(imap, work);
}

bool fetch_run(struct imap *imap, struct command *command)
{
    const struct fetch_command *data = command->data;
    bool on_loop = data->set.count <= LOOP_RANGES_MAX && fetch_is_in_memory(data->fetch);
    return run_piece(imap, command, on_loop, fetch_work);
}

/* --- SEARCH ---------------------------------------------------------------------------------------------------------- */

struct search_command {
    struct search *search;
    bool begun;
};

static void release_search(struct command *command)
{
    struct search_command *data = command->data;
    search_end(data->search);
}

bool search_command_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct search_command *data = ARENA_NEW(&command->arena, struct search_command);
    bool bad_charset = false;
    command->data = data;
    command->release = release_search;
    if (!parse_space(p))
        return false;
    data->search = search_parse(p, command->row->flags & UID_KEYWORD, &bad_charset);
    if (data->search == NULL && bad_charset) {
        imap_reply(command, REPLY_NO, "[BADCHARSET (US-ASCII UTF-8)] Unknown charset.");
        return true;
    }
    return data->search != NULL && parse_end(p);
}

static enum step_result search_work(struct imap *imap, struct command *command)
{
    struct search_command *data = command->data;
    struct fault fault;
    if (!data->begun)
        search_begin(data->search, imap->view);
    data->begun = true;
    enum progress progress = search_step(data->search, &imap->session->out, &fault);
    mailbox_cache_rest(view_mailbox(imap->view));
    switch (progress) {
    case PROGRESS_FAILED:
        return imap_fail_selected(imap, command, &fault);
    case PROGRESS_DONE:
        imap_reply(command, REPLY_OK, "Completed.");
        return STEP_DONE;
    case PROGRESS_MORE:
    default:
        return STEP_DONE;
    }
}

bool search_run(struct imap *imap, struct command *command)
{
    const struct search_command *data = command->data;
    /* A search that one piece does not end goes on in a thread. */
    return run_piece(imap, command, !data->begun && search_is_in_memory(data->search), search_work);
}
