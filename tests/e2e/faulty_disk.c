/* A disk that is slow or fails, put before the C library with LD_PRELOAD. FAULTY_DISK says how, for the shards of checkpoints
 * (files with "stage-" in their path) alone:
 *     eio N      the N-th fsync fails with EIO
 *     slow MS    each write takes so many milliseconds more */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The number behind `fault`, 0 if another one or none is wanted, or the file is no shard. */
static int wanted(const char *fault, int fd)
{
    const char *text = getenv("FAULTY_DISK");
    const size_t length = strlen(fault);
    char link[64], path[4096];
    if (!text || strncmp(text, fault, length) != 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return strstr(path, "stage-") ? atoi(text + length) : 0;
}

int fsync(int fd)
{
    static atomic_int n_calls;
    const int fails = wanted("eio ", fd);
    if (fails > 0 && atomic_fetch_add(&n_calls, 1) + 1 == fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    const int ms = wanted("slow ", fd);
    if (ms > 0)
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
    return syscall(SYS_pwrite64, fd, bytes, n, offset);
}
