#include "coordinator/data/item_data.h"

#include "coordinator/data/tokenizer_items.h"
#include "proto/base/files.h"

#include <stdlib.h>
#include <string.h>

void sc_item_data_clear(sc_item_data *self)
{
    sc_item_sequences_clear(&self->sequences);
    sc_tokenizer_destroy(&self->tokenizer);
}

static const char *separator_of(const sc_config *config)
{
    return strcmp(config->data.separator, "tab") == 0 ? "\t" : config->data.separator;
}

static sc_status read_file(const sc_config *config, const char *path, sc_interactions *out)
{
    const sc_interaction_columns columns = {.separator = separator_of(config),
                                            .user = (int)config->data.user_column,
                                            .item = (int)config->data.item_column,
                                            .time = (int)config->data.time_column};
    const bool ready = strcmp(sc_config_word("data.format", config->data.format), "sequences") == 0;
    char *bytes;
    size_t n_bytes;
    SC_TRY(sc_files_read(path, INT64_MAX, &bytes, &n_bytes));
    const sc_text file = {.name = path, .bytes = bytes, .n_bytes = n_bytes};
    const sc_status status =
        ready ? sc_interactions_read_sequences(out, &file) : sc_interactions_read(out, &file, &columns);
    free(bytes);
    return status;
}

static sc_status read_titles(const sc_config *config, sc_tokenizer *tokenizer)
{
    char *bytes;
    size_t n_bytes;
    if (!config->data.titles)
        return SC_OK;
    SC_TRY(sc_files_read(config->data.titles, INT64_MAX, &bytes, &n_bytes));
    const sc_text file = {.name = config->data.titles, .bytes = bytes, .n_bytes = n_bytes};
    const sc_status status = sc_tokenizer_items_read_titles(tokenizer, &file, separator_of(config));
    free(bytes);
    return status;
}

sc_status sc_item_data_read(const sc_config *config, sc_item_data *out)
{
    sc_interactions interactions = {0};
    sc_status status = SC_OK;
    *out = (sc_item_data){0};
    for (int i = 0; i < config->data.n_train && status == SC_OK; i++)
        status = read_file(config, config->data.train[i], &interactions);
    if (status == SC_OK)
        status = sc_item_sequences_make(&interactions, config->data.min_item_count, config->data.min_user_items,
                                        config->path, &out->sequences);
    sc_interactions_clear(&interactions);
    SC_TRY(status);
    SC_TRY(sc_tokenizer_new_items(&out->sequences.names, &out->tokenizer));
    return read_titles(config, out->tokenizer);
}
