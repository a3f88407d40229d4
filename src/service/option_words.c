/* Startup files of switches. Called once, by options.c. Must never read for ever: files, lines, words and nesting are bounded. */
#include "option_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postern/base/memory.h"

enum { DEPTH_MAX = 8, WORDS_MAX = 2000, LINES_MAX = 10000, LINE_LENGTH_MAX = 8192 };

struct reader {
    struct arena *arena;
    struct option_words *out;
    struct fault *fault;
    unsigned depth;
};

static int read_file(struct reader *r, const char *path, const char *from);

static int take_word(struct reader *r, const char *text, const char *line)
{
    if (text[0] == '@')
        return read_file(r, text + 1, line);
    if (r->out->count == WORDS_MAX)
        return fault_set(r->fault, FAULT_LIMIT, 0, "more than %d words", WORDS_MAX);
    struct option_word *word = &r->out->at[r->out->count++];
    word->text = arena_printf(r->arena, "%s", text);
    word->line = line;
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Cuts the next word out of *rest, without its quotes, and ends it. NULL after the last; *open_out: a quote is not closed. */
static char *cut_word(char **rest, bool *open_out)
{
    char *at = *rest, *end;
    while (is_blank(*at))
        at++;
    if (*at == '\0')
        return NULL;
    char *word = end = at;
    bool quoted = false;
    for (; *at != '\0' && (quoted || !is_blank(*at)); at++) {
        if (*at == '"')
            quoted = !quoted;
        else
            *end++ = *at;
    }
    *rest = *at != '\0' ? at + 1 : at;
    *end = '\0';
    *open_out = quoted;
    return word;
}

static int read_line(struct reader *r, char *text, size_t length, const char *line)
{
    if (length > LINE_LENGTH_MAX || memchr(text, '\0', length) != NULL)
        return fault_set(r->fault, FAULT_INVALID, 0, "%s: the line is too long or has a NUL", line);
    while (is_blank(*text))
        text++;
    if (*text == ';' || *text == '#' || *text == '*')
        return 0;
    char *word;
    bool open = false;
    while ((word = cut_word(&text, &open)) != NULL) {
        if (open)
            return fault_set(r->fault, FAULT_INVALID, 0, "%s: a quote is not closed", line);
        if (take_word(r, word, line) < 0)
            return -1;
    }
    return 0;
}

static int read_lines(struct reader *r, FILE *file, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    ssize_t length;
    int result = 0;
    for (unsigned number = 1; result == 0 && (length = getline(&text, &size, file)) >= 0; number++) {
        if (number > LINES_MAX)
            result = fault_set(r->fault, FAULT_LIMIT, 0, "%s: more than %d lines", path, LINES_MAX);
        else
            result = read_line(r, text, (size_t)length, arena_printf(r->arena, "%s:%u", path, number));
    }
    if (result == 0 && ferror(file))
        result = fault_set_errno(r->fault, errno, "%s", path);
    free(text);   /* getline's own */
    return result;
}

static int read_file(struct reader *r, const char *path, const char *from)
{
    const char *colon = from != NULL ? ": " : "";
    from = from != NULL ? from : "";
    if (r->depth == DEPTH_MAX)
        return fault_set(r->fault, FAULT_LIMIT, 0, "%s%s@%s: more than %d files deep: one includes itself", from, colon, path, DEPTH_MAX);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return fault_set_errno(r->fault, errno, "%s%s@%s", from, colon, path);
    r->depth++;
    int result = read_lines(r, file, path);
    r->depth--;
    fclose(file);
    return result;
}

int option_words_read(int argc, char **argv, struct arena *arena, struct option_words *out, struct fault *fault)
{
    struct reader r = { arena, out, fault, 0 };
    out->at = MEM_NEW_ARRAY(struct option_word, WORDS_MAX);
    out->count = 0;
    for (int i = 1; i < argc; i++)
        if (take_word(&r, argv[i], NULL) < 0)
            return -1;
    return 0;
}
