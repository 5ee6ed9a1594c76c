/* The table of all keys, and what can be asked of it. */
#include "proto/base/config_internal.h"
#include "proto/base/spelling.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const families[] = {NULL, [SC_GPT2] = "gpt2", [SC_BERT] = "bert", NULL};
static const char *const tasks[] = {
    [SC_TASK_NEXT_TOKEN] = "next_token",     [SC_TASK_PRETRAINING] = "pretraining",
    [SC_TASK_MASKED_WORDS] = "masked_words", [SC_TASK_CLASSIFICATION] = "classification",
    [SC_TASK_TAGGING] = "tagging",           NULL};
static const char *const tyings[] = {NULL, [SC_UNTIED] = "false", [SC_TIED] = "true", NULL};
static const char *const tokenizers[] = {"char", "byte", NULL};
static const char *const formats[] = {"text",  "text-label", "label-text", "csv", "jsonl",
                                      "conll", "items",      "sequences",  NULL};
static const char *const optimizers[] = {[SC_ADAMW] = "adamw", [SC_SGD] = "sgd", NULL};
static const char *const lr_schedules[] = {
    [SC_LR_CONSTANT] = "constant", [SC_LR_LINEAR] = "linear", [SC_LR_COSINE] = "cosine", [SC_LR_WSD] = "wsd", NULL};
static const char *const metrics[] = {[SC_METRIC_NONE] = "none",
                                      [SC_METRIC_LOSS] = "loss",
                                      [SC_METRIC_ACCURACY] = "accuracy",
                                      [SC_METRIC_MACRO_F1] = "macro_f1",
                                      [SC_METRIC_ENTITY_F1] = "entity_f1",
                                      [SC_METRIC_NDCG] = "ndcg@10",
                                      NULL};
static const char *const schedules[] = {[SC_SCHEDULE_GPIPE] = "gpipe", [SC_SCHEDULE_1F1B] = "1f1b", NULL};

#define INT(name, field, fallback_, low_, high_, help_)                                                                \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_INT, .offset = offsetof(sc_config, field), .allowed.integer = {low_, high_},      \
        .fallback = fallback_, .help = help_                                                                           \
    }
#define NUMBER(name, field, fallback_, low_, above_, high_, below_, help_)                                             \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_DOUBLE, .offset = offsetof(sc_config, field),                                     \
        .allowed.number = {low_, high_, above_, below_}, .fallback = fallback_, .help = help_                          \
    }
#define BOOL(name, field, fallback_, help_)                                                                            \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_BOOL, .offset = offsetof(sc_config, field), .fallback = fallback_, .help = help_  \
    }
#define STRING(name, field, fallback_, help_)                                                                          \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_STRING, .offset = offsetof(sc_config, field), .fallback = fallback_,              \
        .help = help_                                                                                                  \
    }
/* A text that may be empty. */
#define TEXT(name, field, fallback_, help_)                                                                            \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_STRING, .offset = offsetof(sc_config, field), .fallback = fallback_,              \
        .may_be_empty = true, .help = help_                                                                            \
    }
#define PATH(name, field, help_)                                                                                       \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_PATH, .offset = offsetof(sc_config, field), .help = help_                         \
    }
/* A path that those who look on are not told. */
#define PRIVATE_PATH(name, field, help_)                                                                               \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_PATH, .offset = offsetof(sc_config, field), .is_private = true, .help = help_     \
    }
#define PATHS(name, field, count, help_)                                                                               \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_PATHS, .offset = offsetof(sc_config, field),                                      \
        .count_offset = offsetof(sc_config, count), .help = help_                                                      \
    }
#define WORD(name, field, words_, fallback_, help_)                                                                    \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_WORD, .offset = offsetof(sc_config, field), .allowed.words = words_,              \
        .fallback = fallback_, .help = help_                                                                           \
    }

/* A key of the model's shape, which model.init brings along. */
#define SHAPE_INT(name, field, fallback_, low_, high_, help_)                                                          \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_INT, .offset = offsetof(sc_config, field), .allowed.integer = {low_, high_},      \
        .fallback = fallback_, .from_init = true, .help = help_                                                        \
    }
#define WORD_OR_PATH(name, field, words_, fallback_, help_)                                                            \
    {                                                                                                                  \
        .path = name, .type = SC_KEY_WORD_OR_PATH, .offset = offsetof(sc_config, field), .allowed.words = words_,      \
        .fallback = fallback_, .help = help_                                                                           \
    }

/* Ends that are not natural limits are there so that products of keys fit into the integers that hold them. */
#define MOST_STEPS     1000000000 /* with at most 2^31 tokens a step, all tokens of a run stay below 2^61 */
#define MOST_SEQUENCES (1 << 20)
#define MOST_TOKENS    (1 << 20) /* of one sequence */
#define DAY_MS         86400000

const sc_config_key sc_config_keys[SC_CONFIG_N_KEYS] = {
    STRING("run.dir", run.dir, NULL, "directory of the run's state, events and weights (default runs/<config's name>)"),
    INT("run.seed", run.seed, "1337", 0, INT64_MAX, "of initial weights, dropout and the order of the data"),

    INT("run.grace_ms", run.grace_ms, "30000", 0, DAY_MS, "from a stop that was asked for to the end, at most"),

    WORD("model.family", model.family, families, "gpt2", "architecture"),
    SHAPE_INT("model.layers", model.layers, "6", 1, SC_MAX_LAYERS, "transformer blocks"),
    SHAPE_INT("model.heads", model.heads, "6", 1, 1024, "attention heads; divides hidden"),
    SHAPE_INT("model.hidden", model.hidden, "384", 1, 65536, "channels"),
    SHAPE_INT("model.context", model.context, "256", 1, MOST_TOKENS, "longest sequence, in tokens"),
    SHAPE_INT("model.vocab", model.vocab, "0", 0, 1 << 24,
              "rows of the token embedding; 0: as many as the tokenizer has"),
    {.path = "model.tied",
     .type = SC_KEY_WORD,
     .offset = offsetof(sc_config, model.tied),
     .allowed.words = tyings,
     .fallback = "true",
     .from_init = true,
     .help = "the head uses the token embedding's matrix; false: it has one of its own"},
    {.path = "model.dropout",
     .type = SC_KEY_DOUBLE,
     .offset = offsetof(sc_config, model.dropout),
     .allowed.number = {0, 1, false, true},
     .fallback = "0.0",
     .from_init = true,
     .help = "of embedding and residual, and of attention and classifier unless they are given"},
    NUMBER("model.attention_dropout", model.attention_dropout, "-1", -1, false, 1, true,
           "of attention's probabilities; -1: as model.dropout"),
    NUMBER("model.classifier_dropout", model.classifier_dropout, "-1", -1, false, 1, true,
           "bert: of the input to a classifier or tagger; -1: as model.dropout"),
    {.path = "model.norm_epsilon",
     .type = SC_KEY_DOUBLE,
     .offset = offsetof(sc_config, model.norm_epsilon),
     .allowed.number = {1e-30, 1, false, false},
     .fallback = "1.0e-5",
     .from_init = true,
     .help = "inside the root of LayerNorm"},
    {.path = "model.task",
     .type = SC_KEY_WORD,
     .offset = offsetof(sc_config, model.task),
     .allowed.words = tasks,
     .fallback = "next_token",
     .from_init = true,
     .help = "bert: what the head is for"},
    SHAPE_INT("model.intermediate", model.intermediate, "0", 0, 1 << 18, "bert: width of the MLP; 0: 4 x hidden"),
    SHAPE_INT("model.token_types", model.token_types, "0", 0, 1 << 10, "bert: kinds of segments; 0: 2"),
    INT("model.labels", model.labels, "0", 0, 1 << 20,
        "bert: labels to tell apart in classification and tagging; 0: as many as the data have"),
    BOOL("model.multi_label", model.multi_label, "false", "bert: in classification, any number of labels is right"),
    PATH("model.init", model.init,
         "directory of a model to start from, relative to the config file; it brings the shape along"),

    PATHS("data.train", data.train, data.n_train, "text, token or table files, relative to the config file; required"),
    PATHS("data.validation", data.validation, data.n_validation, "files for validation, instead of a share"),
    PATHS("data.test", data.test, data.n_test, "bert: files for a test at the end, instead of a share"),
    WORD_OR_PATH(
        "data.tokenizer", data.tokenizer, tokenizers, "char",
        "how text becomes tokens; the path is of a tokenizer's file or directory, relative to the config file"),
    NUMBER("data.validation_share", data.validation_share, "0.1", 0, false, 1, true,
           "part of the training data that is kept for validation (0 with data.validation): of a token stream its end, "
           "of texts, sentences and documents some by seed"),
    NUMBER("data.test_share", data.test_share, "0.0", 0, false, 1, true, "bert: part kept for a test, by seed"),
    WORD("data.format", data.format, formats, "text",
         "classification: text-label, label-text (a tab between), csv, jsonl; "
         "tagging: conll; recommender: items (a user, an item, a time a line) or sequences (a user's items a line)"),
    STRING("data.text_column", data.text_column, "text", "csv, jsonl: column or field of the text"),
    TEXT("data.pair_column", data.pair_column, "", "csv, jsonl: that of a second text; empty: there is none"),
    STRING("data.label_column", data.label_column, "label", "csv, jsonl: that of the label"),
    STRING(
        "data.label_separator", data.label_separator, ",",
        "with model.multi_label, all but jsonl: what stands between the labels of a text; jsonl has an array of them"),
    INT("data.word_column", data.word_column, "1", -1000, 1000,
        "conll: column of the word, from 1, or from -1 at the end"),
    INT("data.tag_column", data.tag_column, "-1", -1000, 1000, "conll: column of the tag"),
    STRING("data.separator", data.separator, "tab",
           "items: what stands between the columns of a line, and of data.titles: tab, or the characters, as ::"),
    INT("data.user_column", data.user_column, "1", 1, 1000, "items: column of the user, from 1"),
    INT("data.item_column", data.item_column, "2", 1, 1000, "items: column of the item"),
    INT("data.time_column", data.time_column, "4", 0, 1000,
        "items: column of the time, a number; 0: there is none, and a user's lines are in order"),
    INT("data.min_item_count", data.min_item_count, "5", 1, 1000000000,
        "items, sequences: items that occur less often are left out"),
    INT("data.min_user_items", data.min_user_items, "5", 3, 1000000000,
        "items, sequences: users with fewer of the others are left out"),
    PATH("data.titles", data.titles,
         "items, sequences: file of an item and its title a line, for predictions; relative to the config file"),
    BOOL("data.exclude_seen", data.exclude_seen, "true",
         "items, sequences: evaluation does not rank items that the user has met before"),
    BOOL("data.split_sentences", data.split_sentences, "false",
         "pre-training: a line is a paragraph, cut at sentence ends; false: a line is a sentence"),
    NUMBER("data.mask_share", data.mask_share, "0.15", 0, true, 1, true,
           "pre-training: part of a row's tokens to predict"),
    BOOL("data.whole_words", data.whole_words, "false", "pre-training: all pieces of a word are masked, or none"),
    NUMBER("data.short_share", data.short_share, "0.1", 0, false, 1, false,
           "pre-training: part of the rows that are shorter"),

    INT("train.steps", train.steps, "500", 0, MOST_STEPS, "optimizer steps; 0 with train.epochs"),
    INT("train.epochs", train.epochs, "0", 0, MOST_STEPS,
        "times that each example is seen, instead of steps (classification and tagging: 3 unless steps are given)"),
    INT("train.batch_size", train.batch_size, "32", 1, MOST_SEQUENCES, "sequences in a step"),
    INT("train.micro_batch_size", train.micro_batch_size, "4", 1, MOST_SEQUENCES,
        "sequences in a micro-batch; divides batch_size"),
    INT("train.sequence_length", train.sequence_length, "0", 0, MOST_TOKENS,
        "tokens in a training sequence; 0: model.context"),
    WORD("train.optimizer", train.optimizer, optimizers, "adamw", "update rule"),
    NUMBER("train.learning_rate", train.learning_rate, "1.0e-3", 0, false, 1000, false, "peak, after the warm-up"),
    NUMBER("train.min_learning_rate", train.min_learning_rate, "0.0", 0, false, 1000, false, "at the end of the decay"),
    WORD("train.lr_schedule", train.lr_schedule, lr_schedules, "cosine", "learning rate after the warm-up"),
    INT("train.warmup_steps", train.warmup_steps, "0", 0, MOST_STEPS, "steps of linear rise to the learning rate"),
    NUMBER("train.warmup_share", train.warmup_share, "0.0", 0, false, 1, false, "the same as a part of all steps"),
    INT("train.decay_steps", train.decay_steps, "0", 0, MOST_STEPS, "wsd: steps of decay at the end"),
    NUMBER("train.weight_decay", train.weight_decay, "0.1", 0, false, 1000, false, "on matrices and embeddings alone"),
    NUMBER("train.beta1", train.beta1, "0.9", 0, false, 1, true, "adamw: decay of the gradient's mean"),
    NUMBER("train.beta2", train.beta2, "0.95", 0, false, 1, true, "adamw: decay of the squared gradient's mean"),
    NUMBER("train.epsilon", train.epsilon, "1.0e-8", 0, true, 1, false, "adamw: added to the denominator"),
    NUMBER("train.momentum", train.momentum, "0.9", 0, false, 1, true, "sgd: momentum"),
    NUMBER("train.clip_norm", train.clip_norm, "1.0", 0, false, 1e30, false, "largest global gradient norm; 0: any"),
    {.path = "train.class_weights",
     .type = SC_KEY_PATHS,
     .offset = offsetof(sc_config, train.class_weights),
     .count_offset = offsetof(sc_config, train.n_class_weights),
     .are_texts = true,
     .help = "classification, tagging: what a label's loss counts, as [LABEL=WEIGHT, ...], others 1; or balanced: n / "
             "(labels * "
             "count)"},
    INT("train.freeze_blocks", train.freeze_blocks, "0", 0, SC_MAX_LAYERS,
        "the embedding and so many of the lowest transformer blocks do not learn; 0: all do"),
    INT("train.eval_every", train.eval_every, "100", 0, MOST_STEPS,
        "steps between validations; 0: never (and never by default where there is no validation data)"),
    INT("train.eval_batches", train.eval_batches, "20", 1, MOST_STEPS, "batches in a validation on a token stream"),
    BOOL("train.eval_epochs", train.eval_epochs, "false",
         "a validation after each epoch (true by default with train.epochs, unless eval_every is given)"),
    WORD("train.best_metric", train.best_metric, metrics, "none",
         "of a validation: the checkpoint that is best by it is kept, and is what final/ holds"),
    INT("train.patience", train.patience, "0", 0, MOST_STEPS,
        "validations in a row that are not the best until the run ends; 0: all steps"),

    WORD("pipeline.schedule", pipeline.schedule, schedules, "1f1b", "order of forward and backward"),
    INT("pipeline.workers", pipeline.workers, "1", 1, SC_MAX_STAGES, "stages; at most model.layers + 2"),

    INT("checkpoint.every", checkpoint.every, "100", 0, MOST_STEPS, "steps between checkpoints; 0: none on the way"),
    INT("checkpoint.keep", checkpoint.keep, "2", 2, 1000, "complete checkpoints that stay, beside the best"),
    PATH("checkpoint.dir", checkpoint.dir,
         "directory that the hosts of all workers share, under one path: each writes its own part of a checkpoint "
         "there, "
         "instead of sending it to the run directory; relative to the config file"),
    BOOL("checkpoint.at_end", checkpoint.at_end, "true", "one more after the last step, or when the run is stopped"),
    INT("recovery.max_attempts", recovery.max_attempts, "5", 0, 1000,
        "losses of workers in a row, without a step in between, that a run survives"),
    INT("recovery.peer_every", recovery.peer_every, "10", 0, MOST_STEPS,
        "steps between copies of the state in the workers' memories; 0: none"),
    BOOL("recovery.log_messages", recovery.log_messages, "true",
         "workers log what they send, and a lost stage alone runs its steps again (needs peer_every)"),
    INT("recovery.log_mb", recovery.log_mb, "256", 1, 1 << 20, "most that a worker keeps in its log, in MiB"),
    INT("recovery.wait_ms", recovery.wait_ms, "5000", 0, DAY_MS,
        "wait for a lost worker's successor, or behind the first that comes to a resumed serve, before fewer workers "
        "go on"),
    NUMBER(
        "recovery.hang_steps", recovery.hang_steps, "2.5", 1, false, 1000, false,
        "a worker that lives and does not move for so many median steps, and for 1.5 of the slowest of the last 16, is "
        "lost"),
    INT("recovery.hang_ms", recovery.hang_ms, "1000", 100, DAY_MS, "but not before so long"),

    INT("wire.join_ms", wire.join_ms, "60000", 0, DAY_MS,
        "wait for all workers to join before a run begins; 0: for ever"),
    INT("wire.lease_ms", wire.lease_ms, "10000", 100, DAY_MS, "a worker silent for so long is lost"),
    INT("wire.reconnect_ms", wire.reconnect_ms, "700", 0, DAY_MS,
        "a worker whose connection is gone for so long is lost"),
    INT("wire.call_ms", wire.call_ms, "30000", 100, DAY_MS, "deadline of a control call"),
    INT("wire.resend_ms", wire.resend_ms, "1000", 10, DAY_MS, "a receiver that waits longer asks again"),
    INT("wire.max_message_mb", wire.max_message_mb, "1024", 1, 1 << 20, "larger messages are refused"),
    PRIVATE_PATH(
        "wire.keys", wire.keys,
        "serve: directory that keygen made, relative to the config file; everything is encrypted, and the workers in "
        "its allowed/ may come"),
    BOOL("wire.shared_memory", wire.shared_memory, "true",
         "processes of one host read payloads in each other's memory"),

    STRING("status.listen", status.listen, "auto",
           "HOST:PORT of the status page and API (0: any free port); auto: 127.0.0.1:8080 if it is free; off: none"),
    PRIVATE_PATH("status.token_file", status.token_file,
                 "file with the token that lets operators pause, drain, stop; none: nobody may; relative to the config "
                 "file"),

    STRING("log.level", log.level, "info", "debug, info, warn, error or off, or as SC_LOG: warn,rpc=debug"),
    BOOL("log.json", log.json, "false", "log lines as JSON"),
    PATH("log.tensorboard", log.tensorboard,
         "directory for TensorBoard's event files, made if it is not there; relative to the config file"),
};

const char *const sc_config_sections[SC_CONFIG_N_SECTIONS] = {"run",        "model",    "data", "train",  "pipeline",
                                                              "checkpoint", "recovery", "wire", "status", "log"};

int sc_config_find_key(const char *path)
{
    for (int i = 0; i < SC_CONFIG_N_KEYS; i++)
        if (strcmp(sc_config_keys[i].path, path) == 0)
            return i;
    return -1;
}

int sc_config_find_section(const char *name)
{
    for (int i = 0; i < SC_CONFIG_N_SECTIONS; i++)
        if (strcmp(sc_config_sections[i], name) == 0)
            return i;
    return -1;
}

static void append(char *text, size_t text_bytes, const char *piece)
{
    size_t used = strlen(text);
    snprintf(text + used, text_bytes - used, "%s", piece);
}

const char *sc_config_names(int section, char *text, size_t text_bytes)
{
    text[0] = '\0';
    int n = section < 0 ? SC_CONFIG_N_SECTIONS : SC_CONFIG_N_KEYS;
    for (int i = 0; i < n; i++) {
        const char *name = section < 0 ? sc_config_sections[i] : sc_config_keys[i].path;
        if (section >= 0) {
            size_t length = strlen(sc_config_sections[section]);
            if (strncmp(name, sc_config_sections[section], length) != 0 || name[length] != '.')
                continue;
            name += length + 1;
        }
        append(text, text_bytes, *text ? ", " : "");
        append(text, text_bytes, name);
    }
    return text;
}

const char *sc_config_nearest(const char *path)
{
    /* A third of the letters may be wrong: "lerning-rate" is close, "foo" is close to nothing. For a dotted path the
     * section's letters count for little, so that "train.x" does not look like every short key of train. */
    const char *dot = strchr(path, '.');
    size_t letters = strlen(dot ? dot + 1 : path), best = letters / 3 + 1;
    const char *nearest = NULL;
    int n = dot ? SC_CONFIG_N_KEYS : SC_CONFIG_N_SECTIONS;
    for (int i = 0; i < n; i++) {
        const char *candidate = dot ? sc_config_keys[i].path : sc_config_sections[i];
        size_t d = sc_spelling_distance(path, candidate);
        if (d < best || (d == best && !nearest)) {
            best = d;
            nearest = candidate;
        }
    }
    return nearest;
}

const char *sc_config_allowed(const sc_config_key *key, char *text, size_t text_bytes)
{
    switch (key->type) {
    case SC_KEY_INT:
        if (key->allowed.integer.high == INT64_MAX)
            snprintf(text, text_bytes, "an integer of at least %" PRId64, key->allowed.integer.low);
        else
            snprintf(text, text_bytes, "an integer from %" PRId64 " to %" PRId64, key->allowed.integer.low,
                     key->allowed.integer.high);
        break;
    case SC_KEY_DOUBLE:
        snprintf(text, text_bytes, "a number %s %g, %s %g", key->allowed.number.above_low ? "above" : "of at least",
                 key->allowed.number.low, key->allowed.number.below_high ? "below" : "at most",
                 key->allowed.number.high);
        break;
    case SC_KEY_BOOL:
        snprintf(text, text_bytes, "true or false");
        break;
    case SC_KEY_STRING:
        snprintf(text, text_bytes, "a text, not empty");
        break;
    case SC_KEY_PATH:
        snprintf(text, text_bytes, "a path, or an empty text for none");
        break;
    case SC_KEY_PATHS:
        snprintf(text, text_bytes, key->are_texts ? "a list of texts" : "a list of files, [a.txt, b.txt]");
        break;
    case SC_KEY_WORD:
    case SC_KEY_WORD_OR_PATH: {
        int n = 0;
        text[0] = '\0';
        for (const char *const *word = key->allowed.words; n == 0 || *word; word++)
            if (*word) {
                append(text, text_bytes, n++ ? ", " : "");
                append(text, text_bytes, *word);
            }
        if (key->type == SC_KEY_WORD_OR_PATH)
            append(text, text_bytes, " or a path");
        break;
    }
    }
    return text;
}
