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

static void surplus_tensors_are_known(void **state)
{
    (void)state;
    assert_int_equal(sc_hf_names_surplus("h.0.attn.bias"), SC_HF_MASK);
    assert_int_equal(sc_hf_names_surplus("transformer.h.11.attn.masked_bias"), SC_HF_MASK);
    assert_int_equal(sc_hf_names_surplus("transformer.h.11.attn.c_attn.bias"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("h..attn.bias"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("h.0.attn.bias2"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("h.0"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("attn.bias"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("score.weight"), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus(""), SC_HF_UNKNOWN);
    assert_int_equal(sc_hf_names_surplus("optimizer.first_moment.transformer.wte.weight"), SC_HF_OPTIMIZER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prefix_goes),
        cmocka_unit_test(surplus_tensors_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
