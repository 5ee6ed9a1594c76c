/* fault-proxy: links that fail on command, for tests with real processes. See fault_proxy.h for what a link can do.
 *
 *   fault-proxy [--seed N] NAME=LISTEN=TARGET...       as   fault-proxy c=127.0.0.1:0=127.0.0.1:5555
 *
 * prints a line "NAME ADDRESS:PORT" for each link, then "ready", and obeys commands on its standard input, one a line. LINK is a
 * link's name or `all`:
 *
 *   reset LINK                       blackhole LINK MS
 *   cut LINK BYTES                   slow LINK BYTES_PER_SECOND LATENCY_MS      (0 0: as fast as it goes)
 *   storm MEAN_MS LONGEST_MS         from now on, at random moments MEAN_MS apart in the mean, a random link is reset, is cut
 *                                    within its next 200 KB, or is a black hole for up to LONGEST_MS (0: never that), after
 *                                    which it may be reset
 *   calm                             ends the storm
 *   count                            prints "accepted A carried BYTES resets R blackholes B", all links together
 *   quit                             as the end of the input does
 *
 * The storm's moments, links and faults are a function of the seed (printed if none was given). */
#include "proto/base/rng.h"
#include "tests/tools/fault_proxy.h"

#include <errno.h>
#include <stdbool.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LINKS = 64, MAX_FDS = 1 + MAX_LINKS * SC_FAULT_PROXY_FDS, LINE_BYTES = 512, CUT_WITHIN = 200000 };

typedef struct named_link {
    char name[32];
    sc_fault_proxy *proxy;
    uint64_t reset_ns; /* after a blackhole; UINT64_MAX: not */
} named_link;

typedef struct program {
    sc_clock clock;
    named_link links[MAX_LINKS];
    size_t n_links;
    sc_rng rng;
    uint64_t n_drawn;
    uint64_t storm_ns; /* the next fault; UINT64_MAX: calm */
    uint32_t mean_ms, longest_ms;
    char line[LINE_BYTES];
    size_t line_bytes;
    bool over;
} program;

static uint64_t draw(program *self, uint64_t below)
{
    return sc_rng_below(&self->rng, self->n_drawn++, below);
}

/* ---- the storm ----------------------------------------------------------------------------------------------------- */

static void plan_fault(program *self, uint64_t now_ns)
{
    self->storm_ns = now_ns + draw(self, 2 * (uint64_t)self->mean_ms + 1) * UINT64_C(1000000);
}

static void strike(program *self, uint64_t now_ns)
{
    named_link *one = &self->links[draw(self, self->n_links)];
    uint64_t kind = draw(self, self->longest_ms > 0 ? 3 : 2), size = draw(self, CUT_WITHIN) + 1;
    switch (kind) {
    case 0:
        sc_fault_proxy_reset(one->proxy);
        break;
    case 1:
        sc_fault_proxy_cut_after(one->proxy, size);
        break;
    default: {
        uint64_t ms = draw(self, self->longest_ms) + 1;
        sc_fault_proxy_blackhole(one->proxy, (uint32_t)ms);
        one->reset_ns = size % 2 ? now_ns + ms * UINT64_C(1000000) : UINT64_MAX;
    }
    }
    plan_fault(self, now_ns);
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

static void count(const program *self)
{
    sc_fault_proxy_counts sum = {0};
    for (size_t i = 0; i < self->n_links; i++) {
        sc_fault_proxy_counts one = sc_fault_proxy_count(self->links[i].proxy);
        sum.accepted += one.accepted;
        sum.carried += one.carried;
        sum.resets += one.resets;
        sum.blackholes += one.blackholes;
    }
    printf("accepted %" PRIu64 " carried %" PRIu64 " resets %" PRIu64 " blackholes %" PRIu64 "\n", sum.accepted,
           sum.carried, sum.resets, sum.blackholes);
}

/* A command to links. False: there is no such command, or no such link. */
static bool obey_link(program *self, const char *verb, const char *name, uint64_t first, uint64_t second)
{
    bool known = false;
    for (size_t i = 0; i < self->n_links; i++) {
        sc_fault_proxy *proxy = self->links[i].proxy;
        if (strcmp(name, "all") != 0 && strcmp(name, self->links[i].name) != 0)
            continue;
        known = true;
        if (strcmp(verb, "reset") == 0)
            sc_fault_proxy_reset(proxy);
        else if (strcmp(verb, "blackhole") == 0 && first <= UINT32_MAX)
            sc_fault_proxy_blackhole(proxy, (uint32_t)first);
        else if (strcmp(verb, "cut") == 0 && first > 0)
            sc_fault_proxy_cut_after(proxy, first);
        else if (strcmp(verb, "slow") == 0 && second <= UINT32_MAX)
            sc_fault_proxy_slow(proxy, first, (uint32_t)second);
        else
            return false;
    }
    return known;
}

static bool obey(program *self, const char *line)
{
    char verb[16], name[32];
    uint64_t first = 0, second = 0;
    uint32_t mean, longest;
    if (strcmp(line, "quit") == 0)
        self->over = true;
    else if (strcmp(line, "count") == 0)
        count(self);
    else if (strcmp(line, "calm") == 0)
        self->storm_ns = UINT64_MAX;
    else if (sscanf(line, "storm %" SCNu32 " %" SCNu32, &mean, &longest) == 2) {
        self->mean_ms = mean;
        self->longest_ms = longest;
        plan_fault(self, sc_clock_ns(&self->clock));
    } else if (sscanf(line, "%15s %31s %" SCNu64 " %" SCNu64, verb, name, &first, &second) >= 2)
        return obey_link(self, verb, name, first, second);
    else
        return false;
    return true;
}

static void take_commands(program *self)
{
    ssize_t n = read(STDIN_FILENO, self->line + self->line_bytes, sizeof self->line - 1 - self->line_bytes);
    if (n <= 0) {
        self->over |= n == 0 || errno != EINTR;
        return;
    }
    self->line_bytes += (size_t)n;
    char *end;
    while (!self->over && (end = memchr(self->line, '\n', self->line_bytes))) {
        *end = '\0';
        if (!obey(self, self->line))
            fprintf(stderr, "fault-proxy: not a command: %s\n", self->line);
        self->line_bytes -= (size_t)(end + 1 - self->line);
        memmove(self->line, end + 1, self->line_bytes);
    }
    if (self->line_bytes == sizeof self->line - 1) {
        fprintf(stderr, "fault-proxy: a command longer than %d bytes\n", LINE_BYTES - 2);
        self->over = true;
    }
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

static void turn(program *self)
{
    uint64_t now_ns = sc_clock_ns(&self->clock);
    if (self->storm_ns <= now_ns)
        strike(self, now_ns);
    for (size_t i = 0; i < self->n_links; i++) {
        if (self->links[i].reset_ns <= now_ns) {
            self->links[i].reset_ns = UINT64_MAX;
            sc_fault_proxy_reset(self->links[i].proxy);
        }
        sc_fault_proxy_turn(self->links[i].proxy);
    }
}

static void loop(program *self)
{
    static struct pollfd fds[MAX_FDS];
    while (!self->over) {
        uint64_t due_ns = self->storm_ns;
        size_t n = 0;
        fds[n++] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        for (size_t i = 0; i < self->n_links; i++) {
            n += sc_fault_proxy_wants(self->links[i].proxy, fds + n, &due_ns);
            if (self->links[i].reset_ns < due_ns)
                due_ns = self->links[i].reset_ns;
        }
        uint64_t now_ns = sc_clock_ns(&self->clock);
        uint64_t wait_ms = due_ns > now_ns ? (due_ns - now_ns + 999999) / 1000000u : 0;
        poll(fds, (nfds_t)n, due_ns == UINT64_MAX || wait_ms > 1000 ? 1000 : (int)wait_ms);
        if (fds[0].revents)
            take_commands(self);
        turn(self);
    }
}

/* ---- the command line ---------------------------------------------------------------------------------------------- */

static sc_status open_link(program *self, const char *text)
{
    char name[32], listen[64], target[64];
    if (self->n_links == MAX_LINKS || sscanf(text, "%31[^=]=%63[^=]=%63[^=]", name, listen, target) != 3)
        return SC_FAIL(SC_INVALID, "'%s' is not NAME=LISTEN=TARGET, or there are more than %d", text, MAX_LINKS);
    named_link *one = &self->links[self->n_links];
    SC_TRY(sc_fault_proxy_new(listen, target, &self->clock, &one->proxy));
    memcpy(one->name, name, sizeof name);
    one->reset_ns = UINT64_MAX;
    self->n_links++;
    *strchr(listen, ':') = '\0';
    printf("%s %s:%d\n", name, listen, sc_fault_proxy_port(one->proxy));
    return SC_OK;
}

int main(int argc, char **argv)
{
    static program self;
    self.clock = sc_clock_system();
    self.storm_ns = UINT64_MAX;
    self.rng = (sc_rng){.site = SC_RNG_SITE(SC_RNG_TEST, 0)};
    setvbuf(stdout, NULL, _IOLBF, 0);
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "--seed") == 0) {
        self.rng.seed = strtoull(argv[2], NULL, 10);
        first = 3;
    } else {
        self.rng.seed = sc_clock_ns(&self.clock);
        fprintf(stderr, "fault-proxy: seed %" PRIu64 "\n", self.rng.seed);
    }
    sc_status status = argc > first ? SC_OK : SC_FAIL(SC_INVALID, "no link; NAME=LISTEN=TARGET is one");
    for (int i = first; i < argc && status == SC_OK; i++)
        status = open_link(&self, argv[i]);
    if (status == SC_OK) {
        puts("ready");
        loop(&self);
    } else {
        fprintf(stderr, "fault-proxy: %s\n", sc_status_message());
    }
    for (size_t i = 0; i < self.n_links; i++)
        sc_fault_proxy_destroy(&self.links[i].proxy);
    return status == SC_OK ? 0 : 2;
}
