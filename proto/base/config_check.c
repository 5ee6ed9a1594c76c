/* What one key cannot know alone. Each check names a key that the user wrote, if he wrote one of the two. */
#include "proto/base/config_internal.h"
#include "proto/base/log.h"

#include <inttypes.h>
#include <string.h>

static sc_place place_of(const sc_config_draft *draft, const char *key)
{
    return draft->places[sc_config_find_key(key)];
}

static bool is_given(const sc_config_draft *draft, const char *key)
{
    return draft->config->given[sc_config_find_key(key)];
}

/* The key that a message about two points to: one from a --set before one from the file, and that before a default. */
static const char *blame(const sc_config_draft *draft, const char *first, const char *second)
{
    sc_place a = place_of(draft, first), b = place_of(draft, second);
    bool second_alone = sc_place_given(b) && !sc_place_given(a);
    return second_alone || (b.set && !a.set) ? second : first;
}

#define MISTAKE(draft, key, ...) sc_config_mistake((draft), place_of((draft), (key)), (key), __VA_ARGS__)

void sc_config_leave_to_init(sc_config_draft *draft)
{
    for (int i = 0; draft->config->model.init && i < SC_CONFIG_N_KEYS; i++) {
        const sc_config_key *key = &sc_config_keys[i];
        if (!key->from_init || sc_place_given(draft->places[i]))
            continue;
        if (key->type == SC_KEY_INT)
            *(int64_t *)sc_config_field(key, draft->config) = 0;
        else if (key->type == SC_KEY_WORD)
            *(int *)sc_config_field(key, draft->config) = 0;
        else
            *(double *)sc_config_field(key, draft->config) = 0;
    }
}

static void check_model(sc_config_draft *draft)
{
    const sc_config *c = draft->config;
    const double dropouts[] = {c->model.attention_dropout, c->model.classifier_dropout};
    for (int i = 0; i < 2; i++)
        if (dropouts[i] < 0 && dropouts[i] != -1)
            MISTAKE(draft, i == 0 ? "model.attention_dropout" : "model.classifier_dropout",
                    "%g is no probability; allowed: -1 for that of model.dropout, or at least 0, below 1", dropouts[i]);
    if (c->model.heads != 0 && c->model.hidden % c->model.heads != 0)
        MISTAKE(draft, blame(draft, "model.heads", "model.hidden"),
                "%" PRId64 " heads do not divide hidden size %" PRId64 "; allowed: heads that divide it",
                c->model.heads, c->model.hidden);
    if (c->model.context != 0 && c->train.sequence_length > c->model.context)
        MISTAKE(draft, blame(draft, "train.sequence_length", "model.context"),
                "sequences of %" PRId64 " tokens are longer than model.context, %" PRId64 "; allowed: at most as long",
                c->train.sequence_length, c->model.context);
    if (c->model.layers != 0 && c->train.freeze_blocks > c->model.layers)
        MISTAKE(draft, blame(draft, "train.freeze_blocks", "model.layers"),
                "%" PRId64 " transformer blocks are to be frozen, of model.layers %" PRId64
                "; allowed: at most as many",
                c->train.freeze_blocks, c->model.layers);
    if (c->model.layers != 0 && c->pipeline.workers > c->model.layers + 2)
        MISTAKE(draft, blame(draft, "pipeline.workers", "model.layers"),
                "%" PRId64 " workers for %" PRId64 " blocks (model.layers + 2) would leave some without work; allowed: "
                "at most %" PRId64 " workers",
                c->pipeline.workers, c->model.layers + 2, c->model.layers + 2);
}

static void check_family(sc_config_draft *draft)
{
    const sc_config *c = draft->config;
    const struct {
        const char *key;
        bool given;
    } of_bert[] = {{"model.task", c->model.task != SC_TASK_NEXT_TOKEN},
                   {"model.intermediate", c->model.intermediate != 0},
                   {"model.token_types", c->model.token_types != 0},
                   {"model.labels", c->model.labels != 0},
                   {"model.multi_label", c->model.multi_label}};
    for (size_t i = 0; c->model.family != SC_BERT && !c->model.init && i < sizeof of_bert / sizeof *of_bert; i++)
        if (of_bert[i].given)
            MISTAKE(draft, of_bert[i].key, "is a key of model.family bert, and the family is %s",
                    sc_config_word("model.family", c->model.family));
    if (c->model.family == SC_BERT && c->model.task == SC_TASK_NEXT_TOKEN && !c->model.init)
        MISTAKE(draft, blame(draft, "model.task", "model.family"),
                "next_token is not what a bert does; allowed: pretraining, masked_words, classification, tagging");
}

static void check_class_weights(sc_config_draft *draft)
{
    const sc_config *c = draft->config;
    if (c->train.n_class_weights == 0 || !sc_config_task_is_known(draft))
        return;
    if (c->model.task != SC_TASK_CLASSIFICATION && c->model.task != SC_TASK_TAGGING)
        MISTAKE(draft, "train.class_weights", "is for classification and tagging, and model.task is %s",
                sc_config_word("model.task", c->model.task));
    else if (c->model.multi_label)
        MISTAKE(draft, "train.class_weights", "is for data with one label each; with model.multi_label leave it out");
}

static void check_batch(sc_config_draft *draft)
{
    const sc_config *c = draft->config;
    const char *key = blame(draft, "train.micro_batch_size", "train.batch_size");
    int64_t T = c->train.sequence_length != 0 ? c->train.sequence_length : c->model.context;
    if (c->train.batch_size % c->train.micro_batch_size != 0)
        MISTAKE(draft, key,
                "micro_batch_size %" PRId64 " does not divide batch_size %" PRId64 "; allowed: one that divides it",
                c->train.micro_batch_size, c->train.batch_size);
    else if (c->train.batch_size / c->train.micro_batch_size > SC_MAX_MICROBATCHES)
        MISTAKE(draft, key, "%" PRId64 " micro-batches in a step (batch_size / micro_batch_size); allowed: at most %d",
                c->train.batch_size / c->train.micro_batch_size, SC_MAX_MICROBATCHES);
    if (c->train.batch_size * T > INT32_MAX)
        MISTAKE(draft, "train.batch_size",
                "%" PRId64 " sequences of %" PRId64 " tokens; allowed: at most %d tokens a step", c->train.batch_size,
                T, INT32_MAX);
}

/* Leave-one-out takes the data apart. */
static void check_items(sc_config_draft *draft)
{
    sc_config *c = draft->config;
    if (c->model.init)
        MISTAKE(
            draft, blame(draft, "data.format", "model.init"),
            "the numbers of items are those of their data, so that a model of them begins at random; allowed: one of "
            "the two");
    else if (c->model.family != SC_GPT2 || c->model.task != SC_TASK_NEXT_TOKEN)
        MISTAKE(draft, blame(draft, "data.format", "model.family"),
                "sequences of items are learnt by a gpt2; allowed with this model: another format");
    const struct {
        const char *key;
        bool given;
    } apart[] = {{"data.validation", c->data.n_validation > 0},
                 {"data.test", c->data.n_test > 0},
                 {"data.validation_share", c->data.validation_share > 0 && is_given(draft, "data.validation_share")},
                 {"data.test_share", c->data.test_share > 0}};
    if (strcmp(c->data.tokenizer, "char") != 0)
        MISTAKE(draft, "data.tokenizer", "items are a vocabulary of their own; allowed: leave it out");
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (apart[i].given)
            MISTAKE(draft, apart[i].key,
                    "of items each user's last is the test, the one before it validation; allowed: leave it out");
    c->data.validation_share = 0;
}

static bool evaluates(const sc_config *c)
{
    return c->train.eval_every > 0 || c->train.eval_epochs;
}

/* The form of the data and the task that is learned from them. */
static void check_task(sc_config_draft *draft)
{
    const sc_config *c = draft->config;
    const sc_task task = (sc_task)c->model.task;
    const char *format = sc_config_word("data.format", c->data.format), *allowed = "text";
    bool fits = strcmp(format, "text") == 0;
    if (task == SC_TASK_CLASSIFICATION) {
        fits = !fits && strcmp(format, "conll") != 0;
        allowed = "text-label, label-text, csv, jsonl";
    } else if (task == SC_TASK_TAGGING) {
        fits = strcmp(format, "conll") == 0;
        allowed = "conll";
    }
    if (!fits && !sc_config_has_items(c)) /* which check_items looks at */
        MISTAKE(draft, blame(draft, "data.format", "model.task"), "%s is not a form of data for %s; allowed: %s",
                format, sc_config_word("model.task", c->model.task), allowed);
    if (c->data.word_column == 0 || c->data.tag_column == 0)
        MISTAKE(draft, c->data.word_column == 0 ? "data.word_column" : "data.tag_column",
                "columns count from 1, or from -1 at the end");
    if (task == SC_TASK_NEXT_TOKEN && !sc_config_has_items(c) && (c->data.n_test > 0 || c->data.test_share > 0))
        MISTAKE(draft, c->data.n_test > 0 ? "data.test" : "data.test_share",
                "is for the tasks of a bert; allowed for next_token: none (`evaluate` tells the loss on a text)");
    if (c->data.n_test > 0 && c->data.test_share > 0)
        MISTAKE(draft, blame(draft, "data.test_share", "data.test"), "data.test is given too; allowed: one of the two");
    if (c->data.validation_share + c->data.test_share >= 1)
        MISTAKE(draft, blame(draft, "data.test_share", "data.validation_share"),
                "validation and test shares of %g and %g leave nothing to train on; allowed: together less than 1",
                c->data.validation_share, c->data.test_share);
}

/* How long a run is, and which of its weights stay. */
static void check_course(sc_config_draft *draft)
{
    const sc_config *c = draft->config;
    const sc_task task = (sc_task)c->model.task;
    const sc_metric_kind metric = (sc_metric_kind)c->train.best_metric;
    if (c->train.steps > 0 && c->train.epochs > 0)
        MISTAKE(draft, blame(draft, "train.epochs", "train.steps"),
                "both epochs and steps are given; allowed: one of them");
    if (c->train.steps == 0 && c->train.epochs == 0)
        MISTAKE(draft, blame(draft, "train.steps", "train.epochs"),
                "there is nothing to do; allowed: steps, or epochs");
    if (c->train.warmup_steps > 0 && c->train.warmup_share > 0)
        MISTAKE(draft, blame(draft, "train.warmup_share", "train.warmup_steps"),
                "both warmup_share and warmup_steps are given; allowed: one of them");
    if (metric != SC_METRIC_NONE && !evaluates(c))
        MISTAKE(draft, "train.best_metric",
                "there are no validations; allowed: none, or set train.eval_every or "
                "eval_epochs, and validation data");
    const bool ranks = sc_config_has_items(c);
    if ((ranks && metric != SC_METRIC_NDCG && metric > SC_METRIC_LOSS) || (!ranks && metric == SC_METRIC_NDCG) ||
        (!ranks && task == SC_TASK_NEXT_TOKEN && metric > SC_METRIC_LOSS) ||
        (metric == SC_METRIC_MACRO_F1 && task != SC_TASK_CLASSIFICATION && task != SC_TASK_TAGGING) ||
        (metric == SC_METRIC_ENTITY_F1 && task != SC_TASK_TAGGING))
        MISTAKE(draft, "train.best_metric", "%s is no score of %s", sc_config_word("train.best_metric", (int)metric),
                ranks ? "sequences of items" : sc_config_word("model.task", c->model.task));
    if (c->train.patience > 0 && metric == SC_METRIC_NONE)
        MISTAKE(draft, "train.patience", "nothing says what is better; allowed: 0, or set train.best_metric");
}

static void check_data(sc_config_draft *draft)
{
    sc_config *c = draft->config;
    if (c->data.n_train == 0)
        MISTAKE(draft, "data.train", "no training text is given; allowed: at least one file, as in [text.txt]");
    if (sc_config_has_items(c)) {
        check_items(draft);
        return;
    }
    if (c->data.n_validation > 0) {
        if (!is_given(draft, "data.validation_share"))
            c->data.validation_share = 0;
        else if (c->data.validation_share > 0)
            MISTAKE(draft, "data.validation_share", "data.validation is given too; allowed: one of the two, or 0");
    }
    if (c->data.n_validation == 0 && c->data.validation_share == 0 && evaluates(c)) {
        if (!is_given(draft, "train.eval_epochs"))
            c->train.eval_epochs = false;
        if (!is_given(draft, "train.eval_every"))
            c->train.eval_every = 0;
        if (evaluates(c))
            MISTAKE(draft, "train.eval_every",
                    "there is no validation data; allowed: 0, or set data.validation_share or data.validation");
    }
}

static void check_learning_rate(sc_config_draft *draft)
{
    const sc_config *c = draft->config;
    if (c->train.min_learning_rate > c->train.learning_rate)
        MISTAKE(draft, blame(draft, "train.min_learning_rate", "train.learning_rate"),
                "min_learning_rate %g is above learning_rate %g; allowed: at most as high", c->train.min_learning_rate,
                c->train.learning_rate);
    if (c->train.lr_schedule != SC_LR_WSD && c->train.decay_steps > 0)
        MISTAKE(draft, "train.decay_steps", "only lr_schedule wsd has decay steps; allowed: 0, or lr_schedule wsd");
    if (c->train.steps == 0)
        return; /* epochs decide, when the data are known */
    if (c->train.warmup_steps > c->train.steps)
        MISTAKE(draft, blame(draft, "train.warmup_steps", "train.steps"),
                "%" PRId64 " warm-up steps in a run of %" PRId64 " steps; allowed: at most as many",
                c->train.warmup_steps, c->train.steps);
    else if (c->train.lr_schedule == SC_LR_WSD && c->train.warmup_steps + c->train.decay_steps > c->train.steps)
        MISTAKE(draft, blame(draft, "train.decay_steps", "train.steps"),
                "%" PRId64 " warm-up and %" PRId64 " decay steps in a run of %" PRId64
                " steps; allowed: together at most as many",
                c->train.warmup_steps, c->train.decay_steps, c->train.steps);
}

void sc_config_check(sc_config_draft *draft)
{
    check_model(draft);
    check_family(draft);
    check_class_weights(draft);
    check_batch(draft);
    check_data(draft);
    if (sc_config_task_is_known(draft)) {
        check_task(draft);
        check_course(draft);
    }
    check_learning_rate(draft);
    if (sc_log_check(draft->config->log.level) != SC_OK)
        MISTAKE(draft, "log.level", "%s; allowed: a level, or as SC_LOG", sc_status_message());
}
