/* The status server over real sockets of this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/status/http_client.h"
#include "coordinator/status/http_server.h"
#include "tests/unit/board_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char token[] = "0123456789abcdef0123456789abcdef";
static sc_board *board;
static sc_http_server *server;
static char reply[1 << 20];

static int setup(void **state)
{
    (void)state;
    board = board_new();
    board_start(board);
    board_show(board, SC_BOARD_TRAINING);
    return sc_http_server_start("127.0.0.1:0", board, token, &server) == SC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    sc_http_server_stop(&server);
    sc_http_server_stop(&server);
    sc_board_destroy(&board);
    return 0;
}

static int connected(void)
{
    unsigned port = 0;
    assert_int_equal(sscanf(sc_http_server_url(server), "http://127.0.0.1:%u/", &port), 1);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    const struct timeval limit = {.tv_sec = 60};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

static void say(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        const ssize_t n = send(fd, text, left, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server has closed: what it says of it is in the reply */
        text += n;
        left -= (size_t)n;
    }
}

/* What comes until the server closes. */
static const char *rest(int fd)
{
    size_t used = 0;
    for (ssize_t n; used + 1 < sizeof reply && (n = recv(fd, reply + used, sizeof reply - 1 - used, 0)) > 0;)
        used += (size_t)n;
    reply[used] = '\0';
    close(fd);
    return reply;
}

static const char *exchange(const char *request)
{
    const int fd = connected();
    say(fd, request);
    return rest(fd);
}

/* What comes until `text` is among it. */
static void hear(int fd, const char *text)
{
    size_t used = 0;
    reply[0] = '\0';
    while (!strstr(reply, text)) {
        const ssize_t n = recv(fd, reply + used, sizeof reply - 1 - used, 0);
        assert_true(n > 0);
        used += (size_t)n;
        reply[used] = '\0';
    }
}

static void assert_serves(void)
{
    sc_http_reply answer;
    assert_int_equal(sc_http_get(sc_http_server_url(server), "/livez", 60, &answer), SC_OK);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "ok\n");
    sc_http_reply_clear(&answer);
}

static void documents_and_errors_have_their_headers(void **state)
{
    (void)state;
    assert_non_null(
        strstr(exchange("GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "HTTP/1.1 200 OK"));
    assert_non_null(strstr(reply, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(reply, "\"state\":\"training\""));
    exchange("DELETE /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(reply, "HTTP/1.1 405 "));
    assert_non_null(strstr(reply, "\r\nAllow: GET, HEAD\r\n"));
    assert_non_null(strstr(reply, "\r\nContent-Type: application/problem+json\r\n"));
    exchange("GET /api/v1/steps?last=%2d1&x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(reply, "HTTP/1.1 400 "));
    assert_non_null(strstr(exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "<!DOCTYPE html>"));
    assert_non_null(strstr(reply, "\r\nContent-Security-Policy: default-src 'none'"));
    assert_non_null(strstr(reply, "</html>"));
}

static void head_is_get_without_a_body(void **state)
{
    (void)state;
    exchange("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(reply, "HTTP/1.1 200 OK"));
    assert_non_null(strstr(reply, "\r\nContent-Length: "));
    assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\n");
}

static void etags_save_the_body(void **state)
{
    (void)state;
    char request[256], etag[32];
    exchange("GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(sscanf(strstr(reply, "\r\nETag: ") + 8, "%31s", etag), 1);
    snprintf(request, sizeof request,
             "GET /openapi.json HTTP/1.1\r\nHost: x\r\nIf-None-Match: %s\r\nConnection: close\r\n\r\n", etag);
    assert_non_null(strstr(exchange(request), "HTTP/1.1 304 "));
    assert_null(strstr(reply, "openapi"));
}

static void verbs_come_over_the_wire(void **state)
{
    (void)state;
    sc_board_requests asked;
    exchange("POST /api/v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(reply, "HTTP/1.1 401 "));
    assert_non_null(strstr(reply, "\r\nWWW-Authenticate: Bearer"));
    exchange("POST /api/v1/pause HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n"
             "Content-Length: 5\r\nConnection: close\r\n\r\nhello");
    assert_non_null(strstr(reply, "HTTP/1.1 202 "));
    sc_board_take_requests(board, &asked);
    assert_true(asked.pause);
}

static void streams_bring_news_and_the_end(void **state)
{
    (void)state;
    const int fd = connected();
    say(fd, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    hear(fd, "event: stages\n");
    assert_non_null(strstr(reply, "\r\nContent-Type: text/event-stream\r\n"));
    board_step(board, 1, 4.5, 0.5);
    hear(fd, "event: steps\n");
    board_tell(board, "{\"event\":\"run_finished\",\"time\":\"t\",\"step\":3,\"status\":\"OK\",\"message\":\"\"}");
    sc_http_server_stop(&server); /* before the next look at the board is due */
    assert_non_null(strstr(rest(fd), "\"state\":\"finished\""));
    assert_non_null(strstr(reply, "\r\n0\r\n\r\n")); /* the chunks' end: nothing was cut */
}

static void streams_are_limited_and_free_their_place(void **state)
{
    (void)state;
    int fds[SC_HTTP_STREAMS];
    for (int i = 0; i < SC_HTTP_STREAMS; i++) {
        fds[i] = connected();
        say(fds[i], "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
        hear(fds[i], "event: status\n");
    }
    exchange("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(reply, "HTTP/1.1 503 "));
    assert_serves();
    for (int i = 0; i < SC_HTTP_STREAMS; i++)
        close(fds[i]);
    bool again = false;
    for (int step = 1; step < 200 && !again; step++) { /* who has gone is noticed when there is news */
        board_step(board, step, 1, 0.1);
        const int fd = connected();
        say(fd, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
        hear(fd, "\r\n\r\n");
        again = strstr(reply, "HTTP/1.1 200 ") != NULL;
        close(fd);
        poll(NULL, 0, 50);
    }
    assert_true(again);
}

static void large_requests_are_refused(void **state)
{
    (void)state;
    static char request[256 << 10];
    size_t used = (size_t)sprintf(request, "GET /livez HTTP/1.1\r\nHost: x\r\nX: ");
    memset(request + used, 'a', 100000);
    strcpy(request + used + 100000, "\r\n\r\n");
    exchange(request);
    assert_null(strstr(reply, "HTTP/1.1 200"));
    used = (size_t)sprintf(request, "POST /api/v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    memset(request + used, 'a', 200000);
    request[used + 200000] = '\0';
    exchange(request); /* the connection is closed before all of it is taken */
    assert_null(strstr(reply, "HTTP/1.1 2"));
    assert_serves();
}

/* What libmicrohttpd answers by itself, and what is closed: http_server.h says it. */
static void what_is_no_request_is_refused(void **state)
{
    (void)state;
    static char request[128 << 10], filler[40000];
    memset(filler, 'a', sizeof filler - 1);
    static const struct {
        const char *before;
        bool filled;
        const char *after, *answer;
    } cases[] = {
        {"GET /livez HTTP/1.1\r\nHost: x\r\nX: ", true, "\r\n\r\n", "HTTP/1.1 431 "},
        {"GET /", true, " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 414 "},
        {"GET /livez HTTP/3.7\r\nHost: x\r\n\r\n", false, "", "HTTP/1.1 505 "},
        {"GET /livez HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", false, "", "HTTP/1.1 400 "},
        {"POST /api/v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", false, "", "HTTP/1.1 400 "},
        {"POST /api/v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false, "",
         "HTTP/1.1 400 "},
        {"POST /api/v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n", true, "", ""},
        {"NOTHING\r\n\r\n", false, "", ""},
        /* These are requests, and answered by us. */
        {"POST /api/v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", false, "",
         "HTTP/1.1 413 Content Too Large\r\n"},
        {"BREW /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false, "", "HTTP/1.1 405 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(request, sizeof request, "%s%s%s", cases[i].before, cases[i].filled ? filler : "", cases[i].after);
        if (!cases[i].answer[0] && cases[i].filled)
            strcat(request, filler); /* 64 KiB and more of the one chunk */
        exchange(request);
        if (strncmp(reply, cases[i].answer, strlen(cases[i].answer)) != 0 || (!cases[i].answer[0] && reply[0]))
            fail_msg("%.40s: %.80s instead of %s", cases[i].before, reply, cases[i].answer);
        if (i + 2 >= sizeof cases / sizeof *cases)
            assert_non_null(strstr(reply, "Content-Type: application/problem+json\r\n"));
    }
    assert_serves();
}

/* One byte a second keeps a connection busy for ever, where only silence is timed. */
static void a_request_that_never_ends_is_cut_off(void **state)
{
    (void)state;
    struct timespec begin, end;
    int fds[SC_HTTP_CONNECTIONS / 2];
    char byte;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < SC_HTTP_CONNECTIONS / 2; i++) {
        fds[i] = connected();
        say(fds[i], "GET /livez HTTP/1.1\r\n");
    }
    assert_serves();
    for (bool open = true; open;) {
        struct pollfd answer = {.fd = fds[0], .events = POLLIN};
        send(fds[0], "X", 1, MSG_NOSIGNAL);
        open = poll(&answer, 1, 500) == 0 || recv(fds[0], &byte, 1, 0) > 0;
        clock_gettime(CLOCK_MONOTONIC, &end);
        assert_true(end.tv_sec - begin.tv_sec < 60);
    }
    assert_true(end.tv_sec - begin.tv_sec >= 9); /* ten are allowed */
    for (int i = 0; i < SC_HTTP_CONNECTIONS / 2; i++)
        close(fds[i]);
    assert_serves();
}

/* ---- anything at all ---------------------------------------------------------------------------------------------- */

static uint64_t random_state = 88172645463325252;

/* xorshift64, Marsaglia 2003. */
static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % n);
}

/* A request that is sound, until some of its bytes are changed, repeated, cut off or made up. */
static size_t malformed(char *out, size_t out_bytes)
{
    static const char *const seeds[] = {
        "GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /api/v1/steps?last=5&points=7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /api/v1/drain/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abc\r\nContent-Length: 3\r\n\r\nabc",
        "POST /api/v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HEAD /metrics HTTP/1.0\r\nIf-None-Match: \"0\"\r\n\r\n",
        "GET /api/v1/events?after=1 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: 9\r\n\r\n",
        "GET /%00%ff%2e%2e/ HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=\"d\r\nExpect: 100-continue\r\n\r\n",
    };
    const char *seed = seeds[random_below(sizeof seeds / sizeof *seeds)];
    size_t n = strlen(seed);
    memcpy(out, seed, n);
    for (unsigned changes = 1 + random_below(6); changes > 0; changes--) {
        const size_t at = random_below((unsigned)n), length = random_below(64);
        switch (random_below(5)) {
        case 0:
            out[at] = (char)random_below(256);
            break;
        case 1: /* a piece twice */
            if (at + length <= n && n + length <= out_bytes) {
                memmove(out + at + length, out + at, n - at);
                n += length;
            }
            break;
        case 2: /* a piece less */
            if (at + length < n) {
                memmove(out + at, out + at + length, n - at - length);
                n -= length;
            }
            break;
        case 3:
            for (size_t i = at; i < at + length && i < n; i++)
                out[i] = (char)random_below(256);
            break;
        default:
            n = at + 1;
        }
    }
    return n;
}

static void ten_thousand_malformed_requests(void **state)
{
    (void)state;
    const char *wanted = getenv("SC_MALFORMED_REQUESTS");
    const int n_requests = wanted ? atoi(wanted) : 10000;
    char request[8192], answer[4096];
    sc_board_requests asked;
    for (int i = 0; i < n_requests; i++) {
        const int fd = connected();
        const size_t n = malformed(request, sizeof request);
        send(fd, request, n, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        if (i % 16 == 0) { /* some wait for what comes; most go at once */
            struct pollfd some = {.fd = fd, .events = POLLIN};
            if (poll(&some, 1, 10) > 0)
                (void)!recv(fd, answer, sizeof answer, 0);
        }
        close(fd);
        if (i % 1000 == 999)
            assert_serves();
    }
    sc_board_take_requests(board, &asked);
    assert_true(!asked.stop && asked.n_drains == 0);
}

/* ---- where it listens --------------------------------------------------------------------------------------------- */

static void addresses_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *listen;
        sc_status status;
    } addresses[] = {{"8080", SC_INVALID},        {"", SC_INVALID},       {"127.0.0.1:", SC_INVALID},
                     {"127.0.0.1:x", SC_INVALID}, {"::1:80", SC_INVALID}, {"127.0.0.1:65536", SC_INVALID},
                     {"192.0.2.1:0", SC_INVALID}};
    sc_http_server *other;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        assert_int_equal(sc_http_server_start(addresses[i].listen, board, NULL, &other), addresses[i].status);
        assert_null(other);
    }
    char taken[64];
    snprintf(taken, sizeof taken, "%.*s", (int)(strlen(sc_http_server_url(server)) - 8),
             sc_http_server_url(server) + 7);
    assert_int_equal(sc_http_server_start(taken, board, NULL, &other), SC_ALREADY_EXISTS);
    assert_non_null(strstr(sc_status_message(), "in use"));
}

static void the_client_says_what_is_wrong(void **state)
{
    (void)state;
    sc_http_reply answer;
    assert_int_equal(sc_http_get("https://x/", "/", 1, &answer), SC_INVALID);
    assert_int_equal(sc_http_get("http://", "/", 1, &answer), SC_INVALID);
    assert_int_equal(sc_http_get(sc_http_server_url(server), "/nothing", 60, &answer), SC_OK);
    assert_int_equal(answer.status, 404);
    sc_http_reply_clear(&answer);
    char url[64];
    snprintf(url, sizeof url, "%s", sc_http_server_url(server));
    sc_http_server_stop(&server);
    assert_int_equal(sc_http_get(url, "/", 60, &answer), SC_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(documents_and_errors_have_their_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(head_is_get_without_a_body, setup, teardown),
        cmocka_unit_test_setup_teardown(etags_save_the_body, setup, teardown),
        cmocka_unit_test_setup_teardown(verbs_come_over_the_wire, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_bring_news_and_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_are_limited_and_free_their_place, setup, teardown),
        cmocka_unit_test_setup_teardown(large_requests_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_request_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_that_never_ends_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(ten_thousand_malformed_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(the_client_says_what_is_wrong, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
