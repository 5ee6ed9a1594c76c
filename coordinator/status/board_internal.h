/* What the files of the board share. */
#ifndef SC_BOARD_INTERNAL_H
#define SC_BOARD_INTERNAL_H

#include "coordinator/status/board.h"

#include <pthread.h>

struct sc_board {
    pthread_mutex_t lock; /* for all that follows */
    sc_clock clock, wall;
    sc_board_view view; /* `now` and `looked_seconds` are filled in a copy */
    uint64_t looked_ns; /* when sc_board_show was called last; 0: never */
    sc_history *history;
    char *events[SC_BOARD_EVENTS]; /* by id % SC_BOARD_EVENTS */
    char *config, *schedule;
    sc_board_requests requests;
};

/* Copies as much of a text as fits, whole characters. */
void sc_board_copy_text(char *out, size_t out_bytes, const char *text);
/* The event's part in the view and the history. (board_event.c) */
void sc_board_apply_event(sc_board *self, const json_t *event);

#endif
