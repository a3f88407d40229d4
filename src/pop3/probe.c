/* Looks a stored message over once: are MIME fields missing, is its 8-bit text UTF-8, is its last line open? Called by maildrop.c in steps;
 * the result is cached. It must never need more than the piece of the message that it is given. */
#include "probe.h"

#include <string.h>

/* RFC 1428 section 3: the charset of text that a transport let through unlabelled is not known. */
static const char fields_utf8[] =
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
static const char fields_unknown[] =
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: 8bit\r\n";

const char *probe_fields(unsigned result)
{
    if (result & PROBE_UTF8)
        return fields_utf8;
    return result & PROBE_UNKNOWN ? fields_unknown : NULL;
}

static void end_header_line(struct probe *probe)
{
    struct slice name = { probe->name, probe->name_len };
    if (name.len == 0)
        probe->in_body = true;
    if (slice_starts_with_nocase(name, "MIME-Version:") || slice_starts_with_nocase(name, "Content-Type:"))
        probe->has_mime = true;
    probe->name_len = 0;
    probe->held_cr = false;
}

/* A CR counts as a byte of the line unless it is the one before the LF. */
static void take_header_byte(struct probe *probe, char byte)
{
    if (byte == '\n') {
        end_header_line(probe);
        return;
    }
    if (probe->held_cr && probe->name_len < sizeof(probe->name))
        probe->name[probe->name_len++] = '\r';
    probe->held_cr = byte == '\r';
    if (byte != '\r' && probe->name_len < sizeof(probe->name))
        probe->name[probe->name_len++] = byte;
}

static void begin_utf8(struct probe *probe, unsigned char byte)
{
    probe->eight_bit = true;
    probe->utf8_low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;    /* RFC 3629 section 4 */
    probe->utf8_high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    if (byte >= 0xc2 && byte <= 0xdf)
        probe->utf8_left = 1;
    else if (byte >= 0xe0 && byte <= 0xef)
        probe->utf8_left = 2;
    else if (byte >= 0xf0 && byte <= 0xf4)
        probe->utf8_left = 3;
    else
        probe->not_utf8 = true;
}

static void take_body_byte(struct probe *probe, unsigned char byte)
{
    if (probe->utf8_left != 0) {
        if (byte < probe->utf8_low || byte > probe->utf8_high)
            probe->not_utf8 = true;
        probe->utf8_left--;
        probe->utf8_low = 0x80;
        probe->utf8_high = 0xbf;
    } else if (byte >= 0x80) {
        begin_utf8(probe, byte);
    }
}

bool probe_is_decided(const struct probe *probe)
{
    return probe->has_mime || probe->not_utf8;
}

void probe_write(struct probe *probe, struct slice stored)
{
    for (size_t i = 0; i < stored.len && !probe_is_decided(probe); i++) {
        if (probe->in_body)
            take_body_byte(probe, (unsigned char)stored.data[i]);
        else
            take_header_byte(probe, stored.data[i]);
    }
}

unsigned probe_end(const struct probe *probe, char last)
{
    unsigned result = PROBE_KNOWN;
    if (last != '\n')
        result |= PROBE_OPEN_END;
    if (probe->eight_bit && !probe->has_mime)
        result |= probe->not_utf8 || probe->utf8_left != 0 ? PROBE_UNKNOWN : PROBE_UTF8;
    return result;
}
