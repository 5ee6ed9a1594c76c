#include "proto/base/safetensors_set.h"
#include "proto/base/safetensors_internal.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sc_safetensors_set {
    const char *dir; /* the caller's, while it is being opened */
    int n_files, n;
    sc_safetensors **files;
    sc_safetensors_place *places;
    json_t *opened; /* file name -> place in files */
    json_t *index;  /* tensor -> place in places */
};

static sc_status out_of_memory(const char *dir)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: out of memory for its tensors", dir);
}

static bool is_there(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat info;
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && stat(path, &info) == 0;
}

/* Opens a file of the directory that is not open yet. */
static sc_status open_file(sc_safetensors_set *self, const char *name, const sc_safetensors **out)
{
    const json_t *place = json_object_get(self->opened, name);
    if (place) {
        *out = self->files[json_integer_value(place)];
        return SC_OK;
    }
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", self->dir, name) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "%s/%s: the path is too long", self->dir, name);
    sc_safetensors **files = realloc(self->files, (size_t)(self->n_files + 1) * sizeof *files);
    if (!files)
        return out_of_memory(self->dir);
    self->files = files;
    SC_TRY(sc_safetensors_open(path, &files[self->n_files]));
    *out = files[self->n_files++];
    return json_object_set_new(self->opened, name, json_integer(self->n_files - 1)) == 0 ? SC_OK
                                                                                         : out_of_memory(self->dir);
}

/* Makes room for `capacity` places. */
static sc_status reserve(sc_safetensors_set *self, size_t capacity)
{
    sc_safetensors_place *places = realloc(self->places, (capacity + 1) * sizeof *places);
    if (!places)
        return out_of_memory(self->dir);
    self->places = places;
    return SC_OK;
}

static sc_status add(sc_safetensors_set *self, const sc_safetensors *file, const sc_safetensors_entry *entry)
{
    self->places[self->n] = (sc_safetensors_place){.file = file, .entry = entry};
    return json_object_set_new(self->index, entry->name, json_integer(self->n++)) == 0 ? SC_OK
                                                                                       : out_of_memory(self->dir);
}

/* All tensors of a file whose names are new. */
static sc_status add_file(sc_safetensors_set *self, const char *name)
{
    const sc_safetensors *file;
    SC_TRY(open_file(self, name, &file));
    SC_TRY(reserve(self, (size_t)self->n + (size_t)sc_safetensors_n(file)));
    for (int i = 0; i < sc_safetensors_n(file); i++) {
        const sc_safetensors_entry *entry = sc_safetensors_at(file, i);
        if (!json_object_get(self->index, entry->name))
            SC_TRY(add(self, file, entry));
    }
    return SC_OK;
}

/* --- the index ----------------------------------------------------------------------------------------------------- */

/* One line of the weight map. The file must lie beside the index: a name with a slash could lead anywhere. */
static sc_status add_mapped(sc_safetensors_set *self, const char *path, const char *tensor, const json_t *value)
{
    const char *name = json_string_value(value);
    const sc_safetensors *file;
    if (!name || !*name || strchr(name, '/') || strcmp(name, "..") == 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: tensor '%s': its file is not the name of a file beside the index", path,
                       tensor);
    if (!json_object_get(self->opened, name) && !is_there(self->dir, name))
        return SC_FAIL(SC_NOT_FOUND,
                       "%s: tensor '%s' is said to be in %s, which is not there; copy it beside the index", path,
                       tensor, name);
    SC_TRY(open_file(self, name, &file));
    const sc_safetensors_entry *entry = sc_safetensors_find(file, tensor);
    if (!entry)
        return SC_FAIL(SC_DATA_LOSS,
                       "%s: tensor '%s' is said to be in %s, which has no such tensor; index and file do not belong "
                       "together",
                       path, tensor, name);
    return add(self, file, entry);
}

static sc_status read_index(sc_safetensors_set *self, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return sc_safetensors_io_error(path, "be read", errno);
    if (!S_ISREG(info.st_mode) || info.st_size > SC_SAFETENSORS_MAX_HEADER_BYTES)
        return SC_FAIL(SC_DATA_LOSS, "%s: is not a regular file of at most %d bytes", path,
                       SC_SAFETENSORS_MAX_HEADER_BYTES);
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return SC_FAIL(SC_DATA_LOSS, "%s:%d: is not JSON: %s", path, error.line, error.text);
    sc_status status = SC_OK;
    json_t *map = json_object_get(root, "weight_map"), *value;
    const char *tensor;
    if (!json_is_object(map)) {
        status = SC_FAIL(SC_DATA_LOSS, "%s: has no \"weight_map\" from tensors to files", path);
        goto done;
    }
    SC_TRY_GOTO(status, reserve(self, json_object_size(map)), done);
    json_object_foreach(map, tensor, value)
    {
        SC_TRY_GOTO(status, add_mapped(self, path, tensor, value), done);
    }
done:
    json_decref(root);
    return status;
}

/* --- opening ------------------------------------------------------------------------------------------------------- */

static int is_safetensors(const struct dirent *entry)
{
    static const char ending[] = ".safetensors";
    size_t length = strlen(entry->d_name), n = sizeof ending - 1;
    return entry->d_name[0] != '.' && length > n && strcmp(entry->d_name + length - n, ending) == 0;
}

static sc_status add_all_files(sc_safetensors_set *self)
{
    struct dirent **entries;
    int n = scandir(self->dir, &entries, is_safetensors, alphasort);
    if (n < 0)
        return sc_safetensors_io_error(self->dir, "be read", errno);
    sc_status status = SC_OK;
    if (n == 0)
        status = SC_FAIL(SC_NOT_FOUND, "%s: has neither model.safetensors nor model.safetensors.index.json", self->dir);
    for (int i = 0; i < n; i++) {
        if (status == SC_OK)
            status = add_file(self, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static sc_status open_set(sc_safetensors_set *self)
{
    static const char one[] = "model.safetensors", many[] = "model.safetensors.index.json";
    self->opened = json_object();
    self->index = json_object();
    if (!self->opened || !self->index)
        return out_of_memory(self->dir);
    if (is_there(self->dir, one))
        return add_file(self, one);
    if (!is_there(self->dir, many))
        return add_all_files(self);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", self->dir, many);
    return read_index(self, path);
}

sc_status sc_safetensors_set_open(const char *dir, sc_safetensors_set **out)
{
    *out = NULL;
    sc_safetensors_set *self = calloc(1, sizeof *self);
    if (!self)
        return out_of_memory(dir);
    self->dir = dir;
    sc_status status = open_set(self);
    self->dir = NULL;
    if (status != SC_OK)
        sc_safetensors_set_close(&self);
    *out = self;
    return status;
}

void sc_safetensors_set_close(sc_safetensors_set **self_p)
{
    sc_safetensors_set *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    for (int i = 0; i < self->n_files; i++)
        sc_safetensors_close(&self->files[i]);
    free(self->files);
    free(self->places);
    json_decref(self->opened);
    json_decref(self->index);
    free(self);
}

int sc_safetensors_set_n(const sc_safetensors_set *self)
{
    return self->n;
}

sc_safetensors_place sc_safetensors_set_at(const sc_safetensors_set *self, int index)
{
    return self->places[index];
}

int sc_safetensors_set_find(const sc_safetensors_set *self, const char *name)
{
    const json_t *place = json_object_get(self->index, name);
    return place ? (int)json_integer_value(place) : -1;
}

const char *sc_safetensors_set_metadata(const sc_safetensors_set *self, const char *key)
{
    const char *value = NULL;
    for (int i = 0; i < self->n_files && !value; i++)
        value = sc_safetensors_metadata(self->files[i], key);
    return value;
}
