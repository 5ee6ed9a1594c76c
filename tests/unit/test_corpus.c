#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/corpus.h"
#include "coordinator/data/utf8.h"
#include "tests/unit/scratch.h"

#include <sys/stat.h>

static sc_corpus *corpus;

/* Loads a corpus by the `data` section's content and sets. */
static sc_status load(const char *data, const char *set)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml, "model: {layers: 1, heads: 1, hidden: 8, context: 4}\ndata: {%s}\n", data);
    char path[128];
    snprintf(path, sizeof path, "%s/run.yaml", scratch_path);
    sc_config *config;
    if (sc_config_parse(yaml, strlen(yaml), path, &set, set ? 1 : 0, &config) != SC_OK)
        fail_msg("%s", sc_status_message());
    sc_status status = sc_corpus_load(config, &corpus);
    sc_config_destroy(&config);
    return status;
}

static int32_t token_at(const sc_tokens *tokens, uint64_t at)
{
    int32_t id = -1;
    assert_int_equal(sc_tokens_read(tokens, at, 1, &id), SC_OK);
    return id;
}

static void assert_refused(const char *data, const char *set, sc_status status, const char *piece)
{
    assert_int_equal(load(data, set), status);
    assert_null(corpus);
    if (!strstr(sc_status_message(), piece))
        fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), piece);
}

static void write_text(const char *name, const char *text)
{
    scratch_write(name, text, strlen(text));
}

static void files_are_joined_in_order_and_the_tail_is_kept_back(void **state)
{
    (void)state;
    write_text("a", "dcba");
    write_text("b", "\xC3\xA9"
                    "bcdabcdabcdabcd"); /* 20 characters with the first file's 4 */
    assert_int_equal(load("train: [b, a], validation_share: 0.25", NULL), SC_OK);
    assert_int_equal(sc_tokenizer_vocab(sc_corpus_tokenizer(corpus)), 5);
    sc_tokens train = sc_corpus_train(corpus), validation = sc_corpus_validation(corpus);
    assert_int_equal(train.n, 15);
    assert_int_equal(validation.n, 5);
    assert_false(train.parts[0].wide);
    assert_int_equal(token_at(&train, 0), 4); /* e acute: the highest code point */
    assert_int_equal(token_at(&train, 1), 1);
    assert_int_equal(token_at(&train, 14), 2); /* "...abc" | "d" "dcba" */
    const int32_t tail[] = {3, 3, 2, 1, 0};
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(token_at(&validation, i), tail[i]);
    sc_corpus_destroy(&corpus);
}

static void validation_may_have_files_of_its_own(void **state)
{
    (void)state;
    write_text("a", "abcdabcd");
    write_text("v", "ddccbb");
    assert_int_equal(load("train: [a], validation: [v], validation_share: 0.0", NULL), SC_OK);
    sc_tokens train = sc_corpus_train(corpus), validation = sc_corpus_validation(corpus);
    assert_int_equal(train.n, 8);
    assert_int_equal(validation.n, 6);
    assert_int_equal(token_at(&validation, 0), 3);
    sc_corpus_destroy(&corpus);

    write_text("v", "abcd\nabxd");
    assert_refused("train: [a], validation: [v], validation_share: 0.0", NULL, SC_INVALID, "/v:1:5: ");
    assert_refused("train: [a], validation: [v], validation_share: 0.0", NULL, SC_INVALID, "U+000A");
}

static void a_vocabulary_beyond_16_bits_is_stored_wide(void **state)
{
    (void)state;
    enum { FIRST = 0x10000, N = 70000 };
    char *text = malloc(N * SC_UTF8_MAX_BYTES);
    size_t used = 0;
    for (uint32_t i = 0; i < N; i++)
        used += sc_utf8_encode(FIRST + i, text + used);
    scratch_write("wide", text, used);
    free(text);
    assert_int_equal(load("train: [wide], validation_share: 0.5", NULL), SC_OK);
    sc_tokens train = sc_corpus_train(corpus), validation = sc_corpus_validation(corpus);
    assert_true(train.parts[0].wide);
    assert_int_equal(token_at(&train, 7), 7);
    assert_int_equal(token_at(&validation, N / 2 - 1), N - 1);
    sc_corpus_destroy(&corpus);
}

static void bytes_need_no_text(void **state)
{
    (void)state;
    const char bytes[] = "\xFF\x00\xC3\x28\x80\xFE\xED\xA0\x80\x00";
    scratch_write("raw", bytes, 10);
    assert_int_equal(load("train: [raw], tokenizer: byte, validation_share: 0.5", NULL), SC_OK);
    sc_tokens train = sc_corpus_train(corpus);
    assert_int_equal(token_at(&train, 0), 0xFF);
    assert_int_equal(token_at(&train, 1), 0);
    sc_corpus_destroy(&corpus);
    assert_refused("train: [raw], validation_share: 0.5", NULL, SC_INVALID, "/raw:1:1: byte 0xFF at offset 0");
}

static void bad_files_are_named(void **state)
{
    (void)state;
    write_text("a", "abcdabcdabcd");
    write_text("empty", "");
    mkdir(scratch_file("dir"), 0755);
    mkfifo(scratch_file("pipe"), 0644);
    assert_refused("train: [a, absent], validation_share: 0.5", NULL, SC_NOT_FOUND, "/absent: cannot be opened");
    assert_refused("train: [empty], validation_share: 0.5", NULL, SC_INVALID, "/empty: is empty");
    assert_refused("train: [a, empty], tokenizer: byte, validation_share: 0.5", NULL, SC_INVALID, "/empty: is empty");
    assert_refused("train: [dir], validation_share: 0.5", NULL, SC_INVALID, "/dir: is a directory");
    assert_refused("train: [pipe], validation_share: 0.5", NULL, SC_INVALID, "/pipe: is not a regular file");
}

static void a_stream_without_one_window_is_refused(void **state)
{
    (void)state;
    write_text("four", "abcd");
    write_text("five", "abcda");
    write_text("nine", "abcdabcda");
    write_text("ten", "abcdabcdab");
    assert_refused("train: [four], validation_share: 0.0", "train.eval_every=0", SC_INVALID,
                   "there are 4 tokens to train on, and one window takes 5");
    assert_int_equal(load("train: [five], validation_share: 0.0", "train.eval_every=0"), SC_OK);
    sc_corpus_destroy(&corpus);
    assert_refused("train: [nine], validation_share: 0.4", "train.eval_every=1", SC_INVALID,
                   "data.validation_share: there are 4 tokens for validation");
    assert_int_equal(load("train: [ten], validation_share: 0.5", "train.eval_every=1"), SC_OK);
    sc_corpus_destroy(&corpus);
    assert_refused("train: [ten], validation: [four], validation_share: 0.0", "train.eval_every=1", SC_INVALID,
                   "data.validation: there are 4 tokens for validation");
    assert_int_equal(load("train: [ten], validation_share: 0.1", "train.eval_every=0"), SC_OK);
    sc_corpus_destroy(&corpus);
}

/* The split that others publish for tiny Shakespeare: 1,003,854 and 111,540 characters, 65 of them distinct. */
static void shakespeare_has_its_known_numbers(void **state)
{
    (void)state;
    sc_config *config;
    if (sc_config_load(SC_SOURCE_DIR "/deploy/configs/shakespeare.yaml", NULL, 0, &config) != SC_OK)
        fail_msg("%s", sc_status_message());
    if (sc_corpus_load(config, &corpus) != SC_OK)
        fail_msg("%s", sc_status_message());
    assert_int_equal(sc_tokenizer_vocab(sc_corpus_tokenizer(corpus)), 65);
    assert_int_equal(sc_corpus_train(corpus).n, 1003854);
    assert_int_equal(sc_corpus_validation(corpus).n, 111540);
    sc_corpus_destroy(&corpus);
    sc_config_destroy(&config);
}

static void one_file_is_read_with_a_given_tokenizer(void **state)
{
    (void)state;
    sc_tokenizer *tokenizer;
    assert_int_equal(sc_tokenizer_new_byte(&tokenizer), SC_OK);
    write_text("a", "xy");
    assert_int_equal(sc_corpus_load_file(scratch_file("a"), tokenizer, &corpus), SC_OK);
    sc_tokens tokens = sc_corpus_train(corpus); /* fewer than any window: all the same */
    assert_int_equal(tokens.n, 2);
    assert_int_equal(token_at(&tokens, 1), 'y');
    assert_int_equal(sc_corpus_validation(corpus).n, 0);
    sc_corpus_destroy(&corpus);
    write_text("a", "");
    assert_int_equal(sc_corpus_load_file(scratch_file("a"), tokenizer, &corpus), SC_INVALID);
    assert_null(corpus);
    assert_int_equal(sc_corpus_load_file(scratch_file("none"), tokenizer, &corpus), SC_NOT_FOUND);
    assert_int_equal(sc_tokenizer_vocab(tokenizer), 256); /* still there: it was only borrowed */
    sc_tokenizer_destroy(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_is_read_with_a_given_tokenizer),
        cmocka_unit_test(files_are_joined_in_order_and_the_tail_is_kept_back),
        cmocka_unit_test(validation_may_have_files_of_its_own),
        cmocka_unit_test(a_vocabulary_beyond_16_bits_is_stored_wide),
        cmocka_unit_test(bytes_need_no_text),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(a_stream_without_one_window_is_refused),
        cmocka_unit_test(shakespeare_has_its_known_numbers),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
