/* The run in Prometheus' text format (version 0.0.4), names and units by its rules: base units, _total for what only grows,
 * labels of few values. Source: prometheus.io/docs/instrumenting/exposition_formats, /docs/practices/naming.
 * Returns owned, NULL if memory ran out. Pure. */
#ifndef SC_METRICS_H
#define SC_METRICS_H

#include "coordinator/status/board.h"

char *sc_metrics_text(const sc_board_view *view, uint64_t n_requests);

#endif
