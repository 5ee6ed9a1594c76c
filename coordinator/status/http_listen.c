#include "coordinator/status/http_listen.h"

#include "proto/base/files.h"
#include "proto/wire/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 64 };

static sc_status failed(const char *at, int error)
{
    if (error == EADDRINUSE)
        return SC_FAIL(SC_ALREADY_EXISTS, "%s is in use by another program; give status.listen another port, or off",
                       at);
    if (error == EADDRNOTAVAIL)
        return SC_FAIL(SC_INVALID, "status.listen %s: this machine has no such address", at);
    return SC_FAIL(sc_files_status(error), "status.listen %s: %s", at, strerror(error));
}

static sc_status open_socket(const char *at, const struct addrinfo *address, int *out)
{
    int one = 1, fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failed(at, errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
               sizeof one); /* what an earlier run left in TIME_WAIT is no obstacle */
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        *out = fd;
        return SC_OK;
    }
    const int error = errno;
    close(fd);
    return failed(at, error);
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &n) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

/* An address that stands for all of them is reached at this machine's own. */
static void name(const char *host, unsigned port, char url[SC_HTTP_URL_BYTES])
{
    const char *reached = strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1" : strcmp(host, "::") == 0 ? "::1" : host;
    const bool v6 = strchr(reached, ':') != NULL;
    snprintf(url, SC_HTTP_URL_BYTES, "http://%s%s%s:%u/", v6 ? "[" : "", reached, v6 ? "]" : "", port);
}

sc_status sc_http_listen(const char *at, int *fd, char url[SC_HTTP_URL_BYTES])
{
    char endpoint[SC_ENDPOINT_BYTES], host[SC_ENDPOINT_BYTES], port[8];
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    *fd = -1;
    if (snprintf(endpoint, sizeof endpoint, "tcp://%s", at) >= (int)sizeof endpoint ||
        !sc_endpoint_split_tcp(endpoint, host, port) || !port[0] || port[strspn(port, "0123456789")] ||
        strtol(port, NULL, 10) > 65535)
        return SC_FAIL(SC_INVALID, "status.listen is %s; it must be HOST:PORT, as 127.0.0.1:8080 or [::1]:8080, or off",
                       at);
    const int error = getaddrinfo(host, port, &wanted, &found);
    if (error != 0)
        return SC_FAIL(SC_INVALID, "status.listen %s: %s", at, gai_strerror(error));
    sc_status status = open_socket(at, found, fd);
    freeaddrinfo(found);
    if (status == SC_OK)
        name(host, port_of(*fd), url);
    return status;
}
