/* What the parts of the checkpoint store share: the names in a set. */
#ifndef SC_CHECKPOINT_INTERNAL_H
#define SC_CHECKPOINT_INTERNAL_H

#include "coordinator/run/checkpoint.h"

#define SC_CHECKPOINT_SETS      "checkpoints"
#define SC_CHECKPOINT_MANIFEST  "manifest.json"
#define SC_CHECKPOINT_MODEL     "config.json"
#define SC_CHECKPOINT_TOKENIZER "stagecoach_tokenizer.json"

enum {
    SC_CHECKPOINT_NAME_BYTES = 48,            /* "step-" and two numbers */
    SC_MANIFEST_MAX_BYTES = 64 * 1024 * 1024, /* a config's megabyte, and the plan of the largest pipeline */
};

/* "step-00000100", "step-00000100.2" for the second save of a step. Returns `name`. */
const char *sc_checkpoint_name(int64_t step, int number, char name[SC_CHECKPOINT_NAME_BYTES]);
/* One more than the highest number of a save in DIR. */
sc_status sc_checkpoint_next_save(const char *dir, uint64_t *save);
/* Removes the set at `path`, its manifest first, so that no reader ever takes what is left for complete. */
void sc_checkpoint_remove(const char *path);

#endif
