/* Distinguished names in normal form, and filter values. OpenLDAP rewrites the spelling of DNs, so they are never compared as given. */
#include "postern/directory/dn.h"

#include <ldap.h>
#include <stdlib.h>
#include <string.h>

#include "postern/base/memory.h"

#define DN_MAX 4096

static const char hexadecimal[] = "0123456789abcdef";

/* RFC 4514, section 2.4: what needs escaping anywhere in a value; controls and everything outside ASCII stay readable only as they are. */
static bool is_special(char c)
{
    return c == ',' || c == '+' || c == '"' || c == '\\' || c == '<' || c == '>' || c == ';' || c == '=' || c == '#' ||
           (unsigned char)c < ' ' || c == 127;
}

static void append_byte(struct buf *out, char c)
{
    if (is_special(c)) {
        char escaped[3] = { '\\', hexadecimal[(unsigned char)c >> 4], hexadecimal[(unsigned char)c & 15] };
        buf_append(out, slice_make(escaped, sizeof(escaped)));
    } else {
        buf_append_byte(out, ascii_lower(c));
    }
}

/* The letters of two UTF-8 bytes that have a pair: Latin, Greek, Cyrillic. */
static uint32_t lower_letter(uint32_t c)
{
    if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9) || (c >= 0x410 && c <= 0x42F))
        return c + 0x20;
    if (c >= 0x400 && c <= 0x40F)
        return c + 0x50;
    if ((c >= 0x100 && c <= 0x12F) || (c >= 0x132 && c <= 0x137) || (c >= 0x14A && c <= 0x177))
        return c | 1;
    return (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E) ? c + (c & 1) : c;
}

/* The character at the beginning; returns how many bytes it has. */
static size_t append_character(struct buf *out, struct slice rest)
{
    unsigned char lead = (unsigned char)rest.data[0], next = rest.len > 1 ? (unsigned char)rest.data[1] : 0;
    if (lead < 0xC3 || lead > 0xD1 || (next & 0xC0) != 0x80) {
        append_byte(out, rest.data[0]);
        return 1;
    }
    uint32_t c = lower_letter((uint32_t)(lead & 0x1F) << 6 | (next & 0x3F));
    buf_append_byte(out, (char)(0xC0 | c >> 6));
    buf_append_byte(out, (char)(0x80 | (c & 0x3F)));
    return 2;
}

/* Blanks at the ends are dropped and runs of them folded to one, as caseIgnoreMatch does (RFC 4518, section 2.6.1). */
static void append_value(struct buf *out, struct slice value)
{
    while (value.len > 0 && value.data[0] == ' ')
        value = slice_from(value, 1);
    while (value.len > 0 && value.data[value.len - 1] == ' ')
        value.len--;
    for (size_t i = 0; i < value.len;)
        if (value.data[i] == ' ' && value.data[i - 1] == ' ')
            i++;
        else
            i += append_character(out, slice_from(value, i));
}

/* What an attribute type is called in short, its other names and its number (RFC 4519; RFC 4514, section 2.3, lets it be written by any). */
static struct slice short_type(struct slice type)
{
    static const char *const names[][3] = {
        { "cn", "commonName", "2.5.4.3" }, { "sn", "surname", "2.5.4.4" }, { "c", "countryName", "2.5.4.6" }, { "l", "localityName", "2.5.4.7" },
        { "st", "stateOrProvinceName", "2.5.4.8" }, { "street", "streetAddress", "2.5.4.9" }, { "o", "organizationName", "2.5.4.10" },
        { "ou", "organizationalUnitName", "2.5.4.11" }, { "uid", "userid", "0.9.2342.19200300.100.1.1" },
        { "dc", "domainComponent", "0.9.2342.19200300.100.1.25" }, { "mail", "rfc822Mailbox", "0.9.2342.19200300.100.1.3" },
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (slice_is_nocase(type, names[i][1]) || slice_is(type, names[i][2]))
            return slice_from_string(names[i][0]);
    return type;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *part_text(const LDAPAVA *part)
{
    struct buf out;
    buf_init(&out, DN_MAX * 4);
    append_value(&out, short_type(slice_make(part->la_attr.bv_val, part->la_attr.bv_len)));
    buf_append_byte(&out, '=');
    append_value(&out, slice_make(part->la_value.bv_val, part->la_value.bv_len));
    char *text = slice_to_string(buf_slice(&out));
    buf_fini(&out);
    return text;
}

static void append_rdn(struct buf *out, LDAPRDN rdn)
{
    size_t count = 0;
    while (rdn[count] != NULL)
        count++;
    char **parts = MEM_NEW_ARRAY(char *, count + 1);
    for (size_t i = 0; i < count; i++)
        parts[i] = part_text(rdn[i]);
    qsort(parts, count, sizeof(*parts), compare_texts);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_byte(out, '+');
        buf_append_text(out, parts[i]);
        mem_free(&parts[i]);
    }
    mem_free(&parts);
}

static bool dn_parse(struct slice text, LDAPDN *out)
{
    *out = NULL;
    if (text.len > DN_MAX || slice_has_nul(text))
        return false;
    char *copy = slice_to_string(text);
    int rc = ldap_str2dn(copy, out, LDAP_DN_FORMAT_LDAPV3);
    mem_free(&copy);
    return rc == LDAP_SUCCESS;
}

char *dn_normalise(struct slice text)
{
    LDAPDN dn;
    if (!dn_parse(text, &dn))
        return NULL;
    struct buf out;
    buf_init(&out, (size_t)DN_MAX * 8);
    for (size_t i = 0; dn != NULL && dn[i] != NULL; i++) {
        if (i > 0)
            buf_append_byte(&out, ',');
        append_rdn(&out, dn[i]);
    }
    ldap_dnfree(dn);
    char *text_out = out.overflowed ? NULL : slice_to_string(buf_slice(&out));
    buf_fini(&out);
    return text_out;
}

bool dn_is_within(const char *dn, const char *base)
{
    size_t len = strlen(dn), base_len = strlen(base);
    if (base_len == 0)
        return true;
    if (len == base_len)
        return strcmp(dn, base) == 0;
    return len > base_len && dn[len - base_len - 1] == ',' && strcmp(dn + len - base_len, base) == 0;
}

bool dn_is_parent(const char *parent, const char *dn)
{
    const char *comma = strchr(dn, ',');
    return comma != NULL && strcmp(comma + 1, parent) == 0;
}

char *dn_first_value(struct slice text)
{
    LDAPDN dn;
    if (!dn_parse(text, &dn))
        return NULL;
    char *value = NULL;
    if (dn != NULL && dn[0] != NULL && dn[0][0] != NULL)
        value = slice_to_string(slice_make(dn[0][0]->la_value.bv_val, dn[0][0]->la_value.bv_len));
    ldap_dnfree(dn);
    return value;
}

bool filter_append_value(struct buf *filter, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        /* Beyond the five characters of the RFC, controls are escaped too: they are legal but help nobody who reads a log. */
        if (c == '*' || c == '(' || c == ')' || c == '\\' || c < ' ' || c == 127) {
            char escaped[3] = { '\\', hexadecimal[c >> 4], hexadecimal[c & 15] };
            buf_append(filter, slice_make(escaped, sizeof(escaped)));
        } else {
            buf_append_byte(filter, (char)c);
        }
    }
    return !filter->overflowed;
}
