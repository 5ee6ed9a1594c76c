/* stagecoach export: a run's weights as a Hugging Face directory. */
#include "coordinator/cli/cli.h"
#include "coordinator/run/exporter.h"
#include "coordinator/run/progress.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: stagecoach export RUN --out DIR [--step N] [--dtype float32|bfloat16|float16]\n"
    "\n"
    "Writes the weights of the run directory RUN (or of a directory of weights) to DIR, as from_pretrained of Hugging\n"
    "Face's transformers reads them: model.safetensors, config.json and the tokenizer. DIR is made, or empty.\n"
    "\n"
    "  --out DIR      where to\n"
    "  --step N       the weights after step N: the final ones, or a checkpoint's (default: the newest)\n"
    "  --dtype TYPE   float32, bfloat16 or float16 (default: as they are, float32 for a run)\n"
    "  --help         this text\n";

static bool read_dtype(const char *command, const char *word, sc_dtype *out)
{
    static const sc_dtype types[] = {SC_F32, SC_BF16, SC_F16};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(sc_dtype_name(types[i]), word) == 0) {
            *out = types[i];
            return true;
        }
    sc_cli_usage(command, "option '--dtype' wants float32, bfloat16 or float16, not '%s'", word);
    return false;
}

/* Returns -1 to go on, or the exit code. */
static int read_arguments(int argc, char **argv, sc_exporter_options *e)
{
    enum { OUT = 256, STEP, DTYPE, HELP };
    static const struct option options[] = {
        {"out", required_argument, NULL, OUT},
        {"step", required_argument, NULL, STEP},
        {"dtype", required_argument, NULL, DTYPE},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case OUT:
            e->out = optarg;
            break;
        case STEP:
            if (!sc_cli_integer(argv[0], "--step", optarg, 0, INT64_MAX, &e->step))
                return SC_EXIT_USAGE;
            break;
        case DTYPE:
            if (!read_dtype(argv[0], optarg, &e->dtype))
                return SC_EXIT_USAGE;
            break;
        case 'h':
        case HELP:
            printf("%s", help);
            return sc_cli_finish(argv[0], SC_EXIT_OK);
        default:
            return sc_cli_try_help(argv[0]);
        }
    }
    if (argc - optind != 1)
        return sc_cli_usage(argv[0], argc == optind ? "the RUN directory is missing" : "one RUN directory is enough");
    if (!e->out || !e->out[0])
        return sc_cli_usage(argv[0], "--out is missing: the directory to write");
    e->dir = argv[optind];
    return -1;
}

int sc_cli_export(int argc, char **argv)
{
    sc_exporter_options options = {.step = -1};
    int code = read_arguments(argc, argv, &options);
    if (code >= 0)
        return code;
    sc_export done;
    if (sc_exporter_run(&options, &done) != SC_OK)
        return sc_cli_failed(argv[0]);
    char count[32], step[40] = "";
    if (done.step >= 0)
        snprintf(step, sizeof step, " of step %" PRId64, done.step);
    printf("%s: the weights%s, %s parameters in %s\n", options.out, step,
           sc_progress_count((double)done.elements, count, sizeof count), sc_dtype_name(done.dtype));
    return sc_cli_finish(argv[0], SC_EXIT_OK);
}
