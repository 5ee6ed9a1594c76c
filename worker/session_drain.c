/* Going in good order. Asked to drain, a member tells the coordinator and works on: its state is handed over at a step's
 * end, and Release comes. It leaves at once if it is asked again, if the coordinator does not take over, or when the grace is
 * over. */
#include "worker/session_internal.h"

#include "worker/preempt.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    LEAVE_DEADLINE_MS = 2000, /* a coordinator that does not answer the goodbye keeps nobody */
    DRAIN_DEADLINE_MS = 5000, /* nor one that does not say that it heard */
};

static const ProtobufCServiceDescriptor *const coordinator_service = &stagecoach__v1__coordinator__descriptor;

static void left(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    sc_session *self = context;
    if (result->status != SC_OK)
        SC_WARN("the coordinator did not hear the goodbye: %s", result->message);
    self->state = SC_SESSION_ENDED;
}

static void leave(sc_session *self, const char *why)
{
    if (self->state >= SC_SESSION_LEAVING)
        return;
    SC_INFO("%s: leaving", why);
    bool member = self->state >= SC_SESSION_IDLE;
    sc_session_end(self);
    if (!member)
        return;
    Stagecoach__V1__LeaveRequest request = STAGECOACH__V1__LEAVE_REQUEST__INIT;
    request.reason = (char *)why;
    if (sc_peer_call(self->coordinator, coordinator_service, "Leave", &request.base, NULL, 0, LEAVE_DEADLINE_MS, left,
                     self) == SC_OK)
        self->state = SC_SESSION_LEAVING;
}

static void heard(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    sc_session *self = context;
    if (result->status == SC_OK || self->state >= SC_SESSION_LEAVING)
        return;
    SC_WARN("the coordinator takes nothing over: %s", result->message);
    leave(self, "asked to stop");
}

/* `why` is a literal. */
static void drain(sc_session *self, const char *why)
{
    if (self->state < SC_SESSION_IDLE) {
        leave(self, why); /* nobody counts on it */
        return;
    }
    if (self->draining || self->state >= SC_SESSION_LEAVING)
        return;
    uint32_t grace_ms = self->options.grace_ms;
    SC_INFO("%s: draining; leaving in %.1f s if the coordinator has not released this worker by then", why,
            (double)grace_ms / 1000);
    Stagecoach__V1__DrainRequest request = STAGECOACH__V1__DRAIN_REQUEST__INIT;
    request.reason = (char *)why;
    self->draining = true;
    self->leave_at_ms = sc_session_now_ms(self) + grace_ms;
    if (grace_ms == 0 ||
        sc_peer_call(self->coordinator, coordinator_service, "Drain", &request.base, NULL, 0,
                     grace_ms < DRAIN_DEADLINE_MS ? grace_ms : DRAIN_DEADLINE_MS, heard, self) != SC_OK)
        leave(self, why);
}

void sc_session_on_stop(void *context, int fd)
{
    sc_session *self = context;
    char bytes[16];
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        SC_WARN("the stop descriptor: %s", strerror(errno));
    for (ssize_t i = 0; i < n; i++)
        if (bytes[i] == SC_SESSION_LEAVE || (bytes[i] == SC_SESSION_STOP && self->draining))
            leave(self, "asked to stop at once");
        else
            drain(self, bytes[i] == SC_SESSION_STOP ? "asked to stop" : "told that the machine will be taken away");
}

void sc_session_on_preempt(void *context, int fd)
{
    sc_session *self = context;
    if (sc_preempt_take(fd, self->options.preempt_file))
        drain(self, "the preemption file appeared");
}

void sc_session_tick_drain(sc_session *self, uint64_t now_ms, uint64_t *due_ms)
{
    if (!self->draining)
        return;
    if (now_ms >= self->leave_at_ms)
        leave(self, "the grace is over");
    else if (self->leave_at_ms < *due_ms)
        *due_ms = self->leave_at_ms;
}
