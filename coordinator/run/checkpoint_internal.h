/* What the parts of the checkpoint store share: the names in a set. */
#ifndef SC_CHECKPOINT_INTERNAL_H
#define SC_CHECKPOINT_INTERNAL_H

#include "coordinator/run/checkpoint.h"

#define SC_CHECKPOINT_SETS        "checkpoints"
#define SC_CHECKPOINT_SHARED_SETS "shared-checkpoints"
#define SC_CHECKPOINT_MANIFEST    "manifest.json"
#define SC_CHECKPOINT_MODEL       "config.json"
#define SC_CHECKPOINT_TOKENIZER   "stagecoach_tokenizer.json"

enum {
    SC_CHECKPOINT_NAME_BYTES = 48,            /* "step-" and two numbers */
    SC_MANIFEST_MAX_BYTES = 64 * 1024 * 1024, /* a config's megabyte, and the plan of the largest pipeline */
};

/* "step-00000100", "step-00000100.2" for save 2. Returns `name`. */
const char *sc_checkpoint_name(int64_t step, uint64_t number, char name[SC_CHECKPOINT_NAME_BYTES]);
/* The directory of sets in DIR. */
const char *sc_checkpoint_place_name(sc_checkpoint_place place);
/* The number of the next save into DIR, above `above` and all that there were, and a name that was never used. */
sc_status sc_checkpoint_next(const char *dir, uint64_t above, int64_t step, uint64_t *save,
                             char name[SC_CHECKPOINT_NAME_BYTES]);
/* Removes the files of the set at `path`, its manifest first, so that no reader ever takes what is left for complete. */
void sc_checkpoint_empty(const char *path);
/* And the set itself. */
void sc_checkpoint_remove(const char *path);

#endif
