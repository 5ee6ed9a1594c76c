#include "coordinator/run/progress_text.h"

#include "proto/base/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *sc_progress_duration(double seconds, char *text, size_t text_bytes)
{
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(text, text_bytes, "-");
        return text;
    }
    const long s = lround(seconds);
    if (s < 60)
        snprintf(text, text_bytes, "%lds", s);
    else if (s < 3600)
        snprintf(text, text_bytes, "%ld:%02ld", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, text_bytes, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, text_bytes, "%ldd %02ldh", s / 86400, s / 3600 % 24);
    return text;
}

const char *sc_progress_count(double count, char *text, size_t text_bytes)
{
    static const char units[] = "\0kMGT";
    int unit = 0;
    /* 999.5 would be written as 1000, and 9.95 of a unit as 10.0. */
    for (; count >= 999.5 && unit < 4; unit++)
        count /= 1000;
    const int digits = unit > 0 && count < 9.95 ? 1 : 0;
    snprintf(text, text_bytes, "%.*f%.1s", digits, count, units + unit);
    return text;
}

char sc_progress_text_letter(const char *action)
{
    sc_action parsed;
    const char *end;
    if (action[0] < '0' || action[0] > '9' || sc_action_parse(action, &end, &parsed) != SC_OK)
        return '-';
    switch (parsed.kind) {
    case SC_ACT_FORWARD:
        return 'F';
    case SC_ACT_BACKWARD:
    case SC_ACT_BACKWARD_INPUT:
    case SC_ACT_BACKWARD_WEIGHT:
        return 'B';
    case SC_ACT_REDUCE_TIED:
    case SC_ACT_REDUCE_GRAD:
    case SC_ACT_STEP:
        return 'S';
    default:
        return '-';
    }
}

/* A field's text, cut to fit, at the end of what is there. */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t text_bytes, const char *format, ...)
{
    const size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, text_bytes - used, format, args);
    va_end(args);
}

static void append_doing(const sc_progress_view *view, char *text, size_t text_bytes)
{
    append(text, text_bytes, "[");
    for (int i = 0; i < view->n_stages; i++)
        append(text, text_bytes, "%s%d%c", i ? " " : "", i + 1, view->doing[i]);
    append(text, text_bytes, "]");
}

static void append_busy(const sc_progress_view *view, char *text, size_t text_bytes)
{
    append(text, text_bytes, "busy");
    for (int i = 0; i < view->n_stages; i++) {
        const double share = view->busy[i];
        append(text, text_bytes, " %.0f", share > 0 ? (share < 1 ? share * 100 : 100) : 0);
    }
    append(text, text_bytes, "%%");
}

enum { FIELD_BYTES = 16 + 8 * SC_MAX_STAGES, N_FIELDS = 8 };

static void write_field(const sc_progress_view *view, int field, char *text)
{
    char number[32];
    text[0] = '\0';
    switch (field) {
    case 0:
        append(text, FIELD_BYTES, "step %" PRId64 "/%" PRId64, view->step, view->steps);
        break;
    case 1:
        append(text, FIELD_BYTES, "loss %.4f", view->loss);
        break;
    case 2:
        append(text, FIELD_BYTES, "lr %.3g", view->lr);
        break;
    case 3:
        append(text, FIELD_BYTES, "norm %.3g", view->grad_norm);
        break;
    case 4:
        append(text, FIELD_BYTES, "%s tok/s", sc_progress_count(view->tokens_per_second, number, sizeof number));
        break;
    case 5:
        append(text, FIELD_BYTES, "ETA %s", sc_progress_duration(view->eta_seconds, number, sizeof number));
        break;
    case 6:
        append_doing(view, text, FIELD_BYTES);
        break;
    default:
        if (view->busy)
            append_busy(view, text, FIELD_BYTES);
        break;
    }
}

void sc_progress_text_line(const sc_progress_view *view, int width, char *text, size_t text_bytes)
{
    text[0] = '\0';
    /* Before the first step there is nothing to say about losses and rates. */
    for (int field = 0; field < N_FIELDS; field++) {
        if (view->step == 0 && field > 0 && field != 6)
            continue;
        char piece[FIELD_BYTES];
        write_field(view, field, piece);
        const size_t needed = strlen(text) + (*text ? 2 : 0) + strlen(piece);
        if (!*piece || needed > (size_t)width || needed >= text_bytes)
            break;
        append(text, text_bytes, "%s%s", *text ? "  " : "", piece);
    }
}

void sc_progress_text_plain(const sc_progress_view *view, char *text, size_t text_bytes)
{
    char eta[32];
    snprintf(text, text_bytes, "step %" PRId64 "/%" PRId64 " loss %.4f lr %.3g norm %.3g tok/s %.0f step %.3fs ETA %s",
             view->step, view->steps, view->loss, view->lr, view->grad_norm, view->tokens_per_second,
             view->step_seconds, sc_progress_duration(view->eta_seconds, eta, sizeof eta));
    if (view->busy) {
        append(text, text_bytes, " ");
        append_busy(view, text, text_bytes);
    }
}
