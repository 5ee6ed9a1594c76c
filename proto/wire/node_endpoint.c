/* The node's endpoints: where it listens, and whom it dials. */
#include "proto/wire/node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static sc_status endpoint_error(const char *verb, const char *endpoint, int error)
{
    switch (error) {
    case EADDRINUSE:
        return SC_FAIL(SC_ALREADY_EXISTS, "cannot %s %s: it is in use", verb, endpoint);
    case EACCES:
    case EPERM:
        return SC_FAIL(SC_PERMISSION_DENIED, "cannot %s %s: permission denied", verb, endpoint);
    default:
        return SC_FAIL(SC_INVALID, "cannot %s '%s': %s; endpoints look like tcp://192.0.2.1:5555 or ipc:///path", verb,
                       endpoint, zmq_strerror(error));
    }
}

/* libzmq looks at the port of a connection only when it connects, and then says nothing: so it is looked at here. */
static bool is_endpoint(const char *text, bool to_bind)
{
    if (strncmp(text, "ipc://", 6) == 0)
        return text[6] != '\0';
    const char *colon = strrchr(text, ':');
    if (strncmp(text, "tcp://", 6) != 0 || colon <= text + 6)
        return false;
    if (to_bind && (strcmp(colon, ":*") == 0 || strcmp(colon, ":0") == 0))
        return true;
    char *end;
    long port = strtol(colon + 1, &end, 10);
    return *end == '\0' && colon[1] >= '0' && colon[1] <= '9' && port >= 1 && port <= 65535;
}

/* An IPv6 socket that is bound to 127.0.0.1 is called tcp://[::ffff:127.0.0.1]:PORT: as a person would write it. */
static void write_plainly(char *endpoint)
{
    static const char mapped[] = "tcp://[::ffff:";
    char *address = endpoint + sizeof mapped - 1, *end = strchr(endpoint, ']');
    if (strncmp(endpoint, mapped, sizeof mapped - 1) != 0 || !end || !memchr(address, '.', (size_t)(end - address)))
        return;
    memmove(end, end + 1, strlen(end));
    memmove(endpoint + strlen("tcp://"), address, strlen(address) + 1);
}

static sc_status open_gate(sc_node *self)
{
    enum { PATIENCE_MS = 2000 }; /* a list that an assignment brings is milliseconds behind */
    sc_gate_options options = {
        .name = self->name,
        .clock = self->options.clock,
        .allowed_dir = self->allowed_dir,
        .patience_ms = self->allowed_dir ? 0 : PATIENCE_MS,
    };
    return sc_gate_new(&options, &self->gate);
}

sc_status sc_node_bind(sc_node *self, const char *endpoint, const char **bound)
{
    if (self->router)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s is bound already, to %s", self->name, self->bound);
    if (!is_endpoint(endpoint, true))
        return endpoint_error("bind", endpoint, EINVAL);
    sc_status status = self->keys.public_key.z85[0] ? open_gate(self) : SC_OK;
    sc_link_keys keys = {.public_key = self->keys.public_key.z85, .secret_key = self->keys.secret_key};
    if (self->gate)
        keys.domain = sc_gate_domain(self->gate);
    if (status == SC_OK)
        status = sc_link_new(ZMQ_ROUTER, &self->options, self->gate ? &keys : NULL, NULL, 0, &self->router);
    if (status == SC_OK)
        status = sc_link_monitor(self->router, &self->router_monitor);
    size_t bytes = sizeof self->bound;
    if (status == SC_OK && (zmq_bind(zsock_resolve(self->router), endpoint) != 0 ||
                            zmq_getsockopt(zsock_resolve(self->router), ZMQ_LAST_ENDPOINT, self->bound, &bytes) != 0))
        status = endpoint_error("bind", endpoint, zmq_errno());
    if (status != SC_OK) {
        if (self->router)
            sc_link_close(&self->router, &self->router_monitor);
        sc_gate_destroy(&self->gate);
        return status;
    }
    write_plainly(self->bound);
    if (bound)
        *bound = self->bound;
    return SC_OK;
}

sc_status sc_node_connect(sc_node *self, const char *endpoint, sc_peer **out)
{
    return sc_node_connect_to(self, endpoint, NULL, out);
}

static sc_peer *find_dialled(const sc_node *self, const char *endpoint, const char *key)
{
    for (size_t i = 0; i < self->n_peers; i++) {
        sc_peer *peer = self->peers[i];
        if (!peer->dead && peer->endpoint && strcmp(peer->endpoint, endpoint) == 0 && strcmp(peer->key.z85, key) == 0)
            return peer;
    }
    return NULL;
}

sc_status sc_node_connect_to(sc_node *self, const char *endpoint, const sc_public_key *server, sc_peer **out)
{
    const char *key = server ? server->z85 : self->keys.server.z85;
    bool encrypted = self->keys.public_key.z85[0] != '\0';
    if (encrypted && !*key)
        return SC_FAIL(SC_FAILED_PRECONDITION, "the key that %s should have is not known", endpoint);
    if (!encrypted && *key)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s uses keys, and this side has none", endpoint);
    *out = find_dialled(self, endpoint, key);
    if (*out)
        return SC_OK;
    if (!is_endpoint(endpoint, false))
        return endpoint_error("connect to", endpoint, EINVAL);
    /* The route: a letter (ZeroMQ keeps those that start with a zero byte), who we are, which socket. */
    unsigned char route[1 + sizeof self->incarnation + sizeof self->n_sockets] = "S";
    memcpy(route + 1, &self->incarnation, sizeof self->incarnation);
    self->n_sockets++;
    memcpy(route + 1 + sizeof self->incarnation, &self->n_sockets, sizeof self->n_sockets);
    sc_peer *peer = NULL;
    zsock_t *socket = NULL, *monitor = NULL;
    char *copy = NULL;
    sc_status status;
    const sc_link_keys keys = {self->keys.public_key.z85, self->keys.secret_key, key, NULL};
    SC_TRY_GOTO(status, sc_link_new(ZMQ_DEALER, &self->options, encrypted ? &keys : NULL, route, sizeof route, &socket),
                fail);
    SC_TRY_GOTO(status, sc_link_monitor(socket, &monitor), fail);
    if (zmq_connect(zsock_resolve(socket), endpoint) != 0) {
        status = endpoint_error("connect to", endpoint, zmq_errno());
        goto fail;
    }
    copy = strdup(endpoint);
    if (!copy) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for another peer");
        goto fail;
    }
    SC_TRY_GOTO(status, sc_peer_new(self, false, &peer), fail);
    peer->endpoint = copy;
    snprintf(peer->key.z85, sizeof peer->key.z85, "%s", key);
    peer->socket = socket;
    peer->monitor = monitor;
    *out = peer;
    return SC_OK;
fail:
    free(copy);
    if (socket)
        sc_link_close(&socket, &monitor);
    return status;
}
