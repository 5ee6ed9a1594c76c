#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/config_internal.h"

#include <jansson.h>

#define DATA "data: {train: [t.txt]}\n"

static sc_status parse_with(const char *text, const char *const *sets, int n_sets, sc_config **out)
{
    return sc_config_parse(text, strlen(text), "dir/c.yaml", sets, n_sets, out);
}

static sc_config *accepted_with(const char *text, const char *const *sets, int n_sets)
{
    sc_config *config;
    if (parse_with(text, sets, n_sets, &config) != SC_OK)
        fail_msg("refused: %s", sc_status_message());
    return config;
}

static sc_config *accepted(const char *text)
{
    return accepted_with(text, NULL, 0);
}

/* The message with which `text` and at most one --set are refused. */
static const char *refused_with(const char *text, const char *set)
{
    sc_config *config;
    sc_status status = parse_with(text, &set, set != NULL, &config);
    assert_int_equal(status, SC_INVALID);
    assert_null(config);
    return sc_status_message();
}

static const char *refused(const char *text)
{
    return refused_with(text, NULL);
}

static void assert_contains(const char *message, const char *piece)
{
    if (!strstr(message, piece))
        fail_msg("'%s' is not in '%s'", piece, message);
}

static void defaults_are_those_of_the_table(void **state)
{
    (void)state;
    sc_config *c = accepted(DATA);
    assert_string_equal(c->path, "dir/c.yaml");
    assert_string_equal(c->run.dir, "runs/c");
    assert_int_equal(c->run.seed, 1337);
    assert_int_equal(c->model.family, SC_GPT2);
    assert_int_equal(c->model.layers, 6);
    assert_int_equal(c->model.hidden, 384);
    assert_int_equal(c->model.vocab, 0);
    assert_true(c->model.dropout == 0.0);
    assert_int_equal(c->data.n_train, 1);
    assert_string_equal(c->data.train[0], "dir/t.txt");
    assert_int_equal(c->data.n_validation, 0);
    assert_string_equal(c->data.tokenizer, "char");
    assert_true(c->data.validation_share == 0.1);
    assert_int_equal(c->train.steps, 500);
    assert_int_equal(c->train.optimizer, SC_ADAMW);
    assert_true(c->train.learning_rate == 1e-3);
    assert_true(c->train.epsilon == 1e-8);
    assert_int_equal(c->train.lr_schedule, SC_LR_COSINE);
    assert_int_equal(c->train.eval_every, 100);
    assert_int_equal(c->pipeline.schedule, SC_SCHEDULE_1F1B);
    assert_int_equal(c->wire.lease_ms, 10000);
    assert_string_equal(c->log.level, "info");
    assert_false(c->log.json);
    assert_int_equal(sc_config_n_microbatches(c), 8);
    assert_int_equal(sc_config_sequence_length(c), 256);
    sc_config_destroy(&c);
    assert_null(c);
    sc_config_destroy(&c);
}

static void every_way_to_write_a_value_is_read(void **state)
{
    (void)state;
    sc_config *c =
        accepted("run: {dir: 42, seed: 9223372036854775807}\n"
                 "model:\n  heads: +4\n  dropout: .5\n"
                 "data:\n  train:\n    - /a.txt\n    - 'b c.txt'\n    - \"\\u00e4.txt\"\n  validation: v.txt\n"
                 "train: {learning_rate: 1e-3, min_learning_rate: 1.0e-4, clip_norm: 2., epsilon: 1E-6,\n"
                 "        optimizer: sgd, lr_schedule: \"wsd\", decay_steps: 100, sequence_length: 64}\n"
                 "pipeline:\nlog: {json: true, level: 'warn,rpc=debug'}\n");
    assert_string_equal(c->run.dir, "42");
    assert_true(c->run.seed == INT64_MAX);
    assert_int_equal(c->model.heads, 4);
    assert_true(c->model.dropout == 0.5);
    assert_int_equal(c->data.n_train, 3);
    assert_string_equal(c->data.train[0], "/a.txt");
    assert_string_equal(c->data.train[1], "dir/b c.txt");
    assert_string_equal(c->data.train[2], "dir/\xC3\xA4.txt");
    assert_int_equal(c->data.n_validation, 1);
    assert_true(c->data.validation_share == 0.0); /* its default gives way to data.validation */
    assert_true(c->train.learning_rate == 1e-3 && c->train.min_learning_rate == 1e-4);
    assert_true(c->train.clip_norm == 2.0 && c->train.epsilon == 1e-6);
    assert_int_equal(c->train.optimizer, SC_SGD);
    assert_int_equal(c->train.lr_schedule, SC_LR_WSD);
    assert_int_equal(sc_config_sequence_length(c), 64);
    assert_true(c->log.json);
    sc_config_destroy(&c);
}

static void a_mistake_names_file_line_key_and_what_is_allowed(void **state)
{
    (void)state;
    assert_string_equal(refused(DATA "train:\n  steps: 3.5\n"),
                        "dir/c.yaml:3: train.steps: '3.5' is not an integer; allowed: an integer from 0 to 1000000000");
    assert_string_equal(refused("data: {train: [t], tokenizer: [char]}"),
                        "dir/c.yaml:1: data.tokenizer: a list is given, where one value is needed; allowed: char, byte "
                        "or a path");
    assert_string_equal(refused(DATA "model: {dropout: 1}"),
                        "dir/c.yaml:2: model.dropout: '1' is out of range; allowed: a number of at least 0, below 1");
    assert_string_equal(refused(DATA "log: {json: yes}"),
                        "dir/c.yaml:2: log.json: 'yes' is not a truth value; allowed: true or false");
    assert_string_equal(refused("log: {levle: [t]}"), "dir/c.yaml:1: log.levle: unknown key (did you mean "
                                                      "log.level?); allowed in log: level, json, tensorboard");
    assert_string_equal(refused(DATA "modle: {layers: 2}"),
                        "dir/c.yaml:2: modle: unknown section (did you mean model?); allowed: run, model, data, train, "
                        "pipeline, checkpoint, recovery, wire, status, log");
    assert_string_equal(refused("run: {seed: 1}"), "dir/c.yaml: data.train: no training text is given; allowed: at "
                                                   "least one file, as in [text.txt]");
}

static void wrong_types_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"train: {steps: 3.2e1}", "train.steps: '3.2e1' is not an integer"},
        {"train: {steps: 0x10}", "'0x10' is not an integer"},
        {"train: {steps: 1_000}", "'1_000' is not an integer"},
        {"train: {steps: \"10\"}", "'10' is not an integer (quotes make it a text)"},
        {"train: {steps: }", "'' is not an integer"},
        {"train: {steps: 99999999999999999999}", "'99999999999999999999' is out of range"},
        {"train: {steps: -1}", "'-1' is out of range"},
        {"train: {steps: [1]}", "train.steps: a list is given, where one value is needed"},
        {"train: {steps: {a: 1}}", "train.steps: a value is needed, not a mapping"},
        {"model: {heads: -6}", "model.heads: '-6' is out of range"},
        {"train: {learning_rate: fast}", "'fast' is not a number"},
        {"train: {learning_rate: .inf}", "'.inf' is not a number"},
        {"train: {learning_rate: 1e}", "'1e' is not a number"},
        {"train: {learning_rate: .}", "'.' is not a number"},
        {"train: {learning_rate: 1e999}", "'1e999' is out of range"},
        {"train: {epsilon: 0}", "allowed: a number above 0, at most 1"},
        {"train: {beta1: 1.0}", "train.beta1: '1.0' is out of range"},
        {"train: {clip_norm: -1}", "train.clip_norm: '-1' is out of range"},
        {"log: {json: \"true\"}", "'true' is not a truth value (quotes make it a text)"},
        {"run: {dir: ''}", "run.dir: '' is empty"},
        {"run: {dir: ~}", "run.dir: '~' is empty"},
        {"run: {dir: \"a\\tb\"}", "run.dir: 'a?b' holds a control character"},
        {"run: {dir: \"a\\x85b\"}", "holds a control character"},
        {"run: {dir: \"a\\0b\"}", "a text holds a NUL byte"},
        {"model: {family: llama}", "model.family: 'llama' is not known; allowed: gpt2, bert"},
        {"model: {task: tagging}", "model.task: is a key of model.family bert, and the family is gpt2"},
        {"model: {labels: 3}", "model.labels: is a key of model.family bert"},
        {"model: {family: bert}", "model.family: next_token is not what a bert does"},
        {"log: {level: loud}", "log.level: log level 'loud' is not one of debug, info, warn, error, off"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, DATA "%s\n", cases[i][0]);
        const char *message = refused(text);
        assert_contains(message, "dir/c.yaml:2: ");
        assert_contains(message, cases[i][1]);
    }
    assert_contains(refused("data: {train: [a, [b]]}"), "data.train: an item of the list is not a text");
    assert_contains(refused("data: {train: [a, '']}"), "data.train: '' is empty");
}

static void impossible_combinations_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"model: {heads: 5}", ":2: model.heads: 5 heads do not divide hidden size 384"},
        {"model: {hidden: 100}", ":2: model.hidden: 6 heads do not divide hidden size 100"},
        {"train: {micro_batch_size: 5}", "micro_batch_size 5 does not divide batch_size 32"},
        {"train: {batch_size: 8192, micro_batch_size: 1}", "8192 micro-batches in a step"},
        {"train: {batch_size: 1048576, micro_batch_size: 1024, sequence_length: 0}\nmodel: {context: 4096}",
         "allowed: at most 2147483647 tokens a step"},
        {"train: {sequence_length: 257}", "sequences of 257 tokens are longer than model.context, 256"},
        {"train: {min_learning_rate: 0.01}", "min_learning_rate 0.01 is above learning_rate 0.001"},
        {"train: {steps: 10, warmup_steps: 11}", "11 warm-up steps in a run of 10 steps"},
        {"train: {steps: 10, warmup_steps: 6, decay_steps: 5, lr_schedule: wsd}", "6 warm-up and 5 decay steps"},
        {"train: {decay_steps: 5}", "only lr_schedule wsd has decay steps"},
        {"train: {steps: 10, epochs: 2}", "both epochs and steps are given"},
        {"train: {steps: 0}", "there is nothing to do"},
        {"train: {warmup_steps: 5, warmup_share: 0.1}", "both warmup_share and warmup_steps are given"},
        {"train: {best_metric: accuracy}", "accuracy is no score of next_token"},
        {"train: {best_metric: 'ndcg@10'}", "ndcg@10 is no score of next_token"},
        {"train: {best_metric: loss, eval_every: 0}", "train.best_metric: there are no validations"},
        {"train: {patience: 2}", "train.patience: nothing says what is better"},
        {"model: {family: bert, task: classification}",
         "text is not a form of data for classification; allowed: text-label"},
        {"model: {layers: 2}\npipeline: {workers: 5}",
         ":3: pipeline.workers: 5 workers for 4 blocks (model.layers + 2) would leave some without work; allowed: at "
         "most 4 workers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, DATA "%s\n", cases[i][0]);
        assert_contains(refused(text), cases[i][1]);
    }
    assert_contains(refused("data: {train: []}"), ":1: data.train: no training text is given");
    assert_contains(refused("data: {train: [a], validation: [b], validation_share: 0.1}"),
                    ":1: data.validation_share: data.validation is given too");
    assert_contains(refused("data: {train: [a], validation_share: 0}\ntrain: {eval_every: 5}"),
                    ":2: train.eval_every: there is no validation data");
    assert_contains(refused_with(DATA "train: {warmup_steps: 50}", "train.steps=10"),
                    "--set train.steps=10: train.steps: 50 warm-up steps in a run of 10 steps");
}

static void without_validation_data_the_default_never_evaluates(void **state)
{
    (void)state;
    sc_config *c = accepted("data: {train: [a], validation_share: 0}");
    assert_int_equal(c->train.eval_every, 0);
    sc_config_destroy(&c);
    c = accepted("data: {train: [a], validation: [b], validation_share: 0}");
    assert_int_equal(c->train.eval_every, 100);
    sc_config_destroy(&c);
}

/* Each user's last items are taken apart, by leave-one-out. */
static void items_need_no_validation_data(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"data: {train: [a], format: items, validation: [b]}", ":1: data.validation: of items each user's last"},
        {"data: {train: [a], format: items, validation_share: 0.1}", ":1: data.validation_share: of items each user's"},
        {"data: {train: [a], format: items, tokenizer: byte}",
         ":1: data.tokenizer: items are a vocabulary of their own"},
        {"data: {train: [a], format: items}\nmodel: {family: bert, task: tagging}",
         "sequences of items are learnt by a gpt2"},
        {"data: {train: [a], format: items}\nmodel: {init: d}", "a model of them begins at random"},
        {"data: {train: [a], format: items, min_user_items: 2}", "data.min_user_items: '2' is"},
        {"data: {train: [a], format: items}\ntrain: {best_metric: accuracy}", "accuracy is no score of sequences of"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_contains(refused(cases[i][0]), cases[i][1]);
    static const char *const formats[] = {"items", "sequences"};
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        snprintf(text, sizeof text, "data: {train: [a], format: %s, separator: '::'}\ntrain: {best_metric: 'ndcg@10'}",
                 formats[i]);
        sc_config *c = accepted(text);
        assert_true(sc_config_has_items(c));
        assert_int_equal(c->train.eval_every, 100);
        assert_int_equal(c->data.min_user_items, 5);
        assert_string_equal(c->data.separator, "::");
        assert_true(c->data.exclude_seen);
        sc_config_destroy(&c);
    }
    sc_config *c = accepted("data: {train: [a]}");
    assert_false(sc_config_has_items(c));
    sc_config_destroy(&c);
}

static void several_mistakes_come_in_one_message(void **state)
{
    (void)state;
    assert_string_equal(refused(DATA "train:\n  steps: x\ncheckpoint:\n  kepp: 1\nlog: {json: 1}\n"),
                        "dir/c.yaml:3: train.steps: 'x' is not an integer; allowed: an integer from 0 to 1000000000\n"
                        "dir/c.yaml:5: checkpoint.kepp: unknown key (did you mean checkpoint.keep?); allowed in "
                        "checkpoint: every, keep, dir, at_end\n"
                        "dir/c.yaml:6: log.json: '1' is not a truth value; allowed: true or false");
    char text[4096] = DATA "train:\n";
    for (int i = 0; i < 100; i++)
        strcat(text, "  nothing_like_any_key: 1\n");
    const char *message = refused(text);
    assert_contains(message, "dir/c.yaml:3: ");
    int n_lines = 1;
    for (const char *p = message; (p = strchr(p, '\n')); p++)
        n_lines++;
    char last[64]; /* what did not fit is counted: told and counted make 100 */
    snprintf(last, sizeof last, "\nand %d more mistakes", 100 - (n_lines - 1));
    assert_contains(message, last);
}

static void twice_given_keys_are_refused(void **state)
{
    (void)state;
    assert_string_equal(refused(DATA "train:\n  steps: 1\n  steps: 2\n"),
                        "dir/c.yaml:4: train.steps: the key is given twice, first in line 3; keep one");
    assert_string_equal(refused(DATA "train: {steps: 1}\ntrain: {eval_every: 2}\n"),
                        "dir/c.yaml:3: train: the section is given twice, first in line 2; join the two");
}

static void what_is_not_plain_yaml_is_refused(void **state)
{
    (void)state;
    assert_contains(refused(DATA "model: &m {layers: 2}\n"), ":2: anchors and aliases (& and *) are not allowed");
    assert_contains(refused("data: {train: [*a]}"), ":1: ");
    assert_contains(refused(DATA "train: {steps: !!int 3}"), ":2: tags (!) are not allowed");
    assert_contains(refused(DATA "---\n" DATA), "a second document begins here");
    assert_contains(refused(DATA "train: {steps: 1\nx: 2\n"), "this is not YAML: ");
    assert_contains(refused(DATA "\ttrain: 1\n"), "this is not YAML: ");
    assert_contains(refused("- a\n"), "a config is made of sections");
    assert_contains(refused("3"), "a config is made of sections");
    assert_contains(refused(DATA "train: 3\n"), ":2: train: keys are needed below a section; allowed: steps, ");
    assert_contains(refused(DATA "train: {[a]: 3}\n"), "a key is a word");
    assert_contains(refused("[a]: 3\n" DATA), "a section's name is a word");
    assert_contains(refused("data:\n  train: [\"\xFF\"]\n"), "dir/c.yaml:2: bytes that are no UTF-8");
    assert_contains(refused("data: {train: [\xED\xA0\x80]}"), ":1: bytes that are no UTF-8"); /* a surrogate */
    sc_config *config;
    assert_int_equal(sc_config_parse("data:\n\0", 7, "c.yaml", NULL, 0, &config), SC_INVALID);
    assert_string_equal(sc_status_message(), "c.yaml:2: a NUL byte; a config is a text file");
}

/* Files that would cost a careless reader much memory, much time or its stack. */
static void large_and_deep_files_are_refused_soon(void **state)
{
    (void)state;
    static const char *const units[] = {"[",  "{",  "a: {", "- ",  "? ",   "a: 1\n", "&a [*a,",
                                        "a,", "\"", "#",    "[a,", "{a: ", "!a "};
    const size_t most = SC_CONFIG_MAX_BYTES;
    char *text = malloc(most + 2);
    sc_config *config;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t length = strlen(units[i]);
        for (size_t at = 0; at + length <= most; at += length)
            memcpy(text + at, units[i], length);
        assert_int_equal(sc_config_parse(text, most / length * length, "c.yaml", NULL, 0, &config), SC_INVALID);
    }
    memset(text, ' ', most + 1);
    assert_int_equal(sc_config_parse(text, most + 1, "c.yaml", NULL, 0, &config), SC_INVALID);
    free(text);
    assert_string_equal(sc_status_message(), "c.yaml: the file is larger than a config may be; allowed: 1048576 bytes");
}

static void sets_override_the_file(void **state)
{
    (void)state;
    const char *sets[] = {"train.steps=10",   "train.steps=20",         "data.train=[a.txt,\"b c.txt\"]",
                          "run.dir=out #1",   "train.learning_rate=.5", "pipeline.schedule=gpipe",
                          "data.validation=v"};
    sc_config *c = accepted_with(DATA "train: {steps: 5}", sets, 7);
    assert_int_equal(c->train.steps, 20);
    assert_int_equal(c->data.n_train, 2);
    assert_string_equal(c->data.train[0], "a.txt"); /* relative to the working directory */
    assert_string_equal(c->data.train[1], "b c.txt");
    assert_string_equal(c->data.validation[0], "v");
    assert_string_equal(c->run.dir, "out #1");
    assert_int_equal(c->pipeline.schedule, SC_SCHEDULE_GPIPE);
    sc_config_destroy(&c);
}

static void a_wrong_set_is_named(void **state)
{
    (void)state;
    assert_string_equal(
        refused_with(DATA, "wire.leese_ms=5"),
        "--set wire.leese_ms=5: wire.leese_ms: unknown key (did you mean wire.lease_ms?); allowed in "
        "wire: join_ms, lease_ms, reconnect_ms, call_ms, resend_ms, max_message_mb, keys, shared_memory");
    assert_string_equal(refused_with(DATA, "train.steps=1e3"),
                        "--set train.steps=1e3: train.steps: '1e3' is not an integer; allowed: an integer from 0 to "
                        "1000000000");
    assert_contains(refused_with(DATA, "train.steps"), "--set train.steps: it has no KEY=VALUE");
    assert_contains(refused_with(DATA, "=3"), "--set =3: it has no KEY=VALUE");
    assert_contains(refused_with(DATA, "train={steps: 3}"), "train: unknown section");
    assert_contains(refused_with(DATA, "data.train=[a"), "--set data.train=[a: this is not YAML");
    assert_contains(refused_with(DATA, "data.train=[a] b"), "--set data.train=[a] b: ");
    assert_contains(refused_with(DATA, "data.train="), "data.train: '' is empty");
    assert_contains(refused_with(DATA, "run.dir=\xFF"), "bytes that are no UTF-8");
}

static void a_missing_file_is_not_found(void **state)
{
    (void)state;
    sc_config *config;
    assert_int_equal(sc_config_load("/nowhere/c.yaml", NULL, 0, &config), SC_NOT_FOUND);
    assert_string_equal(sc_status_message(), "/nowhere/c.yaml: the config cannot be opened: No such file or directory; "
                                             "give the path of a YAML file that can be read");
    assert_int_equal(sc_config_load("/", NULL, 0, &config), SC_INVALID);
    assert_int_equal(sc_config_load("/dev/zero", NULL, 0, &config), SC_INVALID);
}

static char *printed(const sc_config *config)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_int_equal(sc_config_print(config, out), 0);
    fclose(out);
    return text;
}

static sc_model adopted(const char *keys)
{
    char text[256];
    sc_model of_init = {.family = SC_BERT,
                        .layers = 3,
                        .heads = 4,
                        .hidden = 32,
                        .context = 32,
                        .vocab = 260,
                        .intermediate = 64,
                        .token_types = 2,
                        .dropout = 0.1f,
                        .attention_dropout = 0.2f,
                        .classifier_dropout = 0.3f,
                        .norm_epsilon = 1e-12f,
                        .task = SC_TASK_CLASSIFICATION,
                        .labels = 3},
             model;
    snprintf(text, sizeof text, "data: {format: csv, train: [a]}\nmodel: {init: bert, task: classification%s}\n", keys);
    sc_config *config = accepted(text);
    if (sc_config_adopt(config, &of_init) != SC_OK || sc_config_model(config, 256, 3, &model) != SC_OK)
        fail_msg("%s", sc_status_message());
    sc_config_destroy(&config);
    return model;
}

static void dropouts_are_those_of_init_unless_given(void **state)
{
    (void)state;
    sc_model model = adopted("");
    assert_true(model.dropout == 0.1f && model.attention_dropout == 0.2f && model.classifier_dropout == 0.3f);
    model = adopted(", attention_dropout: 0");
    assert_true(model.dropout == 0.1f && model.attention_dropout == 0 && model.classifier_dropout == 0.3f);
    model = adopted(", dropout: 0.5"); /* of all alike */
    assert_true(model.dropout == 0.5f && model.attention_dropout == 0.5f && model.classifier_dropout == 0.5f);
    model = adopted(", dropout: 0.5, classifier_dropout: 0.25");
    assert_true(model.dropout == 0.5f && model.attention_dropout == 0.5f && model.classifier_dropout == 0.25f);

    sc_config *config = accepted(DATA "model: {dropout: 0.25, attention_dropout: 0.5}\n");
    assert_int_equal(sc_config_model(config, 100, 0, &model), SC_OK);
    assert_true(model.dropout == 0.25f && model.attention_dropout == 0.5f && model.classifier_dropout == 0.25f);
    sc_config_destroy(&config);
    assert_non_null(strstr(refused(DATA "model: {attention_dropout: -0.5}\n"), "is no probability"));
    assert_non_null(strstr(refused(DATA "model: {classifier_dropout: 1}\n"), "out of range"));
}

static void class_weights_are_for_labels(void **state)
{
    (void)state;
    sc_config *config = accepted("data: {format: conll, train: [a]}\nmodel: {family: bert, task: tagging}\n"
                                 "train: {class_weights: [O=0.5, \"B-a, b=2\"]}\n");
    assert_int_equal(config->train.n_class_weights, 2);
    assert_string_equal(config->train.class_weights[1], "B-a, b=2"); /* as it stands, not a path */
    char *text = printed(config);
    assert_non_null(strstr(text, "class_weights: [\"O=0.5\", \"B-a, b=2\"]"));
    free(text);
    sc_config_destroy(&config);
    config = accepted("data: {format: csv, train: [a]}\nmodel: {family: bert, task: classification}\n"
                      "train: {class_weights: balanced}\n");
    assert_int_equal(config->train.n_class_weights, 1);
    sc_config_destroy(&config);
    assert_non_null(strstr(refused(DATA "train: {class_weights: balanced}\n"), "train.class_weights: is for"));
    assert_non_null(strstr(refused("data: {format: csv, train: [a]}\n"
                                   "model: {family: bert, task: classification, multi_label: true}\n"
                                   "train: {class_weights: balanced}\n"),
                           "multi_label"));
}

static void what_is_printed_loads_to_the_same(void **state)
{
    (void)state;
    sc_config *a = accepted("run: {dir: \"say \\\"\\\\\\\" # no: comment\", seed: 9007199254740993}\n"
                            "data: {train: [/x/a.txt, \"/y/\xC3\xA4 'b\"], validation: [\"/v\"]}\n"
                            "model: {dropout: 0.1, layers: 7}\n"
                            "train: {learning_rate: 0.30000000000000004, epsilon: 2.2250738585072014e-308,\n"
                            "        beta2: 0.9999999999999999, momentum: 5e-324, optimizer: sgd}\n"
                            "log: {json: true, level: off}\n");
    char *text = printed(a);
    sc_config *b = accepted(text);
    assert_string_equal(a->run.dir, "say \"\\\" # no: comment");
    assert_string_equal(b->run.dir, a->run.dir);
    assert_true(b->run.seed == a->run.seed && a->run.seed == 9007199254740993);
    assert_int_equal(b->data.n_train, 2);
    assert_string_equal(b->data.train[1], a->data.train[1]);
    assert_int_equal(b->data.n_validation, 1);
    assert_memory_equal(&a->model, &b->model, sizeof a->model);
    sc_config same;
    memcpy(&same, b, sizeof same);
    same.train.class_weights = a->train.class_weights; /* an empty list */
    assert_memory_equal(&a->train, &same.train, sizeof a->train);
    assert_memory_equal(&a->pipeline, &b->pipeline, sizeof a->pipeline);
    assert_memory_equal(&a->wire, &b->wire, sizeof a->wire);
    assert_int_equal(b->log.json, true);
    char *again = printed(b);
    assert_string_equal(text, again);
    free(text);
    free(again);
    sc_config_destroy(&a);
    sc_config_destroy(&b);
}

static void a_tokenizer_is_a_word_or_a_path(void **state)
{
    (void)state;
    sc_config *a = accepted("data: {train: [t], tokenizer: byte}");
    char *text = printed(a);
    assert_string_equal(a->data.tokenizer, "byte");
    assert_contains(text, "tokenizer: byte\n");
    free(text);
    sc_config_destroy(&a);
    a = accepted("data: {train: [t], tokenizer: gpt2}");
    char *here = getcwd(NULL, 0), wanted[4200];
    text = printed(a);
    assert_string_equal(a->data.tokenizer, "dir/gpt2");
    snprintf(wanted, sizeof wanted, "tokenizer: \"%s/dir/gpt2\"\n", here);
    assert_contains(text, wanted);
    free(text);
    free(here);
    sc_config_destroy(&a);
    a = accepted("data: {train: [t], tokenizer: ./byte}");
    assert_string_equal(a->data.tokenizer, "dir/./byte");
    sc_config_destroy(&a);
}

static void printing_makes_data_paths_absolute(void **state)
{
    (void)state;
    sc_config *a = accepted(DATA);
    char *text = printed(a), *here = getcwd(NULL, 0), wanted[4200];
    snprintf(wanted, sizeof wanted, "train: [\"%s/dir/t.txt\"]\n", here);
    assert_contains(text, wanted);
    free(text);
    free(here);
    FILE *full = fopen("/dev/full", "w");
    setvbuf(full, NULL, _IONBF, 0);
    assert_int_equal(sc_config_print(a, full), -1);
    fclose(full);
    sc_config_destroy(&a);
}

static void init_brings_the_shape(void **state)
{
    (void)state;
    const sc_model model = {.family = SC_GPT2,
                            .layers = 3,
                            .heads = 4,
                            .hidden = 24,
                            .context = 32,
                            .vocab = 260,
                            .norm_epsilon = 2e-5f,
                            .tied = false};
    sc_config *c = accepted(DATA "model: {init: gpt2, heads: 4, dropout: 0.25}\ntrain: {sequence_length: 16}");
    assert_string_equal(c->model.init, "dir/gpt2");
    assert_int_equal(c->model.layers, 0); /* not known before the directory is read */
    assert_int_equal(sc_config_adopt(c, &model), SC_OK);
    sc_model told;
    assert_int_equal(sc_config_model(c, 256, 0, &told), SC_OK);
    assert_int_equal(told.layers, 3);
    assert_int_equal(told.heads, 4);
    assert_int_equal(told.hidden, 24);
    assert_int_equal(told.context, 32);
    assert_int_equal(told.vocab, 260);
    assert_true(told.norm_epsilon == 2e-5f && told.dropout == 0.25f && !told.tied);
    assert_int_equal(sc_config_model(c, 261, 0, &told), SC_INVALID);
    assert_contains(sc_status_message(), "data.tokenizer has 261 tokens, but the model in dir/gpt2 only 260");
    sc_config_destroy(&c);

    c = accepted(DATA "model: {init: gpt2, heads: 2, norm_epsilon: 1.0e-6, vocab: 300, tied: true}");
    assert_int_equal(sc_config_adopt(c, &model), SC_INVALID);
    assert_contains(sc_status_message(), "model.heads: 2 is set, but the model in dir/gpt2 has 4");
    assert_contains(sc_status_message(), "model.vocab: 300 is set, but the model in dir/gpt2 has 260");
    assert_contains(sc_status_message(), "model.norm_epsilon: 1e-06 is set, but the model in dir/gpt2 has 2e-05");
    assert_contains(sc_status_message(), "model.tied: true is set, but the model in dir/gpt2 has false");
    sc_config_destroy(&c);

    /* what depends on the shape is checked once it is known */
    c = accepted(DATA "model: {init: gpt2}\ntrain: {sequence_length: 64}\npipeline: {workers: 6}");
    assert_int_equal(sc_config_adopt(c, &model), SC_INVALID);
    assert_contains(sc_status_message(), "sequences of 64 tokens");
    assert_contains(sc_status_message(), "at most 5 workers");
    sc_config_destroy(&c);
    c = accepted(DATA "model: {init: gpt2, layers: 3}");
    char *text = printed(c); /* without what is not known yet */
    sc_config *again = accepted(text);
    assert_int_equal(again->model.layers, 3);
    assert_int_equal(again->model.hidden, 0);
    assert_int_equal(again->model.tied, SC_TYING_OF_INIT);
    assert_int_equal(again->model.init[0], '/');
    free(text);
    sc_config_destroy(&again);
    sc_config_destroy(&c);
    const char *nothing = "model.init=";
    c = accepted_with(DATA "model: {init: gpt2}", &nothing, 1);
    assert_null(c->model.init);
    sc_config_destroy(&c);
    c = accepted(DATA "model: {init: ''}");
    assert_null(c->model.init);
    assert_int_equal(c->model.layers, 6);
    sc_config_destroy(&c);
}

static void help_lists_every_key(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    sc_config_print_help(out);
    fclose(out);
    assert_contains(text, "train:\n  steps              integer  500      optimizer steps; 0 with train.epochs\n");
    assert_contains(text, "  optimizer          word     adamw    update rule: adamw, sgd\n");
    assert_contains(text, "  max_message_mb ");
    assert_contains(text, "log:\n  level ");
    free(text);
}

static void words_and_model(void **state)
{
    (void)state;
    assert_string_equal(sc_config_word("model.family", SC_GPT2), "gpt2");
    assert_string_equal(sc_config_word("train.lr_schedule", SC_LR_WSD), "wsd");
    assert_string_equal(sc_config_word("pipeline.schedule", SC_SCHEDULE_GPIPE), "gpipe");
    assert_string_equal(sc_config_word("train.lr_schedule", 99), "?");
    assert_string_equal(sc_config_word("model.family", 0), "?");
    assert_string_equal(sc_config_word("train.steps", 0), "?");

    sc_model model;
    sc_config *c = accepted(DATA "model: {dropout: 0.2}");
    assert_int_equal(sc_config_model(c, 65, 0, &model), SC_OK);
    assert_int_equal(model.family, SC_GPT2);
    assert_int_equal(model.vocab, 65);
    assert_int_equal(model.context, 256);
    assert_true(model.dropout == 0.2f && model.norm_epsilon == 1e-5f && model.tied);
    sc_config_destroy(&c);
    c = accepted(DATA "model: {tied: false}");
    assert_int_equal(sc_config_model(c, 65, 0, &model), SC_OK);
    assert_false(model.tied);
    sc_config_destroy(&c);
    c = accepted(DATA "model: {vocab: 128}");
    assert_int_equal(sc_config_model(c, 65, 0, &model), SC_OK);
    assert_int_equal(model.vocab, 128);
    assert_int_equal(sc_config_model(c, 256, 0, &model), SC_INVALID);
    assert_string_equal(sc_status_message(), "dir/c.yaml: model.vocab: 128 is smaller than the tokenizer's vocabulary "
                                             "of 256; allowed: 0, or at least 256");
    sc_config_destroy(&c);
}

static void the_json_has_every_key_and_no_place_of_secrets(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    const char *set = "status.token_file=unseen";
    sc_config *c = accepted_with(DATA "wire: {keys: secrets}\nmodel: {tied: true, norm_epsilon: 1.0e-6}", &set, 1);
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(sc_config_print_json(c, out), 0);
    fclose(out);
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    size_t keys = 0;
    const char *name;
    json_t *section;
    json_object_foreach(json, name, section) keys += json_object_size(section);
    assert_int_equal(json_object_size(json), SC_CONFIG_N_SECTIONS);
    assert_int_equal(keys, SC_CONFIG_N_KEYS);
    assert_null(strstr(text, "secrets"));
    assert_null(strstr(text, "unseen"));
    assert_true(json_is_true(json_object_get(json_object_get(json, "model"), "tied")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "train"), "optimizer")), "adamw");
    assert_true(json_real_value(json_object_get(json_object_get(json, "model"), "norm_epsilon")) == 1e-6);
    json_decref(json);
    free(text);
    sc_config_destroy(&c);
}

static void a_bert_is_described(void **state)
{
    (void)state;
    sc_model model;
    sc_config *c =
        accepted("data: {train: [a.csv], format: csv}\nmodel: {family: bert, task: classification, hidden: 96, "
                 "intermediate: 128, labels: 7, multi_label: true}");
    assert_int_equal(sc_config_model(c, 50, 0, &model), SC_OK);
    assert_true(model.family == SC_BERT && model.task == SC_TASK_CLASSIFICATION && model.intermediate == 128 &&
                model.token_types == 2 && model.labels == 7 && model.multi_label && model.vocab == 50);
    assert_true(c->train.learning_rate == 5e-5 && c->train.beta2 == 0.999 && c->train.lr_schedule == SC_LR_LINEAR &&
                c->train.warmup_share == 0.1 && c->model.dropout == 0.1 && c->model.norm_epsilon == 1e-12);
    assert_true(c->train.steps == 0 && c->train.epochs == 3 && c->train.eval_every == 0 && c->train.eval_epochs);
    sc_config_destroy(&c);
    c = accepted(DATA
                 "model: {family: bert, task: tagging}\ntrain: {steps: 9, learning_rate: 1.0e-3, warmup_steps: 2}");
    assert_true(c->train.steps == 9 && c->train.epochs == 0 && c->train.learning_rate == 1e-3 &&
                c->train.warmup_share == 0);
    assert_string_equal(sc_config_word("data.format", c->data.format), "conll");
    assert_int_equal(sc_config_model(c, 50, 0, &model), SC_INVALID); /* labels have not been counted */
    assert_contains(sc_status_message(), "model.labels");
    sc_config_destroy(&c);

    /* Fine-tuned for another task than it was made for. */
    const sc_model init = {.family = SC_BERT,
                           .layers = 2,
                           .heads = 2,
                           .hidden = 32,
                           .context = 16,
                           .vocab = 60,
                           .norm_epsilon = 1e-12f,
                           .task = SC_TASK_PRETRAINING,
                           .intermediate = 48,
                           .token_types = 3};
    c = accepted(DATA "model: {init: there, task: tagging, labels: 4}\ntrain: {sequence_length: 16}");
    assert_int_equal(sc_config_adopt(c, &init), SC_OK);
    assert_int_equal(sc_config_model(c, 50, 0, &model), SC_OK);
    assert_true(model.task == SC_TASK_TAGGING && model.labels == 4 && model.intermediate == 48 &&
                model.token_types == 3 && model.norm_epsilon == 1e-12f);
    sc_config_destroy(&c);
    c = accepted(DATA "model: {init: there}\ntrain: {sequence_length: 16}");
    assert_true(c->train.learning_rate == 1e-3); /* it may be a gpt2 */
    assert_int_equal(sc_config_adopt(c, &init), SC_OK);
    assert_int_equal(c->model.task, SC_TASK_PRETRAINING);
    assert_true(c->train.learning_rate == 5e-5);
    assert_string_equal(c->data.tokenizer, "dir/there");
    sc_config_destroy(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_table),
        cmocka_unit_test(every_way_to_write_a_value_is_read),
        cmocka_unit_test(a_mistake_names_file_line_key_and_what_is_allowed),
        cmocka_unit_test(wrong_types_are_refused),
        cmocka_unit_test(impossible_combinations_are_refused),
        cmocka_unit_test(without_validation_data_the_default_never_evaluates),
        cmocka_unit_test(items_need_no_validation_data),
        cmocka_unit_test(several_mistakes_come_in_one_message),
        cmocka_unit_test(twice_given_keys_are_refused),
        cmocka_unit_test(a_bert_is_described),
        cmocka_unit_test(what_is_not_plain_yaml_is_refused),
        cmocka_unit_test(large_and_deep_files_are_refused_soon),
        cmocka_unit_test(sets_override_the_file),
        cmocka_unit_test(a_wrong_set_is_named),
        cmocka_unit_test(a_missing_file_is_not_found),
        cmocka_unit_test(dropouts_are_those_of_init_unless_given),
        cmocka_unit_test(class_weights_are_for_labels),
        cmocka_unit_test(what_is_printed_loads_to_the_same),
        cmocka_unit_test(a_tokenizer_is_a_word_or_a_path),
        cmocka_unit_test(printing_makes_data_paths_absolute),
        cmocka_unit_test(help_lists_every_key),
        cmocka_unit_test(init_brings_the_shape),
        cmocka_unit_test(words_and_model),
        cmocka_unit_test(the_json_has_every_key_and_no_place_of_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
