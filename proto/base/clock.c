#include "proto/base/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t system_now_ns(void *context)
{
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t manual_now_ns(void *context)
{
    return *(const uint64_t *)context;
}

sc_clock sc_clock_system(void)
{
    return (sc_clock){.now_ns = system_now_ns, .context = NULL};
}

sc_clock sc_clock_manual(uint64_t *now_ns)
{
    return (sc_clock){.now_ns = manual_now_ns, .context = now_ns};
}
