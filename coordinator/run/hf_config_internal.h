/* What the files of config.json share: hf_config.c (the file, what all families have), hf_config_gpt2.c and hf_config_bert.c. */
#ifndef SC_HF_CONFIG_INTERNAL_H
#define SC_HF_CONFIG_INTERNAL_H

#include "coordinator/run/hf_config.h"

#include <jansson.h>

/* A key that says a size, and the int of sc_model that it is. */
typedef struct sc_hf_size {
    const char *key;
    size_t offset;
} sc_hf_size;

/* Positive integers, all of which must be there. */
sc_status sc_hf_config_read_sizes(const json_t *root, const sc_hf_size *sizes, size_t n, sc_model *model);
/* A number that may be absent. */
sc_status sc_hf_config_read_number(const json_t *root, const char *key, double low, double high, float *out);
/* A truth value that must be what it is by default: it changes the result, and only one way of it is built here. */
sc_status sc_hf_config_check_switch(const json_t *root, const char *key, bool only);
/* A text that may be absent, and otherwise must be one of `allowed` (NULL ends them). */
sc_status sc_hf_config_check_word(const json_t *root, const char *key, const char *const *allowed);
bool sc_hf_config_write_sizes(json_t *root, const sc_hf_size *sizes, size_t n, const sc_model *model);
/* The shortest decimal number that is this float32: 1e-5 and not 9.99999974738e-06. */
double sc_hf_config_shortest(float value);

sc_status sc_hf_config_read_gpt2(const json_t *root, sc_model *model);
json_t *sc_hf_config_describe_gpt2(const sc_model *model, sc_dtype weights);
sc_status sc_hf_config_read_bert(const json_t *root, sc_model *model);
/* labels: NULL for names as transformers gives them, LABEL_0 and so on. NULL: no memory. */
json_t *sc_hf_config_describe_bert(const sc_model *model, sc_dtype weights, const sc_labels *labels);

#endif
