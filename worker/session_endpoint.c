#include "worker/session_endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *after(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

sc_status sc_session_endpoint_check(const char *endpoint)
{
    char host[SC_ENDPOINT_BYTES], port[8], *end;
    const char *path = after(endpoint, "ipc://");
    if (path && *path && strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path)
        return SC_OK;
    if (sc_endpoint_split_tcp(endpoint, host, port)) {
        long number = strtol(port, &end, 10);
        if (port[0] >= '0' && port[0] <= '9' && *end == '\0' && number >= 1 && number <= 65535)
            return SC_OK;
    }
    return SC_FAIL(SC_INVALID, "'%s' is no endpoint; it is tcp://HOST:PORT, tcp://[IPV6]:PORT or ipc://PATH", endpoint);
}

sc_status sc_session_endpoint_listen(const char *coordinator, char *out)
{
    SC_TRY(sc_session_endpoint_check(coordinator));
    char host[SC_ENDPOINT_BYTES], port[8];
    const char *path = after(coordinator, "ipc://");
    if (path) {
        int n = snprintf(out, SC_ENDPOINT_BYTES, "ipc://%s.w%d", path, (int)getpid());
        if (n - 6 >= (int)sizeof((struct sockaddr_un *)0)->sun_path)
            return SC_FAIL(SC_INVALID,
                           "the path of '%s' is too long for a socket beside it: choose a shorter one, or --listen",
                           coordinator);
        return SC_OK;
    }
    sc_endpoint_split_tcp(coordinator, host, port);
    bool v6 = strchr(host, ':') && !strchr(host, '.'); /* with dots: an IPv4 address written as IPv6 */
    if (sc_endpoint_is_loopback(host))
        snprintf(out, SC_ENDPOINT_BYTES, "tcp://%s:*", v6 ? "[::1]" : "127.0.0.1");
    else
        snprintf(out, SC_ENDPOINT_BYTES, "tcp://%s:*", v6 ? "[::]" : "0.0.0.0");
    return SC_OK;
}

/* A connected UDP socket has the address that the kernel would send from; connecting sends nothing. */
static bool source_address(const struct addrinfo *to, char *text, size_t text_bytes)
{
    struct sockaddr_storage own;
    socklen_t own_bytes = sizeof own;
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool found =
        fd >= 0 && connect(fd, to->ai_addr, to->ai_addrlen) == 0 &&
        getsockname(fd, (struct sockaddr *)&own, &own_bytes) == 0 &&
        getnameinfo((struct sockaddr *)&own, own_bytes, text, (socklen_t)text_bytes, NULL, 0, NI_NUMERICHOST) == 0;
    int kept = errno;
    if (fd >= 0)
        close(fd);
    errno = kept;
    return found;
}

static sc_status route_address(const char *host, const char *port, char *text, size_t text_bytes)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found = NULL;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error)
        return SC_FAIL(SC_UNAVAILABLE, "the coordinator's host '%s' has no address: %s", host, gai_strerror(error));
    sc_status status = SC_UNAVAILABLE;
    for (const struct addrinfo *at = found; at && status != SC_OK; at = at->ai_next)
        if (source_address(at, text, text_bytes))
            status = SC_OK;
    if (status != SC_OK)
        SC_FAIL(status, "no route to the coordinator's host '%s': %s", host, strerror(errno));
    freeaddrinfo(found);
    return status;
}

sc_status sc_session_endpoint_advertise(const char *coordinator, const char *bound, char *out)
{
    char host[SC_ENDPOINT_BYTES], port[8], to_host[SC_ENDPOINT_BYTES], to_port[8], own[SC_ENDPOINT_BYTES / 2];
    bool everywhere = sc_endpoint_split_tcp(bound, host, port) &&
                      (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 || strcmp(host, "*") == 0);
    if (!everywhere || !sc_endpoint_split_tcp(coordinator, to_host, to_port)) {
        snprintf(out, SC_ENDPOINT_BYTES, "%s", bound);
        return SC_OK;
    }
    SC_TRY(route_address(to_host, to_port, own, sizeof own));
    snprintf(out, SC_ENDPOINT_BYTES, strchr(own, ':') ? "tcp://[%s]:%s" : "tcp://%s:%s", own, port);
    return SC_OK;
}
