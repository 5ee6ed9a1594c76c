/* Memory that two processes share: what a reader sees, and what it refuses. */
#include "proto/wire/shared_memory_internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct scene {
    sc_shared_memory *memory;
    sc_buffer_pool *pool;
    sc_shared_view *view;
    sc_shared_offer offer;
} scene;

static void open_scene(scene *self)
{
    *self = (scene){0};
    assert_int_equal(sc_shared_memory_new(&self->memory), SC_OK);
    sc_buffer_memory source = sc_shared_memory_source(self->memory);
    assert_int_equal(sc_buffer_pool_new(&source, &self->pool), SC_OK);
    self->offer = sc_shared_memory_offer(self->memory);
    assert_int_equal(sc_shared_view_open(&self->offer, &self->view), SC_OK);
}

static void close_scene(scene *self)
{
    sc_shared_view_close(&self->view);
    sc_buffer_pool_destroy(&self->pool);
    sc_shared_memory_destroy(&self->memory);
}

static sc_buffer *filled(scene *self, size_t bytes, int value, sc_shared_place *place)
{
    sc_buffer *buffer = NULL;
    assert_int_equal(sc_buffer_get(self->pool, bytes, &buffer), SC_OK);
    memset(sc_buffer_data(buffer), value, bytes);
    assert_true(sc_shared_memory_find(self->memory, buffer, place));
    assert_int_equal(place->bytes, bytes);
    return buffer;
}

static char copied[8 << 20];

static void a_reader_sees_what_was_written(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    enum { N = 12 };
    sc_buffer *buffers[N];
    sc_shared_place places[N];
    for (int i = 0; i < N; i++) { /* up to 7 MB: the memory grows behind the reader's back */
        size_t bytes = i == 0 ? 0 : (size_t)3333 << i;
        buffers[i] = filled(&s, bytes, i, &places[i]);
        assert_int_equal((uintptr_t)sc_buffer_data(buffers[i]) % 64, 0);
        assert_int_equal(sc_shared_view_copy(s.view, &places[i], copied), SC_OK);
        assert_memory_equal(copied, sc_buffer_data(buffers[i]), bytes);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(sc_shared_view_copy(s.view, &places[i], copied), SC_OK);
        assert_memory_equal(copied, sc_buffer_data(buffers[i]), places[i].bytes);
        sc_buffer_unref(&buffers[i]);
    }
    sc_buffer *other = NULL;
    assert_int_equal(sc_buffer_new(100, &other), SC_OK);
    assert_false(sc_shared_memory_find(s.memory, other, &places[0]));
    sc_buffer_unref(&other);
    close_scene(&s);
}

static void what_was_let_go_is_not_copied(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    sc_shared_place first, second;
    sc_buffer *buffer = filled(&s, 5000, 1, &first);
    sc_buffer *other = sc_buffer_ref(buffer);
    sc_buffer_unref(&other);
    assert_int_equal(sc_shared_view_copy(s.view, &first, copied), SC_OK); /* somebody still holds it */
    sc_buffer_unref(&buffer);
    assert_int_equal(sc_shared_view_copy(s.view, &first, copied), SC_ABORTED);
    buffer = filled(&s, 5000, 2, &second);
    assert_int_equal(second.offset, first.offset);
    assert_int_equal(sc_shared_view_copy(s.view, &first, copied), SC_ABORTED);
    assert_int_equal(sc_shared_view_copy(s.view, &second, copied), SC_OK);
    assert_int_equal(copied[4999], 2);
    sc_buffer_unref(&buffer);
    close_scene(&s);
}

static void places_that_lie_are_refused(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    sc_shared_place good;
    sc_buffer *buffer = filled(&s, 5000, 1, &good);
    const sc_shared_place lies[] = {
        {.offset = 0, .bytes = 100, .stamp = good.stamp},
        {.offset = SC_SHARED_HEAD_BYTES, .bytes = 100, .stamp = good.stamp},
        {.offset = good.offset + 8, .bytes = 100, .stamp = good.stamp},
        {.offset = 1 << 30, .bytes = 100, .stamp = good.stamp},
        {.offset = good.offset, .bytes = 1 << 30, .stamp = good.stamp},
        {.offset = good.offset, .bytes = UINT64_MAX - good.offset + 1, .stamp = good.stamp},
        {.offset = good.offset, .bytes = UINT64_MAX, .stamp = good.stamp},
        {.offset = UINT64_MAX - 63, .bytes = 128, .stamp = good.stamp},
        {.offset = INT64_MAX / 64 * 64, .bytes = INT64_MAX, .stamp = good.stamp},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        assert_int_equal(sc_shared_view_copy(s.view, &lies[i], copied), SC_INVALID);
    good.stamp++;
    assert_int_equal(sc_shared_view_copy(s.view, &good, copied), SC_ABORTED);
    good.stamp--;
    assert_int_equal(sc_shared_view_copy(s.view, &good, copied), SC_OK);
    sc_buffer_unref(&buffer);
    close_scene(&s);
}

static sc_status open_offer(sc_shared_offer offer)
{
    sc_shared_view *view = NULL;
    sc_status status = sc_shared_view_open(&offer, &view);
    assert_true((view != NULL) == (status == SC_OK));
    sc_shared_view_close(&view);
    return status;
}

/* A memfd with the right head; the descriptor is in the offer. */
static sc_shared_offer forge(const char *name, unsigned seals, off_t bytes)
{
    sc_shared_head head = {.magic = SC_SHARED_MAGIC, .cookie = 5};
    int fd = memfd_create(name, MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, bytes), 0);
    if (bytes > 0)
        assert_int_equal(pwrite(fd, &head, sizeof head, 0), sizeof head);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return (sc_shared_offer){
        .host = sc_shared_memory_host(),
        .process = (uint32_t)getpid(),
        .descriptor = (uint32_t)fd,
        .cookie = 5,
    };
}

static void offers_that_lie_are_refused(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    assert_int_not_equal(sc_shared_memory_host(), 0);
    sc_shared_offer offer = s.offer;
    offer.host++;
    assert_int_equal(open_offer(offer), SC_UNAVAILABLE);
    offer.host = 0;
    assert_int_equal(open_offer(offer), SC_UNAVAILABLE);
    offer = s.offer;
    offer.cookie++;
    assert_int_equal(open_offer(offer), SC_INVALID);
    offer.cookie = 0;
    assert_int_equal(open_offer(offer), SC_INVALID);
    offer = s.offer;
    offer.process = UINT32_MAX;
    assert_int_equal(open_offer(offer), SC_UNAVAILABLE);
    offer = s.offer;
    offer.descriptor = UINT32_MAX;
    assert_int_equal(open_offer(offer), SC_UNAVAILABLE);
    int ends[2]; /* opening a pipe without a writer would wait for ever */
    assert_int_equal(pipe(ends), 0);
    close(ends[1]);
    offer.descriptor = (uint32_t)ends[0];
    assert_int_equal(open_offer(offer), SC_INVALID);
    close(ends[0]);
    const struct {
        const char *name;
        unsigned seals;
        off_t bytes;
        sc_status status;
    } forged[] = {
        {SC_SHARED_NAME, F_SEAL_SHRINK, 4096, SC_OK},
        {SC_SHARED_NAME, F_SEAL_GROW, 4096, SC_INVALID}, /* it could shrink */
        {SC_SHARED_NAME, F_SEAL_SHRINK, 0, SC_INVALID},
        {"another", F_SEAL_SHRINK, 4096, SC_INVALID},
    };
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        offer = forge(forged[i].name, forged[i].seals, forged[i].bytes);
        assert_int_equal(open_offer(offer), forged[i].status);
        close((int)offer.descriptor);
    }
    close_scene(&s);
}

static void it_lasts_as_long_as_anybody_looks(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    sc_shared_place place;
    sc_buffer *buffer = filled(&s, 5000, 3, &place);
    sc_shared_memory_destroy(&s.memory);
    sc_buffer_pool_destroy(&s.pool);
    memset(sc_buffer_data(buffer), 4, 5000); /* a buffer outlives its pool and its memory's owner */
    assert_int_equal(sc_shared_view_copy(s.view, &place, copied), SC_OK);
    assert_int_equal(copied[4999], 4);
    sc_buffer_unref(&buffer);
    assert_int_equal(sc_shared_view_copy(s.view, &place, copied), SC_ABORTED);
    close_scene(&s);
}

static void it_outlives_a_killed_process(void **state)
{
    (void)state;
    struct {
        sc_shared_offer offer;
        sc_shared_place place;
    } told;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        scene s;
        open_scene(&s);
        filled(&s, 1 << 20, 6, &told.place);
        told.offer = s.offer;
        if (write(ends[1], &told, sizeof told) == sizeof told)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ends[0], &told, sizeof told), sizeof told);
    sc_shared_view *view = NULL;
    assert_int_equal(sc_shared_view_open(&told.offer, &view), SC_OK);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(sc_shared_view_copy(view, &told.place, copied), SC_OK);
    assert_int_equal(copied[0], 6);
    assert_int_equal(copied[(1 << 20) - 1], 6);
    assert_int_equal(open_offer(told.offer), SC_UNAVAILABLE); /* to nobody else */
    sc_shared_view_close(&view);
    close(ends[0]);
    close(ends[1]);
}

/* A limit on the size of files holds for shared memory too. */
static void what_cannot_be_shared_is_memory_all_the_same(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    struct rlimit before, small = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sc_buffer *buffer = NULL;
    sc_status status = sc_buffer_get(s.pool, 8 << 20, &buffer);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, SC_OK);
    sc_shared_place place;
    assert_false(sc_shared_memory_find(s.memory, buffer, &place));
    memset(sc_buffer_data(buffer), 7, 8 << 20);
    sc_buffer_unref(&buffer); /* and back, to be used again */
    assert_int_equal(sc_buffer_get(s.pool, 8 << 20, &buffer), SC_OK);
    sc_buffer_unref(&buffer);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_outlives_a_killed_process), /* forks: first */
        cmocka_unit_test(a_reader_sees_what_was_written),
        cmocka_unit_test(what_was_let_go_is_not_copied),
        cmocka_unit_test(places_that_lie_are_refused),
        cmocka_unit_test(offers_that_lie_are_refused),
        cmocka_unit_test(it_lasts_as_long_as_anybody_looks),
        cmocka_unit_test(what_cannot_be_shared_is_memory_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
