/* From a file or standard input through a predictor: each text that comes is answered in its turn, and as soon as it can be.
 *
 * Where the input gives nothing for the moment, what there is goes on its way at once; where it comes faster than the model
 * computes, texts gather to windows. A stream that ends, or that is stopped by a signal, has answered all that it has read. */
#ifndef SC_PREDICT_STREAM_H
#define SC_PREDICT_STREAM_H

#include "coordinator/run/predictor.h"

typedef enum sc_predict_input {
    SC_PREDICT_LINES, /* a text a line */
    SC_PREDICT_PAIRS, /* a text, a tab, a second text; a line each */
    SC_PREDICT_CONLL, /* a word a line, an empty line between sentences */
} sc_predict_input;

typedef struct sc_predict_stream_options {
    sc_predictor *predictor; /* borrowed; its workers run */
    sc_predict_input input;
    const char *path;            /* NULL: standard input */
    const char *text;            /* instead of a file: this text alone */
    int word_column, tag_column; /* CONLL: from 1, or from -1 at the last; tag_column 0: there are no right tags */
    void *context;
    /* Called with each item in order; `last` if no other is ready, so that what was gathered may be written. */
    sc_status (*each)(void *context, const sc_predict_item *item, bool last);
    /* Called ten times a second at least. May be NULL. */
    sc_status (*turn)(void *context);
} sc_predict_stream_options;

typedef struct sc_predict_stream_result {
    uint64_t n_items, n_mistakes; /* the second: those that came with a message */
} sc_predict_stream_result;

/* Errors: those of the input, of the predictor and of the callbacks; SC_CANCELLED after a signal, when all is answered that was
 * read. *result is filled in any case. */
sc_status sc_predict_stream_run(const sc_predict_stream_options *options, sc_predict_stream_result *result);
/* That the input can be read, before anything is started: opens and closes it. For a FIFO or standard input nothing. */
sc_status sc_predict_stream_check(const char *path);

#endif
