/* Unit tests of src/ctl: LDIF in any pieces, and its changes applied to entries in memory. */
#include <stdio.h>
#include <string.h>

#include "../../src/ctl/edit.h"
#include "postern/base/memory.h"
#include "run.h"

/* --- LDIF as text again, for comparing ------------------------------------------------------------------------------------- */

static void print_record(struct buf *out, const struct ldif_record *r)
{
    static const char *const changes[] = { "add", "delete", "modify", "rename" }, *const operations[] = { "+", "-", "=" };
    buf_printf(out, "%u %s %s", r->line, changes[r->change], r->dn);
    if (r->change == LDIF_RENAME)
        buf_printf(out, " to %s %s%s", r->new_rdn, r->delete_old_rdn ? "anew" : "too", r->new_superior != NULL ? " below " : "");
    if (r->new_superior != NULL)
        buf_append_text(out, r->new_superior);
    for (const struct ldif_part *p = r->parts; p != NULL; p = p->next) {
        buf_printf(out, " %s%s", operations[p->operation], p->attribute);
        for (const struct ldif_value *v = p->values; v != NULL; v = v->next)
            buf_printf(out, "(%.*s)", SLICE_ARG(v->value));
    }
    buf_append_byte(out, '\n');
}

/* The records, or "line N: ..." of the fault. Fed in two pieces, and the second byte by byte. */
static char *read_ldif(struct slice text, size_t split)
{
    struct ldif l;
    struct fault fault;
    struct buf out = { .cap = 0 };
    ldif_init(&l);
    int rc = ldif_feed(&l, slice_part(text, 0, split), &fault);
    for (size_t i = split; rc == 0 && i < text.len; i++)
        rc = ldif_feed(&l, slice_part(text, i, 1), &fault);
    if (rc == 0)
        rc = ldif_end(&l, &fault);
    for (const struct ldif_record *r = l.records; rc == 0 && r != NULL; r = r->next)
        print_record(&out, r);
    if (rc != 0)
        buf_append_text(&out, fault.text);
    char *result = slice_to_string(buf_slice(&out));
    buf_fini(&out);
    ldif_fini(&l);
    return result;
}

struct ldif_row {
    const char *text;
    const char *records;   /* or the beginning of the fault */
};

static void try_rows(const struct ldif_row *rows, size_t count, bool whole)
{
    for (size_t i = 0; i < count; i++) {
        struct slice text = slice_from_string(rows[i].text);
        for (size_t split = 0; split <= text.len; split++) {
            char *got = read_ldif(text, split);
            bool good = whole ? strcmp(got, rows[i].records) == 0 : slice_starts_with(slice_from_string(got), rows[i].records);
            if (!good)
                fprintf(stderr, "%s\nsplit at %zu gives\n%s\nnot\n%s\n", rows[i].text, split, got, rows[i].records);
            CU_ASSERT_FATAL(good);
            mem_free(&got);
        }
    }
}

static void test_ldif(void)
{
    static const struct ldif_row rows[] = {
        { "", "" },
        { "\n\n# nothing\n", "" },
        { "version: 1\n", "" },
        { "dn: cn=a\ncn: a", "1 add cn=a +cn(a)\n" },
        { "version: 1\n\ndn: cn=a\ncn: a\nSN: b\nsn:c\nx:\n\ndn: cn=b\nchangetype: delete\n", "3 add cn=a +cn(a) +SN(b)(c) +x()\n9 delete cn=b\n" },
        { "dn: cn=a\r\nchangetype: add\r\ncn: a\r\n\r\n", "1 add cn=a +cn(a)\n" },
        { "dn: cn=l\n ong,dc=e\n  x\ncn: l\n o\n ng\n", "1 add cn=long,dc=e x +cn(long)\n" },
        { "# a comment\n that goes on: x\ndn: cn=a\n# another\ncn: a\n#last\n", "3 add cn=a +cn(a)\n" },
        { "dn:: Y249w6Q=\ncn:: w6Q=\nsn:: \nx:: YQ==\ny:: YWI=\nz:: YWJj\n", "1 add cn=\xc3\xa4 +cn(\xc3\xa4) +sn() +x(a) +y(ab) +z(abc)\n" },
        { "dn:: Y24\n 9YQ==\ncn:: Y\n Q=\n =\n", "1 add cn=a +cn(a)\n" },
        { "dn: cn=a\ncn;lang-de: b\n1.2.3: c\n", "1 add cn=a +cn;lang-de(b) +1.2.3(c)\n" },
        { "dn: cn=a\ncontrol: 1.2.3 true\nchangetype: modify\nadd: x\nx: 1\nX: 2\n-\ndelete: y\n-\nreplace: z\nz: 3\n-\n",
          "1 modify cn=a +x(1)(2) -y =z(3)\n" },
        { "dn: cn=a\nchangetype: modify\nreplace: z\nz: 3\n\ndn: cn=b\nchangetype: modify\n", "1 modify cn=a =z(3)\n6 modify cn=b\n" },
        { "dn: cn=a\nchangetype: modrdn\nnewrdn: cn=b\ndeleteoldrdn: 1\n", "1 rename cn=a to cn=b anew\n" },
        { "dn: cn=a\nchangetype: moddn\nnewrdn: cn=b\ndeleteoldrdn: 0\nnewsuperior: dc=x\n", "1 rename cn=a to cn=b too below dc=x\n" },
        { "dn: \nobjectClass: top\n", "1 add  +objectClass(top)\n" },
        { "dn: cn=a\ncn: - \n-x: 1\n", "1 add cn=a +cn(- ) +-x(1)\n" },
    };
    try_rows(rows, sizeof(rows) / sizeof(rows[0]), true);
}

static void test_bad_ldif(void)
{
    static const struct ldif_row rows[] = {
        { "cn: a\n", "line 1: a record begins with dn" },
        { "dn cn=a\n", "line 1: there is no colon" },
        { " x\n", "line 1: there is no line" },
        { "dn: cn=a\ncn: a\n\n x\n", "line 4: there is no line" },
        { "version: 2\n", "line 1: not version 1" },
        { "dn: cn=a\nversion: 1\n\nversion: 1\n", "line 4: a record begins with dn" },
        { "dn: cn=a\n", "line 1: the record has no attributes" },
        { "dn: cn=a\nchangetype: add\n\n", "line 3: the record has no attributes" },
        { "dn: cn=a\nchangetype: rename\n", "line 2: not add" },
        { "dn: cn=a\n: x\n", "line 2: not the name" },
        { "dn: cn=a\nc n: x\n", "line 2: not the name" },
        { "dn: cn=a\ncn:< file:///etc/passwd\n", "line 2: values from a URL" },
        { "dn: cn=a\ncn:: YQ=\n", "line 2: not base64" },
        { "dn: cn=a\ncn:: YQ\n", "line 2: not base64" },
        { "dn: cn=a\ncn:: Y===\n", "line 2: not base64" },
        { "dn: cn=a\ncn:: ====\n", "line 2: not base64" },
        { "dn: cn=a\ncn:: YQ==YQ==\n", "line 2: not base64" },
        { "dn: cn=a\ncn:: Y!==\n", "line 2: not base64" },
        { "dn: cn=a\nchangetype: delete\ncn: a\n", "line 3: nothing can follow" },
        { "dn: cn=a\nchangetype: modify\nincrement: x\nx: 1\n", "line 3: not add, delete or replace" },
        { "dn: cn=a\nchangetype: modify\nadd: \n", "line 3: not the name" },
        { "dn: cn=a\nchangetype: modify\nadd: x\ny: 1\n", "line 4: not the attribute" },
        { "dn: cn=a\nchangetype: modify\n-\n", "line 3: there is no colon" },
        { "dn: cn=a\nchangetype: modrdn\nnewrdn: cn=b\n", "line 3: newrdn and deleteoldrdn" },
        { "dn: cn=a\nchangetype: modrdn\ndeleteoldrdn: 1\n", "line 3: newrdn is missing" },
        { "dn: cn=a\nchangetype: modrdn\nnewrdn: cn=b\ndeleteoldrdn: yes\n", "line 4: deleteoldrdn" },
        { "dn: cn=a\nchangetype: modrdn\nnewrdn: cn=b\ndeleteoldrdn: 1\nnew: x\n", "line 5: only newsuperior" },
        { "dn:: Y24APWE=\nchangetype: delete\n", "line 1: the DN has a NUL" },
    };
    try_rows(rows, sizeof(rows) / sizeof(rows[0]), false);
}

/* --- edits ----------------------------------------------------------------------------------------------------------------- */

static void print_entry(struct buf *out, const struct directory_entry *e)
{
    buf_append_text(out, e != NULL ? e->dn : "(none)");
    for (size_t i = 0; e != NULL && i < e->count; i++) {
        buf_printf(out, " %s", e->attributes[i].name);
        for (size_t j = 0; j < e->attributes[i].count; j++)
            buf_printf(out, "(%.*s)", SLICE_ARG(e->attributes[i].values[j]));
    }
    buf_append_byte(out, '\n');
}

static struct directory_entry *make_entry(const char *dn, const char *name, const char *value)
{
    struct directory_entry *e = directory_entry_new(slice_from_string(dn), NULL);
    struct slice slice = slice_from_string(value);
    directory_entry_reserve(e, 1);
    directory_entry_set(e, 0, slice_from_string(name), &slice, 1);
    return e;
}

/* What the directory has beside the entries that were added. */
static struct directory_entry *read_entry(void *context, const char *dn)
{
    ++*(unsigned *)context;
    return strcmp(dn, "uid=far,dc=e") == 0 ? make_entry("uid=far,dc=e", "uid", "far") : NULL;
}

/* The entries afterwards in the order in which they became known, or the fault. */
static char *edit_text(const char *text, unsigned *reads)
{
    struct ldif l;
    struct edit edit;
    struct fault fault;
    struct buf out = { .cap = 0 };
    *reads = 0;
    ldif_init(&l);
    edit_init(&edit, read_entry, reads);
    edit_add(&edit, make_entry("cn=A,dc=e", "cn", "A"));
    edit_add(&edit, make_entry("CN=child, cn=a , dc=e", "cn", "child"));
    edit_add(&edit, make_entry("cn=a,dc=e", "cn", "the same again"));
    int rc = ldif_feed(&l, slice_from_string(text), &fault);
    rc = rc == 0 ? ldif_end(&l, &fault) : rc;
    for (const struct ldif_record *r = l.records; rc == 0 && r != NULL; r = r->next)
        rc = edit_apply(&edit, r, &fault);
    if (rc != 0)
        buf_append_text(&out, fault.text);
    for (size_t i = 0; rc == 0 && i < edit.count; i++) {
        print_entry(&out, edit.all[i]->after);
        CU_ASSERT(edit.all[i]->after == NULL || edit.all[i]->after->uuid[0] != '\0');
        for (size_t j = 0; edit.all[i]->after != NULL && j < i; j++)
            CU_ASSERT(edit.all[j]->after == NULL || strcmp(edit.all[i]->after->uuid, edit.all[j]->after->uuid) != 0);
    }
    char *moved = rc == 0 ? edit_renamed(&edit, "uid=x,CN=a,dc=e") : NULL;
    if (moved != NULL)
        buf_printf(&out, "moves %s\n", moved);
    mem_free(&moved);
    char *result = slice_to_string(buf_slice(&out));
    buf_fini(&out);
    edit_fini(&edit);
    ldif_fini(&l);
    return result;
}

#define CHILD "CN=child, cn=a , dc=e cn(child)\n"

static void test_edit(void)
{
    static const struct ldif_row rows[] = {
        { "", "cn=A,dc=e cn(A)\n" CHILD },
        { "dn: CN=a, DC=E\nchangetype: modify\nadd: x\nx: 1\nx: 2\n-\nreplace: cn\ncn: B\n-\ndelete: x\nx: 1\n-\n", "cn=A,dc=e x(2) cn(B)\n" CHILD },
        { "dn: cn=a,dc=e\nchangetype: modify\nreplace: y\n-\ndelete: cn\n-\n", "cn=A,dc=e\n" CHILD },
        { "dn: cn=a,dc=e\nchangetype: modify\ndelete: cn\ncn: a\n-\n", "cn=A,dc=e\n" CHILD },
        { "dn: cn=a,dc=e\nchangetype: modify\nadd: cn\ncn: a\n-\n", "line 1: the value exists already" },
        { "dn: cn=a,dc=e\nchangetype: modify\ndelete: y\n-\n", "line 1: there is no such value of y: cn=a,dc=e" },
        { "dn: cn=a,dc=e\nchangetype: modify\ndelete: cn\ncn: b\n-\n", "line 1: there is no such value of cn" },
        { "dn: cn=n,dc=e\ncn: n\n\ndn: cn=n,dc=e\nchangetype: modify\nadd: x\nx: 1\n-\n", "cn=A,dc=e cn(A)\n" CHILD "cn=n,dc=e cn(n) x(1)\n" },
        { "dn: cn=A , dc=e\ncn: a\n", "line 1: the entry exists already" },
        { "dn: uid=far,dc=e\nchangetype: modify\nadd: x\nx: 1\n", "cn=A,dc=e cn(A)\n" CHILD "uid=far,dc=e uid(far) x(1)\n" },
        { "dn: uid=far,dc=e\nchangetype: delete\n\ndn: uid=far,dc=e\nuid: far\nx: 2\n", "cn=A,dc=e cn(A)\n" CHILD "uid=far,dc=e uid(far) x(2)\n" },
        { "dn: uid=gone,dc=e\nchangetype: delete\n", "line 1: there is no such entry" },
        { "dn: cn=a,dc=e\nchangetype: delete\n", "line 1: there are entries below it" },
        { "dn: cn=child,cn=a,dc=e\nchangetype: delete\n\ndn: cn=a,dc=e\nchangetype: delete\n", "(none)\n(none)\n" },
        { "dn: cn=child,cn=a,dc=e\nchangetype: delete\n\ndn: cn=child,cn=a,dc=e\nchangetype: delete\n", "line 4: there is no such entry" },
        { "dn: cn=a,dc=e\nchangetype: modrdn\nnewrdn: cn=B\ndeleteoldrdn: 1\n",
          "cn=B,dc=e cn(B)\ncn=child,cn=B,dc=e cn(child)\nmoves uid=x,cn=B,dc=e\n" },
        { "dn: cn=a,dc=e\nchangetype: modrdn\nnewrdn: ou=B\ndeleteoldrdn: 0\nnewsuperior: o=z\n",
          "ou=B,o=z cn(A) ou(B)\ncn=child,ou=B,o=z cn(child)\nmoves uid=x,ou=B,o=z\n" },
        { "dn: cn=a,dc=e\nchangetype: modrdn\nnewrdn: cn=B\ndeleteoldrdn: 1\n\ndn: cn=child,cn=b,dc=e\nchangetype: modify\nadd: x\nx: 1\n",
          "cn=B,dc=e cn(B)\ncn=child,cn=B,dc=e cn(child) x(1)\nmoves uid=x,cn=B,dc=e\n" },
        { "dn: cn=child,cn=a,dc=e\nchangetype: modrdn\nnewrdn: cn=A\ndeleteoldrdn: 1\nnewsuperior: dc=e\n", "line 1: there is an entry of the new name" },
        { "dn: cn=a,dc=e\nchangetype: modrdn\nnewrdn: nonsense\ndeleteoldrdn: 1\n", "line 1: the new name is not" },
        { "dn: \nchangetype: delete\n", "line 1: not a distinguished name" },
        { "dn: cn\nchangetype: delete\n", "line 1: not a distinguished name" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned reads;
        char *got = edit_text(rows[i].text, &reads);
        bool good = slice_starts_with(slice_from_string(rows[i].records), "line ") ? slice_starts_with(slice_from_string(got), rows[i].records)
                                                                                  : strcmp(got, rows[i].records) == 0;
        if (!good)
            fprintf(stderr, "%s\ngives\n%s\nnot\n%s\n", rows[i].text, got, rows[i].records);
        CU_ASSERT(good);
        mem_free(&got);
    }
}

static const struct unit_test tests[] = {
    { "ldif", test_ldif },
    { "bad ldif", test_bad_ldif },
    { "edit", test_edit },
};

UNIT_MAIN("ctl", tests)
