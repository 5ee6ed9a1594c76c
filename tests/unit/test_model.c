/* The model description: which parameters there are, who holds them, and that their initial bits do not depend on whether
 * GPT-2's head is tied, nor on the task of a BERT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/base/model.h"

#include <string.h>

enum { L = 2, C = 8, V = 11 };
static const sc_model tied = {.family = SC_GPT2,
                              .layers = L,
                              .heads = 2,
                              .hidden = C,
                              .context = 4,
                              .vocab = V,
                              .norm_epsilon = 1e-5f,
                              .tied = true},
                      untied = {.family = SC_GPT2,
                                .layers = L,
                                .heads = 2,
                                .hidden = C,
                                .context = 4,
                                .vocab = V,
                                .norm_epsilon = 1e-5f,
                                .tied = false};

static void an_untied_head_is_the_last_parameter(void **state)
{
    (void)state;
    int n = sc_model_n_params(&tied);
    assert_int_equal(n, 2 + 12 * L + 2);
    assert_int_equal(sc_model_n_params(&untied), n + 1);
    assert_int_equal(sc_model_n_elements(&untied), sc_model_n_elements(&tied) + V * C);
    for (int i = 0; i < n; i++) {
        sc_param a = sc_model_param(&tied, i), b = sc_model_param(&untied, i);
        assert_string_equal(a.name, b.name);
        assert_int_equal(sc_model_find_param(&untied, a.name), i);
        float of_tied[16], of_untied[16];
        sc_model_init_param(&tied, i, 3, 0, 8, of_tied);
        sc_model_init_param(&untied, i, 3, 0, 8, of_untied);
        assert_memory_equal(of_tied, of_untied, 8 * sizeof(float));
    }
    sc_param head = sc_model_param(&untied, n);
    assert_string_equal(head.name, "lm_head.weight");
    assert_true(head.shape.n_dims == 2 && head.shape.dims[0] == V && head.shape.dims[1] == C);
    assert_true(head.decays && head.init == SC_INIT_NORMAL && head.init_std == 0.02f);
    assert_int_equal(sc_model_find_param(&tied, "lm_head.weight"), -1);
    float of_head[V * C], of_embedding[V * C];
    sc_model_init_param(&untied, n, 3, 0, V * C, of_head);
    sc_model_init_param(&untied, sc_model_embedding_param(&untied), 3, 0, V * C, of_embedding);
    assert_memory_not_equal(of_head, of_embedding, sizeof of_head);
}

static void frozen_blocks_do_not_learn(void **state)
{
    (void)state;
    const sc_slice slices[] = {{0, 1}, {1, 1}, {2, L}};
    for (int frozen = 0; frozen <= L + 1; frozen++) {
        sc_model model = tied;
        model.frozen = frozen;
        assert_int_equal(sc_model_check(&model), SC_OK);
        assert_int_equal(sc_model_exchanges_tied(&model), frozen == 0);
        assert_int_equal(sc_model_frozen_stages(&model, slices, 3), frozen > 2 ? (frozen == L + 2 ? 3 : 2) : frozen);
        for (int block = 0; block < sc_model_n_blocks(&model); block++) {
            int ordinals[SC_MAX_BLOCK_PARAMS], n = sc_model_block_params(&model, block, ordinals);
            for (int i = 0; i < n; i++) {
                bool of_embedding = ordinals[i] == 0; /* the head's copy, too */
                assert_int_equal(sc_model_param_learns(&model, ordinals[i]),
                                 of_embedding ? frozen == 0 : block >= frozen);
            }
        }
    }
    sc_model model = tied;
    model.frozen = L + 2;
    assert_int_equal(sc_model_check(&model), SC_INVALID);
    model.frozen = -1;
    assert_int_equal(sc_model_check(&model), SC_INVALID);
}

static void the_two_ends_share_a_matrix_or_do_not(void **state)
{
    (void)state;
    assert_int_equal(sc_model_tied_param(&tied), 0);
    assert_int_equal(sc_model_decoder_param(&tied), sc_model_embedding_param(&tied));
    assert_int_equal(sc_model_tied_param(&untied), -1);
    assert_int_equal(sc_model_decoder_param(&untied), sc_model_n_params(&untied) - 1);

    int of_tied[SC_MAX_BLOCK_PARAMS], of_untied[SC_MAX_BLOCK_PARAMS], holders[2 + 12 * L + 3] = {0};
    for (int block = 0; block < sc_model_n_blocks(&untied); block++) {
        int n = sc_model_block_params(&untied, block, of_untied);
        assert_int_equal(sc_model_block_params(&tied, block, of_tied), n);
        for (int i = 0; i < n; i++)
            holders[of_untied[i]]++;
        bool is_head = sc_model_block_kind(&untied, block) == SC_BLOCK_HEAD;
        assert_memory_equal(of_tied, of_untied, (size_t)(is_head ? n - 1 : n) * sizeof *of_tied);
        if (is_head) {
            assert_int_equal(of_tied[n - 1], 0);
            assert_int_equal(of_untied[n - 1], sc_model_decoder_param(&untied));
        }
        /* A block holds and computes the same, whoever else has its matrix. */
        sc_block_cost a = sc_model_block_cost(&tied, block, 2, 4), b = sc_model_block_cost(&untied, block, 2, 4);
        assert_memory_equal(&a, &b, sizeof a);
    }
    for (int i = 0; i < sc_model_n_params(&untied); i++)
        assert_int_equal(holders[i], 1);
}

static sc_model bert(sc_task task)
{
    bool labelled = task == SC_TASK_CLASSIFICATION || task == SC_TASK_TAGGING;
    return (sc_model){.family = SC_BERT,
                      .layers = L,
                      .heads = 2,
                      .hidden = 16,
                      .context = 4,
                      .vocab = V,
                      .norm_epsilon = 1e-12f,
                      .task = task,
                      .intermediate = 24,
                      .token_types = 2,
                      .labels = labelled ? 3 : 0};
}

static void every_bert_has_its_own_head_alone(void **state)
{
    (void)state;
    static const int n_head[] = {
        [SC_TASK_PRETRAINING] = 9, [SC_TASK_MASKED_WORDS] = 5, [SC_TASK_CLASSIFICATION] = 4, [SC_TASK_TAGGING] = 2};
    static const char *const last[] = {[SC_TASK_PRETRAINING] = "cls.seq_relationship.bias",
                                       [SC_TASK_MASKED_WORDS] = "cls.predictions.bias",
                                       [SC_TASK_CLASSIFICATION] = "classifier.bias",
                                       [SC_TASK_TAGGING] = "classifier.bias"};
    sc_model first = bert(SC_TASK_PRETRAINING);
    for (sc_task task = SC_TASK_PRETRAINING; task <= SC_TASK_TAGGING; task++) {
        sc_model model = bert(task);
        assert_int_equal(sc_model_check(&model), SC_OK);
        int n = sc_model_n_params(&model), n_body = 5 + 16 * L, holders[64] = {0}, ordinals[SC_MAX_BLOCK_PARAMS];
        assert_int_equal(n, n_body + n_head[task]);
        assert_string_equal(sc_model_param(&model, n - 1).name, last[task]);
        for (int i = 0; i < n; i++) {
            sc_param param = sc_model_param(&model, i);
            assert_int_equal(sc_model_find_param(&model, param.name), i);
            bool matrix = param.shape.n_dims == 2, norm = strstr(param.name, "LayerNorm.weight") != NULL;
            assert_true(param.decays == matrix);
            assert_int_equal(param.init, matrix ? SC_INIT_NORMAL : norm ? SC_INIT_ONE : SC_INIT_ZERO);
            if (i < n_body)
                assert_string_equal(param.name, sc_model_param(&first, i).name);
        }
        for (int block = 0; block < sc_model_n_blocks(&model); block++)
            for (int i = sc_model_block_params(&model, block, ordinals); i > 0; i--)
                holders[ordinals[i - 1]]++;
        bool words = task == SC_TASK_PRETRAINING || task == SC_TASK_MASKED_WORDS;
        assert_int_equal(sc_model_tied_param(&model), words ? 0 : -1);
        for (int i = 0; i < n; i++)
            assert_int_equal(holders[i], i == 0 && words ? 2 : 1);
    }
    sc_param fc = sc_model_param(&first, sc_model_find_param(&first, "bert.encoder.layer.1.intermediate.dense.weight"));
    assert_true(fc.shape.dims[0] == 24 && fc.shape.dims[1] == 16);
}

static void what_is_no_bert_is_refused(void **state)
{
    (void)state;
    sc_model model = bert(SC_TASK_TAGGING);
    model.hidden = 24;
    assert_int_equal(sc_model_check(&model), SC_INVALID);
    model = bert(SC_TASK_TAGGING), model.labels = 0;
    assert_int_equal(sc_model_check(&model), SC_INVALID);
    model = bert(SC_TASK_TAGGING), model.multi_label = true;
    assert_int_equal(sc_model_check(&model), SC_INVALID);
    model = bert(SC_TASK_PRETRAINING), model.labels = 2;
    assert_int_equal(sc_model_check(&model), SC_INVALID);
    model = bert(SC_TASK_PRETRAINING), model.token_types = 0;
    assert_int_equal(sc_model_check(&model), SC_INVALID);
    model = bert(SC_TASK_NEXT_TOKEN);
    assert_int_equal(sc_model_check(&model), SC_INVALID);
    model = tied, model.token_types = 2;
    assert_int_equal(sc_model_check(&model), SC_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_untied_head_is_the_last_parameter),
        cmocka_unit_test(frozen_blocks_do_not_learn),
        cmocka_unit_test(the_two_ends_share_a_matrix_or_do_not),
        cmocka_unit_test(every_bert_has_its_own_head_alone),
        cmocka_unit_test(what_is_no_bert_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
