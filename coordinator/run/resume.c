#include "coordinator/run/resume.h"

#include "proto/base/shard.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static sc_status check_value(const char *key, int64_t theirs, int64_t ours)
{
    if (theirs == ours)
        return SC_OK;
    return SC_FAIL(SC_FAILED_PRECONDITION,
                   "%s: the run's checkpoint has %" PRId64 ", the config %" PRId64 "; a run cannot go on with another: "
                   "restore the old value, or begin a new run with --run-dir or --fresh --force",
                   key, theirs, ours);
}

sc_status sc_resume_check(const sc_manifest *manifest, const sc_run_identity *identity)
{
    const sc_model *theirs = &manifest->model, *ours = &identity->model;
    const sc_config *config = identity->config;
    SC_TRY(check_value("model.layers", theirs->layers, ours->layers));
    SC_TRY(check_value("model.heads", theirs->heads, ours->heads));
    SC_TRY(check_value("model.hidden", theirs->hidden, ours->hidden));
    SC_TRY(check_value("model.context", theirs->context, ours->context));
    SC_TRY(check_value("the model's vocabulary (model.vocab, data.tokenizer)", theirs->vocab, ours->vocab));
    SC_TRY(check_value("model.task (by number)", theirs->task, ours->task));
    SC_TRY(check_value("model.intermediate", sc_model_intermediate(theirs), sc_model_intermediate(ours)));
    SC_TRY(check_value("model.labels", theirs->labels, ours->labels));
    if (theirs->tied != ours->tied)
        return SC_FAIL(
            SC_FAILED_PRECONDITION,
            "model.tied: the run's checkpoint has %s, the config %s; a run cannot go on with another: restore "
            "the old value, or begin a new run with --run-dir or --fresh --force",
            theirs->tied ? "true" : "false", ours->tied ? "true" : "false");
    SC_TRY(check_value("run.seed", (int64_t)manifest->seed, (int64_t)identity->seed));
    SC_TRY(check_value("train.batch_size", manifest->batch_size, config->train.batch_size));
    SC_TRY(check_value("train.sequence_length", manifest->sequence_length, sc_config_sequence_length(config)));
    if (manifest->optimizer != config->train.optimizer)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "train.optimizer: the run's checkpoint has the state of %s, the config asks for %s; restore the "
                       "old value, or begin a new run with --run-dir or --fresh --force",
                       sc_config_word("train.optimizer", manifest->optimizer),
                       sc_config_word("train.optimizer", config->train.optimizer));
    if (manifest->data_hash != identity->data_hash)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "data.train: the training data are not those of the run's checkpoint (hash %016" PRIx64
                       ", now %016" PRIx64 "); restore them, or begin a new run with --run-dir or --fresh --force",
                       manifest->data_hash, identity->data_hash);
    return SC_OK;
}

sc_status sc_resume_describe(const sc_run_identity *identity, const sc_plan *plan, int64_t step, sc_manifest *out)
{
    const sc_config *config = identity->config;
    *out = (sc_manifest){
        .step = step,
        .rows = (uint64_t)step * (uint64_t)config->train.batch_size,
        .model = identity->model,
        .seed = identity->seed,
        .data_hash = identity->data_hash,
        .batch_size = config->train.batch_size,
        .sequence_length = sc_config_sequence_length(config),
        .optimizer = config->train.optimizer,
        .plan = sc_plan_text(plan),
    };
    size_t length;
    FILE *text = open_memstream(&out->config, &length);
    bool ok = text && out->plan && sc_config_print(config, text) == 0;
    if (text && fclose(text) != 0)
        ok = false;
    if (ok && out->config)
        return SC_OK;
    sc_manifest_clear(out);
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a checkpoint's manifest");
}

typedef struct source {
    const sc_checkpoint_reader *reader;
    const sc_param *param;
    int moment;
} source;

static sc_status read_piece(void *context, uint64_t offset, void *data, size_t n)
{
    const source *s = context;
    char name[SC_SHARD_NAME_BYTES];
    sc_shard_tensor_name(s->param->name, s->moment, name);
    return sc_checkpoint_reader_read(s->reader, name, &s->param->shape, offset, data, n);
}

sc_status sc_resume_load(sc_cluster *cluster, const char *path, const sc_manifest *manifest)
{
    sc_checkpoint_reader *reader = NULL;
    SC_TRY(sc_checkpoint_reader_open(path, manifest, &reader));
    sc_status status = SC_OK;
    int n_moments = manifest->optimizer == SC_ADAMW ? 2 : 1;
    for (int i = 0; status == SC_OK && i < sc_model_n_params(&manifest->model); i++) {
        sc_param param = sc_model_param(&manifest->model, i);
        for (int moment = 0; status == SC_OK && moment <= n_moments; moment++) {
            source s = {reader, &param, moment};
            status = moment == 0 ? sc_cluster_write_parameter(cluster, i, read_piece, &s)
                                 : sc_cluster_write_moment(cluster, i, moment, read_piece, &s);
        }
    }
    sc_checkpoint_reader_close(&reader);
    return status;
}
