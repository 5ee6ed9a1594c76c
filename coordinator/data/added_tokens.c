#include "coordinator/data/added_tokens.h"

#include <stdlib.h>
#include <string.h>

sc_status sc_added_tokens_add(sc_added_tokens *self, const char *text, int32_t id)
{
    sc_added_token *items = realloc(self->items, (size_t)(self->n + 1) * sizeof *items);
    if (items)
        self->items = items;
    char *copy = strdup(text);
    if (!items || !copy) {
        free(copy);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an added token");
    }
    const sc_added_token token = {.text = copy, .n_bytes = strlen(text), .id = id};
    int place = self->n++;
    for (; place > 0 && items[place - 1].n_bytes < token.n_bytes; place--)
        items[place] = items[place - 1];
    items[place] = token;
    self->longest = items[0].n_bytes;
    const int first = (unsigned char)text[0];
    self->begins[first] = true;
    self->first = self->n == 1 || self->first == first ? first : -1;
    return SC_OK;
}

void sc_added_tokens_clear(sc_added_tokens *self)
{
    for (int i = 0; i < self->n; i++)
        free(self->items[i].text);
    free(self->items);
    *self = (sc_added_tokens){0};
}

int32_t sc_added_tokens_id(const sc_added_tokens *self, const char *content)
{
    for (int i = 0; i < self->n; i++)
        if (strcmp(self->items[i].text, content) == 0)
            return self->items[i].id;
    return -1;
}

bool sc_added_tokens_has(const sc_added_tokens *self, int32_t id)
{
    for (int i = 0; i < self->n; i++)
        if (self->items[i].id == id)
            return true;
    return false;
}

size_t sc_added_tokens_decided(const sc_added_tokens *self, const char *bytes, size_t n, bool more)
{
    if (!more || self->longest < 2)
        return n;
    size_t decided = n - (n < self->longest - 1 ? n : self->longest - 1);
    while (decided > 0 && ((unsigned char)bytes[decided] & 0xC0) == 0x80)
        decided--;
    return decided;
}

const sc_added_token *sc_added_tokens_find(const sc_added_tokens *self, const char *bytes, size_t at, size_t decided,
                                           size_t end, size_t *place)
{
    for (; at < decided && self->n; at++) {
        if (self->first >= 0) {
            const char *next = memchr(bytes + at, self->first, decided - at);
            if (!next)
                break;
            at = (size_t)(next - bytes);
        } else if (!self->begins[(unsigned char)bytes[at]]) {
            continue;
        }
        for (int i = 0; i < self->n; i++) {
            const sc_added_token *token = &self->items[i];
            if (token->n_bytes <= end - at && memcmp(bytes + at, token->text, token->n_bytes) == 0) {
                *place = at;
                return token;
            }
        }
    }
    *place = decided;
    return NULL;
}
