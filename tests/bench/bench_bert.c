/* Training speed of a BERT on one stage, without wire and coordinator, in real tokens/s: bench_bert THREADS TASK DROPOUT STEPS
 * TASK is classification or masked. The model has MiniLM's shape; a step is four micro-batches of 16 sequences of like length,
 * with lengths that torch_bert.py draws by the same rule. Prints one number a step. */
#include "worker/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { B = 16, M = 4, LONGEST = 128, LABELS = 77, VOCAB = 30522 };

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        if ((call) != SC_OK) {                                                                                         \
            fprintf(stderr, "%s: %s\n", #call, sc_status_message());                                                   \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Micro-batch m has sequences of 11 to 18, 37 to 44, 63 to 70 and 89 to 96 tokens, as buckets of a table of texts give them. */
static int length_of(int m, int b)
{
    return 11 + 26 * m + b % 8;
}

typedef struct batch {
    int T, n_targets;
    int32_t tokens[B * LONGEST], segments[B * LONGEST], targets[B * LONGEST], lengths[B];
} batch;

static void fill(batch *self, const sc_model *model, int m)
{
    memset(self, 0, sizeof *self);
    for (int b = 0; b < B; b++) {
        self->lengths[b] = length_of(m, b);
        self->T = self->lengths[b] > self->T ? self->lengths[b] : self->T;
    }
    int n = sc_model_n_targets(model, self->T);
    for (int b = 0; b < B; b++) {
        for (int t = 0; t < self->lengths[b]; t++)
            self->tokens[b * self->T + t] = (b * 7919 + t * 104729 + m) % VOCAB;
        for (int t = 0; t < n; t++) {
            bool counts = n == 1 || (t < self->lengths[b] && t % 7 == 3); /* one in seven: about 15 % */
            self->targets[b * n + t] = counts ? (b * 31 + t * 17) % sc_model_targets_below(model) : -1;
            self->n_targets += counts;
        }
    }
}

static void train_step(sc_stage *stage, const sc_model *model, const batch *batches, int64_t step)
{
    int n_targets = 0, ordinals[256];
    double loss, squares[256];
    uint64_t counted;
    for (int m = 0; m < M; m++)
        n_targets += batches[m].n_targets;
    const sc_stage_step options = {
        .train = true, .seed = 1, .optimizer_step = step, .loss_scale = 1.0f / (float)n_targets};
    for (int m = 0; m < M; m++) {
        const batch *b = &batches[m];
        CHECK(sc_stage_put_tokens(stage, m, b->tokens, B, b->T));
        CHECK(sc_stage_put_segments(stage, m, b->segments, B, b->T));
        CHECK(sc_stage_put_lengths(stage, m, b->lengths, B, b->T));
        CHECK(sc_stage_put_targets(stage, m, b->targets, B, b->T));
        CHECK(sc_stage_forward(stage, m, (uint32_t)(m * B), &options));
        CHECK(sc_stage_take_loss(stage, m, &loss, &counted));
        CHECK(sc_stage_backward(stage, m));
    }
    if (sc_model_tied_param(model) >= 0)
        CHECK(sc_stage_reduce_tied_local(stage));
    CHECK(sc_stage_norms(stage, ordinals, squares));
    CHECK(sc_stage_apply(stage, step, 1.0f, 1e-5f));
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench_bert THREADS classification|masked DROPOUT STEPS\n");
        return 2;
    }
    bool classifies = strcmp(argv[2], "classification") == 0;
    sc_stage_options options = {
        .ops = &sc_ops_cpu,
        .model = {.family = SC_BERT,
                  .layers = 6,
                  .heads = 12,
                  .hidden = 384,
                  .intermediate = 1536,
                  .context = 512,
                  .vocab = VOCAB,
                  .dropout = (float)atof(argv[3]),
                  .attention_dropout = (float)atof(argv[3]),
                  .classifier_dropout = (float)atof(argv[3]),
                  .norm_epsilon = 1e-12f,
                  .token_types = 2,
                  .task = classifies ? SC_TASK_CLASSIFICATION : SC_TASK_MASKED_WORDS,
                  .labels = classifies ? LABELS : 0},
        .B = B,
        .T = LONGEST,
        .max_alive = 1,
        .train = true,
        .optimizer = {.kind = SC_ADAMW, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f, .weight_decay = 0.01f}};
    options.slice.n_blocks = sc_model_n_blocks(&options.model);
    CHECK(options.ops->stream_new(0, atoi(argv[1]), &options.stream));
    sc_stage *stage = NULL;
    CHECK(sc_stage_new(&options, &stage));
    CHECK(sc_stage_init(stage, 1));
    batch *batches = calloc(M, sizeof *batches);
    if (!batches)
        return 1;
    int tokens = 0;
    for (int m = 0; m < M; m++) {
        fill(&batches[m], &options.model, m);
        for (int b = 0; b < B; b++)
            tokens += batches[m].lengths[b];
    }
    for (int step = 1; step <= atoi(argv[4]); step++) {
        double start = seconds();
        train_step(stage, &options.model, batches, step);
        printf("%.1f\n", tokens / (seconds() - start));
    }
    free(batches);
    sc_stage_destroy(&stage);
    options.ops->stream_destroy(&options.stream);
    return 0;
}
