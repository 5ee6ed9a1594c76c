/* An injectable monotonic clock: everything that waits or measures takes one, so that a test can turn time by hand. */
#ifndef SC_CLOCK_H
#define SC_CLOCK_H

#include <stdint.h>

typedef struct sc_clock {
    /* Nanoseconds since an arbitrary start, never backwards. */
    uint64_t (*now_ns)(void *context);
    void *context;
} sc_clock;

/* CLOCK_MONOTONIC. Thread: any. */
sc_clock sc_clock_system(void);

/* A clock that stands at *now_ns, which the caller owns and moves. */
sc_clock sc_clock_manual(uint64_t *now_ns);

static inline uint64_t sc_clock_ns(const sc_clock *clock)
{
    return clock->now_ns(clock->context);
}

static inline uint64_t sc_clock_ms(const sc_clock *clock)
{
    return sc_clock_ns(clock) / 1000000u;
}

static inline double sc_clock_seconds_since(const sc_clock *clock, uint64_t start_ns)
{
    return (double)(sc_clock_ns(clock) - start_ns) * 1e-9;
}

#endif
