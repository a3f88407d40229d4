/* The parser of POP3 login options, and their defaults from the class of service. Called at USER and AUTH, before any password is
 * verified. It must never read the peer's bytes as anything but letters and digits. */
#include "options.h"

#include "postern/config/user.h"

enum { VIEW_MAX = 31, LIMIT_MAX = 1000, DAYS_MAX = 1000 };

enum { LETTER_V = 1, LETTER_L = 2, LETTER_T = 4, LETTER_D = 8, LETTER_P = 16, LETTER_M = 32, LETTER_N = 64, LETTER_S = 128 };

/* One row an option. `excludes` are the options that cannot stand beside it. */
static const struct option_row {
    char letter;
    unsigned bit;
    unsigned excludes;
    unsigned max;              /* 0: takes no number */
    const char *range_error;
} rows[] = {
    { 'v', LETTER_V, 0, VIEW_MAX, "Login option v needs a number: v=1 to v=31." },
    { 'l', LETTER_L, 0, LIMIT_MAX, "Login option l needs a number: l=1 to l=1000." },
    { 't', LETTER_T, 0, DAYS_MAX, "Login option t needs a number: t=1 to t=1000." },
    { 'd', LETTER_D, LETTER_P, 0, NULL },
    { 'p', LETTER_P, LETTER_D, 0, NULL },
    { 'm', LETTER_M, LETTER_N, 0, NULL },
    { 'n', LETTER_N, LETTER_M, 0, NULL },
    { 's', LETTER_S, 0, 0, NULL },
};

static const struct option_row *find_row(char letter)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].letter == ascii_lower(letter))
            return &rows[i];
    return NULL;
}

/* Takes "=N" from the front of *rest. */
static bool take_number(struct slice *rest, unsigned max, unsigned *number_out)
{
    size_t digits = 0;
    uint64_t number;
    if (rest->len == 0 || rest->data[0] != '=')
        return false;
    *rest = slice_from(*rest, 1);
    while (digits < rest->len && ascii_is_digit(rest->data[digits]))
        digits++;
    if (!slice_to_number(slice_part(*rest, 0, digits), max, &number) || number == 0)
        return false;
    *rest = slice_from(*rest, digits);
    *number_out = (unsigned)number;
    return true;
}

static void set_option(struct pop3_options *options, unsigned bit, unsigned number)
{
    switch (bit) {
    case LETTER_V: options->view = number; break;
    case LETTER_L: options->limit = number; break;
    case LETTER_T: options->days = number; break;
    case LETTER_D: options->removal = POP3_DELETE; break;
    case LETTER_P: options->removal = POP3_PURGE; break;
    case LETTER_M: options->mime = true; break;
    case LETTER_N: options->plain = true; break;
    default: options->small_sizes = true; break;
    }
}

static const char *take_option(struct slice *rest, unsigned *seen, struct pop3_options *options)
{
    const struct option_row *row = find_row(rest->data[0]);
    unsigned number = 0;
    if (row == NULL)
        return "Unknown login option: after the colon v=, l=, t=, d, p, m, n and s are known.";
    if (*seen & row->bit)
        return "Login option given twice.";
    if (*seen & row->excludes)
        return "Login options d and p, or m and n, exclude each other.";
    *seen |= row->bit;
    *rest = slice_from(*rest, 1);
    if (row->max != 0 && !take_number(rest, row->max, &number))
        return row->range_error;
    set_option(options, row->bit, number);
    return NULL;
}

const char *pop3_options_parse(struct slice login, struct slice *name_out, struct pop3_options *options_out)
{
    *options_out = (struct pop3_options){ 0 };
    ptrdiff_t colon = slice_find(login, ':');
    *name_out = colon < 0 ? login : slice_part(login, 0, (size_t)colon);
    if (name_out->len == 0)
        return "User ID missing.";
    if (slice_has_nul(login))
        return "NUL in the user ID.";
    struct slice rest = colon < 0 ? SLICE_NONE : slice_from(login, (size_t)colon + 1);
    unsigned seen = 0;
    while (rest.len != 0) {
        const char *error = take_option(&rest, &seen, options_out);
        if (error != NULL)
            return error;
    }
    return NULL;
}

void pop3_options_apply(struct pop3_options *options, const struct pop3_rights *rights)
{
    if (options->limit == 0)
        options->limit = rights->max_messages;
    if (options->days == 0)
        options->days = rights->days;
    if (options->removal == POP3_KEEP && rights->purge_after_download)
        options->removal = POP3_PURGE;
    else if (options->removal == POP3_KEEP && rights->delete_after_download)
        options->removal = POP3_DELETE;
    if (rights->high_performance_size)
        options->small_sizes = true;
    if (rights->plain && !options->mime)
        options->plain = true;
}
