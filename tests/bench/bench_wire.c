/* The node's tensors against a raw socket of the same kind, two processes, alternating in one run; medians.
 *
 *     bench_wire [ROUNDS]
 *
 * Rate: WINDOW messages on their way, until the last is acknowledged. Round trip: a message there and one back.
 * Own cost: CPU time of the node's thread for each message, its system calls included, the hash left out. */
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

/* What the two processes share besides the sockets. */
typedef struct board {
    char tcp[128];
    _Atomic int ready;
    _Atomic double receiver_cpu_s; /* of the node's thread in the receiving process, so far */
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
    sc_buffer *payload;
    uint64_t n_received, n_sent;
    bool stop;
} end;

static void send_one(sc_peer *peer, uint64_t step, uint32_t kind, sc_buffer *payload)
{
    sc_tensor_name name = {.step = step, .kind = kind};
    sc_shape shape = SC_SHAPE((int64_t)sc_buffer_bytes(payload));
    CHECK(sc_peer_send(peer, &name, SC_U8, &shape, payload) == SC_OK);
}

static void on_tensor(void *context, sc_peer *peer, sc_tensor_message *message)
{
    end *self = context;
    self->n_received++;
    self->stop |= message->name.kind == STOP;
    if (message->name.kind == ECHO)
        send_one(peer, message->name.step, SINK, message->payload);
    if (message->name.step % 256 == 0)
        sc_node_release_before(self->node, message->name.step - 2 * WINDOW);
    sc_tensor_message_clear(message);
}

static void open_end(end *self, const char *name)
{
    sc_node_options options = {
        .name = name,
        .clock = sc_clock_system(),
        .resend_ms = 5000,
        .heartbeat_ms = 10000,
        .max_message_bytes = 1 << 30,
        .context = self,
        .on_tensor = on_tensor,
    };
    *self = (end){0};
    CHECK(sc_node_new(&options, &self->node) == SC_OK);
}

static void node_serve(const char *endpoint, board *shared)
{
    end self;
    open_end(&self, "receiver");
    const char *bound;
    CHECK(sc_node_bind(self.node, endpoint, &bound) == SC_OK);
    snprintf(shared->tcp, sizeof shared->tcp, "%s", bound);
    atomic_store(&shared->ready, 1);
    while (!self.stop) {
        CHECK(sc_node_poll(self.node, -1) == SC_OK);
        atomic_store(&shared->receiver_cpu_s, cpu_s());
    }
    sc_node_destroy(&self.node, 100);
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

static double hash_s(sc_buffer *payload, uint64_t n)
{
    static volatile uint64_t sink;
    double start = cpu_s();
    for (uint64_t i = 0; i < n; i++)
        sink = sc_frame_hash(sc_buffer_data(payload), sc_buffer_bytes(payload));
    (void)sink;
    return (cpu_s() - start) / (double)n;
}

static void one_size(bool tcp, size_t bytes, int rounds, int fd, end *self, char *memory, board *shared)
{
    double raw_rate[MAX_ROUNDS], node_rate[MAX_ROUNDS], ratio[MAX_ROUNDS], raw_trip[MAX_ROUNDS], node_trip[MAX_ROUNDS];
    double send_us[MAX_ROUNDS], receive_us[MAX_ROUNDS];
    uint64_t n = 192000000 / bytes, trips = 48000000 / bytes;
    n = n < 16 ? 16 : n > 4000 ? 4000 : n;
    trips = trips < 4 ? 4 : trips > 500 ? 500 : trips;
    CHECK(sc_buffer_new(bytes, &self->payload) == SC_OK);
    memset(sc_buffer_data(self->payload), 7, bytes);
    double hash_us = hash_s(self->payload, 20) * 1e6;
    for (int r = -1; r < rounds; r++) { /* the first warms up and does not count */
        int at = r < 0 ? 0 : r;
        double size = (double)bytes * (double)n * 1e-9;
        raw_rate[at] = size / raw_run(fd, memory, (order){.bytes = bytes, .n = n});
        double sender = cpu_s(), receiver = atomic_load(&shared->receiver_cpu_s);
        node_rate[at] = size / node_run(self, (order){.bytes = bytes, .n = n});
        send_us[at] = (cpu_s() - sender) / (double)n * 1e6 - hash_us;
        receive_us[at] = (atomic_load(&shared->receiver_cpu_s) - receiver) / (double)n * 1e6 - hash_us;
        ratio[at] = node_rate[at] / raw_rate[at];
        raw_trip[at] = raw_run(fd, memory, (order){.bytes = bytes, .n = trips, .echo = 1}) / (double)trips * 1e6;
        node_trip[at] = node_run(self, (order){.bytes = bytes, .n = trips, .echo = 1}) / (double)trips * 1e6;
    }
    sc_buffer_unref(&self->payload);
    printf("%-4s %10zu %9.2f %9.2f %7.2f %10.0f %10.0f %9.1f %9.1f %9.1f\n", tcp ? "tcp" : "ipc", bytes,
           median(raw_rate, rounds), median(node_rate, rounds), median(ratio, rounds), median(raw_trip, rounds),
           median(node_trip, rounds), hash_us, median(send_us, rounds), median(receive_us, rounds));
    fflush(stdout);
}

static void one_transport(bool tcp, int rounds)
{
    static const size_t sizes[] = {4096, 65536, 262144, 1572864, 6291456, 25165824};
    const size_t largest = 25165824;
    board *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *memory = malloc(largest);
    int fds[2];
    CHECK(shared != MAP_FAILED && memory);
    memset(memory, 7, largest);
    raw_pair(tcp, fds);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, tcp ? "tcp://127.0.0.1:*" : "ipc://@stagecoach-bench-%d", (int)getpid());
    pid_t raw = fork(), node = raw ? fork() : 0;
    if (!raw || !node) { /* before any ZeroMQ socket */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        if (!raw)
            raw_serve(fds[1], memory);
        else
            node_serve(endpoint, shared);
        exit(0);
    }
    close(fds[1]);
    while (!atomic_load(&shared->ready))
        usleep(1000);
    end self;
    open_end(&self, "sender");
    CHECK(sc_node_connect(self.node, shared->tcp, &self.peer) == SC_OK);
    while (sc_peer_incarnation(self.peer) == 0)
        CHECK(sc_node_poll(self.node, 100) == SC_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        one_size(tcp, sizes[i], rounds, fds[0], &self, memory, shared);
    CHECK(sc_buffer_new(1, &self.payload) == SC_OK);
    send_one(self.peer, ++self.n_sent, STOP, self.payload);
    sc_buffer_unref(&self.payload);
    sc_node_destroy(&self.node, 1000);
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
        fprintf(stderr, "usage: bench_wire [ROUNDS]   (1 to %d)\n", MAX_ROUNDS);
        return 2;
    }
    printf("%-4s %10s %9s %9s %7s %10s %10s %9s %9s %9s\n", "", "bytes", "raw GB/s", "node GB/s", "ratio", "raw us",
           "node us", "hash us", "send us", "recv us");
    fflush(stdout);
    /* Each transport in a process of its own: ZeroMQ does not survive a fork. */
    for (int tcp = 1; tcp >= 0; tcp--) {
        pid_t child = fork();
        if (child == 0) {
            one_transport(tcp, rounds);
            return 0;
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (status != 0)
            return 1;
    }
    puts("us: round trip; send, recv: CPU time of the node's thread for each message, without the hash");
    return 0;
}
