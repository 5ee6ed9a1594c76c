/* The reference's backward operations against finite differences of its forward operations.
 *
 * For f (x) = sum over i of weight[i] * forward (x)[i], the derivative along a random direction u is
 *     (f (x + h u) - f (x - h u)) / 2h,
 * and must equal the sum of gradient * u. f is summed in double from float32 outputs, each rounded at 2^-24 of itself, so
 * the quotient is off by about 2^-24 sqrt (n) / h; its own error is h^2 times a third derivative. With h = 1e-2 and some
 * hundred outputs of size 1, both are below 1e-3 of a derivative of size 10. */
#include "tests/backend/backend.h"

static const double STEP = 1e-2, BOUND = 2e-3;

/* One operation under test: what it reads (`x`, moved along u), and its weighted output. */
typedef struct probe {
    double (*value)(const void *self, const float *x);
    const void *self;
} probe;

static const sc_ops *ops = &sc_ops_reference;
static sc_stream *stream;

static int setup(void **state)
{
    (void)state;
    return ops->stream_new(0, 1, &stream) == SC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    ops->stream_destroy(&stream);
    return 0;
}

static double weighted(const float *weight, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)weight[i] * y[i];
    return sum;
}

/* gradient: d value / d x, as the backward operation gave it. */
static void check_gradient(const char *name, probe p, const float *x, const float *gradient, size_t n)
{
    for (uint32_t direction = 0; direction < 4; direction++) {
        float *u = random_floats(n, 100 + direction, 1), *moved = random_floats(n, 1, 0);
        double predicted = weighted(u, gradient, n), norm = sqrt(weighted(gradient, gradient, n));
        for (size_t i = 0; i < n; i++)
            moved[i] = (float)(x[i] + STEP * u[i]);
        double up = p.value(p.self, moved);
        for (size_t i = 0; i < n; i++)
            moved[i] = (float)(x[i] - STEP * u[i]);
        double measured = (up - p.value(p.self, moved)) / (2 * STEP);
        if (!(fabs(measured - predicted) <= BOUND * norm))
            fail_msg("%s, direction %u: measured %.6g, predicted %.6g, norm %.3g", name, direction, measured, predicted,
                     norm);
        free(u), free(moved);
    }
}

/* --- LayerNorm --------------------------------------------------------------------------------------------------------- */

enum { N = 6, C = 10, OUT = 14 };

typedef struct layernorm_case {
    const float *x, *w, *b, *dy;
    int which; /* what moves: x, w, b */
} layernorm_case;

static double layernorm_value(const void *self, const float *moved)
{
    const layernorm_case *t = self;
    float y[N * C], mean[N], rstd[N];
    OK(ops->layernorm_forward(stream, y, mean, rstd, t->which == 0 ? moved : t->x, t->which == 1 ? moved : t->w,
                              t->which == 2 ? moved : t->b, N, C, 1e-5f));
    return weighted(t->dy, y, N * C);
}

static void layernorm(void **state)
{
    (void)state;
    float *x = random_floats(N * C, 1, 1), *w = random_floats(C, 2, 1), *b = random_floats(C, 3, 1);
    float *dy = random_floats(N * C, 4, 1), y[N * C], mean[N], rstd[N], dx[N * C], dw[C] = {0}, db[C] = {0};
    OK(ops->layernorm_forward(stream, y, mean, rstd, x, w, b, N, C, 1e-5f));
    OK(ops->layernorm_backward_input(stream, dx, dy, x, w, mean, rstd, N, C, false));
    OK(ops->layernorm_backward_weight(stream, dw, db, dy, x, mean, rstd, N, C));
    layernorm_case t = {x, w, b, dy, 0};
    probe p = {layernorm_value, &t};
    check_gradient("layernorm dx", p, x, dx, N * C);
    t.which = 1;
    check_gradient("layernorm dw", p, w, dw, C);
    t.which = 2;
    check_gradient("layernorm db", p, b, db, C);
    free(x), free(w), free(b), free(dy);
}

/* --- linear and activation ------------------------------------------------------------------------------------------------ */

typedef struct linear_case {
    const float *x, *w, *b, *dy;
    sc_layout layout;
    sc_activation f;
    int which;
} linear_case;

static double linear_value(const void *self, const float *moved)
{
    const linear_case *t = self;
    float y[N * OUT];
    OK(ops->linear_forward(stream, y, t->which == 0 ? moved : t->x, t->which == 1 ? moved : t->w,
                           t->which == 2 ? moved : t->b, N, C, OUT, t->layout));
    return weighted(t->dy, y, N * OUT);
}

/* gelu (moved) W: what linear_activation_backward_input differentiates. The activation comes from a product with 1. */
static double activation_value(const void *self, const float *moved)
{
    const linear_case *t = self;
    float act[N * C], pre[N * C], y[N * OUT], one = 1;
    OK(ops->linear_activation_forward(stream, act, pre, moved, &one, NULL, N * C, 1, 1, SC_IN_OUT, t->f));
    OK(ops->linear_forward(stream, y, act, t->w, NULL, N, C, OUT, t->layout));
    return weighted(t->dy, y, N * OUT);
}

static void linear(void **state)
{
    (void)state;
    float *x = random_floats(N * C, 1, 1), *w = random_floats(C * OUT, 2, 1), *b = random_floats(OUT, 3, 1);
    float *dy = random_floats(N * OUT, 4, 1);
    for (int layout = 0; layout < 2; layout++) {
        linear_case t = {x, w, b, dy, layout ? SC_OUT_IN : SC_IN_OUT, SC_GELU_TANH, 0};
        float dx[N * C], dw[C * OUT] = {0}, db[OUT] = {0};
        OK(ops->linear_backward_input(stream, dx, dy, w, N, C, OUT, t.layout));
        OK(ops->linear_backward_weight(stream, dw, db, x, dy, N, C, OUT, t.layout));
        probe p = {linear_value, &t};
        check_gradient("linear dx", p, x, dx, N * C);
        t.which = 1;
        check_gradient("linear dw", p, w, dw, C * OUT);
        t.which = 2;
        check_gradient("linear db", p, b, db, OUT);
        for (int f = 0; f < 2; f++) {
            t.f = f ? SC_GELU_ERF : SC_GELU_TANH;
            OK(ops->linear_activation_backward_input(stream, dx, x, dy, w, N, C, OUT, t.layout, t.f));
            check_gradient("activation dx", (probe){activation_value, &t}, x, dx, N * C);
        }
    }
    free(x), free(w), free(b), free(dy);
}

/* --- attention ------------------------------------------------------------------------------------------------------------ */

enum { B = 2, T = 9, NH = 2, HS = 4, ROWS = B * T, ALL = ROWS * NH * HS };

typedef struct attention_case {
    sc_attention_shape shape;
    sc_dropout dropout;
    const float *dout;
} attention_case;

static double attention_value(const void *self, const float *moved)
{
    const attention_case *t = self;
    float out[ALL], lse[ROWS * NH];
    OK(ops->attention_forward(stream, out, lse, moved, &t->shape, &t->dropout));
    return weighted(t->dout, out, ALL);
}

static void attention(void **state)
{
    (void)state;
    static const int32_t lengths[B] = {5, 9};
    float *qkv = random_floats(3 * ALL, 1, 1), *dout = random_floats(ALL, 2, 1);
    for (int i = 0; i < 8; i++) {
        attention_case t = {.shape = {.B = B, .T = T, .NH = NH, .HS = HS, .causal = i & 1}, .dout = dout};
        t.shape.lengths = i & 2 ? lengths : NULL;
        t.dropout = (sc_dropout){.p = i & 4 ? 0.3f : 0, .seed = 5, .site = 1, .stride = T};
        float out[ALL], lse[ROWS * NH], dqkv[3 * ALL];
        OK(ops->attention_forward(stream, out, lse, qkv, &t.shape, &t.dropout));
        OK(ops->attention_backward(stream, dqkv, dout, qkv, out, lse, &t.shape, &t.dropout));
        check_gradient("attention dqkv", (probe){attention_value, &t}, qkv, dqkv, 3 * ALL);
    }
    free(qkv), free(dout);
}

/* --- embedding, residual, loss ------------------------------------------------------------------------------------------------ */

enum { V = 5, TABLE = (V + T) * C };

typedef struct embedding_case {
    const int32_t *tokens;
    sc_dropout dropout;
    const float *dout;
} embedding_case;

static double embedding_value(const void *self, const float *moved)
{
    const embedding_case *t = self;
    float out[ROWS * C];
    OK(ops->embedding_forward(stream, out, t->tokens, moved, moved + V * C, B, T, C, &t->dropout));
    return weighted(t->dout, out, ROWS * C);
}

static void embedding(void **state)
{
    (void)state;
    float *tables = random_floats(TABLE, 1, 1), *dout = random_floats(ROWS * C, 2, 1);
    int32_t *tokens = random_tokens(ROWS, 3, V);
    embedding_case t = {tokens, {.p = 0.25f, .seed = 5, .site = 2}, dout};
    float gradient[TABLE] = {0}, d[ROWS * C];
    memcpy(d, dout, sizeof d);
    OK(ops->embedding_backward_weight(stream, gradient, gradient + V * C, d, tokens, B, T, C, &t.dropout));
    check_gradient("embedding", (probe){embedding_value, &t}, tables, gradient, TABLE);
    free(tables), free(dout), free(tokens);
}

typedef struct residual_case {
    const float *res, *dout;
    sc_dropout dropout;
} residual_case;

static double residual_value(const void *self, const float *moved)
{
    const residual_case *t = self;
    float out[B * C];
    OK(ops->residual_forward(stream, out, t->res, moved, B, C, &t->dropout));
    return weighted(t->dout, out, B * C);
}

static void residual(void **state)
{
    (void)state;
    float *res = random_floats(B * C, 1, 1), *x = random_floats(B * C, 2, 1), *dout = random_floats(B * C, 3, 1),
          dx[B * C];
    residual_case t = {res, dout, {.p = 0.25f, .seed = 6, .site = 2}};
    OK(ops->dropout_backward(stream, dx, dout, B, C, &t.dropout));
    check_gradient("residual", (probe){residual_value, &t}, x, dx, B * C);
    free(res), free(x), free(dout);
}

static const int32_t targets[N] = {0, 9, -1, 3, 3, 5};

static double loss_value(const void *self, const float *moved)
{
    float loss[N];
    double sum = 0;
    OK(ops->cross_entropy(stream, loss, NULL, moved, targets, NULL, N, C, 0));
    for (int i = 0; i < N; i++)
        sum += loss[i];
    return sum * *(const float *)self;
}

static void cross_entropy(void **state)
{
    (void)state;
    float *logits = random_floats(N * C, 1, 2), dlogits[N * C], loss[N], scale = 0.5f;
    OK(ops->cross_entropy(stream, loss, dlogits, logits, targets, NULL, N, C, scale));
    check_gradient("cross-entropy", (probe){loss_value, &scale}, logits, dlogits, N * C);
    free(logits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layernorm), cmocka_unit_test(linear),   cmocka_unit_test(attention),
        cmocka_unit_test(embedding), cmocka_unit_test(residual), cmocka_unit_test(cross_entropy),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
