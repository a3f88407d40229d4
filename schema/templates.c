/* Writes the templates of phpLDAPadmin from the tables: a creation form for each class, step by step, and modification forms, one for each page of
 * properties. Called by generate for the build. A new row of the tables appears in its form by itself. */
#include "templates.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "src/config/attributes.h"

enum { LABEL_MAX = 60 };

/* A page holds the attributes that begin with one of its prefixes; the first page of a class all that no other page takes. */
struct page {
    enum object_class_id class;
    const char *title;
    const char *prefixes;   /* separated by blanks, without "postern" */
};

static const struct page pages[] = {
    { CLASS_AGENT, "General", "" },
    { CLASS_AGENT, "POP3", "Pop3" },
    { CLASS_AGENT, "IMAP4", "Imap4" },
    { CLASS_AGENT, "SMTP", "Smtp Submission Lmtp Relay Defer" },
    { CLASS_AGENT, "Security", "Tls ClearText Login Intruder Remember Scram Token Trusted" },
    { CLASS_POST_OFFICE, "", "" },
    { CLASS_POST_OFFICE_AGENT, "General", "" },
    { CLASS_POST_OFFICE_AGENT, "Server", "Imap4 Smtp Trusted ClearText Login HostName BindAddress UserBase Stall Intruder LogLevel PoaCertificate PoaKey" },
    { CLASS_LINK, "", "" },
    { CLASS_CLASS_OF_SERVICE, "General", "" },
    { CLASS_CLASS_OF_SERVICE, "POP3", "Pop3" },
    { CLASS_CLASS_OF_SERVICE, "IMAP4", "Imap4" },
    { CLASS_CLASS_OF_SERVICE, "SMTP incoming", "SmtpIncoming" },
    { CLASS_CLASS_OF_SERVICE, "SMTP outgoing", "SmtpOutgoing" },
    { CLASS_MAIL_USER, "", "" },
    { CLASS_DISTRIBUTION_LIST, "", "" },
    { CLASS_AGENT_STATUS, "", "" },
};
enum { PAGE_COUNT = sizeof(pages) / sizeof(pages[0]) };

/* What a form shows of a class besides its settings. */
struct field {
    const char *name, *label;
};

struct form {
    const char *title, *icon, *structural;   /* structural: the class that an auxiliary one is made with */
    const char *rdn;
    struct field fields[7];
};

static const struct form forms[CLASS_COUNT] = {
    [CLASS_AGENT] = { "Internet Agent", "server.png", NULL, "cn", { { "cn", "Name" }, { "description", "Description" } } },
    [CLASS_POST_OFFICE] = { "Post Office", "home.png", NULL, "cn", { { "cn", "Name" }, { "description", "Description" } } },
    [CLASS_POST_OFFICE_AGENT] = { "Post Office Agent", "process.png", NULL, "cn", { { "cn", "Name" }, { "description", "Description" } } },
    [CLASS_LINK] = { "Post Office Link", "network.png", NULL, "cn", { { "cn", "Name" }, { "description", "Description" } } },
    [CLASS_CLASS_OF_SERVICE] = { "Class of Service", "key.png", NULL, "cn", { { "cn", "Name" }, { "description", "Description" } } },
    [CLASS_MAIL_USER] = { "Mail User", "ldap-user.png", "inetOrgPerson", "uid",
                          { { "uid", "User ID" }, { "givenName", "First name" }, { "sn", "Last name" }, { "cn", "Full name" },
                            { "mail", "Address" }, { "userPassword", "Password" } } },
    [CLASS_DISTRIBUTION_LIST] = { "Distribution List", "address-book.png", "groupOfNames", "cn",
                                  { { "cn", "Name" }, { "mail", "Address" }, { "member", "Members" } } },
    [CLASS_AGENT_STATUS] = { "Agent Status", "info.png", NULL, "cn", { { "cn", "Host" } } },
};

/* Words of attribute names that are not written as they stand there. */
static const char *const spellings[][2] = {
    { "Pop3", "POP3" }, { "Pop3s", "POP3S" }, { "Imap4", "IMAP4" }, { "Imap4s", "IMAP4S" }, { "Smtp", "SMTP" }, { "Lmtp", "LMTP" },
    { "Tls", "TLS" }, { "Poa", "POA" }, { "Ca", "CA" }, { "Scram", "SCRAM" }, { "Mime", "MIME" },
};

static void print_escaped(FILE *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        switch (text[i]) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputc('\'', out); break;   /* phpLDAPadmin puts it between double quotes as it is */
        default: fputc(text[i], out);
        }
}

/* "posternPop3MaxMessages": "POP3 max messages". */
static void print_name(FILE *out, const char *name)
{
    if (strncmp(name, "postern", 7) == 0)
        name += 7;
    for (const char *word = name; *word != '\0';) {
        size_t length = 1;
        while (word[length] != '\0' && !isupper((unsigned char)word[length]))
            length++;
        const char *spelling = NULL;
        for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
            if (strlen(spellings[i][0]) == length && strncmp(spellings[i][0], word, length) == 0)
                spelling = spellings[i][1];
        if (word != name)
            fputc(' ', out);
        if (spelling != NULL)
            fputs(spelling, out);
        else
            fprintf(out, "%c%.*s", word == name ? word[0] : tolower((unsigned char)word[0]), (int)length - 1, word + 1);
        word += length;
    }
}

/* The first clause of the description if it is short, else the words of the attribute's name. */
static void print_label(FILE *out, const struct attribute_rule *rule)
{
    size_t length = strcspn(rule->doc, ":;.(");
    while (length > 0 && rule->doc[length - 1] == ' ')
        length--;
    if (length <= LABEL_MAX)
        print_escaped(out, rule->doc, length);
    else
        print_name(out, rule->name);
}

static void print_hint(FILE *out, const struct attribute_rule *rule)
{
    fputs("\t<hint>", out);
    print_escaped(out, rule->doc, strlen(rule->doc));
    if (rule->kind == KIND_NUMBER || rule->kind == KIND_AMOUNT)
        fprintf(out, " From %" PRIu64 " to %" PRIu64 ".", rule->min, rule->max);
    if (rule->kind == KIND_NUMBER)
        fprintf(out, " Default %" PRIu64 ".", rule->fallback);
    if (rule->kind == KIND_BOOLEAN)
        fprintf(out, " Default %s.", rule->fallback ? "true" : "false");
    fputs("</hint>\n", out);
}

static void print_choices(FILE *out, const struct attribute_rule *rule)
{
    int value = 0;
    const char *word;
    fputs("\t<type>select</type>\n", out);
    for (size_t i = 0; (word = word_at(rule->words, i, &value)) != NULL; i++)
        fprintf(out, "\t<value id=\"%s\">%s%s</value>\n", word, word, (uint64_t)value == rule->fallback ? " (default)" : "");
}

static void print_rule(FILE *out, const struct attribute_rule *rule, int page, int order)
{
    fprintf(out, "<attribute id=\"%s\">\n\t<display>", rule->name);
    print_label(out, rule);
    fputs("</display>\n", out);
    print_hint(out, rule);
    fprintf(out, "\t<order>%d</order>\n\t<page>%d</page>\n", order, page);
    if (rule->kind == KIND_WORD)
        print_choices(out, rule);
    /* Post offices are chosen among those that there are; other DNs are browsed for. */
    if (strcmp(rule->name, "posternPostOffice") == 0)
        fprintf(out, "\t<value><![CDATA[=php.%s(/;(objectClass=posternPostOffice);dn;%%cn%%)]]></value>\n",
                rule->kind == KIND_DNS ? "MultiList" : "PickList");
    fputs("</attribute>\n", out);
}

static bool has_prefix(const char *name, const char *prefixes)
{
    name += strlen("postern");
    for (const char *at = prefixes; *at != '\0'; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        if (strncmp(name, at, length) == 0)
            return true;
        at += length;
    }
    return false;
}

static const struct page *page_of(enum object_class_id class, const char *name)
{
    const struct page *first = NULL;
    for (size_t i = 0; i < PAGE_COUNT; i++) {
        if (pages[i].class != class)
            continue;
        if (first == NULL)
            first = &pages[i];
        if (has_prefix(name, pages[i].prefixes))
            return &pages[i];
    }
    return first;
}

static void print_head(FILE *out, enum object_class_id class, const struct page *page)
{
    const struct form *form = &forms[class];
    fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n<!DOCTYPE template SYSTEM \"template.dtd\">\n"
                 "<!-- Generated from the tables that posternd reads. -->\n\n<template>\n<description>");
    print_escaped(out, object_classes[class].doc, strlen(object_classes[class].doc));
    fprintf(out, "</description>\n<icon>%s</icon>\n<invalid>0</invalid>\n<rdn>%s</rdn>\n", form->icon, form->rdn);
    if (class == CLASS_AGENT_STATUS)
        fputs("<readonly>1</readonly>\n", out);
    fprintf(out, "<title>Postern: %s%s%s</title>\n<visible>1</visible>\n\n<objectClasses>\n", form->title,
            page != NULL && *page->title != '\0' ? ", " : "", page != NULL ? page->title : "");
    if (form->structural != NULL)
        fprintf(out, "<objectClass id=\"%s\"></objectClass>\n", form->structural);
    fprintf(out, "<objectClass id=\"%s\"></objectClass>\n</objectClasses>\n\n<attributes>\n", object_classes[class].name);
    /* Without this phpLDAPadmin would take away, with the first change, all classes of an entry that the template does not name. */
    if (page != NULL)
        fprintf(out, "<attribute id=\"objectClass\">\n\t<hidden>1</hidden>\n\t<values>%s</values>\n\t<values>%s</values>\n</attribute>\n",
                form->structural != NULL ? form->structural : "top", object_classes[class].name);
}

static int print_fields(FILE *out, enum object_class_id class)
{
    int order = 0;
    for (const struct field *field = forms[class].fields; field->name != NULL; field++)
        fprintf(out, "<attribute id=\"%s\">\n\t<display>%s</display>\n\t<order>%d</order>\n\t<page>1</page>\n</attribute>\n", field->name,
                field->label, ++order);
    return order;
}

/* page: the only one, for a modification; NULL: all, as the steps of a creation. */
static void print_template(FILE *out, enum object_class_id class, const struct page *page)
{
    int step = 0, order = 0;
    print_head(out, class, page);
    for (size_t i = 0; i < PAGE_COUNT; i++) {
        if (pages[i].class != class)
            continue;
        step++;
        if (page != NULL && page != &pages[i])
            continue;
        if (step == 1)
            order = print_fields(out, class);
        for (size_t j = 0; j < object_classes[class].rule_count; j++)
            if (page_of(class, object_classes[class].rules[j].name) == &pages[i])
                print_rule(out, &object_classes[class].rules[j], page != NULL ? 1 : step, ++order);
    }
    fputs("</attributes>\n\n</template>\n", out);
}

static int write_template(const char *dir, const char *kind, enum object_class_id class, const struct page *page)
{
    char path[4096];
    int length = snprintf(path, sizeof(path), "%s/%s/%s%s%s.xml", dir, kind, object_classes[class].name,
                          page != NULL && *page->title != '\0' ? "-" : "", page != NULL ? page->title : "");
    if (length < 0 || (size_t)length >= sizeof(path))
        return -1;
    for (char *at = path + strlen(dir); *at != '\0'; at++)
        if (*at == ' ')
            *at = '-';
    FILE *out = fopen(path, "we");
    if (out == NULL)
        return -1;
    print_template(out, class, page);
    bool bad = ferror(out) != 0;
    return fclose(out) != 0 || bad ? -1 : 0;
}

static int make_dir(const char *dir, const char *name)
{
    char path[4096];
    int length = snprintf(path, sizeof(path), "%s/%s", dir, name);
    return length < 0 || (size_t)length >= sizeof(path) || (mkdir(path, 0777) < 0 && errno != EEXIST) ? -1 : 0;
}

int templates_write(const char *dir)
{
    int bad = make_dir(dir, "") | make_dir(dir, "creation") | make_dir(dir, "modification");
    for (int class = 0; class < CLASS_COUNT; class++)
        if (class != CLASS_AGENT_STATUS)     /* nobody but the gateway makes one */
            bad |= write_template(dir, "creation", (enum object_class_id)class, NULL);
    for (size_t i = 0; i < PAGE_COUNT; i++)
        bad |= write_template(dir, "modification", pages[i].class, &pages[i]);
    if (bad != 0)
        perror(dir);
    return bad != 0 ? 1 : 0;
}
