#include "coordinator/report/share_window.h"

#include <assert.h>
#include <stdlib.h>

sc_status sc_share_window_init(sc_share_window *self, size_t size, double above, double below)
{
    assert(size > 0 && below <= above);
    *self = (sc_share_window){.has = calloc(size, sizeof *self->has), .size = size, .above = above, .below = below};
    return self->has ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a window of %zu texts", size);
}

void sc_share_window_clear(sc_share_window *self)
{
    free(self->has);
    *self = (sc_share_window){0};
}

bool sc_share_window_add(sc_share_window *self, bool has)
{
    if (self->n == self->size)
        self->n_has -= self->has[self->at];
    else
        self->n++;
    self->has[self->at] = has;
    self->n_has += has;
    self->at = (self->at + 1) % self->size;
    const double share = sc_share_window_share(self);
    const bool rises = !self->alarmed && self->n == self->size && share > self->above;
    if (rises)
        self->alarmed = true;
    else if (share <= self->below)
        self->alarmed = false;
    return rises;
}

double sc_share_window_share(const sc_share_window *self)
{
    return self->n ? (double)self->n_has / (double)self->n : 0;
}
