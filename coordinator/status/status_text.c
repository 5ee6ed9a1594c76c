#include "coordinator/status/status_text.h"

#include "coordinator/run/progress.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static long long integer(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "-";
}

static const char *shown(double value, const char *format, char out[32]) __attribute__((format(printf, 2, 0)));
static const char *shown(double value, const char *format, char out[32])
{
    if (isfinite(value))
        snprintf(out, 32, format, value);
    else
        snprintf(out, 32, "-");
    return out;
}

/* What came from the network is shown, not obeyed. */
static void line(FILE *out, int width, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void line(FILE *out, int width, const char *format, ...)
{
    char bytes[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(bytes, sizeof bytes, format, args);
    va_end(args);
    if (width > 0 && strlen(bytes) > (size_t)width)
        bytes[width] = '\0';
    for (char *p = bytes; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = '?';
    fprintf(out, "%s\n", bytes);
}

static void print_run(const json_t *s, int width, FILE *out)
{
    char loss[32], validation[32], speed[32], eta[32], bubble[32];
    const long long step = integer(s, "step"), steps = integer(s, "steps");
    const json_t *eval = json_object_get(s, "validation"), *totals = json_object_get(s, "totals");
    const double tokens = number(s, "tokens_per_second");
    line(out, width, "%s  %s  step %lld/%lld (%lld%%)  loss %s  validation %s  %s tok/s  %s left", text(s, "run"),
         text(s, "state"), step, steps, steps > 0 ? 100 * step / steps : 0, shown(number(s, "loss"), "%.4f", loss),
         shown(number(eval, "loss"), "%.4f", validation),
         isfinite(tokens) ? sc_progress_count(tokens, speed, sizeof speed) : "-",
         sc_progress_duration(number(s, "eta_seconds"), eta, sizeof eta));
    line(out, width, "generation %lld, %lld workers, %lld wanted, bubble %s, %lld lost, %lld checkpoints (%lld failed)",
         integer(s, "generation"), integer(s, "workers"), integer(s, "workers_wanted"),
         shown(100 * number(s, "bubble"), "%.0f%%", bubble), integer(totals, "losses"), integer(totals, "checkpoints"),
         integer(totals, "checkpoints_failed"));
    if (json_string_length(json_object_get(s, "message")) > 0)
        line(out, width, "%s", text(s, "message"));
}

static void print_stage(const json_t *stage, int width, FILE *out)
{
    char busy[32], forward[32], backward[32], waits[32], blocks[32] = "-";
    const json_t *worker = json_object_get(stage, "worker");
    const long long first = integer(stage, "first_block"), n = integer(stage, "n_blocks");
    if (n > 0)
        snprintf(blocks, sizeof blocks, "%lld-%lld", first, first + n - 1);
    line(out, width, "%5lld  %-24s %-10s %-8s %5s %9s %9s %9s", integer(stage, "stage"), text(worker, "name"),
         json_is_object(worker) ? text(worker, "doing") : text(stage, "state"), blocks,
         shown(100 * number(stage, "busy"), "%.0f%%", busy), shown(number(stage, "forward_seconds"), "%.4fs", forward),
         shown(number(stage, "backward_seconds"), "%.4fs", backward),
         shown(number(stage, "wait_seconds"), "%.4fs", waits));
}

void sc_status_text_print(const json_t *status, const json_t *stages, int width, FILE *out)
{
    size_t i;
    const json_t *item;
    print_run(status, width, out);
    line(out, width, "stage  %-24s %-10s %-8s %5s %9s %9s %9s", "worker", "doing", "blocks", "busy", "forward",
         "backward", "waits");
    json_array_foreach(json_object_get(stages, "stages"), i, item) print_stage(item, width, out);
    json_array_foreach(json_object_get(stages, "spares"), i, item)
        line(out, width, "spare  %-24s %s", text(item, "name"),
             json_is_true(json_object_get(item, "draining")) ? "draining" : "waits");
}
