#define SC_LOOPS     sc_loops_avx512
#define SC_LOOPS_ISA "avx512"
#include "kernels/cpu/loops_all.inc.h"
