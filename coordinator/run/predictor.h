/* Prediction over a pipeline of local workers: texts in, answers out, in the order in which they came.
 *
 * Mental model. Items (predict_item.h) are added to a window. When the window is full, or the caller has nothing more at the
 * moment, it is closed: its rows are sorted by length and cut into micro-batches of like length, which go through forward-only
 * plans, two steps under way, while the next window fills. Items come out in order, as soon as they and all before them are
 * complete.
 *
 *      add --> [ window that fills ] --start--> [ rows by length ] --start--> steps under way --wait--> take
 *
 * A row's logits depend on it alone, not on the rows beside it, the padding or the cut of the model: the answers are
 * the same bits for any number of workers and threads, and however the input trickles in. Memory is bounded by three windows.
 *
 * A worker that is lost is started again, given the weights, and what was under way is sent once more: answers come once, and
 * are the same. After several losses in a row without a step in between it is given up.
 *
 * Thread: one owns it; SIGINT and SIGTERM are blocked for the process and seen by sc_predictor_stop_requested. */
#ifndef SC_PREDICTOR_H
#define SC_PREDICTOR_H

#include "coordinator/run/predict_item.h"

typedef struct sc_predictor_options {
    const char *dir;    /* a run directory, or a directory of weights */
    int workers;        /* S */
    int threads;        /* per worker; 0: a share of the cores */
    int longest;        /* tokens of a row; 0: the model's context */
    int top;            /* masked words: how many are given of each; items: how many of them; 0: 5, and 10 */
    bool includes_seen; /* items: those that the user has met are given, too */
} sc_predictor_options;

typedef struct sc_predictor sc_predictor;

/* Reads what the directory holds, without starting anything. Returns owned.
 * Errors: SC_NOT_FOUND, SC_INVALID (no model that predictions are made of, a length that it does not have, a tokenizer that is not
 * BERT's), SC_DATA_LOSS. */
sc_status sc_predictor_open(const sc_predictor_options *options, sc_predictor **out);
/* Valid until it is closed. */
const sc_predict_model *sc_predictor_model(const sc_predictor *self);
/* Starts the workers and brings them the weights. Errors: SC_DATA_LOSS (weights that are missing), what stops a worker. */
sc_status sc_predictor_start_workers(sc_predictor *self);
/* Ends the workers; keeps this thread's message. */
void sc_predictor_close(sc_predictor **self_p);

/* Whether the window takes another item. */
bool sc_predictor_has_room(const sc_predictor *self);
/* Takes the item and makes its rows. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_predictor_add(sc_predictor *self, sc_predict_item **item);
/* Sends off what there is, as far as steps may be under way. */
sc_status sc_predictor_start(sc_predictor *self);
/* Waits until a step is done, `fd` (-1: none) can be read, or a tenth of a second has passed. Errors: what stops a worker;
 * those of sc_predict_task.take. */
sc_status sc_predictor_wait(sc_predictor *self, int fd);
/* The next item in order if it is complete, to be destroyed by the caller; else NULL. */
sc_predict_item *sc_predictor_take(sc_predictor *self);
/* Whether nothing is waiting, under way or to be taken. */
bool sc_predictor_is_idle(const sc_predictor *self);

bool sc_predictor_stop_requested(const sc_predictor *self);
/* Tokens that went through the model, without padding. */
uint64_t sc_predictor_n_tokens(const sc_predictor *self);

#endif
