/* Loops with sums: LayerNorm, column sums, cross-entropy, norms. Part of loops_<isa>.c; see loops.h. */

/* Adds x[i] for the last, partial vector of a row. */
#define FOR_VECTORS(i, m, n) for (size_t i = 0, m = 0; (m = (n)-i < W ? (n)-i : W), i < (n); i += W)

INLINE vf load_up_to(const float *p, size_t m)
{
    return m == W ? load(p) : load_part(p, m);
}

INLINE void store_up_to(float *p, vf v, size_t m)
{
    if (m == W)
        store(p, v);
    else
        store_part(p, v, m);
}

static void column_sums(float *sums, const float *x, int rows, int columns)
{
    size_t n = (size_t)columns;
    memset(sums, 0, n * sizeof *sums);
    for (int r = 0; r < rows; r++)
        add(sums, sums, x + (size_t)r * n, n);
}

static void layernorm_forward(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                              int rows, int C, float epsilon)
{
    size_t n = (size_t)C;
    for (int r = 0; r < rows; r++, x += n, y += n) {
        vf sum = {0}, squares = {0};
        FOR_VECTORS(i, m, n)
        sum += load_up_to(x + i, m);
        float mu = sum_lanes(sum) / (float)C;
        FOR_VECTORS(i, m, n)
        {
            vf d = load_up_to(x + i, m) - splat(mu);
            if (m < W)
                d = select_(lane_numbers() < (vi){0} + (int)m, d, (vf){0});
            squares = fma_(d, d, squares);
        }
        float rs = 1.0f / sqrtf(sum_lanes(squares) / (float)C + epsilon);
        FOR_VECTORS(i, m, n)
        {
            vf xhat = (load_up_to(x + i, m) - splat(mu)) * splat(rs);
            store_up_to(y + i, fma_(xhat, load_up_to(w + i, m), load_up_to(b + i, m)), m);
        }
        mean[r] = mu;
        rstd[r] = rs;
    }
}

static void layernorm_backward_input(float *dx, const float *dy, const float *x, const float *w, const float *mean,
                                     const float *rstd, int rows, int C, bool add_to)
{
    size_t n = (size_t)C;
    for (int r = 0; r < rows; r++, x += n, dy += n, dx += n) {
        vf mu = splat(mean[r]), rs = splat(rstd[r]), sum_g = {0}, sum_gx = {0};
        FOR_VECTORS(i, m, n)
        {
            vf g = load_up_to(dy + i, m) * load_up_to(w + i, m); /* 0 in the lanes beyond the end */
            sum_g += g;
            sum_gx = fma_(g, (load_up_to(x + i, m) - mu) * rs, sum_gx);
        }
        vf mean_g = splat(sum_lanes(sum_g) / (float)C), mean_gx = splat(sum_lanes(sum_gx) / (float)C);
        FOR_VECTORS(i, m, n)
        {
            vf xhat = (load_up_to(x + i, m) - mu) * rs;
            vf d = rs * (load_up_to(dy + i, m) * load_up_to(w + i, m) - mean_g - xhat * mean_gx);
            store_up_to(dx + i, add_to ? load_up_to(dx + i, m) + d : d, m);
        }
    }
}

static void layernorm_backward_weight(float *dw, float *db, const float *dy, const float *x, const float *mean,
                                      const float *rstd, int rows, int C)
{
    size_t n = (size_t)C;
    memset(dw, 0, n * sizeof *dw);
    memset(db, 0, n * sizeof *db);
    for (int r = 0; r < rows; r++, x += n, dy += n) {
        vf mu = splat(mean[r]), rs = splat(rstd[r]);
        FOR_VECTORS(i, m, n)
        {
            vf d = load_up_to(dy + i, m), xhat = (load_up_to(x + i, m) - mu) * rs;
            store_up_to(dw + i, fma_(d, xhat, load_up_to(dw + i, m)), m);
            store_up_to(db + i, load_up_to(db + i, m) + d, m);
        }
    }
}

/* The row is read in blocks that stay in the first-level cache: maximum, then the exponentials against the maximum so far,
 * the sum rescaled where it rose. Then one more pass writes the gradient. */
static void cross_entropy(float *loss, float *dx, const float *x, int target, int V, float scale)
{
    enum { BLOCK = 2048 };
    size_t n = (size_t)V;
    float max = -INFINITY, at_target = x[target];
    double sum = 0;
    for (size_t start = 0; start < n; start += BLOCK) {
        size_t length = n - start < BLOCK ? n - start : BLOCK;
        const float *block = x + start;
        vf top = splat(-INFINITY), part = {0};
        size_t whole = length / W * W;
        for (size_t i = 0; i < whole; i += W)
            top = max_(top, load(block + i));
        float block_max = max_lanes(top);
        for (size_t i = whole; i < length; i++)
            block_max = block[i] > block_max ? block[i] : block_max;
        if (block_max > max) {
            sum *= exp((double)max - (double)block_max);
            max = block_max;
        }
        for (size_t i = 0; i < whole; i += W)
            part += exp_(load(block + i) - splat(max));
        if (whole < length) {
            vf e = exp_(load_part(block + whole, length - whole) - splat(max));
            part += select_(lane_numbers() < (vi){0} + (int)(length - whole), e, (vf){0});
        }
        sum += sum_lanes(part);
    }
    *loss = (float)((double)max + log(sum) - at_target);
    if (!dx)
        return;
    vf factor = splat((float)(scale / sum)), shift = splat(max);
    float e_target = expf(at_target - max);
    FOR_VECTORS(i, m, n)
    store_up_to(dx + i, exp_(load_up_to(x + i, m) - shift) * factor, m);
    dx[target] = (float)((e_target / sum - 1) * (double)scale);
}

static bool is_largest(const float *x, int target, int V)
{
    size_t at = (size_t)target, n = (size_t)V;
    float most = x[at];
    int larger = 0;
    for (size_t i = 0; i < at; i++)
        larger += !(x[i] < most);
    for (size_t i = at + 1; i < n; i++)
        larger += !(x[i] <= most);
    return larger == 0;
}

/* Sums in double: four vectors of lanes, lane by lane, then in order. */
static double sum(const float *x, size_t n)
{
    vd a[4] = {0};
    size_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) {
        vf x0 = load(x + i), x1 = load(x + i + W);
        a[0] += low_double(x0), a[1] += high_double(x0), a[2] += low_double(x1), a[3] += high_double(x1);
    }
    double total = sum_double_lanes(a[0]) + sum_double_lanes(a[1]) + sum_double_lanes(a[2]) + sum_double_lanes(a[3]);
    for (; i < n; i++)
        total += x[i];
    return total;
}

static double sum_squares(const float *x, size_t n)
{
    vd a[4] = {0};
    size_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) {
        vf x0 = load(x + i), x1 = load(x + i + W);
        vd d[4] = {low_double(x0), high_double(x0), low_double(x1), high_double(x1)};
        for (int j = 0; j < 4; j++)
            a[j] += d[j] * d[j];
    }
    double total = sum_double_lanes(a[0]) + sum_double_lanes(a[1]) + sum_double_lanes(a[2]) + sum_double_lanes(a[3]);
    for (; i < n; i++)
        total += (double)x[i] * x[i];
    return total;
}
