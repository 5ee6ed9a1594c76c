#define SC_LOOPS     sc_loops_avx2
#define SC_LOOPS_ISA "avx2"
#include "kernels/cpu/loops_all.inc.h"
