/* Which sets a directory has, which of them are sound, and which may go. Only names of the form that the writer gives are
 * looked at, and a link in such a name's place is none of ours. */
#include "coordinator/run/checkpoint_internal.h"

#include "proto/base/checksums.h"
#include "proto/base/disk.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "checkpoint"

typedef struct set {
    char *path;
    int64_t step;
    uint64_t number; /* in its name; 1 in one without */
    bool has_manifest;
} set;

typedef struct set_list {
    int n, capacity;
    set *sets; /* newest step first; of one step, the latest save first */
} set_list;

static sc_status out_of_memory(const char *path)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to look for checkpoints", path);
}

static sc_status fail_errno(const char *path, const char *what)
{
    int error = errno;
    return SC_FAIL(error == EIO ? SC_DATA_LOSS : sc_files_status(error), "%s: %s: %s", path, what, strerror(error));
}

const char *sc_checkpoint_name(int64_t step, uint64_t number, char name[SC_CHECKPOINT_NAME_BYTES])
{
    int length = snprintf(name, SC_CHECKPOINT_NAME_BYTES, "step-%08" PRId64, step);
    if (number > 1)
        snprintf(name + length, SC_CHECKPOINT_NAME_BYTES - (size_t)length, ".%" PRIu64, number);
    return name;
}

/* Only what sc_checkpoint_name gives: "step-100", "step-00000100.1" and "step-00000100.2~" are no sets. */
static bool parse_name(const char *name, int64_t *step, uint64_t *number)
{
    char again[SC_CHECKPOINT_NAME_BYTES];
    *number = 1;
    if (sscanf(name, "step-%" SCNd64 ".%" SCNu64, step, number) < 1 || *step < 0)
        return false;
    return strcmp(sc_checkpoint_name(*step, *number, again), name) == 0;
}

const char *sc_checkpoint_place_name(sc_checkpoint_place place)
{
    return place == SC_CHECKPOINT_SHARED ? SC_CHECKPOINT_SHARED_SETS : SC_CHECKPOINT_SETS;
}

/* --- listing ------------------------------------------------------------------------------------------------------------ */

static void clear_sets(set_list *list)
{
    for (int i = 0; i < list->n; i++)
        free(list->sets[i].path);
    free(list->sets);
    *list = (set_list){0};
}

static sc_status add_set(set_list *list, const char *parent, const char *name)
{
    set s = {0};
    struct stat info;
    if (!parse_name(name, &s.step, &s.number))
        return SC_OK;
    if (list->n == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 16;
        set *sets = realloc(list->sets, (size_t)capacity * sizeof *sets);
        if (!sets)
            return out_of_memory(parent);
        list->sets = sets;
        list->capacity = capacity;
    }
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", parent, name) >= (int)sizeof path || lstat(path, &info) != 0 ||
        !S_ISDIR(info.st_mode))
        return SC_OK;
    s.path = strdup(path);
    if (!s.path)
        return out_of_memory(parent);
    char manifest[PATH_MAX];
    s.has_manifest = snprintf(manifest, sizeof manifest, "%s/%s", path, SC_CHECKPOINT_MANIFEST) < PATH_MAX &&
                     lstat(manifest, &info) == 0;
    list->sets[list->n++] = s;
    return SC_OK;
}

static int compare_newest_first(const void *a, const void *b)
{
    const set *x = a, *y = b;
    if (x->step != y->step)
        return x->step > y->step ? -1 : 1;
    return x->number == y->number ? 0 : x->number > y->number ? -1 : 1;
}

/* A shared directory that is not there now may hold the newest set: that is no reason to go on without it. */
static sc_status fail_shared(const char *parent)
{
    char target[PATH_MAX];
    int error = errno;
    ssize_t n = readlink(parent, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    return SC_FAIL(SC_FAILED_PRECONDITION,
                   "%s: the run's shared checkpoints are in %s, which cannot be read: %s; mount it, or remove the link "
                   "to go on without them",
                   parent, target, strerror(error));
}

static sc_status scan_place(const char *dir, sc_checkpoint_place place, set_list *out)
{
    char parent[PATH_MAX];
    struct stat info;
    if (snprintf(parent, sizeof parent, "%s/%s", dir, sc_checkpoint_place_name(place)) >= (int)sizeof parent)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", dir);
    if (lstat(parent, &info) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return SC_OK;
    DIR *entries = opendir(parent);
    if (!entries)
        return place == SC_CHECKPOINT_SHARED ? fail_shared(parent) : fail_errno(parent, "cannot be read");
    sc_status status = SC_OK;
    for (struct dirent *entry; status == SC_OK && (errno = 0, entry = readdir(entries));)
        status = add_set(out, parent, entry->d_name);
    if (status == SC_OK && errno != 0)
        status = fail_errno(parent, "cannot be read");
    closedir(entries);
    return status;
}

/* All sets of DIR, with and without a manifest. */
static sc_status scan(const char *dir, set_list *out)
{
    *out = (set_list){0};
    sc_status status = scan_place(dir, SC_CHECKPOINT_IN_RUN, out);
    if (status == SC_OK)
        status = scan_place(dir, SC_CHECKPOINT_SHARED, out);
    if (status != SC_OK)
        clear_sets(out);
    else if (out->n > 1)
        qsort(out->sets, (size_t)out->n, sizeof *out->sets, compare_newest_first);
    return status;
}

sc_status sc_checkpoint_list_of(const char *dir, sc_checkpoint_list *out)
{
    set_list all;
    *out = (sc_checkpoint_list){0};
    SC_TRY(scan(dir, &all));
    out->paths = calloc((size_t)all.n + 1, sizeof *out->paths);
    out->steps = calloc((size_t)all.n + 1, sizeof *out->steps);
    if (!out->paths || !out->steps) {
        clear_sets(&all);
        sc_checkpoint_list_clear(out);
        return out_of_memory(dir);
    }
    for (int i = 0; i < all.n; i++) {
        if (!all.sets[i].has_manifest)
            continue;
        out->paths[out->n] = all.sets[i].path;
        out->steps[out->n++] = all.sets[i].step;
        all.sets[i].path = NULL;
    }
    clear_sets(&all);
    return SC_OK;
}

void sc_checkpoint_list_clear(sc_checkpoint_list *self)
{
    for (int i = 0; i < self->n; i++)
        free(self->paths[i]);
    free(self->paths);
    free(self->steps);
    *self = (sc_checkpoint_list){0};
}

/* --- checking ----------------------------------------------------------------------------------------------------------- */

/* That a file which the manifest names is not there is damage, not a question. */
static sc_status as_damage(sc_status status)
{
    return status == SC_NOT_FOUND || status == SC_INVALID ? SC_FAIL(SC_DATA_LOSS, "%s", sc_status_message()) : status;
}

static sc_status check_shard(const char *set_path, const struct sc_manifest_shard *shard, bool verify)
{
    char path[PATH_MAX], hash[SC_CHECKSUM_BYTES];
    struct stat info;
    uint64_t bytes;
    if (snprintf(path, sizeof path, "%s/%s", set_path, shard->file) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", set_path);
    if (stat(path, &info) != 0)
        return errno == ENOENT ? SC_FAIL(SC_DATA_LOSS, "%s: is missing", path)
                               : as_damage(fail_errno(path, "cannot be read"));
    if (!S_ISREG(info.st_mode))
        return SC_FAIL(SC_DATA_LOSS, "%s: is not a regular file", path);
    if ((uint64_t)info.st_size != shard->bytes)
        return SC_FAIL(SC_DATA_LOSS, "%s: has %" PRIu64 " bytes; %" PRIu64 " were saved", path, (uint64_t)info.st_size,
                       shard->bytes);
    if (!verify)
        return SC_OK;
    sc_status status = sc_checksum_of_file(path, &bytes, hash);
    if (status != SC_OK)
        return as_damage(status);
    if (bytes != shard->bytes || strcmp(hash, shard->hash) != 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: its content has changed since it was saved: xxh3-128 is %s, was %s", path,
                       hash, shard->hash);
    return SC_OK;
}

static sc_status check_companion(const char *set_path, const char *name, uint64_t hash)
{
    char path[PATH_MAX];
    uint64_t found;
    if (snprintf(path, sizeof path, "%s/%s", set_path, name) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", set_path);
    sc_status status = sc_checksum64_of_file(path, &found);
    if (status == SC_NOT_FOUND)
        return SC_FAIL(SC_DATA_LOSS, "%s: is missing", path);
    if (status != SC_OK)
        return as_damage(status);
    return found == hash
               ? SC_OK
               : SC_FAIL(SC_DATA_LOSS,
                         "%s: its content has changed since it was saved: xxh3 is %016" PRIx64 ", was %016" PRIx64,
                         path, found, hash);
}

static sc_status check_files(const char *path, const sc_manifest *manifest, bool verify)
{
    for (int i = 0; i < manifest->n_shards; i++)
        SC_TRY(check_shard(path, &manifest->shards[i], verify));
    if (!verify)
        return SC_OK;
    SC_TRY(check_companion(path, SC_CHECKPOINT_MODEL, manifest->description_hash));
    return check_companion(path, SC_CHECKPOINT_TOKENIZER, manifest->tokenizer_hash);
}

static sc_status read_manifest(const char *path, sc_manifest *out)
{
    char file[PATH_MAX], *text = NULL;
    size_t bytes;
    *out = (sc_manifest){0};
    if (snprintf(file, sizeof file, "%s/%s", path, SC_CHECKPOINT_MANIFEST) >= (int)sizeof file)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", path);
    sc_status status = sc_files_read(file, SC_MANIFEST_MAX_BYTES, &text, &bytes);
    if (status == SC_INVALID) /* too large, or no file at all */
        return as_damage(status);
    if (status == SC_OK)
        status = sc_manifest_parse(text, bytes, file, out);
    free(text);
    return status;
}

sc_status sc_checkpoint_check(const char *path, bool verify, sc_manifest *out)
{
    SC_TRY(read_manifest(path, out));
    sc_status status = check_files(path, out, verify);
    if (status != SC_OK)
        sc_manifest_clear(out);
    return status;
}

sc_status sc_checkpoint_newest(const char *dir, char **path, sc_manifest *out)
{
    sc_checkpoint_list list;
    *path = NULL;
    *out = (sc_manifest){0};
    SC_TRY(sc_checkpoint_list_of(dir, &list));
    sc_status status =
        list.n > 0 ? SC_DATA_LOSS : SC_FAIL(SC_NOT_FOUND, "%s/%s has no checkpoint", dir, SC_CHECKPOINT_SETS);
    for (int i = 0; i < list.n; i++) {
        status = sc_checkpoint_check(list.paths[i], true, out);
        if (status == SC_OK) {
            *path = list.paths[i];
            list.paths[i] = NULL;
            break;
        }
        if (status != SC_DATA_LOSS && status != SC_NOT_FOUND)
            break;
        SC_WARN("the checkpoint %s is damaged and passed over: %s", list.paths[i], sc_status_message());
        status = SC_FAIL(SC_DATA_LOSS, "%s/%s: none of the %d checkpoints is sound; the last of them: %s", dir,
                         SC_CHECKPOINT_SETS, list.n, sc_status_message());
    }
    sc_checkpoint_list_clear(&list);
    return status;
}

sc_status sc_checkpoint_next(const char *dir, uint64_t above, int64_t step, uint64_t *save,
                             char name[SC_CHECKPOINT_NAME_BYTES])
{
    set_list all;
    SC_TRY(scan(dir, &all));
    int64_t highest_step = all.n > 0 ? all.sets[0].step : -1;
    uint64_t highest = above;
    for (int i = 0; i < all.n; i++) {
        sc_manifest manifest;
        if (all.sets[i].number > 1 && all.sets[i].number > highest)
            highest = all.sets[i].number;
        if (!all.sets[i].has_manifest || read_manifest(all.sets[i].path, &manifest) != SC_OK)
            continue; /* a damaged one has no say beyond its name; a newer version's is kept apart by prune */
        if (manifest.save > highest)
            highest = manifest.save;
        sc_manifest_clear(&manifest);
    }
    clear_sets(&all);
    *save = highest + 1;
    bool plain = step > highest_step && above == 0; /* above: that name is taken, by something that is no set */
    sc_checkpoint_name(step, plain ? 1 : *save > 2 ? *save : 2, name);
    return SC_OK;
}

/* --- removing ----------------------------------------------------------------------------------------------------------- */

static void remove_files(int fd, const char *path)
{
    int copy = dup(fd);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (!entries) {
        if (copy >= 0)
            close(copy);
        return; /* the rmdir that follows will say that the set is still there */
    }
    for (struct dirent *entry; (entry = readdir(entries));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            sc_disk_get()->unlinkat(fd, entry->d_name, 0) != 0 && errno != ENOENT)
            SC_WARN("%s/%s cannot be removed: %s", path, entry->d_name, strerror(errno));
    closedir(entries);
}

/* Whether the set is gone for every reader: without its manifest, once that is on the disk. Only then do shards follow. */
static bool hide(int fd)
{
    if (sc_disk_get()->unlinkat(fd, SC_CHECKPOINT_MANIFEST, 0) != 0)
        return errno == ENOENT;
    return sc_disk_get()->fsync(fd) == 0 || errno == EINVAL;
}

static bool empty(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return true;
    bool hidden = fd >= 0 && hide(fd);
    if (hidden)
        remove_files(fd, path);
    else
        SC_WARN("the checkpoint %s cannot be removed: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return hidden;
}

void sc_checkpoint_empty(const char *path)
{
    (void)empty(path);
}

void sc_checkpoint_remove(const char *path)
{
    if (empty(path) && sc_disk_get()->unlinkat(AT_FDCWD, path, AT_REMOVEDIR) != 0 && errno != ENOENT)
        SC_WARN("the checkpoint %s cannot be removed: %s", path, strerror(errno));
}

/* What prune knows of a set. */
typedef struct candidate {
    const set *set;
    sc_status status; /* of the check without hashes */
    uint64_t save;
} candidate;

static int compare_last_saved_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if ((x->status == SC_OK) != (y->status == SC_OK))
        return x->status == SC_OK ? -1 : 1;
    if (x->save != y->save)
        return x->save > y->save ? -1 : 1;
    return compare_newest_first(x->set, y->set); /* sets that were copied together */
}

static void examine(candidate *c)
{
    sc_manifest manifest = {0};
    c->status = c->set->has_manifest ? sc_checkpoint_check(c->set->path, false, &manifest) : SC_NOT_FOUND;
    c->save = manifest.save;
    sc_manifest_clear(&manifest);
}

/* `c` in the order of saving, the sound ones first; there are n of all, n_sound of these. */
static void remove_surplus(const candidate *c, int n, int n_sound, int keep, int64_t pinned)
{
    const set *newest = c[0].set;
    for (int i = 1; i < n_sound; i++)
        if (compare_newest_first(c[i].set, newest) < 0)
            newest = c[i].set;
    for (int i = keep; i < n_sound; i++)
        if (c[i].set != newest && (pinned == 0 || c[i].set->step != pinned))
            sc_checkpoint_remove(c[i].set->path);
    for (int i = n_sound; i < n; i++) /* a set that this build or this user cannot read is not ours to judge */
        if ((c[i].status == SC_DATA_LOSS || c[i].status == SC_NOT_FOUND) &&
            compare_newest_first(newest, c[i].set) < 0 && c[i].set->number <= c[0].save)
            sc_checkpoint_remove(c[i].set->path); /* its name stays used: a higher step and number are there */
}

void sc_checkpoint_prune(const char *dir, int keep, int64_t pinned)
{
    set_list all;
    if (scan(dir, &all) != SC_OK) {
        SC_WARN("old checkpoints are not removed: %s", sc_status_message());
        return;
    }
    candidate *candidates = calloc((size_t)all.n + 1, sizeof *candidates);
    int n_sound = 0;
    for (int i = 0; candidates && i < all.n; i++) {
        candidates[i].set = &all.sets[i];
        examine(&candidates[i]);
        n_sound += candidates[i].status == SC_OK;
    }
    if (n_sound > 0) {
        qsort(candidates, (size_t)all.n, sizeof *candidates, compare_last_saved_first);
        remove_surplus(candidates, all.n, n_sound, keep > 2 ? keep : 2, pinned);
    }
    free(candidates);
    clear_sets(&all);
}
