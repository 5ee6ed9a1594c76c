/* The ready file: how probes of a container see whether a worker is a member of a run. It is there while the worker is, and is
 * touched again and again, so that one that a dead worker left behind is told from a living one's. Thread: one. */
#ifndef SC_READY_FILE_H
#define SC_READY_FILE_H

#include "proto/base/status.h"

#include <stdbool.h>

enum {
    SC_READY_FILE_TOUCH_MS = 1000,
    SC_READY_FILE_FRESH_S = 15, /* a worker that has not touched it for so long hangs, or is gone */
};

/* Removes one that an earlier worker has left. Errors: SC_INVALID (no file can be made there). */
sc_status sc_ready_file_begin(const char *path);
/* Makes it, or says that it still holds. Errors: SC_UNAVAILABLE (a full disk, say). */
sc_status sc_ready_file_touch(const char *path);
void sc_ready_file_remove(const char *path);

/* SC_OK if a worker is ready. Errors: SC_NOT_FOUND; SC_UNAVAILABLE (nobody has touched it for a while). */
sc_status sc_ready_file_check(const char *path);

#endif
