/* What one key cannot know alone. Each check names a key that the user wrote, if he wrote one of the two. */
#include "proto/base/config_internal.h"
#include "proto/base/log.h"

#include <inttypes.h>
#include <string.h>

static sc_place place_of(const sc_config_draft *draft, const char *key)
{
    return draft->places[sc_config_find_key(key)];
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
    if (c->model.heads != 0 && c->model.hidden % c->model.heads != 0)
        MISTAKE(draft, blame(draft, "model.heads", "model.hidden"),
                "%" PRId64 " heads do not divide hidden size %" PRId64 "; allowed: heads that divide it",
                c->model.heads, c->model.hidden);
    if (c->model.context != 0 && c->train.sequence_length > c->model.context)
        MISTAKE(draft, blame(draft, "train.sequence_length", "model.context"),
                "sequences of %" PRId64 " tokens are longer than model.context, %" PRId64 "; allowed: at most as long",
                c->train.sequence_length, c->model.context);
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
    const bool of_gpt2 = c->model.init || (c->model.family == SC_GPT2 && c->model.task == SC_TASK_NEXT_TOKEN);
    if (!of_gpt2)
        MISTAKE(draft, blame(draft, "data.format", "model.family"),
                "sequences of items are learnt by a gpt2; allowed with this model: another format");
    const struct {
        const char *key;
        bool given;
    } apart[] = {{"data.validation", c->data.n_validation > 0},
                 {"data.test", c->data.n_test > 0},
                 {"data.validation_share",
                  c->data.validation_share > 0 && sc_place_given(place_of(draft, "data.validation_share"))},
                 {"data.test_share", c->data.test_share > 0}};
    if (strcmp(c->data.tokenizer, "char") != 0)
        MISTAKE(draft, "data.tokenizer", "items are a vocabulary of their own; allowed: leave it out");
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (apart[i].given)
            MISTAKE(draft, apart[i].key,
                    "of items each user's last is the test, the one before it validation; allowed: leave it out");
    c->data.validation_share = 0;
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
        if (!sc_place_given(place_of(draft, "data.validation_share")))
            c->data.validation_share = 0;
        else if (c->data.validation_share > 0)
            MISTAKE(draft, "data.validation_share", "data.validation is given too; allowed: one of the two, or 0");
    }
    if (c->data.n_validation == 0 && c->data.validation_share == 0 && c->train.eval_every > 0) {
        if (!sc_place_given(place_of(draft, "train.eval_every")))
            c->train.eval_every = 0;
        else
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
    if (c->train.warmup_steps > c->train.steps)
        MISTAKE(draft, blame(draft, "train.warmup_steps", "train.steps"),
                "%" PRId64 " warm-up steps in a run of %" PRId64 " steps; allowed: at most as many",
                c->train.warmup_steps, c->train.steps);
    else if (c->train.lr_schedule == SC_LR_WSD && c->train.warmup_steps + c->train.decay_steps > c->train.steps)
        MISTAKE(draft, blame(draft, "train.decay_steps", "train.steps"),
                "%" PRId64 " warm-up and %" PRId64 " decay steps in a run of %" PRId64
                " steps; allowed: together at most as many",
                c->train.warmup_steps, c->train.decay_steps, c->train.steps);
    if (c->train.lr_schedule != SC_LR_WSD && c->train.decay_steps > 0)
        MISTAKE(draft, "train.decay_steps", "only lr_schedule wsd has decay steps; allowed: 0, or lr_schedule wsd");
}

void sc_config_check(sc_config_draft *draft)
{
    check_model(draft);
    check_family(draft);
    check_batch(draft);
    check_data(draft);
    check_learning_rate(draft);
    if (sc_log_check(draft->config->log.level) != SC_OK)
        MISTAKE(draft, "log.level", "%s; allowed: a level, or as SC_LOG", sc_status_message());
}
