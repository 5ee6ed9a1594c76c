/* What a task makes of keys that nobody gave: a BERT is trained otherwise than a GPT-2, and a table is read in epochs. */
#include "proto/base/config_internal.h"

#include <stdlib.h>
#include <string.h>

/* Source: Devlin et al. 2018, sec. A.3, and what transformers' Trainer does with BERT. */
static const struct {
    const char *key, *value;
} of_bert[] = {
    {"model.dropout", "0.1"},        {"model.norm_epsilon", "1.0e-12"}, {"train.learning_rate", "5.0e-5"},
    {"train.lr_schedule", "linear"}, {"train.warmup_share", "0.1"},     {"train.weight_decay", "0.01"},
    {"train.beta2", "0.999"},
};

static bool is_given(const sc_config_draft *draft, const char *key)
{
    return draft->config->given[sc_config_find_key(key)];
}

/* As a default: the key stays one that nobody gave. */
static sc_status put(sc_config_draft *draft, const char *key, const char *value)
{
    sc_scalar scalar = {.text = value};
    return sc_config_put(draft, sc_config_find_key(key), (sc_place){0},
                         &(sc_config_value){.items = &scalar, .n_items = 1});
}

const char *sc_config_bert_default(const char *key)
{
    for (size_t i = 0; i < sizeof of_bert / sizeof *of_bert; i++)
        if (strcmp(of_bert[i].key, key) == 0)
            return of_bert[i].value;
    return NULL;
}

static sc_status put_bert_defaults(sc_config_draft *draft)
{
    for (size_t i = 0; i < sizeof of_bert / sizeof *of_bert; i++) {
        const bool from_init =
            draft->config->model.init && sc_config_keys[sc_config_find_key(of_bert[i].key)].from_init;
        if (!is_given(draft, of_bert[i].key) && !from_init)
            SC_TRY(put(draft, of_bert[i].key, of_bert[i].value));
    }
    if (is_given(draft, "train.warmup_steps") && !is_given(draft, "train.warmup_share"))
        SC_TRY(put(draft, "train.warmup_share", "0.0"));
    if (draft->config->model.init && !is_given(draft, "data.tokenizer")) {
        char *path = strdup(draft->config->model.init); /* where it is already, not relative to the file */
        if (!path)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for a config's texts");
        free(draft->config->data.tokenizer);
        draft->config->data.tokenizer = path;
    }
    return SC_OK;
}

bool sc_config_task_is_known(const sc_config_draft *draft)
{
    const sc_config *c = draft->config;
    return draft->adopts || !c->model.init || c->model.family == SC_BERT || c->model.task != SC_TASK_NEXT_TOKEN;
}

sc_status sc_config_settle(sc_config_draft *draft)
{
    sc_config *c = draft->config;
    if (!sc_config_task_is_known(draft))
        return SC_OK;
    if (c->model.family == SC_BERT || c->model.task != SC_TASK_NEXT_TOKEN)
        SC_TRY(put_bert_defaults(draft));
    if (c->model.task == SC_TASK_TAGGING && !is_given(draft, "data.format"))
        SC_TRY(put(draft, "data.format", "conll"));
    const bool is_table = c->model.task == SC_TASK_CLASSIFICATION || c->model.task == SC_TASK_TAGGING;
    if (is_table && !is_given(draft, "train.steps") && !is_given(draft, "train.epochs"))
        SC_TRY(put(draft, "train.epochs", "3"));
    if (c->train.epochs > 0 && !is_given(draft, "train.steps"))
        SC_TRY(put(draft, "train.steps", "0"));
    if (c->train.epochs > 0 && !is_given(draft, "train.eval_every")) {
        SC_TRY(put(draft, "train.eval_every", "0"));
        if (!is_given(draft, "train.eval_epochs"))
            SC_TRY(put(draft, "train.eval_epochs", "true"));
    }
    return SC_OK;
}
