#include "coordinator/cli/cli.h"
#include "coordinator/run/generator.h"
#include "proto/base/legend.h"

#include <getopt.h>
#include <limits.h>

static const char help[] =
    "Usage: stagecoach generate RUN [--prompt TEXT] [--tokens N] [--temperature T] [--top-k K] [--top-p P] [--seed S]\n"
    "                           [--workers N] [--threads N]\n"
    "\n"
    "Continues TEXT with the model of the run directory RUN, or of a directory of weights: a run's final/, or a Hugging\n"
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
    enum { PROMPT = 256, TOKENS, TEMPERATURE, TOP_K, TOP_P, SEED, WORKERS, THREADS, HELP };
    static const struct option options[] = {
        {"prompt", required_argument, NULL, PROMPT},
        {"tokens", required_argument, NULL, TOKENS},
        {"top-k", required_argument, NULL, TOP_K},
        {"temperature", required_argument, NULL, TEMPERATURE},
        {"top-p", required_argument, NULL, TOP_P},
        {"seed", required_argument, NULL, SEED},
        {"workers", required_argument, NULL, WORKERS},
        {"threads", required_argument, NULL, THREADS},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    int64_t tokens = 200, top_k = 0, seed = 1337, workers = 1, threads = 0;
    double temperature = 0.8, top_p = 1;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        bool ok = true;
        switch (option) {
        case PROMPT:
            g->prompt = optarg;
            break;
        case TOKENS:
            ok = sc_cli_integer(argv[0], "--tokens", optarg, 1, 100000000, &tokens);
            break;
        case TEMPERATURE:
            ok = sc_cli_number(argv[0], "--temperature", optarg, 0, 1000, &temperature);
            break;
        case TOP_K:
            ok = sc_cli_integer(argv[0], "--top-k", optarg, 0, INT_MAX, &top_k);
            break;
        case TOP_P:
            ok = sc_cli_number(argv[0], "--top-p", optarg, 1e-9, 1, &top_p);
            break;
        case SEED:
            ok = sc_cli_integer(argv[0], "--seed", optarg, 0, INT64_MAX, &seed);
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
    if (argc - optind != 1)
        return sc_cli_usage(argv[0], argc == optind ? "the RUN directory is missing" : "one RUN directory is enough");
    g->dir = argv[optind];
    g->n_tokens = (int)tokens;
    g->workers = (int)workers;
    g->threads = (int)threads;
    g->sampler =
        (sc_sampler_settings){.temperature = temperature, .top_k = (int)top_k, .top_p = top_p, .seed = (uint64_t)seed};
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
