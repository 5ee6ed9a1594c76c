/* stagecoach export: a run's weights as a Hugging Face directory. */
#include "coordinator/cli/cli.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/run/exporter.h"
#include "coordinator/run/progress.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

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

/* Returns -1 to go on, or the exit code. */
static int read_arguments(int argc, char **argv, sc_exporter_options *e)
{
    static const sc_dtype types[] = {SC_F32, SC_BF16, SC_F16};
    const char *const names[] = {sc_dtype_name(SC_F32), sc_dtype_name(SC_BF16), sc_dtype_name(SC_F16), NULL};
    int type = -1;
    const sc_cli_option options[] = {
        {.name = "out", .text = &e->out},
        {.name = "step", .wide = &e->step, .low = 0, .high = INT64_MAX},
        {.name = "dtype", .word = &type, .words = names},
        {0},
    };
    const int code = sc_cli_read_options(argc, argv, options, help);
    if (code >= 0)
        return code;
    if (type >= 0)
        e->dtype = types[type];
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
