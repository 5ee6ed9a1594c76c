#include "coordinator/data/interactions.h"

#include "coordinator/data/fields.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 60 }; /* bytes of a field that a message repeats */

void sc_interactions_clear(sc_interactions *self)
{
    sc_labels_clear(&self->users);
    sc_labels_clear(&self->items);
    free(self->all);
    free(self->numbers);
    *self = (sc_interactions){0};
}

/* The user's number, a new one if his name is new. */
static sc_status find_user(sc_interactions *self, const sc_field *name, int32_t *out)
{
    int32_t id;
    const int32_t known = self->users.n;
    if (self->numbers_capacity == known) {
        const int32_t capacity = 2 * known + 256;
        int32_t *numbers = realloc(self->numbers, (size_t)capacity * sizeof *numbers);
        if (!numbers)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d users", capacity);
        self->numbers = numbers;
        self->numbers_capacity = capacity;
    }
    SC_TRY(sc_labels_add(&self->users, name->text, name->n, &id));
    if (id == known)
        self->numbers[id] = self->n_users++;
    *out = self->numbers[id];
    return SC_OK;
}

static sc_status check_name(const char *what, const sc_field *name)
{
    if (name->n == 0)
        return SC_FAIL(SC_INVALID, "has an empty %s", what);
    if (name->n > SC_ITEM_NAME_BYTES)
        return SC_FAIL(SC_INVALID, "the %s '%.*s...' has %zu bytes; allowed: at most %d", what, SHOWN, name->text,
                       name->n, SC_ITEM_NAME_BYTES);
    for (size_t i = 0; i < name->n; i++)
        if (sc_field_is_blank(name->text[i]) || name->text[i] == '\0')
            return SC_FAIL(SC_INVALID,
                           "the %s '%.*s' holds a blank; names have none, so that sequences can be written as lines",
                           what, (int)(name->n < SHOWN ? name->n : SHOWN), name->text);
    return SC_OK;
}

static sc_status add(sc_interactions *self, int32_t user, const sc_field *item, double time)
{
    int32_t id;
    SC_TRY(check_name("item", item));
    SC_TRY(sc_labels_add(&self->items, item->text, item->n, &id));
    if (self->n == self->capacity) {
        const size_t capacity = 2 * self->capacity + 1024;
        sc_interaction *all = realloc(self->all, capacity * sizeof *all);
        if (!all)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu interactions", capacity);
        self->all = all;
        self->capacity = capacity;
    }
    self->all[self->n] = (sc_interaction){.time = time, .user = user, .item = id, .place = self->n};
    self->n++;
    return SC_OK;
}

static sc_status read_time(const sc_field *field, double *out)
{
    char text[64], *end;
    if (field->n > 0 && field->n < sizeof text) {
        memcpy(text, field->text, field->n);
        text[field->n] = '\0';
        *out = strtod(text, &end);
        if (end == text + field->n && isfinite(*out) && !sc_field_is_blank(text[0]))
            return SC_OK;
    }
    return SC_FAIL(SC_INVALID, "the time '%.*s' is not a number; data.time_column says in which column it stands",
                   (int)(field->n < SHOWN ? field->n : SHOWN), field->text);
}

typedef struct reader {
    sc_interactions *interactions;
    const sc_interaction_columns *columns;
} reader;

static sc_status read_fields(void *context, const char *line, size_t n)
{
    reader *self = context;
    const sc_interaction_columns *c = self->columns;
    const struct {
        const char *what;
        int column;
    } wanted[] = {{"user", c->user}, {"item", c->item}, {"time", c->time}};
    sc_field fields[3] = {{"", 0}, {"", 0}, {"", 0}};
    for (size_t i = 0; i < 3; i++)
        if (wanted[i].column > 0 && !sc_field_get(line, n, c->separator, wanted[i].column, &fields[i]))
            return SC_FAIL(SC_INVALID,
                           "has no column %d for the %s; columns stand between '%s', as data.separator says",
                           wanted[i].column, wanted[i].what, c->separator);
    double time = 0;
    int32_t user = 0;
    SC_TRY(check_name("user", &fields[0]));
    if (c->time > 0)
        SC_TRY(read_time(&fields[2], &time));
    SC_TRY(find_user(self->interactions, &fields[0], &user));
    return add(self->interactions, user, &fields[1], time);
}

static sc_status read_items(void *context, const char *line, size_t n)
{
    reader *self = context;
    const int32_t user = self->interactions->n_users++;
    sc_field item;
    for (size_t at = 0; sc_field_next(line, n, &at, &item);)
        SC_TRY(add(self->interactions, user, &item, 0));
    return SC_OK;
}

static sc_status read_file(reader *self, const sc_text *file,
                           sc_status (*read)(void *context, const char *line, size_t n))
{
    const size_t before = self->interactions->n;
    SC_TRY(sc_field_lines(file, read, self));
    return self->interactions->n > before ? SC_OK : SC_FAIL(SC_INVALID, "%s: holds no item", file->name);
}

sc_status sc_interactions_read(sc_interactions *self, const sc_text *file, const sc_interaction_columns *columns)
{
    return read_file(&(reader){.interactions = self, .columns = columns}, file, read_fields);
}

sc_status sc_interactions_read_sequences(sc_interactions *self, const sc_text *file)
{
    return read_file(&(reader){.interactions = self}, file, read_items);
}

static int compare(const void *a, const void *b)
{
    const sc_interaction *x = a, *y = b;
    if (x->user != y->user)
        return x->user < y->user ? -1 : 1;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

void sc_interactions_sort(sc_interactions *self)
{
    if (self->n > 0)
        qsort(self->all, self->n, sizeof *self->all, compare);
}
