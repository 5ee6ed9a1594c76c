/* stagecoach report: scores of a file of predictions. */
#include "coordinator/cli/cli.h"

#include "coordinator/report/report.h"
#include "proto/base/files.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "Usage: stagecoach report FILE [--format F] [--digits N]\n"
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
    "  --help       show this text\n";

typedef struct options {
    const char *file;
    sc_report_format format;
    bool has_format, help;
    int64_t digits;
} options;

/* False, with a message, for wrong usage. */
static bool parse(int argc, char **argv, options *o)
{
    static const struct option longs[] = {{"format", required_argument, NULL, 'f'},
                                          {"digits", required_argument, NULL, 'd'},
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
    sc_predictions predictions = {0};
    sc_status status =
        sc_predictions_read(&(sc_text){.name = o->file, .bytes = bytes, .n_bytes = n_bytes}, &predictions);
    if (status == SC_OK) {
        const sc_report_format fitting = sc_predictions_are_tags(&predictions) ? SC_REPORT_SEQEVAL : SC_REPORT_SKLEARN;
        status = sc_report_print(&predictions, o->has_format ? o->format : fitting, (int)o->digits, stdout);
        if (status != SC_OK)
            status = SC_FAIL(status, "%s: %s", o->file, sc_status_message());
    }
    sc_predictions_clear(&predictions);
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
