/* stagecoach-worker: the command line, the signals, and the session between them. */
#include "proto/base/log.h"
#include "worker/ready_file.h"
#include "worker/session.h"
#include "worker/session_endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, MAX_THREADS = 1024, MAX_LOCAL_INDEX = 1 << 20, MAX_GRACE_MS = 86400000 };

typedef struct options {
    const char *coordinator, *listen, *advertise, *device, *log, *key;
    const char *preempt_file, *ready_file, *check;
    int threads, local_index, grace_ms;
    bool log_json, insecure;
} options;

static const char usage[] =
    "usage: stagecoach-worker --coordinator tcp://HOST:PORT [option]...\n"
    "       stagecoach-worker --check PATH\n"
    "\n"
    "Holds one stage of a model, as the coordinator assigns it, until the coordinator releases it.\n"
    "\n"
    "  --coordinator ENDPOINT  where the coordinator listens: tcp://HOST:PORT or ipc://PATH\n"
    "  --listen ENDPOINT       where to listen for neighbouring stages; a port of * takes any that is free. Default:\n"
    "                          loopback for a coordinator on loopback, beside its file for ipc, else all interfaces\n"
    "  --advertise ENDPOINT    the address to tell the neighbours, where it differs from --listen\n"
    "  --key FILE              this worker's key, as `stagecoach keygen` made it; needed for a coordinator on another\n"
    "                          machine. Default: the file that the environment's STAGECOACH_KEY names, if it is set\n"
    "  --insecure              do without a key: anybody on the network between them can read and change the run\n"
    "  --threads N             compute threads. Default: the processors that are online\n"
    "  --device NAME           cpu (default), reference (plain loops, slow), cuda\n"
    "  --log SPEC              debug, info, warn, error or off; \"warn,session=debug\" sets one subsystem apart\n"
    "  --log-json              log as JSON lines\n"
    "  --preempt-file PATH     a file whose appearance says that this machine will be taken away; it is asked to stop "
    "then\n"
    "  --grace-ms N            asked to stop, leave after so long even if nobody has taken over. Default: 30000\n"
    "  --ready-file PATH       a file that is there while this worker is a member of a run\n"
    "  --check PATH            a probe: exit with 0 if the worker with this --ready-file is ready, else with 1\n"
    "  --local-index I         the number that `stagecoach train` starts it under; it then ends with its parent\n"
    "  --help, --version\n"
    "\n"
    "SIGTERM, SIGINT and SIGUSR1 ask it to stop: it hands its state over at the end of a step, and none is lost. A "
    "second\n"
    "SIGTERM or SIGINT, or SIGHUP, leaves the run at once; a third one waits for nothing.\n"
    "Exit status: 0 released or asked to stop, 1 failure, 2 usage.\n";

/* ---- the command line ---- */

static int usage_error(const char *option, const char *what)
{
    fprintf(stderr, "stagecoach-worker: %s: %s\nTry 'stagecoach-worker --help'.\n", option, what);
    return EXIT_USAGE;
}

static bool parse_number(const char *text, int low, int high, int *out)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end != '\0' || value < low || value > high)
        return false;
    *out = (int)value;
    return true;
}

static int online_processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

enum {
    COORDINATOR = 256,
    LISTEN,
    ADVERTISE,
    KEY,
    INSECURE,
    THREADS,
    DEVICE,
    LOG,
    LOG_JSON,
    LOCAL_INDEX,
    PREEMPT_FILE,
    READY_FILE,
    CHECK,
    GRACE_MS,
    HELP,
    VERSION
};

static const struct option long_options[] = {
    {"coordinator", required_argument, NULL, COORDINATOR},
    {"listen", required_argument, NULL, LISTEN},
    {"advertise", required_argument, NULL, ADVERTISE},
    {"key", required_argument, NULL, KEY},
    {"insecure", no_argument, NULL, INSECURE},
    {"threads", required_argument, NULL, THREADS},
    {"device", required_argument, NULL, DEVICE},
    {"log", required_argument, NULL, LOG},
    {"log-json", no_argument, NULL, LOG_JSON},
    {"local-index", required_argument, NULL, LOCAL_INDEX},
    {"preempt-file", required_argument, NULL, PREEMPT_FILE},
    {"ready-file", required_argument, NULL, READY_FILE},
    {"check", required_argument, NULL, CHECK},
    {"grace-ms", required_argument, NULL, GRACE_MS},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {0},
};

/* Where an option's text goes; NULL: it has none. */
static const char **text_of(options *self, int option)
{
    switch (option) {
    case COORDINATOR:
        return &self->coordinator;
    case LISTEN:
        return &self->listen;
    case ADVERTISE:
        return &self->advertise;
    case KEY:
        return &self->key;
    case DEVICE:
        return &self->device;
    case LOG:
        return &self->log;
    case PREEMPT_FILE:
        return &self->preempt_file;
    case READY_FILE:
        return &self->ready_file;
    case CHECK:
        return &self->check;
    default:
        return NULL;
    }
}

/* All but texts. -1: go on; else the exit status. */
static int take_option(options *self, int option)
{
    switch (option) {
    case INSECURE:
        self->insecure = true;
        return -1;
    case LOG_JSON:
        self->log_json = true;
        return -1;
    case THREADS:
        if (!parse_number(optarg, 1, MAX_THREADS, &self->threads))
            return usage_error("--threads", "an integer from 1 to 1024 is expected");
        return -1;
    case LOCAL_INDEX:
        if (!parse_number(optarg, 0, MAX_LOCAL_INDEX, &self->local_index))
            return usage_error("--local-index", "an integer from 0 is expected");
        return -1;
    case GRACE_MS:
        if (!parse_number(optarg, 0, MAX_GRACE_MS, &self->grace_ms))
            return usage_error("--grace-ms", "an integer from 0 to 86400000 is expected");
        return -1;
    case HELP:
        fputs(usage, stdout);
        return 0;
    case VERSION:
        puts("stagecoach-worker " SC_VERSION);
        return 0;
    default: /* getopt_long has named the option */
        fputs("Try 'stagecoach-worker --help'.\n", stderr);
        return EXIT_USAGE;
    }
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, options *out)
{
    *out = (options){.device = "cpu", .threads = online_processors(), .local_index = -1, .grace_ms = 30000};
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        const char **text = text_of(out, option);
        int code = text ? -1 : take_option(out, option);
        if (text)
            *text = optarg;
        if (code >= 0)
            return code;
    }
    if (optind < argc)
        return usage_error(argv[optind], "no argument of this kind is expected");
    const char *path = getenv("STAGECOACH_KEY");
    if (!out->key && !out->insecure && out->local_index < 0 && path && *path)
        out->key = path; /* `train` has plaintext sockets in a directory that nobody else can enter */
    return -1;
}

/* Whether `text` can be bound: as an endpoint to connect to, or with * as the port. */
static bool can_listen(const char *text)
{
    size_t n = strlen(text);
    if (n > 8 && n < SC_ENDPOINT_BYTES && strncmp(text, "tcp://", 6) == 0 && strcmp(text + n - 2, ":*") == 0)
        return true;
    return sc_session_endpoint_check(text) == SC_OK;
}

/* Nobody talks where others can hear him without a key, unless he says so. -1: go on. */
static int check_secrecy(const options *self)
{
    static const char remedy[] = "can be reached by other machines, and there is no key: give --key FILE, which "
                                 "'stagecoach keygen' makes at the "
                                 "coordinator; or --insecure, if you trust everybody on the network between them";
    if (self->key && self->insecure)
        return usage_error("--insecure", "is for doing without --key: give one of the two");
    if (self->key)
        return -1;
    const char *const named[][2] = {
        {"--coordinator", self->coordinator}, {"--listen", self->listen}, {"--advertise", self->advertise}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (!named[i][1] || sc_endpoint_is_local(named[i][1]))
            continue;
        if (!self->insecure)
            return usage_error(named[i][0], remedy);
        sc_log_at(SC_LOG_WARN, "worker", "--insecure: everybody on the way to %s can read and change the run",
                  named[i][1]);
    }
    return -1;
}

/* The whole of `stagecoach-worker --check PATH`. */
static int check_ready(const options *self)
{
    if (self->coordinator)
        return usage_error("--check", "is for probing a worker that runs, and goes alone");
    if (sc_ready_file_check(self->check) == SC_OK)
        return EXIT_SUCCESS;
    fprintf(stderr, "stagecoach-worker: %s\n", sc_status_message());
    return EXIT_FAILURE;
}

static int check_options(const options *self, const sc_ops **ops)
{
    if (!self->coordinator)
        return usage_error("--coordinator", "missing; it says where the coordinator listens, as tcp://HOST:PORT");
    if (sc_session_endpoint_check(self->coordinator) != SC_OK)
        return usage_error("--coordinator", sc_status_message());
    if (self->listen && !can_listen(self->listen))
        return usage_error("--listen", sc_status_message());
    if (self->advertise && sc_session_endpoint_check(self->advertise) != SC_OK)
        return usage_error("--advertise", sc_status_message());
    if (sc_log_init(self->log, self->log_json, STDERR_FILENO) != SC_OK)
        return usage_error("--log", sc_status_message());
    int code = check_secrecy(self);
    if (code >= 0)
        return code;
    sc_status status = sc_ops_find(self->device, ops);
    if (status == SC_UNIMPLEMENTED) { /* a word that is right, in a build that lacks it */
        fprintf(stderr, "stagecoach-worker: --device %s: %s\n", self->device, sc_status_message());
        return EXIT_FAILURE;
    }
    return status == SC_OK ? -1 : usage_error("--device", sc_status_message());
}

/* ---- signals ---- */

static int stop_pipe[2] = {-1, -1};
static volatile sig_atomic_t n_stops;
static char socket_path[SC_ENDPOINT_BYTES]; /* of an ipc endpoint, written before the signals are caught */

/* The third signal waits for nobody. SIGUSR1 may come as often as it likes. */
static void on_stop(int signal_number)
{
    int kept = errno;
    char request = signal_number == SIGUSR1  ? SC_SESSION_PREEMPT
                   : signal_number == SIGHUP ? SC_SESSION_LEAVE
                                             : SC_SESSION_STOP;
    if (signal_number != SIGUSR1 && ++n_stops > 2) {
        if (socket_path[0])
            unlink(socket_path);
        _exit(128 + signal_number);
    }
    if (write(stop_pipe[1], &request, 1) < 0 && errno != EAGAIN)
        _exit(128 + signal_number); /* nobody would hear of it */
    errno = kept;
}

static sc_status catch_signals(const char *listen)
{
    if (strncmp(listen, "ipc://", 6) == 0)
        snprintf(socket_path, sizeof socket_path, "%s", listen + 6);
    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no pipe for the signals: %s", strerror(errno));
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGHUP, &stop, NULL);
    sigaction(SIGUSR1, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* a file that reaches its limit is a write error */
    return SC_OK;
}

/* Whether the parent was dead before main began, and init took its place. In a container `stagecoach train` may be
 * process 1 itself. */
static bool is_orphan(pid_t parent)
{
    char name[32] = "";
    FILE *file = parent == 1 ? fopen("/proc/1/comm", "r") : NULL;
    if (!file)
        return false;
    bool known = fgets(name, sizeof name, file) != NULL;
    fclose(file);
    return known && strcmp(name, "stagecoach\n") != 0;
}

/* The kernel sends SIGHUP when the parent dies, but not for one that died before it was asked to. */
static sc_status follow_parent(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGHUP) != 0)
        return SC_FAIL(SC_INTERNAL, "cannot follow the parent process: %s", strerror(errno));
    if (getppid() != parent || is_orphan(parent))
        return SC_FAIL(SC_CANCELLED, "the process that started this worker is gone");
    return SC_OK;
}

/* ---- */

static sc_status load_keys(const char *path, sc_node_keys *out)
{
    sc_certificate own;
    SC_TRY(sc_certificate_load(path, &own));
    bool complete = own.secret_key[0] && own.coordinator.z85[0];
    *out = (sc_node_keys){.public_key = own.public_key, .server = own.coordinator};
    memcpy(out->secret_key, own.secret_key, sizeof out->secret_key);
    sc_certificate_wipe(&own);
    if (!complete)
        return SC_FAIL(
            SC_INVALID,
            "%s is not a worker's key: it lacks a secret key, or its coordinator's public one; give the .key "
            "file that 'stagecoach keygen' made for this worker",
            path);
    return SC_OK;
}

static sc_status work(const options *self, const sc_ops *ops, pid_t parent)
{
    char listen[SC_ENDPOINT_BYTES];
    if (self->listen)
        snprintf(listen, sizeof listen, "%s", self->listen);
    else
        SC_TRY(sc_session_endpoint_listen(self->coordinator, listen));
    sc_node_keys keys = {0};
    if (self->key)
        SC_TRY(load_keys(self->key, &keys));
    SC_TRY(catch_signals(listen));
    if (self->local_index >= 0)
        SC_TRY(follow_parent(parent));
    sc_session_options session_options = {
        .coordinator = self->coordinator,
        .listen = listen,
        .advertise = self->advertise,
        .ops = ops,
        .threads = self->threads,
        .local_index = self->local_index,
        .clock = sc_clock_system(),
        .stop_fd = stop_pipe[0],
        .preempt_file = self->preempt_file,
        .ready_file = self->ready_file,
        .grace_ms = (uint32_t)self->grace_ms,
        .keys = self->key ? &keys : NULL,
        .key_file = self->key,
    };
    sc_session *session;
    SC_TRY(sc_session_new(&session_options, &session));
    sc_status status = sc_session_run(session);
    sc_session_destroy(&session);
    explicit_bzero(&keys, sizeof keys);
    return status;
}

int main(int argc, char **argv)
{
    pid_t parent = getppid();
    options given;
    const sc_ops *ops;
    int exit_status = parse_options(argc, argv, &given);
    if (exit_status < 0 && given.check)
        exit_status = check_ready(&given);
    if (exit_status < 0)
        exit_status = check_options(&given, &ops);
    if (exit_status >= 0)
        return exit_status;
    if (work(&given, ops, parent) != SC_OK) {
        fprintf(stderr, "stagecoach-worker: %s\n", sc_status_message());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
