/* From a value as written to a field of the config: its type, its range, its words. */
#include "proto/base/config_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_digits(const char *p)
{
    while (*p >= '0' && *p <= '9')
        p++;
    return p;
}

/* [-+]? [0-9]+ */
static bool is_integer(const char *text)
{
    const char *digits = text + (*text == '-' || *text == '+'), *end = skip_digits(digits);
    return end > digits && *end == '\0';
}

/* YAML 1.2's core schema, section 10.3.2: [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_number(const char *text)
{
    const char *p = text + (*text == '-' || *text == '+'), *whole = p;
    p = skip_digits(p);
    bool some = p > whole;
    if (*p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p);
        some = some || p > fraction;
    }
    if (!some)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        const char *exponent = p;
        p = skip_digits(p);
        if (p == exponent)
            return false;
    }
    return *p == '\0';
}

/* What is wrong with a scalar for this key, NULL if nothing is. Stores the value where it is right. */
static const char *put_integer(const sc_config_key *key, const sc_scalar *scalar, int64_t *field)
{
    if (scalar->quoted || !is_integer(scalar->text))
        return "is not an integer";
    errno = 0;
    long long value = strtoll(scalar->text, NULL, 10);
    if (errno == ERANGE || value < key->allowed.integer.low || value > key->allowed.integer.high)
        return "is out of range";
    *field = value;
    return NULL;
}

static const char *put_number(const sc_config_key *key, const sc_scalar *scalar, double *field)
{
    if (scalar->quoted || !is_number(scalar->text))
        return "is not a number";
    double value = strtod(scalar->text, NULL);
    if (!isfinite(value) || value < key->allowed.number.low || value > key->allowed.number.high ||
        (key->allowed.number.above_low && value <= key->allowed.number.low) ||
        (key->allowed.number.below_high && value >= key->allowed.number.high))
        return "is out of range";
    *field = value;
    return NULL;
}

static const char *put_bool(const sc_scalar *scalar, bool *field)
{
    bool yes = strcmp(scalar->text, "true") == 0, no = strcmp(scalar->text, "false") == 0;
    if (scalar->quoted || (!yes && !no))
        return "is not a truth value";
    *field = yes;
    return NULL;
}

static const char *put_word(const sc_config_key *key, const sc_scalar *scalar, int *field)
{
    const char *const *words = key->allowed.words;
    for (int value = words[0] ? 0 : 1; words[value]; value++)
        if (strcmp(words[value], scalar->text) == 0) {
            *field = value;
            return NULL;
        }
    return "is not known";
}

/* What is wrong with a text. Control characters (also U+0080 to U+009F) are no part of any name that is meant. */
static const char *check_string(const sc_scalar *scalar)
{
    const unsigned char *p = (const unsigned char *)scalar->text;
    if (*p == '\0' || (!scalar->quoted && (strcmp(scalar->text, "~") == 0 || strcmp(scalar->text, "null") == 0)))
        return "is empty";
    for (; *p; p++)
        if (*p < 0x20 || *p == 0x7F || (*p == 0xC2 && p[1] < 0xA0))
            return "holds a control character";
    return NULL;
}

static sc_status out_of_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for a config's texts");
}

/* A path of the file is relative to the file's directory, one of a --set to the working directory. */
static char *resolve_path(const sc_config_draft *draft, sc_place place, const char *text)
{
    const char *slash = strrchr(draft->path, '/');
    size_t directory = place.set || *text == '/' || !slash ? 0 : (size_t)(slash - draft->path) + 1;
    char *path = malloc(directory + strlen(text) + 1);
    if (path) {
        memcpy(path, draft->path, directory);
        strcpy(path + directory, text);
    }
    return path;
}

static void tell(sc_config_draft *draft, const sc_config_key *key, sc_place place, const sc_scalar *scalar,
                 const char *wrong)
{
    enum { SHOWN = 60 }; /* bytes of a value that a message repeats */
    char allowed[256];
    int shown = strlen(scalar->text) > SHOWN ? SHOWN : (int)strlen(scalar->text);
    while (shown > 0 && ((unsigned char)scalar->text[shown] & 0xC0) == 0x80)
        shown--; /* not into a character */
    if (!place.set && scalar->line > 0)
        place.line = scalar->line;
    sc_config_mistake(draft, place, key->path, "'%.*s'%s %s%s; allowed: %s", shown, scalar->text,
                      scalar->text[shown] ? "..." : "", wrong,
                      scalar->quoted && key->type <= SC_KEY_BOOL ? " (quotes make it a text)" : "",
                      sc_config_allowed(key, allowed, sizeof allowed));
}

static sc_status put_paths(sc_config_draft *draft, const sc_config_key *key, sc_place place,
                           const sc_config_value *value)
{
    for (int i = 0; i < value->n_items; i++) {
        const char *wrong = check_string(&value->items[i]);
        if (wrong) {
            tell(draft, key, place, &value->items[i], wrong);
            return SC_OK;
        }
    }
    char **paths = calloc((size_t)value->n_items + 1, sizeof *paths);
    if (!paths)
        return out_of_memory();
    char ***field = sc_config_field(key, draft->config);
    int *count = sc_config_count(key, draft->config);
    for (int i = 0; i < *count; i++)
        free((*field)[i]);
    free(*field);
    *field = paths;
    *count = 0;
    for (; *count < value->n_items; (*count)++)
        if (!(paths[*count] = key->are_texts ? strdup(value->items[*count].text)
                                             : resolve_path(draft, place, value->items[*count].text)))
            return out_of_memory();
    return SC_OK;
}

static sc_status put_string(const sc_config_key *key, const sc_config_draft *draft, const sc_scalar *scalar)
{
    char **field = sc_config_field(key, draft->config);
    char *copy = strdup(scalar->text);
    if (!copy)
        return out_of_memory();
    free(*field);
    *field = copy;
    return SC_OK;
}

/* An empty path, quoted in the file or with nothing behind the = of a --set, takes back what was given before. */
static sc_status put_path(sc_config_draft *draft, const sc_config_key *key, sc_place place, const sc_scalar *scalar)
{
    char **field = sc_config_field(key, draft->config), *path = NULL;
    if (scalar->text[0] && !(path = resolve_path(draft, place, scalar->text)))
        return out_of_memory();
    free(*field);
    *field = path;
    return SC_OK;
}

static sc_status put_word_or_path(sc_config_draft *draft, const sc_config_key *key, sc_place place,
                                  const sc_scalar *scalar)
{
    for (const char *const *word = key->allowed.words; *word; word++)
        if (strcmp(*word, scalar->text) == 0)
            return put_string(key, draft, scalar);
    return put_path(draft, key, place, scalar);
}

sc_status sc_config_put(sc_config_draft *draft, int index, sc_place place, const sc_config_value *value)
{
    const sc_config_key *key = &sc_config_keys[index];
    void *field = sc_config_field(key, draft->config);
    draft->places[index] = place;
    if (key->type == SC_KEY_PATHS)
        return put_paths(draft, key, place, value);
    if (value->is_list) {
        char allowed[256];
        sc_config_mistake(draft, place, key->path, "a list is given, where one value is needed; allowed: %s",
                          sc_config_allowed(key, allowed, sizeof allowed));
        return SC_OK;
    }
    const sc_scalar *scalar = &value->items[0];
    const char *wrong = NULL;
    switch (key->type) {
    case SC_KEY_INT:
        wrong = put_integer(key, scalar, field);
        break;
    case SC_KEY_DOUBLE:
        wrong = put_number(key, scalar, field);
        break;
    case SC_KEY_BOOL:
        wrong = put_bool(scalar, field);
        break;
    case SC_KEY_WORD:
        wrong = put_word(key, scalar, field);
        break;
    case SC_KEY_PATH:
        if (scalar->text[0] || !(scalar->quoted || place.set))
            wrong = check_string(scalar);
        if (!wrong)
            return put_path(draft, key, place, scalar);
        break;
    case SC_KEY_WORD_OR_PATH:
        wrong = check_string(scalar);
        if (!wrong)
            return put_word_or_path(draft, key, place, scalar);
        break;
    default:
        if (scalar->text[0] || !key->may_be_empty)
            wrong = check_string(scalar);
        if (!wrong)
            return put_string(key, draft, scalar);
        break;
    }
    if (wrong)
        tell(draft, key, place, scalar, wrong);
    return SC_OK;
}
