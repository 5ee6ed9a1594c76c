/* The documents of the API, made of a copy of the board. Each returns a new reference, NULL if memory ran out; a number that is
 * not finite is null. openapi.json says what is in them. Pure. */
#ifndef SC_VIEWS_H
#define SC_VIEWS_H

#include "coordinator/status/board.h"

json_t *sc_views_status(const sc_board_view *view);
/* Stages with the workers that serve them, and the spares. */
json_t *sc_views_stages(const sc_board_view *view);
json_t *sc_views_checkpoints(const sc_board_view *view);
json_t *sc_views_steps(const sc_history_point *points, int n);
/* Of lines as sc_board_events gives them; `last` is the id after which to ask next. */
json_t *sc_views_events(char *const *lines, int n, uint64_t first_id, uint64_t last);
/* Whether the run's thread comes by, as it does several times a second while a run lasts, except while it loads data and while
 * it writes what is left at the end. */
bool sc_views_is_alive(const sc_board_view *view);
json_t *sc_views_health(const sc_board_view *view);
/* RFC 9457. */
json_t *sc_views_problem(unsigned status, const char *title, const char *detail);

/* A stage's share of the last step that it computed, and the share of all stages that they did not; NaN if it is not known. */
double sc_views_busy(const sc_board_view *view, int stage);
double sc_views_bubble(const sc_board_view *view);
/* Seconds to the end; NaN if it is not known. */
double sc_views_eta(const sc_board_view *view);
/* Seconds since 1970 as "2026-01-31T12:00:00Z". Returns `out`. */
const char *sc_views_time(double seconds, char out[32]);

#endif
