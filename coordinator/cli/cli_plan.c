/* `stagecoach plan`: what a schedule does, before anything runs. From sizes alone, stages are equal and time is counted in
 * forwards; from a config, the model's own blocks are cut, weighed and timed at stated rates. */
#include "coordinator/cli/cli.h"

#include "coordinator/data/feed.h"
#include "coordinator/schedule/partition.h"
#include "coordinator/schedule/schedule.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char help[] =
    "Usage: stagecoach plan CONFIG [--workers N] [--set KEY=VALUE]... [OPTION]...\n"
    "       stagecoach plan --stages S --microbatches M --schedule NAME [OPTION]...\n"
    "\n"
    "Shows a schedule: its grid, its bubble, the activations that each stage keeps and, with CONFIG, the blocks of "
    "each\n"
    "worker, its memory and the predicted time of a step. Runs nothing.\n"
    "\n"
    "  --mode train|forward  a training step (default), or the forwards alone, as validation runs them\n"
    "  --actions             print the plan's text instead: the action list of each worker\n"
    "  --help                print this and end\n"
    "With CONFIG:\n"
    "  --workers N           workers, one stage each (default: pipeline.workers)\n"
    "  --set KEY=VALUE       set a key of the config\n"
    "  --gflops G            what a worker computes, 1e9 floating-point operations a second (default 100)\n"
    "  --link-gbits G        rate of a link between workers, 1e9 bits a second (default 10)\n"
    "  --link-us U           latency of a message, microseconds (default 50)\n"
    "Without:\n"
    "  --stages S            stages, one worker each\n"
    "  --microbatches M      micro-batches in a step\n"
    "  --schedule NAME       gpipe or 1f1b\n";

/* The optimizer's share is small, and memory's rate differs little among today's hosts: no option. */
static const double memory_bytes_per_second = 10e9;

/* Of the state: weights, and of what learns AdamW's two moments, float32 each. */
static double state_bytes(const sc_partition_stage *stage)
{
    return 4 * (double)stage->param_elements + 8 * (double)stage->learning_elements;
}

typedef struct options {
    const char *config, *schedule;
    sc_cli_sets sets;
    int64_t workers, stages, microbatches; /* 0: not given */
    double gflops, link_gbits, link_us;
    sc_plan_mode mode;
    bool actions;
    const char *with_config, *without_config; /* the first option that was given of each kind */
} options;

/* A plan, its prediction, and what is known of the model. */
typedef struct prospect {
    sc_plan *plan;
    sc_sim_result result;
    sc_config *config; /* NULL: from sizes alone, and all that follows is unset */
    sc_model model;
    const char *vocab_source;
    sc_slice slices[SC_MAX_STAGES];
    sc_partition_stage stages[SC_MAX_STAGES];
    sc_sim_stage_cost costs[SC_MAX_STAGES];
} prospect;

enum {
    OPTION_WORKERS = 1,
    OPTION_SET,
    OPTION_GFLOPS,
    OPTION_LINK_GBITS,
    OPTION_LINK_US,
    OPTION_STAGES,
    OPTION_MICROBATCHES,
    OPTION_SCHEDULE,
    OPTION_MODE,
    OPTION_ACTIONS,
    OPTION_HELP
};

static const struct option long_options[] = {
    {"workers", required_argument, NULL, OPTION_WORKERS},
    {"set", required_argument, NULL, OPTION_SET},
    {"gflops", required_argument, NULL, OPTION_GFLOPS},
    {"link-gbits", required_argument, NULL, OPTION_LINK_GBITS},
    {"link-us", required_argument, NULL, OPTION_LINK_US},
    {"stages", required_argument, NULL, OPTION_STAGES},
    {"microbatches", required_argument, NULL, OPTION_MICROBATCHES},
    {"schedule", required_argument, NULL, OPTION_SCHEDULE},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"actions", no_argument, NULL, OPTION_ACTIONS},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

static bool read_mode(const char *command, const char *text, sc_plan_mode *out)
{
    if (strcmp(text, "train") != 0 && strcmp(text, "forward") != 0) {
        sc_cli_usage(command, "--mode is train or forward, not '%s'", text);
        return false;
    }
    *out = text[0] == 't' ? SC_PLAN_TRAIN : SC_PLAN_FORWARD;
    return true;
}

/* False after a message. */
static bool read_option(options *self, const char *command, int option)
{
    const char **kind = option <= OPTION_LINK_US ? &self->with_config : &self->without_config;
    if (option <= OPTION_SCHEDULE && !*kind)
        for (const struct option *o = long_options; o->name; o++)
            if (o->val == option)
                *kind = o->name;
    switch (option) {
    case OPTION_WORKERS:
        return sc_cli_integer(command, "--workers", optarg, 1, SC_MAX_STAGES, &self->workers);
    case OPTION_SET:
        return sc_cli_sets_add(&self->sets, command, optarg);
    case OPTION_GFLOPS:
        return sc_cli_number(command, "--gflops", optarg, 1e-3, 1e9, &self->gflops);
    case OPTION_LINK_GBITS:
        return sc_cli_number(command, "--link-gbits", optarg, 1e-3, 1e6, &self->link_gbits);
    case OPTION_LINK_US:
        return sc_cli_number(command, "--link-us", optarg, 0, 1e9, &self->link_us);
    case OPTION_STAGES:
        return sc_cli_integer(command, "--stages", optarg, 1, SC_MAX_STAGES, &self->stages);
    case OPTION_MICROBATCHES:
        return sc_cli_integer(command, "--microbatches", optarg, 1, SC_MAX_MICROBATCHES, &self->microbatches);
    case OPTION_SCHEDULE:
        self->schedule = optarg;
        return true;
    case OPTION_MODE:
        return read_mode(command, optarg, &self->mode);
    case OPTION_ACTIONS:
        self->actions = true;
        return true;
    default: /* getopt_long has complained */
        sc_cli_try_help(command);
        return false;
    }
}

/* SC_EXIT_OK, or the exit code after a message. *helped: --help was answered. */
static int read_options(options *self, int argc, char **argv, bool *helped)
{
    const char *command = argv[0];
    optind = 0; /* glibc: start afresh, whatever scanned before */
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            fputs(help, stdout);
            *helped = true;
            return SC_EXIT_OK;
        }
        if (!read_option(self, command, option))
            return SC_EXIT_USAGE;
    }
    if (argc - optind > 1)
        return sc_cli_usage(command, "one CONFIG at most, but there is also '%s'", argv[optind + 1]);
    if (argc - optind == 1) {
        self->config = argv[optind];
        if (self->without_config)
            return sc_cli_usage(command, "--%s does not go with CONFIG, which says so itself; use --workers and --set",
                                self->without_config);
        return SC_EXIT_OK;
    }
    if (self->with_config)
        return sc_cli_usage(command, "--%s needs a CONFIG", self->with_config);
    const char *missing = !self->stages ? "--stages" : !self->microbatches ? "--microbatches" : "--schedule";
    if (!self->stages || !self->microbatches || !self->schedule)
        return sc_cli_usage(command, "give a CONFIG, or --stages, --microbatches and --schedule (%s is missing)",
                            missing);
    return SC_EXIT_OK;
}

/* Equal stages: a forward is 1, a backward 2. */
static sc_status look_at_sizes(prospect *self, const options *o, sc_schedule_kind kind)
{
    for (int v = 0; v < o->stages; v++)
        self->costs[v] =
            (sc_sim_stage_cost){.forward_seconds = 1, .backward_input_seconds = 1, .backward_weight_seconds = 1};
    SC_TRY(sc_schedule_make(kind, (int)o->stages, 1, (int)o->microbatches, o->mode, false, &self->plan));
    SC_TRY(sc_plan_validate(self->plan, false));
    return sc_simulate(self->plan, &(sc_sim_costs){.stages = self->costs}, &self->result);
}

/* The vocabulary decides the size of two blocks. A char tokenizer's is known only from the data. */
static sc_status find_model(prospect *self)
{
    const sc_config *config = self->config;
    const bool has_labels = config->model.task == SC_TASK_CLASSIFICATION || config->model.task == SC_TASK_TAGGING;
    if (config->model.vocab > 0 && (!has_labels || config->model.labels > 0)) {
        self->vocab_source = "from model.vocab";
        return sc_config_model(config, (int)config->model.vocab, 0, &self->model);
    }
    sc_feed *feed = NULL;
    SC_TRY(sc_feed_open(config, &feed));
    self->vocab_source = "from the data";
    sc_status status =
        sc_config_model(config, sc_tokenizer_vocab(sc_feed_tokenizer(feed)), sc_feed_n_labels(feed), &self->model);
    sc_feed_destroy(&feed);
    return status;
}

static sc_status look_at_config(prospect *self, const options *o)
{
    SC_TRY(sc_cli_config_load(o->config, &o->sets, &self->config));
    SC_TRY(find_model(self));
    const sc_config *config = self->config;
    int S = (int)(o->workers ? o->workers : config->pipeline.workers);
    int B = (int)config->train.micro_batch_size, T = sc_config_sequence_length(config);
    bool tied = sc_model_exchanges_tied(&self->model);
    sc_partition_rates rates = {.flops_per_second = o->gflops * 1e9,
                                .memory_bytes_per_second = memory_bytes_per_second};
    SC_TRY(sc_partition_by_cost(&self->model, S, B, T, self->slices));
    sc_partition_costs(&self->model, self->slices, S, B, T, &rates, self->costs, self->stages);
    sc_schedule_kind kind = (sc_schedule_kind)config->pipeline.schedule;
    int M = sc_config_n_microbatches(config), n_frozen = sc_model_frozen_stages(&self->model, self->slices, S);
    if (o->mode == SC_PLAN_TRAIN)
        SC_TRY(sc_schedule_make_frozen(kind, S, 1, M, tied, n_frozen, &self->plan));
    else
        SC_TRY(sc_schedule_make(kind, S, 1, M, o->mode, tied, &self->plan));
    SC_TRY(sc_plan_validate(self->plan, tied));
    sc_sim_costs all = {.stages = self->costs,
                        .tied_bytes = sc_partition_tied_bytes(&self->model),
                        .link_latency_seconds = o->link_us * 1e-6,
                        .link_bytes_per_second = o->link_gbits * 1e9 / 8};
    return sc_simulate(self->plan, &all, &self->result);
}

/* Columns of the terminal on standard output; 0 if it is none. */
static int terminal_columns(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

/* The whole grid where it goes to a file or a pipe; on a terminal each line as far as it fits. */
static sc_status print_grid(const sc_plan *plan)
{
    char *grid = NULL;
    size_t grid_bytes = 0;
    FILE *out = open_memstream(&grid, &grid_bytes);
    if (!out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the grid");
    sc_plan_print_grid(plan, out, -1, -1);
    if (fclose(out) != 0) {
        free(grid);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the grid");
    }
    int columns = terminal_columns();
    bool clipped = false;
    for (const char *line = grid; *line != '\0';) {
        int length = (int)strcspn(line, "\n");
        bool clip = columns > 0 && length > columns;
        printf("%.*s\n", clip ? columns : length, line);
        clipped |= clip;
        line += length + (line[length] == '\n');
    }
    if (clipped)
        printf("(cut to the terminal's %d columns; through a pipe, as in `| less -S`, the grid is whole)\n", columns);
    free(grid);
    return SC_OK;
}

static void print_head(const prospect *self, const options *o)
{
    const sc_plan *plan = self->plan;
    printf("plan      %s, %d %s, %d %s, %s\n", plan->schedule, plan->n_workers,
           plan->n_workers == 1 ? "worker" : "workers", plan->n_microbatches,
           plan->n_microbatches == 1 ? "micro-batch" : "micro-batches",
           plan->mode == SC_PLAN_TRAIN ? "a training step" : "forwards alone");
    if (!self->config)
        return;
    printf("model     %d layers, hidden size %d, %.3g million parameters, micro-batches of %" PRId64 " x %d tokens\n",
           self->model.layers, self->model.hidden, (double)sc_model_n_elements(&self->model) * 1e-6,
           self->config->train.micro_batch_size, sc_config_sequence_length(self->config));
    printf("vocab     %d, %s\n", self->model.vocab, self->vocab_source);
    if (self->model.frozen > 0)
        printf("frozen    the embedding and %d of %d layers do not learn: no backward below them, no gradients, no "
               "optimizer state\n",
               self->model.frozen - 1, self->model.layers);
    printf("assumed   %g GFLOP/s and %g GB/s of memory per worker, links of %g Gbit/s and %g us\n", o->gflops,
           memory_bytes_per_second * 1e-9, o->link_gbits, o->link_us);
}

static void print_summary(const prospect *self)
{
    const sc_plan *plan = self->plan;
    int S = plan->n_workers, M = plan->n_microbatches;
    double seconds = self->result.step_seconds;
    printf("bubble    %.1f %% simulated; theory for equal stages and free messages (S-1)/(M+S-1): %.1f %%\n",
           100 * self->result.bubble_ratio, 100.0 * (S - 1) / (M + S - 1));
    if (!self->config) {
        printf("step      %g, where a stage's forward takes 1%s\n", seconds,
               plan->mode == SC_PLAN_TRAIN ? " and its backward 2" : "");
        return;
    }
    double tokens = (double)M * (double)self->config->train.micro_batch_size * sc_config_sequence_length(self->config);
    printf("step      %.4g s predicted, %.0f tokens/s\n", seconds, tokens / seconds);
}

static void print_blocks(const prospect *self, int worker)
{
    char first[SC_NAME_BYTES], last[SC_NAME_BYTES], range[2 * SC_NAME_BYTES + 4];
    sc_slice slice = self->slices[worker];
    sc_model_block_name(&self->model, slice.first_block, first, sizeof first);
    sc_model_block_name(&self->model, slice.first_block + slice.n_blocks - 1, last, sizeof last);
    if (slice.n_blocks == 1)
        snprintf(range, sizeof range, "%s", first);
    else
        snprintf(range, sizeof range, "%s - %s", first, last);
    printf("  %6d  %-18s", slice.n_blocks, range);
}

/* What recovery and checkpoints keep of the state. Points: the newest complete one and the one
 * that is being made, each with the part of the neighbour whose buddy the worker is (vault.h); without them, what is streamed
 * to a checkpoint. */
static double copied_bytes(const prospect *self, int worker)
{
    const sc_config *config = self->config;
    int S = self->plan->n_workers;
    double own = state_bytes(&self->stages[worker]), neighbours = state_bytes(&self->stages[(worker + S - 1) % S]);
    if (config->recovery.peer_every > 0 && S > 1)
        return 2 * (own + neighbours);
    return config->checkpoint.every > 0 || config->checkpoint.at_end ? own : 0;
}

/* The most that a message log holds: a point lets go what was sent before the last complete one, so two rounds of messages. */
static double logged_bytes(const prospect *self, int worker)
{
    const sc_config *config = self->config;
    int last = self->plan->n_workers - 1;
    if (config->recovery.peer_every == 0 || !config->recovery.log_messages || last == 0)
        return 0;
    double M = self->plan->n_microbatches, step_bytes = 0, budget = (double)config->recovery.log_mb * 1024 * 1024;
    if (worker < last)
        step_bytes += M * (double)self->costs[worker].output_bytes;
    if (worker > 0)
        step_bytes += M * (double)self->costs[worker - 1].output_bytes;
    if (worker == 0 || worker == last)
        step_bytes += (double)sc_partition_tied_bytes(&self->model);
    double bytes = 2 * (double)config->recovery.peer_every * step_bytes;
    return bytes < budget ? bytes : budget;
}

/* All: weights, and of what learns gradient and AdamW's two moments, float32 each; and the columns before it. */
static void print_memory(const prospect *self, int worker)
{
    const double MiB = 1024.0 * 1024.0;
    const sc_partition_stage *stage = &self->stages[worker];
    double params = (double)stage->param_elements, learning = (double)stage->learning_elements;
    double activations = (double)self->result.workers[worker].peak_activation_bytes;
    double scratch = (double)stage->scratch_bytes;
    double copied = copied_bytes(self, worker), logged = logged_bytes(self, worker);
    double all = 4 * params + 12 * learning + activations + scratch + copied + logged;
    printf("  %10.0f  %11.1f  %7.1f  %7.1f  %7.1f  %7.1f", params, activations / MiB, scratch / MiB, copied / MiB,
           logged / MiB, all / MiB);
}

static void explain_memory(const prospect *self)
{
    const sc_config *config = self->config;
    bool points = config->recovery.peer_every > 0 && self->plan->n_workers > 1;
    printf("memory: %s, the activations at their peak, scratch, copies and log, in MiB\n",
           self->model.frozen > 0 ? "16 bytes a parameter that learns and 4 one that does not"
                                  : "16 bytes a parameter");
    const char *each =
        self->model.frozen > 0 ? "12 bytes a parameter that learns and 4 one that does not" : "12 bytes a parameter";
    if (points)
        printf("copies: two of the state, %s, and two of a neighbour's (recovery.peer_every); one more of each\n"
               "        while an older one is written to a checkpoint\n",
               each);
    else if (config->checkpoint.every > 0 || config->checkpoint.at_end)
        printf("copies: one of the state, %s, while it is written to a checkpoint\n", each);
    if (points && config->recovery.log_messages)
        printf("log: what is sent in %" PRId64 " steps (two times recovery.peer_every), at most recovery.log_mb\n",
               2 * config->recovery.peer_every);
}

static void print_workers(const prospect *self)
{
    printf("worker   busy  alive%s\n", self->config
                                           ? "  blocks                      parameters  activations  scratch   "
                                             "copies      log   memory"
                                           : "");
    for (int w = 0; w < self->plan->n_workers; w++) {
        const sc_sim_worker *worker = &self->result.workers[w];
        printf("%6d  %3.0f %%  %5d", w, 100 * worker->busy_seconds / self->result.step_seconds,
               worker->peak_microbatches);
        if (self->config) {
            print_blocks(self, w);
            print_memory(self, w);
        }
        putchar('\n');
    }
    puts("alive: the most micro-batches whose activations a worker keeps at once");
    if (self->config)
        explain_memory(self);
}

static sc_status report(const prospect *self, const options *o)
{
    if (o->actions) {
        char *text = sc_plan_text(self->plan);
        if (!text)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the plan's text");
        fputs(text, stdout);
        free(text);
        return SC_OK;
    }
    print_head(self, o);
    putchar('\n');
    SC_TRY(print_grid(self->plan));
    putchar('\n');
    print_summary(self);
    putchar('\n');
    print_workers(self);
    return SC_OK;
}

int sc_cli_plan(int argc, char **argv)
{
    const char *command = argv[0];
    options o = {.gflops = 100, .link_gbits = 10, .link_us = 50, .mode = SC_PLAN_TRAIN};
    prospect p = {0};
    sc_schedule_kind kind = SC_SCHEDULE_1F1B;
    bool helped = false;
    sc_status status = SC_OK;
    int code = read_options(&o, argc, argv, &helped);
    if (code != SC_EXIT_OK || helped)
        goto cleanup;
    if (!o.config && sc_schedule_find(o.schedule, &kind) != SC_OK) {
        code = sc_cli_usage(command, "--schedule: %s", sc_status_message());
        goto cleanup;
    }
    status = o.config ? look_at_config(&p, &o) : look_at_sizes(&p, &o, kind);
    if (status == SC_OK)
        status = report(&p, &o);
    if (status != SC_OK)
        code = sc_cli_failed(command);
cleanup:
    sc_plan_destroy(&p.plan);
    sc_sim_result_clear(&p.result);
    sc_config_destroy(&p.config);
    sc_cli_sets_clear(&o.sets);
    return sc_cli_finish(command, code);
}
