/* The curve of a run: a point for each step, of which the newest are all kept and the older are thinned.
 *
 * Mental model. The last SC_HISTORY_RECENT steps lie in a ring. What falls out of it goes to the old ones if its step is a
 * multiple of the stride; when there are SC_HISTORY_OLD of those, the stride doubles and every second goes. So the memory
 * is the same for a thousand steps and for a thousand million, and what is left spans the whole run evenly.
 * Steps rise; a step that is not above the last one (training went back to an older state) takes those from it on away.
 * Pure. Thread: one owns it. */
#ifndef SC_HISTORY_H
#define SC_HISTORY_H

#include "proto/base/status.h"

#include <stdint.h>

enum { SC_HISTORY_RECENT = 4096, SC_HISTORY_OLD = 8192 };

typedef struct sc_history_point {
    int64_t step; /* from 1 */
    int64_t tokens;
    float loss, grad_norm, lr, seconds; /* NaN: was not finite */
} sc_history_point;

typedef struct sc_history sc_history;

/* Returns owned; all the memory that it will ever take. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_history_new(sc_history **out);
void sc_history_destroy(sc_history **self_p);

void sc_history_add(sc_history *self, const sc_history_point *point);
/* How many there are. */
int sc_history_count(const sc_history *self);
/* In order of steps, 0 .. count - 1. */
const sc_history_point *sc_history_at(const sc_history *self, int index);
/* Copies the newest `most` points of steps above `after`, in order; returns how many. */
int sc_history_last(const sc_history *self, int64_t after, int most, sc_history_point *out);
/* Copies at most `most` points that span the whole run evenly, in order, the newest among them; returns how many. */
int sc_history_spread(const sc_history *self, int most, sc_history_point *out);

#endif
