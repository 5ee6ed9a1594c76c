/* Any bytes as config.json: refused with a message, or a model that a worker could build. */
#include <stdint.h>
#include <stdlib.h>

#include "coordinator/run/hf_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sc_model model;
    sc_status status = sc_hf_config_parse((const char *)data, size, "config.json", &model);
    if (status == SC_OK ? sc_model_check(&model) != SC_OK : status != SC_INVALID || sc_status_message()[0] == '\0')
        abort();
    return 0;
}
