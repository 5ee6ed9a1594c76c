#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/bpe_trainer.h"
#include "coordinator/data/text_file.h"
#include "coordinator/data/tokenizer_bpe.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tokenizer_fixture.h"

static sc_tokenizer *train(const char *path, size_t piece_bytes, int size)
{
    sc_bpe_trainer *trainer;
    sc_tokenizer *out;
    assert_int_equal(sc_bpe_trainer_new(&trainer), SC_OK);
    if (sc_text_file_each(path, piece_bytes, sc_bpe_trainer_add, trainer) != SC_OK ||
        sc_bpe_trainer_train(trainer, size, &out) != SC_OK)
        fail_msg("%s", sc_status_message());
    sc_bpe_trainer_destroy(&trainer);
    assert_null(trainer);
    return out;
}

static const char shakespeare[] = SC_SOURCE_DIR "/deploy/configs/data/shakespeare.txt";

static void shakespeare_gives_the_merges_of_hugging_face(void **state)
{
    (void)state;
    sc_tokenizer *self = train(shakespeare, SC_TEXT_FILE_PIECE, 600);
    assert_int_equal(sc_tokenizer_vocab(self), 600);
    assert_int_equal(sc_tokenizer_special(self, "<|endoftext|>"), 0);
    assert_int_equal(sc_tokenizer_bpe_export(self, scratch_path), SC_OK);
    size_t n, n_golden;
    char *merges = read_golden(scratch_file("merges.txt"), &n);
    char *golden = read_golden(GOLDEN "tokenizer/trained-merges.txt", &n_golden);
    assert_string_equal(merges, golden);
    free(merges);
    free(golden);

    sc_tokenizer *pieces = train(shakespeare, 1000, 600);
    uint64_t hash, hash_pieces;
    assert_int_equal(sc_tokenizer_hash(self, &hash), SC_OK);
    assert_int_equal(sc_tokenizer_hash(pieces, &hash_pieces), SC_OK);
    assert_true(hash == hash_pieces);
    sc_tokenizer_destroy(&pieces);
    sc_tokenizer_destroy(&self);
}

/* a a a counts as two pairs, and of equal counts the lowest ids come first. */
static void small_texts_give_what_can_be_counted_by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *text, *merges;
    } cases[] = {
        {"aaa", "#version: 0.2\na a\naa a\n"},
        {"ab cb ab", "#version: 0.2\na b\nc b\n\xC4\xA0 ab\n\xC4\xA0 cb\n"},
        {"xy", "#version: 0.2\nx y\n"},
        {"a", "#version: 0.2\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_tokenizer *self = train(scratch_write("small", cases[i].text, strlen(cases[i].text)), 1, 300);
        assert_int_equal(sc_tokenizer_bpe_export(self, scratch_path), SC_OK);
        char *merges = scratch_read("merges.txt");
        assert_string_equal(merges, cases[i].merges);
        free(merges);
        sc_tokenizer_destroy(&self);
    }
}

static void no_token_is_longer_than_one_may_be(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'z', sizeof text);
    sc_tokenizer *self = train(scratch_write("long", text, sizeof text), SC_TEXT_FILE_PIECE, 1000);
    assert_true(sc_tokenizer_vocab(self) > 257 + 7);
    sc_tokenizer_destroy(&self);
}

static void no_text_is_an_error(void **state)
{
    (void)state;
    sc_bpe_trainer *trainer;
    sc_tokenizer *out;
    assert_int_equal(sc_bpe_trainer_new(&trainer), SC_OK);
    assert_int_equal(sc_bpe_trainer_train(trainer, 300, &out), SC_INVALID);
    assert_null(out);
    sc_bpe_trainer_destroy(&trainer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shakespeare_gives_the_merges_of_hugging_face),
        cmocka_unit_test(small_texts_give_what_can_be_counted_by_hand),
        cmocka_unit_test(no_token_is_longer_than_one_may_be),
        cmocka_unit_test(no_text_is_an_error),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
