/* stagecoach watch: an alarm when a label becomes frequent in a stream of texts. */
#include "coordinator/cli/cli.h"
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
    enum { LABEL = 256, ABOVE, WINDOW, BELOW, FILE_, COMMAND, PAIR, LENGTH, WORKERS, THREADS, HELP };
    static const struct option options[] = {
        {"label", required_argument, NULL, LABEL},
        {"above", required_argument, NULL, ABOVE},
        {"window", required_argument, NULL, WINDOW},
        {"below", required_argument, NULL, BELOW},
        {"file", required_argument, NULL, FILE_},
        {"command", required_argument, NULL, COMMAND},
        {"pair", no_argument, NULL, PAIR},
        {"max-length", required_argument, NULL, LENGTH},
        {"workers", required_argument, NULL, WORKERS},
        {"threads", required_argument, NULL, THREADS},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    int64_t window = 200, length = 0, workers = 1, threads = 0;
    double above = -1, below = -1;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        bool ok = true;
        switch (option) {
        case LABEL:
            w->label = optarg;
            break;
        case ABOVE:
            ok = sc_cli_number(argv[0], "--above", optarg, 0, 0.999999999, &above);
            break;
        case WINDOW:
            ok = sc_cli_integer(argv[0], "--window", optarg, 1, 100000000, &window);
            break;
        case BELOW:
            ok = sc_cli_number(argv[0], "--below", optarg, 0, 1, &below);
            break;
        case FILE_:
            w->path = optarg;
            break;
        case COMMAND:
            w->command = optarg;
            break;
        case PAIR:
            w->pairs = true;
            break;
        case LENGTH:
            ok = sc_cli_integer(argv[0], "--max-length", optarg, 8, INT_MAX, &length);
            break;
        case WORKERS:
            ok = sc_cli_integer(argv[0], "--workers", optarg, 1, SC_MAX_STAGES, &workers);
            break;
        case THREADS:
            ok = sc_cli_integer(argv[0], "--threads", optarg, 1, 1024, &threads);
            break;
        case 'h':
        case HELP:
            printf("%s", help);
            return sc_cli_finish(argv[0], SC_EXIT_OK);
        default:
            return sc_cli_try_help(argv[0]);
        }
        if (!ok)
            return SC_EXIT_USAGE;
    }
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
    w->predictor = (sc_predictor_options){
        .dir = argv[optind], .workers = (int)workers, .threads = (int)threads, .longest = (int)length, .top = 1};
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
