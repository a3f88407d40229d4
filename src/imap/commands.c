/* The table of commands, and the part of parsing that all of them share: tag, name, state, mailbox names. */
#include "handlers.h"

#include <string.h>

static const struct command_row rows[] = {
#define COMMAND(name, flags, parse, run, work) { name, flags, parse, run, work },
#include "commands.h"
#undef COMMAND
};

static const struct command_row *find_row(struct slice name)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (slice_is_nocase(name, rows[i].name))
            return &rows[i];
    return NULL;
}

/* tag = 1*<any ASTRING-CHAR except "+"> */
static bool parse_tag(struct imap_parser *p, struct slice *out)
{
    return p->rest.len > 0 && p->rest.data[0] != '"' && p->rest.data[0] != '{' && parse_astring(p, out) &&
           slice_find(*out, '+') < 0;
}

/* The command's name, two words for UID commands. */
static bool parse_name(struct imap_parser *p, const struct command_row **row_out)
{
    struct slice word, start = p->rest;
    if (!parse_atom(p, &word))
        return false;
    if (slice_is_nocase(word, "UID")) {
        if (!parse_space(p) || !parse_atom(p, &word))
            return false;
        word = slice_part(start, 0, start.len - p->rest.len);
    }
    *row_out = find_row(word);
    return *row_out != NULL;
}

static const char *wrong_state(const struct imap *imap, const struct command_row *row)
{
    if (imap->state == STATE_NOT_AUTHENTICATED)
        return "Log in first.";
    return row->flags & IN_SELECTED ? "Select a mailbox first." : "You are logged in already.";
}

bool command_begin(struct imap *imap, struct command *command, struct slice text)
{
    struct imap_parser *p = &command->parser;
    *p = (struct imap_parser){ text, &command->arena };
    if (!parse_tag(p, &command->tag)) {
        command->tag = SLICE_LITERAL("*");
        imap_reply(command, REPLY_BAD, "Invalid tag.");
    } else if (!parse_space(p) || !parse_name(p, &command->row)) {
        command->row = NULL;
        imap_reply(command, REPLY_BAD, "Unknown command.");
    } else if ((command->row->flags & imap->state) == 0) {
        imap_reply(command, REPLY_BAD, wrong_state(imap, command->row));
    } else if (!command->row->parse(imap, command)) {
        imap_reply(command, REPLY_BAD, "Invalid arguments.");
    } else if ((command->row->flags & READ_WRITE) && imap->read_only) {
        imap_reply(command, REPLY_NO, "[READ-ONLY] The mailbox was opened for reading only.");
    } else {
        return true;
    }
    return false;
}

void command_take_tag(struct command *command, struct slice text)
{
    struct imap_parser p = { text, &command->arena };
    struct slice tag;
    if (parse_tag(&p, &tag) && parse_space(&p))
        command->tag = tag;
}

bool parse_nothing(struct imap *imap, struct command *command)
{
    (void)imap;
    return parse_end(&command->parser);
}

/* A name for INBOX in any case is INBOX (RFC 3501 5.1). */
bool parse_mailbox(struct imap_parser *p, struct slice *out)
{
    if (!parse_astring(p, out))
        return false;
    if (slice_is_nocase(*out, "INBOX"))
        *out = SLICE_LITERAL("INBOX");
    return true;
}

bool parse_one_mailbox(struct imap *imap, struct command *command)
{
    (void)imap;
    struct slice *name = ARENA_NEW(&command->arena, struct slice);
    command->data = name;
    return parse_space(&command->parser) && parse_mailbox(&command->parser, name) && parse_end(&command->parser);
}
