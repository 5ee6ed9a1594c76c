/* Progress for a person: one line that is redrawn on a terminal, plain lines elsewhere.
 *
 *   terminal   step 120/500  loss 1.8421  lr 0.00094  norm 0.62  5.1k tok/s  ETA 2:31  [1F 2B 3F 4-]  busy 91 88 90 85%
 *   elsewhere  step 120/500 loss 1.8421 lr 0.00094 norm 0.62 tok/s 5104 step 1.605s ETA 2:31 busy 91 88 90 85%
 *
 * On a terminal the line is redrawn at most ten times a second and shows as many fields as fit its width, from the left
 * (asked for at each drawing, so a resized window is right at once). [1F 2B 3F 4-] is what each stage does: F forward,
 * B backward, S optimizer step or reduction, - waiting or idle; busy is each stage's share of the last step that it
 * computed. Elsewhere (also with TERM=dumb) steps get a line each, but at most one a second; the first and the last
 * always get theirs. No colours are used, so NO_COLOR has nothing to switch off.
 *
 * Other output to the same terminal goes through sc_progress_note, or between suspend and resume, so that it does not
 * land in the line. The line leaves the cursor at its start: what does write in between covers it.
 * Write errors are ignored: nobody is watching. Thread: one owns it. */
#ifndef SC_PROGRESS_H
#define SC_PROGRESS_H

#include "coordinator/run/score_list.h"
#include "proto/base/clock.h"
#include "proto/base/legend.h"
#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sc_progress sc_progress;

typedef enum sc_progress_mode { SC_PROGRESS_AUTO, SC_PROGRESS_TERMINAL, SC_PROGRESS_PLAIN } sc_progress_mode;

typedef struct sc_progress_options {
    int fd; /* borrowed: 1 or 2 */
    sc_progress_mode mode;
    int width; /* columns; 0: ask the terminal */
    sc_clock clock;
    int64_t steps; /* of the whole run */
    int n_stages;
} sc_progress_options;

typedef struct sc_progress_step {
    int64_t step; /* from 1 */
    double loss, grad_norm, lr, step_seconds;
    int64_t tokens; /* of this step */
    /* Per stage, of this step: share of the time that it computed, 0 .. 1. NULL if not known. Borrowed. */
    const double *busy;
} sc_progress_step;

/* Returns owned. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_progress_new(const sc_progress_options *options, sc_progress **out);
/* Ends the line, if there is one, so that it stays readable. */
void sc_progress_destroy(sc_progress **self_p);

/* From now on there are so many stages, at most as many as at the beginning. */
void sc_progress_set_stages(sc_progress *self, int n_stages);
/* A step was committed. */
void sc_progress_step_done(sc_progress *self, const sc_progress_step *step);
/* What a stage is doing, as its worker reports it: an action ("2F0", "1RECV_B3", "0STEP") or "idle". */
void sc_progress_doing(sc_progress *self, int stage, const char *action);
/* The scores of `what` ("validation", "test"): a line of its own, always. */
void sc_progress_eval(sc_progress *self, int64_t step, const char *what, const sc_score_list *scores);
/* A line of its own above the progress line; `format` without newline. */
void sc_progress_note(sc_progress *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes the line off the terminal, and lets it come back. Nothing is drawn in between; may be nested. */
void sc_progress_suspend(sc_progress *self);
void sc_progress_resume(sc_progress *self);

/* "59s", "2:31", "1:02:03", "3d 04h"; "-" if it is not known (negative or not finite). Returns `text`. */
const char *sc_progress_duration(double seconds, char *text, size_t text_bytes);
/* "512", "5.1k", "1.2M". Returns `text`. */
const char *sc_progress_count(double count, char *text, size_t text_bytes);

#endif
