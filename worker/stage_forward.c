/* A micro-batch's way through the stage: put, forward, take. */
#include "worker/stage_internal.h"

#include <inttypes.h>

/* Ids from outside index rows of tables: each is checked to be in [low, below). `n`: of a sequence. */
static sc_status check_ids(const sc_stage *self, int microbatch, const char *what, const int32_t *ids, int B, int T,
                           int n, int32_t low, int32_t below)
{
    SC_TRY(sc_stage_check_shape(self, microbatch, B, T));
    for (int i = 0; i < B * n; i++)
        if (ids[i] < low || ids[i] >= below)
            return SC_FAIL(SC_INVALID, "micro-batch %d, sequence %d, position %d: %s %" PRId32 " is not %s %" PRId32,
                           microbatch, i / n, i % n, what, ids[i],
                           below == self->options.model.vocab ? "in the vocabulary of" : "below", below);
    return SC_OK;
}

static sc_status check_bert(const sc_stage *self, int microbatch, const char *what, bool is_place)
{
    if (!sc_model_takes_segments(&self->options.model) || !is_place)
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d: %s for a stage that takes none", microbatch, what);
    return SC_OK;
}

sc_status sc_stage_put_tokens(sc_stage *self, int microbatch, const int32_t *tokens, int B, int T)
{
    if (!sc_stage_is_first(self))
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d: tokens for a stage without the embedding", microbatch);
    sc_stage_set *set = NULL;
    SC_TRY(check_ids(self, microbatch, "token", tokens, B, T, T, 0, self->options.model.vocab));
    SC_TRY(sc_stage_open_set(self, microbatch, B, T, &set));
    SC_TRY(sc_stage_put_bytes(self, sc_stage_input_slot(self, set, 0), tokens, (size_t)B * (size_t)T * sizeof *tokens));
    set->has_input = true;
    return SC_OK;
}

sc_status sc_stage_put_lengths(sc_stage *self, int microbatch, const int32_t *lengths, int B, int T)
{
    sc_stage_set *set = NULL;
    SC_TRY(check_bert(self, microbatch, "lengths", true));
    SC_TRY(check_ids(self, microbatch, "length", lengths, B, T, 1, 1, T + 1));
    SC_TRY(sc_stage_open_set(self, microbatch, B, T, &set));
    SC_TRY(sc_stage_put_bytes(self, sc_stage_set_memory(self, set), lengths, (size_t)B * sizeof *lengths));
    set->has_lengths = true;
    return SC_OK;
}

sc_status sc_stage_put_segments(sc_stage *self, int microbatch, const int32_t *segments, int B, int T)
{
    sc_stage_set *set = NULL;
    SC_TRY(check_bert(self, microbatch, "segments", sc_stage_is_first(self)));
    SC_TRY(check_ids(self, microbatch, "segment", segments, B, T, T, 0, self->options.model.token_types));
    SC_TRY(sc_stage_open_set(self, microbatch, B, T, &set));
    SC_TRY(sc_stage_put_bytes(self, sc_stage_saved_slot(self, set, 0, SC_SLOT_BERT_SEGMENTS), segments,
                              (size_t)B * (size_t)T * sizeof *segments));
    set->has_segments = true;
    return SC_OK;
}

sc_status sc_stage_put_activation(sc_stage *self, int microbatch, const float *activation, int B, int T)
{
    if (sc_stage_is_first(self))
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d: an activation for the first stage, which takes tokens",
                       microbatch);
    sc_stage_set *set = NULL;
    SC_TRY(sc_stage_check_shape(self, microbatch, B, T));
    SC_TRY(sc_stage_open_set(self, microbatch, B, T, &set));
    SC_TRY(sc_stage_put_bytes(self, sc_stage_input_slot(self, set, 0), activation,
                              sc_stage_elements(self, set) * sizeof(float)));
    set->has_input = true;
    return SC_OK;
}

/* Of a head for masked words: where those that count are, and what they are. */
static sc_status put_masked(sc_stage *self, const sc_stage_set *set, int head, const int32_t *targets)
{
    int N = set->B * set->T;
    int32_t *rows = self->host_ids, *of_rows = rows + N, n = 0;
    for (int32_t i = 0; i < N; i++)
        if (targets[i] >= 0) {
            rows[n] = i;
            of_rows[n++] = targets[i];
        }
    SC_TRY(sc_stage_put_bytes(self, sc_stage_saved_slot(self, set, head, SC_SLOT_WORDS_ROWS), rows,
                              (size_t)n * sizeof *rows));
    return sc_stage_put_bytes(self, sc_stage_saved_slot(self, set, head, SC_SLOT_WORDS_TARGETS), of_rows,
                              (size_t)n * sizeof *rows);
}

sc_status sc_stage_put_targets(sc_stage *self, int microbatch, const int32_t *targets, int B, int T)
{
    if (!sc_stage_is_last(self))
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d: targets for a stage without the head", microbatch);
    const sc_model *model = &self->options.model;
    int head = self->options.slice.n_blocks - 1, n = sc_model_n_targets(model, T);
    sc_slot slot = self->blocks[head].functions->targets;
    sc_stage_set *set = NULL;
    SC_TRY(check_ids(self, microbatch, "target", targets, B, T, n, INT32_MIN, sc_model_targets_below(model)));
    SC_TRY(sc_stage_open_set(self, microbatch, B, T, &set));
    if (slot == SC_SLOT_WORDS_TARGETS)
        SC_TRY(put_masked(self, set, head, targets));
    else
        SC_TRY(sc_stage_put_bytes(self, sc_stage_saved_slot(self, set, head, slot), targets,
                                  (size_t)B * (size_t)n * sizeof *targets));
    set->has_targets = true;
    set->n_targets = 0;
    for (int i = 0; i < B * n; i++)
        set->n_targets += targets[i] >= 0;
    return SC_OK;
}

sc_status sc_stage_put_next(sc_stage *self, int microbatch, const int32_t *next, int B, int T)
{
    sc_stage_set *set = NULL;
    int head = self->options.slice.n_blocks - 1;
    SC_TRY(check_bert(self, microbatch, "next sentences",
                      sc_stage_is_last(self) && sc_model_predicts_next(&self->options.model)));
    SC_TRY(check_ids(self, microbatch, "next sentence", next, B, T, 1, 0, 2));
    SC_TRY(sc_stage_open_set(self, microbatch, B, T, &set));
    SC_TRY(sc_stage_put_bytes(self, sc_stage_saved_slot(self, set, head, SC_SLOT_NEXT_TARGETS), next,
                              (size_t)B * sizeof *next));
    set->has_next = true;
    return SC_OK;
}

/* What must have been put before a forward. */
static sc_status check_inputs(const sc_stage *self, const sc_stage_set *set, const sc_stage_step *step)
{
    const sc_model *model = &self->options.model;
    bool bert = sc_model_takes_segments(model), first = sc_stage_is_first(self), last = sc_stage_is_last(self);
    const char *missing = NULL;
    if (!set->has_input)
        missing = "input";
    else if (bert && !set->has_lengths)
        missing = "lengths";
    else if (bert && first && !set->has_segments)
        missing = "segments";
    else if (step->train && last && !set->has_targets)
        missing = "targets";
    else if (set->has_targets && sc_model_predicts_next(model) && !set->has_next)
        missing = "next sentences";
    if (missing)
        return SC_FAIL(SC_FAILED_PRECONDITION, "forward: micro-batch %d has no %s yet", set->microbatch, missing);
    return SC_OK;
}

/* Whether the rows that a micro-batch has in the cache are there, and are what it goes on from. */
static sc_status check_cache(const sc_stage *self, const sc_stage_set *set, uint32_t first_row,
                             const sc_stage_step *step)
{
    int m = set->microbatch, rows = self->options.cached_rows, context = self->options.model.context;
    if (rows == 0)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "forward: micro-batch %d is to use the cache, and this stage was made without one", m);
    if (first_row > (uint32_t)rows || set->B > rows - (int)first_row)
        return SC_FAIL(SC_OUT_OF_RANGE, "forward: micro-batch %d has rows %" PRIu32 " to %" PRIu32 " of a cache of %d",
                       m, first_row, first_row + (uint32_t)set->B - 1, rows);
    if (step->position < 0 || step->position > context - set->T)
        return SC_FAIL(SC_OUT_OF_RANGE,
                       "forward: micro-batch %d has %d tokens from position %d on; the model's context ends at %d", m,
                       set->T, step->position, context);
    if (step->position > 0 && set->T > 1)
        return SC_FAIL(SC_INVALID, "forward: micro-batch %d has %d tokens; behind cached ones they come one by one", m,
                       set->T);
    for (int b = 0; b < set->B; b++) {
        int row = (int)first_row + b;
        if (step->position > self->cached[row])
            return SC_FAIL(SC_FAILED_PRECONDITION,
                           "forward: micro-batch %d goes on at position %d; row %d of the cache has %d tokens", m,
                           step->position, row, self->cached[row]);
    }
    return SC_OK;
}

/* The cache's rows of a micro-batch are this long. */
static void set_cached(sc_stage *self, const sc_stage_set *set, int tokens)
{
    for (int b = 0; set->step.cache && b < set->B; b++)
        self->cached[(int)set->first_row + b] = tokens;
}

sc_status sc_stage_forward(sc_stage *self, int microbatch, uint32_t first_row, const sc_stage_step *step)
{
    sc_stage_set *set = NULL;
    SC_TRY(sc_stage_get_set(self, microbatch, SC_SET_FILLING, "forward", &set));
    if (step->train && !self->options.train)
        return SC_FAIL(SC_FAILED_PRECONDITION, "forward: micro-batch %d is to train a stage made for forward only",
                       microbatch);
    SC_TRY(check_inputs(self, set, step));
    if (step->cache)
        SC_TRY(check_cache(self, set, first_row, step));

    set->step = *step;
    set->first_row = first_row;
    set_cached(self, set, step->position); /* what lies behind is about to be replaced, in some blocks if one fails */
    self->output_of = -1;
    int n_blocks = self->options.slice.n_blocks;
    for (int i = 0; i < n_blocks; i++) {
        sc_block_call call = sc_stage_block_call(self, set, i, NULL);
        float *out = i + 1 < n_blocks ? sc_stage_input_slot(self, set, i + 1) : self->areas.output;
        SC_TRY(self->blocks[i].functions->forward(&call, out));
    }
    set_cached(self, set, step->position + set->T);
    set->state = SC_SET_FORWARDED;
    self->output_of = microbatch;
    return SC_OK;
}

sc_status sc_stage_take_activation(sc_stage *self, int microbatch, float *out)
{
    sc_stage_set *set = NULL;
    SC_TRY(sc_stage_get_set(self, microbatch, SC_SET_FORWARDED, "taking an activation", &set));
    if (sc_stage_is_last(self) || self->output_of != microbatch)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "taking an activation: micro-batch %d is not the last that went forward "
                       "in a stage before the last",
                       microbatch);
    const sc_stage_options *o = &self->options;
    SC_TRY(o->ops->copy_out(o->stream, out, self->areas.output, sc_stage_elements(self, set) * sizeof(float)));
    return o->ops->stream_sync(o->stream);
}

/* What the head left of a micro-batch that went forward with (`targets`) or without targets. */
static sc_status get_head(sc_stage *self, int microbatch, bool targets, const char *what, sc_stage_set **out)
{
    SC_TRY(sc_stage_get_set(self, microbatch, SC_SET_FORWARDED, what, out));
    if (!sc_stage_is_last(self) || (*out)->has_targets != targets)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: micro-batch %d did not pass the head %s targets", what, microbatch,
                       targets ? "with" : "without");
    return SC_OK;
}

sc_status sc_stage_take_loss(sc_stage *self, int microbatch, double *sums, uint64_t *n_targets)
{
    sc_stage_set *set = NULL;
    SC_TRY(get_head(self, microbatch, true, "taking a loss", &set));
    const sc_stage_options *o = &self->options;
    int head = o->slice.n_blocks - 1, n_losses = sc_model_n_losses(&o->model);
    sc_slot slot = self->blocks[head].functions->loss;
    double *device_sums = self->areas.sums + self->n_params;
    size_t n = slot == SC_SLOT_WORDS_LOSS ? (size_t)set->n_targets
                                          : (size_t)set->B * (size_t)sc_model_n_targets(&o->model, set->T);
    SC_TRY(o->ops->sum(o->stream, device_sums, sc_stage_saved_slot(self, set, head, slot), n));
    if (n_losses > 1)
        SC_TRY(o->ops->sum(o->stream, device_sums + 1, sc_stage_saved_slot(self, set, head, SC_SLOT_NEXT_LOSS),
                           (size_t)set->B));
    SC_TRY(o->ops->copy_out(o->stream, sums, device_sums, (size_t)n_losses * sizeof *sums));
    *n_targets = set->n_targets;
    return o->ops->stream_sync(o->stream);
}

uint64_t sc_stage_n_logits(const sc_stage *self, int microbatch)
{
    const sc_model *model = &self->options.model;
    const sc_stage_set *set = sc_stage_find_set(self, microbatch);
    if (!set || set->state != SC_SET_FORWARDED || !sc_stage_is_last(self))
        return 0;
    if (set->has_targets)
        return sc_model_predicts_words(model) && !set->step.train ? set->n_targets * (uint64_t)model->vocab : 0;
    return (uint64_t)set->B * sc_model_n_logits(model, set->T);
}

sc_status sc_stage_take_correct(sc_stage *self, int microbatch, uint64_t *n_correct)
{
    sc_stage_set *set = NULL;
    SC_TRY(get_head(self, microbatch, true, "counting what is right", &set));
    if (set->step.train)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "counting what is right: micro-batch %d trains, and its logits have become gradients",
                       microbatch);
    const sc_stage_options *o = &self->options;
    const sc_model *model = &o->model;
    int head = o->slice.n_blocks - 1, n_losses = sc_model_n_losses(model);
    const sc_block_functions *functions = self->blocks[head].functions;
    const float *logits = sc_stage_saved_slot(self, set, head, functions->logits);
    const int32_t *targets = sc_stage_saved_slot(self, set, head, functions->targets);
    double *device_sums = self->areas.sums + self->n_params, sums[SC_MAX_LOSSES];
    int n = functions->loss == SC_SLOT_WORDS_LOSS ? (int)set->n_targets : set->B * sc_model_n_targets(model, set->T);
    if (model->multi_label)
        SC_TRY(o->ops->count_correct_binary(o->stream, device_sums, logits, targets, (size_t)n));
    else
        SC_TRY(o->ops->count_correct(o->stream, device_sums, logits, targets, n, sc_model_targets_below(model)));
    if (n_losses > 1)
        SC_TRY(o->ops->count_correct(o->stream, device_sums + 1,
                                     sc_stage_saved_slot(self, set, head, SC_SLOT_NEXT_LOGITS),
                                     sc_stage_saved_slot(self, set, head, SC_SLOT_NEXT_TARGETS), set->B, 2));
    SC_TRY(o->ops->copy_out(o->stream, sums, device_sums, (size_t)n_losses * sizeof *sums));
    SC_TRY(o->ops->stream_sync(o->stream));
    for (int i = 0; i < n_losses; i++)
        n_correct[i] = (uint64_t)sums[i];
    return SC_OK;
}

sc_status sc_stage_take_logits(sc_stage *self, int microbatch, float *out)
{
    sc_stage_set *set = NULL;
    const sc_stage_options *o = &self->options;
    SC_TRY(sc_stage_get_set(self, microbatch, SC_SET_FORWARDED, "taking logits", &set));
    const uint64_t n = sc_stage_n_logits(self, microbatch);
    if (n == 0)
        return SC_FAIL(SC_FAILED_PRECONDITION, "taking logits: micro-batch %d did not pass the head without targets",
                       microbatch);
    int head = o->slice.n_blocks - 1;
    const float *logits = sc_stage_saved_slot(self, set, head, self->blocks[head].functions->logits);
    SC_TRY(o->ops->copy_out(o->stream, out, logits, (size_t)n * sizeof(float)));
    return o->ops->stream_sync(o->stream);
}
