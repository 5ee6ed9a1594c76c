#include "coordinator/run/generator.h"

#include "coordinator/run/local_cluster.h"
#include "coordinator/run/weights.h"
#include "coordinator/schedule/partition.h"
#include "coordinator/schedule/schedule.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct generator {
    const sc_generator_options *options;
    sc_clock clock;
    char dir[PATH_MAX];
    sc_model model;
    sc_tokenizer *tokenizer;
    sc_sampler *sampler;
    sc_plan *plan;
    sc_slice *slices;
    sc_assignment assignment;
    sc_local_cluster local;
    int32_t *ids; /* the prompt and what was drawn */
    size_t n_ids;
    size_t n_cached; /* of them, those that the stages have the keys and values of */
} generator;

static sc_status read_prompt(generator *g)
{
    const char *prompt = g->options->prompt ? g->options->prompt : "";
    bool empty = prompt[0] == '\0';
    sc_text text = {.name = "the prompt", .bytes = empty ? "\n" : prompt, .n_bytes = empty ? 1 : strlen(prompt)};
    int32_t *ids = NULL;
    size_t n = 0;
    sc_status status = sc_tokenizer_encode_all(g->tokenizer, &text, &ids, &n);
    if (status != SC_OK && !empty)
        return status;
    if (status == SC_OK && n == 0) {
        free(ids);
        return SC_FAIL(SC_INVALID,
                       "%s: a text of this model has nothing to begin with; give a --prompt that is not blank", g->dir);
    }
    g->ids = calloc((status == SC_OK ? n : 1) + (size_t)g->options->n_tokens, sizeof *g->ids);
    if (g->ids && status == SC_OK)
        memcpy(g->ids, ids, n * sizeof *ids);
    g->n_ids = status == SC_OK ? n : 1; /* a vocabulary without a newline: token 0 */
    free(ids);
    if (!g->ids)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d tokens", g->options->n_tokens);
    return SC_OK;
}

static sc_status prepare(generator *g)
{
    int64_t step;
    SC_TRY(sc_weights_find(g->options->dir, -1, g->dir, &step));
    SC_TRY(sc_weights_describe(g->dir, &g->model, &g->tokenizer));
    SC_TRY(sc_weights_expect_generative(g->dir, &g->model));
    SC_TRY(read_prompt(g));
    SC_TRY(sc_sampler_new(&g->options->sampler, sc_tokenizer_vocab(g->tokenizer), &g->sampler));
    int S = g->options->workers;
    g->slices = calloc((size_t)S, sizeof *g->slices);
    if (!g->slices)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d slices", S);
    SC_TRY(sc_partition_by_cost(&g->model, S, 1, g->model.context, g->slices));
    return sc_schedule_make(SC_SCHEDULE_1F1B, S, 1, 1, SC_PLAN_FORWARD, true, &g->plan);
}

static sc_status start(generator *g)
{
    SC_TRY(sc_local_cluster_open(&g->local, &g->clock, g->options->workers, g->options->threads, -1));
    g->assignment = (sc_assignment){
        .model = g->model,
        .plans = (const sc_plan *const *)&g->plan,
        .n_plans = 1,
        .slices = g->slices,
        .n_slices = g->options->workers,
        .micro_batch_size = 1,
        .sequence_length = g->model.context,
        .cache = true,
    };
    SC_TRY(sc_cluster_assign(g->local.cluster, &g->assignment));
    return sc_weights_load(g->local.cluster, &g->model, g->dir);
}

static sc_status print_token(generator *g, int32_t id)
{
    char bytes[SC_TOKEN_MAX_BYTES];
    size_t n = sc_tokenizer_decode(g->tokenizer, id, bytes);
    if (fwrite(bytes, 1, n, g->options->out) != n || fflush(g->options->out) != 0)
        return SC_FAIL(SC_UNAVAILABLE, "cannot write the text");
    return SC_OK;
}

/* Starts the step that brings the logits behind the last `context` tokens. */
static sc_status start_step(generator *g, uint64_t sequence)
{
    size_t context = (size_t)g->model.context;
    if (g->n_ids > context) {
        SC_TRY(sc_cluster_send_tokens(g->local.cluster, sequence, 0, g->ids + g->n_ids - context, 1, (int)context));
        return sc_cluster_run(g->local.cluster, sequence, 0, 0, 0, true);
    }
    size_t position = g->n_cached;
    g->n_cached = g->n_ids;
    SC_TRY(sc_cluster_send_tokens(g->local.cluster, sequence, 0, g->ids + position, 1, (int)(g->n_ids - position)));
    return sc_cluster_run_cached(g->local.cluster, sequence, 0, (int)position);
}

static sc_status draw(generator *g, uint64_t sequence, int32_t *id)
{
    const sc_step_result *result;
    SC_TRY(start_step(g, sequence));
    SC_TRY(sc_cluster_wait(g->local.cluster, sequence, &result));
    if (!result->logits || sc_buffer_bytes(result->logits) != (size_t)g->model.vocab * sizeof(float))
        return SC_FAIL(SC_INTERNAL, "the last stage sent no logits");
    return sc_sampler_draw(g->sampler, sc_buffer_data(result->logits), (uint32_t)g->n_ids, id);
}

static sc_status generate(generator *g)
{
    SC_TRY(prepare(g));
    SC_TRY(start(g));
    for (size_t i = 0; g->options->prompt && i < g->n_ids; i++)
        SC_TRY(print_token(g, g->ids[i]));
    for (int i = 0; i < g->options->n_tokens; i++) {
        int32_t id;
        SC_TRY(draw(g, (uint64_t)i + 1, &id));
        g->ids[g->n_ids++] = id;
        SC_TRY(print_token(g, id));
        if (sc_cluster_stop_requested(g->local.cluster))
            return SC_FAIL(SC_CANCELLED, "stopped after %d of %d tokens", i + 1, g->options->n_tokens);
    }
    return SC_OK;
}

sc_status sc_generator_run(const sc_generator_options *options)
{
    generator g = {.options = options, .clock = sc_clock_system()};
    sc_status status = generate(&g);
    sc_local_cluster_close(&g.local, "the text is complete");
    sc_plan_destroy(&g.plan);
    sc_sampler_destroy(&g.sampler);
    sc_tokenizer_destroy(&g.tokenizer);
    free(g.slices);
    free(g.ids);
    return status;
}
