/* What a tokenizer.json of Hugging Face may hold: every key is known to change nothing, or checked, or refused by name.
 * Messages lack the path, which the caller adds. */
#ifndef SC_HF_RULES_H
#define SC_HF_RULES_H

#include "proto/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What a key may hold without changing what the text becomes. */
typedef enum sc_hf_allowed {
    SC_HF_ANYTHING, /* changes nothing, or is looked at elsewhere */
    SC_HF_NULL,
    SC_HF_FALSE,
    SC_HF_TRUE,
    SC_HF_EMPTY, /* null or "" */
    SC_HF_ZERO,  /* null or 0 */
    SC_HF_BOOLEAN,
} sc_hf_allowed;

typedef struct sc_hf_rule {
    const char *key;
    sc_hf_allowed value;
} sc_hf_rule;
#define SC_HF_N_RULES(rules) (sizeof(rules) / sizeof *(rules))

/* Errors of all: SC_INVALID. `what` names the object in messages. */
sc_status sc_hf_check(const json_t *object, const char *what, const sc_hf_rule *rules, size_t n_rules);
/* That the object's "type" is this one. */
sc_status sc_hf_check_type(const json_t *object, const char *what, const char *type);

/* {"content": id} of the list added_tokens, which may be NULL, into `added`. */
sc_status sc_hf_read_added(const json_t *list, json_t *added);

#endif
