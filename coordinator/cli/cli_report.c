/* stagecoach report: scores of a file of predictions. */
#include "coordinator/cli/cli.h"

#include "coordinator/report/report.h"
#include "proto/base/files.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: stagecoach report FILE [--format F] [--digits N] [--label-separator S]\n"
    "\n"
    "Prints how good the predictions in FILE are. It has an example or token a line; the last two columns are the\n"
    "right label and the predicted one, between blanks or, if the first line has a tab, between tabs; an empty line\n"
    "ends a sentence.\n"
    "\n"
    "  --format F   sklearn    per class or, with O, per tag, as scikit-learn's classification_report prints it\n"
    "               seqeval    per type of entity, as seqeval prints it\n"
    "               conlleval  per type of entity, as conlleval prints it\n"
    "               confusion  how often each class was predicted as each\n"
    "               json       all scores, as one JSON object\n"
    "               (default: seqeval if all labels are O, B-..., I-..., E-... or S-..., else sklearn)\n"
    "  --digits N   of the fractions of sklearn and seqeval (default: 2)\n"
    "  --label-separator S   an example has any number of labels, with S between them: the columns stand between "
    "tabs,\n"
    "               an empty one is none, and the format is sklearn, as of an indicator matrix, or json\n"
    "  --help       show this text\n";

typedef struct options {
    const char *file, *separator; /* NULL: an example has one label */
    sc_report_format format;
    bool has_format, help;
    int64_t digits;
} options;

/* False, with a message, for wrong usage. */
static bool parse(int argc, char **argv, options *o)
{
    static const struct option longs[] = {{"format", required_argument, NULL, 'f'},
                                          {"digits", required_argument, NULL, 'd'},
                                          {"label-separator", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    optind = 0; /* glibc: start afresh, whatever scanned before */
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        if (c == 'h') {
            o->help = true;
            return true;
        } else if (c == 'f') {
            o->has_format = true;
            if (!sc_report_format_parse(optarg, &o->format)) {
                sc_cli_usage(argv[0],
                             "option '--format' wants sklearn, seqeval, conlleval, confusion or json, not '%s'",
                             optarg);
                return false;
            }
        } else if (c == 's') {
            o->separator = optarg;
            if (!*optarg || strpbrk(optarg, "\t\r\n")) {
                sc_cli_usage(argv[0], "option '--label-separator' wants characters other than a tab or a line's end");
                return false;
            }
        } else if (c != 'd') {
            return sc_cli_try_help(argv[0]) == SC_EXIT_OK;
        } else if (!sc_cli_integer(argv[0], "--digits", optarg, 0, 17, &o->digits)) {
            return false;
        }
    }
    if (argc - optind != 1) {
        sc_cli_usage(argv[0], argc == optind ? "a FILE is missing" : "only one FILE can be reported on");
        return false;
    }
    o->file = argv[optind];
    return true;
}

static sc_status run(const options *o)
{
    char *bytes;
    size_t n_bytes;
    SC_TRY(sc_files_read(o->file, INT32_MAX, &bytes, &n_bytes));
    const sc_text text = {.name = o->file, .bytes = bytes, .n_bytes = n_bytes};
    sc_predictions predictions = {0};
    sc_label_sets sets = {0};
    sc_status status =
        o->separator ? sc_label_sets_read(&text, o->separator, &sets) : sc_predictions_read(&text, &predictions);
    if (status == SC_OK && o->separator) {
        status = sc_report_print_sets(&sets, o->has_format ? o->format : SC_REPORT_SKLEARN, (int)o->digits, stdout);
        if (status != SC_OK)
            status = SC_FAIL(status, "%s: %s", o->file, sc_status_message());
    } else if (status == SC_OK) {
        const sc_report_format fitting = sc_predictions_are_tags(&predictions) ? SC_REPORT_SEQEVAL : SC_REPORT_SKLEARN;
        status = sc_report_print(&predictions, o->has_format ? o->format : fitting, (int)o->digits, stdout);
        if (status != SC_OK)
            status = SC_FAIL(status, "%s: %s", o->file, sc_status_message());
    }
    sc_predictions_clear(&predictions);
    sc_label_sets_clear(&sets);
    free(bytes);
    return status;
}

int sc_cli_report(int argc, char **argv)
{
    options o = {.digits = 2};
    int code = SC_EXIT_OK;
    if (!parse(argc, argv, &o))
        code = SC_EXIT_USAGE;
    else if (o.help)
        fputs(help, stdout);
    else if (run(&o) != SC_OK)
        code = sc_cli_failed(argv[0]);
    return sc_cli_finish(argv[0], code);
}
