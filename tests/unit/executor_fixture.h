/* Executors of one pipeline in one process: the test's thread is the network between them. Each test includes it once. */
#ifndef SC_EXECUTOR_FIXTURE_H
#define SC_EXECUTOR_FIXTURE_H

#include "tests/unit/assign_fixture.h"
#include "worker/executor.h"

#include <pthread.h>
#include <time.h>

enum { MAX_WORKERS = 3, MAX_DONE = 8, PATIENCE_S = 60 /* of the test: for a slow machine under a sanitizer */ };

typedef struct cluster cluster;
struct cluster {
    int S;
    sc_assignment *assignments[MAX_WORKERS];
    sc_mailbox *mailboxes[MAX_WORKERS];
    sc_executor *executors[MAX_WORKERS];
    uint64_t epochs[MAX_WORKERS];
    uint64_t last_ticket;
    sc_executor_event *done[MAX_WORKERS][MAX_DONE]; /* by arrival */
    int n_done[MAX_WORKERS];
    int n_awaits;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_notified; /* under the lock */
};

static inline void notify(void *context)
{
    cluster *self = context;
    pthread_mutex_lock(&self->lock);
    self->n_notified++;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static inline void take_event(cluster *self, int w, sc_executor_event *event)
{
    if (event->kind == SC_EVENT_DONE) {
        assert_true(self->n_done[w] < MAX_DONE);
        self->done[w][self->n_done[w]++] = event;
        return;
    }
    if (event->kind == SC_EVENT_AWAIT)
        self->n_awaits++;
    else {
        const sc_assignment *to = self->assignments[event->worker];
        assert_int_equal(sc_assignment_check_tensor(to, &event->tensor.name, event->tensor.dtype, &event->tensor.shape),
                         SC_OK);
        assert_int_equal(sc_assignment_sender(to, &event->tensor.name), w);
        assert_int_equal(sc_mailbox_put(self->mailboxes[event->worker], self->epochs[event->worker], &event->tensor),
                         SC_OK);
    }
    sc_executor_event_destroy(&event);
}

/* Carries events about until worker w has `n_done` results (or somebody reported a long wait, if `await`). */
static inline void pump(cluster *self, int w, int n_done, bool await)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    for (;;) {
        pthread_mutex_lock(&self->lock);
        unsigned seen = self->n_notified;
        pthread_mutex_unlock(&self->lock);
        for (int i = 0; i < self->S; i++)
            for (sc_executor_event *event; (event = sc_executor_take_event(self->executors[i]));)
                take_event(self, i, event);
        if (await ? self->n_awaits > 0 : self->n_done[w] >= n_done)
            break;
        int late = 0;
        pthread_mutex_lock(&self->lock);
        while (self->n_notified == seen && !late)
            late = pthread_cond_timedwait(&self->changed, &self->lock, &deadline);
        pthread_mutex_unlock(&self->lock);
        assert_int_equal(late, 0);
    }
    self->n_awaits = 0;
}

/* Takes the oldest result. */
static inline sc_executor_event *next_done(cluster *self, int w)
{
    pump(self, w, 1, false);
    sc_executor_event *done = self->done[w][0];
    self->n_done[w]--;
    for (int i = 0; i < self->n_done[w]; i++)
        self->done[w][i] = self->done[w][i + 1];
    return done;
}

static inline void expect_done(cluster *self, int w, sc_status status)
{
    sc_executor_event *done = next_done(self, w);
    if (done->status != status)
        fail_msg("worker %d: %s (%s), expected %s", w, sc_status_name(done->status), done->message ? done->message : "",
                 sc_status_name(status));
    sc_executor_event_destroy(&done);
}

/* Takes the fixture. */
static inline void cluster_open(cluster *self, int S, assign_fixture *fixture)
{
    *self = (cluster){.S = S};
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    for (int w = 0; w < S; w++) {
        fixture->request.worker = (uint32_t)w;
        if (sc_assignment_parse(&fixture->request, &self->assignments[w]) != SC_OK)
            fail_msg("%s", sc_status_message());
        assert_int_equal(sc_mailbox_new(&self->mailboxes[w]), SC_OK);
        sc_executor_options options = {.ops = &sc_ops_reference,
                                       .threads = 1,
                                       .clock = sc_clock_system(),
                                       .mailbox = self->mailboxes[w],
                                       .notify = notify,
                                       .context = self};
        assert_int_equal(sc_executor_new(&options, &self->executors[w]), SC_OK);
        assert_int_equal(sc_mailbox_open(self->mailboxes[w], 1, self->assignments[w]->limits, &self->epochs[w]), SC_OK);
    }
    for (int w = 0; w < S; w++) {
        assert_int_equal(
            sc_executor_assign(self->executors[w], ++self->last_ticket, self->epochs[w], self->assignments[w]), SC_OK);
        expect_done(self, w, SC_OK);
    }
    fixture_clear(fixture);
}

static inline void cluster_new(cluster *self, int S, int K, const char *train, const char *forward, uint32_t resend_ms)
{
    assign_fixture fixture;
    fixture_fill(&fixture, S, K, train, forward);
    fixture.request.resend_ms = resend_ms;
    cluster_open(self, S, &fixture);
}

static inline void cluster_destroy(cluster *self)
{
    for (int w = 0; w < self->S; w++) {
        sc_executor_destroy(&self->executors[w]);
        sc_mailbox_destroy(&self->mailboxes[w]);
        sc_assignment_unref(&self->assignments[w]);
        for (int i = 0; i < self->n_done[w]; i++)
            sc_executor_event_destroy(&self->done[w][i]);
    }
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
}

static inline void run(cluster *self, int w, const sc_run_step *step)
{
    assert_int_equal(sc_executor_run(self->executors[w], ++self->last_ticket, self->epochs[w], step), SC_OK);
}

static inline void apply(cluster *self, int w, uint64_t step)
{
    sc_apply_step verdict = {.step = step, .grad_scale = 0.5f, .learning_rate = 1e-2f};
    assert_int_equal(sc_executor_apply(self->executors[w], ++self->last_ticket, self->epochs[w], &verdict), SC_OK);
}

#endif
