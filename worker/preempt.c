#include "worker/preempt.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

sc_status sc_preempt_open(const char *path, int *fd)
{
    char dir[PATH_MAX];
    const char *name = name_of(path);
    int n = name == path       ? snprintf(dir, sizeof dir, ".")
            : name == path + 1 ? snprintf(dir, sizeof dir, "/")
                               : snprintf(dir, sizeof dir, "%.*s", (int)(name - path - 1), path);
    if (!*name || n >= (int)sizeof dir)
        return SC_FAIL(SC_INVALID, "'%s' is no path of a file", path);
    *fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (*fd < 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no inotify descriptor: %s", strerror(errno));
    if (inotify_add_watch(*fd, dir, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
        sc_status status = SC_FAIL(SC_INVALID, "the directory of '%s' cannot be watched: %s", path, strerror(errno));
        close(*fd);
        *fd = -1;
        return status;
    }
    return SC_OK;
}

bool sc_preempt_take(int fd, const char *path)
{
    _Alignas(struct inotify_event) char events[4096];
    bool appeared = false;
    for (ssize_t n; (n = read(fd, events, sizeof events)) > 0;)
        for (char *at = events; at < events + n;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
            at += sizeof *event + event->len;
            if (event->mask & IN_Q_OVERFLOW) /* whose names are lost */
                appeared |= access(path, F_OK) == 0;
            else if (event->len > 0)
                appeared |= strcmp(event->name, name_of(path)) == 0;
        }
    return appeared;
}
