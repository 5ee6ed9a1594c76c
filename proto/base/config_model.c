/* What follows from a config: the model, and the sizes of a step; and what a model that is there already makes of it. */
#include "proto/base/config_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static double dropout_or(double value, double general)
{
    return value < 0 ? general : value;
}

sc_status sc_config_model(const sc_config *self, int vocab, int labels, sc_model *out)
{
    if (self->model.vocab != 0 && self->model.vocab < vocab && self->model.init)
        return SC_FAIL(SC_INVALID,
                       "%s: data.tokenizer has %d tokens, but the model in %s only %" PRId64
                       "; take the tokenizer that belongs to it",
                       self->path, vocab, self->model.init, self->model.vocab);
    if (self->model.vocab != 0 && self->model.vocab < vocab)
        return SC_FAIL(SC_INVALID,
                       "%s: model.vocab: %" PRId64
                       " is smaller than the tokenizer's vocabulary of %d; allowed: 0, or at "
                       "least %d",
                       self->path, self->model.vocab, vocab, vocab);
    if (self->model.labels != 0 && labels != 0 && self->model.labels != labels)
        return SC_FAIL(SC_INVALID,
                       "%s: model.labels: is %" PRId64 ", but the data have %d labels; allowed: 0, or as many",
                       self->path, self->model.labels, labels);
    sc_model model = {
        .family = (sc_family)self->model.family,
        .layers = (int)self->model.layers,
        .heads = (int)self->model.heads,
        .hidden = (int)self->model.hidden,
        .context = (int)self->model.context,
        .vocab = self->model.vocab != 0 ? (int)self->model.vocab : vocab,
        .dropout = (float)self->model.dropout,
        .attention_dropout = (float)dropout_or(self->model.attention_dropout, self->model.dropout),
        .classifier_dropout = (float)dropout_or(self->model.classifier_dropout, self->model.dropout),
        .norm_epsilon = (float)self->model.norm_epsilon,
        .tied = self->model.tied == SC_TIED,
    };
    if (model.family == SC_BERT) {
        model.task = (sc_task)self->model.task;
        model.intermediate = (int)self->model.intermediate;
        model.token_types = self->model.token_types != 0 ? (int)self->model.token_types : 2;
        model.labels = self->model.labels != 0 ? (int)self->model.labels : labels;
        model.multi_label = self->model.multi_label;
    }
    if (self->train.freeze_blocks > 0)
        model.frozen = 1 + (int)self->train.freeze_blocks;
    SC_TRY(sc_model_check(&model));
    *out = model;
    return SC_OK;
}

/* Another dropout than the model was made with is nobody's mistake; with model.dropout alone all are that. */
static void adopt_dropout(sc_config *c, const sc_model *model)
{
    bool given = c->given[sc_config_find_key("model.dropout")];
    if (!given)
        c->model.dropout = (double)model->dropout;
    if (!given && !c->given[sc_config_find_key("model.attention_dropout")])
        c->model.attention_dropout = (double)model->attention_dropout;
    if (!given && !c->given[sc_config_find_key("model.classifier_dropout")])
        c->model.classifier_dropout = (double)model->classifier_dropout;
}

/* Fills what was left to model.init, and tells what was given otherwise. */
static void adopt(sc_config_draft *draft, const sc_model *model)
{
    sc_config *c = draft->config;
    const struct {
        const char *key;
        int64_t *field;
        int value;
    } sizes[] = {
        {"model.layers", &c->model.layers, model->layers},
        {"model.heads", &c->model.heads, model->heads},
        {"model.hidden", &c->model.hidden, model->hidden},
        {"model.context", &c->model.context, model->context},
        {"model.vocab", &c->model.vocab, model->vocab},
        {"model.intermediate", &c->model.intermediate, model->intermediate},
        {"model.token_types", &c->model.token_types, model->token_types},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (*sizes[i].field != 0 && *sizes[i].field != sizes[i].value)
            sc_config_mistake(draft, (sc_place){0}, sizes[i].key,
                              "%" PRId64 " is set, but the model in %s has %d; allowed: that, or leave the key out",
                              *sizes[i].field, c->model.init, sizes[i].value);
        *sizes[i].field = sizes[i].value;
    }
    adopt_dropout(c, model);
    double epsilon = c->model.norm_epsilon;
    if (epsilon != 0 && (float)epsilon != model->norm_epsilon)
        sc_config_mistake(draft, (sc_place){0}, "model.norm_epsilon",
                          "%g is set, but the model in %s has %g; allowed: that, or leave the key out", epsilon,
                          c->model.init, (double)model->norm_epsilon);
    c->model.norm_epsilon = (double)model->norm_epsilon;
    int tied = model->tied ? SC_TIED : SC_UNTIED;
    if (c->model.tied != SC_TYING_OF_INIT && c->model.tied != tied)
        sc_config_mistake(draft, (sc_place){0}, "model.tied",
                          "%s is set, but the model in %s has %s; allowed: that, or leave the key out",
                          sc_config_word("model.tied", c->model.tied), c->model.init,
                          sc_config_word("model.tied", tied));
    c->model.tied = tied;
    c->model.family = (int)model->family;
    if (model->family != SC_BERT && c->model.task != SC_TASK_NEXT_TOKEN)
        sc_config_mistake(draft, (sc_place){0}, "model.task", "%s is not what the model in %s does, which is a %s",
                          sc_config_word("model.task", c->model.task), c->model.init,
                          sc_config_word("model.family", c->model.family));
    if (c->model.task == SC_TASK_NEXT_TOKEN) /* another one than it was made for is what fine-tuning is */
        c->model.task = (int)model->task;
}

sc_status sc_config_adopt(sc_config *self, const sc_model *model)
{
    sc_config_draft *draft = calloc(1, sizeof *draft);
    if (!draft)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for a config");
    draft->config = self;
    draft->path = self->path;
    draft->adopts = true;
    adopt(draft, model);
    sc_status status = sc_config_settle(draft);
    if (status == SC_OK && draft->n_mistakes == 0)
        sc_config_check(draft);
    if (status == SC_OK && draft->n_mistakes > 0)
        status = SC_FAIL(SC_INVALID, "%s", draft->mistakes);
    free(draft);
    return status;
}

int sc_config_n_microbatches(const sc_config *self)
{
    return (int)(self->train.batch_size / self->train.micro_batch_size);
}

int sc_config_sequence_length(const sc_config *self)
{
    return (int)(self->train.sequence_length != 0 ? self->train.sequence_length : self->model.context);
}

bool sc_config_has_items(const sc_config *self)
{
    const char *format = sc_config_word("data.format", self->data.format);
    return strcmp(format, "items") == 0 || strcmp(format, "sequences") == 0;
}
