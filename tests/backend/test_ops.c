/* Each operation of the CPU backend against the reference: at every instruction set of this machine, with 1, 2, 3 and 5
 * threads, which must agree to the bit. */
#include "tests/backend/backend.h"

/* Rounding: a float32 sum of n terms of size about 1 in another order differs by some sqrt (n) * 2^-24; products here have
 * at most 1000 terms, 2e-6 in relation to sums of size 30. Elementwise functions: a few units in the last place. */
static const double EXACT = 0, FEW_ULP = 1e-6;

static const sc_dropout off = {.p = 0};
static const sc_dropout on = {.p = 0.2f,
                              .seed = 0x123456789abcull,
                              .site = SC_RNG_SITE(SC_RNG_DROPOUT, 9),
                              .step = 3,
                              .first_row = 5,
                              .stride = 257};

#define EACH(c) (int c = 0; c < n_contexts; c++)

static void embedding(void **state)
{
    (void)state;
    static const struct {
        int B, T, C, V;
    } shapes[] = {{1, 1, 4, 3}, {2, 5, 48, 65}, {3, 17, 33, 7}, {2, 100, 384, 257}};
    for (size_t i = 0; i < COUNT(shapes) * 2; i++) {
        int B = shapes[i / 2].B, T = shapes[i / 2].T, C = shapes[i / 2].C, V = shapes[i / 2].V;
        const sc_dropout *d = i % 2 ? &on : &off;
        size_t rows = (size_t)(B * T), c_ = (size_t)C, v_ = (size_t)V;
        float *wte = random_floats(v_ * c_, 1, 1), *wpe = random_floats((size_t)T * c_, 2, 1);
        int32_t *tokens = random_tokens(rows, 3, V);
        results out = results_new("embedding", rows * c_, 4, 1), dout = results_new("embedding d", rows * c_, 5, 1);
        results dwte = results_new("dwte", v_ * c_, 6, 1), dwpe = results_new("dwpe", (size_t)T * c_, 7, 1);
        for
            EACH(c)
            {
                const context *x = &contexts[c];
                OK(x->ops->embedding_forward(x->stream, out.of[c], tokens, wte, wpe, B, T, C, d));
                OK(x->ops->embedding_backward_weight(x->stream, dwte.of[c], dwpe.of[c], dout.of[c], tokens, B, T, C,
                                                     d));
            }
        results_check(&out, EXACT, 0); /* one sum and one product: the same bits, the same mask */
        results_check(&dout, EXACT, 0);
        results_check(&dwte, EXACT, 0); /* added in the same order */
        results_check(&dwpe, EXACT, 0);
        free(wte), free(wpe), free(tokens);
    }
}

static void rows_of_a_table(void **state)
{
    (void)state;
    static const struct {
        int n, C, table;
    } shapes[] = {{0, 8, 3}, {1, 4, 1}, {7, 33, 5}, {200, 384, 2}, {90, 48, 300}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        int n = shapes[i].n, C = shapes[i].C;
        size_t all = (size_t)n * (size_t)C, table_n = (size_t)shapes[i].table * (size_t)C;
        float *table = random_floats(table_n, 1, 1), *d = random_floats(all, 2, 1);
        int32_t *rows = random_tokens((size_t)n + 1, 3, shapes[i].table);
        results out = results_new("gathered", all, 4, 1), sum = results_new("gathered, added", all, 5, 1);
        results scattered = results_new("scattered", table_n, 6, 1);
        for
            EACH(c)
            {
                const context *x = &contexts[c];
                OK(x->ops->gather_rows(x->stream, out.of[c], table, rows, n, C, false));
                OK(x->ops->gather_rows(x->stream, sum.of[c], table, rows, n, C, true));
                OK(x->ops->scatter_rows(x->stream, scattered.of[c], d, rows, n, C));
            }
        results_check(&out, EXACT, 0);
        results_check(&sum, EXACT, 0);
        results_check(&scattered, EXACT, 0); /* added in the same order */
        free(table), free(d), free(rows);
    }
}

static void layernorm(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {1, 48}, {5, 33}, {100, 48}, {257, 384}, {1025, 65}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        int N = shapes[i][0], C = shapes[i][1];
        size_t n = (size_t)N, c_ = (size_t)C;
        float *x = random_floats(n * c_, 1, 2), *dy = random_floats(n * c_, 2, 1);
        float *w = random_floats(c_, 3, 1), *b = random_floats(c_, 4, 1);
        for (size_t k = 0; k < n * c_; k++)
            x[k] += 3; /* a mean that is not near zero */
        results y = results_new("y", n * c_, 5, 1), mean = results_new("mean", n, 6, 1);
        results rstd = results_new("rstd", n, 7, 1), dx = results_new("dx", n * c_, 8, 1);
        results added = results_new("dx added", n * c_, 9, 1), dw = results_new("dw", c_, 10, 1);
        results db = results_new("db", c_, 11, 1), in_place = results_new("dx in place", n * c_, 2, 1);
        for
            EACH(c)
            {
                const sc_ops *o = contexts[c].ops;
                sc_stream *s = contexts[c].stream;
                OK(o->layernorm_forward(s, y.of[c], mean.of[c], rstd.of[c], x, w, b, N, C, 1e-5f));
                /* backward from the reference's mean and rstd, so that only backward is compared */
                const float *m = mean.of[0], *r = rstd.of[0];
                OK(o->layernorm_backward_input(s, dx.of[c], dy, x, w, m, r, N, C, false));
                OK(o->layernorm_backward_input(s, added.of[c], dy, x, w, m, r, N, C, true));
                OK(o->layernorm_backward_input(s, in_place.of[c], in_place.of[c], x, w, m, r, N, C, false));
                OK(o->layernorm_backward_weight(s, dw.of[c], db.of[c], dy, x, m, r, N, C));
            }
        for
            EACH(c) /* in place is the same as not */
        assert_memory_equal(dx.of[c], in_place.of[c], n * c_ * sizeof(float));
        /* C == 1: x - mean is pure rounding, and rstd = 316 magnifies an ulp of x (5e-7) */
        double loose = C == 1 ? 2e-3 : 1e-5;
        results_check(&y, loose, FEW_ULP);
        results_check(&mean, 1e-6, FEW_ULP);
        results_check(&rstd, 0, C == 1 ? 1e-6 : 2e-6);
        results_check(&dx, loose, FEW_ULP);
        results_check(&in_place, loose, FEW_ULP);
        results_check(&added, loose, FEW_ULP);
        results_check(&dw, 1e-4, FEW_ULP); /* 1025 terms of size up to 10 */
        results_check(&db, 5e-5, FEW_ULP);
        free(x), free(dy), free(w), free(b);
    }
}

static void linear(void **state)
{
    (void)state;
    /* more than one tile, odd edges, K beyond one slice, and rows of W a multiple of 1 KiB apart: each has its own path */
    static const int shapes[][3] = {{1, 1, 1},      {1, 48, 65},   {7, 33, 5},    {100, 48, 144}, {257, 65, 257},
                                    {400, 130, 96}, {9, 600, 390}, {600, 20, 33}, {12, 520, 512}, {530, 9, 256}};
    for (size_t i = 0; i < COUNT(shapes) * 4; i++) {
        int N = shapes[i / 4][0], Cin = shapes[i / 4][1], Cout = shapes[i / 4][2];
        sc_layout layout = i % 2 ? SC_OUT_IN : SC_IN_OUT;
        sc_activation f = i % 4 == 1 ? SC_TANH : i % 4 < 2 ? SC_GELU_TANH : SC_GELU_ERF;
        bool biased = i % 4 != 3;
        size_t n = (size_t)N, in = (size_t)Cin, out = (size_t)Cout;
        float *x = random_floats(n * in, 1, 1), *w = random_floats(in * out, 2, 0.2f),
              *dy = random_floats(n * out, 3, 1);
        float *bias = random_floats(out, 4, 1), *before = random_floats(n * in, 5, 2), *b = biased ? bias : NULL;
        results y = results_new("y", n * out, 6, 1), act = results_new("act", n * out, 7, 1);
        results pre = results_new("pre", n * out, 8, 1), dx = results_new("dx", n * in, 9, 1);
        results dpre = results_new("dx of activation", n * in, 10, 1), dw = results_new("dw", in * out, 11, 1);
        results db = results_new("db", out, 12, 1), alone = results_new("activation alone", n * in, 13, 1);
        for
            EACH(c)
            {
                const sc_ops *o = contexts[c].ops;
                sc_stream *s = contexts[c].stream;
                OK(o->linear_forward(s, y.of[c], x, w, b, N, Cin, Cout, layout));
                OK(o->linear_activation_forward(s, act.of[c], pre.of[c], x, w, b, N, Cin, Cout, layout, f));
                OK(o->linear_backward_input(s, dx.of[c], dy, w, N, Cin, Cout, layout));
                OK(o->linear_activation_backward_input(s, dpre.of[c], before, dy, w, N, Cin, Cout, layout, f));
                OK(o->activation_backward(s, alone.of[c], before, n * in, f));
                OK(o->linear_backward_weight(s, dw.of[c], biased ? db.of[c] : NULL, x, dy, N, Cin, Cout, layout));
            }
        results_check(&y, 2e-5, FEW_ULP);
        results_check(&pre, 2e-5, FEW_ULP);
        results_check(&act, 3e-5, FEW_ULP); /* GELU's slope is at most 1.13 */
        results_check(&dx, 2e-5, FEW_ULP);
        results_check(&dpre, 3e-5, 2e-6);
        results_check(&alone, 1e-6, 2e-6);
        results_check(&dw, 1e-4, FEW_ULP);
        results_check(&db, 1e-4, FEW_ULP);
        free(x), free(w), free(dy), free(bias), free(before);
    }
}

/* Far out, where a careless formula overflows or cancels. The product with the number 1 leaves the bits alone. */
static void activation_over_its_range(void **state)
{
    (void)state;
    enum { N = 4001 };
    float *x = random_floats(N, 1, 0), *ones = random_floats(N, 1, 0), one = 1;
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) * 0.01f, ones[i] = 1;
    x[0] = -1e4f, x[1] = 1e4f, x[2] = -0.0f, x[3] = 1e-30f;
    for (int f = SC_GELU_TANH; f <= SC_TANH; f++) {
        results act = results_new("f", N, 2, 0), y = results_new("y", N, 2, 0), dx = results_new("df", N, 2, 0);
        for
            EACH(c)
            {
                const context *t = &contexts[c];
                OK(t->ops->linear_activation_forward(t->stream, act.of[c], y.of[c], x, &one, NULL, N, 1, 1, SC_IN_OUT,
                                                     (sc_activation)f));
                OK(t->ops->linear_activation_backward_input(t->stream, dx.of[c], x, ones, &one, N, 1, 1, SC_IN_OUT,
                                                            (sc_activation)f));
            }
        results_check(&y, EXACT, 0);
        /* an exponent near -88 is rounded twice at 2^-24 of itself: 1e-5, relative; exponents stop at 88.3, so that
         * x = -1e4 gives -1e4 e^-88.3 = -4.5e-35 and not 0 */
        results_check(&act, 1e-34, 1.2e-5);
        results_check(&dx, 1e-7, 2e-6);
    }
    free(x), free(ones);
}

static void attention(void **state)
{
    (void)state;
    static const struct {
        int B, T, NH, HS;
        bool causal, ragged;
    } shapes[] = {{1, 1, 1, 4, true, false},    {2, 7, 3, 16, true, false},  {2, 100, 2, 12, true, true},
                  {1, 257, 1, 64, true, false}, {2, 49, 2, 33, false, true}, {2, 64, 1, 32, false, false},
                  {3, 50, 1, 80, true, true}};
    static const int32_t ragged[3] = {3, 48, 1};
    for (size_t i = 0; i < COUNT(shapes) * 2; i++) {
        sc_attention_shape a = {
            .B = shapes[i / 2].B, .T = shapes[i / 2].T, .NH = shapes[i / 2].NH, .HS = shapes[i / 2].HS};
        a.causal = shapes[i / 2].causal;
        a.lengths = shapes[i / 2].ragged ? ragged : NULL;
        const sc_dropout *d = i % 2 ? &on : &off;
        size_t rows = (size_t)(a.B * a.T), C = (size_t)(a.NH * a.HS);
        float *qkv = random_floats(rows * 3 * C, 1, 1.5f), *dout = random_floats(rows * C, 2, 1);
        results out = results_new("out", rows * C, 3, 1), lse = results_new("lse", rows * (size_t)a.NH, 4, 1);
        results dqkv = results_new("dqkv", rows * 3 * C, 5, 1);
        for
            EACH(c)
            {
                const context *x = &contexts[c];
                OK(x->ops->attention_forward(x->stream, out.of[c], lse.of[c], qkv, &a, d));
                OK(x->ops->attention_backward(x->stream, dqkv.of[c], dout, qkv, out.of[0], lse.of[0], &a, d));
            }
        results_check(&out, 1e-5, 2e-6); /* scores up to 30: an ulp of 2e-6 in an exponent */
        results_check(&lse, 5e-6, FEW_ULP);
        results_check(&dqkv, 1e-4, 1e-5); /* sums over 257 queries of products of three such numbers */
        free(qkv), free(dout);
    }
}

static void attention_decode(void **state)
{
    (void)state;
    enum { B = 2, NH = 3, HS = 20, CONTEXT = 70, C = NH * HS };
    static const int positions[] = {0, 1, 33, 69};
    for (size_t i = 0; i < COUNT(positions); i++) {
        float *qkv = random_floats(B * 3 * C, 1, 1);
        results out = results_new("out", B * C, 2, 1), k = results_new("k", B * CONTEXT * C, 3, 1);
        results v = results_new("v", B * CONTEXT * C, 4, 1);
        for
            EACH(c)
            {
                const context *x = &contexts[c];
                OK(x->ops->attention_decode(x->stream, out.of[c], k.of[c], v.of[c], qkv, B, positions[i], CONTEXT, NH,
                                            HS));
            }
        results_check(&out, 1e-5, FEW_ULP);
        results_check(&k, EXACT, 0);
        results_check(&v, EXACT, 0);
        free(qkv);
    }
}

/* Decoding token by token gives what the whole sequence gives at once. */
static void decoding_agrees_with_forward(void **state)
{
    (void)state;
    enum { T = 40, NH = 2, HS = 16, C = NH * HS };
    float *qkv = random_floats(T * 3 * C, 1, 1);
    sc_attention_shape a = {.B = 1, .T = T, .NH = NH, .HS = HS, .causal = true};
    for
        EACH(c)
        {
            const context *x = &contexts[c];
            float out[T * C], lse[NH * T], step[C];
            float *k = random_floats(T * C, 2, 0), *v = random_floats(T * C, 2, 0);
            OK(x->ops->attention_forward(x->stream, out, lse, qkv, &a, NULL));
            for (int t = 0; t < T; t++) {
                OK(x->ops->attention_decode(x->stream, step, k, v, qkv + t * 3 * C, 1, t, T, NH, HS));
                for (int i = 0; i < C; i++)
                    assert_true(fabsf(step[i] - out[t * C + i]) < 1e-5f); /* 40 terms, another order */
            }
            free(k), free(v);
        }
    free(qkv);
}

static void residual_dropout_add(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 5, 1000, 16384 + 513, 40000};
    for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
        size_t n = sizes[i / 2], all = 3 * n;
        const sc_dropout *d = i % 2 ? &on : &off;
        float *res = random_floats(all, 1, 1), *x = random_floats(all, 2, 1);
        results out = results_new("residual", all, 3, 1), dx = results_new("dropout", all, 4, 1);
        results in_place = results_new("residual in place", all, 2, 1), y = results_new("add", all, 5, 1);
        for
            EACH(c)
            {
                const context *t = &contexts[c];
                OK(t->ops->residual_forward(t->stream, out.of[c], res, x, 3, n, d));
                OK(t->ops->residual_forward(t->stream, in_place.of[c], res, in_place.of[c], 3, n, d));
                OK(t->ops->dropout_backward(t->stream, dx.of[c], x, 3, n, d));
                OK(t->ops->add(t->stream, y.of[c], x, all));
                assert_memory_equal(out.of[c], in_place.of[c], all * sizeof(float));
            }
        results_check(&out, EXACT, 0); /* the masks are equal bit for bit, and so is the arithmetic */
        results_check(&in_place, EXACT, 0);
        results_check(&dx, EXACT, 0);
        results_check(&y, EXACT, 0);
        free(res), free(x);
    }
}

/* A fifth is dropped, the rest is 1.25 times as large: within five standard errors. */
static void dropout_drops_its_share(void **state)
{
    (void)state;
    enum { N = 40000 };
    float *ones = random_floats(N, 1, 0), *out = random_floats(N, 1, 0);
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    for
        EACH(c)
        {
            int dropped = 0;
            OK(contexts[c].ops->dropout_backward(contexts[c].stream, out, ones, 1, N, &on));
            for (int i = 0; i < N; i++) {
                dropped += out[i] == 0;
                assert_true(out[i] == 0 || fabsf(out[i] - 1.25f) < 1e-6f);
            }
            assert_true(abs(dropped - N / 5) < 5 * 80); /* sqrt (N 0.2 0.8) = 80 */
        }
    free(ones), free(out);
}

static void cross_entropy(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {3, 2}, {100, 65}, {37, 257}, {3, 5000}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        int N = shapes[i][0], V = shapes[i][1];
        size_t n = (size_t)N, all = n * (size_t)V;
        float *logits = random_floats(all, 1, 4);
        int32_t *targets = random_tokens(n, 2, V);
        for (size_t k = 1; k < n; k += 3)
            targets[k] = -1;
        results loss = results_new("loss", n, 3, 1), dx = results_new("dlogits", all, 4, 1);
        results in_place = results_new("dlogits in place", all, 1, 4), only = results_new("loss alone", n, 5, 1);
        for
            EACH(c)
            {
                const context *x = &contexts[c];
                OK(x->ops->cross_entropy(x->stream, loss.of[c], dx.of[c], logits, targets, NULL, N, V, 0.25f));
                OK(x->ops->cross_entropy(x->stream, only.of[c], NULL, logits, targets, NULL, N, V, 0.25f));
                assert_memory_equal(loss.of[c], only.of[c], n * sizeof(float));
                OK(x->ops->cross_entropy(x->stream, only.of[c], in_place.of[c], in_place.of[c], targets, NULL, N, V,
                                         0.25f));
                assert_memory_equal(dx.of[c], in_place.of[c], all * sizeof(float));
                for (size_t k = 1; k < n; k += 3)
                    assert_true(loss.of[c][k] == 0 && dx.of[c][k * (size_t)V] == 0);
            }
        results_check(&loss, 5e-6, FEW_ULP);
        results_check(&only, 5e-6, FEW_ULP);
        results_check(&dx, 1e-7, 3e-6); /* exponents to 30, an ulp of them 2e-6 */
        results_check(&in_place, 1e-7, 3e-6);
        free(logits), free(targets);
    }
}

/* A weight is a factor of its rows; all ones are none at all, to the bit. */
static void cross_entropy_has_weights(void **state)
{
    (void)state;
    enum { N = 41, V = 7 };
    float *logits = random_floats(N * V, 1, 4), ones[V], weights[V];
    int32_t *targets = random_tokens(N, 2, V);
    targets[5] = -1;
    for (int v = 0; v < V; v++)
        ones[v] = 1, weights[v] = 0.25f * (float)(v + 1);
    results loss = results_new("loss", N, 3, 1), dx = results_new("dlogits", N * V, 4, 1);
    for
        EACH(c)
        {
            const context *x = &contexts[c];
            float plain[N], dplain[N * V], same[N], dsame[N * V];
            OK(x->ops->cross_entropy(x->stream, plain, dplain, logits, targets, NULL, N, V, 0.25f));
            OK(x->ops->cross_entropy(x->stream, same, dsame, logits, targets, ones, N, V, 0.25f));
            assert_memory_equal(plain, same, sizeof plain);
            assert_memory_equal(dplain, dsame, sizeof dplain);
            OK(x->ops->cross_entropy(x->stream, loss.of[c], dx.of[c], logits, targets, weights, N, V, 0.25f));
            for (int n = 0; n < N; n++)
                for (int v = 0; v < V; v++) { /* one rounding more than without */
                    float w = targets[n] < 0 ? 0 : weights[targets[n]];
                    assert_true(fabsf(loss.of[c][n] - w * plain[n]) <= 1e-6f * fabsf(loss.of[c][n]));
                    assert_true(fabsf(dx.of[c][n * V + v] - w * dplain[n * V + v]) <= 1e-6f);
                }
        }
    results_check(&loss, 5e-6, FEW_ULP);
    results_check(&dx, 1e-6, 3e-6);
    free(logits), free(targets);
}

static void cross_entropy_survives_extremes(void **state)
{
    (void)state;
    const float logits[2][5] = {{1e4f, -1e4f, 0, 1, 2}, {-3e4f, -3e4f, -3e4f, -3e4f, -3e4f}};
    const int32_t targets[2] = {1, 3};
    for
        EACH(c)
        {
            float loss[2], dx[2][5];
            OK(contexts[c].ops->cross_entropy(contexts[c].stream, loss, dx[0], logits[0], targets, NULL, 2, 5, 1));
            assert_true(loss[0] == 2e4f && dx[0][0] == 1 && dx[0][1] == -1);
            assert_true(fabsf(loss[1] - logf(5)) < 4e-3f); /* an ulp of 3e4 */
            assert_true(fabsf(dx[1][0] - 0.2f) < 1e-3f);

            float bad[5] = {1, NAN, 2, 3, 4}; /* a NaN shows: it must not end as a finite loss */
            OK(contexts[c].ops->cross_entropy(contexts[c].stream, loss, NULL, bad, targets + 1, NULL, 1, 5, 1));
            assert_true(isnan(loss[0]));
        }
}

static void correct_targets_are_counted(void **state)
{
    (void)state;
    static const int shapes[][2] = {
        {1, 1}, {3, 2}, {1500, 9}, {37, 257}, {3, 5000}}; /* more rows than a sum has blocks */
    for (size_t i = 0; i < COUNT(shapes); i++) {
        int N = shapes[i][0], V = shapes[i][1], right = 0;
        size_t n = (size_t)N, row = (size_t)V;
        float *logits = random_floats(n * row, 1, 4);
        int32_t *targets = random_tokens(n, 2, V);
        for (size_t k = 0; k < n; k++) {
            float *x = logits + k * row, most = -INFINITY;
            for (size_t v = 0; v < row; v++)
                most = fmaxf(most, x[v]);
            if (k % 3 == 0)
                x[targets[k]] = most + 1;
            else if (k % 3 == 1)
                x[targets[k]] = most - 1, x[(targets[k] + 1) % V] = most;
            else
                targets[k] = -1;
            right += k % 3 == 0 || (k % 3 == 1 && V == 1);
        }
        for
            EACH(c)
            {
                double got = -1;
                OK(contexts[c].ops->count_correct(contexts[c].stream, &got, logits, targets, N, V));
                assert_true(got == right);
            }
        free(logits), free(targets);
    }
    /* Of equals the first; a NaN is nobody's largest; nothing is no error. */
    const float odd[4][3] = {{2, 2, 1}, {2, 2, 1}, {NAN, 1, 2}, {1, NAN, 2}};
    const int32_t targets[4] = {0, 1, 2, 1};
    const float logits[6] = {3, -3, 0, 1e-9f, 5, NAN};
    const int32_t binary[6] = {1, 0, 0, 1, -1, 1};
    for
        EACH(c)
        {
            double got = -1;
            OK(contexts[c].ops->count_correct(contexts[c].stream, &got, odd[0], targets, 4, 3));
            assert_true(got == 1);
            OK(contexts[c].ops->count_correct(contexts[c].stream, &got, odd[0], targets, 0, 3));
            assert_true(got == 0);
            OK(contexts[c].ops->count_correct_binary(contexts[c].stream, &got, logits, binary, 6));
            assert_true(got == 4);
        }
}

static void binary_cross_entropy(void **state)
{
    (void)state;
    enum { N = 300 };
    float *logits = random_floats(N, 1, 6);
    int32_t *targets = random_tokens(N, 2, 3);
    for (int k = 0; k < N; k++)
        targets[k]--; /* -1, 0, 1 */
    logits[0] = 1e4f, logits[1] = -1e4f, targets[0] = 0, targets[1] = 0;
    results loss = results_new("loss", N, 3, 1), dx = results_new("dlogits", N, 4, 1);
    results in_place = results_new("dlogits in place", N, 1, 6), only = results_new("loss alone", N, 5, 1);
    in_place.of[0][0] = 1e4f, in_place.of[0][1] = -1e4f;
    for
        EACH(c)
        {
            const context *x = &contexts[c];
            memcpy(in_place.of[c], logits, N * sizeof *logits);
            OK(x->ops->binary_cross_entropy(x->stream, loss.of[c], dx.of[c], logits, targets, N, 0.25f));
            OK(x->ops->binary_cross_entropy(x->stream, only.of[c], NULL, logits, targets, N, 0.25f));
            assert_memory_equal(loss.of[c], only.of[c], N * sizeof(float));
            OK(x->ops->binary_cross_entropy(x->stream, only.of[c], in_place.of[c], in_place.of[c], targets, N, 0.25f));
            assert_memory_equal(dx.of[c], in_place.of[c], N * sizeof(float));
            for (int k = 0; k < N; k++) {
                double p = 1 / (1 + exp(-(double)logits[k])), t = targets[k];
                double slope = t < 0 ? 0 : 0.25 * (p - t);
                assert_true(fabs((double)dx.of[c][k] - slope) <= 1e-7);
                assert_true(t >= 0 || loss.of[c][k] == 0);
            }
            assert_true(fabsf(loss.of[c][0] - 1e4f) < 1e-2f && loss.of[c][1] == 0);
        }
    results_check(&loss, 5e-6, FEW_ULP);
    results_check(&only, 5e-6, FEW_ULP);
    results_check(&dx, 1e-7, FEW_ULP);
    results_check(&in_place, 1e-7, FEW_ULP);
    free(logits), free(targets);
}

/* Padding and company change nothing: a row of a product has the same bits among any number of rows. */
static void a_row_of_a_product_depends_on_itself_alone(void **state)
{
    (void)state;
    static const int shapes[][2] = {{384, 384}, {384, 1536}, {1536, 384}, {48, 144},
                                    {33, 5},    {384, 2},    {768, 77},   {384, 1000}};
    static const int counts[] = {1, 2, 3, 5, 8, 31, 64, 100, 200, 391, 500};
    enum { MOST = 500 };
    for (size_t i = 0; i < COUNT(shapes) * 2; i++) {
        int Cin = shapes[i / 2][0], Cout = shapes[i / 2][1];
        sc_layout layout = i % 2 ? SC_OUT_IN : SC_IN_OUT;
        size_t in = (size_t)Cin, out = (size_t)Cout;
        float *x = random_floats(MOST * in, 1, 1), *w = random_floats(in * out, 2, 0.2f), *b = random_floats(out, 3, 1);
        float *all = random_floats(MOST * out, 4, 0), *some = random_floats(MOST * out, 5, 0);
        for
            EACH(c)
            {
                const context *t = &contexts[c];
                if (t->threads > 2 || (c == 0 && i > 1)) /* the plain loops cannot do otherwise, and take long */
                    continue;
                OK(t->ops->linear_forward(t->stream, all, x, w, b, MOST, Cin, Cout, layout));
                for (size_t k = 0; k < COUNT(counts); k++) {
                    int N = counts[k];
                    size_t from = (size_t)(MOST - N);
                    OK(t->ops->linear_forward(t->stream, some, x + from * in, w, b, N, Cin, Cout, layout));
                    if (memcmp(some, all + from * out, (size_t)N * out * sizeof *some) != 0)
                        fail_msg("%s %s: %d rows of %d x %d (%s) have other bits than among %d", t->ops->name,
                                 t->isa ? t->isa : "", N, Cin, Cout, layout == SC_OUT_IN ? "out, in" : "in, out", MOST);
                }
            }
        free(x), free(w), free(b), free(all), free(some);
    }
}

static void sums(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 31, 16384, 50001, 300000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        float *x = random_floats(sizes[i], 1, 1);
        double sum[MAX_CONTEXTS], squares[MAX_CONTEXTS];
        for
            EACH(c)
            {
                const context *t = &contexts[c];
                OK(t->ops->sum(t->stream, &sum[c], x, sizes[i]));
                OK(t->ops->sum_squares(t->stream, &squares[c], x, sizes[i]));
                /* double rounding, another order: at most n * 2^-53 in relation to a sum of about n */
                double bound = 1e-16 * (double)sizes[i] * (double)sizes[i];
                assert_true(fabs(sum[c] - sum[0]) <= bound && fabs(squares[c] - squares[0]) <= bound);
                if (c > 1 && !contexts[c].isa)
                    assert_true(sum[c] == sum[1] && squares[c] == squares[1]);
            }
        free(x);
    }
}

static void optimizers(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 19, 16384 + 5, 40000};
    for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
        size_t n = sizes[i / 2];
        sc_adamw adamw = {.learning_rate = 1e-3f,
                          .beta1 = 0.9f,
                          .beta2 = 0.99f,
                          .epsilon = 1e-8f,
                          .weight_decay = i % 2 ? 0.1f : 0,
                          .grad_scale = 0.7f};
        sc_sgd sgd = {.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .grad_scale = 0.7f};
        float *grad = random_floats(n, 1, 1);
        results w = results_new("w", n, 2, 1), m = results_new("m", n, 3, 0), v = results_new("v", n, 3, 0);
        results u = results_new("sgd w", n, 2, 1), velocity = results_new("velocity", n, 4, 1);
        for
            EACH(c)
        for (int64_t step = 1; step <= 3; step++) {
            const context *t = &contexts[c];
            adamw.step = sgd.step = step;
            OK(t->ops->adamw(t->stream, w.of[c], m.of[c], v.of[c], grad, n, &adamw));
            OK(t->ops->sgd(t->stream, u.of[c], velocity.of[c], grad, n, &sgd));
        }
        results_check(&w, EXACT, 0); /* the same float32 operations in the same order */
        results_check(&m, EXACT, 0);
        results_check(&v, EXACT, 0);
        results_check(&u, EXACT, 0);
        results_check(&velocity, EXACT, 0);
        free(grad);
    }
}

static void memory_is_aligned_and_zeroed(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, 5 << 20};
    for
        EACH(c)
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const context *x = &contexts[c];
        void *device = NULL, *host = NULL;
        OK(x->ops->memory_new(x->stream, sizes[i], &device));
        OK(x->ops->host_new(x->stream, sizes[i], &host));
        assert_true((uintptr_t)device % 64 == 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(((char *)device)[k], 0);
        memset(host, 3, sizes[i]);
        OK(x->ops->copy_in(x->stream, device, host, sizes[i]));
        memset(host, 0, sizes[i]);
        OK(x->ops->copy_out(x->stream, host, device, sizes[i]));
        OK(x->ops->zero(x->stream, device, sizes[i]));
        OK(x->ops->stream_sync(x->stream));
        if (sizes[i])
            assert_true(((char *)host)[sizes[i] - 1] == 3 && ((char *)device)[sizes[i] - 1] == 0);
        x->ops->memory_destroy(x->stream, &device);
        x->ops->host_destroy(x->stream, &host);
        assert_null(device);
    }
}

static void tables_are_found_by_name(void **state)
{
    (void)state;
    const sc_ops *ops = NULL;
    OK(sc_ops_find("cpu", &ops));
    assert_string_equal(ops->name, "cpu");
    assert_int_equal(sc_ops_find("abacus", &ops), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "abacus"));
    assert_int_equal(sc_ops_find("cuda", &ops), SC_UNIMPLEMENTED);

    sc_stream *stream = NULL;
    setenv("SC_CPU_ISA", "mmx", 1);
    assert_int_equal(sc_ops_cpu.stream_new(0, 1, &stream), SC_INVALID);
    unsetenv("SC_CPU_ISA");
    assert_null(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedding),
        cmocka_unit_test(rows_of_a_table),
        cmocka_unit_test(layernorm),
        cmocka_unit_test(linear),
        cmocka_unit_test(activation_over_its_range),
        cmocka_unit_test(attention),
        cmocka_unit_test(attention_decode),
        cmocka_unit_test(decoding_agrees_with_forward),
        cmocka_unit_test(residual_dropout_add),
        cmocka_unit_test(dropout_drops_its_share),
        cmocka_unit_test(cross_entropy),
        cmocka_unit_test(cross_entropy_has_weights),
        cmocka_unit_test(cross_entropy_survives_extremes),
        cmocka_unit_test(correct_targets_are_counted),
        cmocka_unit_test(binary_cross_entropy),
        cmocka_unit_test(a_row_of_a_product_depends_on_itself_alone),
        cmocka_unit_test(sums),
        cmocka_unit_test(optimizers),
        cmocka_unit_test(memory_is_aligned_and_zeroed),
        cmocka_unit_test(tables_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, open_contexts, close_contexts);
}
