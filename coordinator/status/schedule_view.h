/* A schedule as the API shows it: each worker's actions in order, and the grid that they make in imagined time, in which a forward
 * takes 1, a backward 2, and messages nothing. A plan of more than SC_SCHEDULE_VIEW_ACTIONS is named, without its actions.
 * Returns owned JSON, NULL if memory ran out. Pure. */
#ifndef SC_SCHEDULE_VIEW_H
#define SC_SCHEDULE_VIEW_H

#include "proto/base/plan.h"

enum { SC_SCHEDULE_VIEW_ACTIONS = 32768 };

char *sc_schedule_view(const sc_plan *plan);

#endif
