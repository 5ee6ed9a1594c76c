/* The program `stagecoach`: finds the command and hands over to it. */
#include "coordinator/cli/cli.h"
#include "proto/base/spelling.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} command;

static const command commands[] = {
    {"train", sc_cli_train, "train a model with workers on this machine"},
    {"serve", sc_cli_serve, "train a model with workers that come from elsewhere"},
    {"status", sc_cli_status, "show what a run is doing"},
    {"healthcheck", sc_cli_healthcheck, "exit with 0 if a run's coordinator is well"},
    {"plan", sc_cli_plan, "show a schedule: its grid, idle time and memory"},
    {"batches", sc_cli_batches, "print the micro-batches that training will see"},
    {"tokenize", sc_cli_tokenize, "write the tokens of texts to a file, or make a vocabulary from texts"},
    {"generate", sc_cli_generate, "write text with a trained model"},
    {"predict", sc_cli_predict, "labels, entities or masked words of texts by a trained model"},
    {"watch", sc_cli_watch, "an alarm when a label becomes frequent in a stream of texts"},
    {"evaluate", sc_cli_evaluate, "loss and perplexity of a text under a trained model"},
    {"report", sc_cli_report, "precision, recall and F1 of a file of predictions"},
    {"export", sc_cli_export, "write a trained model as Hugging Face's programs read it"},
    {"keygen", sc_cli_keygen, "make the keys of a coordinator and its workers"},
    {"verify", sc_cli_verify, "read all that a run has saved and say what is damaged"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(void)
{
    puts("Usage: stagecoach COMMAND [OPTION]...\n\n"
         "Trains transformer language models over a pipeline of stages.\n");
    for (int i = 0; i < N_COMMANDS; i++)
        printf("  %-11s %s\n", commands[i].name, commands[i].summary);
    puts("\n  --help      show this text; after a command, that command's\n"
         "  --version   show the version");
}

static int unknown(const char *name)
{
    const char *nearest = NULL;
    size_t best = strlen(name) / 3 + 2; /* as many slips as are still a slip: "trian" is two from "train" */
    for (int i = 0; i < N_COMMANDS; i++) {
        size_t distance = sc_spelling_distance(name, commands[i].name);
        if (distance < best) {
            best = distance;
            nearest = commands[i].name;
        }
    }
    const char *kind = name[0] == '-' ? "option" : "command";
    if (nearest)
        return sc_cli_usage("stagecoach", "unknown %s '%s'; did you mean '%s'?", kind, name, nearest);
    return sc_cli_usage("stagecoach", "unknown %s '%s'", kind, name);
}

/* A file opened by us must never become 0, 1 or 2, or output meant for the user would land in it. */
static void claim_standard_files(void)
{
    int fd;
    do /* read-only: writing to a standard output that was closed stays an error */
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    claim_standard_files();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error like any other */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file that reaches its limit */
    if (argc < 2)
        return sc_cli_usage("stagecoach", "a COMMAND is missing");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return sc_cli_finish("stagecoach", SC_EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("stagecoach " SC_VERSION);
        return sc_cli_finish("stagecoach", SC_EXIT_OK);
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            char title[32];
            snprintf(title, sizeof title, "stagecoach %s", commands[i].name);
            argv[1] = title;
            return commands[i].run(argc - 1, argv + 1);
        }
    return unknown(argv[1]);
}
