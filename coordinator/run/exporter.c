#include "coordinator/run/exporter.h"

#include "proto/base/files.h"
#include "coordinator/data/tokenizer.h"
#include "coordinator/run/checkpoint.h"
#include "proto/base/checksums.h"
#include "coordinator/run/weights.h"
#include "proto/base/half.h"
#include "proto/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "export"

typedef struct exporter {
    const sc_exporter_options *options;
    char dir[PATH_MAX];
    sc_model model;
    sc_labels labels; /* of a BERT that has some */
    sc_hf_weights *weights;
    sc_tokenizer *tokenizer; /* NULL: the directory has none */
    int64_t step;
    bool made_directory, wrote_files; /* what an error has to take back */
} exporter;

static const char *path_of(const exporter *e, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", e->options->out, name);
    return path;
}

/* --- the source ------------------------------------------------------------------------------------------------------ */

/* A checkpoint has its manifest, a run's final weights their list of hashes; other directories have neither. */
static sc_status verify(const exporter *e)
{
    sc_manifest manifest;
    sc_status status = sc_checkpoint_check(e->dir, true, &manifest);
    if (status == SC_OK)
        sc_manifest_clear(&manifest);
    if (status != SC_NOT_FOUND)
        return status;
    int n;
    uint64_t bytes;
    status = sc_checksums_check(e->dir, &n, &bytes);
    return status == SC_NOT_FOUND ? SC_OK : status;
}

static sc_status open_source(exporter *e)
{
    SC_TRY(sc_weights_find(e->options->dir, e->options->step, e->dir, &e->step));
    SC_TRY(verify(e));
    SC_TRY(sc_hf_config_load(e->dir, &e->model));
    SC_TRY(sc_hf_config_load_labels(e->dir, &e->labels));
    SC_TRY(sc_hf_weights_open(e->dir, &e->model, &e->weights));
    if (sc_hf_weights_n_missing(e->weights) > 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: %d tensors of a %s are missing; there is nothing to export in their place",
                       e->dir, sc_hf_weights_n_missing(e->weights), sc_hf_config_class(&e->model));
    sc_status status = sc_tokenizer_open(e->dir, &e->tokenizer);
    if (status != SC_NOT_FOUND)
        return status;
    SC_WARN("%s; the export has none either", sc_status_message());
    return SC_OK;
}

/* --- the directory ---------------------------------------------------------------------------------------------------- */

static sc_status check_empty(const char *dir)
{
    DIR *entries = opendir(dir);
    if (!entries)
        return SC_FAIL(errno == ENOTDIR ? SC_ALREADY_EXISTS : sc_files_status(errno),
                       "%s: cannot be written as a directory: %s", dir, strerror(errno));
    bool empty = true;
    for (struct dirent *entry; (entry = readdir(entries));)
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    closedir(entries);
    return empty ? SC_OK
                 : SC_FAIL(SC_ALREADY_EXISTS,
                           "%s has something in it, and an export overwrites nothing; name another directory, or empty "
                           "this one",
                           dir);
}

static sc_status make_directory(exporter *e)
{
    e->made_directory = mkdir(e->options->out, 0777) == 0;
    if (e->made_directory)
        return SC_OK;
    if (errno != EEXIST)
        return SC_FAIL(sc_files_status(errno), "%s: cannot be made: %s%s", e->options->out, strerror(errno),
                       errno == ENOENT ? "; make the directory above it first" : "");
    return check_empty(e->options->out);
}

static void take_back(const exporter *e)
{
    static const char *const names[] = {
        "model.safetensors", "stagecoach_tokenizer.json", "vocab.json", "merges.txt", "vocab.txt",
        "tokenizer.json",    "tokenizer_config.json",     "config.json"};
    char path[PATH_MAX];
    for (size_t i = 0; e->wrote_files && i < sizeof names / sizeof names[0]; i++)
        unlink(path_of(e, names[i], path));
    if (e->made_directory)
        rmdir(e->options->out);
}

/* --- writing ----------------------------------------------------------------------------------------------------------- */

static sc_dtype dtype_of(const exporter *e, int ordinal)
{
    return e->options->dtype ? e->options->dtype : sc_hf_weights_dtype(e->weights, ordinal);
}

static sc_status write_tensor(const exporter *e, sc_safetensors_writer *writer, int ordinal)
{
    enum { PIECE = 16384 };
    float values[PIECE], raw[PIECE]; /* raw: room for any of the types */
    sc_param param = sc_model_param(&e->model, ordinal);
    sc_dtype dtype = dtype_of(e, ordinal);
    size_t bytes = sc_dtype_bytes(dtype);
    uint64_t elements, overflowed = 0;
    SC_TRY(sc_shape_elements(&param.shape, &elements));
    for (uint64_t first = 0; first < elements; first += PIECE) {
        size_t n = elements - first < PIECE ? (size_t)(elements - first) : PIECE;
        SC_TRY(sc_hf_weights_read(e->weights, ordinal, first, values, n));
        overflowed += sc_half_narrow(dtype, values, raw, n);
        SC_TRY(sc_safetensors_writer_write(writer, param.name, first * bytes, raw, n * bytes));
    }
    if (overflowed > 0)
        return SC_FAIL(SC_OUT_OF_RANGE,
                       "%" PRIu64 " of the %" PRIu64
                       " values of %s are too large for %s; export as bfloat16 or float32",
                       overflowed, elements, param.name, sc_dtype_name(dtype));
    return SC_OK;
}

static sc_status write_weights(const exporter *e, const char *path)
{
    const sc_model *model = &e->model;
    char step[32];
    snprintf(step, sizeof step, "%" PRId64, e->step);
    sc_safetensors_writer *writer = NULL;
    sc_status status;
    SC_TRY_GOTO(status, sc_safetensors_writer_new(path, &writer), done);
    SC_TRY_GOTO(status, sc_safetensors_writer_metadata(writer, "format", "pt"), done); /* transformers insists on it */
    if (e->step >= 0)
        SC_TRY_GOTO(status, sc_safetensors_writer_metadata(writer, "step", step), done);
    for (int i = 0; i < sc_model_n_params(model); i++) {
        sc_param param = sc_model_param(model, i);
        SC_TRY_GOTO(status, sc_safetensors_writer_add(writer, param.name, dtype_of(e, i), &param.shape), done);
    }
    for (int i = 0; i < sc_model_n_params(model); i++)
        SC_TRY_GOTO(status, write_tensor(e, writer, i), done);
    status = sc_safetensors_writer_commit(writer);
done:
    sc_safetensors_writer_destroy(&writer);
    return status;
}

static sc_status write_files(exporter *e)
{
    char path[PATH_MAX];
    SC_TRY(make_directory(e));
    e->wrote_files = true;
    SC_TRY(write_weights(e, path_of(e, "model.safetensors", path)));
    if (e->tokenizer)
        SC_TRY(sc_tokenizer_save(e->tokenizer, path_of(e, "stagecoach_tokenizer.json", path)));
    if (e->tokenizer)
        SC_TRY(sc_tokenizer_export(e->tokenizer, e->options->out));
    sc_dtype dtype = dtype_of(e, sc_model_embedding_param(&e->model));
    const sc_labels *labels = e->labels.n == e->model.labels && e->labels.n > 0 ? &e->labels : NULL;
    return sc_hf_config_save(&e->model, dtype, labels, path_of(e, "config.json", path));
}

sc_status sc_exporter_run(const sc_exporter_options *options, sc_export *out)
{
    exporter e = {.options = options};
    sc_status status = open_source(&e);
    if (status == SC_OK)
        status = write_files(&e);
    if (status == SC_OK)
        *out = (sc_export){
            .elements = sc_model_n_elements(&e.model),
            .step = e.step,
            .dtype = dtype_of(&e, sc_model_embedding_param(&e.model)),
        };
    else
        take_back(&e);
    sc_tokenizer_destroy(&e.tokenizer);
    sc_hf_weights_close(&e.weights);
    sc_labels_clear(&e.labels);
    return status;
}
