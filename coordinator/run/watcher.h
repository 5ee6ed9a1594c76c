/* Watching a stream: a classifier's labels of the texts that come, the share of one of them in a sliding window
 * (share_window.h), and a line of JSON for each alarm:
 *
 *   {"alarm": 1, "time": "2026-01-31T12:00:00Z", "label": "negative", "share": 0.41, "count": 82, "window": 200, "above": 0.4,
 *    "line": 1234, "text": "..."}
 *
 * alarm counts from 1; line and text are those that brought the share above the threshold. */
#ifndef SC_WATCHER_H
#define SC_WATCHER_H

#include "coordinator/run/predictor.h"

typedef struct sc_watcher_options {
    sc_predictor_options predictor;
    const char *title; /* whose messages on standard error they are */
    const char *path;  /* NULL: standard input */
    bool pairs;        /* a line is a text, a tab and a second text */
    const char *label;
    size_t window;
    double above, below; /* as sc_share_window_init has it */
    const char *command; /* alarm_command.h; NULL: none */
    int out;             /* descriptor */
} sc_watcher_options;

typedef struct sc_watcher_result {
    uint64_t n_alarms, n_texts, n_mistakes;
    bool closed; /* the reader of the alarms has gone: an error that needs no message */
} sc_watcher_result;

/* Until the stream ends, or a signal comes, which is no error: a watch has no other end. *result is filled in any case.
 * Errors: SC_INVALID (a label that the model does not have, a model that is no classifier); those of the predictor and stream. */
sc_status sc_watcher_run(const sc_watcher_options *options, sc_watcher_result *result);

#endif
