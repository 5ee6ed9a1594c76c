/* stagecoach batches: the micro-batches that training will see, as text. */
#include "coordinator/cli/cli.h"

#include "coordinator/data/feed.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

static const char help[] = "Usage: stagecoach batches CONFIG --steps N [OPTION]...\n"
                           "\n"
                           "Prints the micro-batches of the first N steps as token ids, one JSON object a line:\n"
                           "  {\"step\":1,\"microbatch\":0,\"tokens\":[[...],...],\"targets\":[[...],...]}\n"
                           "and, of a bert, segments, lengths and next.\n"
                           "\n"
                           "  --steps N         how many steps\n"
                           "  --from S          the first of them; default 1\n"
                           "  --set KEY=VALUE   override a key of the config; may be repeated\n"
                           "  --help            show this text\n";

typedef struct options {
    const char *config;
    int64_t n_steps, first_step;
    sc_cli_sets sets;
    bool help;
} options;

/* False, with a message, for wrong usage. */
static bool parse(int argc, char **argv, options *o)
{
    static const struct option longs[] = {{"steps", required_argument, NULL, 'n'},
                                          {"from", required_argument, NULL, 'f'},
                                          {"set", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    *o = (options){.first_step = 1};
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        bool good = true;
        if (c == 'n')
            good = sc_cli_integer(argv[0], "--steps", optarg, 1, 1000000000, &o->n_steps);
        else if (c == 'f')
            good = sc_cli_integer(argv[0], "--from", optarg, 1, 1000000000, &o->first_step);
        else if (c == 's')
            good = sc_cli_sets_add(&o->sets, argv[0], optarg);
        else if (c == 'h')
            o->help = true;
        else
            good = sc_cli_try_help(argv[0]) == SC_EXIT_OK;
        if (!good)
            return false;
        if (o->help)
            return true;
    }
    if (argc - optind != 1) {
        sc_cli_usage(argv[0], argc == optind ? "a CONFIG is missing" : "more than one CONFIG is given");
        return false;
    }
    o->config = argv[optind];
    if (o->n_steps == 0) {
        sc_cli_usage(argv[0], "option '--steps' is missing");
        return false;
    }
    return true;
}

static void print_rows(const char *name, const int32_t *ids, int B, int T)
{
    printf(",\"%s\":[", name);
    for (int b = 0; b < B; b++)
        for (int t = 0; t < T; t++)
            printf("%s%" PRId32 "%s",
                   t   ? ","
                   : b ? ",["
                       : "[",
                   ids[(size_t)b * (size_t)T + (size_t)t], t == T - 1 ? "]" : "");
    putchar(']');
}

static void print_batch(const sc_micro_batch *m, const sc_model *model)
{
    print_rows("tokens", m->tokens, m->B, m->T);
    if (sc_model_takes_segments(model)) {
        print_rows("segments", m->segments, m->B, m->T);
        print_rows("lengths", m->lengths, 1, m->B);
    }
    print_rows("targets", m->targets, m->B, sc_model_n_targets(model, m->T));
    if (sc_model_predicts_next(model))
        print_rows("next", m->next, 1, m->B);
}

/* Stops early when nobody reads any more; sc_cli_finish tells. */
static sc_status print_batches(sc_feed *feed, const sc_model *model, int64_t first_step, int64_t n_steps)
{
    for (int64_t step = first_step; step < first_step + n_steps; step++) {
        const sc_feed_item item = {.split = SC_SPLIT_TRAIN, .index = (uint64_t)(step - 1)};
        for (int m = 0; m < sc_feed_n_microbatches(feed, item) && !ferror(stdout); m++) {
            const sc_micro_batch *batch;
            SC_TRY(sc_feed_get(feed, item, m, &batch));
            printf("{\"step\":%" PRId64 ",\"microbatch\":%d", step, m);
            print_batch(batch, model);
            fputs("}\n", stdout);
        }
    }
    return SC_OK;
}

static sc_status run(const options *o)
{
    sc_config *config = NULL;
    sc_feed *feed = NULL;
    sc_model model;
    sc_status status;
    SC_TRY_GOTO(status, sc_cli_config_load(o->config, &o->sets, &config), out);
    SC_TRY_GOTO(status, sc_feed_open(config, &feed), out);
    SC_TRY_GOTO(status,
                sc_config_model(config, sc_tokenizer_vocab(sc_feed_tokenizer(feed)), sc_feed_n_labels(feed), &model),
                out);
    status = print_batches(feed, &model, o->first_step, o->n_steps);
out:
    sc_feed_destroy(&feed);
    sc_config_destroy(&config);
    return status;
}

int sc_cli_batches(int argc, char **argv)
{
    options o;
    int code = SC_EXIT_OK;
    if (!parse(argc, argv, &o))
        code = SC_EXIT_USAGE;
    else if (o.help)
        fputs(help, stdout);
    else if (run(&o) != SC_OK)
        code = sc_cli_failed(argv[0]);
    sc_cli_sets_clear(&o.sets);
    return sc_cli_finish(argv[0], code);
}
