/* An intruder for the end-to-end tests: attacks an endpoint for a while, in one of several ways, and says what it did.
 *
 *   intruder MODE tcp://HOST:PORT SECONDS [KEY]
 *
 *   silent      raw TCP connections that never speak, as many as it can have
 *   flood       raw TCP connections, opened and closed as fast as they come
 *   garbage     raw TCP: random bytes, and ZMTP greetings with random bytes behind
 *   no-key      ZeroMQ in plaintext, where keys are wanted
 *   wrong-key   CURVE for the coordinator of the worker's KEY file, under keys that nobody knows
 *   wrong-door  CURVE under the worker's KEY, for a server key that nobody has
 *   frames      ZeroMQ messages: random, and valid ones with some bytes changed; with KEY as that worker, else in plaintext */
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/wire/endpoint.h"
#include "proto/wire/keys.h"
#include "proto/wire/node.h"

#include "proto/stagecoach.pb-c.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

typedef struct intruder {
    const char *endpoint;
    struct sockaddr_in address;
    sc_clock clock;
    uint64_t start_ns, drawn;
    double seconds;
    sc_rng rng;
    sc_certificate key; /* public_key "": none */
    unsigned long n;    /* attempts */
} intruder;

static bool goes_on(const intruder *self)
{
    return sc_clock_seconds_since(&self->clock, self->start_ns) < self->seconds;
}

static uint32_t draw(intruder *self)
{
    return sc_rng_u32(&self->rng, self->drawn++);
}

static int dial(const intruder *self)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&self->address, sizeof self->address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void be_silent(intruder *self)
{
    enum { CONNECTIONS = 600 };
    struct pollfd held[CONNECTIONS];
    for (int i = 0; i < CONNECTIONS; i++)
        held[i] = (struct pollfd){.fd = -1};
    while (goes_on(self)) {
        for (int i = 0; i < CONNECTIONS && goes_on(self); i++)
            if (held[i].fd < 0) {
                held[i] = (struct pollfd){.fd = dial(self), .events = POLLIN};
                self->n++;
            }
        poll(held, CONNECTIONS, 20);
        char bytes[256];
        for (int i = 0; i < CONNECTIONS; i++)
            if (held[i].fd >= 0 && held[i].revents && recv(held[i].fd, bytes, sizeof bytes, MSG_DONTWAIT) == 0) {
                close(held[i].fd); /* shown the door: it comes again */
                held[i].fd = -1;
            }
    }
}

static void flood(intruder *self)
{
    for (; goes_on(self); self->n++) {
        int fd = dial(self);
        if (fd >= 0)
            close(fd);
    }
}

static void send_garbage(intruder *self)
{
    static const char greeting[] = "\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE"; /* ZMTP 3.0, then nonsense */
    for (; goes_on(self); self->n++) {
        unsigned char bytes[2048];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (unsigned char)draw(self);
        if (self->n % 3)
            memcpy(bytes, greeting, self->n % 3 == 1 ? sizeof greeting : 12);
        int fd = dial(self);
        if (fd < 0)
            continue;
        if (send(fd, bytes, 64 + draw(self) % (sizeof bytes - 64), MSG_NOSIGNAL) > 0) {
            struct pollfd answer = {.fd = fd, .events = POLLIN};
            poll(&answer, 1, 1);
        }
        close(fd);
    }
}

/* ---- ZeroMQ -------------------------------------------------------------------------------------------------------- */

/* `own` and `server` NULL: plaintext. */
static void *open_socket(const intruder *self, void *context, const sc_certificate *own, const char *server)
{
    void *socket = zmq_socket(context, ZMQ_DEALER);
    int none = 0, timeout = 100;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_SNDTIMEO, &timeout, sizeof timeout);
    if (own) {
        zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server, SC_KEY_TEXT);
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own->public_key.z85, SC_KEY_TEXT);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own->secret_key, SC_KEY_TEXT);
    }
    zmq_connect(socket, self->endpoint);
    return socket;
}

static void try_keys(intruder *self, bool keyed, bool wrong_door)
{
    void *context = zmq_ctx_new();
    for (; goes_on(self); self->n++) {
        sc_certificate stranger = {0};
        if (keyed && sc_certificate_generate("stranger", &stranger) != SC_OK)
            break;
        void *socket = keyed ? open_socket(self, context, wrong_door ? &self->key : &stranger,
                                           wrong_door ? stranger.public_key.z85 : self->key.coordinator.z85)
                             : open_socket(self, context, NULL, NULL);
        zmq_send(socket, "hello", 5, ZMQ_DONTWAIT);
        poll(NULL, 0, 10); /* for the handshake to come to its end */
        zmq_close(socket);
    }
    zmq_ctx_term(context);
}

static size_t pack_valid(intruder *self, unsigned char *bytes)
{
    Stagecoach__V1__Envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    Stagecoach__V1__Hello hello = STAGECOACH__V1__HELLO__INIT;
    Stagecoach__V1__Request request = STAGECOACH__V1__REQUEST__INIT;
    Stagecoach__V1__TensorName name = STAGECOACH__V1__TENSOR_NAME__INIT, *names[] = {&name};
    Stagecoach__V1__TensorHeader tensor = STAGECOACH__V1__TENSOR_HEADER__INIT;
    Stagecoach__V1__Resend resend = STAGECOACH__V1__RESEND__INIT;
    uint64_t shape[] = {4, 4};
    static const char *const methods[] = {"stagecoach.v1.Coordinator/Join", "stagecoach.v1.Coordinator/Leave",
                                          "stagecoach.v1.StageWorker/Assign", "stagecoach.v1.StageWorker/Release"};
    envelope.protocol = SC_PROTOCOL_VERSION;
    name.generation = 1;
    name.step = draw(self) % 1000;
    name.kind = STAGECOACH__V1__TENSOR_KIND__ACTIVATION;
    switch (draw(self) % 4) {
    case 0:
        hello.incarnation = draw(self) + 1u;
        hello.name = "intruder";
        hello.reply_wanted = true;
        envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_HELLO;
        envelope.hello = &hello;
        break;
    case 1:
        request.call_id = draw(self);
        request.method = (char *)methods[draw(self) % 4];
        request.deadline_ms = 1000;
        envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_REQUEST;
        envelope.request = &request;
        break;
    case 2:
        tensor.name = &name;
        tensor.n_shape = 2;
        tensor.shape = shape;
        tensor.bytes = 64;
        envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_TENSOR;
        envelope.tensor = &tensor;
        break;
    default:
        resend.n_names = 1;
        resend.names = names;
        envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_RESEND;
        envelope.resend = &resend;
        break;
    }
    return stagecoach__v1__envelope__pack(&envelope, bytes);
}

static void send_frames(intruder *self)
{
    void *context = zmq_ctx_new();
    bool keyed = self->key.public_key.z85[0] != '\0';
    while (goes_on(self)) {
        void *socket = open_socket(self, context, keyed ? &self->key : NULL, self->key.coordinator.z85);
        for (int i = 0; i < 500 && goes_on(self); i++, self->n++) {
            unsigned char bytes[512];
            size_t n = draw(self) % sizeof bytes;
            for (size_t k = 0; k < n; k++)
                bytes[k] = (unsigned char)draw(self);
            if (i % 4 == 0) { /* Hello first, or it is not even a peer */
                n = pack_valid(self, bytes);
            } else if (i % 4 != 3) {
                n = pack_valid(self, bytes);
                for (uint32_t k = 1 + draw(self) % 3; k > 0 && n > 0; k--)
                    bytes[draw(self) % n] = (unsigned char)draw(self);
            }
            bool more = draw(self) % 3 == 0;
            zmq_send(socket, bytes, n, more ? ZMQ_SNDMORE : 0);
            if (more)
                zmq_send(socket, bytes, draw(self) % sizeof bytes, 0);
        }
        zmq_close(socket);
    }
    zmq_ctx_term(context);
}

int main(int argc, char **argv)
{
    char host[SC_ENDPOINT_BYTES], port[8];
    if (argc < 4 || argc > 5 || !sc_endpoint_split_tcp(argv[2], host, port)) {
        fputs("usage: intruder MODE tcp://HOST:PORT SECONDS [KEY]\n", stderr);
        return 2;
    }
    intruder self = {.endpoint = argv[2], .clock = sc_clock_system(), .seconds = atof(argv[3]), .rng = {.seed = 42}};
    self.start_ns = sc_clock_ns(&self.clock);
    self.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, host, &self.address.sin_addr) != 1 ||
        (argc == 5 && sc_certificate_load(argv[4], &self.key) != SC_OK)) {
        fprintf(stderr, "intruder: %s\n", argc == 5 ? sc_status_message() : "an IPv4 address is expected");
        return 1;
    }
    const char *mode = argv[1];
    if (strcmp(mode, "silent") == 0)
        be_silent(&self);
    else if (strcmp(mode, "flood") == 0)
        flood(&self);
    else if (strcmp(mode, "garbage") == 0)
        send_garbage(&self);
    else if (strcmp(mode, "no-key") == 0)
        try_keys(&self, false, false);
    else if (strcmp(mode, "wrong-key") == 0)
        try_keys(&self, true, false);
    else if (strcmp(mode, "wrong-door") == 0)
        try_keys(&self, true, true);
    else if (strcmp(mode, "frames") == 0)
        send_frames(&self);
    else
        return 2;
    printf("%s: %lu attempts\n", mode, self.n);
    return self.n > 0 ? 0 : 1;
}
