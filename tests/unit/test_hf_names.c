#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/hf_names.h"

static void the_prefix_goes(void **state)
{
    (void)state;
    assert_string_equal(sc_hf_names_bare("transformer.h.0.ln_1.weight"), "h.0.ln_1.weight");
    assert_string_equal(sc_hf_names_bare("wte.weight"), "wte.weight");
    assert_string_equal(sc_hf_names_bare("transformer"), "transformer");
}

static void a_parameter_is_found_by_all_its_names(void **state)
{
    (void)state;
    sc_hf_name_list list;
    sc_hf_names_of("bert.encoder.layer.0.output.LayerNorm.bias", &list);
    assert_int_equal(list.n, 4);
    assert_string_equal(list.names[0], "bert.encoder.layer.0.output.LayerNorm.bias");
    assert_string_equal(list.names[1], "encoder.layer.0.output.LayerNorm.bias");
    assert_string_equal(list.names[2], "bert.encoder.layer.0.output.LayerNorm.beta");
    assert_string_equal(list.names[3], "encoder.layer.0.output.LayerNorm.beta");
    sc_hf_names_of("cls.predictions.transform.LayerNorm.weight", &list);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.names[1], "cls.predictions.transform.LayerNorm.gamma");
    sc_hf_names_of("transformer.wte.weight", &list);
    assert_int_equal(list.n, 2);
    sc_hf_names_of("lm_head.weight", &list);
    assert_int_equal(list.n, 1);
}

static void surplus_tensors_are_known(void **state)
{
    (void)state;
    assert_int_equal(sc_hf_names_surplus("h.0.attn.bias"), SC_HF_MADE);
    assert_int_equal(sc_hf_names_surplus("transformer.h.11.attn.masked_bias"), SC_HF_MADE);
    assert_int_equal(sc_hf_names_surplus("transformer.h.11.attn.c_attn.bias"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("h..attn.bias"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("h.0.attn.bias2"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("h.0"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("attn.bias"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("score.weight"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("embeddings.position_ids"), SC_HF_MADE);
    assert_int_equal(sc_hf_names_surplus("bert.embeddings.position_ids"), SC_HF_MADE);
    assert_int_equal(sc_hf_names_surplus("cls.predictions.decoder.bias"), SC_HF_MADE);
    assert_int_equal(sc_hf_names_surplus("bert.pooler.dense.bias"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus(""), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("optimizer.first_moment.transformer.wte.weight"), SC_HF_OPTIMIZER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prefix_goes),
        cmocka_unit_test(a_parameter_is_found_by_all_its_names),
        cmocka_unit_test(surplus_tensors_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
