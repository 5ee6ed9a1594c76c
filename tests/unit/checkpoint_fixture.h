/* A small checkpoint for tests: two shards with two tensors each, whose values tell the step. */
#ifndef SC_TEST_CHECKPOINT_FIXTURE_H
#define SC_TEST_CHECKPOINT_FIXTURE_H

#include "coordinator/run/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHECKPOINT_SHARDS = 2, CHECKPOINT_TENSORS = 2, CHECKPOINT_ROWS = 32, CHECKPOINT_COLUMNS = 64 };

static const char *const checkpoint_tensors[CHECKPOINT_SHARDS][CHECKPOINT_TENSORS] = {
    {"transformer.wte.weight", "optimizer.first_moment.transformer.wte.weight"},
    {"transformer.h.1.ln_1.weight", "optimizer.second_moment.transformer.h.1.ln_1.weight"},
};

static inline sc_manifest checkpoint_manifest(int64_t step)
{
    return (sc_manifest){
        .step = step,
        .rows = (uint64_t)step * 8,
        .model = {.family = SC_GPT2,
                  .layers = 2,
                  .heads = 2,
                  .hidden = 32,
                  .context = 16,
                  .vocab = 256,
                  .dropout = 0.1f,
                  .attention_dropout = 0.1f,
                  .classifier_dropout = 0.1f,
                  .norm_epsilon = 1e-5f,
                  .tied = true},
        .seed = 1337,
        .data_hash = 0xFEDCBA9876543210u,
        .batch_size = 8,
        .sequence_length = 16,
        .optimizer = SC_ADAMW,
        .config = "run: {seed: 1337}\n",
        .plan = "plan 1f1b stages=2 chunks=1 microbatches=2 mode=train\n",
    };
}

static inline float checkpoint_value(int64_t step, int shard, int tensor, int i)
{
    return (float)step * 1000 + (float)(shard * 2 + tensor) * 100000 + (float)i;
}

/* The pieces of one tensor, the later half first: order is the writer's own affair. */
static inline sc_status checkpoint_pieces(sc_checkpoint_writer *writer, int64_t step, int shard, int tensor)
{
    const int half = CHECKPOINT_ROWS * CHECKPOINT_COLUMNS / 2;
    for (int part = 1; part >= 0; part--) {
        sc_buffer *buffer;
        SC_TRY(sc_buffer_new((size_t)half * sizeof(float), &buffer));
        for (int i = 0; i < half; i++)
            ((float *)sc_buffer_data(buffer))[i] = checkpoint_value(step, shard, tensor, part * half + i);
        sc_status status = sc_checkpoint_writer_piece(writer, shard, checkpoint_tensors[shard][tensor],
                                                      (uint64_t)(part * half) * sizeof(float), buffer);
        sc_buffer_unref(&buffer);
        if (status != SC_OK)
            return status;
    }
    return SC_OK;
}

/* A writer with its tensors declared. */
static inline sc_status checkpoint_begin(const char *dir, int64_t step, const sc_tokenizer *tokenizer,
                                         sc_checkpoint_writer **out)
{
    const sc_manifest manifest = checkpoint_manifest(step);
    SC_TRY(sc_checkpoint_writer_new(dir, SC_CHECKPOINT_IN_RUN, &manifest, CHECKPOINT_SHARDS, tokenizer, NULL, out));
    sc_status status = SC_OK;
    for (int s = 0; status == SC_OK && s < CHECKPOINT_SHARDS; s++)
        for (int t = 0; status == SC_OK && t < CHECKPOINT_TENSORS; t++)
            status = sc_checkpoint_writer_declare(*out, s, checkpoint_tensors[s][t],
                                                  &SC_SHAPE(CHECKPOINT_ROWS, CHECKPOINT_COLUMNS));
    if (status != SC_OK)
        sc_checkpoint_writer_destroy(out);
    return status;
}

static inline sc_status checkpoint_wait(sc_checkpoint_writer *writer)
{
    sc_status status;
    while (!sc_checkpoint_writer_done(writer, &status))
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    return status;
}

/* Saves a whole set. *path (may be NULL) is owned by the caller. */
static inline sc_status checkpoint_save(const char *dir, int64_t step, const sc_tokenizer *tokenizer, char **path)
{
    sc_checkpoint_writer *writer = NULL;
    sc_status status = checkpoint_begin(dir, step, tokenizer, &writer);
    if (status != SC_OK)
        return status;
    for (int s = 0; status == SC_OK && s < CHECKPOINT_SHARDS; s++)
        for (int t = 0; status == SC_OK && t < CHECKPOINT_TENSORS; t++)
            status = checkpoint_pieces(writer, step, s, t);
    if (status == SC_OK)
        status = sc_checkpoint_writer_finish(writer);
    if (status == SC_OK)
        status = checkpoint_wait(writer);
    if (path)
        *path = status == SC_OK ? strdup(sc_checkpoint_writer_path(writer)) : NULL;
    sc_checkpoint_writer_destroy(&writer);
    return status;
}

#endif
