/* The lineage of a run: a number under which workers keep parts of its points, so that a coordinator that was started again
 * knows which are its own. RUN/lineage holds it, with a hash of all that decides the bits of a step: when that has changed, or
 * there is no file, the lineage is a new one, and what workers keep of the old one is nobody's. */
#ifndef SC_LINEAGE_H
#define SC_LINEAGE_H

#include "coordinator/run/resume.h"

/* What decides the bits of a run's steps, beside the workers' number and the schedule. Pure. */
uint64_t sc_lineage_fingerprint(const sc_run_identity *identity);
/* A number that was never used, not 0. Errors: SC_INTERNAL (no random numbers). */
sc_status sc_lineage_new(uint64_t *lineage);
/* Reads the file, or makes it anew. Errors: of the file system, SC_INTERNAL. */
sc_status sc_lineage_load(const char *path, uint64_t fingerprint, uint64_t *lineage);

#endif
