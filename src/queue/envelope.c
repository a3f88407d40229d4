/* A queued message's envelope and its text form: lines of a word and a value, the first naming the version, the last "end". Pure. */
#include <stdio.h>
#include <string.h>

#include "postern/base/memory.h"
#include "spool.h"

static void free_client(struct queue_client *client)
{
    const char *const texts[] = { client->address, client->local, client->helo, client->protocol, client->login };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        mem_release((char *)(uintptr_t)texts[i]);
    *client = (struct queue_client){ .address = NULL };
}

void queue_envelope_fini(struct envelope *envelope)
{
    free_client(&envelope->client);
    for (size_t i = 0; i < envelope->count; i++)
        mem_free(&envelope->recipients[i].address);
    for (size_t i = 0; i < envelope->told_count; i++)
        mem_free(&envelope->told[i]);
    mem_free(&envelope->told);
    mem_free(&envelope->recipients);
    mem_free(&envelope->sender);
    memset(envelope, 0, sizeof(*envelope));
}

static bool is_clean(struct slice address)
{
    for (size_t i = 0; i < address.len; i++)
        if ((unsigned char)address.data[i] < ' ' || address.data[i] == 127)
            return false;
    return true;
}

bool queue_envelope_add(struct envelope *envelope, struct slice address)
{
    if (address.len == 0 || !is_clean(address))
        return false;
    if (envelope->count == envelope->size) {
        envelope->size = envelope->size ? envelope->size * 2 : 4;
        envelope->recipients = mem_resize(envelope->recipients, envelope->size * sizeof(envelope->recipients[0]));
    }
    envelope->recipients[envelope->count++] = (struct envelope_recipient){ .address = slice_to_string(address) };
    return true;
}

static char *copy_clean(const char *text)
{
    struct slice s = slice_from_string(text);
    return s.len != 0 && is_clean(s) ? slice_to_string(s) : NULL;
}

void queue_envelope_set_client(struct envelope *envelope, const struct queue_client *client)
{
    free_client(&envelope->client);
    envelope->client = (struct queue_client){
        .address = copy_clean(client->address), .port = client->port, .local = copy_clean(client->local), .helo = copy_clean(client->helo),
        .protocol = copy_clean(client->protocol), .login = copy_clean(client->login),
    };
}

static void write_text(struct buf *out, const char *word, const char *text)
{
    if (text != NULL)
        buf_printf(out, "%s %s\n", word, text);
}

void queue_envelope_tell(struct envelope *notice, const char *address)
{
    notice->told = mem_resize(notice->told, (notice->told_count + 1) * sizeof(notice->told[0]));
    notice->told[notice->told_count++] = mem_strdup(address);
}

void queue_envelope_write(const struct envelope *envelope, struct buf *out)
{
    buf_printf(out, "postern-queue 1\nsender %s\narrived %lld\nattempts %llu\nnext %lld\nbody %s\n", envelope->sender,
               (long long)envelope->arrived, (unsigned long long)envelope->attempts, (long long)envelope->next,
               envelope->eight_bit ? "8bit" : "7bit");
    if (envelope->client.address != NULL)
        buf_printf(out, "client %s %u %s\n", envelope->client.address, envelope->client.port, envelope->client.local != NULL ? envelope->client.local : "");
    write_text(out, "helo", envelope->client.helo);
    write_text(out, "protocol", envelope->client.protocol);
    write_text(out, "login", envelope->client.login);
    if (envelope->of[0] != '\0')
        buf_printf(out, "of %s\n", envelope->of);
    for (size_t i = 0; i < envelope->told_count; i++)
        buf_printf(out, "tells %s\n", envelope->told[i]);
    time_t given = 0;
    for (size_t i = 0; i < envelope->count; i++) {
        const struct envelope_recipient *to = &envelope->recipients[i];
        bool kept = to->outcome == OUTCOME_WAITING || (envelope->under_way && to->outcome == OUTCOME_FAILED);
        /* Of the unknown ones that follow. */
        if (kept && to->unknown && to->given != given)
            buf_printf(out, "given %lld\n", (long long)(given = to->given));
        if (kept)
            buf_printf(out, "%s %s\n", !to->unknown ? "recipient" : to->silent ? "silent" : "unknown", to->address);
    }
    buf_append_text(out, "end\n");
}

static bool parse_time(struct slice value, time_t *out)
{
    uint64_t number;
    if (!slice_to_number(value, INT64_MAX, &number))
        return false;
    *out = (time_t)number;
    return true;
}

static bool parse_client(struct slice value, struct queue_client *out)
{
    struct slice address, port;
    uint64_t number;
    if (out->address != NULL || !is_clean(value) || !slice_split(&value, ' ', &address) || !slice_split(&value, ' ', &port) || !slice_to_number(port, 65535, &number))
        return false;
    out->address = slice_to_string(address);
    out->port = (uint16_t)number;
    out->local = value.len != 0 ? slice_to_string(value) : NULL;
    return true;
}

static bool parse_text(struct slice value, const char **out)
{
    if (*out != NULL || !is_clean(value))
        return false;
    *out = slice_to_string(value);
    return true;
}

static bool parse_line(struct slice word, struct slice value, struct envelope *out)
{
    if (slice_is(word, "sender") && out->sender == NULL && is_clean(value)) {
        out->sender = slice_to_string(value);
        return true;
    }
    if (slice_is(word, "arrived"))
        return parse_time(value, &out->arrived);
    if (slice_is(word, "attempts"))
        return slice_to_number(value, UINT64_MAX, &out->attempts);
    if (slice_is(word, "next"))
        return parse_time(value, &out->next);
    if (slice_is(word, "given"))
        return parse_time(value, &out->given);
    if (slice_is(word, "body")) {
        out->eight_bit = slice_is(value, "8bit");
        return true;
    }
    if (slice_is(word, "client"))
        return parse_client(value, &out->client);
    if (slice_is(word, "helo") || slice_is(word, "protocol") || slice_is(word, "login"))
        return parse_text(value, slice_is(word, "helo") ? &out->client.helo : slice_is(word, "login") ? &out->client.login : &out->client.protocol);
    if (slice_is(word, "of") && value.len < SPOOL_ID_MAX && is_clean(value) && slice_find(value, '/') < 0) {
        snprintf(out->of, sizeof(out->of), "%.*s", SLICE_ARG(value));
        return true;
    }
    if (slice_is(word, "tells") && is_clean(value)) {
        char *address = slice_to_string(value);
        queue_envelope_tell(out, address);
        mem_release(address);
        return true;
    }
    bool silent = slice_is(word, "silent"), unknown = silent || slice_is(word, "unknown");
    if ((!unknown && !slice_is(word, "recipient")) || !queue_envelope_add(out, value))
        return false;
    out->recipients[out->count - 1].unknown = unknown;
    out->recipients[out->count - 1].silent = silent;
    out->recipients[out->count - 1].given = unknown ? out->given : 0;
    return true;
}

int queue_envelope_parse(struct slice text, struct envelope *out, struct fault *fault)
{
    struct slice rest = text, line;
    bool ended = false, good = slice_split(&rest, '\n', &line) && slice_is(line, "postern-queue 1");
    while (good && !ended && slice_split(&rest, '\n', &line)) {
        ptrdiff_t space = slice_find(line, ' ');
        ended = slice_is(line, "end");
        good = ended || (space > 0 && parse_line(slice_part(line, 0, (size_t)space), slice_from(line, (size_t)space + 1), out));
    }
    if (good && ended && rest.data != NULL && rest.len == 0 && out->sender != NULL && out->count != 0)
        return 0;
    queue_envelope_fini(out);
    return fault_set(fault, FAULT_CORRUPT, 0, "envelope is not whole");
}
