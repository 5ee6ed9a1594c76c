#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/corpus.h"
#include "coordinator/data/token_file.h"
#include "coordinator/data/utf8.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tokenizer_fixture.h"

#include <xxhash.h>

static sc_tokenizer *bytes;

static int setup(void **state)
{
    return sc_tokenizer_new_byte(&bytes) == SC_OK ? scratch_setup(state) : -1;
}

static int teardown(void **state)
{
    sc_tokenizer_destroy(&bytes);
    return scratch_teardown(state);
}

static char *write_tokens(const char *name, const sc_tokenizer *tokenizer, const int32_t *ids, size_t n)
{
    char *path = scratch_file(name);
    sc_token_writer writer;
    assert_int_equal(sc_token_writer_open(path, tokenizer, &writer), SC_OK);
    assert_int_equal(sc_token_writer_put(&writer, ids, n / 2), SC_OK);
    assert_int_equal(sc_token_writer_put(&writer, ids + n / 2, n - n / 2), SC_OK);
    assert_int_equal(sc_token_writer_commit(&writer), SC_OK);
    sc_token_writer_close(&writer);
    sc_token_writer_close(&writer);
    return path;
}

static sc_status open_tokens(const char *path, const sc_tokenizer *tokenizer, sc_token_part *part)
{
    uint64_t hash;
    assert_int_equal(sc_tokenizer_hash(tokenizer, &hash), SC_OK);
    return sc_token_file_open(path, hash, sc_tokenizer_vocab(tokenizer), part);
}

/* A char tokenizer of n characters: token i is code point 0x10000 + i. */
static sc_tokenizer *characters(uint32_t n)
{
    sc_tokenizer *self;
    char *text = malloc((size_t)n * SC_UTF8_MAX_BYTES);
    size_t used = 0;
    for (uint32_t i = 0; i < n; i++)
        used += sc_utf8_encode(0x10000 + i, text + used);
    assert_int_equal(sc_tokenizer_new_char(&self), SC_OK);
    assert_int_equal(sc_tokenizer_char_add(self, &(sc_text){.name = "t", .bytes = text, .n_bytes = used}), SC_OK);
    assert_int_equal(sc_tokenizer_char_freeze(self), SC_OK);
    free(text);
    return self;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    static const struct {
        uint32_t vocab;
        bool wide;
    } cases[] = {{65536, false}, {65537, true}};
    for (size_t i = 0; i < 2; i++) {
        sc_tokenizer *tokenizer = characters(cases[i].vocab);
        int32_t ids[1000], back[1000];
        for (int k = 0; k < 1000; k++)
            ids[k] = (int32_t)cases[i].vocab - 1 - k * 60;
        const char *path = write_tokens("tokens", tokenizer, ids, 1000);
        bool is;
        assert_int_equal(sc_token_file_probe(path, &is), SC_OK);
        assert_true(is);
        sc_token_part part;
        assert_int_equal(open_tokens(path, tokenizer, &part), SC_OK);
        assert_int_equal(part.n, 1000);
        assert_int_equal(part.wide, cases[i].wide);
        const sc_tokens all = {.parts = &part, .n_parts = 1, .start = 100, .n = 900};
        assert_int_equal(sc_tokens_read(&all, 0, 900, back), SC_OK);
        assert_memory_equal(back, ids + 100, 900 * sizeof *ids);
        close(part.fd);
        sc_tokenizer_destroy(&tokenizer);
    }
}

static void the_header_is_as_documented(void **state)
{
    (void)state;
    const char *path = write_tokens("tokens", bytes, (int32_t[]){1, 2, 255}, 3);
    size_t n;
    char *file = read_golden(path, &n);
    uint64_t hash, check = XXH3_64bits(file, 40);
    assert_int_equal(sc_tokenizer_hash(bytes, &hash), SC_OK);
    assert_int_equal(n, 64 + 6);
    assert_memory_equal(file, "SCTOKENS\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0", 32);
    assert_memory_equal(file + 32, &hash, 8);
    assert_memory_equal(file + 40, &check, 8);
    assert_memory_equal(file + 64, "\x01\0\x02\0\xFF\0", 6);
    free(file);
}

static void assert_refused(const char *file, size_t n, sc_status status, const char *piece)
{
    sc_token_part part;
    const char *path = scratch_write("bad", file, n);
    assert_int_equal(open_tokens(path, bytes, &part), status);
    assert_message("/bad: ");
    assert_message(piece);
}

/* Makes the header's own check right again. */
static void seal(char *file)
{
    const uint64_t check = XXH3_64bits(file, 40);
    memcpy(file + 40, &check, 8);
}

static void a_file_that_is_cut_or_lies_is_refused(void **state)
{
    (void)state;
    size_t n;
    char *file = read_golden(write_tokens("tokens", bytes, (int32_t[]){1, 2, 255}, 3), &n);
    for (size_t cut = 0; cut < n; cut++)
        assert_refused(file, cut, SC_DATA_LOSS, cut < 64 ? "fewer than a token file's header" : "was cut or added to");
    char longer[71] = {0};
    memcpy(longer, file, n);
    assert_refused(longer, n + 1, SC_DATA_LOSS, "was cut or added to");
    for (size_t i = 0; i < 64; i++) { /* one flipped bit anywhere */
        file[i] ^= 4;
        assert_refused(file, n, i >= 8 && i < 12 ? SC_UNIMPLEMENTED : SC_DATA_LOSS, i < 8 ? "no token file" : "");
        file[i] ^= 4;
    }
    file[16] = 4;
    seal(file);
    assert_refused(file, n, SC_DATA_LOSS, "promises 4 ids of 2 bytes");
    memset(file + 16, 0xFF, 8); /* as many as would overflow a product */
    seal(file);
    assert_refused(file, n, SC_DATA_LOSS, "was cut or added to");
    memset(file + 16, 0, 8);
    seal(file);
    assert_refused(file, 64, SC_INVALID, "has no tokens");
    file[16] = 3;
    file[12] = 4;
    seal(file);
    assert_refused(file, n, SC_DATA_LOSS, "the header names 256 tokens of 4 bytes");
    free(file);
}

static void another_tokenizer_is_refused(void **state)
{
    (void)state;
    sc_tokenizer *other = characters(256);
    sc_token_part part;
    const char *path = write_tokens("tokens", other, (int32_t[]){1}, 1);
    assert_int_equal(open_tokens(path, bytes, &part), SC_FAILED_PRECONDITION);
    assert_message("was made with another tokenizer");
    sc_tokenizer_destroy(&other);
}

static void what_happens_to_an_open_file_is_an_error(void **state)
{
    (void)state;
    int32_t ids[3] = {1, 2, 255};
    const char *path = write_tokens("tokens", bytes, ids, 3);
    sc_token_part part;
    assert_int_equal(open_tokens(path, bytes, &part), SC_OK);
    const sc_tokens all = {.parts = &part, .n_parts = 1, .n = 3};
    FILE *file = fopen(path, "r+b");
    fseek(file, 66, SEEK_SET);
    fputs("\x02\x01", file); /* token 1 becomes 258 */
    fclose(file);
    assert_int_equal(sc_tokens_read(&all, 0, 3, ids), SC_DATA_LOSS);
    assert_message("token 1 is 258, beyond the vocabulary of 256");
    assert_int_equal(sc_tokens_read(&all, 2, 1, ids), SC_OK);
    assert_int_equal(truncate(path, 67), 0);
    assert_int_equal(sc_tokens_read(&all, 2, 1, ids), SC_DATA_LOSS);
    assert_message("has become shorter");
    close(part.fd);
}

static void an_unfinished_file_leaves_nothing(void **state)
{
    (void)state;
    scratch_write("tokens", "old", 3);
    sc_token_writer writer;
    assert_int_equal(sc_token_writer_open(scratch_file("tokens"), bytes, &writer), SC_OK);
    assert_int_equal(sc_token_writer_put(&writer, (int32_t[]){1}, 1), SC_OK);
    char *temporary = strdup(writer.file.temporary);
    assert_int_equal(access(temporary, F_OK), 0);
    sc_token_writer_close(&writer);
    assert_int_not_equal(access(temporary, F_OK), 0);
    free(temporary);
    char *old = scratch_read("tokens");
    assert_string_equal(old, "old");
    free(old);
    assert_int_equal(sc_token_writer_open(scratch_file("nowhere/tokens"), bytes, &writer), SC_NOT_FOUND);
}

static sc_status load(const char *data, sc_corpus **corpus)
{
    char yaml[512], path[128];
    snprintf(yaml, sizeof yaml, "model: {layers: 1, heads: 1, hidden: 8, context: 4}\ndata: {%s}\n", data);
    snprintf(path, sizeof path, "%s/run.yaml", scratch_path);
    sc_config *config;
    if (sc_config_parse(yaml, strlen(yaml), path, NULL, 0, &config) != SC_OK)
        fail_msg("%s", sc_status_message());
    const sc_status status = sc_corpus_load(config, corpus);
    sc_config_destroy(&config);
    return status;
}

static void texts_and_token_files_make_one_stream(void **state)
{
    (void)state;
    const int32_t ids[] = {200, 201, 202, 203, 204, 205, 206, 207};
    write_tokens("t.tok", bytes, ids, 8);
    scratch_write("a.txt", "abcdefgh", 8);
    sc_corpus *corpus;
    assert_int_equal(load("train: [a.txt, t.tok, a.txt], tokenizer: byte, validation_share: 0.5", &corpus), SC_OK);
    const sc_tokens train = sc_corpus_train(corpus), validation = sc_corpus_validation(corpus);
    int32_t got[12];
    assert_int_equal(train.n, 12);
    assert_int_equal(sc_tokens_read(&train, 6, 6, got), SC_OK);
    assert_memory_equal(got, ((int32_t[]){'g', 'h', 200, 201, 202, 203}), 6 * sizeof *got);
    assert_int_equal(sc_tokens_read(&validation, 0, 12, got), SC_OK);
    assert_memory_equal(got, ((int32_t[]){204, 205, 206, 207, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}), sizeof got);
    sc_corpus_destroy(&corpus);

    assert_int_equal(load("train: [a.txt], validation: [t.tok], tokenizer: byte, validation_share: 0.0", &corpus),
                     SC_OK);
    assert_int_equal(sc_corpus_validation(corpus).n, 8);
    sc_corpus_destroy(&corpus);

    assert_int_equal(load("train: [a.txt, t.tok], validation_share: 0.5", &corpus), SC_FAILED_PRECONDITION);
    assert_message("t.tok: is a token file, and data.tokenizer: char makes its vocabulary of text");
}

static void the_config_names_a_tokenizer_by_path(void **state)
{
    (void)state;
    assert_int_equal(sc_tokenizer_save(bytes, scratch_file("saved.json")), SC_OK);
    scratch_write("a.txt", "abcdefgh\xFF\xFF\xFF\xFF", 12);
    sc_corpus *corpus;
    assert_int_equal(load("train: [a.txt], tokenizer: saved.json, validation_share: 0.5", &corpus), SC_OK);
    assert_string_equal(sc_tokenizer_type(sc_corpus_tokenizer(corpus)), "byte");
    sc_corpus_destroy(&corpus);
    assert_int_equal(load("train: [a.txt], tokenizer: absent, validation_share: 0.5", &corpus), SC_NOT_FOUND);
    assert_message("/run.yaml: data.tokenizer: ");
    assert_message("/absent: cannot be opened");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(the_header_is_as_documented),
        cmocka_unit_test(a_file_that_is_cut_or_lies_is_refused),
        cmocka_unit_test(another_tokenizer_is_refused),
        cmocka_unit_test(what_happens_to_an_open_file_is_an_error),
        cmocka_unit_test(an_unfinished_file_leaves_nothing),
        cmocka_unit_test(texts_and_token_files_make_one_stream),
        cmocka_unit_test(the_config_names_a_tokenizer_by_path),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
