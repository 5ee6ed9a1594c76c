/* Any bytes as a safetensors file: refused with a message, or every byte of every tensor can be read. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const sc_safetensors *in, size_t size)
{
    uint64_t sum = 0;
    for (int i = 0; i < sc_safetensors_n(in); i++) {
        const sc_safetensors_entry *entry = sc_safetensors_at(in, i);
        sum += entry->bytes;
        uint8_t *bytes = malloc(entry->bytes + 1);
        if (!bytes || sc_safetensors_find(in, entry->name) != entry ||
            sc_safetensors_read(in, entry, 0, bytes, entry->bytes) != SC_OK)
            abort();
        free(bytes);
    }
    if (sum > size)
        abort(); /* tensors may not overlap */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    sc_safetensors *in;
    sc_status status = sc_safetensors_open(path, &in);
    if (status == SC_OK)
        read_all(in, size);
    else if (status != SC_DATA_LOSS || sc_status_message()[0] == '\0')
        abort();
    sc_safetensors_close(&in);
    close(fd);
    return 0;
}
