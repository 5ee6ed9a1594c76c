/* The run directory: all that a run leaves behind.
 *
 *   DIR/config.yaml        the resolved configuration
 *   DIR/events.jsonl       what happened (event_log.h)
 *   DIR/logs/worker-0.log  what local workers logged
 *   DIR/checkpoints/       what the run goes on from (checkpoint.h)
 *   DIR/shared-checkpoints -> checkpoint.dir      the same in a directory that all hosts share
 *   DIR/lineage            while workers from elsewhere may hold its state in their memories (lineage.h)
 *   DIR/status.url         where the status server is, while there is one
 *   DIR/final/             the weights: model.safetensors, config.json, stagecoach_tokenizer.json and Hugging Face's form of it
 *   DIR/test.pred, DIR/test.json    what was predicted of the test, and its scores; without a test validation.pred and
 *                          validation.json (trainer_finish.c)
 *   DIR/lock               held (flock) while a coordinator runs, with its host, pid and start
 *   DIR/earlier/1/         what an earlier run in the same directory had left: moved aside, never overwritten
 *
 * The shared directory has the same kind of lock, so that two runs cannot share it; .stagecoach-token, by which a worker knows
 * that it sees the same directory; the sets (step-00000100, ...); and earlier/1, ... behind --fresh --force. A run finds
 * its sets in both places, so checkpoint.dir may be set, or left out, between one start and the next; a run directory
 * that is new goes on with what the shared directory has.
 *
 * The kernel lets go of a lock when its holder dies, however it dies. On NFS it holds between hosts where the server has
 * locks; where there are none that is said, and a second coordinator is not noticed. */
#ifndef SC_RUN_DIR_H
#define SC_RUN_DIR_H

#include "coordinator/data/tokenizer.h"
#include "proto/base/config.h"

#define SC_RUN_DIR_URL "status.url"

typedef struct sc_run_dir sc_run_dir;

typedef enum sc_run_dir_mode {
    SC_RUN_DIR_RESUME, /* a run with checkpoints, or a lineage, stays, to be gone on with; another is moved aside */
    SC_RUN_DIR_FRESH,  /* a run with checkpoints is an error */
    SC_RUN_DIR_FRESH_FORCED, /* a run is moved aside, checkpoints and all */
} sc_run_dir_mode;

/* Makes the directory, and checkpoint.dir, with their parents and locks them; an earlier run is dealt with as `mode` says. Returns owned.
 * *moved_to (may be NULL) is "" or where the earlier run lies now.
 * Errors: SC_FAILED_PRECONDITION naming who holds the lock, or the checkpoints; SC_PERMISSION_DENIED,
 * SC_RESOURCE_EXHAUSTED, SC_INVALID. */
sc_status sc_run_dir_open(const sc_config *config, sc_run_dir_mode mode, sc_run_dir **out, const char **moved_to);
/* Writes config.yaml: once it is known that the run may go on with this configuration. */
sc_status sc_run_dir_write_config(sc_run_dir *self, const sc_config *config);
/* Unlocks. */
void sc_run_dir_close(sc_run_dir **self_p);

/* checkpoint.dir as an absolute path, NULL without the key; and the content of its token file. */
const char *sc_run_dir_shared(const sc_run_dir *self);
const char *sc_run_dir_token(const sc_run_dir *self);

/* DIR itself. */
const char *sc_run_dir_root(const sc_run_dir *self);
/* DIR/<name>; valid while the directory is open, until eight more calls. */
const char *sc_run_dir_path(sc_run_dir *self, const char *name);

#endif
