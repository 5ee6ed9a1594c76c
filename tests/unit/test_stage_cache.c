/* Stages with a cache: a sequence that goes on token by token has the logits of the whole, on any partition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/stage_chain.h"

enum { B = 2, CONTEXT = 12, C = 16, V = 37, ROWS = 2 * B, PROMPT = 5 };

static const sc_ops *const backends[] = {&sc_ops_reference, &sc_ops_cpu};
static const sc_model model = {.family = SC_GPT2,
                               .layers = 3,
                               .heads = 2,
                               .hidden = C,
                               .context = CONTEXT,
                               .vocab = V,
                               .dropout = 0.1f,
                               .attention_dropout = 0.1f,
                               .classifier_dropout = 0.1f,
                               .norm_epsilon = 1e-5f,
                               .tied = true};

/* The two ways differ in the order of sums over at most 12 keys, in three layers; logits are of the order of 1. */
static const float tolerance = 1e-5f;

static sc_stage_options options_for(const sc_ops *ops, sc_stream *stream, sc_slice slice)
{
    return (sc_stage_options){.ops = ops,
                              .stream = stream,
                              .model = model,
                              .slice = slice,
                              .B = B,
                              .T = CONTEXT,
                              .max_alive = 1,
                              .cached_rows = ROWS};
}

/* --- a pipeline of forward-only stages ------------------------------------------------------------------------------ */

typedef struct pipeline {
    const sc_ops *ops;
    sc_stream *stream;
    int S;
    sc_stage *stages[3];
} pipeline;

/* A fresh model's attention is all but uniform: larger query, key and value matrices make it choose. */
static void sharpen_attention(sc_stage *stage, int layer)
{
    float weights[C * 3 * C];
    char name[SC_NAME_BYTES];
    snprintf(name, sizeof name, "transformer.h.%d.attn.c_attn.weight", layer);
    if (sc_stage_read_state(stage, name, SC_STATE_PARAMETER, 0, sizeof weights, weights) != SC_OK)
        return; /* another stage's */
    for (int i = 0; i < C * 3 * C; i++)
        weights[i] *= 20;
    CHECK(sc_stage_write_state(stage, name, SC_STATE_PARAMETER, 0, sizeof weights, weights));
}

static void pipeline_new(pipeline *self, const sc_ops *ops, int S)
{
    static const int sizes[][3] = {{5}, {2, 3}, {1, 2, 2}};
    *self = (pipeline){.ops = ops, .S = S};
    CHECK(ops->stream_new(0, 1, &self->stream));
    for (int s = 0, first = 0; s < S; first += sizes[S - 1][s++]) {
        sc_stage_options o = options_for(ops, self->stream, (sc_slice){first, sizes[S - 1][s]});
        CHECK(sc_stage_new(&o, &self->stages[s]));
        CHECK(sc_stage_init(self->stages[s], 3));
        for (int layer = 0; layer < model.layers; layer++)
            sharpen_attention(self->stages[s], layer);
    }
}

static void pipeline_destroy(pipeline *self)
{
    for (int s = 0; s < self->S; s++)
        sc_stage_destroy(&self->stages[s]);
    self->ops->stream_destroy(&self->stream);
}

static const sc_stage_step uncached = {.train = false};

static sc_stage_step cached_at(int position)
{
    return (sc_stage_step){.cache = true, .position = position};
}

/* The next tokens that sequences first_row, first_row + 1 of all have at positions from .. from + T - 1. */
static void fill_tokens(int32_t *tokens, int first_row, int from, int T)
{
    for (int b = 0; b < B; b++)
        for (int t = 0; t < T; t++)
            tokens[b * T + t] = ((from + t) * (from + t) + 11 * (first_row + b) + 3) % V;
}

/* One micro-batch through all stages; logits (B,V) of the last position. */
static void run(pipeline *self, int first_row, const int32_t *tokens, int T, const sc_stage_step *step, float *logits)
{
    float row[B * CONTEXT * C];
    for (int s = 0; s < self->S; s++) {
        sc_stage *stage = self->stages[s];
        if (s == 0)
            CHECK(sc_stage_put_tokens(stage, 0, tokens, B, T));
        else
            CHECK(sc_stage_put_activation(stage, 0, row, B, T));
        CHECK(sc_stage_forward(stage, 0, (uint32_t)first_row, step));
        if (s + 1 < self->S)
            CHECK(sc_stage_take_activation(stage, 0, row));
        else
            CHECK(sc_stage_take_logits(stage, 0, logits));
        sc_stage_finish(stage, 0);
    }
}

static void run_part(pipeline *self, int first_row, int from, int T, bool cache, float *logits)
{
    int32_t tokens[B * CONTEXT];
    fill_tokens(tokens, first_row, from, T);
    sc_stage_step step = cache ? cached_at(from) : uncached;
    run(self, first_row, tokens, T, &step, logits);
}

static void assert_close(const float *got, const float *expected)
{
    for (int i = 0; i < B * V; i++)
        if (!(fabsf(got[i] - expected[i]) <= tolerance))
            fail_msg("logit %d is %.9g, expected %.9g", i, (double)got[i], (double)expected[i]);
}

/* --- tests ---------------------------------------------------------------------------------------------------------- */

/* Two micro-batches in turn, each with rows of its own. */
static void going_on_token_by_token_gives_the_logits_of_the_whole(void **state)
{
    (void)state;
    float got[B * V], whole[B * V];
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++)
        for (int S = 1; S <= 3; S += 2) {
            pipeline p;
            pipeline_new(&p, backends[k], S);
            for (int T = PROMPT; T <= CONTEXT; T++)
                for (int first_row = 0; first_row < ROWS; first_row += B) {
                    if (T == PROMPT)
                        run_part(&p, first_row, 0, T, true, got);
                    else
                        run_part(&p, first_row, T - 1, 1, true, got);
                    run_part(&p, first_row, 0, T, false, whole); /* touches no cache */
                    assert_close(got, whole);
                    assert_true(fabsf(got[0] - got[1]) > 100 * tolerance); /* there is something to tell apart */
                }
            pipeline_destroy(&p);
        }
}

static void every_partition_gives_the_same_bits(void **state)
{
    (void)state;
    float logits[3][CONTEXT][B * V] = {0};
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++) {
        for (int S = 1; S <= 3; S++) {
            pipeline p;
            pipeline_new(&p, backends[k], S);
            for (int T = 1; T <= CONTEXT; T++) /* from a prompt of one token on */
                run_part(&p, 0, T - 1, 1, true, logits[S - 1][T - 1]);
            pipeline_destroy(&p);
        }
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
        assert_memory_equal(logits[0], logits[2], sizeof logits[0]);
    }
}

static void a_row_can_be_cut_and_go_on_differently(void **state)
{
    (void)state;
    float got[B * V], whole[B * V];
    int32_t tokens[B * CONTEXT], next[B] = {V - 1, V - 2};
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++) {
        pipeline p;
        pipeline_new(&p, backends[k], 3);
        run_part(&p, 0, 0, PROMPT + 3, true, got);
        sc_stage_step step = cached_at(PROMPT);
        run(&p, 0, next, 1, &step, got);
        fill_tokens(tokens, 0, 0, PROMPT + 1);
        for (int b = 0; b < B; b++)
            tokens[b * (PROMPT + 1) + PROMPT] = next[b];
        run(&p, 0, tokens, PROMPT + 1, &uncached, whole);
        assert_close(got, whole);
        /* What lay behind is gone. */
        step.position = PROMPT + 2;
        CHECK(sc_stage_put_tokens(p.stages[0], 0, next, B, 1));
        assert_int_equal(sc_stage_forward(p.stages[0], 0, 0, &step), SC_FAILED_PRECONDITION);
        assert_non_null(strstr(sc_status_message(), "position 7; row 0 of the cache has 6 tokens"));
        pipeline_destroy(&p);
    }
}

static sc_status try_forward(sc_stage *stage, int first_row, int T, sc_stage_step step)
{
    int32_t tokens[B * CONTEXT];
    fill_tokens(tokens, 0, 0, T);
    CHECK(sc_stage_put_tokens(stage, 0, tokens, B, T));
    sc_status status = sc_stage_forward(stage, 0, (uint32_t)first_row, &step);
    sc_stage_finish(stage, 0);
    return status;
}

static void what_the_cache_cannot_do_is_refused(void **state)
{
    (void)state;
    pipeline p;
    pipeline_new(&p, &sc_ops_reference, 3);
    sc_stage *first = p.stages[0];
    assert_int_equal(try_forward(first, 0, 1, cached_at(1)), SC_FAILED_PRECONDITION); /* nothing is there */
    assert_int_equal(try_forward(first, ROWS - 1, PROMPT, cached_at(0)), SC_OUT_OF_RANGE);
    assert_int_equal(try_forward(first, -1, PROMPT, cached_at(0)), SC_OUT_OF_RANGE);
    CHECK(try_forward(first, 0, PROMPT, cached_at(0)));
    assert_int_equal(try_forward(first, 0, 1, cached_at(PROMPT + 1)), SC_FAILED_PRECONDITION);
    assert_int_equal(try_forward(first, 1, 1, cached_at(PROMPT)), SC_FAILED_PRECONDITION); /* row 2 is empty */
    assert_int_equal(try_forward(first, 0, 2, cached_at(PROMPT)), SC_INVALID);
    assert_int_equal(try_forward(first, 0, 1, cached_at(-1)), SC_OUT_OF_RANGE);
    CHECK(try_forward(first, 0, CONTEXT, cached_at(0)));
    assert_int_equal(try_forward(first, 0, 1, cached_at(CONTEXT)), SC_OUT_OF_RANGE);
    assert_int_equal(try_forward(first, 0, 1, cached_at(INT32_MAX)), SC_OUT_OF_RANGE);
    CHECK(try_forward(first, 0, 1, cached_at(CONTEXT - 1))); /* none of these has emptied it */
    pipeline_destroy(&p);
}

static void the_cache_is_forgotten_with_what_it_came_from(void **state)
{
    (void)state;
    pipeline p;
    pipeline_new(&p, &sc_ops_reference, 1);
    sc_stage *stage = p.stages[0];
    CHECK(try_forward(stage, 0, PROMPT, cached_at(0)));
    CHECK(sc_stage_reset(stage));
    assert_int_equal(try_forward(stage, 0, 1, cached_at(PROMPT)), SC_FAILED_PRECONDITION);
    CHECK(try_forward(stage, 0, PROMPT, cached_at(0)));
    sharpen_attention(stage, 1);
    assert_int_equal(try_forward(stage, 0, 1, cached_at(PROMPT)), SC_FAILED_PRECONDITION);
    pipeline_destroy(&p);
}

static void only_a_stage_that_asks_for_it_has_one(void **state)
{
    (void)state;
    sc_stream *stream;
    sc_stage *stage;
    CHECK(sc_ops_reference.stream_new(0, 1, &stream));
    sc_stage_options o = options_for(&sc_ops_reference, stream, (sc_slice){0, 3});
    uint64_t with = sc_stage_plan_memory(&o).activations;
    o.cached_rows = 0;
    uint64_t without = sc_stage_plan_memory(&o).activations;
    assert_int_equal(with - without, 2 * 2 * ROWS * CONTEXT * C * sizeof(float)); /* k and v of two layers */
    CHECK(sc_stage_new(&o, &stage));
    assert_int_equal(try_forward(stage, 0, 1, cached_at(0)), SC_FAILED_PRECONDITION);
    CHECK(try_forward(stage, 0, 1, uncached));
    sc_stage_destroy(&stage);
    o.cached_rows = -1;
    assert_int_equal(sc_stage_new(&o, &stage), SC_INVALID);
    o.cached_rows = SC_MAX_CACHED_TOKENS / CONTEXT + 1;
    assert_int_equal(sc_stage_new(&o, &stage), SC_INVALID);
    o.cached_rows = 1;
    o.train = true;
    assert_int_equal(sc_stage_new(&o, &stage), SC_INVALID);
    sc_ops_reference.stream_destroy(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(going_on_token_by_token_gives_the_logits_of_the_whole),
        cmocka_unit_test(every_partition_gives_the_same_bits),
        cmocka_unit_test(a_row_can_be_cut_and_go_on_differently),
        cmocka_unit_test(what_the_cache_cannot_do_is_refused),
        cmocka_unit_test(the_cache_is_forgotten_with_what_it_came_from),
        cmocka_unit_test(only_a_stage_that_asks_for_it_has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
