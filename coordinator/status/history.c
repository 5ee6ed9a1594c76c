#include "coordinator/status/history.h"

#include <stdlib.h>
#include <string.h>

struct sc_history {
    sc_history_point recent[SC_HISTORY_RECENT]; /* a ring: the oldest at `first` */
    sc_history_point old[SC_HISTORY_OLD];
    int first, n_recent, n_old;
    int64_t stride;
};

sc_status sc_history_new(sc_history **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the history of the steps");
    (*out)->stride = 1;
    return SC_OK;
}

void sc_history_destroy(sc_history **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

int sc_history_count(const sc_history *self)
{
    return self->n_old + self->n_recent;
}

const sc_history_point *sc_history_at(const sc_history *self, int index)
{
    if (index < self->n_old)
        return &self->old[index];
    return &self->recent[(self->first + index - self->n_old) % SC_HISTORY_RECENT];
}

/* Takes away the points of this step and those behind it. */
static void go_back(sc_history *self, int64_t step)
{
    while (self->n_recent > 0 && sc_history_at(self, sc_history_count(self) - 1)->step >= step)
        self->n_recent--;
    while (self->n_recent == 0 && self->n_old > 0 && self->old[self->n_old - 1].step >= step)
        self->n_old--;
}

static void thin(sc_history *self)
{
    int n = 0;
    self->stride *= 2;
    for (int i = 0; i < self->n_old; i++)
        if (self->old[i].step % self->stride == 0)
            self->old[n++] = self->old[i];
    self->n_old = n;
}

/* The oldest recent point becomes an old one, or goes. */
static void retire(sc_history *self)
{
    const sc_history_point *point = &self->recent[self->first];
    while (self->n_old == SC_HISTORY_OLD) /* again where all steps are multiples of a higher power of two */
        thin(self);
    if (point->step % self->stride == 0)
        self->old[self->n_old++] = *point;
    self->first = (self->first + 1) % SC_HISTORY_RECENT;
    self->n_recent--;
}

void sc_history_add(sc_history *self, const sc_history_point *point)
{
    go_back(self, point->step);
    if (self->n_recent == SC_HISTORY_RECENT)
        retire(self);
    self->recent[(self->first + self->n_recent++) % SC_HISTORY_RECENT] = *point;
}

int sc_history_last(const sc_history *self, int64_t after, int most, sc_history_point *out)
{
    const int count = sc_history_count(self);
    int n = 0;
    while (n < most && n < count && sc_history_at(self, count - 1 - n)->step > after)
        n++;
    for (int i = 0; i < n; i++)
        out[i] = *sc_history_at(self, count - n + i);
    return n;
}

/* The last point of each of `most` equal ranges of steps. */
int sc_history_spread(const sc_history *self, int most, sc_history_point *out)
{
    const int count = sc_history_count(self);
    if (count <= most)
        return sc_history_last(self, 0, most, out);
    const int64_t begin = sc_history_at(self, 0)->step, end = sc_history_at(self, count - 1)->step;
    const double scale = (double)most / (double)(end - begin + 1);
    int n = 0;
    for (int i = 0, last = -1; i < count; i++) {
        const sc_history_point *point = sc_history_at(self, i);
        const int range = (int)((double)(point->step - begin) * scale);
        if (range != last && n < most)
            n++;
        last = range;
        out[n - 1] = *point;
    }
    return n;
}
