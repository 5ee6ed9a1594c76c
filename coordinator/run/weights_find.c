/* Which directory of weights a user means who names a run. */
#include "coordinator/run/checkpoint.h"
#include "coordinator/run/weights.h"
#include "proto/base/files.h"
#include "proto/base/safetensors_set.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has_config(const char *dir)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/config.json", dir) < (int)sizeof path && access(path, F_OK) == 0;
}

/* The step in the weights' metadata; -1 if they do not say. */
static sc_status read_step(const char *dir, int64_t *step)
{
    sc_safetensors_set *set = NULL;
    SC_TRY(sc_safetensors_set_open(dir, &set));
    const char *text = sc_safetensors_set_metadata(set, "step");
    char *end = NULL;
    errno = 0;
    long long value = text ? strtoll(text, &end, 10) : -1;
    *step = text && *text && !*end && errno == 0 && value >= 0 ? value : -1;
    sc_safetensors_set_close(&set);
    return SC_OK;
}

static void add_step(int64_t step, int64_t *last, char *text, size_t text_bytes)
{
    size_t used = strlen(text);
    if (step != *last)
        snprintf(text + used, text_bytes - used, "%s%" PRId64, used ? ", " : "", step);
    *last = step;
}

/* "100, 200, 250" of the run's steps, each once, for a message. */
static void list_steps(const sc_checkpoint_list *list, int64_t final_step, char *text, size_t text_bytes)
{
    int64_t last = -1; /* no step at all */
    bool told_final = false;
    text[0] = '\0';
    for (int i = list->n - 1; i >= 0; i--) {
        if (!told_final && final_step <= list->steps[i]) {
            add_step(final_step, &last, text, text_bytes);
            told_final = true;
        }
        add_step(list->steps[i], &last, text, text_bytes);
    }
    if (!told_final)
        add_step(final_step, &last, text, text_bytes);
}

/* The list is sorted, the newest step first. `final` is "" where the run has no final weights. */
static sc_status choose(const char *dir, const sc_checkpoint_list *list, const char *final, int64_t final_step,
                        int64_t wanted, char *out, int64_t *step)
{
    bool newest = wanted < 0;
    int i = 0;
    while (!newest && i < list->n && list->steps[i] != wanted)
        i++;
    bool has_set = i < list->n;
    if (final[0] && (newest ? !has_set || final_step >= list->steps[i] : final_step == wanted)) {
        snprintf(out, PATH_MAX, "%s", final);
        *step = final_step;
        return SC_OK;
    }
    if (has_set) {
        snprintf(out, PATH_MAX, "%s", list->paths[i]);
        *step = list->steps[i];
        return SC_OK;
    }
    char steps[300];
    list_steps(list, final_step, steps, sizeof steps);
    if (newest)
        return SC_FAIL(
            SC_NOT_FOUND,
            "%s has no weights: neither config.json nor final/config.json nor checkpoints; name the directory "
            "of a finished run, or one that Hugging Face's save_pretrained has written",
            dir);
    return SC_FAIL(SC_NOT_FOUND, "%s has no weights of step %" PRId64 "; it has %s%s", dir, wanted,
                   steps[0] ? "those of " : "none of a known step", steps);
}

sc_status sc_weights_find(const char *dir, int64_t wanted, char *out, int64_t *step)
{
    char final[PATH_MAX] = "";
    int64_t final_step = -1;
    sc_checkpoint_list list = {0};
    struct stat info;
    if (stat(dir, &info) != 0)
        return SC_FAIL(sc_files_status(errno), "%s: %s; name the directory of a run, or of a model", dir,
                       strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return SC_FAIL(SC_INVALID, "%s is neither a run's directory nor a model's, but a file; name the directory",
                       dir);
    if (has_config(dir))
        snprintf(final, sizeof final, "%s", dir);
    else if (snprintf(final, sizeof final, "%s/final", dir) >= (int)sizeof final || !has_config(final))
        final[0] = '\0';
    if (final[0])
        SC_TRY(read_step(final, &final_step));
    SC_TRY(sc_checkpoint_list_of(dir, &list));
    sc_status status = choose(dir, &list, final, final_step, wanted, out, step);
    sc_checkpoint_list_clear(&list);
    return status;
}
