/* The config as text: to be loaded again, and to be read about. */
#include "proto/base/config_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The value's word, NULL if it has none. */
static const char *word_of(const sc_config_key *key, int value)
{
    int last = key->allowed.words[0] ? 0 : 1;
    while (key->allowed.words[last])
        last++;
    return value >= 0 && value < last ? key->allowed.words[value] : NULL;
}

const char *sc_config_word(const char *key, int value)
{
    int index = sc_config_find_key(key);
    const char *word =
        index >= 0 && sc_config_keys[index].type == SC_KEY_WORD ? word_of(&sc_config_keys[index], value) : NULL;
    return word ? word : "?";
}

/* Double-quoted YAML: loading has kept control characters out, so these two are all that needs care. */
static void print_string(const char *text, FILE *out)
{
    putc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putc('\\', out);
        putc(*text, out);
    }
    putc('"', out);
}

/* The shortest form that reads back to the same bits; 17 digits always do. */
static void print_number(double value, FILE *out)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fputs(text, out);
}

/* Made absolute, so that it means the same in another file. */
static int print_path(const char *path, FILE *out)
{
    if (path[0] == '/') {
        print_string(path, out);
        return 0;
    }
    char *here = getcwd(NULL, 0), *absolute = NULL;
    int length = here ? asprintf(&absolute, "%s/%s", strcmp(here, "/") == 0 ? "" : here, path) : -1;
    free(here);
    if (length < 0)
        return -1;
    print_string(absolute, out);
    free(absolute);
    return 0;
}

static int print_paths(const sc_config_key *key, char *const *paths, int n, FILE *out)
{
    putc('[', out);
    for (int i = 0; i < n; i++) {
        fputs(i ? ", " : "", out);
        if (key->are_texts)
            print_string(paths[i], out);
        else if (print_path(paths[i], out) != 0)
            return -1;
    }
    putc(']', out);
    return 0;
}

static int print_word_or_path(const sc_config_key *key, const char *text, FILE *out)
{
    for (const char *const *word = key->allowed.words; *word; word++)
        if (strcmp(*word, text) == 0) {
            fputs(text, out);
            return 0;
        }
    return print_path(text, out);
}

static int print_value(const sc_config_key *key, const sc_config *config, FILE *out)
{
    const void *field = sc_config_field(key, config);
    switch (key->type) {
    case SC_KEY_INT:
        fprintf(out, "%" PRId64, *(const int64_t *)field);
        break;
    case SC_KEY_DOUBLE:
        print_number(*(const double *)field, out);
        break;
    case SC_KEY_BOOL:
        fputs(*(const bool *)field ? "true" : "false", out);
        break;
    case SC_KEY_STRING:
        print_string(*(char *const *)field, out);
        break;
    case SC_KEY_PATH:
        if (*(char *const *)field)
            return print_path(*(char *const *)field, out);
        print_string("", out);
        break;
    case SC_KEY_PATHS:
        return print_paths(key, *(char **const *)field, *sc_config_count(key, config), out);
    case SC_KEY_WORD:
        fputs(word_of(key, *(const int *)field), out);
        break;
    case SC_KEY_WORD_OR_PATH:
        return print_word_or_path(key, *(char *const *)field, out);
    }
    return 0;
}

/* Ends the line of a section's name when the key begins a new one. Returns the key's own name. */
static const char *enter_section(const sc_config_key *key, const char **section, FILE *out)
{
    const char *dot = strchr(key->path, '.');
    size_t length = (size_t)(dot - key->path);
    if (!*section || strncmp(*section, key->path, length + 1) != 0)
        fprintf(out, "%.*s:\n", (int)length, key->path);
    *section = key->path;
    return dot + 1;
}

/* Still to come from model.init. */
static bool is_left_to_init(const sc_config_key *key, const sc_config *config)
{
    const void *field = sc_config_field(key, config);
    if (!config->model.init || !key->from_init)
        return false;
    if (key->type == SC_KEY_INT)
        return *(const int64_t *)field == 0;
    return key->type == SC_KEY_WORD ? *(const int *)field == 0 : *(const double *)field == 0;
}

int sc_config_print(const sc_config *self, FILE *out)
{
    const char *section = NULL;
    for (int i = 0; i < SC_CONFIG_N_KEYS; i++) {
        const char *name = enter_section(&sc_config_keys[i], &section, out);
        if (is_left_to_init(&sc_config_keys[i], self))
            continue;
        fprintf(out, "  %s: ", name);
        if (print_value(&sc_config_keys[i], self, out) != 0)
            return -1;
        putc('\n', out);
    }
    return ferror(out) ? -1 : 0;
}

/* A YAML value is JSON as it stands, but for words: what is printed of numbers, truth values, quoted texts and lists is both. */
static int print_json_value(const sc_config_key *key, const sc_config *config, FILE *out)
{
    const void *field = sc_config_field(key, config);
    const char *word = key->type == SC_KEY_WORD           ? word_of(key, *(const int *)field)
                       : key->type == SC_KEY_WORD_OR_PATH ? *(char *const *)field
                                                          : NULL;
    if (is_left_to_init(key, config) || key->is_private) {
        fputs("null", out);
        return 0;
    }
    if (!word || strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
        return print_value(key, config, out);
    print_string(word, out);
    return 0;
}

int sc_config_print_json(const sc_config *self, FILE *out)
{
    const char *section = NULL;
    for (int i = 0; i < SC_CONFIG_N_KEYS; i++) {
        const char *path = sc_config_keys[i].path, *dot = strchr(path, '.');
        const size_t n = (size_t)(dot - path);
        const bool same = section && strncmp(section, path, n + 1) == 0;
        if (same)
            fprintf(out, ",\"%s\":", dot + 1);
        else
            fprintf(out, "%s\"%.*s\":{\"%s\":", section ? "}," : "{", (int)n, path, dot + 1);
        section = path;
        if (print_json_value(&sc_config_keys[i], self, out) != 0)
            return -1;
    }
    fputs("}}", out);
    return ferror(out) ? -1 : 0;
}

static const char *default_text(const sc_config_key *key)
{
    if (key->fallback)
        return key->fallback;
    return key->type == SC_KEY_PATHS ? "[]" : "";
}

void sc_config_print_help(FILE *out)
{
    static const char *const types[] = {
        [SC_KEY_INT] = "integer", [SC_KEY_DOUBLE] = "number", [SC_KEY_BOOL] = "bool", [SC_KEY_STRING] = "text",
        [SC_KEY_PATH] = "path",   [SC_KEY_PATHS] = "files",   [SC_KEY_WORD] = "word", [SC_KEY_WORD_OR_PATH] = "word"};
    const char *section = NULL;
    for (int i = 0; i < SC_CONFIG_N_KEYS; i++) {
        const sc_config_key *key = &sc_config_keys[i];
        const char *name = enter_section(key, &section, out);
        const char *of_bert = sc_config_bert_default(key->path);
        fprintf(out, "  %-18s %-8s %-8s %s", name, key->are_texts ? "texts" : types[key->type], default_text(key),
                key->help);
        if (of_bert)
            fprintf(out, " (bert: %s)", of_bert);
        if (key->type >= SC_KEY_WORD) {
            char words[256];
            fprintf(out, ": %s", sc_config_allowed(key, words, sizeof words));
        }
        putc('\n', out);
    }
}
