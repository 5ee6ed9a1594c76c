#include "coordinator/data/windows.h"

#include "proto/base/rng.h"

#include <assert.h>

/* Places of the purpose SC_RNG_SHUFFLE. */
enum { PLACE_PERMUTATION, PLACE_OFFSET };

/* Four rounds make a Feistel network with random round functions hard to tell from a random permutation (Luby & Rackoff
 * 1988), which speaks of large domains; small ones get as many again. */
enum { ROUNDS = 8 };

static sc_rng rng_of(uint64_t seed, uint32_t epoch, uint32_t place)
{
    return (sc_rng){.seed = seed, .site = SC_RNG_SITE(SC_RNG_SHUFFLE, place), .row = epoch};
}

uint64_t sc_windows_permute(uint64_t seed, uint32_t epoch, uint64_t n, uint64_t index)
{
    assert(n > 0 && n <= (uint64_t)1 << 62 && index < n);
    const sc_rng rng = rng_of(seed, epoch, PLACE_PERMUTATION);
    unsigned half = 1; /* bits */
    while (half < 31 && n > (uint64_t)1 << (2 * half))
        half++;
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = index >> half, right = index & mask;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint64_t mixed = left ^ (sc_rng_u32(&rng, round << half | right) & mask);
            left = right;
            right = mixed;
        }
        index = left << half | right;
    } while (index >= n);
    return index;
}

uint64_t sc_windows_per_epoch(uint64_t n, int T)
{
    assert(T > 0 && n > (uint64_t)T);
    uint64_t fit = n / (uint64_t)T;
    return fit > 2 ? fit - 1 : 1;
}

uint64_t sc_windows_offset(uint64_t n, int T, uint64_t seed, uint32_t epoch)
{
    uint64_t room = n - sc_windows_per_epoch(n, T) * (uint64_t)T; /* offsets that leave the last target inside */
    const sc_rng rng = rng_of(seed, epoch, PLACE_OFFSET);
    return sc_rng_below(&rng, 0, room);
}

uint64_t sc_windows_start(uint64_t n, int T, uint64_t seed, uint32_t epoch, uint64_t index)
{
    uint64_t window = sc_windows_permute(seed, epoch, sc_windows_per_epoch(n, T), index);
    return sc_windows_offset(n, T, seed, epoch) + window * (uint64_t)T;
}

uint64_t sc_windows_spread(uint64_t n, int T, uint64_t n_rows, uint64_t i)
{
    assert(T > 0 && n > (uint64_t)T && i < n_rows);
    if (n_rows == 1)
        return 0;
    return (uint64_t)((unsigned __int128)i * (n - (uint64_t)T - 1) / (n_rows - 1));
}
