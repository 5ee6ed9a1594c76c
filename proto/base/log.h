/* The log: one line an event, on standard error or in a file, as text or as JSON lines.
 *
 *   text   2026-01-31T12:00:00.123Z INFO  session: joined as worker 2
 *   json   {"time":"2026-01-31T12:00:00.123Z","level":"info","subsystem":"session","message":"joined as worker 2"}
 *
 * A line goes out in one write(2), so lines of several threads and processes on one file do not mix.
 * Thread: any, after sc_log_init. */
#ifndef SC_LOG_H
#define SC_LOG_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sc_log_level { SC_LOG_DEBUG, SC_LOG_INFO, SC_LOG_WARN, SC_LOG_ERROR, SC_LOG_OFF } sc_log_level;

/* "debug", "info", "warn", "error", "off" -> level. SC_INVALID for another word. */
sc_status sc_log_level_parse(const char *word, sc_log_level *level);

/* Where and what to log. Without a call: text, level info, standard error, and the environment's SC_LOG is read:
 * "warn" sets every subsystem, "warn,rpc=debug" one of them apart. `spec` has the same form and NULL reads SC_LOG.
 * Errors: SC_INVALID for a spec that does not parse. Thread: before other threads start. */
sc_status sc_log_init(const char *spec, bool json, int fd);
/* Whether sc_log_init would take `spec`; changes nothing. Thread: any. */
sc_status sc_log_check(const char *spec);

/* Whether a line of this level and subsystem would be written: to skip costly arguments. */
bool sc_log_enabled(sc_log_level level, const char *subsystem);

/* errno is kept. */
void sc_log_at(sc_log_level level, const char *subsystem, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Of lines that a stranger can bring about as often as he likes, one in SC_LOG_PERIOD_MS is written, and the others are
 * counted, so that he cannot fill a disk with them. {0} to begin with. Thread: one, or under a lock. */
enum { SC_LOG_PERIOD_MS = 5000 };
typedef struct sc_log_limit {
    bool written;
    uint64_t written_ms; /* the last line */
    uint64_t n_unsaid;   /* since then */
} sc_log_limit;
/* Whether a line may be written now. `more`, which goes behind it, says how many could not since the last, or is "". */
bool sc_log_limit_pass(sc_log_limit *self, uint64_t now_ms, char *more, size_t more_bytes);

/* Each .c file that logs defines SC_LOG_SUBSYSTEM, a word, before it uses these. */
#define SC_DEBUG(...) sc_log_at(SC_LOG_DEBUG, SC_LOG_SUBSYSTEM, __VA_ARGS__)
#define SC_INFO(...)  sc_log_at(SC_LOG_INFO, SC_LOG_SUBSYSTEM, __VA_ARGS__)
#define SC_WARN(...)  sc_log_at(SC_LOG_WARN, SC_LOG_SUBSYSTEM, __VA_ARGS__)
#define SC_ERROR(...) sc_log_at(SC_LOG_ERROR, SC_LOG_SUBSYSTEM, __VA_ARGS__)

#endif
