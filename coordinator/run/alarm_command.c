#include "coordinator/run/alarm_command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Ours, with STAGECOACH_ALARM. Owned, its first entry too. */
static char **make_environment(const char *json, size_t n)
{
    static const char name[] = "STAGECOACH_ALARM=";
    size_t n_old = 0, at = 1;
    while (environ[n_old])
        n_old++;
    char **out = calloc(n_old + 2, sizeof *out);
    if (out)
        out[0] = malloc(sizeof name + n);
    if (!out || !out[0]) {
        free(out);
        return NULL;
    }
    memcpy(out[0], name, sizeof name - 1);
    memcpy(out[0] + sizeof name - 1, json, n);
    out[0][sizeof name - 1 + n - (n > 0 && json[n - 1] == '\n')] = '\0';
    for (size_t i = 0; i < n_old; i++)
        if (strncmp(environ[i], name, sizeof name - 1) != 0)
            out[at++] = environ[i];
    return out;
}

/* A file of the JSON, to be read from its beginning; -1 if there is none. */
static int make_input(const char *json, size_t n)
{
    const int fd = memfd_create("alarm", MFD_CLOEXEC);
    if (fd >= 0 && (write(fd, json, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* 0, or an errno. The command has signals as if nobody had blocked them. */
static int spawn(const char *command, int input, char **environment, pid_t *pid)
{
    char *const arguments[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGXFSZ);
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (!error) {
        posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &usual);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        error = posix_spawn(pid, "/bin/sh", &actions, &attributes, arguments, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

void sc_alarm_command_start(sc_alarm_command *self, const char *json, size_t n)
{
    if (!self->command)
        return;
    sc_alarm_command_look(self);
    if (self->n_running == SC_ALARM_COMMANDS) {
        fprintf(stderr, "%s: %d commands of earlier alarms still run; this one's is left out\n", self->title,
                self->n_running);
        return;
    }
    const int input = make_input(json, n);
    char **environment = make_environment(json, n);
    const int error =
        input < 0 || !environment ? ENOMEM : spawn(self->command, input, environment, &self->running[self->n_running]);
    if (error)
        fprintf(stderr, "%s: cannot run '%s': %s\n", self->title, self->command, strerror(error));
    else
        self->n_running++;
    if (environment)
        free(environment[0]);
    free(environment);
    if (input >= 0)
        close(input);
}

static void tell(const sc_alarm_command *self, int status)
{
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: '%s' was ended by signal %d\n", self->title, self->command, WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        fprintf(stderr, "%s: '%s' ended with exit code %d\n", self->title, self->command, WEXITSTATUS(status));
}

void sc_alarm_command_look(sc_alarm_command *self)
{
    int n = 0, status;
    for (int i = 0; i < self->n_running; i++) {
        const pid_t pid = waitpid(self->running[i], &status, WNOHANG);
        if (pid == 0)
            self->running[n++] = self->running[i];
        else if (pid > 0)
            tell(self, status);
    }
    self->n_running = n;
}

void sc_alarm_command_finish(sc_alarm_command *self, const sc_clock *clock, uint64_t grace_ms)
{
    enum { TURN_MS = 20 };
    const uint64_t begin = sc_clock_ms(clock);
    for (sc_alarm_command_look(self); self->n_running > 0; sc_alarm_command_look(self)) {
        if (sc_clock_ms(clock) - begin > grace_ms) {
            fprintf(stderr, "%s: '%s' has not ended within %g s\n", self->title, self->command,
                    (double)grace_ms / 1000);
            for (int i = 0; i < self->n_running; i++)
                kill(self->running[i], SIGKILL);
            for (int i = 0; i < self->n_running; i++)
                waitpid(self->running[i], NULL, 0);
            self->n_running = 0;
            return;
        }
        poll(NULL, 0, TURN_MS);
    }
}
