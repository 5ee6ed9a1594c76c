#include "coordinator/cli/cli.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/run/generator.h"
#include "proto/base/legend.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>

static const char help[] =
    "Usage: stagecoach generate RUN [--prompt TEXT] [--tokens N] [--temperature T] [--top-k K] [--top-p P] [--seed S]\n"
    "                           [--workers N] [--threads N]\n"
    "\n"
    "Continues TEXT with the model of the run directory RUN, or of a directory of weights: a run's final/, or a "
    "Hugging\n"
    "Face GPT-2 with its tokenizer.\n"
    "\n"
    "  --prompt TEXT      the beginning (default: a newline, which is not printed)\n"
    "  --tokens N         how many tokens to add (default 200)\n"
    "  --temperature T    0 takes the likeliest token each time (default 0.8)\n"
    "  --top-k K          draw from the K likeliest tokens (default 0: from all)\n"
    "  --top-p P          draw from the likeliest tokens that make up P of the probability (default 1: from all)\n"
    "  --seed S           the same seed gives the same text (default 1337)\n"
    "  --workers N        stages, one process each (default 1)\n"
    "  --threads N        threads of each worker (default: an equal share of the cores)\n"
    "  --help             this text\n";

/* Returns -1 to go on, or the exit code. */
static int read_arguments(int argc, char **argv, sc_generator_options *g)
{
    sc_sampler_settings sampler = {.temperature = 0.8, .top_p = 1};
    int64_t seed = 1337;
    g->n_tokens = 200;
    g->workers = 1;
    const sc_cli_option options[] = {
        {.name = "prompt", .text = &g->prompt},
        {.name = "tokens", .integer = &g->n_tokens, .low = 1, .high = 100000000},
        {.name = "temperature", .number = &sampler.temperature, .least = 0, .most = 1000},
        {.name = "top-k", .integer = &sampler.top_k, .low = 0, .high = INT_MAX},
        {.name = "top-p", .number = &sampler.top_p, .least = 1e-9, .most = 1},
        {.name = "seed", .wide = &seed, .low = 0, .high = INT64_MAX},
        {.name = "workers", .integer = &g->workers, .low = 1, .high = SC_MAX_STAGES},
        {.name = "threads", .integer = &g->threads, .low = 1, .high = SC_CLI_MAX_THREADS},
        {0},
    };
    const int code = sc_cli_read_options(argc, argv, options, help);
    if (code >= 0)
        return code;
    if (argc - optind != 1)
        return sc_cli_usage(argv[0], argc == optind ? "the RUN directory is missing" : "one RUN directory is enough");
    g->dir = argv[optind];
    sampler.seed = (uint64_t)seed;
    g->sampler = sampler;
    return -1;
}

int sc_cli_generate(int argc, char **argv)
{
    sc_generator_options options = {.out = stdout};
    int code = read_arguments(argc, argv, &options);
    if (code >= 0)
        return code;
    if (sc_generator_run(&options) != SC_OK)
        return sc_cli_failed(argv[0]);
    putchar('\n');
    return sc_cli_finish(argv[0], SC_EXIT_OK);
}
