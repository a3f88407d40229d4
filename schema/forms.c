/* Prints the schema and what else is made from the tables. Called by generate for the build, and by posternctl; nothing in the schema is written by
 * hand. */
#include "forms.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postern/config/switches.h"
#include "src/config/attributes.h"

#define ATTRIBUTES_MAX 1024

struct definition {
    const struct attribute_rule *rule;
    bool many;         /* in any class: a schema knows an attribute only once */
};

static struct definition definitions[ATTRIBUTES_MAX];
static size_t definition_count;

static bool is_many(const struct attribute_rule *rule)
{
    return rule->kind == KIND_TEXTS || rule->kind == KIND_NAMES || rule->kind == KIND_DNS;
}

/* Kinds that differ only in what the program makes of a missing value are one syntax. */
static enum attribute_kind syntax_kind(enum attribute_kind kind)
{
    switch (kind) {
    case KIND_FLAG: return KIND_BOOLEAN;
    case KIND_AMOUNT: return KIND_NUMBER;
    case KIND_TEXTS: return KIND_TEXT;
    case KIND_DNS: return KIND_DN;
    default: return kind;
    }
}

static void fail(const char *name, const char *why)
{
    fprintf(stderr, "%s: %s\n", name, why);
    exit(1);
}

/* Servers do not agree on how to escape them (RFC 4512, section 4.1). */
static void check_doc(const char *name, const char *doc)
{
    if (strchr(doc, '\'') != NULL || strchr(doc, '\\') != NULL)
        fail(name, "its text holds a quote or a backslash");
}

static void define(const struct attribute_rule *rule)
{
    for (size_t i = 0; i < definition_count; i++) {
        if (strcmp(definitions[i].rule->name, rule->name) != 0)
            continue;
        if (syntax_kind(definitions[i].rule->kind) != syntax_kind(rule->kind))
            fail(rule->name, "has two syntaxes");
        definitions[i].many = definitions[i].many || is_many(rule);
        return;
    }
    if (definition_count == ATTRIBUTES_MAX)
        fail(rule->name, "one attribute too many");
    if (schema_attribute_number(rule->name) == 0)
        fail(rule->name, "has no number in schema_numbers.h");
    check_doc(rule->name, rule->doc);
    definitions[definition_count].rule = rule;
    definitions[definition_count++].many = is_many(rule);
}

static int compare_definitions(const void *a, const void *b)
{
    unsigned x = schema_attribute_number(((const struct definition *)a)->rule->name);
    unsigned y = schema_attribute_number(((const struct definition *)b)->rule->name);
    if (x == y)
        fail(((const struct definition *)a)->rule->name, "its number is used twice");
    return x < y ? -1 : 1;
}

static void collect(void)
{
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        if (schema_class_number(object_classes[i].name) == 0)
            fail(object_classes[i].name, "has no number in schema_numbers.h");
        check_doc(object_classes[i].name, object_classes[i].doc);
        for (size_t j = 0; j < object_classes[i].rule_count; j++)
            define(&object_classes[i].rules[j]);
    }
    qsort(definitions, definition_count, sizeof(definitions[0]), compare_definitions);
}

/* RFC 4517, sections 3.3 and 4.2. Paths and the like keep their case; domains, addresses and members do not. */
static const char *syntax_text(enum attribute_kind kind)
{
    switch (syntax_kind(kind)) {
    case KIND_BOOLEAN: return "EQUALITY booleanMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.7";
    case KIND_NUMBER: return "EQUALITY integerMatch ORDERING integerOrderingMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27";
    case KIND_WORD:
    case KIND_NAMES: return "EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15";
    case KIND_DN: return "EQUALITY distinguishedNameMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.12";
    case KIND_TIME: return "EQUALITY generalizedTimeMatch ORDERING generalizedTimeOrderingMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.24";
    default: return "EQUALITY caseExactMatch SUBSTR caseExactSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15";
    }
}

static void print_attributes(const char *prefix)
{
    for (size_t i = 0; i < definition_count; i++) {
        const struct attribute_rule *rule = definitions[i].rule;
        printf("%s( %s.1.%u NAME '%s' DESC '%s' %s%s X-ORIGIN 'Postern' )\n", prefix, schema_arc, schema_attribute_number(rule->name),
               rule->name, rule->doc, syntax_text(rule->kind), definitions[i].many ? "" : " SINGLE-VALUE");
    }
}

static void print_class(const char *prefix, const struct object_class *class)
{
    printf("%s( %s.2.%u NAME '%s' DESC '%s' SUP top %s", prefix, schema_arc, schema_class_number(class->name), class->name, class->doc,
           class->kind == AUXILIARY ? "AUXILIARY" : "STRUCTURAL");
    if (*class->must != '\0')
        printf(" MUST ( %s )", class->must);
    printf(" MAY ( %s", class->may);
    for (size_t i = 0; i < class->rule_count; i++)
        printf(" $ %s", class->rules[i].name);
    printf(" ) X-ORIGIN 'Postern' )\n");
}

static void print_classes(const char *prefix)
{
    for (size_t i = 0; i < CLASS_COUNT; i++)
        print_class(prefix, &object_classes[i]);
}

static void print_openldap(void)
{
    printf("# The schema of Postern for OpenLDAP: ldapadd -Y EXTERNAL -H ldapi:/// -f postern-openldap.ldif\n"
           "dn: cn=postern,cn=schema,cn=config\nobjectClass: olcSchemaConfig\ncn: postern\n");
    print_attributes("olcAttributeTypes: ");
    print_classes("olcObjectClasses: ");
}

/* The whole set each time: taking a type away that a class still uses would keep slapd from starting. */
static void print_openldap_upgrade(const char *dn)
{
    printf("# Brings the schema of Postern in OpenLDAP to this version; running it again changes nothing. The DN has a number of its own in\n"
           "# each server: ldapsearch -Y EXTERNAL -H ldapi:/// -b cn=schema,cn=config '(cn=*postern)' dn\n"
           "dn: %s\nchangetype: modify\nreplace: olcAttributeTypes\n", dn);
    print_attributes("olcAttributeTypes: ");
    printf("-\nreplace: olcObjectClasses\n");
    print_classes("olcObjectClasses: ");
    printf("-\n");
}

static void print_rfc4512(void)
{
    printf("# The schema of Postern for 389 Directory Server and others that take RFC 4512 definitions at cn=schema, new or as an upgrade:\n"
           "# ldapmodify -D \"cn=Directory Manager\" -W -f postern-389ds.ldif\n"
           "dn: cn=schema\nchangetype: modify\nadd: attributeTypes\n");
    print_attributes("attributeTypes: ");
    printf("-\nadd: objectClasses\n");
    print_classes("objectClasses: ");
    printf("-\n");
}

/* A hyphen alone would be a typographic one; a leading dot or quote a request. */
static void print_roff(const char *text)
{
    if (*text == '.' || *text == '\'')
        printf("\\&");
    for (; *text != '\0'; text++)
        if (*text == '-')
            printf("\\-");
        else if (*text == '\\')
            printf("\\e");
        else
            putchar(*text);
}

static const char *kind_text(enum attribute_kind kind)
{
    switch (kind) {
    case KIND_BOOLEAN:
    case KIND_FLAG: return "TRUE or FALSE";
    case KIND_NUMBER:
    case KIND_AMOUNT: return "a number";
    case KIND_WORD: return "one of";
    case KIND_TEXT: return "text";
    case KIND_TEXTS: return "text, any number of values";
    case KIND_NAMES: return "text without regard to case, any number of values";
    case KIND_DN: return "a distinguished name";
    case KIND_DNS: return "a distinguished name, any number of values";
    case KIND_TIME: return "a time like 20301231235959Z";
    }
    return "";
}

static void print_words(const struct attribute_rule *rule)
{
    int value = 0;
    const char *word, *fallback = NULL;
    for (size_t i = 0; (word = word_at(rule->words, i, &value)) != NULL; i++) {
        printf(" %s", word);
        if ((uint64_t)value == rule->fallback)
            fallback = word;
    }
    printf("; default %s", fallback != NULL ? fallback : "none");
}

static void print_man_attribute(const struct attribute_rule *rule)
{
    printf(".TP\n.B %s\n", rule->name);
    print_roff(rule->doc);
    printf("\n.br\nValue: %s", kind_text(rule->kind));
    if (rule->kind == KIND_WORD)
        print_words(rule);
    if (rule->kind == KIND_NUMBER || rule->kind == KIND_AMOUNT)
        printf(" from %" PRIu64 " to %" PRIu64, rule->min, rule->max);
    if (rule->kind == KIND_NUMBER)
        printf("; default %" PRIu64, rule->fallback);
    if (rule->kind == KIND_BOOLEAN)
        printf("; default %s", rule->fallback ? "TRUE" : "FALSE");
    printf(".\n");
}

static void print_man_class(const struct object_class *class)
{
    printf(".SH %s\n", class->name);
    print_roff(class->doc);
    printf("\n%s object class, %s.2.%u.\n", class->kind == AUXILIARY ? "Auxiliary" : "Structural", schema_arc,
           schema_class_number(class->name));
    if (*class->must != '\0')
        printf("Must have:\n.BR %s .\n", class->must);
    printf("May also have:\n.BR \"%s\" .\n", class->may);
    for (size_t i = 0; i < class->rule_count; i++)
        print_man_attribute(&class->rules[i]);
}

static void print_man(void)
{
    printf(".\\\" Generated from the tables that the program reads.\n.TH POSTERN-SCHEMA 5 \"2026-11-23\" \"Postern\" \"File formats\"\n.SH NAME\n"
           "postern\\-schema \\- the objects and attributes of Postern in an LDAP directory\n.SH DESCRIPTION\n"
           "All settings of\n.BR posternd (8)\nare attributes of objects in the directory. They take effect at once when an object is changed. "
           "An object with a value that is not valid keeps the last valid state of all its attributes, and the fault is logged; "
           "the other objects are not affected.\n.PP\n"
           "Words and Internet domains are compared without regard to case. The definitions for directory servers are printed by\n"
           ".B posternctl schema\nand installed, with access rules, in\n.IR PREFIX/share/postern/schema .\n");
    for (size_t i = 0; i < CLASS_COUNT; i++)
        print_man_class(&object_classes[i]);
    printf(".SH SEE ALSO\n.BR posternd (8),\n.BR posternctl (8)\n");
}

/* The switches, as paragraphs of posternd(8). */
static void print_switches(void)
{
    const struct switch_rule *rule;
    for (size_t i = 0; (rule = switch_at(i)) != NULL; i++) {
        printf(rule->argument != NULL ? ".TP\n.BI \\-\\-%s\\~ %s\n" : ".TP\n.B \\-\\-%s\n", rule->name, rule->argument);
        if (rule->form == SWITCH_FIXED)
            printf("Sets %s to %s.", rule->attribute, rule->value);
        else
            print_roff(rule->doc);
        if (rule->form != SWITCH_FIXED && rule->form != SWITCH_NOTHING)
            printf("%s\nOverrides %s.", rule->many ? "\nMay be repeated." : "", rule->attribute);
        putchar('\n');
    }
}

int schema_print(const char *form, const char *dn)
{
    definition_count = 0;
    collect();
    if (strcmp(form, "openldap") == 0)
        print_openldap();
    else if (strcmp(form, "openldap-upgrade") == 0)
        print_openldap_upgrade(dn != NULL ? dn : "cn={4}postern,cn=schema,cn=config");
    else if (strcmp(form, "rfc4512") == 0)
        print_rfc4512();
    else if (strcmp(form, "man") == 0)
        print_man();
    else if (strcmp(form, "switches") == 0)
        print_switches();
    else
        return 2;
    return fflush(stdout) == 0 && ferror(stdout) == 0 ? 0 : 1;
}
