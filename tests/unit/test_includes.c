/* The arrows of the house: base <- wire <- {coordinator, worker}, base <- kernels <- worker, and each format's library
 * only where its format is read or written. Reads every #include line of the product. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

typedef struct room {
    const char *dir;
    const char *may_include[5]; /* beginnings of "..." includes */
} room;

/* The longest matching directory counts. */
static const room rooms[] = {
    {"proto/base/", {"proto/base/"}},
    {"proto/wire/", {"proto/base/", "proto/wire/", "proto/stagecoach.pb-c.h"}},
    {"kernels/", {"proto/base/", "kernels/"}},
    {"coordinator/", {"proto/", "coordinator/"}},
    {"coordinator/schedule/", {"proto/base/", "coordinator/schedule/"}},
    {"coordinator/data/", {"proto/base/", "coordinator/data/"}},
    {"coordinator/report/", {"proto/base/", "coordinator/data/", "coordinator/report/"}},
    {"worker/", {"proto/", "kernels/", "worker/"}},
    {"worker/model/", {"proto/base/", "kernels/", "worker/"}},
    {"worker/optim/", {"proto/base/", "kernels/", "worker/"}},
};
enum { N_ROOMS = sizeof rooms / sizeof rooms[0] };

/* A library's header (its beginning) and the only places that may name it. */
static const struct {
    const char *header;
    const char *places[5];
} libraries[] = {
    {"czmq", {"proto/wire/"}},
    {"zmq", {"proto/wire/"}},
    {"cuda", {"kernels/cuda/"}},
    {"cublas", {"kernels/cuda/"}},
    {"dnnl", {"kernels/cpu/"}},
    {"oneapi", {"kernels/cpu/"}},
    {"omp", {"kernels/cpu/"}},
    {"microhttpd", {"coordinator/status/"}},
    {"gnutls", {"coordinator/status/tls_stream"}},
    {"libfyaml", {"proto/base/config", "coordinator/run/answers"}},
    {"pcre2", {"coordinator/data/"}},
    {"utf8proc", {"coordinator/data/"}},
    {"jansson",
     {"proto/base/safetensors", "coordinator/data/", "coordinator/report/", "coordinator/run/", "coordinator/status/"}},
};
enum { N_LIBRARIES = sizeof libraries / sizeof libraries[0] };

static int n_files, n_wrong;

static int starts_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static int matches(const char *text, const char *const *beginnings, size_t n)
{
    for (size_t i = 0; i < n && beginnings[i]; i++)
        if (starts_with(text, beginnings[i]))
            return 1;
    return 0;
}

static void check_include(const char *file, const room *home, char quote, const char *header)
{
    int wrong = 0;
    if (quote == '"') {
        wrong = !matches(header, home->may_include, 5);
    } else {
        for (size_t i = 0; i < N_LIBRARIES; i++)
            if (starts_with(header, libraries[i].header))
                wrong |= !matches(file, libraries[i].places, 5);
    }
    if (wrong) {
        print_error("%s includes %c%s, against the arrows of the design\n", file, quote, header);
        n_wrong++;
    }
}

static int visit(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)walk;
    const char *file = path + strlen(SC_SOURCE_DIR) + 1;
    size_t length = strlen(file);
    if (type != FTW_F || length < 3 || (strcmp(file + length - 2, ".c") != 0 && strcmp(file + length - 2, ".h") != 0))
        return 0;
    const room *home = NULL;
    for (size_t i = 0; i < N_ROOMS; i++)
        if (starts_with(file, rooms[i].dir) && (!home || strlen(rooms[i].dir) > strlen(home->dir)))
            home = &rooms[i];
    if (!home) {
        print_error("%s lies in no room\n", file);
        n_wrong++;
        return 0;
    }
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    char line[512], header[256];
    n_files++;
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, " # include \"%255[^\"]\"", header) == 1)
            check_include(file, home, '"', header);
        else if (sscanf(line, " # include <%255[^>]>", header) == 1)
            check_include(file, home, '<', header);
    }
    fclose(in);
    return 0;
}

static void includes_follow_the_arrows(void **state)
{
    (void)state;
    static const char *const roots[] = {"proto", "kernels", "coordinator", "worker"};
    for (size_t i = 0; i < 4; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", SC_SOURCE_DIR, roots[i]);
        assert_int_equal(nftw(path, visit, 16, FTW_PHYS), 0);
    }
    assert_true(n_files > 20);
    assert_int_equal(n_wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(includes_follow_the_arrows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
