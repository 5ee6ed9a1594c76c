/* The commands of `stagecoach`, and what they share.
 *
 * A command is int sc_cli_<name> (argc, argv); argv[0] is "stagecoach <name>", so that getopt_long's own messages carry
 * it. It returns the exit code: 0, 1 for a failure, 2 for wrong usage. All messages go to standard error. */
#ifndef SC_CLI_H
#define SC_CLI_H

#include "proto/base/config.h"

#include <stdbool.h>
#include <stdint.h>

enum { SC_EXIT_OK = 0, SC_EXIT_FAILURE = 1, SC_EXIT_USAGE = 2 };

int sc_cli_train(int argc, char **argv);
int sc_cli_serve(int argc, char **argv);
int sc_cli_plan(int argc, char **argv);
int sc_cli_batches(int argc, char **argv);
int sc_cli_generate(int argc, char **argv);
int sc_cli_tokenize(int argc, char **argv);
int sc_cli_evaluate(int argc, char **argv);
int sc_cli_predict(int argc, char **argv);
int sc_cli_watch(int argc, char **argv);
int sc_cli_report(int argc, char **argv);
int sc_cli_export(int argc, char **argv);
int sc_cli_verify(int argc, char **argv);
int sc_cli_keygen(int argc, char **argv);
int sc_cli_status(int argc, char **argv);
int sc_cli_healthcheck(int argc, char **argv);

/* "COMMAND: message" and "Try 'COMMAND --help'."; returns SC_EXIT_USAGE. `command` is argv[0]. */
int sc_cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The second line alone, for after getopt_long has complained by itself. */
int sc_cli_try_help(const char *command);
/* "COMMAND: " and the message of the last SC_FAIL; returns SC_EXIT_FAILURE. */
int sc_cli_failed(const char *command);

/* An option's value as an integer or a number in [low, high]. On a mistake says so, naming option, value and range, in
 * the manner of sc_cli_usage, and returns false. The whole text must be the number; "nan" and "inf" are none. */
bool sc_cli_integer(const char *command, const char *option, const char *text, int64_t low, int64_t high, int64_t *out);
bool sc_cli_number(const char *command, const char *option, const char *text, double low, double high, double *out);

/* The --set options of a command line, in order, as sc_config_load takes them. Zero-initialise; borrows the strings. */
typedef struct sc_cli_sets {
    const char **items;
    int n;
} sc_cli_sets;
/* False, with a message as above, if `text` is not KEY=VALUE or memory ran out. */
bool sc_cli_sets_add(sc_cli_sets *self, const char *command, const char *text);
void sc_cli_sets_clear(sc_cli_sets *self);

/* The config of a command line; with model.init, the directory's shape is in it. Returns owned. Errors: as sc_config_load,
 * sc_hf_config_load and sc_config_adopt. */
sc_status sc_cli_config_load(const char *path, const sc_cli_sets *sets, sc_config **out);

/* Flushes standard output at a command's end: a full disk or a closed pipe is a failure (a closed pipe a silent one, the
 * reader has gone). Returns `code`, or SC_EXIT_FAILURE. */
int sc_cli_finish(const char *command, int code);

#endif
