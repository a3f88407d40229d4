/* Paths of post offices and mailboxes, and the template of mailboxes. Called by version.c, build.c and user.c. A user ID or domain comes from
 * the directory, where a stranger may have been let write it: no value of it may lead out of the post office. */
#include "path.h"

#define PART_MAX 255
#define PATH_LENGTH_MAX 4000

static bool has_controls(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] < ' ' || s.data[i] == 127)
            return true;
    return false;
}

const char *path_check_part(struct slice part)
{
    if (part.len == 0)
        return "a part of the path is empty";
    if (part.len > PART_MAX)
        return "a part of the path is longer than 255 octets";
    if (part.data[0] == '.')
        return "a part of the path begins with a dot";
    if (slice_find(part, '/') >= 0)
        return "a part of the path holds a slash";
    return has_controls(part) ? "control characters in the path" : NULL;
}

const char *path_check_mailbox(struct slice path)
{
    if (path.len == 0 || path.len > PATH_LENGTH_MAX)
        return "the path is empty or too long";
    if (path.data[0] == '/')
        return "the path begins with a slash";
    struct slice part;
    while (slice_split(&path, '/', &part)) {
        const char *reason = path_check_part(part);
        if (reason != NULL)
            return reason;
    }
    return NULL;
}

const char *path_check_absolute(struct slice path, const char *mail_root)
{
    if (path.len == 0 || path.len > PATH_LENGTH_MAX || path.data[0] != '/')
        return "the path is not absolute";
    if (has_controls(path))
        return "control characters in the path";
    struct slice rest = slice_from(path, 1), part;
    while (slice_split(&rest, '/', &part))
        if (slice_is(part, ".") || slice_is(part, "..") || part.len > PART_MAX)
            return "the path holds a part \".\" or \"..\" or one longer than 255 octets";
    struct slice root = slice_from_string(mail_root);
    if (root.len == 0)
        return NULL;
    bool inside = slice_starts_with(path, mail_root) && (path.len == root.len || path.data[root.len] == '/');
    return inside ? NULL : "the path is outside the mail root";
}

/* The first `letters` letters of UTF-8 text, or all of it for 0. */
static struct slice first_letters(struct slice text, unsigned letters)
{
    size_t end = 0;
    if (letters == 0)
        return text;
    for (; end < text.len; end++)
        if (((unsigned char)text.data[end] & 0xc0) != 0x80 && letters-- == 0)
            break;
    return slice_part(text, 0, end);
}

/* Takes what follows a percent sign from the front of *rest. */
static const char *expand_letter(struct slice *rest, struct slice user, struct slice domain, struct buf *out)
{
    unsigned letters = 0;
    if (rest->len > 0 && rest->data[0] >= '1' && rest->data[0] <= '9') {
        letters = (unsigned)(rest->data[0] - '0');
        *rest = slice_from(*rest, 1);
    }
    char letter = rest->len > 0 ? rest->data[0] : '\0';
    *rest = slice_from(*rest, 1);
    if (letter == 'u')
        buf_append(out, first_letters(user, letters));
    else if (letter == 'd' && domain.len == 0)
        return "the user has no domain for %d";
    else if (letter == 'd')
        buf_append(out, first_letters(domain, letters));
    else if (letter == '%' && letters == 0)
        buf_append_byte(out, '%');
    else
        return "only %u, %d, %1u to %9u, %1d to %9d and %% are known in a template";
    return NULL;
}

const char *path_expand_template(struct slice template, struct slice user, struct slice domain, struct buf *out)
{
    const char *reason = path_check_part(user);
    if (reason == NULL && domain.len > 0)
        reason = path_check_part(domain);
    while (reason == NULL && template.len > 0) {
        char c = template.data[0];
        template = slice_from(template, 1);
        if (c == '%')
            reason = expand_letter(&template, user, domain, out);
        else
            buf_append_byte(out, c);
    }
    if (reason == NULL && out->overflowed)
        reason = "the path is too long";
    return reason != NULL ? reason : path_check_mailbox(buf_slice(out));
}

const char *path_check_template(struct slice template)
{
    struct buf out, other;
    buf_init(&out, PATH_LENGTH_MAX);
    buf_init(&other, PATH_LENGTH_MAX);
    /* Two users whose first nine letters are the same. */
    const char *reason = path_expand_template(template, SLICE_LITERAL("uuuuuuuuu1"), SLICE_LITERAL("d"), &out);
    if (reason == NULL)
        reason = path_expand_template(template, SLICE_LITERAL("uuuuuuuuu2"), SLICE_LITERAL("d"), &other);
    if (reason == NULL && slice_is_equal(buf_slice(&out), buf_slice(&other)))
        reason = "without %u users would share a mailbox";
    buf_fini(&out);
    buf_fini(&other);
    return reason;
}
