/* Questions to web services through libcurl. Called in threads that may wait. Connections are kept by a few handles that are lent to one thread at a time. It
 * must never log the form, which is secret. */
#include "postern/net/https.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>

#include "postern/base/check.h"

enum { HANDLES_KEPT = 16, CONNECT_MS = 3000, SERVER_SECONDS = 300 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static CURL *kept[HANDLES_KEPT];
static size_t kept_count;

static void start_library(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static CURL *borrow(void)
{
    pthread_once(&once, start_library);
    pthread_mutex_lock(&mutex);
    CURL *handle = kept_count > 0 ? kept[--kept_count] : NULL;
    pthread_mutex_unlock(&mutex);
    return handle != NULL ? handle : curl_easy_init();
}

/* Without what was set, the secrets among it; with its connections. */
static void give_back(CURL *handle)
{
    curl_easy_reset(handle);
    pthread_mutex_lock(&mutex);
    bool room = kept_count < HANDLES_KEPT;
    if (room)
        kept[kept_count++] = handle;
    pthread_mutex_unlock(&mutex);
    if (!room)
        curl_easy_cleanup(handle);
}

static bool is_plain(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static void append_encoded(struct buf *out, struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (is_plain(value.data[i]))
            buf_append_byte(out, value.data[i]);
        else
            buf_printf(out, "%%%02X", (unsigned)(unsigned char)value.data[i]);
}

void https_form_append(struct buf *form, const char *name, struct slice value)
{
    if (form->len > 0)
        buf_append_byte(form, '&');
    buf_append_text(form, name);
    buf_append_byte(form, '=');
    append_encoded(form, value);
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct buf *answer = context;
    if (answer->len + size * count > HTTPS_ANSWER_MAX)
        return 0;
    buf_append(answer, slice_make(bytes, size * count));
    return size * count;
}

static void set_client(CURL *handle, const struct https_question *q)
{
    struct buf name = { .cap = 0 }, secret = { .cap = 0 };
    append_encoded(&name, slice_from_string(q->name));
    append_encoded(&secret, slice_from_string(q->secret));
    curl_easy_setopt(handle, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(handle, CURLOPT_USERNAME, buf_text(&name));
    curl_easy_setopt(handle, CURLOPT_PASSWORD, buf_text(&secret));
    buf_wipe(&name);
    buf_wipe(&secret);
}

static void set_up(CURL *handle, const struct https_question *q, struct curl_slist *headers, struct buf *answer)
{
    curl_easy_setopt(handle, CURLOPT_URL, q->url);
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, slice_starts_with(slice_from_string(q->url), "https:") ? "https" : "http");
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(handle, CURLOPT_PROXY, "");   /* nor what the environment names */
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)HTTPS_MS);
    curl_easy_setopt(handle, CURLOPT_MAXLIFETIME_CONN, (long)SERVER_SECONDS);
    curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 2L);
    /* The file may name other authorities than a moment ago: neither they are kept, nor sessions that they vouched for. */
    curl_easy_setopt(handle, CURLOPT_CA_CACHE_TIMEOUT, 0L);
    curl_easy_setopt(handle, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    if (q->ca_file != NULL) {
        /* The directory of the system's authorities would count beside the file. */
        curl_easy_setopt(handle, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(handle, CURLOPT_CAINFO, q->ca_file);
    }
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE, (long)q->form.len);
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, q->form.data);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, answer);
    if (q->name != NULL)
        set_client(handle, q);
}

int https_ask(const struct https_question *question, long *status_out, struct buf *answer, struct fault *fault)
{
    char why[CURL_ERROR_SIZE] = "";
    if (!https_url_is_safe(question->url))
        return fault_set(fault, FAULT_INVALID, 0, "%s: neither https:// nor http:// to this machine", question->url);
    CURL *handle = borrow();
    struct curl_slist *headers = curl_slist_append(curl_slist_append(NULL, "Accept: application/json"), "Expect:");
    CHECK(handle != NULL && headers != NULL);
    set_up(handle, question, headers, answer);
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, why);
    CURLcode rc = curl_easy_perform(handle);
    if (rc == CURLE_OK)
        curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, status_out);
    give_back(handle);
    curl_slist_free_all(headers);
    if (rc == CURLE_OK)
        return 0;
    if (rc == CURLE_WRITE_ERROR)
        return fault_set(fault, FAULT_LIMIT, 0, "%s: the answer has more than %d octets", question->url, (int)HTTPS_ANSWER_MAX);
    return fault_set(fault, rc == CURLE_OPERATION_TIMEDOUT ? FAULT_TIMEOUT : FAULT_UNREACHABLE, 0, "%s: %s", question->url,
                     *why != '\0' ? why : curl_easy_strerror(rc));
}
