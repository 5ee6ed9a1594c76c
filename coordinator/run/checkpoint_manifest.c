/* The manifest as JSON. Whoever reads one rests a run on it, so each value is checked, and a hash over all of them is the
 * last: a manifest with a flipped digit is as damaged as a shard with a flipped bit. */
#include "coordinator/run/checkpoint_internal.h"
#include "proto/base/checksums.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Fields of one kind: where they are, and what they may be. Numbers are kept as 64-bit integers of JSON; a seed is the
 * configuration's signed one. */
static const struct {
    const char *key;
    size_t offset;
    int64_t low;
} numbers[] = {
    {"save", offsetof(sc_manifest, save), 1},
    {"step", offsetof(sc_manifest, step), 0},
    {"rows", offsetof(sc_manifest, rows), 0},
    {"seed", offsetof(sc_manifest, seed), INT64_MIN},
    {"batch_size", offsetof(sc_manifest, batch_size), 1},
    {"sequence_length", offsetof(sc_manifest, sequence_length), 1},
};
static const struct {
    const char *key;
    size_t offset;
} hashes[] = {{"data_hash", offsetof(sc_manifest, data_hash)},
              {"tokenizer_hash", offsetof(sc_manifest, tokenizer_hash)},
              {"description_hash", offsetof(sc_manifest, description_hash)}},
  texts[] = {{"config", offsetof(sc_manifest, config)}, {"plan", offsetof(sc_manifest, plan)}},
  sizes[] = {{"layers", offsetof(sc_model, layers)},
             {"heads", offsetof(sc_model, heads)},
             {"hidden", offsetof(sc_model, hidden)},
             {"context", offsetof(sc_model, context)},
             {"vocab", offsetof(sc_model, vocab)}},
  bert_sizes[] = {{"intermediate", offsetof(sc_model, intermediate)},
                  {"token_types", offsetof(sc_model, token_types)},
                  {"labels", offsetof(sc_model, labels)}},
  ratios[] = {{"dropout", offsetof(sc_model, dropout)}, {"norm_epsilon", offsetof(sc_model, norm_epsilon)}},
  dropouts[] = {{"attention_dropout", offsetof(sc_model, attention_dropout)}, /* where they differ from dropout */
                {"classifier_dropout", offsetof(sc_model, classifier_dropout)}};

#define N_OF(array) (sizeof(array) / sizeof(array)[0])

static const char *const manifest_keys[] = {
    "version",
    "save",
    "step",
    "rows",
    "model",
    "seed",
    "data_hash",
    "tokenizer_hash",
    "description_hash",
    "batch_size",
    "sequence_length",
    "optimizer",
    "config",
    "plan",
    "shards",
    "hash",
    "best",
};
enum { N_NEEDED_KEYS = 16 }; /* only runs that choose the best have that */
/* Those behind norm_epsilon are optional: all models were tied before there was a choice, and the others are BERT's. */
static const char *const model_keys[] = {"family",
                                         "layers",
                                         "heads",
                                         "hidden",
                                         "context",
                                         "vocab",
                                         "dropout",
                                         "norm_epsilon",
                                         "tied",
                                         "task",
                                         "intermediate",
                                         "token_types",
                                         "labels",
                                         "multi_label",
                                         "attention_dropout",
                                         "classifier_dropout"};
enum { N_NEEDED_MODEL_KEYS = 8 };
static const char *const shard_keys[] = {"file", "bytes", "hash"};

enum { MAX_SHARDS = SC_MAX_STAGES * SC_MAX_CHUNKS, HASH_DIGITS = 16 };

void sc_manifest_clear(sc_manifest *self)
{
    free(self->config);
    free(self->plan);
    free(self->shards);
    *self = (sc_manifest){0};
}

/* The number that the configuration has for a word, -1 if it is none of the key's. */
static int value_of_word(const char *key, const char *word)
{
    for (int value = 0; value < 64; value++) {
        const char *known = sc_config_word(key, value);
        if (strcmp(known, "?") != 0 && strcmp(known, word) == 0)
            return value;
    }
    return -1;
}

static bool is_hex(const char *text, size_t n_digits)
{
    return strlen(text) == n_digits && strspn(text, "0123456789abcdef") == n_digits;
}

/* --- what both directions check --------------------------------------------------------------------------------------- */

static bool is_file_name(const char *name)
{
    if (name[0] == '\0' || name[0] == '.')
        return false;
    for (const char *c = name; *c; c++)
        if (*c == '/' || (unsigned char)*c < 0x20 || *c == 0x7F)
            return false;
    return true;
}

static sc_status check_shards(const sc_manifest *self, const char *path)
{
    if (self->n_shards < 1 || self->n_shards > MAX_SHARDS)
        return SC_FAIL(SC_DATA_LOSS, "%s: %d shards; from 1 to %d are allowed", path, self->n_shards, MAX_SHARDS);
    for (int i = 0; i < self->n_shards; i++) {
        const struct sc_manifest_shard *shard = &self->shards[i];
        if (!is_file_name(shard->file))
            return SC_FAIL(SC_DATA_LOSS, "%s: shard %d: \"%s\" is not the name of a file in the set", path, i,
                           shard->file);
        if (shard->bytes > INT64_MAX || !is_hex(shard->hash, SC_CHECKSUM_BYTES - 1))
            return SC_FAIL(SC_DATA_LOSS, "%s: shard %s: its size or its hash is out of range", path, shard->file);
        for (int j = 0; j < i; j++)
            if (strcmp(self->shards[j].file, shard->file) == 0)
                return SC_FAIL(SC_DATA_LOSS, "%s: shard %s is there twice", path, shard->file);
    }
    return SC_OK;
}

static sc_status check_values(const sc_manifest *self, const char *path)
{
    for (size_t i = 0; i < N_OF(numbers); i++) {
        int64_t value;
        memcpy(&value, (const char *)self + numbers[i].offset, sizeof value);
        if (value < numbers[i].low)
            return SC_FAIL(SC_DATA_LOSS, "%s: %s is %" PRId64 "; at least %" PRId64 " is allowed", path, numbers[i].key,
                           value, numbers[i].low);
    }
    if (strcmp(sc_config_word("model.family", (int)self->model.family), "?") == 0 ||
        strcmp(sc_config_word("train.optimizer", self->optimizer), "?") == 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: the model's family or the optimizer is not known", path);
    if (sc_model_check(&self->model) != SC_OK)
        return SC_FAIL(SC_DATA_LOSS, "%s: model: %s", path, sc_status_message());
    if (self->sequence_length > self->model.context)
        return SC_FAIL(SC_DATA_LOSS, "%s: sequence_length is %" PRId64 "; the model's context is %d", path,
                       self->sequence_length, self->model.context);
    return check_shards(self, path);
}

/* Of the values, not of the bytes: blanks and the order of keys do not matter. */
static sc_status hash_tree(const json_t *tree, const char *path, char hex[SC_CHECKSUM_BYTES])
{
    char *text = json_dumps(tree, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    if (!text)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to hash it", path);
    sc_checksum_of(text, strlen(text), hex);
    free(text);
    return SC_OK;
}

/* --- writing ----------------------------------------------------------------------------------------------------------- */

/* A float32 in the fewest digits that give it back (9 always do). */
static json_t *json_float(float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return json_real(strtod(text, NULL));
}

static bool set_bert(json_t *object, const sc_model *model)
{
    bool ok = json_object_set_new(object, "task", json_string(sc_config_word("model.task", (int)model->task))) == 0;
    for (size_t i = 0; i < N_OF(bert_sizes); i++)
        ok = ok && json_object_set_new(object, bert_sizes[i].key,
                                       json_integer(*(const int *)((const char *)model + bert_sizes[i].offset))) == 0;
    return ok && json_object_set_new(object, "multi_label", json_boolean(model->multi_label)) == 0;
}

static bool set_model(json_t *root, const sc_model *model)
{
    json_t *object = json_object();
    bool ok =
        json_object_set_new(object, "family", json_string(sc_config_word("model.family", (int)model->family))) == 0;
    for (size_t i = 0; i < N_OF(sizes); i++)
        ok = ok && json_object_set_new(object, sizes[i].key,
                                       json_integer(*(const int *)((const char *)model + sizes[i].offset))) == 0;
    for (size_t i = 0; i < N_OF(ratios); i++)
        ok = ok && json_object_set_new(object, ratios[i].key,
                                       json_float(*(const float *)((const char *)model + ratios[i].offset))) == 0;
    for (size_t i = 0; i < N_OF(dropouts); i++) {
        const float own = *(const float *)((const char *)model + dropouts[i].offset);
        if (own != model->dropout)
            ok = ok && json_object_set_new(object, dropouts[i].key, json_float(own)) == 0;
    }
    ok = ok && json_object_set_new(object, "tied", json_boolean(model->tied)) == 0;
    if (model->family == SC_BERT)
        ok = ok && set_bert(object, model);
    return json_object_set_new(root, "model", object) == 0 && ok;
}

static bool set_shards(json_t *root, const sc_manifest *self)
{
    json_t *array = json_array();
    bool ok = true;
    for (int i = 0; i < self->n_shards; i++) {
        const struct sc_manifest_shard *shard = &self->shards[i];
        ok = json_array_append_new(array, json_pack("{s:s, s:I, s:s}", "file", shard->file, "bytes",
                                                    (json_int_t)shard->bytes, "hash", shard->hash)) == 0 &&
             ok;
    }
    return json_object_set_new(root, "shards", array) == 0 && ok;
}

static bool set_hash(json_t *root, const char *key, uint64_t value)
{
    char hex[HASH_DIGITS + 1];
    snprintf(hex, sizeof hex, "%016" PRIx64, value);
    return json_object_set_new(root, key, json_string(hex)) == 0;
}

/* In the order in which a person wants to read it. False: no memory, or a text that is not UTF-8. */
static bool set_all(json_t *root, const sc_manifest *self)
{
    bool ok = json_object_set_new(root, "version", json_integer(SC_MANIFEST_VERSION)) == 0;
    for (size_t i = 0; i < N_OF(numbers); i++) {
        int64_t value;
        memcpy(&value, (const char *)self + numbers[i].offset, sizeof value);
        ok = ok && json_object_set_new(root, numbers[i].key, json_integer(value)) == 0;
    }
    ok = ok &&
         json_object_set_new(root, "optimizer", json_string(sc_config_word("train.optimizer", self->optimizer))) == 0;
    ok = ok && set_model(root, &self->model);
    for (size_t i = 0; i < N_OF(hashes); i++) {
        uint64_t value;
        memcpy(&value, (const char *)self + hashes[i].offset, sizeof value);
        ok = ok && set_hash(root, hashes[i].key, value);
    }
    if (self->best.metric != SC_METRIC_NONE)
        ok = ok && json_object_set_new(root, "best", sc_best_to_json(&self->best)) == 0;
    ok = ok && set_shards(root, self);
    for (size_t i = 0; i < N_OF(texts); i++) {
        const char *text = *(char *const *)((const char *)self + texts[i].offset);
        ok = ok && json_object_set_new(root, texts[i].key, json_string(text ? text : "")) == 0;
    }
    return ok;
}

sc_status sc_manifest_text(const sc_manifest *self, char **out)
{
    static const char what[] = "the manifest of the checkpoint";
    char hex[SC_CHECKSUM_BYTES];
    *out = NULL;
    if (check_values(self, what) != SC_OK)
        return SC_FAIL(SC_INVALID, "%s", sc_status_message());
    json_t *root = json_object();
    sc_status status = SC_OK;
    if (!root || !set_all(root, self)) {
        status = SC_FAIL(SC_INVALID, "%s: its config or its plan is not UTF-8, or memory is out", what);
        goto done;
    }
    SC_TRY_GOTO(status, hash_tree(root, what, hex), done);
    if (json_object_set_new(root, "hash", json_string(hex)) != 0 ||
        !(*out = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9))))
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to write it", what);
done:
    json_decref(root);
    return status;
}

/* --- reading ----------------------------------------------------------------------------------------------------------- */

static bool is_known(const char *key, const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

/* The first n_needed of the n keys have to be there. */
static sc_status check_keys(json_t *object, const char *path, const char *what, const char *const *keys,
                            size_t n_needed, size_t n)
{
    if (!json_is_object(object))
        return SC_FAIL(SC_DATA_LOSS, "%s: %s is not an object", path, what);
    for (size_t i = 0; i < n_needed; i++)
        if (!json_object_get(object, keys[i]))
            return SC_FAIL(SC_DATA_LOSS, "%s: %s has no key \"%s\"", path, what, keys[i]);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!is_known(key, keys, n))
            return SC_FAIL(SC_DATA_LOSS, "%s: %s has a key \"%.64s\" that version %d does not know", path, what, key,
                           SC_MANIFEST_VERSION);
    }
    return SC_OK;
}

static sc_status wrong_type(const char *path, const char *key, const char *type)
{
    return SC_FAIL(SC_DATA_LOSS, "%s: %s is not %s", path, key, type);
}

/* Before anything else is looked at, for a newer version may have changed all of it. */
static sc_status check_version(json_t *root, const char *path)
{
    const json_t *version = json_object_get(root, "version");
    if (!json_is_integer(version))
        return wrong_type(path, "version", "there, or not an integer");
    json_int_t number = json_integer_value(version);
    if (number > SC_MANIFEST_VERSION)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "%s: a manifest of version %" JSON_INTEGER_FORMAT
                       "; this build knows version %d: read it with the newer stagecoach that wrote it",
                       path, number, SC_MANIFEST_VERSION);
    if (number != SC_MANIFEST_VERSION)
        return SC_FAIL(SC_DATA_LOSS, "%s: there is no version %" JSON_INTEGER_FORMAT " of the manifest", path, number);
    return SC_OK;
}

static sc_status read_word(const json_t *object, const char *path, const char *key, const char *config_key, int *out)
{
    const char *word = json_string_value(json_object_get(object, key));
    if (!word)
        return wrong_type(path, key, "a word");
    *out = value_of_word(config_key, word);
    return *out >= 0 ? SC_OK : SC_FAIL(SC_DATA_LOSS, "%s: %s \"%.32s\" is not known", path, key, word);
}

static sc_status read_bert(const json_t *object, const char *path, sc_model *model)
{
    int task;
    SC_TRY(read_word(object, path, "task", "model.task", &task));
    model->task = (sc_task)task;
    for (size_t i = 0; i < N_OF(bert_sizes); i++) {
        const json_t *value = json_object_get(object, bert_sizes[i].key);
        json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < 0 || number > INT_MAX)
            return wrong_type(path, bert_sizes[i].key, "an integer from 0 on");
        *(int *)((char *)model + bert_sizes[i].offset) = (int)number;
    }
    const json_t *multi_label = json_object_get(object, "multi_label");
    if (!json_is_boolean(multi_label))
        return wrong_type(path, "multi_label", "true or false");
    model->multi_label = json_is_true(multi_label);
    return SC_OK;
}

static sc_status read_model(json_t *object, const char *path, sc_model *model)
{
    int family;
    SC_TRY(check_keys(object, path, "model", model_keys, N_NEEDED_MODEL_KEYS, N_OF(model_keys)));
    SC_TRY(read_word(object, path, "family", "model.family", &family));
    model->family = (sc_family)family;
    for (size_t i = 0; i < N_OF(sizes); i++) {
        const json_t *value = json_object_get(object, sizes[i].key);
        json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < 1 || number > INT_MAX)
            return wrong_type(path, sizes[i].key, "a positive integer");
        *(int *)((char *)model + sizes[i].offset) = (int)number;
    }
    const json_t *tied = json_object_get(object, "tied");
    if (tied && !json_is_boolean(tied))
        return wrong_type(path, "tied", "true or false");
    model->tied = !tied || json_is_true(tied);
    if (model->family == SC_BERT)
        SC_TRY(read_bert(object, path, model));
    for (size_t i = 0; i < N_OF(ratios); i++) {
        const json_t *value = json_object_get(object, ratios[i].key);
        double number = json_number_value(value);
        if (!json_is_number(value) || number < 0 || number > 1)
            return wrong_type(path, ratios[i].key, "a number from 0 to 1");
        *(float *)((char *)model + ratios[i].offset) = (float)number;
    }
    for (size_t i = 0; i < N_OF(dropouts); i++) {
        const json_t *value = json_object_get(object, dropouts[i].key);
        double number = value ? json_number_value(value) : (double)model->dropout;
        if (value && (!json_is_number(value) || number < 0 || number > 1))
            return wrong_type(path, dropouts[i].key, "a number from 0 to 1");
        *(float *)((char *)model + dropouts[i].offset) = (float)number;
    }
    return SC_OK;
}

static sc_status read_numbers(const json_t *root, const char *path, sc_manifest *out)
{
    for (size_t i = 0; i < N_OF(numbers); i++) {
        const json_t *value = json_object_get(root, numbers[i].key);
        int64_t number = json_integer_value(value);
        if (!json_is_integer(value))
            return wrong_type(path, numbers[i].key, "an integer");
        memcpy((char *)out + numbers[i].offset, &number, sizeof number);
    }
    for (size_t i = 0; i < N_OF(hashes); i++) {
        const char *hex = json_string_value(json_object_get(root, hashes[i].key));
        if (!hex || !is_hex(hex, HASH_DIGITS))
            return wrong_type(path, hashes[i].key, "16 hexadecimal digits");
        uint64_t number = strtoull(hex, NULL, 16);
        memcpy((char *)out + hashes[i].offset, &number, sizeof number);
    }
    return SC_OK;
}

static sc_status read_texts(const json_t *root, const char *path, sc_manifest *out)
{
    for (size_t i = 0; i < N_OF(texts); i++) {
        const char *text = json_string_value(json_object_get(root, texts[i].key));
        if (!text)
            return wrong_type(path, texts[i].key, "a text");
        char *copy = strdup(text);
        if (!copy)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for it", path);
        *(char **)((char *)out + texts[i].offset) = copy;
    }
    return SC_OK;
}

static sc_status read_shard(json_t *object, const char *path, struct sc_manifest_shard *shard)
{
    SC_TRY(check_keys(object, path, "a shard", shard_keys, N_OF(shard_keys), N_OF(shard_keys)));
    const char *file = json_string_value(json_object_get(object, "file"));
    const char *hash = json_string_value(json_object_get(object, "hash"));
    const json_t *bytes = json_object_get(object, "bytes");
    if (!file || strlen(file) >= sizeof shard->file || !hash || strlen(hash) >= sizeof shard->hash ||
        !json_is_integer(bytes) || json_integer_value(bytes) < 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: a shard is not {file, bytes, hash}, or its values are out of range", path);
    strcpy(shard->file, file);
    strcpy(shard->hash, hash);
    shard->bytes = (uint64_t)json_integer_value(bytes);
    return SC_OK;
}

static sc_status read_shards(const json_t *array, const char *path, sc_manifest *out)
{
    size_t n = json_array_size(array);
    if (n < 1 || n > MAX_SHARDS)
        return SC_FAIL(SC_DATA_LOSS, "%s: shards is not a list of 1 to %d shards", path, MAX_SHARDS);
    out->shards = calloc(n, sizeof *out->shards);
    if (!out->shards)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for it", path);
    out->n_shards = (int)n;
    for (size_t i = 0; i < n; i++)
        SC_TRY(read_shard(json_array_get(array, i), path, &out->shards[i]));
    return SC_OK;
}

static sc_status check_hash(json_t *root, const char *path)
{
    char found[SC_CHECKSUM_BYTES], said[SC_CHECKSUM_BYTES];
    const char *hash = json_string_value(json_object_get(root, "hash"));
    if (!hash || strlen(hash) >= sizeof said)
        return wrong_type(path, "hash", "32 hexadecimal digits");
    strcpy(said, hash);
    json_object_del(root, "hash");
    SC_TRY(hash_tree(root, path, found));
    if (strcmp(found, said) != 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: its values have the hash %s, not the %s that it says: one was changed", path,
                       found, said);
    return SC_OK;
}

static sc_status read_all(json_t *root, const char *path, sc_manifest *out)
{
    SC_TRY(check_version(root, path));
    SC_TRY(check_keys(root, path, "the manifest", manifest_keys, N_NEEDED_KEYS, N_OF(manifest_keys)));
    SC_TRY(read_numbers(root, path, out));
    SC_TRY(read_model(json_object_get(root, "model"), path, &out->model));
    SC_TRY(read_word(root, path, "optimizer", "train.optimizer", &out->optimizer));
    const json_t *best = json_object_get(root, "best");
    if (best && !sc_best_from_json(best, &out->best))
        return wrong_type(path, "best", "what an evaluation found");
    SC_TRY(read_texts(root, path, out));
    SC_TRY(read_shards(json_object_get(root, "shards"), path, out));
    SC_TRY(check_values(out, path));
    return check_hash(root, path);
}

sc_status sc_manifest_parse(const char *text, size_t text_bytes, const char *path, sc_manifest *out)
{
    json_error_t error;
    *out = (sc_manifest){0};
    if (text_bytes > SC_MANIFEST_MAX_BYTES)
        return SC_FAIL(SC_DATA_LOSS, "%s: %zu bytes; at most %d are allowed", path, text_bytes, SC_MANIFEST_MAX_BYTES);
    json_t *root = json_loadb(text, text_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        bool memory = json_error_code(&error) == json_error_out_of_memory;
        return SC_FAIL(memory ? SC_RESOURCE_EXHAUSTED : SC_DATA_LOSS, "%s:%d: %s", path, error.line, error.text);
    }
    sc_status status = json_is_object(root) ? read_all(root, path, out) : wrong_type(path, "the manifest", "an object");
    json_decref(root);
    if (status != SC_OK)
        sc_manifest_clear(out);
    return status;
}
