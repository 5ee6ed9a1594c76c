#include "coordinator/data/batches.h"

#include "coordinator/data/windows.h"

#include <assert.h>
#include <string.h>

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Fixes the validation set's size; the rules are in the header. */
static void plan_evaluation(sc_batches *self, uint64_t eval_batches)
{
    if (self->validation.n <= (uint64_t)self->T)
        return;
    uint64_t windows = (self->validation.n - 1) / (uint64_t)self->T;
    uint64_t batches = smaller(eval_batches, windows / (uint64_t)self->batch_size);
    if (batches > 0) {
        self->eval_runs = (int)batches;
        self->eval_microbatches = self->n_microbatches;
        return;
    }
    uint64_t microbatches = windows / (uint64_t)self->B;
    self->eval_runs = 1;
    self->eval_microbatches = microbatches > 0 ? (int)microbatches : 1;
}

sc_batches sc_batches_of(const sc_config *config, const sc_corpus *corpus)
{
    sc_batches self = {
        .train = sc_corpus_train(corpus),
        .validation = sc_corpus_validation(corpus),
        .seed = (uint64_t)config->run.seed,
        .batch_size = (int)config->train.batch_size,
        .B = (int)config->train.micro_batch_size,
        .T = sc_config_sequence_length(config),
        .n_microbatches = sc_config_n_microbatches(config),
    };
    assert(self.n_microbatches * self.B == self.batch_size);
    plan_evaluation(&self, (uint64_t)config->train.eval_batches);
    return self;
}

static sc_status copy_window(const sc_tokens *stream, uint64_t start, int T, int32_t *tokens, int32_t *targets)
{
    SC_TRY(sc_tokens_read(stream, start, (size_t)T, tokens));
    memcpy(targets, tokens + 1, ((size_t)T - 1) * sizeof *targets);
    return sc_tokens_read(stream, start + (uint64_t)T, 1, targets + T - 1);
}

sc_status sc_batches_get(const sc_batches *self, uint64_t step, int microbatch, int32_t *tokens, int32_t *targets)
{
    assert(microbatch >= 0 && microbatch < self->n_microbatches);
    const uint64_t per_epoch = sc_windows_per_epoch(self->train.n, self->T);
    const uint64_t first = step * (uint64_t)self->batch_size + (uint64_t)microbatch * (uint64_t)self->B;
    for (int b = 0; b < self->B; b++) {
        uint64_t row = first + (uint64_t)b;
        uint64_t start =
            sc_windows_start(self->train.n, self->T, self->seed, (uint32_t)(row / per_epoch), row % per_epoch);
        size_t at = (size_t)b * (size_t)self->T;
        SC_TRY(copy_window(&self->train, start, self->T, tokens + at, targets + at));
    }
    return SC_OK;
}

sc_status sc_batches_get_eval(const sc_batches *self, int run, int microbatch, int32_t *tokens, int32_t *targets)
{
    assert(run >= 0 && run < self->eval_runs && microbatch >= 0 && microbatch < self->eval_microbatches);
    const uint64_t per_run = (uint64_t)self->eval_microbatches * (uint64_t)self->B;
    const uint64_t n_rows = (uint64_t)self->eval_runs * per_run;
    const uint64_t first = (uint64_t)run * per_run + (uint64_t)microbatch * (uint64_t)self->B;
    for (int b = 0; b < self->B; b++) {
        uint64_t start = sc_windows_spread(self->validation.n, self->T, n_rows, first + (uint64_t)b);
        size_t at = (size_t)b * (size_t)self->T;
        SC_TRY(copy_window(&self->validation, start, self->T, tokens + at, targets + at));
    }
    return SC_OK;
}
