/* The run's configuration: a YAML file, defaults, --set overrides, checked.
 *
 * One table (config_key.c) has each key's path, type, default, range or words, and help; loading, --set, checking,
 * printing and the documentation all read it. Any mistake gives   FILE:LINE: KEY: what is wrong; what is allowed
 * where the place is "--set KEY=VALUE" for an override and FILE alone for what the file does not say.
 *
 * The file is YAML of two levels, section and key. Anchors, aliases, tags and a second document are refused, and so is
 * whatever YAML 1.2 would read as another type: an integer is digits, a number may have a point and an exponent, a
 * truth value is true or false, and quotes make a text. */
#ifndef SC_CONFIG_H
#define SC_CONFIG_H

#include "proto/base/model.h"

#include <stdio.h>

typedef enum sc_optimizer_kind { SC_ADAMW, SC_SGD } sc_optimizer_kind;
typedef enum sc_lr_kind { SC_LR_CONSTANT, SC_LR_LINEAR, SC_LR_COSINE, SC_LR_WSD } sc_lr_kind;
/* Whether the head's matrix is the embedding's; with model.init it is not known before the directory is read. */
typedef enum sc_tying { SC_TYING_OF_INIT, SC_UNTIED, SC_TIED } sc_tying;
/* By what the best checkpoint of a run is told. */
typedef enum sc_metric_kind {
    SC_METRIC_NONE,
    SC_METRIC_LOSS,
    SC_METRIC_ACCURACY,
    SC_METRIC_MACRO_F1,
    SC_METRIC_ENTITY_F1,
    SC_METRIC_NDCG,
} sc_metric_kind;
typedef enum sc_schedule_kind { SC_SCHEDULE_GPIPE, SC_SCHEDULE_1F1B } sc_schedule_kind;

typedef struct sc_config {
    char *path;  /* the file, as given */
    bool *given; /* by key: what the file or an override said, for sc_config_adopt */
    struct {
        char *dir; /* relative to the working directory, as run.dir is an output of the command */
        int64_t seed;
        int64_t grace_ms; /* from a stop that was asked for to the end */
    } run;
    struct {
        int family; /* sc_family */
        int64_t layers, heads, hidden, context;
        int64_t vocab; /* 0: as many as the tokenizer has */
        int tied;      /* sc_tying */
        double dropout, norm_epsilon;
        double attention_dropout, classifier_dropout; /* -1: as dropout */
        /* BERT: */
        int task;                          /* sc_task */
        int64_t intermediate, token_types; /* 0: 4 hidden, and 2 */
        int64_t labels;                    /* 0: none, or as many as the data have */
        bool multi_label;
        char *init; /* directory of weights to start from, NULL: none; relative to the config file */
    } model;
    struct {
        char **train; /* paths, made relative to the config file */
        int n_train;
        char **validation; /* given apart: then validation_share must be 0 or absent */
        int n_validation;
        char **test; /* for BERT's tasks, as the following to short_share */
        int n_test;
        double test_share;
        int format;                                     /* "text", or the name of an sc_data_format */
        char *text_column, *pair_column, *label_column; /* pair: "" for none */
        char *label_separator;                          /* multi_label: between the labels of a text */
        int64_t word_column, tag_column;                /* from 1, or from -1 at the end */
        /* sequences of items: */
        char *separator;                  /* "tab", or what stands between columns */
        int64_t user_column, item_column; /* from 1 */
        int64_t time_column;              /* 0: there is none */
        int64_t min_item_count, min_user_items;
        char *titles; /* NULL: none; relative to the config file */
        bool exclude_seen;
        bool split_sentences, whole_words;
        double mask_share, short_share;
        char *tokenizer;         /* "char", "byte", or a path, made relative to the config file */
        double validation_share; /* the tail of the token stream; of BERT's data some by seed */
    } data;
    struct {
        int64_t steps, epochs; /* one of the two is 0: the other decides */
        int64_t batch_size, micro_batch_size;
        int64_t sequence_length; /* T; 0: model.context */
        int optimizer;           /* sc_optimizer_kind */
        double learning_rate, min_learning_rate;
        int lr_schedule;                   /* sc_lr_kind */
        int64_t warmup_steps, decay_steps; /* decay_steps: wsd's tail */
        double warmup_share;               /* of all steps; one of the two is 0 */
        double weight_decay, beta1, beta2, epsilon, momentum;
        double clip_norm;     /* 0: no clipping */
        char **class_weights; /* "LABEL=WEIGHT", or "balanced" alone; none: all weigh 1 */
        int n_class_weights;
        int64_t freeze_blocks;            /* the embedding and so many transformer blocks do not learn; 0: all do */
        int64_t eval_every, eval_batches; /* eval_every 0: never */
        bool eval_epochs;                 /* after each epoch, too */
        int best_metric;                  /* sc_metric_kind */
        int64_t patience;                 /* evaluations without a better one until the run ends; 0: any */
    } train;
    struct {
        int schedule;    /* sc_schedule_kind */
        int64_t workers; /* for `serve`: how many to wait for; `train --workers` sets it */
    } pipeline;
    struct {
        int64_t every; /* steps; 0: none on the way */
        int64_t keep;  /* complete ones that stay: 2 at least */
        bool at_end;   /* after the last step, and when the run is stopped */
        char *dir;     /* NULL: in the run directory */
    } checkpoint;
    struct {
        int64_t max_attempts; /* losses of workers in a row without a step in between */
        int64_t peer_every;   /* steps between points in the workers' memories; 0: none */
        bool log_messages;    /* a lost stage alone is run again, from its neighbours' logs */
        int64_t log_mb;       /* budget of a worker's message log */
        int64_t wait_ms;      /* for a lost worker's successor, before fewer go on */
        double hang_steps;    /* a worker that does not move for so many median steps, and for hang_ms, is lost */
        int64_t hang_ms;
    } recovery;
    struct {
        int64_t join_ms;        /* `serve`/`train`: how long to wait for all workers; 0 for ever */
        int64_t lease_ms;       /* a worker silent for so long is lost */
        int64_t reconnect_ms;   /* a worker whose connection is gone for so long is lost */
        int64_t call_ms;        /* deadline of a control call */
        int64_t resend_ms;      /* a receiver that waits longer asks again */
        int64_t max_message_mb; /* larger messages are refused */
        char *keys;             /* `serve`: directory of keygen's, NULL: plaintext; relative to the config file */
        bool shared_memory;     /* between processes of one host */
    } wire;
    struct {
        char *listen;     /* "HOST:PORT", "auto" or "off" */
        char *token_file; /* NULL: none; relative to the config file */
    } status;
    struct {
        char *level; /* as SC_LOG */
        bool json;
        char *tensorboard; /* directory of TensorBoard's event files, NULL: none; relative to the config file */
    } log;
} sc_config;

enum { SC_CONFIG_MAX_BYTES = 1 << 20 }; /* a larger file is refused: a config is written by hand */

/* Loads FILE, applies `sets` ("train.steps=10"; the last of several for one key wins), fills defaults, checks each key
 * and the combinations. The value of a set is taken as it stands, except that one that begins with [ " or ' is read as
 * YAML: "data.train=[a.txt,b.txt]". Its paths are relative to the working directory. Returns owned.
 * Errors: SC_NOT_FOUND (file), SC_INVALID (the rest, all mistakes in one message where there are several, one a line;
 * those that do not fit into a status message are counted). */
sc_status sc_config_load(const char *path, const char *const *sets, int n_sets, sc_config **out);
/* The same from memory, as if the file were called `path`; safe on any bytes. */
sc_status sc_config_parse(const char *text, size_t text_bytes, const char *path, const char *const *sets, int n_sets,
                          sc_config **out);
void sc_config_destroy(sc_config **self_p);

/* The resolved configuration as YAML that loads again to the same (absolute data paths). 0 on success, -1 on a write error. */
int sc_config_print(const sc_config *self, FILE *out);
/* The same as a JSON object of sections, without where secrets lie. */
int sc_config_print_json(const sc_config *self, FILE *out);
/* Every key with type, default and help, for `--help config` and the README. */
void sc_config_print_help(FILE *out);

/* "adamw" for the value of an enumerated key. */
const char *sc_config_word(const char *key, int value);

/* The model that the config describes, with `vocab` tokens from the tokenizer (config's own model.vocab wins if larger) and, for
 * classification and tagging, `labels` of the data (0: they are not known yet, and model.labels says).
 * Errors: SC_INVALID. */
sc_status sc_config_model(const sc_config *self, int vocab, int labels, sc_model *out);
/* With model.init, the keys of the shape (layers, heads, hidden, context, vocab, tied, norm_epsilon) that nobody gave are 0 until
 * this takes them from the directory's model; keys that were given must agree with it. Then checks again what depends on
 * them. Errors: SC_INVALID naming key and both values. */
sc_status sc_config_adopt(sc_config *self, const sc_model *model);
/* M = batch_size / micro_batch_size, and T. */
int sc_config_n_microbatches(const sc_config *self);
int sc_config_sequence_length(const sc_config *self);
/* Whether the data are sequences of items, by data.format. */
bool sc_config_has_items(const sc_config *self);

#endif
