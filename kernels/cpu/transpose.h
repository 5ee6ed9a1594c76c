/* The transpose of a matrix, for products that want an operand the other way round. */
#ifndef SC_TRANSPOSE_H
#define SC_TRANSPOSE_H

#include <immintrin.h>
#include <stddef.h>

/* to (columns,rows) = from (rows,columns)^T, in 4 x 4 blocks. `from` is read in order, which the processor's prefetching
 * likes; the lines of `to` under way, one for each column, should fit the first-level cache: some 200 columns at most. */
static inline void sc_transpose(float *to, size_t to_ld, const float *from, size_t from_ld, int rows, int columns)
{
    int whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (int r = 0; r < whole_rows; r += 4)
        for (int c = 0; c < whole_columns; c += 4) {
            const float *f = from + (size_t)r * from_ld + c;
            float *t = to + (size_t)c * to_ld + r;
            __m128 r0 = _mm_loadu_ps(f), r1 = _mm_loadu_ps(f + from_ld);
            __m128 r2 = _mm_loadu_ps(f + 2 * from_ld), r3 = _mm_loadu_ps(f + 3 * from_ld);
            _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
            _mm_storeu_ps(t, r0), _mm_storeu_ps(t + to_ld, r1);
            _mm_storeu_ps(t + 2 * to_ld, r2), _mm_storeu_ps(t + 3 * to_ld, r3);
        }
    for (int r = 0; r < rows; r++)
        for (int c = r < whole_rows ? whole_columns : 0; c < columns; c++)
            to[(size_t)c * to_ld + (size_t)r] = from[(size_t)r * from_ld + (size_t)c];
}

#endif
