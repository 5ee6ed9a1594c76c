/* stagecoach evaluate: loss and perplexity of a text or a token file; loss and scores of texts with labels. */
#include "coordinator/cli/cli.h"
#include "coordinator/run/evaluator.h"
#include "coordinator/run/label_evaluator.h"
#include "coordinator/run/progress.h"
#include "proto/base/legend.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static const char help[] =
    "Usage: stagecoach evaluate RUN|DIR --data FILE [--workers N] [--threads N] [--batch B] [--context T] [--json]\n"
    "       stagecoach evaluate RUN|DIR --data FILE [--format F] [--...-column C] [--predictions FILE] [--workers N] "
    "...\n"
    "\n"
    "Tells how well the model of the run directory RUN, or of the directory of weights DIR, predicts a text: the mean\n"
    "loss of a token and the perplexity. The tokens are cut into windows of T, one behind the other; each token but\n"
    "the very first is predicted once, from those before it in its window.\n"
    "\n"
    "Of a BERT that classifies texts or tags words, FILE has the right labels, too: then this prints the mean loss, "
    "the\n"
    "accuracy, and the report that 'stagecoach report' prints.\n"
    "\n"
    "  --data FILE    the text, or a token file; or texts with labels\n"
    "  --workers N    stages, one process each (default 1); the result is the same to the bit for any number\n"
    "  --threads N    threads of each worker (default: an equal share of the cores)\n"
    "  --batch B      windows computed at a time (default: as many as make about 1024 tokens)\n"
    "  --context T    tokens of a window (default: the model's context)\n"
    "  --format F     of labelled data: text-label, label-text, csv, jsonl or conll (default: by the file's name)\n"
    "  --text-column C, --pair-column C, --label-column C\n"
    "                 csv, jsonl: names of columns or fields (default: text, none, label)\n"
    "  --label-separator S\n"
    "                 between the labels of a text, where it has any number (default: a comma)\n"
    "  --word-column N, --tag-column N\n"
    "                 conll: columns from 1, or from -1 at the last (default: 1, -1)\n"
    "  --predictions FILE\n"
    "                 is written: text or word, right and predicted label, as 'stagecoach report' reads it\n"
    "  --json         the result as one JSON object\n"
    "  --help         this text\n";

typedef struct arguments {
    sc_evaluator_options evaluator;
    sc_label_evaluator_options labels; /* what it does not share with the other */
    bool json;
} arguments;

/* Returns -1 to go on, or the exit code. */
static int read_arguments(int argc, char **argv, arguments *a)
{
    enum {
        DATA = 256,
        WORKERS,
        THREADS,
        BATCH,
        CONTEXT,
        FORMAT,
        TEXT,
        PAIR,
        LABEL,
        WORD,
        TAG,
        SEPARATOR,
        OUT,
        JSON,
        HELP
    };
    static const struct option options[] = {
        {"data", required_argument, NULL, DATA},
        {"workers", required_argument, NULL, WORKERS},
        {"threads", required_argument, NULL, THREADS},
        {"batch", required_argument, NULL, BATCH},
        {"context", required_argument, NULL, CONTEXT},
        {"format", required_argument, NULL, FORMAT},
        {"text-column", required_argument, NULL, TEXT},
        {"pair-column", required_argument, NULL, PAIR},
        {"label-column", required_argument, NULL, LABEL},
        {"word-column", required_argument, NULL, WORD},
        {"tag-column", required_argument, NULL, TAG},
        {"label-separator", required_argument, NULL, SEPARATOR},
        {"predictions", required_argument, NULL, OUT},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    int64_t workers = 1, threads = 0, B = 0, T = 0, word = 1, tag = -1;
    sc_data_columns *columns = &a->labels.columns;
    *columns = sc_data_columns_defaults();
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        bool ok = true;
        switch (option) {
        case DATA:
            a->evaluator.data = optarg;
            break;
        case WORKERS:
            ok = sc_cli_integer(argv[0], "--workers", optarg, 1, SC_MAX_STAGES, &workers);
            break;
        case THREADS:
            ok = sc_cli_integer(argv[0], "--threads", optarg, 1, 1024, &threads);
            break;
        case BATCH:
            ok = sc_cli_integer(argv[0], "--batch", optarg, 1, 65536, &B);
            break;
        case CONTEXT:
            ok = sc_cli_integer(argv[0], "--context", optarg, 1, INT_MAX, &T);
            break;
        case FORMAT:
            a->labels.format = optarg;
            break;
        case TEXT:
            columns->text = optarg;
            break;
        case PAIR:
            columns->pair = optarg;
            break;
        case LABEL:
            columns->label = optarg;
            break;
        case WORD:
            ok = sc_cli_integer(argv[0], "--word-column", optarg, -64, 64, &word);
            break;
        case TAG:
            ok = sc_cli_integer(argv[0], "--tag-column", optarg, -64, 64, &tag);
            break;
        case SEPARATOR:
            columns->label_separator = optarg;
            break;
        case OUT:
            a->labels.predictions = optarg;
            break;
        case JSON:
            a->json = true;
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
    if (argc - optind != 1)
        return sc_cli_usage(argv[0], argc == optind ? "the RUN directory is missing" : "one RUN directory is enough");
    if (word == 0 || tag == 0)
        return sc_cli_usage(argv[0], "columns are counted from 1, or from -1 at the last");
    if (columns->label_separator && !columns->label_separator[0])
        return sc_cli_usage(argv[0], "option '--label-separator' wants a text");
    columns->word = (int)word;
    columns->tag = (int)tag;
    if (!a->evaluator.data)
        return sc_cli_usage(argv[0], "--data is missing: the text or token file to evaluate");
    a->evaluator.dir = argv[optind];
    a->evaluator.workers = (int)workers;
    a->evaluator.threads = (int)threads;
    a->evaluator.B = (int)B;
    a->evaluator.T = (int)T;
    return -1;
}

static const char erase_line[] = "\r\033[K";

static void draw_progress(void *context, uint64_t done, uint64_t of, double loss)
{
    (void)context;
    char text_done[32], text_of[32];
    fprintf(stderr, "%s%3.0f%%  %s of %s tokens  loss %.4f", erase_line, 100.0 * (double)done / (double)of,
            sc_progress_count((double)done, text_done, sizeof text_done),
            sc_progress_count((double)of, text_of, sizeof text_of), loss);
    fflush(stderr);
}

static void print_json(const sc_evaluation *e, double perplexity)
{
    printf("{\"loss\":%.17g,\"perplexity\":", e->loss);
    if (isfinite(perplexity))
        printf("%.17g", perplexity);
    else
        printf("null"); /* beyond double: JSON has no infinity */
    printf(",\"tokens\":%" PRIu64 ",\"windows\":%" PRIu64
           ",\"context\":%d,\"seconds\":%.3f,\"tokens_per_second\":%.1f}\n",
           e->n_targets, e->n_windows, e->T, e->seconds, (double)e->n_targets / e->seconds);
}

static int evaluate_labels(const char *command, arguments *a)
{
    const sc_evaluator_options *e = &a->evaluator;
    if (e->B > 0)
        return sc_cli_usage(command, "--batch is for texts without labels; here micro-batches are of like length");
    a->labels.data = e->data;
    if (!a->labels.columns.label_separator)
        a->labels.columns.label_separator = ",";
    a->labels.predictor =
        (sc_predictor_options){.dir = e->dir, .workers = e->workers, .threads = e->threads, .longest = e->T, .top = 1};
    sc_label_evaluation result = {0};
    sc_status status = sc_label_evaluator_run(&a->labels, &result);
    if (status == SC_OK)
        status = sc_label_evaluation_print(&result, a->json, stdout);
    sc_label_evaluation_clear(&result);
    return sc_cli_finish(command, status == SC_OK ? SC_EXIT_OK : sc_cli_failed(command));
}

/* Options that a model without labels does not have. */
static bool has_label_options(const sc_label_evaluator_options *o)
{
    const sc_data_columns none = sc_data_columns_defaults();
    return o->format || o->predictions || o->columns.label_separator || o->columns.text != none.text ||
           o->columns.pair != none.pair || o->columns.label != none.label || o->columns.word != none.word ||
           o->columns.tag != none.tag;
}

int sc_cli_evaluate(int argc, char **argv)
{
    arguments a = {0};
    bool has_labels;
    int code = read_arguments(argc, argv, &a);
    if (code >= 0)
        return code;
    if (sc_label_evaluator_fits(a.evaluator.dir, &has_labels) != SC_OK)
        return sc_cli_failed(argv[0]);
    if (has_labels)
        return evaluate_labels(argv[0], &a);
    if (has_label_options(&a.labels))
        return sc_cli_usage(argv[0], "--format, --...-column and --predictions are for models that give labels");
    bool terminal = isatty(STDERR_FILENO);
    if (terminal)
        a.evaluator.on_progress = draw_progress;
    sc_evaluation e;
    sc_status status = sc_evaluator_run(&a.evaluator, &e);
    if (terminal)
        fputs(erase_line, stderr);
    if (status != SC_OK)
        return sc_cli_failed(argv[0]);
    double perplexity = exp(e.loss);
    if (a.json)
        print_json(&e, perplexity);
    else
        printf("loss %.9g  perplexity %.6g  %" PRIu64 " tokens in %" PRIu64 " windows of %d  %.1f s  %.0f tok/s\n",
               e.loss, perplexity, e.n_targets, e.n_windows, e.T, e.seconds, (double)e.n_targets / e.seconds);
    return sc_cli_finish(argv[0], SC_EXIT_OK);
}
