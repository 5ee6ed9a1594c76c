/* A restore: which state the stages of an assignment need of a point, which parts it comes from, and putting it there.
 *
 * Mental model. At first everything is missing. sc_restore_offer says which pieces of a part would bring something that
 * is still missing and makes the part a source; the caller gets those pieces (from its vault or another worker's), or takes
 * the source back. When nothing is missing, sc_restore_apply copies from the sources into the stages. Ranges of parts and
 * stages need not match: tensors are found by their ordinal.
 *
 * Thread: one at a time; it is handed over whole. */
#ifndef SC_RESTORE_H
#define SC_RESTORE_H

#include "worker/assignment.h"
#include "worker/part.h"

typedef struct sc_restore sc_restore;

/* What the stages of `assignment` need of the point after `optimizer_step`. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_restore_new(const sc_assignment *assignment, uint64_t optimizer_step, sc_restore **out);
void sc_restore_destroy(sc_restore **self_p);

uint64_t sc_restore_step(const sc_restore *self);

/* Makes the part of the blocks `range` a source, for whatever of it is missing. *wanted, owned, NULL if nothing is: an
 * array over the part's pieces. *part: one reference of the caller's, without a piece, of the size that the range has.
 * Errors: SC_INVALID (a range that the model lacks), SC_RESOURCE_EXHAUSTED. */
sc_status sc_restore_offer(sc_restore *self, sc_slice range, sc_part **part, bool **wanted);
/* The last source is `part` after all, which is the same and whole. Takes a reference of its own. */
void sc_restore_use(sc_restore *self, sc_part *part);
/* The last source brings nothing: what it was to bring is missing again. */
void sc_restore_withdraw(sc_restore *self);

bool sc_restore_is_complete(const sc_restore *self);
/* The name of a tensor that is missing; NULL: none is. */
const char *sc_restore_missing(const sc_restore *self);

/* Copies into the stages (by chunk), all of the parameters and moments. `moved` counts tensors.
 * Errors: the backend's. */
sc_status sc_restore_apply(const sc_restore *self, sc_stage *const *stages, int n_stages, atomic_ullong *moved);

#endif
