/* The table of one instruction set: the including file has defined SC_LOOPS and SC_LOOPS_ISA. */
#include "kernels/cpu/loops_elementwise.inc.h"
#include "kernels/cpu/loops_rows.inc.h"
#include "kernels/cpu/loops_attention.inc.h"

const sc_loops SC_LOOPS = {
    .isa = SC_LOOPS_ISA,
    .bias = bias,
    .bias_activation = bias_activation,
    .activation_backward = activation_backward,
    .column_sums = column_sums,
    .layernorm_forward = layernorm_forward,
    .layernorm_backward_input = layernorm_backward_input,
    .layernorm_backward_weight = layernorm_backward_weight,
    .add = add,
    .dropout_add = dropout_add,
    .dropout = dropout,
    .cross_entropy = cross_entropy,
    .is_largest = is_largest,
    .sum = sum,
    .sum_squares = sum_squares,
    .adamw = adamw,
    .sgd = sgd,
    .attention_scratch = attention_scratch,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .attention_decode = attention_decode,
};
