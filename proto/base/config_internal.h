/* What the files of the configuration share: the key table, and the draft that a config is until it is checked. */
#ifndef SC_CONFIG_INTERNAL_H
#define SC_CONFIG_INTERNAL_H

#include "proto/base/config.h"

enum { SC_CONFIG_N_KEYS = 96, SC_CONFIG_N_SECTIONS = 10 };

typedef enum sc_key_type {
    SC_KEY_INT,          /* int64_t */
    SC_KEY_DOUBLE,       /* double */
    SC_KEY_BOOL,         /* bool */
    SC_KEY_STRING,       /* char *, owned, not empty unless the key says so */
    SC_KEY_PATH,         /* char *, owned; NULL for an empty one */
    SC_KEY_PATHS,        /* char **, owned, and an int that counts them */
    SC_KEY_WORD,         /* int, an enumeration's value */
    SC_KEY_WORD_OR_PATH, /* char *, owned: one of the words, or a path */
} sc_key_type;

typedef struct sc_config_key {
    const char *path; /* "train.steps" */
    sc_key_type type;
    size_t offset;       /* of the field in sc_config */
    size_t count_offset; /* SC_KEY_PATHS: of the int that counts them */
    union {
        struct {
            int64_t low, high; /* both allowed */
        } integer;
        struct {
            double low, high;
            bool above_low, below_high; /* the end itself is not allowed */
        } number;
        const char *const *words; /* words[value], NULL for a value that is none, ends with NULL after the last */
    } allowed;
    const char *fallback; /* the default as it would be written; NULL where the draft's finish decides */
    bool from_init;       /* with model.init and not given: 0, for sc_config_adopt to fill */
    bool are_texts;       /* SC_KEY_PATHS: they are no paths, and stay as they are written */
    bool may_be_empty;    /* SC_KEY_STRING: "" is a value */
    bool is_private;      /* SC_KEY_PATH: where secrets lie; sc_config_print_json leaves it out */
    const char *help;
} sc_config_key;

extern const sc_config_key sc_config_keys[SC_CONFIG_N_KEYS];
extern const char *const sc_config_sections[SC_CONFIG_N_SECTIONS];

/* The index of a key, -1 if there is none. */
int sc_config_find_key(const char *path);
int sc_config_find_section(const char *name);
/* "run, model, ..." for section -1, else the names of the section's keys; cut to fit. Returns `text`. */
const char *sc_config_names(int section, char *text, size_t text_bytes);
/* The closest key or section name by edit distance, NULL if none is close. */
const char *sc_config_nearest(const char *path);
/* "an integer from 1 to 1024", "one of adamw, sgd"; cut to fit. Returns `text`. */
const char *sc_config_allowed(const sc_config_key *key, char *text, size_t text_bytes);

static inline void *sc_config_field(const sc_config_key *key, const sc_config *config)
{
    return (char *)config + key->offset;
}
static inline int *sc_config_count(const sc_config_key *key, const sc_config *config)
{
    return (int *)((char *)config + key->count_offset);
}

/* Where a value came from: its default, a line of the file, or a --set, for messages. */
typedef struct sc_place {
    int line;        /* > 0: of the file */
    const char *set; /* not NULL: "train.steps=10", borrowed */
} sc_place;

static inline bool sc_place_given(sc_place place)
{
    return place.line > 0 || place.set;
}

typedef struct sc_config_draft {
    sc_config *config;
    const char *path; /* of the file, as messages name it */
    sc_place places[SC_CONFIG_N_KEYS];
    bool adopts;                       /* the model that model.init names is there */
    bool listed[SC_CONFIG_N_SECTIONS]; /* a message has listed the section's keys: once is enough */
    int n_mistakes;
    int n_told; /* of them, those that are in `mistakes` */
    size_t used;
    char mistakes[960]; /* a status message holds 1023 bytes; the rest is for "and 12 more mistakes" */
} sc_config_draft;

/* Adds "PLACE: KEY: text" to the mistakes; `key` may be NULL. */
void sc_config_mistake(sc_config_draft *draft, sc_place place, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Whether another mistake would be told, or only counted. */
bool sc_config_has_room(const sc_config_draft *draft);

/* A scalar as it is written. */
typedef struct sc_scalar {
    const char *text; /* NUL-terminated, valid UTF-8 */
    bool quoted;
    int line;
} sc_scalar;

/* A key's value: one scalar, or a list of them. */
typedef struct sc_config_value {
    sc_scalar *items;
    int n_items;
    bool is_list;
} sc_config_value;

/* Reads the YAML `text` into the draft: every value goes to sc_config_put, every mistake to sc_config_mistake.
 * (config_yaml.c, the one file that knows libfyaml.) Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_config_read_yaml(sc_config_draft *draft, const char *text, size_t text_bytes);
/* Reads the YAML flow list or quoted scalar `text` and puts it as the value of key `index`, from `place`. */
sc_status sc_config_read_yaml_value(sc_config_draft *draft, int index, sc_place place, const char *text);
/* NULL, or what is wrong with the bytes: NUL, broken UTF-8; `line` is where. */
const char *sc_config_check_text(const char *text, size_t text_bytes, int *line);
/* Tells of an unknown section or key `path`: the nearest one, and what is allowed. */
void sc_config_unknown(sc_config_draft *draft, sc_place place, const char *path);

/* Converts, checks and stores a value as key `index`, replacing the old one. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_config_put(sc_config_draft *draft, int index, sc_place place, const sc_config_value *value);

/* With model.init: sets the keys of the shape that were not given to 0. (config_check.c) */
void sc_config_leave_to_init(sc_config_draft *draft);
/* Whether the model's family and task can be said; with model.init perhaps only after sc_config_adopt. (config_task.c) */
bool sc_config_task_is_known(const sc_config_draft *draft);
/* What the task makes of keys that were not given. Nothing while it is not known; may be called again. Errors:
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_config_settle(sc_config_draft *draft);
/* The default of a key for a bert; NULL: as for others. */
const char *sc_config_bert_default(const char *key);
/* The checks that need more than one key; what is still left to model.init is not checked. */
void sc_config_check(sc_config_draft *draft);

#endif
