/* Answers for posternctl that are made from a snapshot and from the directory: settings, links, rights and mailboxes of a user. Called by control.c in
 * a thread; must touch nothing that belongs to a loop. */
#include <string.h>

#include "control.h"
#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "postern/config/found.h"
#include "postern/config/links.h"
#include "postern/config/report.h"
#include "postern/config/rights.h"
#include "postern/poa/poa.h"

static int no_snapshot(struct question *q)
{
    return fault_set(&q->fault, FAULT_UNREACHABLE, 0, "the configuration has not been read yet");
}

/* --- config ---------------------------------------------------------------------------------------------------------------- */

int settings_answer(struct question *q)
{
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL)
        return no_snapshot(q);
    struct settings_report *report = settings_report_new(snapshot);
    struct answer a;
    answer_init(&a, &q->out, q->json, q->all);
    answer_table(&a, "settings");
    for (size_t i = 0; i < report->count; i++) {
        const struct setting_report *s = &report->settings[i];
        answer_row(&a);
        answer_text(&a, "setting", s->attribute);
        answer_texts(&a, "value", s->now.values.values, s->now.values.count);
        answer_text(&a, "source", setting_source_word(s->now.source));
        answer_texts(&a, "without", s->without.values.values, s->without.values.count);
        answer_text(&a, "without source", setting_source_word(s->without.source));
        answer_text(&a, "from", s->now.from);
        answer_close(&a);
    }
    answer_fini(&a);
    settings_report_free(&report);
    snapshot_unref(&snapshot);
    return 0;
}

/* --- links ----------------------------------------------------------------------------------------------------------------- */

struct search {
    const char *label;
    bool found;
};

static void look_at_stalled(const char *label, void *context)
{
    struct search *search = context;
    search->found = search->found || label == search->label;
}

/* As far as those who use it have found out. */
static const char *reached(struct gateway *gateway, const struct poa_report *report)
{
    struct search search = { fair_key_of(report->post_office), false };
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        pool_for_each_stalled(gateway->rooms[i].pool, look_at_stalled, &search);
    return search.found && report->now != PATH_POA ? "does not answer" : report->state;
}

struct saying {
    struct answer *answer;
    struct gateway *gateway;
};

static void say_reached(const struct poa_report *report, void *context)
{
    const struct saying *s = context;
    answer_text(s->answer, "reached", reached(s->gateway, report));
}

static void say_way(const struct poa_report *report, void *context)
{
    const struct saying *s = context;
    struct answer *a = s->answer;
    say_reached(report, context);
    if (report->post_office->agent_count == 0)
        return;
    answer_text(a, "fallback", report->fallback);
    answer_text(a, "difference", *report->difference != '\0' ? report->difference : NULL);
    answer_text(a, "last failure", *report->failure != '\0' ? report->failure : NULL);
    answer_number(a, "changes of way", report->switches);
    answer_number(a, "logins there", report->opened);
    answer_number(a, "failed accesses", report->failures);
    answer_number(a, "refused there", report->refused);
}

static void say_value(struct answer *a, const char *name, const char *from_name, const struct link_value *value)
{
    answer_text(a, name, value->value);
    answer_text(a, from_name, value->value != NULL && value->from == NULL ? "default" : value->from);
}

static void say_path_fault(struct answer *a, const struct post_office *office)
{
    struct buf reason = { .cap = 0 };
    bool found = office->path != NULL && office->path_from != NULL && config_found_reason(FOUND_BY_PATHS, office->path_from, &reason);
    answer_text(a, "path fault", found ? buf_text(&reason) : NULL);
    buf_fini(&reason);
}

int links_answer(struct question *q)
{
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL)
        return no_snapshot(q);
    struct link_rows *rows = link_rows_new(snapshot);
    struct answer a;
    answer_init(&a, &q->out, q->json, q->all);
    answer_list(&a, "post offices");
    for (size_t i = 0; i < rows->count; i++) {
        const struct link_row *r = &rows->rows[i];
        answer_item(&a, r->office->name);
        answer_text(&a, "name", r->office->name);
        answer_text(&a, "dn", r->office->dn);
        answer_text(&a, "uuid", r->office->uuid);
        answer_texts(&a, "domains", r->office->domains.values, r->office->domains.count);
        answer_text(&a, "link", r->link_dn);
        answer_text(&a, "configured mode", r->configured);
        answer_text(&a, "own mode", r->own);
        say_value(&a, "mode", "mode from", &r->mode);
        say_value(&a, "path", "path from", &r->path);
        say_path_fault(&a, r->office);
        say_value(&a, "host", "host from", &r->host);
        say_value(&a, "port", "port from", &r->port);
        poa_describe(r->office, say_way, &(struct saying){ &a, q->gateway });
        answer_close(&a);
    }
    answer_fini(&a);
    link_rows_free(&rows);
    snapshot_unref(&snapshot);
    return 0;
}

/* --- users ----------------------------------------------------------------------------------------------------------------- */

int access_answer(struct question *q)
{
    struct rights_report *report = NULL;
    if (config_explain_user(q->argument, &report, &q->fault) < 0)
        return -1;
    struct answer a;
    answer_init(&a, &q->out, q->json, q->all);
    answer_text(&a, "user", report->user_id);
    answer_text(&a, "dn", report->user_dn);
    answer_flag(&a, "disabled", report->disabled);
    answer_table(&a, "rights");
    for (size_t i = 0; i < report->row_count; i++) {
        const struct rights_row *r = &report->rows[i];
        answer_row(&a);
        answer_text(&a, "setting", r->attribute);
        answer_text(&a, "value", r->value);
        answer_text(&a, "level", rights_level_word(r->level));
        answer_text(&a, "class", r->class_dn);
        answer_text(&a, "member", r->member);
        answer_close(&a);
    }
    answer_fini(&a);
    rights_report_free(&report);
    return 0;
}

static void say_place(struct answer *a, struct gateway *gateway, const struct user *user)
{
    const struct post_office *po = user->post_office;
    answer_text(a, "post office", po != NULL ? po->name : NULL);
    answer_text(a, "post office dn", po != NULL ? po->dn : NULL);
    answer_text(a, "mode", po != NULL ? access_mode_word(po->mode) : NULL);
    answer_text(a, "mailbox", po != NULL ? user->mailbox_dir : NULL);
    struct buf path = { .cap = 0 };
    if (po != NULL && po->path != NULL)
        buf_printf(&path, "%s/%s", po->path, user->mailbox_dir);
    answer_slice(a, "directory", buf_slice(&path));
    buf_fini(&path);
    if (po != NULL)
        poa_describe(po, say_reached, &(struct saying){ a, gateway });
    else
        answer_text(a, "reached", "not reachable");
}

int locate_answer(struct question *q)
{
    struct user *user = NULL;
    if (config_find_user(q->argument, &user, &q->fault) < 0)
        return -1;
    struct answer a;
    answer_init(&a, &q->out, q->json, q->all);
    answer_text(&a, "user", user->id);
    answer_text(&a, "dn", user->dn);
    answer_texts(&a, "addresses", user->addresses.values, user->addresses.count);
    answer_flag(&a, "disabled", user->disabled);
    say_place(&a, q->gateway, user);
    answer_fini(&a);
    user_unref(&user);
    return 0;
}
