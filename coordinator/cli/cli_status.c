/* stagecoach status and stagecoach healthcheck: a run seen through its status server. */
#include "coordinator/cli/cli.h"
#include "coordinator/run/run_dir.h"
#include "coordinator/status/http_client.h"
#include "coordinator/status/status_text.h"
#include "proto/base/files.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char default_url[] = "http://127.0.0.1:8080/";
static const double most_seconds = 5;

static const char help_status[] = "Usage: stagecoach status [RUN | URL] [--watch] [--json]\n"
                                  "\n"
                                  "Shows a run that is going on: its step, loss and throughput, and what each stage "
                                  "does. RUN is its directory, URL its\n"
                                  "status server (status.listen; default http://127.0.0.1:8080/).\n"
                                  "\n"
                                  "  --watch  again and again, until the run is over\n"
                                  "  --json   one line of JSON, as the API's /api/v1/status and /api/v1/stages\n"
                                  "  --help   show this text\n";
static const char help_healthcheck[] =
    "Usage: stagecoach healthcheck [RUN | URL] [--ready]\n"
    "\n"
    "Exits with 0 if the coordinator of a run is well, with 1 if not: for containers and supervisors.\n"
    "\n"
    "  --ready  only if the run is training\n"
    "  --help   show this text\n";

typedef struct arguments {
    const char *target; /* NULL: the default */
    bool watch, json, ready, help;
} arguments;

/* False, with a message, for wrong usage. */
static bool parse(int argc, char **argv, const struct option *options, arguments *a)
{
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'w':
            a->watch = true;
            break;
        case 'j':
            a->json = true;
            break;
        case 'r':
            a->ready = true;
            break;
        case 'h':
            a->help = true;
            return true;
        default:
            sc_cli_try_help(argv[0]);
            return false;
        }
    }
    if (argc - optind > 1) {
        sc_cli_usage(argv[0], "more than one RUN is given");
        return false;
    }
    a->target = argv[optind];
    return true;
}

/* The server's URL, owned. */
static sc_status find_url(const char *target, char **url)
{
    char path[PATH_MAX];
    size_t n;
    if (!target || strncmp(target, "http://", 7) == 0) {
        *url = strdup(target ? target : default_url);
        return *url ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a URL");
    }
    if (snprintf(path, sizeof path, "%s/" SC_RUN_DIR_URL, target) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "the path %s is too long", target);
    const sc_status status = sc_files_read(path, 4096, url, &n);
    if (status == SC_NOT_FOUND)
        return SC_FAIL(status, "%s: no run that goes on has a status server here; name a run's directory, or the URL",
                       target);
    SC_TRY(status);
    (*url)[strcspn(*url, "\n")] = '\0';
    return SC_OK;
}

static sc_status get_json(const char *url, const char *path, json_t **out)
{
    sc_http_reply reply;
    *out = NULL;
    SC_TRY(sc_http_get(url, path, most_seconds, &reply));
    if (reply.status == 200)
        *out = json_loadb(reply.body, reply.n_bytes, JSON_REJECT_DUPLICATES, NULL);
    sc_status status = SC_OK;
    if (!*out)
        status = SC_FAIL(SC_UNAVAILABLE, "%s: %s was answered with status %d%s; is it a coordinator of Stagecoach?",
                         url, path, reply.status, reply.status == 200 ? " and no JSON" : "");
    sc_http_reply_clear(&reply);
    return status;
}

static int width_of_output(void)
{
    struct winsize size;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static void print(const arguments *a, json_t *status, json_t *stages)
{
    if (a->json) {
        json_t *both = json_pack("{s:O, s:O}", "status", status, "stages", stages);
        json_dumpf(both, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(both);
        return;
    }
    if (a->watch && isatty(STDOUT_FILENO))
        fputs("\033[H\033[J", stdout); /* from the top left corner, on an empty screen */
    sc_status_text_print(status, stages, width_of_output(), stdout);
}

/* *over: the run is. */
static sc_status show(const arguments *a, const char *url, bool *over)
{
    json_t *status = NULL, *stages = NULL;
    sc_status result = get_json(url, "/api/v1/status", &status);
    if (result == SC_OK)
        result = get_json(url, "/api/v1/stages", &stages);
    if (result == SC_OK) {
        const char *state = json_string_value(json_object_get(status, "state"));
        *over = state && (strcmp(state, "finished") == 0 || strcmp(state, "failed") == 0);
        print(a, status, stages);
    }
    json_decref(status);
    json_decref(stages);
    return result;
}

static sc_status watch(const arguments *a, const char *url)
{
    bool over = false, seen = false;
    while (!over && !ferror(stdout)) {
        const sc_status status = show(a, url, &over);
        if (status == SC_UNAVAILABLE && seen) { /* the coordinator goes with its run */
            fprintf(stderr, "the run is over\n");
            return SC_OK;
        }
        SC_TRY(status);
        seen = true;
        fflush(stdout);
        if (!a->watch)
            return SC_OK;
        sleep(1);
    }
    return SC_OK;
}

int sc_cli_status(int argc, char **argv)
{
    static const struct option options[] = {{"watch", no_argument, NULL, 'w'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    arguments a = {0};
    char *url = NULL;
    int code = SC_EXIT_OK;
    if (!parse(argc, argv, options, &a))
        code = SC_EXIT_USAGE;
    else if (a.help)
        fputs(help_status, stdout);
    else if (find_url(a.target, &url) != SC_OK || watch(&a, url) != SC_OK)
        code = sc_cli_failed(argv[0]);
    free(url);
    return sc_cli_finish(argv[0], code);
}

static sc_status check(const char *url, const char *path)
{
    sc_http_reply reply;
    SC_TRY(sc_http_get(url, path, most_seconds, &reply));
    sc_status status = SC_OK;
    if (reply.status != 200)
        status = SC_FAIL(SC_UNAVAILABLE, "%s is not well: %s was answered with status %d: %.200s", url, path,
                         reply.status, reply.body);
    sc_http_reply_clear(&reply);
    return status;
}

int sc_cli_healthcheck(int argc, char **argv)
{
    static const struct option options[] = {
        {"ready", no_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    arguments a = {0};
    char *url = NULL;
    int code = SC_EXIT_OK;
    if (!parse(argc, argv, options, &a))
        code = SC_EXIT_USAGE;
    else if (a.help)
        fputs(help_healthcheck, stdout);
    else if (find_url(a.target, &url) != SC_OK || check(url, a.ready ? "/readyz" : "/healthz") != SC_OK)
        code = sc_cli_failed(argv[0]);
    free(url);
    return sc_cli_finish(argv[0], code);
}
