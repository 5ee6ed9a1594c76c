/* The node's tensors against a raw socket of the same kind, two processes, alternating in one run; medians.
 *
 *     bench_wire [ROUNDS [KIND]]
 *
 *   ipc, tcp    as two workers on one host have them: payloads in shared memory, whatever the endpoint
 *   tcp frames  one host, no shared memory (containers that do not see each other's processes)
 *   tcp hosts   as between two hosts: each payload in a frame, hashed at both ends. On one machine the two hashes and both
 *               ends of the socket share the cores and the memory's bandwidth
 *
 * Rate: WINDOW messages on their way, until the last is acknowledged. Round trip: a message there and one back.
 * Own cost: CPU time of the node's thread for each message, its system calls included; the hash of the bytes, or their copy
 * out of shared memory, is measured where it happens and told apart. */
#include "proto/base/clock.h"
#include "proto/wire/frame.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ROUNDS = 101, WINDOW = 8, SINK = STAGECOACH__V1__TENSOR_KIND__ACTIVATION, ECHO, STOP };

typedef struct transport {
    const char *name;
    bool tcp, memory, two_hosts;
} transport;

/* What the two processes share besides the sockets. */
typedef struct board {
    char endpoint[128];
    _Atomic int ready;
    _Atomic double receiver_cpu_s, receiver_bytes_s; /* of the node's thread in the receiving process, so far */
} board;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "bench_wire:%d: %s: %s\n", __LINE__, #condition, sc_status_message());                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static double now_s(void)
{
    sc_clock clock = sc_clock_system();
    return (double)sc_clock_ns(&clock) * 1e-9;
}

/* Of this thread, in the kernel too. */
static double cpu_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double bytes_s; /* CPU time that this process's node has spent on payloads' bytes */
static bool alone;     /* on its host, as far as the node knows */

uint64_t __real_sc_frame_hash(const void *bytes, size_t n_bytes);
uint64_t __wrap_sc_frame_hash(const void *bytes, size_t n_bytes);
sc_status __real_sc_shared_view_copy(sc_shared_view *self, const sc_shared_place *place, void *to);
sc_status __wrap_sc_shared_view_copy(sc_shared_view *self, const sc_shared_place *place, void *to);
uint64_t __real_sc_shared_memory_host(void);
uint64_t __wrap_sc_shared_memory_host(void);

uint64_t __wrap_sc_frame_hash(const void *bytes, size_t n_bytes)
{
    double start = cpu_s();
    uint64_t hash = __real_sc_frame_hash(bytes, n_bytes);
    bytes_s += cpu_s() - start;
    return hash;
}

sc_status __wrap_sc_shared_view_copy(sc_shared_view *self, const sc_shared_place *place, void *to)
{
    double start = cpu_s();
    sc_status status = __real_sc_shared_view_copy(self, place, to);
    bytes_s += cpu_s() - start;
    return status;
}

uint64_t __wrap_sc_shared_memory_host(void)
{
    return alone ? (uint64_t)getpid() : __real_sc_shared_memory_host();
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

/* ---- raw sockets --------------------------------------------------------------------------------------------------- */

typedef struct order {
    uint64_t bytes, n, echo;
} order;

static void write_all(int fd, const char *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t one = write(fd, bytes + done, n - done);
        CHECK(one > 0);
        done += (size_t)one;
    }
}

static void read_all(int fd, char *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t one = read(fd, bytes + done, n - done);
        CHECK(one > 0);
        done += (size_t)one;
    }
}

static void raw_serve(int fd, char *memory)
{
    order job;
    while (read(fd, &job, sizeof job) == sizeof job) {
        for (uint64_t i = 0; i < job.n; i++) {
            read_all(fd, memory, job.bytes);
            if (job.echo)
                write_all(fd, memory, job.bytes);
        }
        if (!job.echo)
            write_all(fd, "", 1);
    }
}

static double raw_run(int fd, char *memory, order job)
{
    double start = now_s();
    write_all(fd, (const char *)&job, sizeof job);
    for (uint64_t i = 0; i < job.n; i++) {
        write_all(fd, memory, job.bytes);
        if (job.echo)
            read_all(fd, memory, job.bytes);
    }
    if (!job.echo)
        read_all(fd, memory, 1);
    return now_s() - start;
}

/* A connected pair of the kind that the endpoint has. */
static void raw_pair(bool tcp, int fds[2])
{
    if (!tcp) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        return;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    CHECK(bind(listener, (struct sockaddr *)&address, bytes) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &bytes) == 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fds[0], (struct sockaddr *)&address, bytes) == 0);
    fds[1] = accept(listener, NULL, NULL);
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    close(listener);
}

/* ---- the node ------------------------------------------------------------------------------------------------------ */

typedef struct end {
    sc_node *node;
    sc_peer *peer;
    sc_shared_memory *memory; /* NULL: none is shared */
    sc_buffer_pool *pool;
    sc_buffer *payload; /* that is sent, or sent back */
    uint64_t n_received, n_sent;
    bool stop;
} end;

static void send_one(sc_peer *peer, uint64_t step, uint32_t kind, sc_buffer *payload)
{
    sc_tensor_name name = {.step = step, .kind = kind};
    sc_shape shape = SC_SHAPE((int64_t)sc_buffer_bytes(payload));
    CHECK(sc_peer_send(peer, &name, SC_U8, &shape, payload) == SC_OK);
}

static void set_payload(end *self, size_t bytes)
{
    if (self->payload && sc_buffer_bytes(self->payload) == bytes)
        return;
    sc_buffer_unref(&self->payload);
    CHECK(sc_buffer_get(self->pool, bytes, &self->payload) == SC_OK);
    memset(sc_buffer_data(self->payload), 7, bytes);
}

static void on_tensor(void *context, sc_peer *peer, sc_tensor_message *message)
{
    end *self = context;
    self->n_received++;
    self->stop |= message->name.kind == STOP;
    if (message->name.kind == ECHO) {
        set_payload(self, sc_buffer_bytes(message->payload));
        send_one(peer, message->name.step, SINK, self->payload);
    }
    if (message->name.step % 256 == 0)
        sc_node_release_before(self->node, message->name.step - 2 * WINDOW);
    sc_tensor_message_clear(message);
}

static void open_end(end *self, const char *name, const transport *kind)
{
    *self = (end){0};
    alone = kind->two_hosts;
    if (kind->memory)
        CHECK(sc_shared_memory_new(&self->memory) == SC_OK);
    sc_buffer_memory source = self->memory ? sc_shared_memory_source(self->memory) : (sc_buffer_memory){0};
    CHECK(sc_buffer_pool_new(self->memory ? &source : NULL, &self->pool) == SC_OK);
    sc_node_options options = {
        .name = name,
        .clock = sc_clock_system(),
        .resend_ms = 5000,
        .heartbeat_ms = 10000,
        .max_message_bytes = 1 << 30,
        .memory = self->memory,
        .context = self,
        .on_tensor = on_tensor,
    };
    CHECK(sc_node_new(&options, &self->node) == SC_OK);
}

static void close_end(end *self, int linger_ms)
{
    sc_node_destroy(&self->node, linger_ms);
    sc_buffer_unref(&self->payload);
    sc_buffer_pool_destroy(&self->pool);
    sc_shared_memory_destroy(&self->memory);
}

static void node_serve(const char *endpoint, const transport *kind, board *shared)
{
    end self;
    open_end(&self, "receiver", kind);
    const char *bound;
    CHECK(sc_node_bind(self.node, endpoint, &bound) == SC_OK);
    snprintf(shared->endpoint, sizeof shared->endpoint, "%s", bound);
    atomic_store(&shared->ready, 1);
    while (!self.stop) {
        CHECK(sc_node_poll(self.node, -1) == SC_OK);
        atomic_store(&shared->receiver_cpu_s, cpu_s());
        atomic_store(&shared->receiver_bytes_s, bytes_s);
    }
    close_end(&self, 100);
}

static double node_run(end *self, order job)
{
    double start = now_s();
    uint64_t wanted = self->n_received + job.n;
    for (uint64_t i = 0; i < job.n; i++) {
        send_one(self->peer, ++self->n_sent, job.echo ? ECHO : SINK, self->payload);
        if (job.echo)
            while (self->n_received < wanted - job.n + i + 1)
                CHECK(sc_node_poll(self->node, -1) == SC_OK);
        else
            while (sc_node_kept_bytes(self->node) >= WINDOW * job.bytes)
                CHECK(sc_node_poll(self->node, -1) == SC_OK);
    }
    while (sc_node_kept_bytes(self->node) > 0)
        CHECK(sc_node_poll(self->node, -1) == SC_OK);
    sc_node_release_before(self->node, self->n_sent);
    return now_s() - start;
}

/* ---- both ---------------------------------------------------------------------------------------------------------- */

static void one_size(const transport *kind, size_t bytes, int rounds, int fd, end *self, char *memory, board *shared)
{
    double raw_rate[MAX_ROUNDS], node_rate[MAX_ROUNDS], ratio[MAX_ROUNDS], raw_trip[MAX_ROUNDS], node_trip[MAX_ROUNDS];
    double send_us[MAX_ROUNDS], receive_us[MAX_ROUNDS], bytes_us[MAX_ROUNDS];
    uint64_t n = 192000000 / bytes, trips = 48000000 / bytes;
    n = n < 16 ? 16 : n > 4000 ? 4000 : n;
    trips = trips < 4 ? 4 : trips > 500 ? 500 : trips;
    set_payload(self, bytes);
    for (int r = -1; r < rounds; r++) { /* the first warms up and does not count */
        int at = r < 0 ? 0 : r;
        double size = (double)bytes * (double)n * 1e-9;
        raw_rate[at] = size / raw_run(fd, memory, (order){.bytes = bytes, .n = n});
        double sender = cpu_s(), sender_bytes = bytes_s;
        double receiver = atomic_load(&shared->receiver_cpu_s);
        double receiver_bytes = atomic_load(&shared->receiver_bytes_s);
        node_rate[at] = size / node_run(self, (order){.bytes = bytes, .n = n});
        sender_bytes = bytes_s - sender_bytes;
        receiver_bytes = atomic_load(&shared->receiver_bytes_s) - receiver_bytes;
        bytes_us[at] = (sender_bytes + receiver_bytes) / (double)n * 1e6;
        send_us[at] = (cpu_s() - sender - sender_bytes) / (double)n * 1e6;
        receive_us[at] = (atomic_load(&shared->receiver_cpu_s) - receiver - receiver_bytes) / (double)n * 1e6;
        ratio[at] = node_rate[at] / raw_rate[at];
        raw_trip[at] = raw_run(fd, memory, (order){.bytes = bytes, .n = trips, .echo = 1}) / (double)trips * 1e6;
        node_trip[at] = node_run(self, (order){.bytes = bytes, .n = trips, .echo = 1}) / (double)trips * 1e6;
    }
    printf("%-10s %10zu %9.2f %9.2f %7.2f %10.0f %10.0f %9.1f %9.1f %9.1f\n", kind->name, bytes,
           median(raw_rate, rounds), median(node_rate, rounds), median(ratio, rounds), median(raw_trip, rounds),
           median(node_trip, rounds), median(bytes_us, rounds), median(send_us, rounds), median(receive_us, rounds));
    fflush(stdout);
}

static void one_transport(const transport *kind, int rounds)
{
    static const size_t sizes[] = {4096, 65536, 262144, 1572864, 6291456, 25165824};
    const size_t largest = 25165824;
    board *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *memory = malloc(largest);
    int fds[2];
    CHECK(shared != MAP_FAILED && memory);
    memset(memory, 7, largest);
    raw_pair(kind->tcp, fds);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, kind->tcp ? "tcp://127.0.0.1:*" : "ipc://@stagecoach-bench-%d", (int)getpid());
    pid_t raw = fork(), node = raw ? fork() : 0;
    if (!raw || !node) { /* before any ZeroMQ socket */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        if (!raw)
            raw_serve(fds[1], memory);
        else
            node_serve(endpoint, kind, shared);
        exit(0);
    }
    close(fds[1]);
    while (!atomic_load(&shared->ready))
        usleep(1000);
    end self;
    open_end(&self, "sender", kind);
    CHECK(sc_node_connect(self.node, shared->endpoint, &self.peer) == SC_OK);
    while (sc_peer_incarnation(self.peer) == 0)
        CHECK(sc_node_poll(self.node, 100) == SC_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        one_size(kind, sizes[i], rounds, fds[0], &self, memory, shared);
    set_payload(&self, 1);
    send_one(self.peer, ++self.n_sent, STOP, self.payload);
    close_end(&self, 1000);
    close(fds[0]);
    waitpid(raw, NULL, 0);
    waitpid(node, NULL, 0);
    free(memory);
    munmap(shared, sizeof *shared);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 7;
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_wire [ROUNDS (1 to %d) [ipc | tcp | 'tcp frames' | 'tcp hosts']]\n", MAX_ROUNDS);
        return 2;
    }
    static const transport kinds[] = {
        {.name = "ipc", .memory = true},
        {.name = "tcp", .tcp = true, .memory = true},
        {.name = "tcp frames", .tcp = true},
        {.name = "tcp hosts", .tcp = true, .two_hosts = true},
    };
    printf("%-10s %10s %9s %9s %7s %10s %10s %9s %9s %9s\n", "", "bytes", "raw GB/s", "node GB/s", "ratio", "raw us",
           "node us", "bytes us", "send us", "recv us");
    fflush(stdout);
    /* Each transport in a process of its own: ZeroMQ does not survive a fork. */
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (argc > 2 && strcmp(argv[2], kinds[i].name) != 0)
            continue;
        pid_t child = fork();
        if (child == 0) {
            one_transport(&kinds[i], rounds);
            return 0;
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (status != 0)
            return 1;
    }
    puts("raw, node us: round trip. CPU time of the nodes' threads for each message, bytes: hashing (both ends) or "
         "copying it,\n"
         "send, recv: all the rest");
    return 0;
}
