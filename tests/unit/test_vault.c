/* The vault: what is kept, what is let go, and what of a deposit can be seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "proto/wire/frame.h"
#include "worker/vault.h"

enum { LINEAGE = 3, BYTES = SC_PART_PIECE_BYTES + 500, A = 11, B = 12 /* depositors */ };

static sc_part_key key_of(uint64_t step, int first_block)
{
    return (sc_part_key){LINEAGE, step, first_block, 2};
}

static sc_vault *vault_new(void)
{
    sc_vault *vault;
    assert_int_equal(sc_vault_new(NULL, &vault), SC_OK);
    sc_vault_set_lineage(vault, LINEAGE);
    return vault;
}

static char content[BYTES];

/* A whole part with the content that belongs to its name. */
static sc_part *part_new(sc_vault *vault, const sc_part_key *key)
{
    sc_part *part;
    for (int i = 0; i < BYTES; i++)
        content[i] = (char)(i * 7 + (int)key->optimizer_step * 31 + key->first_block);
    assert_int_equal(sc_part_new(key, BYTES, &part), SC_OK);
    for (uint32_t i = 0; i < part->n_pieces; i++) {
        const char *data = content + (size_t)i * SC_PART_PIECE_BYTES;
        size_t n = sc_part_piece_bytes(part, i);
        assert_int_equal(sc_part_put(part, sc_vault_pool(vault), i, data, n, sc_frame_hash(data, n)), SC_OK);
    }
    assert_int_equal(sc_part_seal(part), SC_OK);
    return part;
}

static void add(sc_vault *vault, uint64_t step, int first_block)
{
    sc_part_key key = key_of(step, first_block);
    sc_part *part = part_new(vault, &key);
    assert_int_equal(sc_vault_add(vault, part), SC_OK);
    sc_part_unref(&part);
}

static bool has(const sc_vault *vault, uint64_t step, int first_block)
{
    sc_part_key key = key_of(step, first_block);
    return sc_vault_find(vault, &key) != NULL;
}

static sc_status put(sc_vault *vault, uint64_t depositor, const sc_part *part, uint32_t index)
{
    return sc_vault_put(vault, depositor, &part->key, index, sc_buffer_data(part->pieces[index]),
                        sc_part_piece_bytes(part, index), part->piece_xxh3[index]);
}

static void open_deposit(sc_vault *vault, uint64_t depositor, const sc_part *part)
{
    bool held = true;
    assert_int_equal(sc_vault_open(vault, depositor, &part->key, part->bytes, part->xxh3, NULL, 0, &held), SC_OK);
    assert_false(held);
}

static void points_that_are_not_named_go(void **state)
{
    (void)state;
    sc_vault *vault = vault_new();
    for (uint64_t step = 10; step <= 40; step += 10)
        for (int first = 0; first <= 2; first += 2)
            add(vault, step, first);
    add(vault, 40, 2); /* again: in the place of the one that is there */
    assert_int_equal(sc_vault_n_parts(vault), 8);
    assert_int_equal(sc_vault_bytes(vault), 8 * BYTES);
    sc_vault_keep(vault, (uint64_t[]){20, 30, 99}, 3);
    assert_int_equal(sc_vault_n_parts(vault), 4);
    assert_true(has(vault, 20, 0) && has(vault, 20, 2) && has(vault, 30, 0) && has(vault, 30, 2));
    for (size_t i = 0; i < 4; i++)
        assert_non_null(sc_vault_at(vault, i));
    assert_null(sc_vault_at(vault, 4));

    /* One that somebody reads stays for him. */
    sc_part_key key = key_of(20, 0);
    sc_part *reading = sc_part_ref(sc_vault_find(vault, &key));
    sc_vault_set_lineage(vault, LINEAGE + 1);
    assert_int_equal(sc_vault_n_parts(vault), 0);
    assert_int_equal(sc_part_check_piece(reading, 1), SC_OK);
    assert_int_equal(sc_vault_add(vault, reading), SC_INVALID); /* of the lineage before */
    sc_part_unref(&reading);
    sc_vault_destroy(&vault);
}

static void half_a_part_is_not_seen(void **state)
{
    (void)state;
    sc_vault *vault = vault_new(), *from = vault_new();
    sc_part_key key = key_of(10, 0);
    sc_part *part = part_new(from, &key);
    assert_int_equal(put(vault, A, part, 0), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_vault_close(vault, A, &key), SC_FAILED_PRECONDITION);
    open_deposit(vault, A, part);
    assert_int_equal(put(vault, B, part, 0), SC_FAILED_PRECONDITION); /* another one's */
    assert_int_equal(put(vault, A, part, 1), SC_OK);
    assert_int_equal(put(vault, A, part, 1), SC_OK); /* a repetition */
    assert_int_equal(sc_vault_close(vault, A, &key), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_vault_n_parts(vault), 0);
    assert_null(sc_vault_at(vault, 0));
    assert_false(has(vault, 10, 0));
    assert_int_equal(put(vault, A, part, 0), SC_OK);
    assert_false(has(vault, 10, 0));
    assert_int_equal(sc_vault_close(vault, A, &key), SC_OK);
    assert_true(has(vault, 10, 0));
    assert_int_equal(sc_vault_close(vault, A, &key), SC_OK); /* a repetition */
    bool held = false;
    assert_int_equal(sc_vault_open(vault, B, &key, part->bytes, part->xxh3, NULL, 0, &held), SC_OK);
    assert_true(held);
    /* The same name with other bytes takes the old one's place, once it is whole. */
    assert_int_equal(sc_vault_open(vault, B, &key, part->bytes, part->xxh3 + 1, NULL, 0, &held), SC_OK);
    assert_false(held);
    assert_true(has(vault, 10, 0));
    sc_vault_drop_half(vault);
    assert_int_equal(put(vault, B, part, 0), SC_FAILED_PRECONDITION);
    assert_true(has(vault, 10, 0));
    sc_part_unref(&part);
    sc_vault_destroy(&from);
    sc_vault_destroy(&vault);
}

static void a_damaged_deposit_is_refused(void **state)
{
    (void)state;
    sc_vault *vault = vault_new(), *from = vault_new();
    sc_part_key key = key_of(10, 0);
    sc_part *part = part_new(from, &key);
    bool held;
    open_deposit(vault, A, part);
    part->piece_xxh3[1]++;
    assert_int_equal(put(vault, A, part, 1), SC_DATA_LOSS);
    part->piece_xxh3[1]--;
    assert_int_equal(sc_vault_open(vault, A, &key, part->bytes, part->xxh3 ^ 1, NULL, 0, &held), SC_OK);
    for (uint32_t i = 0; i < part->n_pieces; i++)
        assert_int_equal(put(vault, A, part, i), SC_OK);
    assert_int_equal(sc_vault_close(vault, A, &key), SC_DATA_LOSS); /* not what was announced */
    assert_false(has(vault, 10, 0));
    assert_int_equal(sc_vault_bytes(vault), 0);
    key.lineage++;
    assert_int_equal(sc_vault_open(vault, A, &key, part->bytes, part->xxh3, NULL, 0, &held), SC_INVALID);
    sc_part_unref(&part);
    sc_vault_destroy(&from);
    sc_vault_destroy(&vault);
}

/* Where nobody calls sc_vault_keep, as with a member without a stage, deposits bound themselves. */
static void a_deposit_lets_go_of_older_ones(void **state)
{
    (void)state;
    sc_vault *vault = vault_new(), *from = vault_new();
    bool held;
    add(vault, 10, 0);
    add(vault, 20, 0);
    add(vault, 10, 2); /* another slice: no business of this one's */
    sc_part_key key = key_of(30, 0);
    sc_part *part = part_new(from, &key);
    assert_int_equal(sc_vault_open(vault, A, &key, part->bytes, part->xxh3, (uint64_t[]){20}, 1, &held), SC_OK);
    assert_true(!has(vault, 10, 0) && has(vault, 20, 0) && has(vault, 10, 2));
    assert_int_equal(put(vault, A, part, 0), SC_OK);
    open_deposit(vault, A, part); /* begun anew: the old half goes */
    assert_false(has(vault, 20, 0));
    assert_int_equal(sc_vault_bytes(vault), 2 * BYTES);
    sc_vault_keep(vault, (uint64_t[]){10}, 1); /* a half one of another step goes as well */
    assert_int_equal(sc_vault_bytes(vault), BYTES);
    assert_int_equal(put(vault, A, part, 0), SC_FAILED_PRECONDITION);
    sc_part_unref(&part);
    sc_vault_destroy(&from);
    sc_vault_destroy(&vault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_that_are_not_named_go),
        cmocka_unit_test(half_a_part_is_not_seen),
        cmocka_unit_test(a_damaged_deposit_is_refused),
        cmocka_unit_test(a_deposit_lets_go_of_older_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
