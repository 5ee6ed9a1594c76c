/* A command that is run with each alarm, without anybody waiting for it.
 *
 * `sh -c COMMAND` gets the alarm's JSON line on its standard input, which is a file and so never blocks, and in STAGECOACH_ALARM. Its
 * standard output is our standard error, so that it does not mix with the alarms. Some run at once; an alarm that comes
 * while as many still run as may is not handed on, which is told. At the end they are waited for, not longer than a grace.
 *
 * Thread: one owns it. Nobody else in the process may wait for any child that ends, only for those of its own. */
#ifndef SC_ALARM_COMMAND_H
#define SC_ALARM_COMMAND_H

#include "proto/base/clock.h"
#include "proto/base/status.h"

#include <stddef.h>
#include <sys/types.h>

enum { SC_ALARM_COMMANDS = 4 }; /* that run at once */

typedef struct sc_alarm_command {
    const char *command; /* borrowed; NULL: none */
    const char *title;   /* borrowed: whose messages they are */
    pid_t running[SC_ALARM_COMMANDS];
    int n_running;
} sc_alarm_command;

/* Starts it with n bytes of JSON, its line end among them. That it cannot be started, or too many run, is told on standard error:
 * the stream goes on. */
void sc_alarm_command_start(sc_alarm_command *self, const char *json, size_t n);
/* Looks which have ended, and tells of those that failed. */
void sc_alarm_command_look(sc_alarm_command *self);
/* Waits for all, then ends those that still run after grace_ms. */
void sc_alarm_command_finish(sc_alarm_command *self, const sc_clock *clock, uint64_t grace_ms);

#endif
