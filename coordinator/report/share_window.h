/* The share of one label among the last texts of a stream, and the alarm when it rises above a threshold. Pure.
 *
 *   QUIET --the window is full, share > above--> ALARMED, which is told once
 *   ALARMED --share <= below--> QUIET
 *
 * `below` <= `above` is the hysteresis: a share that wavers about the threshold is one alarm, not many. */
#ifndef SC_SHARE_WINDOW_H
#define SC_SHARE_WINDOW_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sc_share_window {
    bool *has; /* [size]: a ring */
    size_t size, at;
    size_t n, n_has; /* in the window, and those with the label */
    double above, below;
    bool alarmed;
} sc_share_window;

/* size > 0, 0 <= below <= above < 1. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_share_window_init(sc_share_window *self, size_t size, double above, double below);
void sc_share_window_clear(sc_share_window *self);
/* One text more, with the label or without. Whether that is an alarm. */
bool sc_share_window_add(sc_share_window *self, bool has);
/* 0 while the window is empty. */
double sc_share_window_share(const sc_share_window *self);

#endif
