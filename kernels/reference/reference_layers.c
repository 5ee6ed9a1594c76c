#include "kernels/reference/reference.h"

#include "kernels/dropout.h"

sc_status sc_reference_embedding_forward(sc_stream *s, float *out, const int32_t *tokens, const float *wte,
                                         const float *wpe, int B, int T, int C, const sc_dropout *dropout)
{
    (void)s;
    for (int b = 0; b < B; b++)
        for (int t = 0; t < T; t++)
            for (int c = 0; c < C; c++) {
                size_t i = (size_t)t * (size_t)C + (size_t)c, row = (size_t)b * (size_t)T * (size_t)C;
                float sum = wte[(size_t)tokens[b * T + t] * (size_t)C + (size_t)c] + wpe[i];
                out[row + i] = sum * sc_dropout_factor(dropout, b, i);
            }
    return SC_OK;
}

sc_status sc_reference_embedding_backward_weight(sc_stream *s, float *dwte, float *dwpe, float *dout,
                                                 const int32_t *tokens, int B, int T, int C, const sc_dropout *dropout)
{
    SC_TRY(sc_reference_dropout_backward(s, dout, dout, B, (size_t)T * (size_t)C, dropout));
    for (int b = 0; b < B; b++)
        for (int t = 0; t < T; t++)
            for (int c = 0; c < C; c++) {
                float d = dout[((size_t)b * (size_t)T + (size_t)t) * (size_t)C + (size_t)c];
                dwte[(size_t)tokens[b * T + t] * (size_t)C + (size_t)c] += d;
                dwpe[(size_t)t * (size_t)C + (size_t)c] += d;
            }
    return SC_OK;
}

sc_status sc_reference_gather_rows(sc_stream *s, float *out, const float *table, const int32_t *rows, int n, int C,
                                   bool add)
{
    (void)s;
    for (int i = 0; i < n; i++)
        for (int c = 0; c < C; c++) {
            float *to = out + (size_t)i * (size_t)C + (size_t)c;
            float x = table[(size_t)rows[i] * (size_t)C + (size_t)c];
            *to = add ? *to + x : x;
        }
    return SC_OK;
}

sc_status sc_reference_scatter_rows(sc_stream *s, float *table, const float *d, const int32_t *rows, int n, int C)
{
    (void)s;
    for (int i = 0; i < n; i++)
        for (int c = 0; c < C; c++)
            table[(size_t)rows[i] * (size_t)C + (size_t)c] += d[(size_t)i * (size_t)C + (size_t)c];
    return SC_OK;
}

sc_status sc_reference_layernorm_forward(sc_stream *s, float *y, float *mean, float *rstd, const float *x,
                                         const float *w, const float *b, int N, int C, float epsilon)
{
    (void)s;
    for (int n = 0; n < N; n++) {
        const float *xn = x + (size_t)n * (size_t)C;
        float *yn = y + (size_t)n * (size_t)C;
        double m = 0, v = 0;
        for (int c = 0; c < C; c++)
            m += xn[c];
        m /= C;
        for (int c = 0; c < C; c++)
            v += (xn[c] - m) * (xn[c] - m);
        double r = 1.0 / sqrt(v / C + (double)epsilon);
        for (int c = 0; c < C; c++)
            yn[c] = (float)((xn[c] - m) * r * w[c] + b[c]);
        mean[n] = (float)m;
        rstd[n] = (float)r;
    }
    return SC_OK;
}

/* With xhat = (x - mean) rstd and g = dy w:  dx = rstd (g - mean (g) - xhat mean (g xhat)). */
sc_status sc_reference_layernorm_backward_input(sc_stream *s, float *dx, const float *dy, const float *x,
                                                const float *w, const float *mean, const float *rstd, int N, int C,
                                                bool add)
{
    (void)s;
    for (int n = 0; n < N; n++) {
        size_t at = (size_t)n * (size_t)C;
        double sum_g = 0, sum_gx = 0;
        for (int c = 0; c < C; c++) {
            double g = (double)dy[at + (size_t)c] * w[c];
            sum_g += g;
            sum_gx += g * ((double)x[at + (size_t)c] - mean[n]) * rstd[n];
        }
        for (int c = 0; c < C; c++) {
            size_t i = at + (size_t)c;
            double xhat = ((double)x[i] - mean[n]) * rstd[n];
            double d = rstd[n] * ((double)dy[i] * w[c] - sum_g / C - xhat * (sum_gx / C));
            dx[i] = (float)(add ? dx[i] + d : d);
        }
    }
    return SC_OK;
}

sc_status sc_reference_layernorm_backward_weight(sc_stream *s, float *dw, float *db, const float *dy, const float *x,
                                                 const float *mean, const float *rstd, int N, int C)
{
    (void)s;
    for (int c = 0; c < C; c++) {
        double sum_w = 0, sum_b = 0;
        for (int n = 0; n < N; n++) {
            size_t i = (size_t)n * (size_t)C + (size_t)c;
            sum_w += dy[i] * (((double)x[i] - mean[n]) * rstd[n]);
            sum_b += dy[i];
        }
        dw[c] = (float)(dw[c] + sum_w);
        db[c] = (float)(db[c] + sum_b);
    }
    return SC_OK;
}

sc_status sc_reference_residual_forward(sc_stream *s, float *out, const float *res, const float *x, int B,
                                        size_t n_per_row, const sc_dropout *dropout)
{
    (void)s;
    for (int b = 0; b < B; b++)
        for (size_t i = 0; i < n_per_row; i++) {
            size_t at = (size_t)b * n_per_row + i;
            out[at] = res[at] + x[at] * sc_dropout_factor(dropout, b, i);
        }
    return SC_OK;
}

sc_status sc_reference_dropout_backward(sc_stream *s, float *dx, const float *dout, int B, size_t n_per_row,
                                        const sc_dropout *dropout)
{
    (void)s;
    for (int b = 0; b < B; b++)
        for (size_t i = 0; i < n_per_row; i++) {
            size_t at = (size_t)b * n_per_row + i;
            dx[at] = dout[at] * sc_dropout_factor(dropout, b, i);
        }
    return SC_OK;
}

sc_status sc_reference_add(sc_stream *s, float *y, const float *x, size_t n)
{
    (void)s;
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
    return SC_OK;
}
