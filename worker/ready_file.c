#include "worker/ready_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

sc_status sc_ready_file_begin(const char *path)
{
    /* Made and removed: whatever would be in the way in an hour is in the way now. */
    if (sc_ready_file_touch(path) != SC_OK || unlink(path) != 0)
        return SC_FAIL(SC_INVALID, "no file can be made at '%s': %s", path, strerror(errno));
    return SC_OK;
}

sc_status sc_ready_file_touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return SC_FAIL(SC_UNAVAILABLE, "the ready file '%s': %s", path, strerror(errno));
    int failed = futimens(fd, NULL), error = errno;
    close(fd);
    errno = error;
    return failed ? SC_FAIL(SC_UNAVAILABLE, "the ready file '%s': %s", path, strerror(error)) : SC_OK;
}

void sc_ready_file_remove(const char *path)
{
    unlink(path);
}

sc_status sc_ready_file_check(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return SC_FAIL(SC_NOT_FOUND, "no worker is ready: %s: %s", path, strerror(errno));
    time_t age_s = time(NULL) - info.st_mtime;
    if (age_s > SC_READY_FILE_FRESH_S)
        return SC_FAIL(SC_UNAVAILABLE, "no worker is ready: %s was last touched %lld s ago", path, (long long)age_s);
    return SC_OK;
}
