/* What the files of the predictor share. */
#ifndef SC_PREDICTOR_INTERNAL_H
#define SC_PREDICTOR_INTERNAL_H

#include "coordinator/data/example_batches.h"
#include "coordinator/run/local_cluster.h"
#include "coordinator/run/predictor.h"

#include <limits.h>

enum {
    SC_PREDICT_PLANS = 7, /* of 1, 2, 4 ... 64 micro-batches */
    SC_PREDICT_IN_FLIGHT = SC_CLUSTER_MAX_IN_FLIGHT,
};

typedef struct sc_queued_row {
    sc_predict_item *item;
    size_t row, place;
    int n, n_masks;
} sc_queued_row;

typedef struct sc_row_list {
    sc_queued_row *rows; /* [n] */
    size_t n, capacity;
} sc_row_list;

/* One plan's run: rows micro-batch by micro-batch. */
typedef struct sc_predict_step {
    int plan, M;
    int *B;              /* [M]: rows of each */
    sc_queued_row *rows; /* [M * options.B]: those of micro-batch m from m * options.B on */
} sc_predict_step;

struct sc_predictor {
    sc_predictor_options options;
    sc_clock clock;
    char dir[PATH_MAX];
    sc_predict_model model;
    const sc_predict_task *task;
    int B;                            /* rows of a micro-batch, at most */
    int pad;                          /* the id of [PAD] */
    sc_plan *plans[SC_PREDICT_PLANS]; /* [n_plans]: plan i is of 2^i micro-batches */
    int n_plans;
    sc_slice *slices;
    sc_assignment assignment;
    sc_local_cluster local;
    sc_micro_batch batch;
    int32_t *next;                 /* [B] zeros: what a head for next sentences is told */
    sc_predict_item *first, *last; /* all that were added and not taken, in order */
    sc_row_list filling, closed;
    size_t n_filling, filling_bytes; /* items */
    size_t at;                       /* the next row of `closed` */
    sc_predict_step steps[SC_PREDICT_IN_FLIGHT];
    uint64_t sent, done; /* steps */
    int n_losses;        /* of workers since a step was done */
    uint64_t n_tokens;
    bool readable;
};

/* GPT-2 over item ids: rows have neither segments nor labels, and logits are those of the last position. */
static inline bool sc_predictor_is_of_items(const sc_predictor *self)
{
    return self->task == &sc_predict_items;
}

#endif
