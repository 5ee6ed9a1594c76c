/* A config's life: defaults, the file, the overrides, the checks. */
#include "proto/base/config_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bool sc_config_has_room(const sc_config_draft *draft)
{
    return draft->n_told == draft->n_mistakes;
}

void sc_config_mistake(sc_config_draft *draft, sc_place place, const char *key, const char *format, ...)
{
    draft->n_mistakes++;
    if (draft->n_told < draft->n_mistakes - 1)
        return; /* one did not fit: a later, shorter one is not told out of order */
    char what[800], where[320], line[sizeof what + sizeof where + 96];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (place.set)
        snprintf(where, sizeof where, "--set %.80s%s", place.set, strlen(place.set) > 80 ? "..." : "");
    else if (place.line > 0)
        snprintf(where, sizeof where, "%s:%d", draft->path, place.line);
    else
        snprintf(where, sizeof where, "%s", draft->path);
    snprintf(line, sizeof line, "%s%s: %.80s%s%s", draft->used ? "\n" : "", where, key ? key : "", key ? ": " : "",
             what);
    for (char *p = line + (draft->used > 0); *p; p++) /* what a file says in a key or value is shown, not obeyed */
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = '?';
    size_t length = strlen(line);
    if (draft->used > 0 && draft->used + length >= sizeof draft->mistakes)
        return;
    if (length >= sizeof draft->mistakes)
        length = sizeof draft->mistakes - 1;
    memcpy(draft->mistakes + draft->used, line, length);
    draft->used += length;
    draft->mistakes[draft->used] = '\0';
    draft->n_told++;
}

void sc_config_unknown(sc_config_draft *draft, sc_place place, const char *path)
{
    if (!sc_config_has_room(draft)) { /* only counted: a file of nothing but mistakes is read in linear time */
        sc_config_mistake(draft, place, NULL, "unknown key");
        return;
    }
    char section_name[32], names[512], hint[96] = "";
    const char *dot = strchr(path, '.');
    snprintf(section_name, sizeof section_name, "%.*s", (int)(dot ? dot - path : 0), path);
    int section = sc_config_find_section(section_name);
    const char *nearest = sc_config_nearest(path);
    if (nearest)
        snprintf(hint, sizeof hint, " (did you mean %s?)", nearest);
    if (section >= 0 && draft->listed[section]) {
        sc_config_mistake(draft, place, path, "unknown key%s", hint);
        return;
    }
    if (section >= 0)
        draft->listed[section] = true;
    sc_config_names(section, names, sizeof names);
    if (section < 0)
        sc_config_mistake(draft, place, path, "unknown section%s; allowed: %s", hint, names);
    else
        sc_config_mistake(draft, place, path, "unknown key%s; allowed in %s: %s", hint, section_name, names);
}

static sc_status put_defaults(sc_config_draft *draft)
{
    for (int i = 0; i < SC_CONFIG_N_KEYS; i++) {
        if (!sc_config_keys[i].fallback)
            continue;
        sc_scalar scalar = {.text = sc_config_keys[i].fallback};
        SC_TRY(sc_config_put(draft, i, (sc_place){0}, &(sc_config_value){.items = &scalar, .n_items = 1}));
    }
    return SC_OK;
}

static sc_status apply_set(sc_config_draft *draft, const char *set)
{
    sc_place place = {.set = set};
    int line = 0;
    const char *broken = sc_config_check_text(set, strlen(set), &line), *equals = strchr(set, '=');
    char path[128];
    if (broken) {
        sc_config_mistake(draft, place, NULL, "%s", broken);
        return SC_OK;
    }
    if (!equals || equals == set || (size_t)(equals - set) >= sizeof path) {
        sc_config_mistake(draft, place, NULL,
                          "it has no KEY=VALUE; allowed: a key, =, its value, as in train.steps=10");
        return SC_OK;
    }
    memcpy(path, set, (size_t)(equals - set));
    path[equals - set] = '\0';
    int index = sc_config_find_key(path);
    if (index < 0) {
        sc_config_unknown(draft, place, path);
        return SC_OK;
    }
    const char *text = equals + 1;
    if (*text == '[' || *text == '"' || *text == '\'')
        return sc_config_read_yaml_value(draft, index, place, text);
    sc_scalar scalar = {.text = text};
    return sc_config_put(draft, index, place, &(sc_config_value){.items = &scalar, .n_items = 1});
}

/* runs/<the file's name without its ending> */
static sc_status put_default_directory(sc_config_draft *draft)
{
    const char *slash = strrchr(draft->path, '/'), *name = slash ? slash + 1 : draft->path, *dot = strrchr(name, '.');
    size_t length = dot && dot > name ? (size_t)(dot - name) : strlen(name);
    char *directory;
    if (asprintf(&directory, "runs/%.*s", (int)length, name) < 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for the name of the run's directory");
    sc_scalar scalar = {.text = directory, .quoted = true};
    sc_status status = sc_config_put(draft, sc_config_find_key("run.dir"), (sc_place){0},
                                     &(sc_config_value){.items = &scalar, .n_items = 1});
    free(directory);
    return status;
}

static sc_status fill(sc_config_draft *draft, const char *text, size_t text_bytes, const char *const *sets, int n_sets)
{
    SC_TRY(put_defaults(draft));
    int line = 0;
    const char *broken = sc_config_check_text(text, text_bytes, &line);
    if (text_bytes > SC_CONFIG_MAX_BYTES)
        sc_config_mistake(draft, (sc_place){0}, NULL, "the file is larger than a config may be; allowed: %d bytes",
                          SC_CONFIG_MAX_BYTES);
    else if (broken)
        sc_config_mistake(draft, (sc_place){.line = line}, NULL, "%s", broken);
    else
        SC_TRY(sc_config_read_yaml(draft, text, text_bytes));
    for (int i = 0; i < n_sets; i++)
        SC_TRY(apply_set(draft, sets[i]));
    if (!sc_place_given(draft->places[sc_config_find_key("run.dir")]))
        SC_TRY(put_default_directory(draft));
    for (int i = 0; i < SC_CONFIG_N_KEYS; i++)
        draft->config->given[i] = sc_place_given(draft->places[i]);
    sc_config_leave_to_init(draft);
    SC_TRY(sc_config_settle(draft));
    if (draft->n_mistakes == 0) /* a combination with a value that was refused says nothing */
        sc_config_check(draft);
    return SC_OK;
}

sc_status sc_config_parse(const char *text, size_t text_bytes, const char *path, const char *const *sets, int n_sets,
                          sc_config **out)
{
    *out = NULL;
    sc_config_draft *draft = calloc(1, sizeof *draft);
    sc_config *config = calloc(1, sizeof *config);
    sc_status status = SC_OK;
    if (!draft || !config || !(config->path = strdup(path)) ||
        !(config->given = calloc(SC_CONFIG_N_KEYS, sizeof *config->given))) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for a config");
        goto done;
    }
    draft->config = config;
    draft->path = config->path;
    SC_TRY_GOTO(status, fill(draft, text, text_bytes, sets, n_sets), done);
    int more = draft->n_mistakes - draft->n_told;
    if (more > 0)
        status = SC_FAIL(SC_INVALID, "%s\nand %d more mistake%s", draft->mistakes, more, more > 1 ? "s" : "");
    else if (draft->n_mistakes > 0)
        status = SC_FAIL(SC_INVALID, "%s", draft->mistakes);
    else
        *out = config;
done:
    if (status != SC_OK)
        sc_config_destroy(&config);
    free(draft);
    return status;
}

/* Reads at most one byte more than a config may have: enough to know that it is too large. */
static sc_status read_file(const char *path, char **text, size_t *text_bytes)
{
    *text = NULL;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return SC_FAIL(errno == ENOENT || errno == ENOTDIR ? SC_NOT_FOUND : SC_INVALID,
                       "%s: the config cannot be opened: %s; give the path of a YAML file that can be read", path,
                       strerror(errno));
    sc_status status = SC_OK;
    char *bytes = malloc(SC_CONFIG_MAX_BYTES + 1);
    if (!bytes) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for the config %s", path);
        goto done;
    }
    *text_bytes = fread(bytes, 1, SC_CONFIG_MAX_BYTES + 1, file);
    if (ferror(file))
        status = SC_FAIL(SC_INVALID, "%s: the config cannot be read: %s; give the path of a YAML file", path,
                         strerror(errno));
    else
        *text = bytes;
done:
    if (status != SC_OK)
        free(bytes);
    fclose(file);
    return status;
}

sc_status sc_config_load(const char *path, const char *const *sets, int n_sets, sc_config **out)
{
    char *text;
    size_t text_bytes = 0;
    *out = NULL;
    SC_TRY(read_file(path, &text, &text_bytes));
    sc_status status = sc_config_parse(text, text_bytes, path, sets, n_sets, out);
    free(text);
    return status;
}

void sc_config_destroy(sc_config **self_p)
{
    sc_config *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    for (int i = 0; i < SC_CONFIG_N_KEYS; i++) {
        const sc_config_key *key = &sc_config_keys[i];
        if (key->type == SC_KEY_STRING || key->type == SC_KEY_PATH || key->type == SC_KEY_WORD_OR_PATH)
            free(*(char **)sc_config_field(key, self));
        if (key->type == SC_KEY_PATHS) {
            char **paths = *(char ***)sc_config_field(key, self);
            for (int j = 0; j < *sc_config_count(key, self); j++)
                free(paths[j]);
            free(paths);
        }
    }
    free(self->path);
    free(self->given);
    free(self);
}
