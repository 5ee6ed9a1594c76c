/* stagecoach watch: an alarm when a label becomes frequent in a stream of texts. */
#include "coordinator/cli/cli.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/run/watcher.h"
#include "proto/base/legend.h"
#include "proto/base/log.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_ALARM = 3 };

static const char help[] =
    "Usage: stagecoach watch RUN|DIR --label L --above P [--window N] [--below P] [--file F | -] [--command CMD]\n"
    "                        [--pair] [--max-length N] [--workers N] [--threads N]\n"
    "\n"
    "Reads texts, a line each, from standard input (-, the default) or a file, and prints a line of JSON when the "
    "share\n"
    "of those that the model gives the label L rises above P among the last N: once, until it has fallen to the second "
    "P.\n"
    "\n"
    "  --label L         a label of the model in the run directory RUN, or in a directory of weights DIR\n"
    "  --above P         the share, from 0 to below 1, that is an alarm when it is exceeded\n"
    "  --window N        texts that count; there is no alarm before there were so many (default 200)\n"
    "  --below P         the share at which there may be a next alarm (default: nine tenths of --above)\n"
    "  --file F          the lines of F\n"
    "  --command CMD     run by sh with each alarm, which is on its standard input and in STAGECOACH_ALARM; nobody "
    "waits\n"
    "                    for it, at most 4 run at once, and at the end they have 10 seconds\n"
    "  --pair            a line is a text, a tab and a second text\n"
    "  --max-length N    tokens of a text; of longer ones the end is cut (default: as many as the model takes)\n"
    "  --workers N       stages, one process each (default 1)\n"
    "  --threads N       threads of each worker (default: an equal share of the cores)\n"
    "  --help            this text\n"
    "\n"
    "Exit code: 0 if the stream ended without an alarm, 3 if there was one, 1 for a failure, 2 for wrong usage. A text "
    "that\n"
    "is empty or broken is told on standard error and does not count.\n";

/* Returns -1 to go on, or the exit code. */
static int read_arguments(int argc, char **argv, sc_watcher_options *w)
{
    sc_predictor_options *predictor = &w->predictor;
    int window = 200;
    double above = -1, below = -1;
    *predictor = (sc_predictor_options){.workers = 1, .top = 1};
    const sc_cli_option options[] = {
        {.name = "label", .text = &w->label},
        {.name = "above", .number = &above, .least = 0, .most = 0.999999999},
        {.name = "window", .integer = &window, .low = 1, .high = 100000000},
        {.name = "below", .number = &below, .least = 0, .most = 1},
        {.name = "file", .text = &w->path},
        {.name = "command", .text = &w->command},
        {.name = "pair", .flag = &w->pairs},
        {.name = "max-length", .integer = &predictor->longest, .low = 8, .high = INT_MAX},
        {.name = "workers", .integer = &predictor->workers, .low = 1, .high = SC_MAX_STAGES},
        {.name = "threads", .integer = &predictor->threads, .low = 1, .high = SC_CLI_MAX_THREADS},
        {0},
    };
    const int code = sc_cli_read_options(argc, argv, options, help);
    if (code >= 0)
        return code;
    const int n = argc - optind;
    if (n < 1)
        return sc_cli_usage(argv[0], "the RUN directory is missing");
    if (n > 2 || (n == 2 && (strcmp(argv[optind + 1], "-") != 0 || w->path)))
        return sc_cli_usage(argv[0], "'%s' is too much: texts come with --file or through standard input",
                            argv[optind + 1]);
    if (!w->label)
        return sc_cli_usage(argv[0], "--label is missing: what is to be watched for");
    if (above < 0)
        return sc_cli_usage(argv[0], "--above is missing: the share that is an alarm, such as 0.4");
    if (below > above)
        return sc_cli_usage(argv[0], "--below is %g, which is more than --above", below);
    if (w->path && strcmp(w->path, "-") == 0)
        w->path = NULL;
    w->above = above;
    w->below = below >= 0 ? below : 0.9 * above;
    w->window = (size_t)window;
    predictor->dir = argv[optind];
    return -1;
}

int sc_cli_watch(int argc, char **argv)
{
    sc_watcher_options w = {.title = argv[0], .out = STDOUT_FILENO};
    const int code = read_arguments(argc, argv, &w);
    if (code >= 0)
        return code;
    if (sc_log_init(NULL, false, STDERR_FILENO) != SC_OK)
        return sc_cli_failed(argv[0]);
    sc_watcher_result result;
    if (sc_watcher_run(&w, &result) != SC_OK)
        return result.closed ? SC_EXIT_FAILURE : sc_cli_failed(argv[0]);
    return result.n_alarms > 0 ? EXIT_ALARM : SC_EXIT_OK;
}
