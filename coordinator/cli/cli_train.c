/* stagecoach train and stagecoach serve: the same run, with workers of its own or from elsewhere. */
#include "coordinator/cli/cli.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/run/trainer.h"
#include "proto/base/legend.h"
#include "proto/base/log.h"
#include "proto/wire/endpoint.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct arguments {
    const char *config, *run_dir, *listen, *keys, *tensorboard;
    bool fresh, force;
    int64_t workers, threads; /* 0: not given */
    bool insecure;
    sc_cli_sets sets;
} arguments;

static const char help_train[] =
    "Usage: stagecoach train CONFIG [--workers N] [--threads N] [--set KEY=VALUE]... [--run-dir DIR]\n"
    "\n"
    "Trains the model that CONFIG describes over N stage workers on this machine, which it starts and ends.\n"
    "\n"
    "  --workers N        stages, one process each (default: pipeline.workers of the config, 1)\n"
    "  --threads N        threads of each worker (default: an equal share of the cores)\n";
static const char help_serve[] =
    "Usage: stagecoach serve CONFIG --listen tcp://ADDR:PORT [--workers N] [--set KEY=VALUE]... [--run-dir DIR]\n"
    "\n"
    "Trains the model that CONFIG describes over N stage workers that come from elsewhere. Start each of them with\n"
    "    stagecoach-worker --coordinator tcp://HOST:PORT --key FILE\n"
    "\n"
    "  --listen ENDPOINT  where to wait for them, as tcp://127.0.0.1:5555\n"
    "  --workers N        how many to wait for (default: pipeline.workers of the config, 1)\n"
    "  --keys DIR         keys that `stagecoach keygen` made (wire.keys): all is encrypted, and only workers in "
    "DIR/allowed\n"
    "                     may come; needed for an address that other machines can reach\n"
    "  --insecure         do without: anybody who reaches the address can read the run and take part in it\n";
static const char help_common[] =
    "  --set KEY=VALUE    change a key of the config, as train.steps=100; may be repeated\n"
    "  --run-dir DIR      where the run keeps what it leaves (run.dir); if it has checkpoints, the run goes on from "
    "there\n"
    "  --tensorboard DIR  write event files for TensorBoard there (log.tensorboard)\n"
    "  --fresh            do not go on from checkpoints: refuse if there are some\n"
    "  --fresh --force    move the earlier run aside, checkpoints and all, and begin anew\n"
    "  --help, --help-config   this text; every key of the config\n";

/* Returns -1 to go on, or the exit code. */
static int read_arguments(int argc, char **argv, bool serve, arguments *a)
{
    enum { WORKERS = 256, THREADS, SET, RUN_DIR, LISTEN, KEYS, INSECURE, TENSORBOARD, FRESH, FORCE, HELP, HELP_CONFIG };
    static const struct option options[] = {
        {"workers", required_argument, NULL, WORKERS},
        {"set", required_argument, NULL, SET},
        {"run-dir", required_argument, NULL, RUN_DIR},
        {"help", no_argument, NULL, HELP},
        {"help-config", no_argument, NULL, HELP_CONFIG},
        {"threads", required_argument, NULL, THREADS},
        {"listen", required_argument, NULL, LISTEN},
        {"keys", required_argument, NULL, KEYS},
        {"insecure", no_argument, NULL, INSECURE},
        {"tensorboard", required_argument, NULL, TENSORBOARD},
        {"fresh", no_argument, NULL, FRESH},
        {"force", no_argument, NULL, FORCE},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        bool wrong_command = serve ? option == THREADS : option == LISTEN || option == KEYS || option == INSECURE;
        if (wrong_command)
            return sc_cli_usage(argv[0], "--%s is an option of '%s'",
                                option == THREADS  ? "threads"
                                : option == LISTEN ? "listen"
                                : option == KEYS   ? "keys"
                                                   : "insecure",
                                serve ? "stagecoach train" : "stagecoach serve");
        switch (option) {
        case WORKERS:
            if (!sc_cli_integer(argv[0], "--workers", optarg, 1, SC_MAX_STAGES, &a->workers))
                return SC_EXIT_USAGE;
            break;
        case THREADS:
            if (!sc_cli_integer(argv[0], "--threads", optarg, 1, SC_CLI_MAX_THREADS, &a->threads))
                return SC_EXIT_USAGE;
            break;
        case SET:
            if (!sc_cli_sets_add(&a->sets, argv[0], optarg))
                return SC_EXIT_USAGE;
            break;
        case RUN_DIR:
            a->run_dir = optarg;
            break;
        case LISTEN:
            a->listen = optarg;
            break;
        case KEYS:
            a->keys = optarg;
            break;
        case INSECURE:
            a->insecure = true;
            break;
        case TENSORBOARD:
            a->tensorboard = optarg;
            break;
        case FRESH:
            a->fresh = true;
            break;
        case FORCE:
            a->force = true;
            break;
        case 'h':
        case HELP:
            printf("%s%s", serve ? help_serve : help_train, help_common);
            return sc_cli_finish(argv[0], SC_EXIT_OK);
        case HELP_CONFIG:
            sc_config_print_help(stdout);
            return sc_cli_finish(argv[0], SC_EXIT_OK);
        default:
            return sc_cli_try_help(argv[0]);
        }
    }
    if (argc - optind != 1)
        return sc_cli_usage(argv[0], argc == optind ? "the CONFIG is missing" : "one CONFIG is enough");
    a->config = argv[optind];
    if (a->force && !a->fresh)
        return sc_cli_usage(argv[0], "--force goes with --fresh");
    if (serve && !a->listen)
        return sc_cli_usage(argv[0],
                            "--listen is missing: the endpoint to wait for workers at, as tcp://127.0.0.1:5555");
    if (serve && strncmp(a->listen, "tcp://", 6) != 0 && strncmp(a->listen, "ipc://", 6) != 0)
        return sc_cli_usage(argv[0], "--listen %s: expected tcp://ADDR:PORT or ipc://PATH", a->listen);
    if (a->insecure && a->keys)
        return sc_cli_usage(argv[0], "--insecure is for doing without --keys: give one of the two");
    return -1;
}

enum { SET_BYTES = 4200 };

/* KEY='PATH', quoted, so that any path is one YAML scalar. */
static void path_set(char set[SET_BYTES], const char *key, const char *path)
{
    size_t used = (size_t)snprintf(set, SET_BYTES, "%s='", key);
    for (const char *p = path; *p && used + 3 < SET_BYTES; p++) {
        if (*p == '\'')
            set[used++] = '\'';
        set[used++] = *p;
    }
    set[used++] = '\'';
    set[used] = '\0';
}

typedef struct option_sets {
    char workers[48], dir[SET_BYTES], keys[SET_BYTES], tensorboard[SET_BYTES];
} option_sets;

/* The options that stand for keys of the config become --set's behind the user's own. */
static bool add_option_sets(arguments *a, const char *command, option_sets *sets)
{
    if (a->workers > 0) {
        snprintf(sets->workers, sizeof sets->workers, "pipeline.workers=%d", (int)a->workers);
        if (!sc_cli_sets_add(&a->sets, command, sets->workers))
            return false;
    }
    if (a->keys) {
        path_set(sets->keys, "wire.keys", a->keys);
        if (!sc_cli_sets_add(&a->sets, command, sets->keys))
            return false;
    }
    if (a->tensorboard) {
        path_set(sets->tensorboard, "log.tensorboard", a->tensorboard);
        if (!sc_cli_sets_add(&a->sets, command, sets->tensorboard))
            return false;
    }
    if (!a->run_dir)
        return true;
    path_set(sets->dir, "run.dir", a->run_dir);
    return sc_cli_sets_add(&a->sets, command, sets->dir);
}

/* Nobody listens where others can hear him without keys, unless he says so. Returns -1 to go on, or the exit code. */
static int check_secrecy(const arguments *a, const sc_config *config, const char *command)
{
    bool keys = config->wire.keys != NULL, local = sc_endpoint_is_local(a->listen);
    if (keys && a->insecure)
        return sc_cli_usage(command, "--insecure is for doing without keys, and wire.keys is %s", config->wire.keys);
    if (keys || local)
        return -1;
    if (!a->insecure)
        return sc_cli_usage(command,
                            "--listen %s can be reached by other machines, and there are no keys: make some with "
                            "'stagecoach keygen --workers N' and give --keys keys; or give --insecure, if you trust "
                            "everybody who can reach it",
                            a->listen);
    sc_log_at(SC_LOG_WARN, "serve", "--insecure: %s is open to everybody who can reach it, without encryption",
              a->listen);
    return -1;
}

static sc_status load_keys(const char *dir, sc_node_keys *keys, char *allowed, size_t allowed_bytes)
{
    char path[PATH_MAX];
    sc_certificate own;
    if (snprintf(path, sizeof path, "%s/coordinator.key", dir) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "the path %s is too long", dir);
    sc_status status = sc_certificate_load(path, &own);
    if (status == SC_NOT_FOUND)
        return SC_FAIL(status, "%s; 'stagecoach keygen --out %s --workers N' makes it", sc_status_message(), dir);
    SC_TRY(status);
    if (!own.secret_key[0])
        return SC_FAIL(SC_INVALID, "%s holds no secret key", path);
    snprintf(allowed, allowed_bytes, "%s/allowed", dir);
    *keys = (sc_node_keys){.public_key = own.public_key, .allowed_dir = allowed};
    memcpy(keys->secret_key, own.secret_key, sizeof keys->secret_key);
    sc_certificate_wipe(&own);
    return SC_OK;
}

static int run(int argc, char **argv, bool serve)
{
    arguments a = {0};
    int code = read_arguments(argc, argv, serve, &a);
    option_sets sets;
    char allowed[PATH_MAX];
    sc_node_keys keys = {0};
    sc_config *config = NULL;
    if (code >= 0)
        goto done;
    code = SC_EXIT_USAGE;
    if (!add_option_sets(&a, argv[0], &sets))
        goto done;
    code = SC_EXIT_FAILURE;
    if (sc_cli_config_load(a.config, &a.sets, &config) != SC_OK ||
        sc_log_init(config->log.level && config->log.level[0] ? config->log.level : NULL, config->log.json,
                    STDERR_FILENO) != SC_OK) {
        sc_cli_failed(argv[0]);
        goto done;
    }
    if (serve && (code = check_secrecy(&a, config, argv[0])) >= 0)
        goto done;
    bool keyed = serve && config->wire.keys;
    if (keyed && load_keys(config->wire.keys, &keys, allowed, sizeof allowed) != SC_OK) {
        code = sc_cli_failed(argv[0]);
        goto done;
    }
    sc_trainer_options options = {
        .config = config,
        .listen = serve ? a.listen : NULL,
        .keys = keyed ? &keys : NULL,
        .run_dir_mode = !a.fresh  ? SC_RUN_DIR_RESUME
                        : a.force ? SC_RUN_DIR_FRESH_FORCED
                                  : SC_RUN_DIR_FRESH,
        .threads = (int)a.threads,
        .log_spec = config->log.level,
    };
    code = sc_trainer_run(&options) == SC_OK ? SC_EXIT_OK : sc_cli_failed(argv[0]);
done:
    explicit_bzero(&keys, sizeof keys);
    sc_config_destroy(&config);
    sc_cli_sets_clear(&a.sets);
    return code;
}

int sc_cli_train(int argc, char **argv)
{
    return run(argc, argv, false);
}

int sc_cli_serve(int argc, char **argv)
{
    return run(argc, argv, true);
}
