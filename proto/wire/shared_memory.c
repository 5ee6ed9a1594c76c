/* The owner's side: blocks for buffer pools out of one memfd. What readers do is in shared_view.c. */
#include "proto/wire/shared_memory_internal.h"

#include "proto/wire/frame.h"

#define SC_LOG_SUBSYSTEM "node"
#include "proto/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum { GRANULE = 256 * 1024 }; /* bytes by which it grows at least */

/* The address range is taken whole, for as much as there can ever be, so that blocks stay where they are; the file grows
 * into it. */
struct sc_shared_memory {
    int fd;
    uint64_t cookie;
    char *base;
    size_t reserved;      /* bytes of addresses */
    pthread_mutex_t lock; /* guards the two below: pools have locks of their own */
    size_t used, size;    /* bytes given out, bytes of the file */
    _Atomic size_t refs;  /* the owner's, and one for each block */
};

static uint64_t host;

static void read_host(void)
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : 0;
    if (fd >= 0)
        close(fd);
    host = n > 0 ? sc_frame_hash(text, (size_t)n) : 0;
}

uint64_t sc_shared_memory_host(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_host);
    return host;
}

static void unref(sc_shared_memory *self)
{
    if (atomic_fetch_sub(&self->refs, 1) != 1)
        return;
    if (self->base)
        munmap(self->base, self->reserved);
    if (self->fd >= 0)
        close(self->fd);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* The file is `size` bytes, with memory behind each. */
static sc_status grow(sc_shared_memory *self, size_t size)
{
    size = (size + GRANULE - 1) / GRANULE * GRANULE;
    if (size > self->reserved)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no more than %zu bytes can be shared", self->reserved);
    int error;
    while ((error = fallocate(self->fd, 0, (off_t)self->size, (off_t)(size - self->size)) == 0 ? 0 : errno) == EINTR)
        ;
    if (error)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to share %zu bytes: %s", size, strerror(error));
    /* One call instead of a page fault for each page; where the kernel does not know it, the faults come. */
    madvise(self->base + self->size, size - self->size, MADV_POPULATE_WRITE);
    self->size = size;
    return SC_OK;
}

sc_status sc_shared_memory_new(sc_shared_memory **out)
{
    sc_shared_memory *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for shared memory's head");
    pthread_mutex_init(&self->lock, NULL);
    self->refs = 1;
    self->reserved = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / GRANULE * GRANULE;
    self->fd = memfd_create(SC_SHARED_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *base = MAP_FAILED;
    if (self->fd >= 0 && fcntl(self->fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
        base = mmap(NULL, self->reserved, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, self->fd, 0);
    if (base == MAP_FAILED) {
        sc_status status = SC_FAIL(SC_UNAVAILABLE, "memory cannot be shared: %s", strerror(errno));
        unref(self);
        return status;
    }
    self->base = base;
    sc_status status = grow(self, SC_SHARED_HEAD_BYTES);
    while (status == SC_OK && self->cookie == 0)
        if (getrandom(&self->cookie, sizeof self->cookie, 0) != sizeof self->cookie)
            self->cookie = 0;
    if (status != SC_OK) {
        unref(self);
        return SC_FAIL(SC_UNAVAILABLE, "memory cannot be shared: %s", sc_status_message());
    }
    *(sc_shared_head *)self->base = (sc_shared_head){.magic = SC_SHARED_MAGIC, .cookie = self->cookie};
    self->used = SC_SHARED_HEAD_BYTES;
    *out = self;
    return SC_OK;
}

void sc_shared_memory_destroy(sc_shared_memory **self_p)
{
    if (*self_p)
        unref(*self_p);
    *self_p = NULL;
}

/* ---- a pool's memory ----------------------------------------------------------------------------------------------- */

static _Atomic uint64_t *stamp_of(void *memory)
{
    return (_Atomic uint64_t *)(void *)((char *)memory - SC_SHARED_STAMP_BYTES);
}

static bool is_shared(const sc_shared_memory *self, const void *memory)
{
    uintptr_t data = (uintptr_t)memory, base = (uintptr_t)self->base;
    return data >= base && data - base < self->reserved;
}

static sc_status share(sc_shared_memory *self, size_t bytes, void **out)
{
    size_t block =
        SC_SHARED_STAMP_BYTES + (bytes + SC_SHARED_ALIGNMENT - 1) / SC_SHARED_ALIGNMENT * SC_SHARED_ALIGNMENT;
    if (block < bytes || block > self->reserved - self->used)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no more than %zu bytes can be shared", self->reserved);
    if (self->used + block > self->size)
        SC_TRY(grow(self, self->used + block));
    *out = self->base + self->used + SC_SHARED_STAMP_BYTES;
    self->used += block;
    atomic_store(stamp_of(*out), 1);
    return SC_OK;
}

/* What cannot be shared any more (a limit on files or on shared memory, a container's) is memory of this process alone, and
 * travels in frames. */
static sc_status allocate(void *context, size_t bytes, void **out)
{
    sc_shared_memory *self = context;
    pthread_mutex_lock(&self->lock);
    sc_status status = share(self, bytes, out);
    pthread_mutex_unlock(&self->lock);
    if (status != SC_OK && posix_memalign(out, SC_SHARED_ALIGNMENT, bytes ? bytes : 1) != 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu bytes, shared or not", bytes);
    if (status != SC_OK)
        SC_DEBUG("%s", sc_status_message());
    atomic_fetch_add(&self->refs, 1);
    return SC_OK;
}

/* As the writer of a seqlock: the new number is seen before anything that is written afterwards. */
static void recycle(void *context, void *memory)
{
    if (!is_shared(context, memory))
        return;
    atomic_fetch_add_explicit(stamp_of(memory), 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

/* The bytes stay where they are until all are released: a pool lives as long as its process, or nearly. */
static void release(void *context, void *memory)
{
    if (is_shared(context, memory))
        recycle(context, memory);
    else
        free(memory);
    unref(context);
}

sc_buffer_memory sc_shared_memory_source(sc_shared_memory *self)
{
    return (sc_buffer_memory){.allocate = allocate, .release = release, .recycle = recycle, .context = self};
}

sc_shared_offer sc_shared_memory_offer(const sc_shared_memory *self)
{
    return (sc_shared_offer){
        .host = sc_shared_memory_host(),
        .process = (uint32_t)getpid(),
        .descriptor = (uint32_t)self->fd,
        .cookie = self->cookie,
    };
}

bool sc_shared_memory_find(const sc_shared_memory *self, sc_buffer *buffer, sc_shared_place *place)
{
    if (!is_shared(self, sc_buffer_data(buffer)))
        return false;
    *place = (sc_shared_place){
        .offset = (uintptr_t)sc_buffer_data(buffer) - (uintptr_t)self->base,
        .bytes = sc_buffer_bytes(buffer),
        .stamp = atomic_load(stamp_of(sc_buffer_data(buffer))),
    };
    return true;
}
