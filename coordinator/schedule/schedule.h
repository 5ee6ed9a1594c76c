/* Schedules: pure functions from sizes to a plan. One file a schedule; schedule.c has their table.
 *
 * All of them put a RECV right before the action that uses it and a SEND right behind the one that makes it, and add
 * weight gradients in micro-batch order. What they return passes sc_plan_validate. */
#ifndef SC_SCHEDULE_H
#define SC_SCHEDULE_H

#include "proto/base/config.h"
#include "proto/base/plan.h"

/* "gpipe", "1f1b". Static storage. */
const char *sc_schedule_name(sc_schedule_kind kind);
/* Errors: SC_NOT_FOUND, with the names that there are. */
sc_status sc_schedule_find(const char *name, sc_schedule_kind *out);

/* The plan of one step over S workers with K chunks each and M micro-batches. In forward mode every schedule is the same
 * list of forwards. `tied`: the first and the last stage share a matrix, whose gradient they add before STEP.
 * Returns owned in *out. Errors: SC_INVALID for sizes out of range and a K that the schedule cannot use. */
sc_status sc_schedule_make(sc_schedule_kind kind, int S, int K, int M, sc_plan_mode mode, bool tied, sc_plan **out);
/* A training step whose first n_frozen stages learn nothing: all their forwards as the activations come, no backward, and no
 * gradient sent to them. Errors: as above; SC_INVALID unless 0 <= n_frozen < S * K. */
sc_status sc_schedule_make_frozen(sc_schedule_kind kind, int S, int K, int M, bool tied, int n_frozen, sc_plan **out);

#endif
