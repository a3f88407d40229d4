/* option_words: the words of a command line, with the lines of startup files in place of each @FILE. Internal to src/service. */
#ifndef SERVICE_OPTION_WORDS_H
#define SERVICE_OPTION_WORDS_H

#include "postern/base/arena.h"
#include "postern/base/fault.h"

struct option_word {
    char *text;
    const char *line;    /* "FILE:3", the same pointer for all words of a line; NULL: the command line */
};

struct option_words {
    struct option_word *at;   /* mem_free when done; the texts live in the arena */
    size_t count;
};

/* A startup file has lines of words separated by blanks, "..." around a word with blanks, and comments: lines that begin with ; # or *. It may
 * name others by @FILE, eight deep. -1: a file cannot be read, or makes no sense. */
int option_words_read(int argc, char **argv, struct arena *arena, struct option_words *out, struct fault *fault);

#endif
