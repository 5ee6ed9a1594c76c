#include "kernels/cpu/loops.h"

#include <stdlib.h>
#include <string.h>

sc_status sc_loops_choose(const sc_loops **out)
{
    const char *wanted = getenv("SC_CPU_ISA");
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    const struct {
        const sc_loops *loops;
        bool runs;
    } tables[] = {{&sc_loops_avx512, avx512}, {&sc_loops_avx2, avx2}, {&sc_loops_base, true}};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        bool named = wanted && strcmp(wanted, tables[i].loops->isa) == 0;
        if (named && !tables[i].runs)
            return SC_FAIL(SC_FAILED_PRECONDITION, "SC_CPU_ISA=%s, but this processor does not have it; unset it",
                           wanted);
        if (named || (!wanted && tables[i].runs)) {
            *out = tables[i].loops;
            return SC_OK;
        }
    }
    return SC_FAIL(SC_INVALID, "SC_CPU_ISA=%s is no instruction set known here; use avx512, avx2 or base", wanted);
}
