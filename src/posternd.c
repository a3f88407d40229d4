/* posternd: the POP3/IMAP4/SMTP gateway. Wiring only: options, the supervisor, and in the agent the parts in the order in which
 * they depend on each other, torn down in reverse. */
#include <signal.h>

#include "postern/base/log.h"
#include "postern/config/config.h"
#include "postern/config/status.h"
#include "postern/directory/directory.h"
#include "postern/imap/imap.h"
#include "postern/poa/poa.h"
#include "postern/pop3/pop3.h"
#include "postern/queue/queue.h"
#include "postern/service/options.h"
#include "postern/service/service.h"
#include "postern/service/supervisor.h"
#include "postern/smtp/smtp.h"

struct agent {
    const struct options *options;
    struct crash_notes *notes;
    struct intruders *intruders;
};

static void configuration_changed(void *context)
{
    service_changed(context);
    queue_changed();
}

static void users_changed(void *context)
{
    service_users_changed(context);
}

/* Those in trouble first. */
static void report_links(const struct snapshot *snapshot, struct buf *out, void *context)
{
    queue_report_links(snapshot, out, context);
    poa_report_links(snapshot, out, context);
}

static int start_parts(const struct options *options, struct gateway *gateway, struct fault *fault)
{
    struct config_options config = {
        .directory = &options->directory,
        .agent_dn = options->agent_dn,
        .state_dir = options->state_dir,
        .mail_root = options->mail_root,
        .allowed_port_count = options->allowed_port_count,
        .token_urls = options->token_urls,
        .token_url_count = options->token_url_count,
        .switches = options->switches,
        .switch_count = options->switch_count,
        .users_changed = users_changed,
    };
    for (size_t i = 0; i < options->allowed_port_count; i++)
        config.allowed_ports[i] = options->allowed_ports[i];
    config_set_link_report(report_links, NULL);
    pop3_configure(options->state_dir);
    smtp_configure(options->state_dir);
    if (queue_start(options->state_dir, fault) < 0)
        return -1;
    if (config_start(&config, configuration_changed, gateway, fault) < 0) {
        queue_stop();
        return -1;
    }
    return 0;
}

static int agent_main(int supervisor_fd, void *context)
{
    const struct agent *agent = context;
    const struct options *options = agent->options;
    const struct service_options service = {
        .protocols = { [SERVICE_POP3] = &pop3_protocol, [SERVICE_IMAP4] = &imap_protocol, [SERVICE_SMTP] = &smtp_protocol },
        .tls_dir = options->tls_dir,
        .credentials_dir = options->credentials_dir,
        .control_path = options->control,
        .supervisor_fd = supervisor_fd,
        .notes = agent->notes,
        .intruders = agent->intruders,
    };
    struct gateway *gateway = NULL;
    struct fault fault;
    if (options->directory.keytab != NULL)
        directory_use_keytab(options->directory.keytab);
    const struct poa_options poa = { .credentials_dir = options->credentials_dir, .tls_dir = options->tls_dir, .state_dir = options->state_dir };
    if (service_new(&service, &gateway, &fault) < 0) {
        log_error("agent", "%s", fault.text);
        return 2;
    }
    if (poa_start(&poa, &fault) < 0 || start_parts(options, gateway, &fault) < 0) {
        log_error("agent", "%s", fault.text);
        service_free(&gateway);
        poa_stop();
        return 2;
    }
    /* Steps and deliveries ask the configuration for users: it goes after them, or with the process. */
    bool ended = service_run(gateway);
    ended = queue_stop() && ended;
    if (!ended)
        return 0;
    config_stop();
    service_free(&gateway);
    poa_stop();
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    struct options options;
    int code = options_parse(&options, argc, argv);
    if (code < 0) {
        log_set_level(options.log_level);
        struct agent agent = { &options, crash_notes_new(), intruders_new() };
        struct supervisor_options supervisor = {
            .allowed_ports = options.allowed_ports,
            .allowed_port_count = options.allowed_port_count,
            .pid_file = options.pid_file,
            .state_dir = options.state_dir,
            .notes = agent.notes,
            .agent = agent_main,
            .context = &agent,
        };
        code = supervisor_run(&supervisor);
        crash_notes_free(&agent.notes);
        intruders_free(&agent.intruders);
    }
    options_fini(&options);
    return code;
}
