#include "coordinator/run/lineage.h"

#include "proto/base/checksums.h"
#include "proto/base/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

uint64_t sc_lineage_fingerprint(const sc_run_identity *identity)
{
    const sc_model *m = &identity->model;
    const sc_config *c = identity->config;
    char text[4096];
    int n = snprintf(
        text, sizeof text,
        "%d %d %d %d %d %d %d %d %a %a %a %a|%" PRIu64 " %" PRIu64 "|%" PRId64 " %" PRId64 " %d|%d %d %" PRId64
        " %a|%d %d %a %a %" PRId64 " %" PRId64 " %" PRId64 " %a %a %a %a %a %a|%.3000s",
        (int)m->family, m->layers, m->heads, m->hidden, m->context, m->vocab, sc_model_tied_param(m) >= 0, m->frozen,
        (double)m->dropout, (double)m->attention_dropout, (double)m->classifier_dropout, (double)m->norm_epsilon,
        identity->seed, identity->data_hash, c->train.batch_size, c->train.micro_batch_size,
        sc_config_sequence_length(c), (int)m->task, m->labels, c->train.epochs, c->train.warmup_share,
        c->train.optimizer, c->train.lr_schedule, c->train.learning_rate, c->train.min_learning_rate, c->train.steps,
        c->train.warmup_steps, c->train.decay_steps, c->train.weight_decay, c->train.beta1, c->train.beta2,
        c->train.epsilon, c->train.momentum, c->train.clip_norm, c->model.init ? c->model.init : "");
    for (int i = 0; i < c->train.n_class_weights && n < (int)sizeof text; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "|%s", c->train.class_weights[i]);
    return sc_checksum64_of(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

static bool read_file(const char *path, uint64_t fingerprint, uint64_t *lineage)
{
    uint64_t theirs = 0;
    FILE *file = fopen(path, "re");
    bool ours = file && fscanf(file, "%16" SCNx64 " %16" SCNx64, lineage, &theirs) == 2 && *lineage != 0 &&
                theirs == fingerprint;
    if (file)
        fclose(file);
    return ours;
}

sc_status sc_lineage_new(uint64_t *lineage)
{
    do
        if (getrandom(lineage, sizeof *lineage, 0) != (ssize_t)sizeof *lineage)
            return SC_FAIL(SC_INTERNAL, "no random number for the run's lineage: %s", strerror(errno));
    while (*lineage == 0);
    return SC_OK;
}

sc_status sc_lineage_load(const char *path, uint64_t fingerprint, uint64_t *lineage)
{
    if (read_file(path, fingerprint, lineage))
        return SC_OK;
    SC_TRY(sc_lineage_new(lineage));
    char text[64];
    int n = snprintf(text, sizeof text, "%016" PRIx64 " %016" PRIx64 "\n", *lineage, fingerprint);
    return sc_files_replace(path, text, (size_t)n);
}
