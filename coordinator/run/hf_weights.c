#include "coordinator/run/hf_weights.h"

#include "coordinator/run/hf_names.h"
#include "proto/base/half.h"
#include "proto/base/log.h"
#include "proto/base/safetensors_set.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "weights"

struct sc_hf_weights {
    sc_safetensors_set *set;
    sc_model model;
    sc_safetensors_place *params; /* by ordinal; entry NULL: missing */
    int n_missing;
    uint64_t seed; /* of those */
};

/* While the tensors are matched with the parameters. */
typedef struct matching {
    const char *dir;
    const sc_model *model;
    bool *used; /* by index in the set */
} matching;

/* --- the set -------------------------------------------------------------------------------------------------------- */

static bool has(const char *dir, const char *name)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && access(path, F_OK) == 0;
}

static sc_status open_set(const char *dir, const sc_model *model, sc_safetensors_set **set)
{
    if (!has(dir, "pytorch_model.bin") || has(dir, "model.safetensors") || has(dir, "model.safetensors.index.json"))
        return sc_safetensors_set_open(dir, set);
    return SC_FAIL(SC_NOT_FOUND,
                   "%s/pytorch_model.bin is PyTorch's own format, which can hold programs and is not read; write "
                   "model.safetensors with Python: from transformers import %s; "
                   "%s.from_pretrained('%s').save_pretrained('NEW_DIR')",
                   dir, sc_hf_config_class(model), sc_hf_config_class(model), dir);
}

/* --- matching ------------------------------------------------------------------------------------------------------- */

static sc_status check_tensor(const sc_safetensors_place *place, const sc_param *param)
{
    char expected[96], found[96];
    sc_shape_text(&param->shape, expected, sizeof expected);
    sc_shape_text(&place->entry->shape, found, sizeof found);
    if (strcmp(expected, found) != 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: %s has shape %s, and by config.json it is %s; do the two belong together?",
                       sc_safetensors_path(place->file), place->entry->name, found, expected);
    if (!sc_half_is_float(place->entry->dtype))
        return SC_FAIL(SC_DATA_LOSS, "%s: %s is of %s; float32, float16 and bfloat16 are supported",
                       sc_safetensors_path(place->file), place->entry->name, sc_dtype_name(place->entry->dtype));
    return SC_OK;
}

/* Whether a fine-tuned model may begin without it: heads of BERT. */
static bool is_optional(const sc_model *model, int ordinal)
{
    int of_head[SC_MAX_BLOCK_PARAMS];
    sc_model_block_params(model, sc_model_n_blocks(model) - 1, of_head);
    return model->family == SC_BERT && ordinal >= of_head[0];
}

static sc_status miss(const matching *m, const sc_hf_name_list *list)
{
    if (strcmp(list->names[0], sc_hf_names_decoder(m->model)) == 0)
        return SC_FAIL(
            SC_DATA_LOSS,
            "%s: the weights have no tensor %s, and by config.json (tie_word_embeddings: false) the head has "
            "a matrix of its own; save a GPT2LMHeadModel, or set tie_word_embeddings to true",
            m->dir, list->names[0]);
    return SC_FAIL(SC_DATA_LOSS, "%s: the weights have no tensor %s%s%s%s", m->dir, list->names[0],
                   list->n > 1 ? " (nor " : "", list->n > 1 ? list->names[1] : "", list->n > 1 ? ")" : "");
}

static sc_status match(sc_hf_weights *self, const matching *m, int ordinal)
{
    sc_param param = sc_model_param(m->model, ordinal);
    sc_hf_name_list list;
    const char *found_as = NULL;
    sc_hf_names_of(param.name, &list);
    for (int i = 0; i < list.n; i++) {
        int index = sc_safetensors_set_find(self->set, list.names[i]);
        if (index < 0)
            continue;
        if (found_as)
            return SC_FAIL(SC_DATA_LOSS, "%s: the weights have both %s and %s; which one counts is not clear", m->dir,
                           found_as, list.names[i]);
        found_as = list.names[i];
        m->used[index] = true;
        self->params[ordinal] = sc_safetensors_set_at(self->set, index);
    }
    if (found_as)
        return check_tensor(&self->params[ordinal], &param);
    if (!is_optional(m->model, ordinal))
        return miss(m, &list);
    self->n_missing++;
    return SC_OK;
}

/* Names a few tensors, and how many more there are. */
typedef struct listing {
    char text[400];
    int n, told;
} listing;

static void list(listing *l, const char *name)
{
    size_t used = strlen(l->text), room = sizeof l->text - used;
    if (l->told == l->n++ && strlen(name) + 3 < room) {
        snprintf(l->text + used, room, "%s%s", used ? ", " : "", name);
        l->told++;
    }
}

static void tell(sc_log_level level, const char *dir, const char *what, const listing *l)
{
    char more[32] = "";
    if (l->n > l->told)
        snprintf(more, sizeof more, " and %d more", l->n - l->told);
    if (l->n > 0)
        sc_log_at(level, SC_LOG_SUBSYSTEM, "%s: %d tensor%s %s: %s%s", dir, l->n, l->n == 1 ? "" : "s", what, l->text,
                  more);
}

static void tell_differences(const sc_hf_weights *self, const matching *m)
{
    listing made = {0}, unknown = {0}, missing = {0};
    for (int i = 0; i < sc_safetensors_set_n(self->set); i++) {
        const char *name = sc_safetensors_set_at(self->set, i).entry->name;
        if (m->used[i])
            continue;
        sc_hf_surplus kind = sc_hf_names_surplus(name);
        if (kind == SC_HF_MADE)
            list(&made, name);
        else if (kind == SC_HF_UNKNOWN)
            list(&unknown, name);
    }
    for (int i = 0; i < sc_model_n_params(m->model); i++)
        if (!self->params[i].entry)
            list(&missing, sc_model_param(m->model, i).name);
    tell(SC_LOG_INFO, m->dir, "passed over, which the model makes itself", &made);
    tell(SC_LOG_WARN, m->dir, "passed over, which the model does not have", &unknown);
    tell(SC_LOG_WARN, m->dir, "missing and begun anew", &missing);
}

/* --- the tied head -------------------------------------------------------------------------------------------------------- */

/* Elements [first, first + n) of a tensor as float32; n <= PIECE. */
enum { PIECE = 4096 };
static sc_status read_piece(const sc_safetensors_place *place, uint64_t first, float *out, size_t n)
{
    size_t bytes = sc_dtype_bytes(place->entry->dtype);
    char raw[PIECE * sizeof(float)];
    SC_TRY(sc_safetensors_read(place->file, place->entry, first * bytes, raw, n * bytes));
    sc_half_widen(place->entry->dtype, raw, out, n);
    return SC_OK;
}

static sc_status check_equal(const sc_safetensors_place *head, const sc_safetensors_place *embedding)
{
    float a[PIECE], b[PIECE];
    uint64_t elements;
    SC_TRY(sc_shape_elements(&embedding->entry->shape, &elements));
    for (uint64_t first = 0; first < elements; first += PIECE) {
        size_t n = elements - first < PIECE ? (size_t)(elements - first) : PIECE;
        SC_TRY(read_piece(head, first, a, n));
        SC_TRY(read_piece(embedding, first, b, n));
        if (memcmp(a, b, n * sizeof *a) != 0)
            return SC_FAIL(SC_DATA_LOSS,
                           "%s: %s differs from %s, and by config.json (tie_word_embeddings) the two are one%s",
                           sc_safetensors_path(head->file), head->entry->name, embedding->entry->name,
                           strcmp(head->entry->name, "lm_head.weight") == 0
                               ? "; set tie_word_embeddings to false there if the head has a matrix of its own"
                               : "");
    }
    return SC_OK;
}

static sc_status check_tied_head(sc_hf_weights *self, const matching *m)
{
    int index = sc_safetensors_set_find(self->set, sc_hf_names_decoder(m->model)),
        embedding = sc_model_tied_param(m->model);
    if (index < 0 || embedding < 0)
        return SC_OK;
    m->used[index] = true;
    sc_safetensors_place head = sc_safetensors_set_at(self->set, index);
    sc_param param = sc_model_param(m->model, embedding);
    SC_TRY(check_tensor(&head, &param));
    return check_equal(&head, &self->params[embedding]);
}

/* --- open, read, close ------------------------------------------------------------------------------------------------ */

static sc_status open_weights(sc_hf_weights *self, matching *m)
{
    SC_TRY(open_set(m->dir, m->model, &self->set));
    self->model = *m->model;
    int n_params = sc_model_n_params(m->model);
    self->params = calloc((size_t)n_params, sizeof *self->params);
    m->used = calloc((size_t)sc_safetensors_set_n(self->set) + 1, sizeof *m->used);
    if (!self->params || !m->used)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its %d tensors", m->dir, n_params);
    for (int i = 0; i < n_params; i++)
        SC_TRY(match(self, m, i));
    SC_TRY(check_tied_head(self, m));
    tell_differences(self, m);
    return SC_OK;
}

sc_status sc_hf_weights_open(const char *dir, const sc_model *model, sc_hf_weights **out)
{
    *out = NULL;
    sc_hf_weights *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its weights", dir);
    matching m = {.dir = dir, .model = model};
    sc_status status = open_weights(self, &m);
    free(m.used);
    if (status != SC_OK)
        sc_hf_weights_close(&self);
    *out = self;
    return status;
}

void sc_hf_weights_close(sc_hf_weights **self_p)
{
    sc_hf_weights *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    sc_safetensors_set_close(&self->set);
    free(self->params);
    free(self);
}

sc_dtype sc_hf_weights_dtype(const sc_hf_weights *self, int ordinal)
{
    return self->params[ordinal].entry ? self->params[ordinal].entry->dtype : SC_F32;
}

int sc_hf_weights_n_missing(const sc_hf_weights *self)
{
    return self->n_missing;
}

void sc_hf_weights_draw(sc_hf_weights *self, uint64_t seed)
{
    self->seed = seed;
}

sc_status sc_hf_weights_read(const sc_hf_weights *self, int ordinal, uint64_t first, float *out, size_t n)
{
    if (!self->params[ordinal].entry) {
        sc_model_init_param(&self->model, ordinal, self->seed, first, n, out);
        return SC_OK;
    }
    while (n > 0) {
        size_t piece = n < PIECE ? n : PIECE;
        SC_TRY(read_piece(&self->params[ordinal], first, out, piece));
        first += piece;
        out += piece;
        n -= piece;
    }
    return SC_OK;
}

const char *sc_hf_weights_metadata(const sc_hf_weights *self, const char *key)
{
    return sc_safetensors_set_metadata(self->set, key);
}
