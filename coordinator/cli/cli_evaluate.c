/* stagecoach evaluate: loss and perplexity of a text or a token file; loss and scores of texts with labels. */
#include "coordinator/cli/cli.h"
#include "coordinator/cli/cli_options.h"
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
    sc_evaluator_options *e = &a->evaluator;
    sc_data_columns *columns = &a->labels.columns;
    *columns = sc_data_columns_defaults();
    e->workers = 1;
    const sc_cli_option options[] = {
        {.name = "data", .text = &e->data},
        {.name = "workers", .integer = &e->workers, .low = 1, .high = SC_MAX_STAGES},
        {.name = "threads", .integer = &e->threads, .low = 1, .high = SC_CLI_MAX_THREADS},
        {.name = "batch", .integer = &e->B, .low = 1, .high = 65536},
        {.name = "context", .integer = &e->T, .low = 1, .high = INT_MAX},
        {.name = "format", .text = &a->labels.format},
        {.name = "text-column", .text = &columns->text},
        {.name = "pair-column", .text = &columns->pair},
        {.name = "label-column", .text = &columns->label},
        {.name = "word-column", .integer = &columns->word, .low = -64, .high = 64},
        {.name = "tag-column", .integer = &columns->tag, .low = -64, .high = 64},
        {.name = "label-separator", .text = &columns->label_separator},
        {.name = "predictions", .text = &a->labels.predictions},
        {.name = "json", .flag = &a->json},
        {0},
    };
    const int code = sc_cli_read_options(argc, argv, options, help);
    if (code >= 0)
        return code;
    if (argc - optind != 1)
        return sc_cli_usage(argv[0], argc == optind ? "the RUN directory is missing" : "one RUN directory is enough");
    if (columns->word == 0 || columns->tag == 0)
        return sc_cli_usage(argv[0], "columns are counted from 1, or from -1 at the last");
    if (columns->label_separator && !columns->label_separator[0])
        return sc_cli_usage(argv[0], "option '--label-separator' wants a text");
    if (!e->data)
        return sc_cli_usage(argv[0], "--data is missing: the text or token file to evaluate");
    e->dir = argv[optind];
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
