/* A file that appears: how a cloud or a scheduler says that this machine will be taken away soon. One that is there already
 * says nothing. Thread: one. */
#ifndef SC_PREEMPT_H
#define SC_PREEMPT_H

#include "proto/base/status.h"

#include <stdbool.h>

/* *fd, the caller's to close, is readable when something happens in the file's directory.
 * Errors: SC_INVALID (a path that ends in a slash, or a directory that is not there); SC_RESOURCE_EXHAUSTED. */
sc_status sc_preempt_open(const char *path, int *fd);
/* Takes what happened: whether it was the file. */
bool sc_preempt_take(int fd, const char *path);

#endif
