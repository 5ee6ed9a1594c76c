/* stagecoach verify: reads all that a run has saved and says what is sound. */
#include "coordinator/cli/cli.h"

#include "coordinator/run/checkpoint.h"
#include "proto/base/checksums.h"
#include "coordinator/run/hf_config.h"
#include "proto/base/safetensors_set.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "Usage: stagecoach verify RUN\n"
    "\n"
    "Reads every checkpoint of the run and its final weights, and compares them with the hashes\n"
    "that were taken when they were saved. One line each; exits with 1 if anything is damaged.\n"
    "\n"
    "  --help   show this text\n";

/* False, with a message, for wrong usage; *run is NULL where help is wanted. */
static bool parse(int argc, char **argv, const char **run)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
    *run = NULL;
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        if (c == 'h')
            return true;
        sc_cli_try_help(argv[0]);
        return false;
    }
    if (argc - optind != 1) {
        sc_cli_usage(argv[0], argc == optind ? "a RUN is missing" : "more than one RUN is given");
        return false;
    }
    *run = argv[optind];
    return true;
}

/* What was checked so far. */
typedef struct tally {
    int n, n_bad;
} tally;

static void print_sound(tally *all, const char *name, int n, const char *unit, uint64_t bytes, const char *remark)
{
    all->n++;
    printf("%s  ok  %d %s%s, %.1f MB%s\n", name, n, unit, n == 1 ? "" : "s", (double)bytes / 1e6, remark);
    fflush(stdout); /* the next may take a while */
}

/* The message of the last failure, without the directory that the line's name stands for. */
static void print_bad(tally *all, const char *name, const char *dir, sc_status status)
{
    const char *message = sc_status_message();
    size_t n = strlen(dir);
    if (strncmp(message, dir, n) == 0 && message[n] == '/')
        message += n + 1;
    all->n++;
    all->n_bad++;
    printf("%s  %s: %s\n", name, status == SC_DATA_LOSS ? "DAMAGED" : "NOT READABLE", message);
    fflush(stdout);
}

static void verify_set(tally *all, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    sc_manifest manifest;
    sc_status status = sc_checkpoint_check(path, true, &manifest);
    if (status != SC_OK) {
        print_bad(all, name, path, status);
        return;
    }
    uint64_t bytes = 0;
    for (int i = 0; i < manifest.n_shards; i++)
        bytes += manifest.shards[i].bytes;
    print_sound(all, name, manifest.n_shards, "shard", bytes, "");
    sc_manifest_clear(&manifest);
}

/* Weights without a list of checksums: what their files say of themselves has to fit. */
static sc_status check_structure(const char *dir, int *n, uint64_t *bytes)
{
    sc_model model;
    sc_safetensors_set *set;
    SC_TRY(sc_hf_config_load(dir, &model));
    SC_TRY(sc_safetensors_set_open(dir, &set));
    *n = sc_safetensors_set_n(set);
    *bytes = 0;
    for (int i = 0; i < *n; i++)
        *bytes += sc_safetensors_set_at(set, i).entry->bytes;
    sc_safetensors_set_close(&set);
    return SC_OK;
}

static void verify_final(tally *all, const char *run)
{
    char dir[PATH_MAX], weights[PATH_MAX + 32], config[PATH_MAX + 32];
    int n;
    uint64_t bytes;
    snprintf(dir, sizeof dir, "%s/final", run);
    sc_status status = sc_checksums_check(dir, &n, &bytes);
    if (status == SC_OK) {
        print_sound(all, "final", n, "file", bytes, "");
        return;
    }
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    snprintf(config, sizeof config, "%s/config.json", dir);
    if (status == SC_NOT_FOUND) {
        if (access(weights, F_OK) != 0 && access(config, F_OK) != 0)
            return; /* the run has not come to its end */
        status = check_structure(dir, &n, &bytes);
    }
    if (status == SC_OK)
        print_sound(all, "final", n, "tensor", bytes,
                    "; it has no " SC_CHECKSUMS_FILE ", so the values are not checked");
    else
        print_bad(all, "final", dir, status == SC_NOT_FOUND || status == SC_INVALID ? SC_DATA_LOSS : status);
}

static sc_status verify(const char *run, tally *all)
{
    struct stat info;
    sc_checkpoint_list list;
    if (stat(run, &info) != 0 || !S_ISDIR(info.st_mode))
        return SC_FAIL(SC_NOT_FOUND, "%s is not a directory; name the directory of a run", run);
    SC_TRY(sc_checkpoint_list_of(run, &list));
    for (int i = 0; i < list.n && !ferror(stdout); i++)
        verify_set(all, list.paths[i]);
    sc_checkpoint_list_clear(&list);
    verify_final(all, run);
    if (all->n == 0)
        return SC_FAIL(SC_NOT_FOUND,
                       "%s has nothing to verify: no complete checkpoint in %s/checkpoints, no weights in "
                       "%s/final",
                       run, run, run);
    return all->n_bad == 0 ? SC_OK
                           : SC_FAIL(SC_DATA_LOSS, "%d of %d %s not sound; a run resumes from the newest that is",
                                     all->n_bad, all->n, all->n_bad == 1 ? "is" : "are");
}

int sc_cli_verify(int argc, char **argv)
{
    const char *run;
    tally all = {0};
    int code = SC_EXIT_OK;
    if (!parse(argc, argv, &run))
        code = SC_EXIT_USAGE;
    else if (!run)
        fputs(help, stdout);
    else if (verify(run, &all) != SC_OK)
        code = sc_cli_failed(argv[0]);
    return sc_cli_finish(argv[0], code);
}
