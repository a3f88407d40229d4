/* posternctl check: every fault of a directory, before or without a gateway, and what an edit would change. Called by main; writes nothing
 * into the directory. */
#include "check_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "postern/directory/reader.h"
#include "postern/store/account.h"

enum { FAULTS_MOST = 100000, PROBES_MOST = 2000, READ_SIZE = 64 * 1024 };

static void add_fault(void *context, const char *dn, const char *attribute, const char *reason)
{
    struct fault_list *list = context;
    if (list->count == FAULTS_MOST) {
        list->more++;
        return;
    }
    if (list->count == list->room) {
        list->room = list->room > 0 ? list->room * 2 : 64;
        list->faults = mem_resize(list->faults, list->room * sizeof(*list->faults));
    }
    list->faults[list->count++] = (struct config_fault){
        .dn = arena_printf(&list->arena, "%s", dn),
        .attribute = attribute != NULL ? arena_printf(&list->arena, "%s", attribute) : NULL,
        .reason = arena_printf(&list->arena, "%s", reason),
    };
}

static void fault_list_fini(struct fault_list *list)
{
    mem_free(&list->faults);
    arena_clear(&list->arena);
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

static int open_reader(const struct check *c, const char *password_file, const char *dn, struct directory_reader **out)
{
    struct directory_options *directory = &c->options->directory;
    struct buf password = { .cap = 0 };
    struct fault fault;
    int code = dn != NULL ? ctl_read_password(password_file, dn, &password) : 0;
    if (code == 0 && directory_reader_open(directory, buf_slice(&password), out, &fault) < 0)
        code = ctl_complain(strncmp(fault.text, "ldap", 4) == 0 ? "check" : directory->uris[0], fault.text);   /* some name the server */
    buf_wipe(&password);
    return code;
}

static void take_object(void *context, struct directory_entry *entry)
{
    struct check *c = context;
    c->objects++;
    edit_add(&c->edit, entry);
}

/* Base and everything in it that the gateway would watch. */
static int read_objects(struct check *c)
{
    const char **attributes = config_check_attributes();
    struct fault fault;
    int rc = directory_reader_base(c->reader, c->options->agent_dn, &c->base, &c->vendor, &fault);
    if (rc == 0) {
        struct directory_search search = { .base = c->base, .scope = DIRECTORY_SCOPE_SUBTREE, .filter = config_check_filter(),
                                           .attributes = attributes };
        rc = directory_reader_search(c->reader, &search, take_object, c, &fault);
    }
    mem_free(&attributes);
    if (rc == 0)
        return 0;
    bool nobody = c->options->directory.bind_dn == NULL && !c->options->directory.external && !c->options->directory.gssapi;
    return ctl_complain(nobody ? "the objects cannot be read without a login (--bind-dn, --external, --gssapi)" : "the objects cannot be read", fault.text);
}

static void take_one(void *context, struct directory_entry *entry)
{
    struct directory_entry **one = context;
    directory_entry_free(one);
    *one = entry;
}

static struct directory_entry *read_one(void *context, const char *dn)
{
    static const char *const attributes[] = { "*", "entryUUID", "nsUniqueId", NULL };
    struct check *c = context;
    struct directory_entry *entry = NULL;
    struct fault fault;
    struct directory_search search = { .base = dn, .scope = DIRECTORY_SCOPE_BASE, .filter = "(objectClass=*)", .attributes = attributes };
    if (directory_reader_search(c->reader, &search, take_one, &entry, &fault) < 0 && fault.class != FAULT_NOT_FOUND)
        c->read_fault = fault;
    return entry;
}

static int read_ldif(struct check *c)
{
    bool standard = strcmp(c->options->ldif, "-") == 0;
    FILE *file = standard ? stdin : fopen(c->options->ldif, "re");
    char *piece = MEM_NEW_ARRAY(char, READ_SIZE);
    struct fault fault;
    size_t n;
    int rc = 0;
    if (file == NULL) {
        mem_free(&piece);
        return ctl_complain(c->options->ldif, strerror(errno));
    }
    while (rc == 0 && (n = fread(piece, 1, READ_SIZE, file)) > 0)
        rc = ldif_feed(&c->ldif, slice_make(piece, n), &fault);
    if (rc == 0 && ferror(file))
        rc = fault_set_errno(&fault, errno, "reading");
    if (rc == 0)
        rc = ldif_end(&c->ldif, &fault);
    if (!standard)
        fclose(file);
    mem_free(&piece);
    return rc == 0 ? 0 : ctl_complain(c->options->ldif, fault.text);
}

static int apply_edit(struct check *c)
{
    struct fault fault;
    for (const struct ldif_record *r = c->ldif.records; r != NULL; r = r->next) {
        int rc = edit_apply(&c->edit, r, &fault);
        if (c->read_fault.class != FAULT_NONE)
            return ctl_complain(r->dn, c->read_fault.text);
        if (rc < 0)
            return ctl_complain(c->options->ldif, fault.text);
    }
    return 0;
}

/* The snapshots before and after; the objects keep their last valid versions in between, as in the gateway. */
static int build(struct check *c)
{
    for (size_t i = 0; i < c->edit.count; i++)
        config_check_put(c->config, c->edit.all[i]->before);
    c->before = config_check_build(c->config);
    if (c->options->ldif == NULL)
        return 0;
    int code = read_ldif(c);
    if (code == 0)
        code = apply_edit(c);
    for (size_t i = 0; code == 0 && i < c->edit.count; i++) {
        const struct edited *e = c->edit.all[i];
        if (e->after == e->before)
            continue;
        if (e->before != NULL && (e->after == NULL || strcmp(e->before->uuid, e->after->uuid) != 0))
            config_check_remove(c->config, e->before->uuid);
        if (e->after != NULL)
            config_check_put(c->config, e->after);
    }
    if (code == 0)
        c->after = config_check_build(c->config);
    return code;
}

/* --- users ----------------------------------------------------------------------------------------------------------------- */

static bool is_user(const struct directory_entry *entry)
{
    return directory_entry_has(entry, "objectClass", "posternMailUser");
}

static void judge_user(struct check *c, unsigned which, const struct directory_entry *entry)
{
    if (c->users[which] != NULL && is_user(entry))
        user_check_entry(c->users[which], entry, add_fault, &c->faults[which]);
}

/* Those that the edit changes are judged after all others. */
static void take_user(void *context, struct directory_entry *entry)
{
    struct check *c = context;
    char *ndn = dn_normalise(slice_from_string(entry->dn));
    bool edited = ndn != NULL && map_get(&c->edit.by_before, slice_from_string(ndn)) != NULL;
    c->user_count++;
    judge_user(c, 0, entry);
    char *moved = edited ? NULL : edit_renamed(&c->edit, entry->dn);
    char *own = entry->dn;
    if (moved != NULL)
        entry->dn = moved;
    if (!edited)
        judge_user(c, 1, entry);
    entry->dn = own;
    mem_free(&moved);
    mem_free(&ndn);
    directory_entry_free(&entry);
}

static bool is_below(const char *dn, const char *base)
{
    char *a = dn_normalise(slice_from_string(dn)), *b = dn_normalise(slice_from_string(base));
    bool within = a != NULL && b != NULL && dn_is_within(a, b);
    mem_free(&a);
    mem_free(&b);
    return within;
}

static int check_users(struct check *c)
{
    struct fault fault;
    const char *base = config_check_user_base(c->before, c->base);
    struct directory_search search = { .base = base, .scope = DIRECTORY_SCOPE_SUBTREE, .filter = "(objectClass=posternMailUser)",
                                       .attributes = config_check_user_attributes };
    c->users[0] = user_check_new(c->before);
    c->users[1] = c->after != NULL ? user_check_new(c->after) : NULL;
    if (directory_reader_search(c->reader, &search, take_user, c, &fault) < 0)
        return ctl_complain("the users cannot be read", fault.text);
    base = c->after != NULL ? config_check_user_base(c->after, c->base) : NULL;
    for (size_t i = 0; c->after != NULL && i < c->edit.count; i++)
        if (c->edit.all[i]->after != NULL && is_below(c->edit.all[i]->after->dn, base))
            judge_user(c, 1, c->edit.all[i]->after);
    return 0;
}

/* --- who may write --------------------------------------------------------------------------------------------------------- */

static void probe(struct check *c, struct directory_reader *reader, const char *dn, const struct protected_attribute *p)
{
    struct fault fault;
    enum directory_probe result = directory_reader_probe(reader, dn, p->attribute, p->one, p->other, &fault);
    if (result == PROBE_ALLOWED)
        add_fault(&c->writable, dn, p->attribute, "the user may write what only administrators should");
    c->denied += result == PROBE_DENIED;
    c->unknown += result == PROBE_UNKNOWN;
}

static int check_rights(struct check *c)
{
    struct check_options *options = c->options;
    struct directory_options own = options->directory;
    struct directory_reader *reader = NULL;
    struct protected_attribute p;
    options->directory = (struct directory_options){ .uris = own.uris, .uri_count = own.uri_count, .bind_dn = options->as_user,
                                                     .start_tls = own.start_tls, .ca_file = own.ca_file,
                                                     .cert_file = own.cert_file, .key_file = own.key_file };
    int code = open_reader(c, options->user_password_file, options->as_user, &reader);
    size_t probes = 0;
    for (size_t n = 0; code == 0 && config_check_protected(n, &p); n++) {
        if (strcmp(p.class, "posternMailUser") == 0)
            probe(c, reader, options->as_user, &p);
        for (size_t i = 0; i < c->edit.count && probes < PROBES_MOST; i++) {
            const struct directory_entry *entry = c->edit.all[i]->before;
            if (entry == NULL || !directory_entry_has(entry, "objectClass", p.class) || is_user(entry))
                continue;
            probes++;
            probe(c, reader, entry->dn, &p);
        }
    }
    directory_reader_close(&reader);
    options->directory = own;
    return code;
}

/* --- all together ------------------------------------------------------------------------------------------------------------ */

static void take_snapshot_faults(struct check *c, unsigned which, const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->fault_count; i++)
        add_fault(&c->faults[which], snapshot->faults[i].dn, snapshot->faults[i].attribute, snapshot->faults[i].reason);
}

/* Where the mail is not on this machine, or this user may not look, nothing is known of paths; nor is the UUID of a post office that is not there yet. */
static void take_path_faults(struct check *c, unsigned which, const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->post_office_count && access(c->options->mail_root, X_OK) == 0; i++) {
        const struct post_office *office = snapshot->post_offices[i];
        struct fault fault;
        if (office->path == NULL || edit_is_made(office->uuid) || postoffice_check(office->path, slice_from_string(office->uuid), false, &fault) == 0)
            continue;
        if (fault.error != EACCES && fault.error != EPERM)
            add_fault(&c->faults[which], office->path_from != NULL ? office->path_from : office->dn, "posternPath", fault.text);
    }
}

static int run(struct check *c)
{
    const struct check_options *o = c->options;
    bool prompt = o->directory.bind_dn != NULL && o->directory.password_file == NULL;
    int code = open_reader(c, NULL, prompt ? o->directory.bind_dn : NULL, &c->reader);
    if (code == 0)
        code = read_objects(c);
    if (code != 0)
        return code;
    struct config_check_options options = { .agent_dn = o->agent_dn, .base = c->base, .mail_root = o->mail_root, .allowed_ports = o->ports,
                                            .allowed_port_count = o->port_count, .vendor = c->vendor };
    c->config = config_check_new(&options);
    if (c->config == NULL)
        return ctl_complain(o->agent_dn, "not a distinguished name");
    code = build(c);
    if (code != 0)
        return code;
    take_snapshot_faults(c, 0, c->before);
    take_path_faults(c, 0, c->before);
    if (c->after != NULL) {
        take_snapshot_faults(c, 1, c->after);
        take_path_faults(c, 1, c->after);
    }
    if (!o->no_users)
        code = check_users(c);
    if (code == 0 && o->as_user != NULL)
        code = check_rights(c);
    return code == 0 ? check_say(c) : code;
}

int ctl_check(const struct ctl *ctl, struct check_options *options)
{
    struct check c = { .ctl = ctl, .options = options };
    options->directory.uris = options->uris;
    if (options->directory.keytab != NULL)
        directory_use_keytab(options->directory.keytab);
    directory_init();
    edit_init(&c.edit, read_one, &c);
    ldif_init(&c.ldif);
    int code = run(&c);
    user_check_free(&c.users[0]);
    user_check_free(&c.users[1]);
    snapshot_unref(&c.before);
    snapshot_unref(&c.after);
    config_check_free(&c.config);
    edit_fini(&c.edit);
    ldif_fini(&c.ldif);
    fault_list_fini(&c.faults[0]);
    fault_list_fini(&c.faults[1]);
    fault_list_fini(&c.writable);
    directory_reader_close(&c.reader);
    mem_free(&c.base);
    return code;
}
