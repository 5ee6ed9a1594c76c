/* The words of the progress line: pure, so that a test needs no terminal. */
#ifndef SC_PROGRESS_TEXT_H
#define SC_PROGRESS_TEXT_H

#include "coordinator/run/progress.h"

/* What a line can tell. */
typedef struct sc_progress_view {
    int64_t step, steps;
    double loss, grad_norm, lr, step_seconds, tokens_per_second;
    double eta_seconds; /* negative: not known */
    int n_stages;
    const char *doing;  /* [n_stages]: F, B, S or - */
    const double *busy; /* [n_stages], 0 .. 1; NULL: not known */
} sc_progress_view;

/* The terminal's line: the fields from the left as long as they fit into `width` columns, all ASCII. */
void sc_progress_text_line(const sc_progress_view *view, int width, char *text, size_t text_bytes);
/* The line for a file, without newline. */
void sc_progress_text_plain(const sc_progress_view *view, char *text, size_t text_bytes);

/* The letter for an action as a worker reports it: F, B (backward of any kind), S (reduction or step), - (anything
 * else: waiting, sending, receiving). */
char sc_progress_text_letter(const char *action);

#endif
