/* Any bytes as a checkpoint's manifest: refused with a message, or taken, written and read again to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/run/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const sc_manifest *first)
{
    sc_manifest second;
    char *text, *again;
    if (sc_manifest_text(first, &text) != SC_OK ||
        sc_manifest_parse(text, strlen(text), "again.json", &second) != SC_OK ||
        sc_manifest_text(&second, &again) != SC_OK || strcmp(text, again) != 0)
        abort();
    free(text);
    free(again);
    sc_manifest_clear(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sc_manifest manifest;
    sc_status status = sc_manifest_parse((const char *)data, size, "manifest.json", &manifest);
    if (status == SC_OK)
        check_round_trip(&manifest);
    else if ((status != SC_DATA_LOSS && status != SC_FAILED_PRECONDITION) || sc_status_message()[0] == '\0')
        abort();
    sc_manifest_clear(&manifest);
    return 0;
}
