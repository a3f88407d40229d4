/* Which URLs may be asked. Called by options and by the check of settings; a file of its own, so that they need no libcurl. */
#include <string.h>

#include "postern/net/https.h"

static bool is_loopback(struct slice url)
{
    static const char *const hosts[] = { "http://127.0.0.1", "http://[::1]" };
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct slice rest = slice_from(url, strlen(hosts[i]));
        if (slice_starts_with(url, hosts[i]) && (rest.len == 0 || rest.data[0] == ':' || rest.data[0] == '/'))
            return true;
    }
    return false;
}

/* With a name before an at sign the host would be another one than a reader takes it for. */
bool https_url_is_safe(const char *url)
{
    struct slice text = slice_from_string(url);
    if (slice_find(text, '@') >= 0 || slice_find(text, '\\') >= 0 || slice_find(text, ' ') >= 0 || slice_find(text, '#') >= 0)
        return false;
    return (slice_starts_with(text, "https://") && text.len > 8 && text.data[8] != '/') || is_loopback(text);
}
