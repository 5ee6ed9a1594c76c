/* The run as text for a terminal, made of two documents of the API (views.h).
 *
 *   runs/demo  training  step 120/500 (24%)  loss 1.8421  5.1k tok/s  2:31 left
 *   generation 1, 4 of 4 workers, bubble 12%, 0 losses, checkpoint of step 100
 *
 *   stage  worker          doing      blocks  busy  forward  backward  waits
 *       0  host:1201       0F3        0-1      88%   0.012s    0.025s  0.004s
 *
 * Pure. */
#ifndef SC_STATUS_TEXT_H
#define SC_STATUS_TEXT_H

#include <jansson.h>
#include <stdio.h>

/* Members that are missing, or of another type, are shown as "-". Lines are cut at `width` columns (0: not at all). */
void sc_status_text_print(const json_t *status, const json_t *stages, int width, FILE *out);

#endif
