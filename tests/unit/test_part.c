/* Parts of points: their layout, taking them from a stage, and bringing them into stages of another partition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/status.h"
#include "tests/unit/assign_fixture.h"
#include "worker/restore.h"

/* Wide enough that a layer's state takes several pieces, and tensors lie across their borders. */
static const sc_model model = {.family = SC_GPT2,
                               .layers = 2,
                               .heads = 2,
                               .hidden = 128,
                               .context = 8,
                               .vocab = 503,
                               .dropout = 0.0f,
                               .norm_epsilon = 1e-5f,
                               .tied = true};
static const sc_optimizer adamw = {.kind = SC_ADAMW, .beta1 = 0.9f, .beta2 = 0.99f, .epsilon = 1e-8f};
enum { MOMENTS = 2, BLOCKS = 4, LINEAGE = 5, STEP = 9 };

static sc_stream *stream;
static sc_buffer_pool *pool;
static atomic_ullong moved;

static int open_all(void **state)
{
    (void)state;
    return sc_ops_reference.stream_new(0, 1, &stream) != SC_OK || sc_buffer_pool_new(NULL, &pool) != SC_OK;
}

static int close_all(void **state)
{
    (void)state;
    sc_buffer_pool_destroy(&pool);
    sc_ops_reference.stream_destroy(&stream);
    return 0;
}

static sc_stage *stage_new(int first_block, int n_blocks)
{
    sc_stage_options options = {.ops = &sc_ops_reference,
                                .stream = stream,
                                .model = model,
                                .slice = {first_block, n_blocks},
                                .B = 1,
                                .T = 8,
                                .max_alive = 1,
                                .train = true,
                                .optimizer = adamw};
    sc_stage *stage;
    assert_int_equal(sc_stage_new(&options, &stage), SC_OK);
    return stage;
}

/* A value for each element of each tensor's state. */
static float value_of(int ordinal, sc_state_kind kind, uint64_t i)
{
    return (float)(ordinal * 3 + (int)kind) + (float)(i % 9973) / 16384.0f;
}

static void visit(sc_stage *stage, int first_block, int n_blocks, bool write)
{
    sc_part_layout *layout;
    assert_int_equal(sc_part_layout_new(&model, MOMENTS, (sc_slice){first_block, n_blocks}, &layout), SC_OK);
    for (size_t e = 0; e < layout->n; e++) {
        const sc_part_entry *entry = &layout->entries[e];
        float *values = malloc((size_t)entry->bytes);
        size_t n = (size_t)entry->bytes / sizeof(float);
        if (write) {
            for (size_t i = 0; i < n; i++)
                values[i] = value_of(entry->ordinal, entry->kind, i);
            assert_int_equal(sc_stage_write_state(stage, entry->name, entry->kind, 0, entry->bytes, values), SC_OK);
        } else {
            assert_int_equal(sc_stage_read_state(stage, entry->name, entry->kind, 0, entry->bytes, values), SC_OK);
            for (size_t i = 0; i < n; i++)
                if (values[i] != value_of(entry->ordinal, entry->kind, i))
                    fail_msg("%s, state %d, element %zu", entry->name, (int)entry->kind, i);
        }
        free(values);
    }
    free(layout);
}

static sc_part *take(int first_block, int n_blocks)
{
    sc_stage *stage = stage_new(first_block, n_blocks);
    visit(stage, first_block, n_blocks, true);
    sc_part_key key = {LINEAGE, STEP, first_block, n_blocks};
    sc_part *part;
    assert_int_equal(sc_part_new_own(&key, &model, MOMENTS, &part), SC_OK);
    assert_int_equal(sc_part_take(part, pool, stage, &moved), SC_OK);
    sc_stage_destroy(&stage);
    return part;
}

static void a_layout_has_each_tensor_once(void **state)
{
    (void)state;
    sc_part_layout *whole, *part;
    uint64_t sum = 0, tied = (uint64_t)model.vocab * (uint64_t)model.hidden * sizeof(float);
    assert_int_equal(sc_part_layout_new(&model, MOMENTS, (sc_slice){0, BLOCKS}, &whole), SC_OK);
    assert_int_equal(whole->n, (size_t)sc_model_n_params(&model) * (1 + MOMENTS));
    for (size_t i = 0; i < whole->n; i++)
        assert_int_equal(whole->entries[i].offset,
                         i == 0 ? 0 : whole->entries[i - 1].offset + whole->entries[i - 1].bytes);
    for (int b = 0; b < BLOCKS; b++) {
        assert_int_equal(sc_part_layout_new(&model, MOMENTS, (sc_slice){b, 1}, &part), SC_OK);
        sum += part->bytes;
        free(part);
    }
    assert_int_equal(sum, whole->bytes + (1 + MOMENTS) * tied); /* the embedding and the head both have the matrix */
    free(whole);
    assert_int_equal(sc_part_layout_new(&model, MOMENTS, (sc_slice){3, 2}, &part), SC_INVALID);
    assert_int_equal(sc_part_layout_new(&model, MOMENTS, (sc_slice){-1, 2}, &part), SC_INVALID);
    assert_int_equal(sc_part_layout_new(&model, MOMENTS, (sc_slice){0, 0}, &part), SC_INVALID);
}

static void what_is_frozen_has_no_moments(void **state)
{
    (void)state;
    sc_model some = model;
    some.frozen = 2; /* the embedding, with it the tied matrix, and a layer */
    sc_part_layout *layout;
    uint64_t bytes = 0;
    assert_int_equal(sc_part_layout_new(&some, MOMENTS, (sc_slice){0, BLOCKS}, &layout), SC_OK);
    for (size_t i = 0; i < layout->n; i++) {
        const sc_part_entry *entry = &layout->entries[i];
        assert_true(entry->kind == SC_STATE_PARAMETER || sc_model_param_learns(&some, entry->ordinal));
        bytes += sc_model_param_learns(&some, entry->ordinal) || entry->kind == SC_STATE_PARAMETER ? entry->bytes : 0;
    }
    assert_int_equal(bytes, layout->bytes);
    free(layout);
    assert_int_equal(sc_part_layout_new(&some, MOMENTS, (sc_slice){0, 2}, &layout), SC_OK);
    int ordinals[SC_MAX_BLOCK_PARAMS], n = sc_model_block_params(&some, 0, ordinals);
    n += sc_model_block_params(&some, 1, ordinals);
    assert_int_equal(layout->n, n);
    free(layout);
}

static void a_part_is_read_by_name(void **state)
{
    (void)state;
    sc_part *part = take(1, 2);
    assert_true(part->n_pieces > 3);
    sc_state_piece piece = {.name = "transformer.h.1.mlp.c_fc.weight", .kind = SC_STATE_SECOND_MOMENT, .from = 400};
    sc_param param;
    int ordinal = 0;
    for (; (param = sc_model_param(&model, ordinal), strcmp(param.name, piece.name)) != 0; ordinal++)
        ;
    enum { N = 60000 }; /* across a border of pieces, as the tensors before it say */
    static float got[N];
    piece.n = sizeof got;
    uint64_t from;
    assert_int_equal(sc_part_find(part, &piece, &from), SC_OK);
    sc_part_read(part, from, piece.n, got);
    for (int i = 0; i < N; i++)
        assert_true(got[i] == value_of(ordinal, SC_STATE_SECOND_MOMENT, (uint64_t)i + 100));
    piece.n = UINT64_MAX;
    assert_int_equal(sc_part_find(part, &piece, &from), SC_OUT_OF_RANGE);
    snprintf(piece.name, sizeof piece.name, "transformer.h.0.ln_9.weight");
    assert_int_equal(sc_part_find(part, &piece, &from), SC_NOT_FOUND);
    sc_part_unref(&part);
}

static void a_copy_has_the_same_hash_and_damage_is_seen(void **state)
{
    (void)state;
    sc_part *part = take(0, 2), *copy;
    assert_int_equal(sc_part_new(&part->key, part->bytes, &copy), SC_OK);
    assert_int_equal(sc_part_seal(copy), SC_FAILED_PRECONDITION);
    for (uint32_t i = part->n_pieces; i-- > 0;) {
        size_t n = sc_part_piece_bytes(part, i);
        assert_int_equal(sc_part_put(copy, pool, i, sc_buffer_data(part->pieces[i]), n, part->piece_xxh3[i] + 1),
                         SC_DATA_LOSS);
        assert_int_equal(sc_part_put(copy, pool, i, sc_buffer_data(part->pieces[i]), n - 1, part->piece_xxh3[i]),
                         SC_INVALID);
        assert_int_equal(sc_part_check_piece(copy, i), SC_NOT_FOUND);
        assert_int_equal(sc_part_put(copy, pool, i, sc_buffer_data(part->pieces[i]), n, part->piece_xxh3[i]), SC_OK);
        assert_int_equal(sc_part_check_piece(copy, i), SC_OK);
    }
    assert_int_equal(sc_part_put(copy, pool, part->n_pieces, "", 0, 0), SC_INVALID);
    assert_int_equal(sc_part_seal(copy), SC_OK);
    assert_true(copy->xxh3 == part->xxh3);
    ((char *)sc_buffer_data(copy->pieces[1]))[77] ^= 1;
    assert_int_equal(sc_part_check_piece(copy, 1), SC_DATA_LOSS);
    sc_part_unref(&copy);
    sc_part_unref(&part);
}

/* Memory that was let go is used again: what is taken step after step needs no more. */
static void parts_use_memory_again(void **state)
{
    (void)state;
    sc_part *part = take(0, BLOCKS);
    sc_part_unref(&part);
    uint64_t bytes = sc_buffer_pool_bytes(pool);
    for (int b = 0; b < BLOCKS; b++) { /* another partition too */
        part = take(b, 1);
        sc_part_unref(&part);
    }
    part = take(0, BLOCKS);
    sc_part_unref(&part);
    /* The last pieces of the smaller parts are shorter and of other classes. */
    assert_true(sc_buffer_pool_bytes(pool) <= bytes + (BLOCKS + 1) * (uint64_t)SC_PART_PIECE_BYTES);
}

/* ---- restores ------------------------------------------------------------------------------------------------------ */

static sc_assignment *assignment_of(assign_fixture *fixture, int S, uint32_t worker)
{
    fixture_fill(fixture, S, 1, NULL, NULL);
    fixture->model.layers = (uint32_t)model.layers;
    fixture->model.heads = (uint32_t)model.heads;
    fixture->model.hidden = (uint32_t)model.hidden;
    fixture->model.vocab = (uint32_t)model.vocab;
    int next = 0;
    for (int v = 0; v < S; v++) {
        int n = BLOCKS / S + (v < BLOCKS % S);
        fixture->slices[v].first_block = (uint32_t)next;
        fixture->slices[v].n_blocks = (uint32_t)n;
        next += n;
    }
    fixture->request.worker = worker;
    fixture->request.lineage = LINEAGE;
    sc_assignment *assignment;
    if (sc_assignment_parse(&fixture->request, &assignment) != SC_OK)
        fail_msg("%s", sc_status_message());
    return assignment;
}

/* Copies the pieces that are wanted, as if they had come over the wire. */
static unsigned fetch(const sc_part *from, sc_part *to, const bool *wanted)
{
    unsigned n = 0;
    assert_true(sc_part_key_equal(&from->key, &to->key) && from->bytes == to->bytes);
    for (uint32_t i = 0; i < from->n_pieces; i++)
        if (wanted[i]) {
            assert_int_equal(sc_part_put(to, pool, i, sc_buffer_data(from->pieces[i]), sc_part_piece_bytes(from, i),
                                         from->piece_xxh3[i]),
                             SC_OK);
            n++;
        }
    return n;
}

/* From S parts to T stages, for all S and T; each stage fetches no more than it needs. */
static void a_restore_works_under_any_partition(void **state)
{
    (void)state;
    for (int S = 1; S <= BLOCKS; S++)
        for (int T = 1; T <= BLOCKS; T++)
            for (int w = 0; w < T; w++) {
                assign_fixture fixture;
                sc_assignment *assignment = assignment_of(&fixture, T, (uint32_t)w);
                sc_slice slice = assignment->slices[w];
                sc_restore *restore;
                assert_int_equal(sc_restore_new(assignment, STEP, &restore), SC_OK);
                for (int next = 0, v = 0, n; v < S; v++, next += n) {
                    n = BLOCKS / S + (v < BLOCKS % S);
                    sc_part *held = take(next, n), *part;
                    bool *wanted;
                    assert_int_equal(sc_restore_offer(restore, (sc_slice){next, n}, &part, &wanted), SC_OK);
                    if (part && v == 0) { /* it is damaged, say; then it is had after all */
                        free(wanted);
                        sc_part_unref(&part);
                        sc_restore_withdraw(restore);
                        assert_non_null(sc_restore_missing(restore));
                        assert_int_equal(sc_restore_offer(restore, (sc_slice){next, n}, &part, &wanted), SC_OK);
                    }
                    if (part && v % 2)
                        sc_restore_use(restore, held);
                    else if (part)
                        assert_true(fetch(held, part, wanted) <= held->n_pieces);
                    free(wanted);
                    sc_part_unref(&part);
                    sc_part_unref(&held);
                }
                assert_true(sc_restore_is_complete(restore));
                sc_part *part;
                bool *wanted;
                assert_int_equal(sc_restore_offer(restore, (sc_slice){0, BLOCKS}, &part, &wanted), SC_OK);
                assert_true(!part && !wanted); /* nothing is missing */
                sc_stage *stage = stage_new(slice.first_block, slice.n_blocks);
                assert_int_equal(sc_restore_apply(restore, &stage, 1, &moved), SC_OK);
                visit(stage, slice.first_block, slice.n_blocks, false);
                sc_stage_destroy(&stage);
                sc_restore_destroy(&restore);
                sc_assignment_unref(&assignment);
                fixture_clear(&fixture);
            }
}

/* A stage in the middle needs little of a part that has all. */
static void only_what_is_missing_is_wanted(void **state)
{
    (void)state;
    assign_fixture fixture;
    sc_assignment *assignment = assignment_of(&fixture, 4, 1);
    sc_restore *restore;
    sc_part *part;
    bool *wanted;
    assert_int_equal(sc_restore_new(assignment, STEP, &restore), SC_OK);
    assert_int_equal(sc_restore_offer(restore, (sc_slice){2, 1}, &part, &wanted), SC_OK);
    assert_true(!part && !wanted); /* another layer */
    assert_int_equal(sc_restore_offer(restore, (sc_slice){0, BLOCKS}, &part, &wanted), SC_OK);
    unsigned n = 0;
    for (uint32_t i = 0; i < part->n_pieces; i++)
        n += wanted[i];
    sc_part_layout *layout;
    assert_int_equal(sc_part_layout_new(&model, MOMENTS, (sc_slice){1, 1}, &layout), SC_OK);
    assert_true(n <= layout->bytes / SC_PART_PIECE_BYTES + 2 && n < part->n_pieces);
    free(layout);
    free(wanted);
    sc_part_unref(&part);
    assert_int_equal(sc_restore_offer(restore, (sc_slice){0, BLOCKS + 1}, &part, &wanted), SC_INVALID);
    sc_restore_destroy(&restore);
    sc_assignment_unref(&assignment);
    fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layout_has_each_tensor_once),  cmocka_unit_test(what_is_frozen_has_no_moments),
        cmocka_unit_test(a_part_is_read_by_name),         cmocka_unit_test(a_copy_has_the_same_hash_and_damage_is_seen),
        cmocka_unit_test(parts_use_memory_again),         cmocka_unit_test(a_restore_works_under_any_partition),
        cmocka_unit_test(only_what_is_missing_is_wanted),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
