/* The model description, tied and untied: which parameters there are, who holds them, and that their initial bits do not depend
 * on whether the head is tied. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_untied_head_is_the_last_parameter),
        cmocka_unit_test(the_two_ends_share_a_matrix_or_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
