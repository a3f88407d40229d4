/* How post offices are reached, in lines for the status entry in the directory. Called from the status thread; only reads. */
#include "postern/poa/poa.h"

struct lines {
    struct buf *out;
    bool troubled;     /* those that somebody should see */
};

static bool is_troubled(const struct poa_report *report)
{
    return report->now == PATH_NONE || (report->now == PATH_DIRECT && report->post_office->agent_count > 0) || *report->difference != '\0';
}

/* A line stays as it is while its state lasts: the status tells since when it is true. */
static void say(const struct poa_report *report, void *context)
{
    const struct lines *lines = context;
    if (is_troubled(report) != lines->troubled)
        return;
    buf_printf(lines->out, "%s: ", report->post_office->dn);
    if (report->now == PATH_POA)
        buf_printf(lines->out, "client/server %s:%u", report->host != NULL ? report->host : "", report->port);
    else if (report->now == PATH_DIRECT)
        buf_printf(lines->out, "direct %s", report->post_office->path);
    else
        buf_append_text(lines->out, "not reachable");
    if (report->now != PATH_POA && report->post_office->agent_count > 0)
        buf_append_text(lines->out, ", the Post Office Agent is away");
    if (*report->difference != '\0')
        buf_printf(lines->out, "; no fallback: %s", report->difference);
    buf_append_byte(lines->out, '\n');
}

void poa_report_links(const struct snapshot *snapshot, struct buf *out, void *context)
{
    (void)context;
    for (int pass = 0; pass < 2; pass++) {
        struct lines lines = { out, pass == 0 };
        for (size_t i = 0; i < snapshot->post_office_count; i++)
            poa_describe(snapshot->post_offices[i], say, &lines);
    }
}
