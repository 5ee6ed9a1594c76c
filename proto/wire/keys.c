#include "proto/wire/keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

bool sc_keys_is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n < SC_KEY_NAME_BYTES && strspn(name, letters) == n && name[0] != '.' && name[0] != '-';
}

bool sc_keys_is_key(const char *text)
{
    uint8_t bytes[32];
    return strlen(text) == SC_KEY_TEXT - 1 && zmq_z85_decode(bytes, text) != NULL;
}

sc_status sc_certificate_generate(const char *name, sc_certificate *out)
{
    *out = (sc_certificate){0};
    snprintf(out->name, sizeof out->name, "%s", name);
    if (zmq_curve_keypair(out->public_key.z85, out->secret_key) != 0)
        return SC_FAIL(SC_UNIMPLEMENTED, "no keys can be made: this libzmq was built without CURVE");
    return SC_OK;
}

void sc_certificate_wipe(sc_certificate *self)
{
    explicit_bzero(self->secret_key, sizeof self->secret_key);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* The whole file, with an end. */
static sc_status read_file(const char *path, char *text, struct stat *info)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return SC_FAIL(errno == ENOENT ? SC_NOT_FOUND : SC_PERMISSION_DENIED, "%s: %s", path, strerror(errno));
    size_t used = 0;
    ssize_t n = -1;
    bool regular = fstat(fd, info) == 0 && S_ISREG(info->st_mode);
    while (regular && used < SC_KEY_FILE_BYTES && (n = read(fd, text + used, SC_KEY_FILE_BYTES - used)) > 0)
        used += (size_t)n;
    int error = errno;
    close(fd);
    if (!regular)
        return SC_FAIL(SC_INVALID, "%s is not a file", path);
    if (n < 0)
        return SC_FAIL(SC_UNAVAILABLE, "%s: %s", path, strerror(error));
    if (used == SC_KEY_FILE_BYTES || memchr(text, '\0', used))
        return SC_FAIL(SC_INVALID, "%s is not a file of keys", path);
    text[used] = '\0';
    return SC_OK;
}

static char *trim(char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    for (size_t n = strlen(text); n > 0 && strchr(" \t\r", text[n - 1]); n--)
        text[n - 1] = '\0';
    return text;
}

/* `name = "value"` or `name = value`, in place. NULL: neither. */
static char *split_setting(char *line, char **name)
{
    char *equals = strchr(line, '=');
    if (!equals)
        return NULL;
    *equals = '\0';
    *name = trim(line);
    char *value = trim(equals + 1);
    size_t n = strlen(value);
    if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0]) {
        value[n - 1] = '\0';
        value++;
    }
    return value;
}

/* Where a setting goes; NULL: nowhere. */
static char *place_of(sc_certificate *out, const char *section, const char *name)
{
    if (strcmp(section, "curve") == 0 && strcmp(name, "public-key") == 0)
        return out->public_key.z85;
    if (strcmp(section, "curve") == 0 && strcmp(name, "secret-key") == 0)
        return out->secret_key;
    if (strcmp(section, "coordinator") == 0 && strcmp(name, "public-key") == 0)
        return out->coordinator.z85;
    return NULL;
}

static sc_status take_setting(const char *path, int line, const char *section, char *text, sc_certificate *out)
{
    char *name = NULL, *value = split_setting(text, &name);
    if (!value)
        return SC_FAIL(SC_INVALID, "%s:%d: expected NAME = \"VALUE\"", path, line);
    if (strcmp(section, "metadata") == 0) { /* whatever czmq's tools wrote there; the name alone means something */
        if (strcmp(name, "name") != 0)
            return SC_OK;
        if (!sc_keys_is_name(value))
            return SC_FAIL(SC_INVALID, "%s:%d: a name has 1 to 64 letters, digits, '.', '_' and '-'", path, line);
        snprintf(out->name, sizeof out->name, "%s", value);
        return SC_OK;
    }
    char *place = place_of(out, section, name);
    if (!place)
        return SC_FAIL(SC_INVALID, "%s:%d: '%s' is not known here", path, line, name);
    if (*place)
        return SC_FAIL(SC_INVALID, "%s:%d: a second %s", path, line, name);
    if (!sc_keys_is_key(value))
        return SC_FAIL(SC_INVALID, "%s:%d: the %s is not a key: 40 characters of Z85", path, line, name);
    memcpy(place, value, SC_KEY_TEXT);
    return SC_OK;
}

static sc_status take_lines(const char *path, char *text, sc_certificate *out)
{
    const char *section = "";
    int number = 0;
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
        number++;
        bool indented = *line == ' ' || *line == '\t';
        char *content = trim(line);
        if (*content == '\0' || *content == '#')
            continue;
        if (indented) {
            SC_TRY(take_setting(path, number, section, content, out));
            continue;
        }
        static const char *const sections[] = {"metadata", "curve", "coordinator"};
        size_t at = 0;
        while (at < 3 && strcmp(content, sections[at]) != 0)
            at++;
        if (at == 3)
            return SC_FAIL(SC_INVALID, "%s:%d: '%.40s' is no section; known are metadata, curve, coordinator", path,
                           number, content);
        section = sections[at];
    }
    return SC_OK;
}

sc_status sc_certificate_parse(const char *path, char *text, sc_certificate *out)
{
    *out = (sc_certificate){0};
    SC_TRY(take_lines(path, text, out));
    if (!out->public_key.z85[0])
        return SC_FAIL(SC_INVALID, "%s: there is no public-key in section curve", path);
    char derived[SC_KEY_TEXT];
    if (out->secret_key[0] &&
        (zmq_curve_public(derived, out->secret_key) != 0 || strcmp(derived, out->public_key.z85) != 0))
        return SC_FAIL(SC_INVALID, "%s: the secret key does not belong to the public key", path);
    return SC_OK;
}

/* A file of root's may be read by a group: it is how secrets reach a user who is not root and cannot own them, as in
 * Kubernetes. libpq has the same rule. */
static bool others_can_read(const struct stat *info)
{
    bool given_by_root = info->st_uid == 0 && geteuid() != 0;
    return (info->st_mode & (given_by_root ? 037 : 077)) != 0;
}

sc_status sc_certificate_load(const char *path, sc_certificate *out)
{
    char text[SC_KEY_FILE_BYTES];
    struct stat info = {0};
    *out = (sc_certificate){0};
    SC_TRY(read_file(path, text, &info));
    sc_status status = sc_certificate_parse(path, text, out);
    explicit_bzero(text, sizeof text);
    if (status == SC_OK && out->secret_key[0] && others_can_read(&info))
        status = SC_FAIL(SC_PERMISSION_DENIED, "%s holds a secret key and others can read it (mode %04o): chmod 600 %s",
                         path, (unsigned)(info.st_mode & 07777), path);
    if (status != SC_OK)
        explicit_bzero(out, sizeof *out);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static int write_text(int fd, const sc_certificate *self, bool secret)
{
    int n = dprintf(fd,
                    "# Stagecoach, %s\n"
                    "metadata\n"
                    "    name = \"%s\"\n"
                    "curve\n"
                    "    public-key = \"%s\"\n",
                    secret ? "a secret key: for its owner alone" : "a public key", self->name, self->public_key.z85);
    if (n >= 0 && secret)
        n = dprintf(fd, "    secret-key = \"%s\"\n", self->secret_key);
    if (n >= 0 && secret && self->coordinator.z85[0])
        n = dprintf(fd,
                    "coordinator\n"
                    "    public-key = \"%s\"\n",
                    self->coordinator.z85);
    return n >= 0 && fsync(fd) == 0 ? 0 : -1;
}

sc_status sc_certificate_save(const sc_certificate *self, const char *path, bool secret, bool replace)
{
    char temporary[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n_dir = slash ? (int)(slash + 1 - path) : 0;
    if (snprintf(temporary, sizeof temporary, "%.*s.%s.%d", n_dir, path, path + n_dir, (int)getpid()) >=
        (int)sizeof temporary)
        return SC_FAIL(SC_INVALID, "the path %s is too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, secret ? 0600 : 0644);
    if (fd < 0)
        return SC_FAIL(errno == EACCES || errno == EROFS ? SC_PERMISSION_DENIED : SC_UNAVAILABLE,
                       "%s cannot be written: %s", path, strerror(errno));
    bool written = write_text(fd, self, secret) == 0;
    int error = errno;
    close(fd);
    /* link, unlike rename, never replaces */
    bool placed = written && (replace ? rename(temporary, path) : link(temporary, path)) == 0;
    if (written && !placed)
        error = errno;
    if (!placed || !replace)
        unlink(temporary);
    if (placed)
        return SC_OK;
    if (error == EEXIST)
        return SC_FAIL(SC_ALREADY_EXISTS, "%s is there already; --force replaces it", path);
    return SC_FAIL(SC_UNAVAILABLE, "%s cannot be written: %s", path, strerror(error));
}

/* ---- lists --------------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    return strcmp(((const sc_public_key *)a)->z85, ((const sc_public_key *)b)->z85);
}

static bool is_public_file(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && name[0] != '.' && strcmp(name + n - 4, ".pub") == 0;
}

sc_status sc_allow_list_set(sc_allow_list *self, const sc_public_key *keys, size_t n)
{
    sc_public_key *copy = malloc((n + 1) * sizeof *copy);
    if (!copy)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu keys", n);
    if (n > 0)
        memcpy(copy, keys, n * sizeof *copy);
    qsort(copy, n, sizeof *copy, compare);
    free(self->keys);
    *self = (sc_allow_list){copy, n};
    return SC_OK;
}

static sc_status add_file(sc_allow_list *self, const char *dir, const char *name)
{
    char path[PATH_MAX];
    sc_certificate certificate;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "the path %s/%s is too long", dir, name);
    SC_TRY(sc_certificate_load(path, &certificate));
    bool secret = certificate.secret_key[0] != '\0';
    sc_certificate_wipe(&certificate);
    if (secret)
        return SC_FAIL(SC_INVALID, "%s holds a secret key; a list of who may come has public ones alone", path);
    sc_public_key *keys = realloc(self->keys, (self->n + 1) * sizeof *keys);
    if (!keys)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu keys", self->n + 1);
    self->keys = keys;
    self->keys[self->n++] = certificate.public_key;
    return SC_OK;
}

sc_status sc_allow_list_load(const char *dir, sc_allow_list *out)
{
    *out = (sc_allow_list){0};
    DIR *folder = opendir(dir);
    if (!folder)
        return SC_FAIL(errno == EACCES ? SC_PERMISSION_DENIED : SC_NOT_FOUND,
                       "%s, the directory of the keys that may come: %s", dir, strerror(errno));
    sc_status status = SC_OK;
    for (struct dirent *entry; status == SC_OK && (entry = readdir(folder));)
        if (is_public_file(entry->d_name))
            status = add_file(out, dir, entry->d_name);
    closedir(folder);
    if (status != SC_OK)
        sc_allow_list_clear(out);
    else if (out->n > 0)
        qsort(out->keys, out->n, sizeof *out->keys, compare);
    return status;
}

bool sc_allow_list_has(const sc_allow_list *self, const char *key)
{
    sc_public_key wanted;
    if (self->n == 0 || strlen(key) != SC_KEY_TEXT - 1)
        return false;
    memcpy(wanted.z85, key, SC_KEY_TEXT);
    return bsearch(&wanted, self->keys, self->n, sizeof *self->keys, compare) != NULL;
}

void sc_allow_list_clear(sc_allow_list *self)
{
    free(self->keys);
    *self = (sc_allow_list){0};
}

/* FNV-1a, which mixes well enough for what changes here: times, sizes, inodes. */
static uint64_t mix(uint64_t hash, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001B3u;
    return hash;
}

uint64_t sc_allow_list_stamp(const char *dir)
{
    DIR *folder = opendir(dir);
    if (!folder)
        return 0;
    uint64_t sum = 1;
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct stat info;
        if (!is_public_file(entry->d_name) || fstatat(dirfd(folder), entry->d_name, &info, 0) != 0)
            continue;
        uint64_t hash = mix(0xCBF29CE484222325u, entry->d_name, strlen(entry->d_name));
        hash = mix(hash, &info.st_ino, sizeof info.st_ino);
        hash = mix(hash, &info.st_size, sizeof info.st_size);
        hash = mix(hash, &info.st_mtim.tv_sec, sizeof info.st_mtim.tv_sec);
        hash = mix(hash, &info.st_mtim.tv_nsec, sizeof info.st_mtim.tv_nsec);
        sum += hash; /* in whatever order they are read */
    }
    closedir(folder);
    return sum ? sum : 1;
}
