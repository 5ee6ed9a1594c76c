#include "proto/wire/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool sc_endpoint_split_tcp(const char *endpoint, char host[SC_ENDPOINT_BYTES], char port[8])
{
    static const char scheme[] = "tcp://";
    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0)
        return false;
    const char *rest = endpoint + sizeof scheme - 1, *colon = strrchr(rest, ':');
    if (!colon || strlen(rest) >= SC_ENDPOINT_BYTES || strlen(colon + 1) >= 8)
        return false;
    size_t n = (size_t)(colon - rest);
    if (n >= 2 && rest[0] == '[' && rest[n - 1] == ']') {
        rest++;
        n -= 2;
    } else if (memchr(rest, ':', n)) {
        return false; /* a bare IPv6 address: which colon is the port's? */
    }
    memcpy(host, rest, n);
    host[n] = '\0';
    snprintf(port, 8, "%s", colon + 1);
    return n > 0;
}

bool sc_endpoint_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    return strcmp(host, "localhost") == 0;
}

bool sc_endpoint_is_local(const char *endpoint)
{
    char host[SC_ENDPOINT_BYTES], port[8];
    if (strncmp(endpoint, "ipc://", 6) == 0)
        return true;
    return sc_endpoint_split_tcp(endpoint, host, port) && sc_endpoint_is_loopback(host);
}
