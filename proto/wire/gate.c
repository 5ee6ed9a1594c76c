#include "proto/wire/gate.h"

#include "proto/base/log.h"
#include "proto/base/thread.h"

#include <czmq.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "gate"

enum {
    WATCH_MS = 1000,         /* between two looks at the directory */
    MAX_WAITING = 256,       /* questions that a patient gate has not answered; more are answered at once */
    MAX_ROUTE_BYTES = 255,   /* libzmq's longest */
    MAX_REQUEST_ID = 255,    /* RFC 27's */
    ZAP_FRAMES = 9,          /* route, delimiter, version, request id, domain, address, identity, mechanism, key */
    MAX_QUESTION_BYTES = 64, /* of a frame that is looked at as text */
};

struct sc_gate {
    sc_gate *next; /* in `porter.gates` */
    char *name, *allowed_dir;
    char domain[32];
    sc_clock clock;
    uint32_t patience_ms;
    sc_allow_list list;         /* under porter.lock, as the porter reads it */
    uint64_t stamp, watched_ms; /* of the directory, when the list was read; the last look */
    sc_log_limit refusals;      /* the porter's */
};

/* A question that is not answered yet. */
typedef struct waiting {
    unsigned char route[MAX_ROUTE_BYTES], request_id[MAX_REQUEST_ID];
    size_t route_bytes, request_id_bytes;
    char domain[32], address[MAX_QUESTION_BYTES];
    sc_public_key key;
    uint64_t until_ms;
} waiting;

/* The thread that answers, there while there are gates. */
static struct {
    pthread_mutex_t lock;
    sc_gate *gates;
    int n_gates;
    unsigned long long n_domains;
    pthread_t thread;
    zsock_t *socket;
    int wake_fd;
    atomic_bool stop;
    waiting *queue; /* [MAX_WAITING]; the thread's own */
    size_t n_waiting;
} porter = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake_fd = -1};

/* ---- the porter ---------------------------------------------------------------------------------------------------- */

static void answer(const waiting *question, const char *code, const char *text)
{
    void *handle = zsock_resolve(porter.socket);
    const char *user = code[0] == '2' ? question->key.z85 : "";
    zmq_send(handle, question->route, question->route_bytes, ZMQ_SNDMORE);
    zmq_send(handle, "", 0, ZMQ_SNDMORE);
    zmq_send(handle, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(handle, question->request_id, question->request_id_bytes, ZMQ_SNDMORE);
    zmq_send(handle, code, strlen(code), ZMQ_SNDMORE);
    zmq_send(handle, text, strlen(text), ZMQ_SNDMORE);
    zmq_send(handle, user, strlen(user), ZMQ_SNDMORE); /* User-Id */
    zmq_send(handle, "", 0, 0);
}

/* Under the lock. */
static sc_gate *gate_of(const char *domain)
{
    sc_gate *gate = porter.gates;
    while (gate && strcmp(gate->domain, domain) != 0)
        gate = gate->next;
    return gate;
}

/* Under the lock. A stranger cannot fill the disk with it. */
static void log_refusal(sc_gate *gate, const waiting *question)
{
    char more[64];
    if (!sc_log_limit_pass(&gate->refusals, sc_clock_ms(&gate->clock), more, sizeof more))
        return;
    static const char mapped[] = "::ffff:"; /* an IPv4 address, as an IPv6 socket has it */
    const char *address = question->address;
    if (strncmp(address, mapped, sizeof mapped - 1) == 0 && strchr(address, '.'))
        address += sizeof mapped - 1;
    SC_WARN("%s: %s was turned away: its key %s is not among those that may come%s", gate->name, address,
            question->key.z85, more);
}

/* False: it has to wait. *left_ms is how long at most. */
static bool decide(const waiting *question, bool may_wait, uint64_t *left_ms)
{
    const char *code = "400", *text = "no gate for this domain";
    pthread_mutex_lock(&porter.lock);
    sc_gate *gate = gate_of(question->domain);
    bool waits = false;
    if (gate && sc_allow_list_has(&gate->list, question->key.z85)) {
        code = "200", text = "welcome";
    } else if (gate) {
        uint64_t now_ms = sc_clock_ms(&gate->clock);
        waits = may_wait && now_ms < question->until_ms;
        *left_ms = waits ? question->until_ms - now_ms : 0;
        code = gate->patience_ms > 0 ? "300" : "400";
        text = "this key may not come";
        if (!waits)
            log_refusal(gate, question);
    }
    pthread_mutex_unlock(&porter.lock);
    if (!waits)
        answer(question, code, text);
    return !waits;
}

/* A frame into `to` of `room` bytes; false if it does not fit. */
static bool take_frame(zmq_msg_t *frame, void *to, size_t room, size_t *bytes)
{
    *bytes = zmq_msg_size(frame);
    if (*bytes > room)
        return false;
    memcpy(to, zmq_msg_data(frame), *bytes);
    return true;
}

static bool take_text(zmq_msg_t *frame, char *to, size_t room)
{
    size_t bytes;
    if (!take_frame(frame, to, room - 1, &bytes))
        return false;
    to[bytes] = '\0';
    return strlen(to) == bytes;
}

/* The frames of one question; they come from libzmq itself, in this process. */
static bool read_question(zmq_msg_t *frames, waiting *out)
{
    char version[4], mechanism[8];
    unsigned char key[32];
    size_t key_bytes;
    bool ok = take_frame(&frames[0], out->route, sizeof out->route, &out->route_bytes) &&
              take_text(&frames[2], version, sizeof version) && strcmp(version, "1.0") == 0 &&
              take_frame(&frames[3], out->request_id, sizeof out->request_id, &out->request_id_bytes) &&
              take_text(&frames[4], out->domain, sizeof out->domain) &&
              take_text(&frames[5], out->address, sizeof out->address) &&
              take_text(&frames[7], mechanism, sizeof mechanism) && strcmp(mechanism, "CURVE") == 0 &&
              take_frame(&frames[8], key, sizeof key, &key_bytes) && key_bytes == sizeof key;
    return ok && zmq_z85_encode(out->key.z85, key, sizeof key) != NULL;
}

/* One question; false if there is none. What is no question of ours is not answered: libzmq gives the connection up when its
 * time for the handshake is over. */
static bool take_question(waiting *out, bool *valid)
{
    zmq_msg_t frames[ZAP_FRAMES];
    size_t n = 0, total = 0;
    for (bool more = true; more; total++) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, zsock_resolve(porter.socket), ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            break;
        }
        more = zmq_msg_more(&frame);
        if (n < ZAP_FRAMES)
            frames[n++] = frame;
        else
            zmq_msg_close(&frame);
    }
    *valid = total == ZAP_FRAMES && read_question(frames, out);
    for (size_t i = 0; i < n; i++)
        zmq_msg_close(&frames[i]);
    return total > 0;
}

static void start_waiting(waiting *question)
{
    pthread_mutex_lock(&porter.lock);
    const sc_gate *gate = gate_of(question->domain);
    question->until_ms = gate ? sc_clock_ms(&gate->clock) + gate->patience_ms : 0;
    pthread_mutex_unlock(&porter.lock);
    uint64_t left_ms;
    if (!decide(question, porter.n_waiting < MAX_WAITING, &left_ms))
        porter.queue[porter.n_waiting++] = *question;
}

/* Answers those whose time has come; returns how long to wait for the next, -1: for ever. */
static long look_at_waiting(void)
{
    long timeout_ms = -1;
    size_t kept = 0;
    for (size_t i = 0; i < porter.n_waiting; i++) {
        uint64_t left_ms;
        if (decide(&porter.queue[i], true, &left_ms))
            continue;
        if (timeout_ms < 0 || (long)left_ms < timeout_ms)
            timeout_ms = (long)left_ms;
        porter.queue[kept++] = porter.queue[i];
    }
    porter.n_waiting = kept;
    return timeout_ms;
}

static void *serve(void *unused)
{
    (void)unused;
    while (!atomic_load(&porter.stop)) {
        zmq_pollitem_t items[] = {{.socket = zsock_resolve(porter.socket), .events = ZMQ_POLLIN},
                                  {.fd = porter.wake_fd, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, 2, look_at_waiting()) < 0 && zmq_errno() != EINTR)
            break; /* the context was terminated */
        uint64_t wakes;
        ssize_t got = items[1].revents ? read(porter.wake_fd, &wakes, sizeof wakes) : 0;
        (void)got; /* resets the counter */
        waiting question;
        for (bool valid; take_question(&question, &valid);)
            if (valid)
                start_waiting(&question);
    }
    return NULL;
}

static void wake(void)
{
    uint64_t one = 1;
    ssize_t written = write(porter.wake_fd, &one, sizeof one);
    (void)written; /* it fails only if a wake is pending already */
}

/* ---- gates come and go --------------------------------------------------------------------------------------------- */

/* Gates are made and destroyed by several threads in tests at most; the porter is started and stopped by one at a time. */
static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;

static const char zap_endpoint[] = "inproc://zeromq.zap.01"; /* RFC 27's */

static void close_porter(void)
{
    if (porter.socket)
        zmq_unbind(zsock_resolve(porter.socket), zap_endpoint); /* at once: a socket is closed later, and by others */
    zsock_destroy(&porter.socket);
    if (porter.wake_fd >= 0)
        close(porter.wake_fd);
    porter.wake_fd = -1;
    free(porter.queue);
    porter.queue = NULL;
    porter.n_waiting = 0;
}

static sc_status open_porter(void)
{
    atomic_store(&porter.stop, false);
    porter.queue = calloc(MAX_WAITING, sizeof *porter.queue);
    porter.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    porter.socket = zsock_new(ZMQ_ROUTER);
    sc_status status = SC_OK;
    if (!porter.queue || porter.wake_fd < 0 || !porter.socket)
        status = SC_FAIL(SC_INTERNAL, "no means to check keys: %s", strerror(errno));
    if (status == SC_OK) {
        zsock_set_linger(porter.socket, 0);
        if (zmq_bind(zsock_resolve(porter.socket), zap_endpoint) != 0)
            status = SC_FAIL(SC_INTERNAL, "this process checks keys elsewhere: %s", zmq_strerror(zmq_errno()));
    }
    if (status == SC_OK)
        status = sc_thread_start(&porter.thread, "key checks", serve, NULL);
    if (status != SC_OK)
        close_porter();
    return status;
}

static sc_status enter(sc_gate *self)
{
    sc_status status = SC_OK;
    pthread_mutex_lock(&life);
    if (porter.n_gates == 0)
        status = open_porter();
    if (status == SC_OK) {
        pthread_mutex_lock(&porter.lock);
        porter.n_gates++;
        snprintf(self->domain, sizeof self->domain, "stagecoach-%llu", ++porter.n_domains);
        self->next = porter.gates;
        porter.gates = self;
        pthread_mutex_unlock(&porter.lock);
    }
    pthread_mutex_unlock(&life);
    return status;
}

static void leave(sc_gate *self)
{
    pthread_mutex_lock(&life);
    pthread_mutex_lock(&porter.lock);
    sc_gate **link = &porter.gates;
    while (*link && *link != self)
        link = &(*link)->next;
    bool there = *link != NULL;
    if (there)
        *link = self->next;
    porter.n_gates -= there;
    bool last = there && porter.n_gates == 0;
    pthread_mutex_unlock(&porter.lock);
    if (last) {
        atomic_store(&porter.stop, true);
        wake();
        pthread_join(porter.thread, NULL);
        close_porter();
    }
    pthread_mutex_unlock(&life);
}

sc_status sc_gate_new(const sc_gate_options *options, sc_gate **out)
{
    sc_gate *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a gate");
    self->clock = options->clock;
    self->patience_ms = options->patience_ms;
    self->name = strdup(options->name);
    self->allowed_dir = options->allowed_dir ? strdup(options->allowed_dir) : NULL;
    sc_status status = SC_OK;
    if (!self->name || (options->allowed_dir && !self->allowed_dir))
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a gate");
    if (status == SC_OK && self->allowed_dir) {
        self->stamp = sc_allow_list_stamp(self->allowed_dir); /* first: what changes while it is read is seen later */
        status = sc_allow_list_load(self->allowed_dir, &self->list);
    }
    if (status == SC_OK)
        status = enter(self);
    if (status != SC_OK) {
        sc_gate_destroy(&self);
        return status;
    }
    *out = self;
    return SC_OK;
}

void sc_gate_destroy(sc_gate **self_p)
{
    sc_gate *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    leave(self);
    sc_allow_list_clear(&self->list);
    free(self->name);
    free(self->allowed_dir);
    free(self);
}

const char *sc_gate_domain(const sc_gate *self)
{
    return self->domain;
}

/* ---- the list ------------------------------------------------------------------------------------------------------ */

/* Takes the list. */
static void put_list(sc_gate *self, sc_allow_list *list)
{
    pthread_mutex_lock(&porter.lock);
    sc_allow_list old = self->list;
    self->list = *list;
    pthread_mutex_unlock(&porter.lock);
    sc_allow_list_clear(&old);
    wake();
}

sc_status sc_gate_allow(sc_gate *self, const sc_public_key *keys, size_t n)
{
    sc_allow_list list = {0};
    SC_TRY(sc_allow_list_set(&list, keys, n));
    put_list(self, &list);
    return SC_OK;
}

bool sc_gate_watch(sc_gate *self)
{
    uint64_t now_ms = sc_clock_ms(&self->clock);
    if (!self->allowed_dir || now_ms - self->watched_ms < WATCH_MS)
        return false;
    self->watched_ms = now_ms;
    uint64_t stamp = sc_allow_list_stamp(self->allowed_dir);
    if (stamp == self->stamp)
        return false;
    self->stamp = stamp;
    sc_allow_list list;
    if (sc_allow_list_load(self->allowed_dir, &list) != SC_OK) {
        SC_ERROR("%s: the list of keys that may come stays as it was: %s", self->name, sc_status_message());
        return false;
    }
    SC_INFO("%s: %zu keys in %s may come", self->name, list.n, self->allowed_dir);
    put_list(self, &list);
    return true;
}

bool sc_gate_admits(const sc_gate *self, const char *key)
{
    return sc_allow_list_has(&self->list, key); /* this thread alone changes it */
}
