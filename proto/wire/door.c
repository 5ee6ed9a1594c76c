#include "proto/wire/door.h"

#include "proto/wire/endpoint.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { MAX_FD = 1 << 20 };

void sc_door_clear(sc_door *self)
{
    free(self->slots);
    *self = (sc_door){0};
}

static unsigned most_connections(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 2 >= SC_DOOR_MAX_CONNECTIONS)
        return SC_DOOR_MAX_CONNECTIONS;
    return (unsigned)(limit.rlim_cur / 2);
}

static sc_door_slot *slot_of(sc_door *self, int fd)
{
    if (fd < 0 || fd >= MAX_FD)
        return NULL;
    if ((size_t)fd >= self->n_slots) {
        size_t n = ((size_t)fd + 256) / 256 * 256;
        sc_door_slot *slots = realloc(self->slots, n * sizeof *slots);
        if (!slots)
            return NULL;
        memset(slots + self->n_slots, 0, (n - self->n_slots) * sizeof *slots);
        self->slots = slots;
        self->n_slots = n;
    }
    return &self->slots[fd];
}

/* Whether `fd` is a connection that came to the endpoint. */
static bool came_to(int fd, const char *bound)
{
    struct sockaddr_storage own;
    socklen_t bytes = sizeof own;
    char host[SC_ENDPOINT_BYTES], port[8];
    if (getsockname(fd, (struct sockaddr *)&own, &bytes) != 0)
        return false;
    if (own.ss_family == AF_UNIX)
        return strncmp(bound, "ipc://", 6) == 0 && strncmp(((const struct sockaddr_un *)&own)->sun_path, bound + 6,
                                                           sizeof(((struct sockaddr_un *)0)->sun_path)) == 0;
    if (!sc_endpoint_split_tcp(bound, host, port))
        return false;
    in_port_t number = own.ss_family == AF_INET    ? ((const struct sockaddr_in *)&own)->sin_port
                       : own.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&own)->sin6_port
                                                   : 0;
    return ntohs(number) == atoi(port);
}

void sc_door_shut(int fd, const char *bound)
{
    if (came_to(fd, bound))
        shutdown(fd, SHUT_RDWR);
}

static int longest_silent(const sc_door *self)
{
    int oldest = -1;
    for (size_t fd = 0; fd < self->n_slots; fd++)
        if (self->slots[fd].open && !self->slots[fd].spoke &&
            (oldest < 0 || self->slots[fd].accepted_ns < self->slots[oldest].accepted_ns))
            oldest = (int)fd;
    return oldest;
}

void sc_door_accepted(sc_door *self, int fd, uint64_t now_ns, const char *bound)
{
    sc_door_slot *slot = slot_of(self, fd);
    if (!slot)
        return;
    if (self->n_most == 0)
        self->n_most = most_connections();
    if (slot->open)
        sc_door_closed(self, fd);
    *slot = (sc_door_slot){.accepted_ns = now_ns, .open = true};
    self->n_open++;
    self->n_silent++;
    if (self->n_silent <= SC_DOOR_MAX_SILENT && self->n_open <= self->n_most)
        return;
    int oldest = longest_silent(self);
    sc_door_shut(oldest, bound);
    sc_door_closed(self, oldest); /* at once: what comes next is to find another */
    self->n_crowded++;
}

void sc_door_closed(sc_door *self, int fd)
{
    sc_door_slot *slot = slot_of(self, fd);
    if (!slot || !slot->open)
        return;
    self->n_open--;
    self->n_silent -= !slot->spoke;
    self->n_silent_closed += !slot->spoke;
    slot->open = false;
}

void sc_door_spoke(sc_door *self, int fd)
{
    if (fd < 0 || (size_t)fd >= self->n_slots || !self->slots[fd].open || self->slots[fd].spoke)
        return;
    self->slots[fd].spoke = true;
    self->n_silent--;
}
