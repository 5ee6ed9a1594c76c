/* Hidden states of a real BERT beside transformers', over 1 and 3 stages. Skipped unless the environment names the model's directory,
 * SC_MINILM, and what tests/golden/bert/check_minilm.py wrote, SC_MINILM_HIDDEN; that script runs this. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/hf_weights.h"
#include "proto/base/safetensors.h"
#include "tests/backend/golden_tensor.h"
#include "tests/stage_chain.h"

#include <stdio.h>

enum { B = 8 };

/* The mark that the project has set itself; hidden states are of size 1. */
static const double tolerance = 1e-4;

static void write_params(sc_stage *stage, const sc_model *model, const sc_hf_weights *weights)
{
    for (int ordinal = 0; ordinal < sc_model_n_params(model); ordinal++) {
        sc_param param = sc_model_param(model, ordinal);
        uint64_t n;
        CHECK(sc_shape_elements(&param.shape, &n));
        float *data = malloc(n * sizeof *data);
        assert_non_null(data);
        CHECK(sc_hf_weights_read(weights, ordinal, 0, data, n));
        sc_status status = sc_stage_write_state(stage, param.name, SC_STATE_PARAMETER, 0, n * sizeof *data, data);
        assert_true(status == SC_OK || status == SC_NOT_FOUND);
        free(data);
    }
}

/* The stages of all blocks but the head. */
static void open_stages(chain *self, const sc_model *model, const sc_hf_weights *weights, int S, int T)
{
    int n_blocks = sc_model_n_blocks(model) - 1, first = 0;
    *self = (chain){.ops = &sc_ops_cpu, .model = *model, .S = S};
    CHECK(sc_ops_cpu.stream_new(0, 2, &self->stream));
    for (int s = 0; s < S; s++) {
        int n = n_blocks / S + (s < n_blocks % S);
        sc_stage_options options = {.ops = &sc_ops_cpu,
                                    .stream = self->stream,
                                    .model = *model,
                                    .slice = {first, n},
                                    .B = B,
                                    .T = T,
                                    .max_alive = 1};
        CHECK(sc_stage_new(&options, &self->stages[s]));
        write_params(self->stages[s], model, weights);
        first += n;
    }
}

static void run_batch(chain *self, const int32_t *tokens, const int32_t *lengths, int n, int T, float *hidden)
{
    int32_t *segments = calloc((size_t)(n * T), sizeof *segments);
    assert_non_null(segments);
    for (int s = 0; s < self->S; s++) {
        sc_stage *stage = self->stages[s];
        CHECK(sc_stage_put_lengths(stage, 0, lengths, n, T));
        if (s == 0) {
            CHECK(sc_stage_put_tokens(stage, 0, tokens, n, T));
            CHECK(sc_stage_put_segments(stage, 0, segments, n, T));
        } else {
            CHECK(sc_stage_put_activation(stage, 0, hidden, n, T));
        }
        CHECK(sc_stage_forward(stage, 0, 0, &(sc_stage_step){.train = false}));
        CHECK(sc_stage_take_activation(stage, 0, hidden));
        sc_stage_finish(stage, 0);
    }
    free(segments);
}

static void hidden_states_are_those_of_transformers(void **state)
{
    (void)state;
    const char *dir = getenv("SC_MINILM"), *path = getenv("SC_MINILM_HIDDEN");
    if (!dir || !path) {
        print_message("SC_MINILM and SC_MINILM_HIDDEN are not set (tests/golden/bert/check_minilm.py sets them)\n");
        skip();
    }
    sc_safetensors *golden = NULL;
    sc_model model;
    sc_hf_weights *weights = NULL;
    sc_shape shape, shape_of_lengths, shape_of_hidden;
    CHECK(sc_safetensors_open(path, &golden));
    CHECK(sc_hf_config_load(dir, &model));
    CHECK(sc_hf_weights_open(dir, &model, &weights));
    int32_t *tokens = read_tensor(golden, "tokens", SC_I32, &shape, NULL),
            *lengths = read_tensor(golden, "lengths", SC_I32, &shape_of_lengths, NULL);
    float *expected = read_tensor(golden, "hidden", SC_F32, &shape_of_hidden, NULL);
    int rows = (int)shape.dims[0], longest = (int)shape.dims[1], C = model.hidden;
    assert_int_equal(shape_of_hidden.dims[2], C);
    float *hidden = malloc(B * (size_t)(longest * C) * sizeof *hidden),
          *first = malloc(sizeof *first * (size_t)(rows * longest * C));
    int32_t *ids = malloc(B * (size_t)longest * sizeof *ids);
    assert_true(hidden && ids && first);
    for (int S = 1; S <= 3; S += 2) {
        chain stages;
        double worst = 0;
        open_stages(&stages, &model, weights, S, longest);
        for (int row = 0; row < rows; row += B) {
            int n = rows - row < B ? rows - row : B, T = 0;
            for (int b = 0; b < n; b++)
                T = lengths[row + b] > T ? lengths[row + b] : T;
            for (int b = 0; b < n; b++)
                memcpy(ids + b * T, tokens + (row + b) * longest, (size_t)T * sizeof *ids);
            run_batch(&stages, ids, lengths + row, n, T, hidden);
            for (int b = 0; b < n; b++)
                for (int i = 0; i < lengths[row + b] * C; i++) {
                    size_t at = (size_t)(row + b) * (size_t)(longest * C) + (size_t)i;
                    float got = hidden[b * T * C + i];
                    worst = fmax(worst, fabs((double)got - (double)expected[at]));
                    if (S == 1)
                        first[at] = got;
                    else
                        assert_memory_equal(&first[at], &got, sizeof got);
                }
        }
        print_message("%d sentences over %d stages: the largest difference is %.2g\n", rows, S, worst);
        assert_true(worst <= tolerance);
        chain_destroy(&stages);
    }
    free(tokens), free(lengths), free(expected), free(hidden), free(first), free(ids);
    sc_hf_weights_close(&weights);
    sc_safetensors_close(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hidden_states_are_those_of_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
