#include "coordinator/cli/cli.h"
#include "coordinator/run/hf_config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int sc_cli_try_help(const char *command)
{
    fprintf(stderr, "Try '%s --help'.\n", command);
    return SC_EXIT_USAGE;
}

int sc_cli_usage(const char *command, const char *format, ...)
{
    fprintf(stderr, "%s: ", command);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return sc_cli_try_help(command);
}

int sc_cli_failed(const char *command)
{
    fprintf(stderr, "%s: %s\n", command, sc_status_message());
    return SC_EXIT_FAILURE;
}

bool sc_cli_integer(const char *command, const char *option, const char *text, int64_t low, int64_t high, int64_t *out)
{
    /* strtoll would skip blanks and take a plus. */
    const bool begins = (*text >= '0' && *text <= '9') || (text[0] == '-' && text[1] >= '0' && text[1] <= '9');
    char *end = NULL;
    errno = 0;
    const long long value = begins ? strtoll(text, &end, 10) : 0;
    if (begins && !*end && errno == 0 && value >= low && value <= high) {
        *out = value;
        return true;
    }
    if (high == INT64_MAX)
        sc_cli_usage(command, "option '%s' wants an integer of at least %" PRId64 ", not '%s'", option, low, text);
    else
        sc_cli_usage(command, "option '%s' wants an integer from %" PRId64 " to %" PRId64 ", not '%s'", option, low,
                     high, text);
    return false;
}

bool sc_cli_number(const char *command, const char *option, const char *text, double low, double high, double *out)
{
    /* Of what strtod takes, only decimal numbers: no blanks, "inf", "nan", "0x1p3". */
    const bool decimal = *text && text[strspn(text, "0123456789.eE+-")] == '\0' && *text != '+';
    char *end = NULL;
    const double value = decimal ? strtod(text, &end) : 0;
    if (decimal && !*end && isfinite(value) && value >= low && value <= high) {
        *out = value;
        return true;
    }
    if (isinf(high))
        sc_cli_usage(command, "option '%s' wants a number of at least %g, not '%s'", option, low, text);
    else
        sc_cli_usage(command, "option '%s' wants a number from %g to %g, not '%s'", option, low, high, text);
    return false;
}

bool sc_cli_sets_add(sc_cli_sets *self, const char *command, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        sc_cli_usage(command, "option '--set' wants KEY=VALUE, as in --set train.steps=10, not '%s'", text);
        return false;
    }
    const char **items = realloc(self->items, (size_t)(self->n + 1) * sizeof *items);
    if (!items) {
        fprintf(stderr, "%s: no memory for the options\n", command);
        return false;
    }
    self->items = items;
    self->items[self->n++] = text;
    return true;
}

void sc_cli_sets_clear(sc_cli_sets *self)
{
    free(self->items);
    *self = (sc_cli_sets){0};
}

sc_status sc_cli_config_load(const char *path, const sc_cli_sets *sets, sc_config **out)
{
    sc_model init;
    sc_status status = sc_config_load(path, sets->items, sets->n, out);
    if (status == SC_OK && (*out)->model.init) {
        status = sc_hf_config_load((*out)->model.init, &init);
        if (status == SC_OK)
            status = sc_config_adopt(*out, &init);
        else
            status = SC_FAIL(status, "%s: model.init: %s", path, sc_status_message());
    }
    if (status != SC_OK)
        sc_config_destroy(out);
    return status;
}

int sc_cli_finish(const char *command, int code)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    const int error = errno; /* 0: it was an earlier write that failed */
    struct pollfd output = {.fd = STDOUT_FILENO};
    const bool reader_has_gone = poll(&output, 1, 0) > 0 && (output.revents & POLLERR);
    if (!reader_has_gone)
        fprintf(stderr, "%s: standard output cannot be written%s%s\n", command, error ? ": " : "",
                error ? strerror(error) : "");
    return code == SC_EXIT_OK ? SC_EXIT_FAILURE : code;
}
