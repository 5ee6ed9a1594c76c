/* A Hugging Face directory against transformers' own logits (tests/golden/hf-gpt2), on each backend, over one stage and
 * three: the weights come through the reader that `generate` and `model.init` use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/exporter.h"
#include "coordinator/run/hf_weights.h"
#include "proto/base/safetensors.h"
#include "tests/stage_chain.h"
#include "tests/unit/scratch.h"

#define DIRECTORY SC_SOURCE_DIR "/tests/golden/hf-gpt2"

/* The project's own mark. transformers' float32 is within 2.7e-7 of its float64 (README.md), and ours sums in another order:
 * ten times both errors is still below. */
static const double tolerance = 1e-5;

typedef struct golden {
    sc_hf_config config;
    sc_hf_weights *weights;
    int T;
    int32_t *tokens; /* (T) */
    float *logits;   /* (T,V) */
} golden;

static void read_tensor(const sc_safetensors *file, const char *name, sc_dtype dtype, void **out)
{
    const sc_safetensors_entry *entry = sc_safetensors_find(file, name);
    assert_non_null(entry);
    assert_int_equal(entry->dtype, dtype);
    *out = malloc(entry->bytes);
    assert_non_null(*out);
    CHECK(sc_safetensors_read(file, entry, 0, *out, entry->bytes));
}

static int open_golden(void **state)
{
    golden *self = calloc(1, sizeof *self);
    assert_non_null(self);
    CHECK(sc_hf_config_load(DIRECTORY, &self->config));
    CHECK(sc_hf_weights_open(DIRECTORY, &self->config, &self->weights));
    sc_safetensors *file;
    CHECK(sc_safetensors_open(DIRECTORY "/logits.safetensors", &file));
    self->T = (int)sc_safetensors_find(file, "tokens")->shape.dims[1];
    int64_t *wide;
    read_tensor(file, "tokens", SC_I64, (void **)&wide);
    read_tensor(file, "logits", SC_F32, (void **)&self->logits);
    self->tokens = malloc((size_t)self->T * sizeof *self->tokens);
    assert_non_null(self->tokens);
    for (int t = 0; t < self->T; t++)
        self->tokens[t] = (int32_t)wide[t];
    free(wide);
    sc_safetensors_close(&file);
    *state = self;
    return 0;
}

static int close_golden(void **state)
{
    golden *self = *state;
    sc_hf_weights_close(&self->weights);
    free(self->tokens);
    free(self->logits);
    free(self);
    return 0;
}

static void load(const golden *self, chain *pipeline)
{
    for (int ordinal = 0; ordinal < sc_model_n_params(&self->config.model); ordinal++) {
        sc_param param = sc_model_param(&self->config.model, ordinal);
        uint64_t n;
        CHECK(sc_shape_elements(&param.shape, &n));
        float *data = malloc(n * sizeof *data);
        assert_non_null(data);
        CHECK(sc_hf_weights_read(self->weights, ordinal, 0, data, n));
        int written = 0;
        for (int s = 0; s < pipeline->S; s++)
            written += sc_stage_write_state(pipeline->stages[s], param.name, SC_STATE_PARAMETER, 0, n * sizeof *data,
                                            data) == SC_OK;
        assert_true(written > 0);
        free(data);
    }
}

/* The logits behind the first n tokens: all stages forward, one after the other. */
static void run(const golden *self, chain *pipeline, int n, float *logits)
{
    const sc_stage_step step = {.train = false};
    float *row = NULL;
    for (int s = 0; s < pipeline->S; s++) {
        sc_stage *stage = pipeline->stages[s];
        if (s == 0)
            CHECK(sc_stage_put_tokens(stage, 0, self->tokens, 1, n));
        else
            CHECK(sc_stage_put_activation(stage, 0, row, 1, n));
        free(row);
        CHECK(sc_stage_forward(stage, 0, 0, &step));
        if (s < pipeline->S - 1) {
            row = malloc((size_t)n * (size_t)self->config.model.hidden * sizeof *row);
            assert_non_null(row);
            CHECK(sc_stage_take_activation(stage, 0, row));
        } else {
            CHECK(sc_stage_take_logits(stage, 0, logits));
        }
        sc_stage_finish(stage, 0);
    }
}

static void check(const golden *self, const sc_ops *ops, int S, const int *sizes)
{
    const sc_optimizer none = {.kind = SC_SGD};
    int V = self->config.model.vocab;
    chain pipeline;
    chain_new(&pipeline, ops, &self->config.model, S, sizes, 1, self->T, 1, 0, &none);
    load(self, &pipeline);
    float *got = malloc((size_t)V * sizeof *got);
    assert_non_null(got);
    for (int n = 1; n <= self->T; n++) {
        const float *wanted = self->logits + (size_t)(n - 1) * (size_t)V;
        double largest = 0, worst = 0;
        run(self, &pipeline, n, got);
        for (int v = 0; v < V; v++) {
            double difference = fabs((double)got[v] - (double)wanted[v]);
            if (!(difference <= worst)) /* so that NaN counts */
                worst = difference;
            largest = fmax(largest, fabs((double)wanted[v]));
        }
        if (!(worst <= tolerance * largest))
            fail_msg("%s, %d stages, position %d: relative error %.3g", ops->name, S, n - 1, worst / largest);
    }
    free(got);
    chain_destroy(&pipeline);
}

static void logits_are_those_of_transformers(void **state)
{
    const sc_ops *backends[] = {&sc_ops_reference, &sc_ops_cpu};
    for (int i = 0; i < 2; i++) {
        check(*state, backends[i], 1, (int[]){5});
        check(*state, backends[i], 3, (int[]){2, 1, 2});
    }
}

static void an_export_has_the_same_bytes(void **state)
{
    (void)state;
    sc_export done;
    const sc_exporter_options options = {.dir = DIRECTORY, .out = scratch_file("out"), .step = -1};
    CHECK(sc_exporter_run(&options, &done));
    sc_safetensors *before, *after;
    CHECK(sc_safetensors_open(DIRECTORY "/model.safetensors", &before));
    CHECK(sc_safetensors_open(scratch_file("out/model.safetensors"), &after));
    assert_int_equal(sc_safetensors_n(before), sc_safetensors_n(after));
    for (int i = 0; i < sc_safetensors_n(before); i++) {
        const sc_safetensors_entry *a = sc_safetensors_at(before, i), *b = sc_safetensors_find(after, a->name);
        assert_non_null(b);
        assert_int_equal(b->dtype, a->dtype);
        assert_memory_equal(&b->shape, &a->shape, sizeof a->shape);
        char *a_bytes = malloc(a->bytes), *b_bytes = malloc(a->bytes);
        assert_true(a_bytes && b_bytes);
        CHECK(sc_safetensors_read(before, a, 0, a_bytes, a->bytes));
        CHECK(sc_safetensors_read(after, b, 0, b_bytes, a->bytes));
        assert_memory_equal(a_bytes, b_bytes, a->bytes);
        free(a_bytes);
        free(b_bytes);
    }
    sc_safetensors_close(&before);
    sc_safetensors_close(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test_setup_teardown(an_export_has_the_same_bytes, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
