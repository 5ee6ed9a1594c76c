/* The options of a command as a table: what is set is where the value goes, and so of which kind it is.
 *
 *     const sc_cli_option options[] = {
 *         {.name = "workers", .integer = &workers, .low = 1, .high = SC_MAX_STAGES},
 *         {.name = "json", .flag = &json},
 *         {0}};
 *
 * Every command has --help and -h beside them. What is not given leaves its place as it was: the default. */
#ifndef SC_CLI_OPTIONS_H
#define SC_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct sc_cli_option {
    const char *name; /* without the hyphens; NULL ends the table */
    /* exactly one of these: */
    bool *flag;        /* no value */
    const char **text; /* borrowed from argv */
    int *integer;
    int64_t *wide; /* an integer that may be larger */
    double *number;
    int *word;                /* the index of one of */
    const char *const *words; /* these, NULL at the end */
    int64_t low, high;        /* of integer and wide */
    double least, most;       /* of number */
} sc_cli_option;

enum { SC_CLI_MOST_OPTIONS = 32, SC_CLI_MAX_THREADS = 1024 /* of a worker, as --threads says it */ };

/* Reads them; optind is then the first argument that is none. Returns -1 to go on, or the exit code: 0 behind --help, which prints
 * `help`, or that of wrong usage, which is told in the manner of sc_cli_usage. */
int sc_cli_read_options(int argc, char **argv, const sc_cli_option *options, const char *help);

#endif
