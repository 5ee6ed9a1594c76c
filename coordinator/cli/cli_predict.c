/* stagecoach predict: what a model says of texts. */
#include "coordinator/cli/cli.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/data/tokenizer_items.h"
#include "coordinator/run/predict_stream.h"
#include "coordinator/run/prediction_text.h"
#include "proto/base/clock.h"
#include "proto/base/legend.h"
#include "proto/base/log.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "predict"

static const char help[] =
    "Usage: stagecoach predict RUN|DIR [--text T | --file F | -] [--workers N] [--threads N] [OPTION]...\n"
    "\n"
    "Tells what the model of the run directory RUN, or of a directory of weights DIR, says of each text: its label, "
    "the\n"
    "entities in it, the words behind [MASK], or, where texts are items between blanks, which come next. A text is a\n"
    "line of standard input (-, the default) or of a file, and is answered when it comes, in order. Offsets count\n"
    "characters (Unicode code points).\n"
    "\n"
    "  --text T          this text alone\n"
    "  --file F          the lines of F\n"
    "  --input I         lines  a text a line (the default)\n"
    "                    pairs  a text, a tab, a second text: for models of two sentences\n"
    "                    conll  a word a line in columns, an empty line between sentences: for models that tag\n"
    "  --pair            the same as --input pairs\n"
    "  --word-column N   conll: the column of the word, from 1, or from -1 at the last (default 1)\n"
    "  --tag-column N    conll: that of its right tag, which --format conll repeats (default -1; 0: there is none)\n"
    "  --format F        jsonl  a JSON object a text (the default)\n"
    "                    tsv    text, label and probability between tabs; or an entity or a masked word's guess a "
    "line\n"
    "                    conll  word, right tag if there is one, and predicted tag: what 'stagecoach report' reads\n"
    "  --top N           the N likeliest labels as \"scores\"; words behind each [MASK] (default 5); items (default "
    "10)\n"
    "  --include-seen    items: those of the line may come again\n"
    "  --answers FILE    YAML or JSON: an answer for each label, and the probability below which nothing is known\n"
    "  --max-length N    tokens of a text; of longer ones the end is cut, tagging goes on in a next window\n"
    "                    (default: as many as the model takes)\n"
    "  --workers N       stages, one process each (default 1); the answers are the same to the bit for any number\n"
    "  --threads N       threads of each worker (default: an equal share of the cores)\n"
    "  --help            this text\n"
    "\n"
    "A text that is empty, not UTF-8 or too long is answered with {\"line\":N,\"error\":...} (with other formats told "
    "on\n"
    "standard error), and the others go on; the exit code is then 1. Ctrl-C ends the input: what was read is "
    "answered,\n"
    "and the exit code is 1, too.\n";

typedef struct arguments {
    sc_predictor_options predictor;
    sc_predict_stream_options stream;
    sc_prediction_format format;
    int top;
    const char *answers;
} arguments;

static bool check_place(const char *command, int argc, char **argv, arguments *a)
{
    const int n = argc - optind;
    if (n < 1) {
        sc_cli_usage(command, "the RUN directory is missing");
        return false;
    }
    if (n > 2 || (n == 2 && strcmp(argv[optind + 1], "-") != 0)) {
        sc_cli_usage(command, "'%s' is too much: texts come with --text or --file, or through standard input",
                     argv[optind + 1]);
        return false;
    }
    const int n_sources = (a->stream.text != NULL) + (a->stream.path != NULL) + (n == 2);
    if (n_sources > 1) {
        sc_cli_usage(command, "take one of --text, --file and -");
        return false;
    }
    if (a->stream.text && a->stream.input == SC_PREDICT_CONLL) {
        sc_cli_usage(command, "--input conll is for files and standard input; --text is a text");
        return false;
    }
    if (a->stream.path && strcmp(a->stream.path, "-") == 0)
        a->stream.path = NULL;
    a->predictor.dir = argv[optind];
    return true;
}

/* Returns -1 to go on, or the exit code. */
static int read_arguments(int argc, char **argv, arguments *a)
{
    static const char *const inputs[] = {"lines", "pairs", "conll", NULL};
    static const char *const formats[] = {"jsonl", "tsv", "conll", NULL};
    sc_predictor_options *predictor = &a->predictor;
    int input = SC_PREDICT_LINES, format = SC_PREDICTION_JSONL;
    bool pair = false;
    a->stream.word_column = 1;
    a->stream.tag_column = -1;
    predictor->workers = 1;
    const sc_cli_option options[] = {
        {.name = "text", .text = &a->stream.text},
        {.name = "file", .text = &a->stream.path},
        {.name = "input", .word = &input, .words = inputs},
        {.name = "pair", .flag = &pair},
        {.name = "word-column", .integer = &a->stream.word_column, .low = -64, .high = 64},
        {.name = "tag-column", .integer = &a->stream.tag_column, .low = -64, .high = 64},
        {.name = "format", .word = &format, .words = formats},
        {.name = "top", .integer = &predictor->top, .low = 1, .high = 1000},
        {.name = "include-seen", .flag = &predictor->includes_seen},
        {.name = "answers", .text = &a->answers},
        {.name = "max-length", .integer = &predictor->longest, .low = 8, .high = INT_MAX},
        {.name = "workers", .integer = &predictor->workers, .low = 1, .high = SC_MAX_STAGES},
        {.name = "threads", .integer = &predictor->threads, .low = 1, .high = SC_CLI_MAX_THREADS},
        {0},
    };
    const int code = sc_cli_read_options(argc, argv, options, help);
    if (code >= 0)
        return code;
    if (a->stream.word_column == 0)
        return sc_cli_usage(argv[0], "option '--word-column' counts from 1, or from -1 at the last");
    a->stream.input = pair ? SC_PREDICT_PAIRS : (sc_predict_input)input;
    a->format = (sc_prediction_format)format;
    a->top = predictor->top;
    return check_place(argv[0], argc, argv, a) ? -1 : SC_EXIT_USAGE;
}

/* What fits the model, and what does not: 0, or the exit code. */
static int check_model(const char *command, const arguments *a, const sc_predict_model *m)
{
    const bool tags = m->model.task == SC_TASK_TAGGING, classifies = m->model.task == SC_TASK_CLASSIFICATION;
    if (a->stream.input == SC_PREDICT_CONLL && !tags)
        return sc_cli_usage(command, "--input conll is for a model that tags words; the one in %s does not", m->dir);
    if (a->format == SC_PREDICTION_CONLL && !tags)
        return sc_cli_usage(command, "--format conll is for a model that tags words; the one in %s does not", m->dir);
    if (a->stream.input == SC_PREDICT_PAIRS && (!classifies || m->model.token_types < 2))
        return sc_cli_usage(command, "--pair is for a classifier of two sentences; the model in %s is none", m->dir);
    if (a->predictor.includes_seen && !sc_tokenizer_is_items(m->tokenizer))
        return sc_cli_usage(command, "--include-seen is for a model of items; the one in %s is none", m->dir);
    if (a->answers && !classifies)
        return sc_cli_usage(command, "--answers is for a classifier; the model in %s is none", m->dir);
    return 0;
}

typedef struct printer {
    const char *command;
    bool tells_mistakes; /* on standard error, as the format has no place for them */
    sc_prediction_text *text;
    sc_line_writer out;
    sc_predictor *predictor;
} printer;

static sc_status print(void *context, const sc_predict_item *item, bool last)
{
    enum { MUCH = 1 << 16 };
    printer *p = context;
    if (item->message && p->tells_mistakes)
        fprintf(stderr, "%s: line %" PRIu64 ": %s\n", p->command, item->line, item->message);
    SC_TRY(sc_prediction_text_put(p->text, item, &p->out));
    return last || p->out.n > MUCH ? sc_line_writer_flush(&p->out) : SC_OK;
}

static sc_status keep_going(void *context)
{
    return sc_predictor_wait(context, -1);
}

static sc_status run(const arguments *a, printer *p, const sc_answers *answers, sc_predict_stream_result *result)
{
    const sc_clock clock = sc_clock_system();
    p->tells_mistakes = a->format != SC_PREDICTION_JSONL;
    p->out = (sc_line_writer){.fd = STDOUT_FILENO, .context = p->predictor, .wait = keep_going};
    sc_predict_stream_options stream = a->stream;
    stream.predictor = p->predictor;
    stream.context = p;
    stream.each = print;
    SC_TRY(sc_predict_stream_check(stream.path));
    SC_TRY(sc_prediction_text_new(sc_predictor_model(p->predictor), a->format, a->top, answers, &p->text));
    SC_TRY(sc_predictor_start_workers(p->predictor));
    const uint64_t begin = sc_clock_ns(&clock);
    SC_TRY(sc_predict_stream_run(&stream, result));
    const double seconds = sc_clock_seconds_since(&clock, begin);
    const uint64_t n_tokens = sc_predictor_n_tokens(p->predictor);
    SC_DEBUG("%" PRIu64 " texts of %" PRIu64 " tokens in %.3f s: %.0f tok/s", result->n_items, n_tokens, seconds,
             (double)n_tokens / seconds);
    return SC_OK;
}

int sc_cli_predict(int argc, char **argv)
{
    arguments a = {0};
    int code = read_arguments(argc, argv, &a);
    if (code >= 0)
        return code;
    if (sc_log_init(NULL, false, STDERR_FILENO) != SC_OK)
        return sc_cli_failed(argv[0]);
    printer p = {.command = argv[0]};
    sc_answers *answers = NULL;
    sc_predict_stream_result result = {0};
    sc_status status = sc_predictor_open(&a.predictor, &p.predictor);
    code = status == SC_OK ? check_model(argv[0], &a, sc_predictor_model(p.predictor)) : SC_EXIT_OK;
    if (status == SC_OK && code == SC_EXIT_OK && a.answers)
        status = sc_answers_load(a.answers, &sc_predictor_model(p.predictor)->labels, &answers);
    if (status == SC_OK && code == SC_EXIT_OK) {
        status = run(&a, &p, answers, &result);
        if (result.n_mistakes > 0)
            code = SC_EXIT_FAILURE;
    }
    sc_predictor_close(&p.predictor);
    if (status != SC_OK)
        code = p.out.closed ? SC_EXIT_FAILURE : sc_cli_failed(argv[0]);
    sc_prediction_text_destroy(&p.text);
    sc_line_writer_clear(&p.out);
    sc_answers_destroy(&answers);
    return code;
}
