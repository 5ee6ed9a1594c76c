/* Two nodes in one thread, polled in turn until something is so: no sleep decides a race. */
#ifndef NODE_FIXTURE_H
#define NODE_FIXTURE_H

#include "proto/base/clock.h"
#include "proto/wire/node.h"

#include "proto/stagecoach.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum {
    MAX_TENSORS = 256,
    DEADLINE_S = 120 /* far beyond what anything here takes, also under a sanitizer on a crowded machine */
};

typedef struct side {
    sc_node *node;
    sc_peer *met; /* the last that said Hello */
    int n_met;
    sc_tensor_message tensors[MAX_TENSORS];
    int n_tensors;
} side;

static void keep_tensor(void *context, sc_peer *peer, sc_tensor_message *message)
{
    side *self = context;
    (void)peer;
    assert_true(self->n_tensors < MAX_TENSORS);
    self->tensors[self->n_tensors++] = *message;
}

static void keep_peer(void *context, sc_peer *peer)
{
    side *self = context;
    self->met = peer;
    self->n_met++;
}

static inline sc_node_options side_options(side *self, const char *name)
{
    return (sc_node_options){
        .name = name,
        .clock = sc_clock_system(),
        .resend_ms = 50,
        .heartbeat_ms = 1000,
        .max_message_bytes = 64 << 20,
        .context = self,
        .on_tensor = keep_tensor,
        .on_peer = keep_peer,
    };
}

static inline void side_open(side *self, const sc_node_options *options)
{
    *self = (side){0};
    assert_int_equal(sc_node_new(options, &self->node), SC_OK);
}

static inline void side_close(side *self)
{
    sc_node_destroy(&self->node, 0);
    for (int i = 0; i < self->n_tensors; i++)
        sc_tensor_message_clear(&self->tensors[i]);
}

/* Polls until `condition`; fails the test after DEADLINE_S. `extra` runs in each turn. */
#define POLL_UNTIL_WITH(a, b, condition, extra)                                                                        \
    do {                                                                                                               \
        sc_clock poll_clock_ = sc_clock_system();                                                                      \
        uint64_t poll_start_ = sc_clock_ns(&poll_clock_);                                                              \
        while (!(condition)) {                                                                                         \
            extra;                                                                                                     \
            assert_int_equal(sc_node_poll((a)->node, 1), SC_OK);                                                       \
            assert_int_equal(sc_node_poll((b)->node, 1), SC_OK);                                                       \
            if (sc_clock_seconds_since(&poll_clock_, poll_start_) > DEADLINE_S)                                        \
                fail_msg("not within %d s: %s", DEADLINE_S, #condition);                                               \
        }                                                                                                              \
    } while (0)
#define POLL_UNTIL(a, b, condition) POLL_UNTIL_WITH(a, b, condition, (void)0)

/* Binds to an endpoint that a node had which was destroyed a moment ago: libzmq closes its sockets in the background. */
static inline const char *side_bind_again(side *self, const char *endpoint)
{
    const char *bound = NULL;
    sc_status status = sc_node_bind(self->node, endpoint, &bound);
    POLL_UNTIL_WITH(self, self, status == SC_OK, status = sc_node_bind(self->node, endpoint, &bound));
    return bound;
}

/* A float tensor of n elements, all of value `value`. */
static inline sc_buffer *floats(size_t n, float value)
{
    sc_buffer *buffer = NULL;
    assert_int_equal(sc_buffer_new(n * sizeof(float), &buffer), SC_OK);
    for (size_t i = 0; i < n; i++)
        ((float *)sc_buffer_data(buffer))[i] = value;
    return buffer;
}

static inline sc_tensor_name name_of(uint64_t generation, uint64_t step, uint32_t microbatch)
{
    return (sc_tensor_name){
        .generation = generation,
        .step = step,
        .microbatch = microbatch,
        .stage = 1,
        .kind = STAGECOACH__V1__TENSOR_KIND__ACTIVATION,
    };
}

/* What a call came to. */
typedef struct outcome {
    int n;
    sc_status status;
    char message[512];
    uint32_t lease_ms;
    size_t payload_bytes;
} outcome;

static inline void keep_outcome(void *context, sc_peer *peer, const sc_result *result)
{
    outcome *self = context;
    (void)peer;
    self->n++;
    self->status = result->status;
    snprintf(self->message, sizeof self->message, "%s", result->message);
    if (result->reply && result->reply->descriptor == &stagecoach__v1__join_reply__descriptor)
        self->lease_ms = ((const Stagecoach__V1__JoinReply *)result->reply)->lease_ms;
    self->payload_bytes = result->payload ? sc_buffer_bytes(result->payload) : 0;
}

/* ---- a coordinator that knows no method but Join ------------------------------------------------------------------ */

static inline void refuse_join(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *input,
                               Stagecoach__V1__JoinReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_UNIMPLEMENTED, "not here");
}

static inline void refuse_progress(Stagecoach__V1__Coordinator_Service *service,
                                   const Stagecoach__V1__ProgressRequest *input,
                                   Stagecoach__V1__ProgressReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_UNIMPLEMENTED, "not here");
}

static inline void refuse_leave(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__LeaveRequest *input,
                                Stagecoach__V1__LeaveReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_UNIMPLEMENTED, "not here");
}

static inline void refuse_drain(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__DrainRequest *input,
                                Stagecoach__V1__DrainReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_UNIMPLEMENTED, "not here");
}

typedef void (*join_method)(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *input,
                            Stagecoach__V1__JoinReply_Closure closure, void *closure_data);

static inline Stagecoach__V1__Coordinator_Service only_join(join_method join)
{
    Stagecoach__V1__Coordinator_Service service = STAGECOACH__V1__COORDINATOR__INIT(refuse_);
    service.join = join;
    return service;
}

#endif
