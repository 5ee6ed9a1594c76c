#include "proto/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RULES = 16, WORD_BYTES = 24, LINE_BYTES = 2048 };

typedef struct rule {
    char subsystem[WORD_BYTES];
    sc_log_level level;
} rule;

typedef struct settings {
    bool ready;
    bool json;
    bool clears; /* fd is a terminal: a line also clears what it does not cover of a progress line */
    int fd;
    sc_log_level level;
    int n_rules;
    rule rules[MAX_RULES];
} settings;

/* Written by sc_log_init alone, before threads start; read by all. */
static settings config = {.fd = STDERR_FILENO, .level = SC_LOG_INFO};

static const char *const level_words[] = {"debug", "info", "warn", "error", "off"};
static const char *const level_labels[] = {"DEBUG", "INFO ", "WARN ", "ERROR", "OFF  "};

sc_status sc_log_level_parse(const char *word, sc_log_level *level)
{
    for (int i = 0; i <= SC_LOG_OFF; i++)
        if (strcmp(word, level_words[i]) == 0) {
            *level = (sc_log_level)i;
            return SC_OK;
        }
    return SC_FAIL(SC_INVALID, "log level '%s' is not one of debug, info, warn, error, off", word);
}

static sc_status add_rule(settings *to, const char *item)
{
    const char *equals = strchr(item, '=');
    if (!equals)
        return sc_log_level_parse(item, &to->level);
    size_t length = (size_t)(equals - item);
    if (length == 0 || length >= WORD_BYTES || to->n_rules == MAX_RULES)
        return SC_FAIL(SC_INVALID, "log rule '%s': expected SUBSYSTEM=LEVEL, at most %d of them", item, MAX_RULES);
    rule *r = &to->rules[to->n_rules];
    memcpy(r->subsystem, item, length);
    r->subsystem[length] = '\0';
    SC_TRY(sc_log_level_parse(equals + 1, &r->level));
    to->n_rules++;
    return SC_OK;
}

static sc_status parse_spec(const char *spec, settings *to)
{
    char copy[512];
    if (strlen(spec) >= sizeof copy)
        return SC_FAIL(SC_INVALID, "log specification is longer than %zu bytes", sizeof copy - 1);
    strcpy(copy, spec);
    char *rest = NULL;
    for (char *item = strtok_r(copy, ",", &rest); item; item = strtok_r(NULL, ",", &rest))
        SC_TRY(add_rule(to, item));
    return SC_OK;
}

sc_status sc_log_check(const char *spec)
{
    settings unused = {0};
    return parse_spec(spec, &unused);
}

sc_status sc_log_init(const char *spec, bool json, int fd)
{
    const char *term = getenv("TERM");
    const bool clears = !json && isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
    config = (settings){.ready = true, .json = json, .clears = clears, .fd = fd, .level = SC_LOG_INFO};
    if (!spec)
        spec = getenv("SC_LOG");
    return spec ? parse_spec(spec, &config) : SC_OK;
}

bool sc_log_enabled(sc_log_level level, const char *subsystem)
{
    for (int i = 0; i < config.n_rules; i++)
        if (strcmp(config.rules[i].subsystem, subsystem) == 0)
            return level >= config.rules[i].level;
    return level >= config.level;
}

/* Appends `text` to line[*used], escaped for JSON, never past `limit`. */
static void append_json(char *line, size_t *used, size_t limit, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p && *used + 7 < limit; p++) {
        if (*p == '"' || *p == '\\')
            line[(*used)++] = '\\', line[(*used)++] = (char)*p;
        else if (*p < 0x20)
            *used += (size_t)snprintf(line + *used, limit - *used, "\\u%04x", *p);
        else
            line[(*used)++] = (char)*p;
    }
}

void sc_log_at(sc_log_level level, const char *subsystem, const char *format, ...)
{
    if (!sc_log_enabled(level, subsystem))
        return;
    int saved_errno = errno;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    char stamp[32];
    size_t stamp_length = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(stamp + stamp_length, sizeof stamp - stamp_length, ".%03dZ", (int)(now.tv_nsec / 1000000));

    char text[LINE_BYTES / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);

    char line[LINE_BYTES];
    size_t used;
    if (config.json) {
        used =
            (size_t)snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"subsystem\":\"%s\",\"message\":\"",
                             stamp, level_words[level], subsystem);
        append_json(line, &used, sizeof line - 4, text);
        line[used++] = '"';
        line[used++] = '}';
    } else {
        for (char *p = text; *p; p++) /* one event, one line */
            if (*p == '\n')
                *p = ' ';
        used = (size_t)snprintf(line, sizeof line - 4, "%s %s %s: %s", stamp, level_labels[level], subsystem, text);
        if (used > sizeof line - 5)
            used = sizeof line - 5;
        if (config.clears) {
            memcpy(line + used, "\x1B[K", 3);
            used += 3;
        }
    }
    line[used++] = '\n';
    ssize_t written = write(config.fd, line, used);
    (void)written; /* there is nowhere left to say that the log cannot be written */
    errno = saved_errno;
}

bool sc_log_limit_pass(sc_log_limit *self, uint64_t now_ms, char *more, size_t more_bytes)
{
    if (self->written && now_ms - self->written_ms < SC_LOG_PERIOD_MS) {
        self->n_unsaid++;
        return false;
    }
    if (more_bytes > 0)
        more[0] = '\0';
    if (self->n_unsaid > 0)
        snprintf(more, more_bytes, " (and %" PRIu64 " more since the last line)", self->n_unsaid);
    *self = (sc_log_limit){.written = true, .written_ms = now_ms};
    return true;
}
