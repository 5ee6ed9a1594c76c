/* Partition: which contiguous blocks each virtual stage holds. Pure. */
#ifndef SC_PARTITION_H
#define SC_PARTITION_H

#include "coordinator/schedule/simulator.h"
#include "proto/base/model.h"

/* Cuts n_blocks with these costs (>= 0) into n_stages contiguous slices of at least one block, so that the largest
 * slice's cost is as small as can be; among those cuts, the one with the smallest sum of squares, which is the most even;
 * among those, the one with the fewest blocks in the earliest stages, for these keep the most micro-batches alive.
 * slices: [n_stages]. Time about O(n_stages * n_blocks * log (n_blocks)).
 * Errors: SC_INVALID if there are more stages than blocks; SC_RESOURCE_EXHAUSTED. */
sc_status sc_partition_cut(const double *costs, int n_blocks, int n_stages, sc_slice *slices);

/* The same for a model: a block costs the floating-point operations of its forward and backward for (B, T).
 * Errors: as above, naming the model's blocks and the stages. */
sc_status sc_partition_by_cost(const sc_model *model, int n_stages, int B, int T, sc_slice *slices);

/* What a machine does in a second, to turn operations and bytes into time. */
typedef struct sc_partition_rates {
    double flops_per_second;        /* floating-point operations, of one worker */
    double memory_bytes_per_second; /* for the optimizer, which reads and writes and hardly computes */
} sc_partition_rates;

/* The memory of a virtual stage, beside its activations. */
typedef struct sc_partition_stage {
    uint64_t param_elements;    /* a tied matrix counts once in each stage that holds it */
    uint64_t learning_elements; /* of them, those that have gradients and optimizer state */
    uint64_t
        scratch_bytes; /* the largest of its blocks', and where a frozen transformer passes what it need not keep */
} sc_partition_stage;

/* The costs of each virtual stage for the simulator, and (NULL: not asked) its memory. costs, stages: [n_stages]. */
void sc_partition_costs(const sc_model *model, const sc_slice *slices, int n_stages, int B, int T,
                        const sc_partition_rates *rates, sc_sim_stage_cost *costs, sc_partition_stage *stages);

/* Bytes of the gradient that REDUCE_TIED exchanges; 0 for a model without a tied matrix. */
uint64_t sc_partition_tied_bytes(const sc_model *model);

#endif
