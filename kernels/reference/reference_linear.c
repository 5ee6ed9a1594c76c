#include "kernels/reference/reference.h"

#include <math.h>

/* The element of W between input i and output o, in either layout. */
static size_t weight_at(int i, int o, int Cin, int Cout, sc_layout layout)
{
    return layout == SC_IN_OUT ? (size_t)i * (size_t)Cout + (size_t)o : (size_t)o * (size_t)Cin + (size_t)i;
}

/* GELU: x Phi (x) exactly, or its tanh form (Hendrycks & Gimpel 2016), and their derivatives. 1 + erf and 1 + tanh are
 * written so that nothing cancels for negative x. */
static double one_plus_erf(double x)
{
    return erfc(-x);
}

static double one_plus_tanh(double x)
{
    return 2 / (1 + exp(-2 * x));
}

static double activation(double x, sc_activation f)
{
    if (f == SC_TANH)
        return tanh(x);
    if (f == SC_GELU_ERF)
        return 0.5 * x * one_plus_erf(x * M_SQRT1_2);
    return 0.5 * x * one_plus_tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
}

static double derivative(double x, sc_activation f)
{
    if (f == SC_TANH)
        return one_plus_tanh(x) * one_plus_tanh(-x);
    if (f == SC_GELU_ERF)
        return 0.5 * one_plus_erf(x * M_SQRT1_2) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
    double u = sqrt(2 / M_PI) * (x + 0.044715 * x * x * x), p = one_plus_tanh(u);
    return 0.5 * p + 0.5 * x * p * one_plus_tanh(-u) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

sc_status sc_reference_linear_forward(sc_stream *s, float *y, const float *x, const float *w, const float *b, int N,
                                      int Cin, int Cout, sc_layout layout)
{
    (void)s;
    for (int n = 0; n < N; n++)
        for (int o = 0; o < Cout; o++) {
            double sum = b ? b[o] : 0;
            for (int i = 0; i < Cin; i++)
                sum += (double)x[(size_t)n * (size_t)Cin + (size_t)i] * w[weight_at(i, o, Cin, Cout, layout)];
            y[(size_t)n * (size_t)Cout + (size_t)o] = (float)sum;
        }
    return SC_OK;
}

sc_status sc_reference_linear_activation_forward(sc_stream *s, float *act, float *y, const float *x, const float *w,
                                                 const float *b, int N, int Cin, int Cout, sc_layout layout,
                                                 sc_activation f)
{
    SC_TRY(sc_reference_linear_forward(s, y, x, w, b, N, Cin, Cout, layout));
    for (size_t i = 0; i < (size_t)N * (size_t)Cout; i++)
        act[i] = (float)activation(y[i], f);
    return SC_OK;
}

sc_status sc_reference_linear_backward_input(sc_stream *s, float *dx, const float *dy, const float *w, int N, int Cin,
                                             int Cout, sc_layout layout)
{
    (void)s;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < Cin; i++) {
            double sum = 0;
            for (int o = 0; o < Cout; o++)
                sum += (double)dy[(size_t)n * (size_t)Cout + (size_t)o] * w[weight_at(i, o, Cin, Cout, layout)];
            dx[(size_t)n * (size_t)Cin + (size_t)i] = (float)sum;
        }
    return SC_OK;
}

sc_status sc_reference_activation_backward(sc_stream *s, float *dx, const float *y, size_t n, sc_activation f)
{
    (void)s;
    for (size_t i = 0; i < n; i++)
        dx[i] = (float)(dx[i] * derivative(y[i], f));
    return SC_OK;
}

sc_status sc_reference_linear_activation_backward_input(sc_stream *s, float *dx, const float *y, const float *dy,
                                                        const float *w, int N, int Cin, int Cout, sc_layout layout,
                                                        sc_activation f)
{
    SC_TRY(sc_reference_linear_backward_input(s, dx, dy, w, N, Cin, Cout, layout));
    return sc_reference_activation_backward(s, dx, y, (size_t)N * (size_t)Cin, f);
}

sc_status sc_reference_linear_backward_weight(sc_stream *s, float *dw, float *db, const float *x, const float *dy,
                                              int N, int Cin, int Cout, sc_layout layout)
{
    (void)s;
    for (int o = 0; dw && o < Cout; o++)
        for (int i = 0; i < Cin; i++) {
            size_t at = weight_at(i, o, Cin, Cout, layout);
            double sum = dw[at];
            for (int n = 0; n < N; n++)
                sum += (double)x[(size_t)n * (size_t)Cin + (size_t)i] * dy[(size_t)n * (size_t)Cout + (size_t)o];
            dw[at] = (float)sum;
        }
    for (int o = 0; db && o < Cout; o++) {
        double sum = db[o];
        for (int n = 0; n < N; n++)
            sum += dy[(size_t)n * (size_t)Cout + (size_t)o];
        db[o] = (float)sum;
    }
    return SC_OK;
}
