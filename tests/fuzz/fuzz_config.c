/* Any bytes as a config: refused with a message, or taken, printed and loaded again to the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/config.h"

static char *printed(const sc_config *config)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out || sc_config_print(config, out) != 0 || fclose(out) != 0)
        abort();
    return text;
}

static void check_round_trip(sc_config *first)
{
    char *text = printed(first);
    sc_config *second;
    if (sc_config_parse(text, strlen(text), "again.yaml", NULL, 0, &second) != SC_OK) {
        fprintf(stderr, "what was printed is refused: %s\n%s", sc_status_message(), text);
        abort();
    }
    char *again = printed(second);
    if (strcmp(text, again) != 0)
        abort();
    free(text);
    free(again);
    sc_config_destroy(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes up to the first 0x01 are the file, what follows is a --set. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *mark = size > 0 ? memchr(data, 1, size) : NULL;
    size_t file_bytes = mark ? (size_t)(mark - data) : size;
    char *set = mark ? strndup((const char *)mark + 1, size - file_bytes - 1) : NULL;
    const char *sets[] = {set};
    sc_config *config;
    sc_status status = sc_config_parse((const char *)data, file_bytes, "fuzz.yaml", sets, set != NULL, &config);
    if (status == SC_OK)
        check_round_trip(config);
    else if (status != SC_INVALID || sc_status_message()[0] == '\0')
        abort();
    sc_config_destroy(&config);
    free(set);
    return 0;
}
