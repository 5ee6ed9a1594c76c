#define SC_LOOPS     sc_loops_base
#define SC_LOOPS_ISA "base"
#include "kernels/cpu/loops_all.inc.h"
