#include "coordinator/schedule/partition.h"

#include <assert.h>
#include <stdlib.h>

/* One AdamW update of an element moves 28 bytes: reads weight, gradient and both moments, writes all but the gradient. */
enum { OPTIMIZER_BYTES = 28 };

/* Sums of squares that agree to this share are the same: it is far above double's rounding over a thousand blocks
 * (1e-13) and far below the weight of any block. */
static const double same = 1e-12;

typedef struct cut {
    int n, stages;
    const double *before; /* [n + 1] before[j] - before[i] is the cost of blocks i .. j-1 */
    double *row, *next;   /* [n + 1] best value of the first j blocks in s stages, and in s + 1 */
    int *starts;          /* [stages][n + 1] where the last stage begins in that best */
} cut;

/* The smallest possible largest slice: row[j] = min over i of max (row'[i], cost of i .. j-1). With growing i the first
 * grows and the second falls, so the best is where they cross. */
static double smallest_bottleneck(cut *self)
{
    for (int j = 0; j <= self->n; j++)
        self->row[j] = self->before[j];
    for (int s = 2; s <= self->stages; s++) {
        for (int j = s; j <= self->n; j++) {
            int low = s - 1, high = j - 1; /* the first i with row[i] >= cost, if any */
            while (low < high) {
                int middle = low + (high - low) / 2;
                if (self->row[middle] >= self->before[j] - self->before[middle])
                    high = middle;
                else
                    low = middle + 1;
            }
            double best = self->before[j] - self->before[low];
            if (self->row[low] > best)
                best = self->row[low];
            if (low > s - 1 && self->before[j] - self->before[low - 1] < best)
                best = self->before[j] - self->before[low - 1]; /* row[low - 1] is smaller than this cost */
            self->next[j] = best;
        }
        double *swap = self->row;
        self->row = self->next;
        self->next = swap;
    }
    return self->row[self->n];
}

/* The most even cut whose slices cost at most `most`. Of equals the one whose last stage begins earliest wins, which
 * leaves the earlier stages the fewest blocks. */
static void most_even(cut *self, double most)
{
    const double none = -1.0;
    for (int j = 0; j <= self->n; j++)
        self->row[j] = j > 0 && self->before[j] <= most ? self->before[j] * self->before[j] : none;
    for (int s = 2; s <= self->stages; s++) {
        int *starts = self->starts + (size_t)(s - 1) * (size_t)(self->n + 1);
        for (int j = 0; j <= self->n; j++)
            self->next[j] = none;
        for (int j = s; j <= self->n; j++) {
            for (int i = j - 1; i >= s - 1; i--) {
                double cost = self->before[j] - self->before[i];
                if (cost > most)
                    break;
                double sum = self->row[i] + cost * cost;
                if (self->row[i] == none || (self->next[j] != none && sum > self->next[j] * (1.0 + same)))
                    continue;
                self->next[j] = sum;
                starts[j] = i;
            }
        }
        double *swap = self->row;
        self->row = self->next;
        self->next = swap;
    }
}

sc_status sc_partition_cut(const double *costs, int n_blocks, int n_stages, sc_slice *slices)
{
    if (n_stages < 1 || n_stages > n_blocks)
        return SC_FAIL(SC_INVALID, "%d blocks cannot be cut into %d stages: each stage holds at least one block",
                       n_blocks, n_stages);
    size_t width = (size_t)n_blocks + 1;
    double *before = calloc(width, sizeof *before), *row = calloc(width, sizeof *row),
           *next = calloc(width, sizeof *next);
    int *starts = calloc((size_t)n_stages * width, sizeof *starts);
    sc_status status = SC_OK;
    if (!before || !row || !next || !starts) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to cut %d blocks into %d stages", n_blocks, n_stages);
        goto cleanup;
    }
    for (int i = 0; i < n_blocks; i++)
        before[i + 1] = before[i] + costs[i];
    cut c = {.n = n_blocks, .stages = n_stages, .before = before, .row = row, .next = next, .starts = starts};
    most_even(&c, smallest_bottleneck(&c));
    int end = n_blocks;
    for (int s = n_stages - 1; s >= 0; s--) {
        int start = s > 0 ? starts[(size_t)s * width + (size_t)end] : 0;
        slices[s] = (sc_slice){.first_block = start, .n_blocks = end - start};
        end = start;
    }
cleanup:
    free(before);
    free(row);
    free(next);
    free(starts);
    return status;
}

sc_status sc_partition_by_cost(const sc_model *model, int n_stages, int B, int T, sc_slice *slices)
{
    int n_blocks = sc_model_n_blocks(model);
    if (n_stages > n_blocks)
        return SC_FAIL(SC_INVALID,
                       "%d stages are more than the model's %d blocks (%d layers, the embedding and the head); use at "
                       "most %d workers",
                       n_stages, n_blocks, model->layers, n_blocks);
    double *costs = calloc((size_t)n_blocks, sizeof *costs);
    if (!costs)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the costs of %d blocks", n_blocks);
    for (int i = 0; i < n_blocks; i++) {
        sc_block_cost cost = sc_model_block_cost(model, i, B, T);
        costs[i] = (double)cost.forward_flops + (double)cost.backward_input_flops + (double)cost.backward_weight_flops;
    }
    sc_status status = sc_partition_cut(costs, n_blocks, n_stages, slices);
    free(costs);
    return status;
}

void sc_partition_costs(const sc_model *model, const sc_slice *slices, int n_stages, int B, int T,
                        const sc_partition_rates *rates, sc_sim_stage_cost *costs, sc_partition_stage *stages)
{
    for (int v = 0; v < n_stages; v++) {
        sc_sim_stage_cost cost = {0};
        sc_partition_stage stage = {0};
        uint64_t passing = 0,
                 learning = 0; /* what a frozen block's forward needs; elements that the optimizer changes */
        for (int i = slices[v].first_block; i < slices[v].first_block + slices[v].n_blocks; i++) {
            sc_block_cost block = sc_model_block_cost(model, i, B, T);
            cost.forward_seconds += (double)block.forward_flops / rates->flops_per_second;
            cost.backward_input_seconds += (double)block.backward_input_flops / rates->flops_per_second;
            cost.backward_weight_seconds += (double)block.backward_weight_flops / rates->flops_per_second;
            if (i >= model->frozen || i == 0)
                cost.saved_bytes += block.saved_bytes;
            else if (block.saved_bytes > passing)
                passing = block.saved_bytes;
            cost.weight_bytes += block.weight_bytes;
            cost.output_bytes = block.output_bytes; /* the last block's, which lies at the boundary */
            stage.param_elements += block.param_elements;
            if (i >= model->frozen)
                learning += block.param_elements;
            if (block.scratch_bytes > stage.scratch_bytes)
                stage.scratch_bytes = block.scratch_bytes;
        }
        bool has_head = slices[v].first_block + slices[v].n_blocks == sc_model_n_blocks(model);
        if (slices[v].n_blocks == sc_model_n_blocks(model))
            stage.param_elements = sc_model_n_elements(model);             /* a tied matrix is there once */
        if (has_head && (model->frozen > 0 || slices[v].first_block == 0)) /* it is frozen, or there twice */
            learning -= sc_partition_tied_bytes(model) / sizeof(float);
        stage.learning_elements = learning;
        if (passing > stage.scratch_bytes)
            stage.scratch_bytes = passing;
        cost.optimizer_seconds = (double)learning * OPTIMIZER_BYTES / rates->memory_bytes_per_second;
        costs[v] = cost;
        if (stages)
            stages[v] = stage;
    }
}

uint64_t sc_partition_tied_bytes(const sc_model *model)
{
    int tied = sc_model_tied_param(model);
    if (tied < 0)
        return 0;
    sc_param param = sc_model_param(model, tied);
    uint64_t bytes = 0;
    sc_status status = sc_shape_bytes(&param.shape, SC_F32, &bytes);
    assert(status == SC_OK);
    return status == SC_OK ? bytes : 0;
}
