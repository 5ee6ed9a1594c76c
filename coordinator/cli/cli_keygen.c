/* stagecoach keygen: the keys of a coordinator and its workers. */
#include "coordinator/cli/cli.h"
#include "proto/base/legend.h"
#include "proto/wire/keys.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_NAMES = 2 * SC_MAX_STAGES };

typedef struct arguments {
    const char *out;
    int64_t workers;              /* 0: not given */
    const char *added[MAX_NAMES]; /* names that were given with --add */
    int n_added;
    bool force;
} arguments;

static const char help[] =
    "Usage: stagecoach keygen [--out DIR] --workers N [--force]\n"
    "       stagecoach keygen [--out DIR] --add NAME... [--force]\n"
    "\n"
    "Makes the keys with which `serve` and its workers know each other and encrypt all that they say:\n"
    "\n"
    "  DIR/coordinator.key   stays here:   stagecoach serve CONFIG --listen tcp://0.0.0.0:5555 --keys DIR\n"
    "  DIR/NAME.key          goes to one worker, which needs nothing else:\n"
    "                                      stagecoach-worker --coordinator tcp://HOST:5555 --key NAME.key\n"
    "  DIR/allowed/NAME.pub  says that this worker may come. Remove it, and a running coordinator cuts the worker off\n"
    "\n"
    "  --out DIR      the directory (default: keys)\n"
    "  --workers N    a new coordinator with workers worker-1 to worker-N\n"
    "  --add NAME     one more worker of the coordinator that is there; without one, it is made; may be repeated\n"
    "  --force        with --workers: replace all keys, so that the earlier ones are worth nothing any more;\n"
    "                 with --add: replace the key of a worker of that name\n"
    "  --help         this text\n";

static int read_arguments(int argc, char **argv, arguments *a)
{
    enum { OUT = 256, WORKERS, ADD, FORCE, HELP };
    static const struct option options[] = {
        {"out", required_argument, NULL, OUT}, {"workers", required_argument, NULL, WORKERS},
        {"add", required_argument, NULL, ADD}, {"force", no_argument, NULL, FORCE},
        {"help", no_argument, NULL, HELP},     {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case OUT:
            a->out = optarg;
            break;
        case WORKERS:
            if (!sc_cli_integer(argv[0], "--workers", optarg, 1, SC_MAX_STAGES, &a->workers))
                return SC_EXIT_USAGE;
            break;
        case ADD:
            if (!sc_keys_is_name(optarg) || strcmp(optarg, "coordinator") == 0)
                return sc_cli_usage(argv[0],
                                    "--add %s: a worker's name has 1 to 64 letters, digits, '.', '_' and '-', begins "
                                    "with a letter or digit, and is not 'coordinator'",
                                    optarg);
            if (a->n_added == MAX_NAMES)
                return sc_cli_usage(argv[0], "--add can be given %d times at most", MAX_NAMES);
            a->added[a->n_added++] = optarg;
            break;
        case FORCE:
            a->force = true;
            break;
        case 'h':
        case HELP:
            fputs(help, stdout);
            return sc_cli_finish(argv[0], SC_EXIT_OK);
        default:
            return sc_cli_try_help(argv[0]);
        }
    }
    if (optind < argc)
        return sc_cli_usage(argv[0], "'%s' is no option; the directory is given as --out DIR", argv[optind]);
    if (a->workers == 0 && a->n_added == 0)
        return sc_cli_usage(argv[0], "say for whom: --workers N, or --add NAME");
    if (a->workers > 0 && a->n_added > 0)
        return sc_cli_usage(argv[0], "--workers N makes all anew, --add NAME adds one: give one of the two");
    return -1;
}

static sc_status join_path(char path[PATH_MAX], const char *dir, const char *name, const char *ending)
{
    if (snprintf(path, PATH_MAX, "%s/%s%s", dir, name, ending) >= PATH_MAX)
        return SC_FAIL(SC_INVALID, "the path %s/%s%s is too long", dir, name, ending);
    return SC_OK;
}

static sc_status make_dir(const char *path, mode_t mode)
{
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return SC_FAIL(SC_UNAVAILABLE, "cannot make the directory %s: %s", path, strerror(errno));
    return SC_OK;
}

/* What an earlier coordinator allowed: those keys know another coordinator and would be allowed for nothing. */
static sc_status clear_allowed(const char *allowed)
{
    DIR *folder = opendir(allowed);
    sc_status status = SC_OK;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        size_t n = strlen(entry->d_name);
        if (n > 4 && strcmp(entry->d_name + n - 4, ".pub") == 0 && unlinkat(dirfd(folder), entry->d_name, 0) != 0)
            status = SC_FAIL(SC_UNAVAILABLE, "cannot remove %s/%s: %s", allowed, entry->d_name, strerror(errno));
    }
    if (folder)
        closedir(folder);
    return status;
}

static sc_status make_coordinator(const char *dir, bool replace, sc_certificate *out)
{
    char path[PATH_MAX];
    SC_TRY(join_path(path, dir, "coordinator", ".key"));
    SC_TRY(sc_certificate_generate("coordinator", out));
    sc_status status = sc_certificate_save(out, path, true, replace);
    if (status == SC_ALREADY_EXISTS)
        return SC_FAIL(status, "%s is there already: --add NAME adds a worker, --force replaces all keys", path);
    return status;
}

/* The coordinator that is there, or a new one. */
static sc_status find_coordinator(const char *dir, sc_certificate *out)
{
    char path[PATH_MAX];
    SC_TRY(join_path(path, dir, "coordinator", ".key"));
    sc_status status = sc_certificate_load(path, out);
    return status == SC_NOT_FOUND ? make_coordinator(dir, false, out) : status;
}

/* The public key comes last: a worker is allowed when there is one. */
static sc_status make_worker(const char *dir, const char *allowed, const char *name, const sc_certificate *coordinator,
                             bool replace)
{
    char path[PATH_MAX];
    sc_certificate worker;
    SC_TRY(sc_certificate_generate(name, &worker));
    worker.coordinator = coordinator->public_key;
    sc_status status = join_path(path, dir, name, ".key");
    if (status == SC_OK)
        status = sc_certificate_save(&worker, path, true, replace);
    if (status == SC_OK)
        status = join_path(path, allowed, name, ".pub");
    if (status == SC_OK)
        status = sc_certificate_save(&worker, path, false, true);
    sc_certificate_wipe(&worker);
    return status;
}

static sc_status make(const arguments *a)
{
    const char *dir = a->out;
    char allowed[PATH_MAX];
    sc_certificate coordinator = {0};
    sc_status status;
    SC_TRY_GOTO(status, join_path(allowed, dir, "allowed", ""), done);
    SC_TRY_GOTO(status, make_dir(dir, 0700), done);
    SC_TRY_GOTO(status, make_dir(allowed, 0755), done);
    if (a->workers > 0) {
        SC_TRY_GOTO(status, make_coordinator(dir, a->force, &coordinator), done);
        SC_TRY_GOTO(status, clear_allowed(allowed), done);
    } else {
        SC_TRY_GOTO(status, find_coordinator(dir, &coordinator), done);
    }
    for (int i = 0; i < (int)a->workers; i++) {
        char name[32];
        snprintf(name, sizeof name, "worker-%d", i + 1);
        SC_TRY_GOTO(status, make_worker(dir, allowed, name, &coordinator, a->force), done);
        printf("%s/%s.key\n", dir, name);
    }
    for (int i = 0; i < a->n_added; i++) {
        SC_TRY_GOTO(status, make_worker(dir, allowed, a->added[i], &coordinator, a->force), done);
        printf("%s/%s.key\n", dir, a->added[i]);
    }
done:
    sc_certificate_wipe(&coordinator);
    return status;
}

int sc_cli_keygen(int argc, char **argv)
{
    arguments a = {.out = "keys"};
    int code = read_arguments(argc, argv, &a);
    if (code >= 0)
        return code;
    if (make(&a) != SC_OK)
        return sc_cli_failed(argv[0]);
    return sc_cli_finish(argv[0], SC_EXIT_OK);
}
