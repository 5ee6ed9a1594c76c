/* What follows from a config: the model, and the sizes of a step. */
#include "proto/base/config.h"

#include <inttypes.h>

sc_status sc_config_model(const sc_config *self, int vocab, sc_model *out)
{
    if (self->model.vocab != 0 && self->model.vocab < vocab)
        return SC_FAIL(SC_INVALID,
                       "%s: model.vocab: %" PRId64
                       " is smaller than the tokenizer's vocabulary of %d; allowed: 0, or at "
                       "least %d",
                       self->path, self->model.vocab, vocab, vocab);
    sc_model model = {
        .family = (sc_family)self->model.family,
        .layers = (int)self->model.layers,
        .heads = (int)self->model.heads,
        .hidden = (int)self->model.hidden,
        .context = (int)self->model.context,
        .vocab = self->model.vocab != 0 ? (int)self->model.vocab : vocab,
        .dropout = (float)self->model.dropout,
        .norm_epsilon = 1e-5f, /* GPT-2's, as in Hugging Face's layer_norm_epsilon */
    };
    SC_TRY(sc_model_check(&model));
    *out = model;
    return SC_OK;
}

int sc_config_n_microbatches(const sc_config *self)
{
    return (int)(self->train.batch_size / self->train.micro_batch_size);
}

int sc_config_sequence_length(const sc_config *self)
{
    return (int)(self->train.sequence_length != 0 ? self->train.sequence_length : self->model.context);
}
