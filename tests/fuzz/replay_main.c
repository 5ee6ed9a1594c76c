/* Runs a fuzz target's corpus through once: what libFuzzer's own main does with files, for builds without libFuzzer.
 *     fuzz_config DIRECTORY... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        return -1;
    }
    long size = ftell(file);
    rewind(file);
    /* Exactly as large as the input, so that a sanitizer sees a read behind it. */
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    int result = data && size >= 0 && fread(data, 1, (size_t)size, file) == (size_t)size ? 0 : -1;
    if (result == 0)
        LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    fclose(file);
    return result;
}

static int replay_directory(const char *directory)
{
    DIR *entries = opendir(directory);
    if (!entries) {
        perror(directory);
        return -1;
    }
    int n = 0;
    for (struct dirent *entry; (entry = readdir(entries)) && n >= 0;) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        n = replay_file(path) == 0 ? n + 1 : -1;
    }
    closedir(entries);
    return n;
}

int main(int argc, char **argv)
{
    int n_all = 0;
    for (int i = 1; i < argc; i++) {
        int n = replay_directory(argv[i]);
        if (n < 0)
            return 1;
        n_all += n;
    }
    printf("%d inputs\n", n_all);
    return n_all > 0 ? 0 : 1; /* a corpus that is not found tests nothing */
}
