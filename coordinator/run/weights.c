#include "coordinator/run/weights.h"

#include "proto/base/checksums.h"
#include "proto/base/safetensors.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

static const char *file_in(const char *dir, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

/* --- saving ---------------------------------------------------------------------------------------------------------- */

typedef struct target {
    sc_safetensors_writer *writer;
    const char *name;
} target;

static sc_status write_piece(void *context, uint64_t offset, const void *data, size_t n)
{
    target *t = context;
    return sc_safetensors_writer_write(t->writer, t->name, offset, data, n);
}

static sc_status save_tensors(sc_cluster *cluster, const sc_model *model, int64_t step, const char *path)
{
    char number[32];
    snprintf(number, sizeof number, "%" PRId64, step);
    sc_safetensors_writer *writer = NULL;
    sc_status status;
    SC_TRY_GOTO(status, sc_safetensors_writer_new(path, &writer), done);
    SC_TRY_GOTO(status, sc_safetensors_writer_metadata(writer, "format", "pt"), done); /* transformers insists on it */
    SC_TRY_GOTO(status, sc_safetensors_writer_metadata(writer, "step", number), done);
    for (int i = 0; i < sc_model_n_params(model); i++) {
        sc_param param = sc_model_param(model, i);
        SC_TRY_GOTO(status, sc_safetensors_writer_add(writer, param.name, SC_F32, &param.shape), done);
    }
    for (int i = 0; i < sc_model_n_params(model); i++) {
        sc_param param = sc_model_param(model, i);
        target t = {.writer = writer, .name = param.name};
        SC_TRY_GOTO(status, sc_cluster_read_parameter(cluster, i, write_piece, &t), done);
    }
    status = sc_safetensors_writer_commit(writer);
done:
    sc_safetensors_writer_destroy(&writer);
    return status;
}

sc_status sc_weights_save(sc_cluster *cluster, const sc_model *model, const sc_tokenizer *tokenizer,
                          const sc_labels *labels, int64_t step, const char *dir)
{
    static const char *const names[] = {"model.safetensors", "stagecoach_tokenizer.json", "config.json"};
    char path[PATH_MAX];
    SC_TRY(sc_checksums_remove(dir)); /* of earlier weights: they would lie while these come */
    SC_TRY(save_tensors(cluster, model, step, file_in(dir, "model.safetensors", path)));
    SC_TRY(sc_tokenizer_save(tokenizer, file_in(dir, "stagecoach_tokenizer.json", path)));
    SC_TRY(sc_tokenizer_export(tokenizer, dir));
    SC_TRY(sc_hf_config_save(model, SC_F32, labels, file_in(dir, "config.json", path)));
    return sc_checksums_write(dir, names, (int)(sizeof names / sizeof names[0]));
}

/* --- loading ---------------------------------------------------------------------------------------------------------- */

sc_status sc_weights_describe(const char *dir, sc_model *model, sc_tokenizer **tokenizer)
{
    SC_TRY(sc_hf_config_load(dir, model));
    SC_TRY(sc_tokenizer_open(dir, tokenizer));
    int vocab = sc_tokenizer_vocab(*tokenizer);
    if (vocab > model->vocab) {
        sc_tokenizer_destroy(tokenizer);
        return SC_FAIL(SC_INVALID, "%s: the tokenizer has %d tokens, the model %d", dir, vocab, model->vocab);
    }
    return SC_OK;
}

sc_status sc_weights_expect_generative(const char *dir, const sc_model *model)
{
    if (model->task == SC_TASK_NEXT_TOKEN)
        return SC_OK;
    return SC_FAIL(SC_INVALID, "%s holds a %s, which predicts no next token; name a GPT-2", dir,
                   sc_hf_config_class(model));
}

typedef struct source {
    const sc_hf_weights *weights;
    int ordinal;
} source;

static sc_status read_piece(void *context, uint64_t offset, void *data, size_t n)
{
    source *s = context; /* pieces begin and end at whole elements */
    return sc_hf_weights_read(s->weights, s->ordinal, offset / sizeof(float), data, n / sizeof(float));
}

sc_status sc_weights_send(sc_cluster *cluster, const sc_model *model, const sc_hf_weights *weights)
{
    for (int i = 0; i < sc_model_n_params(model); i++)
        SC_TRY(sc_cluster_write_parameter(cluster, i, read_piece, &(source){.weights = weights, .ordinal = i}));
    return SC_OK;
}

sc_status sc_weights_load(sc_cluster *cluster, const sc_model *model, const char *dir)
{
    sc_hf_weights *weights = NULL;
    SC_TRY(sc_hf_weights_open(dir, model, &weights));
    sc_status status = sc_weights_send(cluster, model, weights);
    sc_hf_weights_close(&weights);
    return status;
}
