/* The reader's side of shared memory: everything that it is told is checked. */
#include "proto/wire/shared_memory_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct sc_shared_view {
    int fd;
    uint64_t cookie;
    const char *base; /* NULL while nothing is mapped */
    size_t size;      /* bytes mapped; the file may have grown since */
};

/* Opening a FIFO or a device can wait or have effects, and the descriptor's number comes from outside: it is looked at
 * first. */
static sc_status open_memory(const sc_shared_offer *offer, int *fd)
{
    char path[64], target[64];
    snprintf(path, sizeof path, "/proc/%u/fd/%u", offer->process, offer->descriptor);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0)
        return SC_FAIL(SC_UNAVAILABLE, "%s: %s", path, strerror(errno));
    target[n] = '\0';
    if (strcmp(target, "/memfd:" SC_SHARED_NAME " (deleted)") != 0)
        return SC_FAIL(SC_INVALID, "%s is %s and no shared memory", path, target);
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0)
        return SC_FAIL(SC_UNAVAILABLE, "%s: %s", path, strerror(errno));
    return SC_OK;
}

static sc_status check_memory(const sc_shared_offer *offer, int fd)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return SC_FAIL(SC_UNAVAILABLE, "shared memory of process %u: %s", offer->process, strerror(errno));
    if (about.st_uid != geteuid())
        return SC_FAIL(SC_PERMISSION_DENIED, "the shared memory of process %u is another user's", offer->process);
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return SC_FAIL(SC_INVALID, "the shared memory of process %u could shrink", offer->process);
    sc_shared_head head;
    if (pread(fd, &head, sizeof head, 0) != sizeof head || head.magic != SC_SHARED_MAGIC || offer->cookie == 0 ||
        head.cookie != offer->cookie)
        return SC_FAIL(SC_INVALID, "the shared memory of process %u is not the one that was offered", offer->process);
    return SC_OK;
}

sc_status sc_shared_view_open(const sc_shared_offer *offer, sc_shared_view **out)
{
    if (offer->host == 0 || offer->host != sc_shared_memory_host())
        return SC_FAIL(SC_UNAVAILABLE, "it is on another host");
    int fd = -1;
    SC_TRY(open_memory(offer, &fd));
    sc_status status = check_memory(offer, fd);
    sc_shared_view *self = status == SC_OK ? calloc(1, sizeof *self) : NULL;
    if (!self) {
        close(fd);
        return status != SC_OK ? sc_status_forward(status, __FILE__, __LINE__)
                               : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a view");
    }
    self->fd = fd;
    self->cookie = offer->cookie;
    *out = self;
    return SC_OK;
}

void sc_shared_view_close(sc_shared_view **self_p)
{
    sc_shared_view *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    if (self->base)
        munmap((void *)self->base, self->size);
    close(self->fd);
    free(self);
}

uint64_t sc_shared_view_cookie(const sc_shared_view *self)
{
    return self->cookie;
}

/* Maps at least the file's first `end` bytes. */
static sc_status map(sc_shared_view *self, uint64_t end)
{
    struct stat about;
    if (fstat(self->fd, &about) != 0 || about.st_size < 0 || (uint64_t)about.st_size < end)
        return SC_FAIL(SC_INVALID, "a place beyond the end of the sender's memory");
    size_t size = (size_t)about.st_size;
    void *base = self->base ? mremap((void *)self->base, self->size, size, MREMAP_MAYMOVE)
                            : mmap(NULL, size, PROT_READ, MAP_SHARED, self->fd, 0);
    if (base == MAP_FAILED)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%zu bytes of a sender's memory cannot be mapped: %s", size,
                       strerror(errno));
    self->base = base;
    self->size = size;
    return SC_OK;
}

sc_status sc_shared_view_copy(sc_shared_view *self, const sc_shared_place *place, void *to)
{
    if (place->offset < SC_SHARED_HEAD_BYTES + SC_SHARED_STAMP_BYTES || place->offset % SC_SHARED_ALIGNMENT != 0 ||
        place->bytes > INT64_MAX || place->offset > INT64_MAX)
        return SC_FAIL(SC_INVALID, "no payload can lie at %llu in a sender's memory, with %llu bytes",
                       (unsigned long long)place->offset, (unsigned long long)place->bytes);
    if (place->offset + place->bytes > self->size)
        SC_TRY(map(self, place->offset + place->bytes));
    const char *from = self->base + place->offset;
    const _Atomic uint64_t *stamp = (const _Atomic uint64_t *)(const void *)(from - SC_SHARED_STAMP_BYTES);
    bool valid = atomic_load_explicit(stamp, memory_order_acquire) == place->stamp;
    if (valid) {
        memcpy(to, from, place->bytes);
        atomic_thread_fence(memory_order_acquire);
        valid = atomic_load_explicit(stamp, memory_order_relaxed) == place->stamp;
    }
    if (!valid)
        return SC_FAIL(SC_ABORTED, "the sender has let go of a payload at %llu", (unsigned long long)place->offset);
    return SC_OK;
}
