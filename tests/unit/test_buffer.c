#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/buffer.h"

static void buffers_are_aligned_and_used_again(void **state)
{
    (void)state;
    sc_buffer_pool *pool = NULL;
    assert_int_equal(sc_buffer_pool_new(NULL, &pool), SC_OK);
    uint64_t after_first = 0;
    for (int round = 0; round < 100; round++) {
        sc_buffer *buffers[8];
        for (int i = 0; i < 8; i++) {
            size_t bytes = (size_t)(i == 0 ? 0 : 1000 * i * i + 1);
            assert_int_equal(sc_buffer_get(pool, bytes, &buffers[i]), SC_OK);
            assert_int_equal(sc_buffer_bytes(buffers[i]), bytes);
            assert_int_equal((uintptr_t)sc_buffer_data(buffers[i]) % 64, 0);
            memset(sc_buffer_data(buffers[i]), round, bytes);
        }
        for (int i = 0; i < 8; i++)
            sc_buffer_unref(&buffers[i]);
        if (round == 0)
            after_first = sc_buffer_pool_bytes(pool);
    }
    assert_int_equal(sc_buffer_pool_bytes(pool), after_first);
    assert_true(after_first <
                150000); /* of 140,000 asked for: an eighth is the most that rounding may add, here less */
    sc_buffer_pool_destroy(&pool);
    sc_buffer_pool_destroy(&pool);
}

static void sizes_of_a_class_share_buffers(void **state)
{
    (void)state;
    sc_buffer_pool *pool = NULL;
    sc_buffer *buffer = NULL;
    assert_int_equal(sc_buffer_pool_new(NULL, &pool), SC_OK);
    /* Every size from a byte to a megabyte fits into what its class has: asan sees the last byte. */
    for (size_t bytes = 1; bytes < 1 << 20; bytes += bytes / 50 + 1) {
        assert_int_equal(sc_buffer_get(pool, bytes, &buffer), SC_OK);
        ((char *)sc_buffer_data(buffer))[bytes - 1] = 1;
        sc_buffer_unref(&buffer);
    }
    uint64_t before = sc_buffer_pool_bytes(pool);
    assert_int_equal(sc_buffer_get(pool, 1000000, &buffer), SC_OK);
    sc_buffer_unref(&buffer);
    assert_int_equal(sc_buffer_pool_bytes(pool), before);
    assert_int_equal(sc_buffer_get(pool, SIZE_MAX - 5, &buffer), SC_RESOURCE_EXHAUSTED);
    sc_buffer_pool_destroy(&pool);
}

static void the_last_reference_returns_it(void **state)
{
    (void)state;
    sc_buffer_pool *pool = NULL;
    sc_buffer *first = NULL, *second = NULL;
    assert_int_equal(sc_buffer_pool_new(NULL, &pool), SC_OK);
    assert_int_equal(sc_buffer_get(pool, 5000, &first), SC_OK);
    void *data = sc_buffer_data(first);
    sc_buffer *other = sc_buffer_ref(first);
    sc_buffer_unref(&first);
    assert_null(first);
    assert_int_equal(sc_buffer_get(pool, 5000, &second), SC_OK);
    assert_ptr_not_equal(sc_buffer_data(second), data); /* it is still held */
    sc_buffer_unref(&second);
    sc_buffer_unref(&other);
    sc_buffer_unref(&other);
    assert_int_equal(sc_buffer_get(pool, 5000, &second), SC_OK);
    assert_ptr_equal(sc_buffer_data(second), data);
    sc_buffer_pool_destroy(&pool);
    memset(sc_buffer_data(second), 1, 5000); /* it outlives its pool's owner */
    sc_buffer_unref(&second);
}

typedef struct ledger {
    int n_allocated, n_released, limit;
} ledger;

static sc_status allocate(void *context, size_t bytes, void **out)
{
    ledger *self = context;
    if (self->n_allocated == self->limit)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no pinned memory");
    self->n_allocated++;
    *out = aligned_alloc(64, bytes);
    return SC_OK;
}

static void let_go(void *context, void *memory)
{
    ((ledger *)context)->n_released++;
    free(memory);
}

static void memory_comes_from_the_backend(void **state)
{
    (void)state;
    ledger book = {.limit = 2};
    sc_buffer_pool *pool = NULL;
    sc_buffer *buffers[3] = {NULL};
    assert_int_equal(
        sc_buffer_pool_new(&(sc_buffer_memory){.allocate = allocate, .release = let_go, .context = &book}, &pool),
        SC_OK);
    assert_int_equal(sc_buffer_get(pool, 100, &buffers[0]), SC_OK);
    assert_int_equal(sc_buffer_get(pool, 100, &buffers[1]), SC_OK);
    assert_int_equal(sc_buffer_get(pool, 100, &buffers[2]), SC_RESOURCE_EXHAUSTED);
    assert_null(buffers[2]);
    sc_buffer_unref(&buffers[0]);
    assert_int_equal(sc_buffer_get(pool, 100, &buffers[2]), SC_OK);
    sc_buffer_pool_destroy(&pool);
    assert_int_equal(book.n_released, 0);
    sc_buffer_unref(&buffers[1]);
    sc_buffer_unref(&buffers[2]);
    assert_int_equal(book.n_allocated, 2);
    assert_int_equal(book.n_released, 2);
}

static void count_release(void *hint)
{
    ++*(int *)hint;
}

static void a_wrapped_buffer_is_released_once(void **state)
{
    (void)state;
    int n = 0;
    char memory[16];
    sc_buffer *buffer = NULL;
    assert_int_equal(sc_buffer_wrap(memory, sizeof memory, count_release, &n, &buffer), SC_OK);
    assert_ptr_equal(sc_buffer_data(buffer), memory);
    sc_buffer *other = sc_buffer_ref(buffer);
    sc_buffer_unref(&buffer);
    assert_int_equal(n, 0);
    sc_buffer_unref(&other);
    assert_int_equal(n, 1);
}

enum { N_TURNS = 20000 };

static void *take_and_return(void *argument)
{
    sc_buffer_pool *pool = argument;
    for (int i = 0; i < N_TURNS; i++) {
        sc_buffer *buffer = NULL;
        if (sc_buffer_get(pool, 3000, &buffer) != SC_OK)
            return argument;
        memset(sc_buffer_data(buffer), i, 16);
        sc_buffer *other = sc_buffer_ref(buffer);
        sc_buffer_unref(&buffer);
        sc_buffer_unref(&other);
    }
    return NULL;
}

static void threads_share_a_pool(void **state)
{
    (void)state;
    sc_buffer_pool *pool = NULL;
    assert_int_equal(sc_buffer_pool_new(NULL, &pool), SC_OK);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_return, pool), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_true(sc_buffer_pool_bytes(pool) <= 4 * 3072); /* one each at the most */
    sc_buffer_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_are_aligned_and_used_again), cmocka_unit_test(sizes_of_a_class_share_buffers),
        cmocka_unit_test(the_last_reference_returns_it),      cmocka_unit_test(memory_comes_from_the_backend),
        cmocka_unit_test(a_wrapped_buffer_is_released_once),  cmocka_unit_test(threads_share_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
