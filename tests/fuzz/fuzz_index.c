/* Any bytes as model.safetensors.index.json beside two sound files: refused with a message, or every tensor that it lists can
 * be read. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/safetensors_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/fuzz_index-XXXXXX";
static const char *const files[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                    "model.safetensors.index.json"};

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void remove_directory(void)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(path_of(files[i]));
    rmdir(dir);
}

static void write_file(const char *name, const char *tensor)
{
    sc_safetensors_writer *out;
    const float value[2] = {1, 2};
    if (sc_safetensors_writer_new(path_of(name), &out) != SC_OK ||
        sc_safetensors_writer_add(out, tensor, SC_F32, &SC_SHAPE(2)) != SC_OK ||
        sc_safetensors_writer_write(out, tensor, 0, value, sizeof value) != SC_OK ||
        sc_safetensors_writer_commit(out) != SC_OK)
        abort();
    sc_safetensors_writer_destroy(&out);
}

static void read_all(const sc_safetensors_set *set)
{
    for (int i = 0; i < sc_safetensors_set_n(set); i++) {
        const sc_safetensors_place place = sc_safetensors_set_at(set, i);
        float value[2];
        if (sc_safetensors_set_find(set, place.entry->name) != i || place.entry->bytes != sizeof value ||
            sc_safetensors_read(place.file, place.entry, 0, value, sizeof value) != SC_OK)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int prepared;
    if (!prepared) {
        if (!mkdtemp(dir))
            abort();
        atexit(remove_directory);
        write_file(files[0], "a");
        write_file(files[1], "b");
        prepared = 1;
    }
    FILE *index = fopen(path_of(files[2]), "wb");
    if (!index || fwrite(data, 1, size, index) != size || fclose(index) != 0)
        abort();
    sc_safetensors_set *set;
    sc_status status = sc_safetensors_set_open(dir, &set);
    if (status == SC_OK)
        read_all(set);
    else if (sc_status_message()[0] == '\0' || status == SC_INTERNAL)
        abort();
    sc_safetensors_set_close(&set);
    return 0;
}
