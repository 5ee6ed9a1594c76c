#include "proto/base/rng.h"

#include <math.h>

void sc_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* golden ratio, sqrt(3) - 1: the Weyl sequence of the paper */
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

static void block_of(const sc_rng *rng, uint64_t block, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)block, rng->row, rng->step, rng->site};
    const uint32_t key[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
    sc_rng_philox(counter, key, out);
}

uint32_t sc_rng_u32(const sc_rng *rng, uint64_t index)
{
    uint32_t out[4];
    block_of(rng, index / 4, out);
    return out[index % 4];
}

float sc_rng_uniform(const sc_rng *rng, uint64_t index)
{
    return (float)(sc_rng_u32(rng, index) >> 8) * 0x1p-24f;
}

double sc_rng_uniform64(const sc_rng *rng, uint64_t index)
{
    return sc_rng_u32(rng, index) * 0x1p-32;
}

uint64_t sc_rng_below(const sc_rng *rng, uint64_t index, uint64_t n)
{
    uint64_t bits = (uint64_t)sc_rng_u32(rng, 2 * index) << 32 | sc_rng_u32(rng, 2 * index + 1);
    return (uint64_t)(((unsigned __int128)bits * n) >> 64);
}

float sc_rng_normal(const sc_rng *rng, uint64_t index)
{
    uint32_t out[4];
    block_of(rng, index / 4, out);
    const uint32_t *pair = out + (index % 4 & ~1u);
    double radius = sqrt(-2.0 * log((pair[0] + 1.0) * 0x1p-32)); /* + 1: never the logarithm of 0 */
    double angle = 2.0 * 3.14159265358979323846 * (pair[1] * 0x1p-32);
    return (float)(radius * (index % 2 ? sin(angle) : cos(angle)));
}
