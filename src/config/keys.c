/* authPassword values (RFC 5803) of users, read when a client asks for SCRAM and at no other time; never logged nor kept. A name without any gets a salt all
 * the same, made from the name with a secret that outlives the process: who asks twice must not see that nobody is there. */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build.h"
#include "lookup.h"
#include "postern/base/buf.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "postern/config/config.h"
#include "postern/net/keyed_hash.h"
#include "user_names.h"

enum { MADE_UP_SALT = 16 };

static struct directory_pool *pool;
static unsigned char secret[KEYED_HASH_SIZE];

static bool read_secret(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool good = read(fd, secret, sizeof(secret)) == (ssize_t)sizeof(secret);
    close(fd);
    return good;
}

static bool write_secret(const char *path)
{
    secret_random(secret, sizeof(secret));
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    bool good = write(fd, secret, sizeof(secret)) == (ssize_t)sizeof(secret) && fsync(fd) == 0;
    return close(fd) == 0 && good;
}

void keys_start(struct directory_pool *look_ups, const char *state_dir)
{
    struct buf path = { .cap = 0 };
    pool = look_ups;
    buf_printf(&path, "%s/salt-key", state_dir);
    if (!read_secret(buf_text(&path)) && !write_secret(buf_text(&path)))
        log_warning("config", "%s cannot be kept: the salts of names without authPassword change with each start", buf_text(&path));
    buf_fini(&path);
}

/* As a user's, and nobody can know the password to them. */
static void make_up(struct slice name, unsigned iterations, struct sasl_keys *out)
{
    char lower[320];
    unsigned char hash[KEYED_HASH_SIZE];
    size_t len = name.len < sizeof(lower) ? name.len : sizeof(lower);
    for (size_t i = 0; i < len; i++)
        lower[i] = ascii_lower(name.data[i]);
    keyed_hash(secret, slice_make(lower, len), hash);
    *out = (struct sasl_keys){ .iterations = iterations, .salt_len = MADE_UP_SALT };
    memcpy(out->salt, hash, MADE_UP_SALT);
    secret_random(out->stored_key, sizeof(out->stored_key));
    secret_random(out->server_key, sizeof(out->server_key));
}

static bool take_value(const struct directory_entry *entry, struct sasl_keys *out)
{
    const struct directory_attribute *attribute = directory_entry_find(entry, "authPassword");
    for (size_t i = 0; attribute != NULL && i < attribute->count; i++)
        if (sasl_keys_parse(attribute->values[i], out))
            return true;
    return false;
}

/* Copies of the value lie in the entry: they are wiped with it. */
static void wipe_entry(struct directory_entry **entry)
{
    if (*entry != NULL)
        arena_wipe(&(*entry)->arena);
    directory_entry_free(entry);
}

int config_find_keys(struct slice name, struct sasl_keys *out, char **dn_out, struct fault *fault)
{
    static const char *const attributes[] = { "uid", "mail", "posternMailAlias", "authPassword", NULL };
    struct snapshot *snapshot = snapshot_current();
    struct directory_entry *entry = NULL;
    unsigned server;
    *dn_out = NULL;
    if (snapshot == NULL || lookup_user_base(snapshot) == NULL) {
        snapshot_unref(&snapshot);
        return fault_set(fault, FAULT_UNREACHABLE, 0, "the configuration has not been read yet");
    }
    int rc = lookup_entry(pool, lookup_user_base(snapshot), name, attributes, &server, &entry, fault);
    if (rc != 0 && fault->class == FAULT_NOT_FOUND)
        rc = 0;
    /* A directory finds "alice" by other spellings too ("ALICE ", letters of full width): if they all had her salt, they would tell that she is there. */
    if (rc == 0 && entry != NULL && user_names_have(entry, name) && take_value(entry, out))
        *dn_out = mem_strdup(entry->dn);
    else if (rc == 0)
        make_up(name, (unsigned)snapshot->agent.scram_iterations, out);
    wipe_entry(&entry);
    snapshot_unref(&snapshot);
    return rc;
}
