/* The queue between the wire and the disk: order, what is let go, what counts. */
#include "proto/wire/piece_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { PIECE_BYTES = 64 };

static sc_piece_queue *queue;
static int n_released; /* buffers whose last reference is gone */

static void released(void *hint)
{
    (void)hint;
    n_released++;
}

static int open_queue(void **state)
{
    (void)state;
    n_released = 0;
    assert_int_equal(sc_piece_queue_new(&queue), SC_OK);
    return 0;
}

static int destroy_queue(void **state)
{
    (void)state;
    sc_piece_queue_destroy(&queue);
    sc_piece_queue_destroy(&queue); /* twice is fine */
    return 0;
}

static void put(const char *name, uint64_t from)
{
    static char bytes[PIECE_BYTES];
    sc_buffer *data;
    assert_int_equal(sc_buffer_wrap(bytes, sizeof bytes, released, NULL, &data), SC_OK);
    assert_int_equal(sc_piece_queue_put(queue, 3, name, from, data), SC_OK);
}

static void take(const char *name, uint64_t from)
{
    sc_piece *piece = sc_piece_queue_take(queue);
    assert_non_null(piece);
    assert_string_equal(piece->name, name);
    assert_int_equal(piece->from, from);
    assert_int_equal(piece->shard, 3);
    sc_piece_queue_done(queue, &piece);
    assert_null(piece);
}

static void pieces_come_in_order_until_the_end(void **state)
{
    (void)state;
    sc_piece_queue_open(queue);
    put("a", 0);
    put("a", 64);
    take("a", 0);
    put("a.name.that.is.longer.than.any.that.a.model.has.and.is.not.cut.off.at.any.length", 0);
    sc_piece_queue_close(queue);
    put("late", 0); /* let go */
    assert_int_equal(n_released, 2);
    take("a", 64);
    take("a.name.that.is.longer.than.any.that.a.model.has.and.is.not.cut.off.at.any.length", 0);
    assert_null(sc_piece_queue_take(queue));
    assert_false(sc_piece_queue_is_shut(queue)); /* the end was an orderly one */
    assert_int_equal(n_released, 4);
}

static void bytes_count_until_they_are_done(void **state)
{
    (void)state;
    sc_piece_queue_open(queue);
    put("a", 0);
    put("b", 0);
    sc_piece *piece = sc_piece_queue_take(queue);
    assert_int_equal(sc_piece_queue_bytes(queue), 2 * PIECE_BYTES); /* one is being written */
    sc_piece_queue_shut(queue);
    assert_int_equal(sc_piece_queue_bytes(queue), PIECE_BYTES);
    assert_int_equal(n_released, 1);
    sc_piece_queue_done(queue, &piece);
    assert_int_equal(sc_piece_queue_bytes(queue), 0);
    assert_int_equal(n_released, 2);
}

static void a_shut_queue_keeps_nothing_and_opens_again_empty(void **state)
{
    (void)state;
    assert_true(sc_piece_queue_is_shut(queue)); /* a new one */
    put("a", 0);
    sc_piece_queue_close(queue);
    assert_true(sc_piece_queue_is_shut(queue));
    assert_null(sc_piece_queue_take(queue));
    sc_piece_queue_open(queue);
    put("b", 0);
    sc_piece_queue_shut(queue);
    assert_null(sc_piece_queue_take(queue));
    sc_piece_queue_open(queue);
    put("c", 0);
    take("c", 0);
    assert_int_equal(n_released, 3);
}

static void *take_all(void *context)
{
    uint64_t *sum = context;
    for (sc_piece *piece; (piece = sc_piece_queue_take(queue));) {
        *sum += piece->from;
        sc_piece_queue_done(queue, &piece);
    }
    return NULL;
}

/* The waiting thread wakes for each piece, and for the end. */
static void one_thread_puts_and_another_takes(void **state)
{
    (void)state;
    enum { N = 10000 };
    for (int orderly = 0; orderly < 2; orderly++) {
        uint64_t sum = 0;
        pthread_t thread;
        sc_piece_queue_open(queue);
        assert_int_equal(pthread_create(&thread, NULL, take_all, &sum), 0);
        for (uint64_t i = 1; i <= N; i++) {
            sc_buffer *data;
            assert_int_equal(sc_buffer_new(PIECE_BYTES, &data), SC_OK);
            assert_int_equal(sc_piece_queue_put(queue, 0, "a", i, data), SC_OK);
        }
        if (orderly)
            sc_piece_queue_close(queue);
        else
            sc_piece_queue_shut(queue);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (orderly)
            assert_int_equal(sum, (uint64_t)N * (N + 1) / 2);
        assert_int_equal(sc_piece_queue_bytes(queue), 0);
        sc_piece_queue_shut(queue);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces_come_in_order_until_the_end, open_queue, destroy_queue),
        cmocka_unit_test_setup_teardown(bytes_count_until_they_are_done, open_queue, destroy_queue),
        cmocka_unit_test_setup_teardown(a_shut_queue_keeps_nothing_and_opens_again_empty, open_queue, destroy_queue),
        cmocka_unit_test_setup_teardown(one_thread_puts_and_another_takes, open_queue, destroy_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
