/* TensorBoard's event files: the run's curves for `tensorboard --logdir DIR`.
 *
 * Mental model. The run's thread drops scalars into a queue, and never waits; a thread of its own writes them to a file, a few
 * times a second. Each start of a coordinator begins a new file in the same directory,
 *     events.out.tfevents.SECONDS.HOST.PROCESS
 * whose SECONDS are above those of all that lie there, so that the files' order is that of the starts whatever the clock does.
 * A resumed run says from which step on what was told before is void (a SessionLog START at that step), and so does a run that
 * goes back to an older state: TensorBoard shows each step once.
 *
 * Tags: train/loss, train/grad_norm, train/learning_rate, train/tokens_per_second; eval/KEY and test/KEY for each number of an
 * `eval` and a `test` event (eval/loss, eval/perplexity, and whatever scores the event has).
 *
 * A file that cannot be written (a full disk) is said once; what is not written meanwhile is counted, and told when writing works
 * again. A record is in the file whole or not at all. When the queue is full, what is new is lost and counted too.
 * Source of the format: tensorboard.proto, tfrecord.h. */
#ifndef SC_TENSORBOARD_H
#define SC_TENSORBOARD_H

#include "proto/base/clock.h"
#include "proto/base/status.h"

#include <jansson.h>
#include <stdint.h>

enum {
    SC_TENSORBOARD_TAG_BYTES = 64, /* a longer tag is cut */
    SC_TENSORBOARD_QUEUE = 8192,   /* scalars that may wait for the disk */
    SC_TENSORBOARD_CLOSE_MS = 5000,
};

typedef struct sc_tensorboard sc_tensorboard;

/* Makes the directory, and those above it. `wall`: nanoseconds since 1970. Returns owned. Errors: SC_PERMISSION_DENIED,
 * SC_INVALID, SC_UNAVAILABLE (no directory can be made there), SC_RESOURCE_EXHAUSTED (no memory or no thread). A full disk is none. */
sc_status sc_tensorboard_open(const char *dir, sc_clock wall, sc_tensorboard **out);
/* Writes what is left; a disk that does not answer is waited for SC_TENSORBOARD_CLOSE_MS at most. */
void sc_tensorboard_close(sc_tensorboard **self_p);

/* Thread of all that follow: one, the run's. */

/* Takes from an event of the run (event_log.h) what it has for curves. Borrows. */
void sc_tensorboard_event(sc_tensorboard *self, const json_t *event);
/* One point of the curve `tag` ("eval/f1"). */
void sc_tensorboard_scalar(sc_tensorboard *self, const char *tag, int64_t step, double value);
/* What was told of `step` and later ones is void. */
void sc_tensorboard_restart(sc_tensorboard *self, int64_t step);

#endif
