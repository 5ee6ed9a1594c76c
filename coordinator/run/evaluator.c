#include "coordinator/run/evaluator.h"

#include "coordinator/data/corpus.h"
#include "coordinator/data/tokenizer_items.h"
#include "coordinator/run/eval_windows.h"
#include "coordinator/run/local_cluster.h"
#include "coordinator/run/weights.h"
#include "coordinator/schedule/partition.h"
#include "coordinator/schedule/schedule.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

/* A round is one forward-only plan: some micro-batches, enough to keep all stages busy. The last may have fewer. */
enum { PLAN_ROUND, PLAN_LAST, N_PLANS };

typedef struct evaluator {
    const sc_evaluator_options *options;
    sc_clock clock;
    char dir[PATH_MAX];
    sc_model model;
    sc_tokenizer *tokenizer;
    sc_corpus *corpus;
    sc_eval_windows windows;
    int M; /* micro-batches in a round */
    uint64_t n_rounds, n_microbatches;
    sc_plan *plans[N_PLANS]; /* the second NULL if all rounds are alike */
    sc_slice *slices;
    int32_t *tokens, *targets;
    uint64_t n_targets[2]; /* of a round, by its number's parity: two are under way */
    sc_assignment assignment;
    sc_local_cluster local;
    double sum;
    uint64_t done; /* targets in `sum` */
} evaluator;

/* --- preparation --------------------------------------------------------------------------------------------------- */

static sc_status read_data(evaluator *e)
{
    SC_TRY(sc_corpus_load_file(e->options->data, e->tokenizer, &e->corpus));
    e->windows.tokens = sc_corpus_train(e->corpus);
    if (e->windows.tokens.n < 2)
        return SC_FAIL(SC_INVALID, "%s: has one token; to predict one, at least 2 are needed", e->options->data);
    return SC_OK;
}

static sc_status choose_sizes(evaluator *e)
{
    enum {
        TOKENS = 1024,
        ROUND = 4 /* micro-batches of a round for each stage: fill and drain are then a small part */
    };
    const sc_evaluator_options *o = e->options;
    if (o->T > e->model.context)
        return SC_FAIL(SC_INVALID, "a context of %d tokens, but the model in %s has %d; take at most that", o->T,
                       e->dir, e->model.context);
    e->windows.T = o->T > 0 ? o->T : e->model.context;
    e->windows.B = o->B > 0 ? o->B : e->windows.T < TOKENS ? TOKENS / e->windows.T : 1;
    e->n_microbatches = sc_eval_windows_n_microbatches(&e->windows);
    uint64_t M = (uint64_t)o->workers * ROUND;
    e->M = (int)(M < e->n_microbatches ? M : e->n_microbatches);
    e->n_rounds = (e->n_microbatches + (uint64_t)e->M - 1) / (uint64_t)e->M;
    return SC_OK;
}

static int n_microbatches_of(const evaluator *e, uint64_t round)
{
    uint64_t rest = e->n_microbatches - round * (uint64_t)e->M;
    return rest < (uint64_t)e->M ? (int)rest : e->M;
}

static sc_status prepare(evaluator *e)
{
    int64_t step;
    SC_TRY(sc_weights_find(e->options->dir, -1, e->dir, &step));
    SC_TRY(sc_weights_describe(e->dir, &e->model, &e->tokenizer));
    SC_TRY(sc_weights_expect_generative(e->dir, &e->model));
    if (sc_tokenizer_is_items(e->tokenizer))
        return SC_FAIL(
            SC_INVALID,
            "%s holds a model of items, which has no loss on a text; what its training held out is ranked at "
            "its end, in test.json of the run",
            e->dir);
    SC_TRY(read_data(e));
    SC_TRY(choose_sizes(e));
    int S = e->options->workers, B = e->windows.B, T = e->windows.T, last = n_microbatches_of(e, e->n_rounds - 1);
    size_t ids = (size_t)B * (size_t)T;
    e->slices = calloc((size_t)S, sizeof *e->slices);
    e->tokens = calloc(ids, sizeof *e->tokens);
    e->targets = calloc(ids, sizeof *e->targets);
    if (!e->slices || !e->tokens || !e->targets)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a micro-batch of %zu tokens", ids);
    SC_TRY(sc_partition_by_cost(&e->model, S, B, T, e->slices));
    bool tied = sc_model_tied_param(&e->model) >= 0;
    SC_TRY(sc_schedule_make(SC_SCHEDULE_1F1B, S, 1, e->M, SC_PLAN_FORWARD, tied, &e->plans[PLAN_ROUND]));
    if (last != e->M)
        SC_TRY(sc_schedule_make(SC_SCHEDULE_1F1B, S, 1, last, SC_PLAN_FORWARD, tied, &e->plans[PLAN_LAST]));
    return SC_OK;
}

static sc_status start(evaluator *e)
{
    int S = e->options->workers;
    SC_TRY(sc_local_cluster_open(&e->local, &e->clock, S, e->options->threads, -1));
    e->assignment = (sc_assignment){
        .model = e->model,
        .plans = (const sc_plan *const *)e->plans,
        .n_plans = e->plans[PLAN_LAST] ? 2 : 1,
        .slices = e->slices,
        .n_slices = S,
        .micro_batch_size = e->windows.B,
        .sequence_length = e->windows.T,
    };
    SC_TRY(sc_cluster_assign(e->local.cluster, &e->assignment));
    return sc_weights_load(e->local.cluster, &e->model, e->dir);
}

/* --- rounds --------------------------------------------------------------------------------------------------------- */

static sc_status start_round(evaluator *e, uint64_t round)
{
    int M = n_microbatches_of(e, round);
    uint64_t *n_targets = &e->n_targets[round % 2], counted;
    *n_targets = 0;
    for (int m = 0; m < M; m++) {
        uint64_t microbatch = round * (uint64_t)e->M + (uint64_t)m;
        int rows = sc_eval_windows_rows(&e->windows, microbatch);
        SC_TRY(sc_eval_windows_get(&e->windows, microbatch, e->tokens, e->targets, &counted));
        *n_targets += counted;
        SC_TRY(sc_cluster_send_tokens(e->local.cluster, round + 1, m, e->tokens, rows, e->windows.T));
        SC_TRY(sc_cluster_send_targets(e->local.cluster, round + 1, m, e->targets, rows, e->windows.T));
    }
    return sc_cluster_run(e->local.cluster, round + 1, M == e->M ? PLAN_ROUND : PLAN_LAST, 0, *n_targets, false);
}

static sc_status finish_round(evaluator *e, uint64_t round)
{
    const sc_step_result *result;
    SC_TRY(sc_cluster_wait(e->local.cluster, round + 1, &result));
    if (result->n_losses != n_microbatches_of(e, round))
        return SC_FAIL(SC_INVALID, "the last stage sent %d losses for %d micro-batches", result->n_losses,
                       n_microbatches_of(e, round));
    for (int m = 0; m < result->n_losses; m++)
        e->sum += result->loss_sums[m];
    e->done += e->n_targets[round % 2];
    if (!isfinite(e->sum))
        return SC_FAIL(SC_DATA_LOSS, "%s: the loss is not a finite number, within the first %" PRIu64 " tokens of %s",
                       e->dir, e->done, e->options->data);
    if (e->options->on_progress)
        e->options->on_progress(e->options->context, e->done, e->windows.tokens.n - 1, e->sum / (double)e->done);
    if (sc_cluster_stop_requested(e->local.cluster))
        return SC_FAIL(SC_CANCELLED, "stopped after %" PRIu64 " of %" PRIu64 " tokens", e->done,
                       e->windows.tokens.n - 1);
    return SC_OK;
}

static sc_status evaluate(evaluator *e, sc_evaluation *out)
{
    SC_TRY(prepare(e));
    SC_TRY(start(e));
    uint64_t begin = sc_clock_ns(&e->clock);
    SC_TRY(start_round(e, 0));
    for (uint64_t round = 0; round < e->n_rounds; round++) {
        if (round + 1 < e->n_rounds)
            SC_TRY(start_round(e, round + 1));
        SC_TRY(finish_round(e, round));
    }
    *out = (sc_evaluation){
        .loss = e->sum / (double)e->done,
        .n_targets = e->done,
        .n_windows = sc_eval_windows_n(&e->windows),
        .T = e->windows.T,
        .seconds = sc_clock_seconds_since(&e->clock, begin),
    };
    return SC_OK;
}

sc_status sc_evaluator_run(const sc_evaluator_options *options, sc_evaluation *out)
{
    evaluator e = {.options = options, .clock = sc_clock_system()};
    sc_status status = evaluate(&e, out);
    sc_local_cluster_close(&e.local, "the evaluation is over");
    for (int i = 0; i < N_PLANS; i++)
        sc_plan_destroy(&e.plans[i]);
    sc_tokenizer_destroy(&e.tokenizer);
    sc_corpus_destroy(&e.corpus);
    free(e.slices);
    free(e.tokens);
    free(e.targets);
    return status;
}
