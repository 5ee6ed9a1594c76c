#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/bpe_merges.h"
#include "coordinator/data/text_file.h"
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/utf8.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tokenizer_fixture.h"

static sc_tokenizer *gpt2;

static int setup(void **state)
{
    gpt2 = open_tokenizer(GOLDEN "vocab-gpt2");
    return scratch_setup(state);
}

static int teardown(void **state)
{
    sc_tokenizer_destroy(&gpt2);
    return scratch_teardown(state);
}

static void assert_encodes(const char *name, const char *text, size_t n_bytes, char *expected)
{
    size_t n, i = 0;
    int32_t *ids = encode(gpt2, text, n_bytes, &n);
    for (char *field = strtok(expected, " \t"); field; field = strtok(NULL, " \t"), i++)
        if (i >= n || ids[i] != atoi(field))
            fail_msg("%s: id %zu is not %s", name, i, field);
    assert_int_equal(n, i);
    free(ids);
}

/* Lines "NAME<tab>HEX<tab>-<tab>ids" or "HEX<tab>ids". Returns how many. */
static int check_vectors(const char *path, bool named)
{
    size_t n_file;
    char *file = read_golden(path, &n_file), *rest = file;
    int n_lines = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line; n_lines++) {
        char number[32];
        snprintf(number, sizeof number, "line %d", n_lines + 1);
        const char *name = named ? strsep(&line, "\t") : number;
        const char *hex = strsep(&line, "\t");
        if (named)
            strsep(&line, "\t");
        char text[8192];
        const size_t n = strlen(hex) / 2;
        assert_true(n <= sizeof text);
        for (size_t i = 0; i < n; i++) {
            unsigned byte;
            assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
            text[i] = (char)byte;
        }
        assert_encodes(name, text, n, line);
    }
    free(file);
    return n_lines;
}

static void texts_become_the_ids_of_hugging_face(void **state)
{
    (void)state;
    assert_int_equal(check_vectors(GOLDEN "tokenizer/gpt2.tsv", true), 26);
    assert_int_equal(check_vectors(GOLDEN "tokenizer/cases.tsv", false), 400);
}

static uint64_t fnv1a(const int32_t *ids, size_t n)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < 2 * n; i++)
        hash = (hash ^ (uint8_t)(ids[i / 2] >> 8 * (i % 2))) * UINT64_C(0x100000001B3);
    return hash;
}

static void whole_files_become_the_ids_of_hugging_face(void **state)
{
    (void)state;
    size_t n_list;
    char *list = read_golden(GOLDEN "tokenizer/wholes.tsv", &n_list), *rest = list;
    int n_files = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line; n_files++) {
        char name[128], path[512];
        size_t expected, n_bytes, n;
        unsigned long long hash;
        assert_int_equal(sscanf(line, "%127s %zu %llx", name, &expected, &hash), 3);
        snprintf(path, sizeof path, SC_SOURCE_DIR "/%s", name);
        char *bytes = read_golden(path, &n_bytes);
        int32_t *ids = encode(gpt2, bytes, n_bytes, &n);
        assert_int_equal(n, expected);
        assert_true(fnv1a(ids, n) == hash);
        free(bytes);
        free(ids);
    }
    assert_int_equal(n_files, 3);
    free(list);
}

static void decoding_gives_the_text_back(void **state)
{
    (void)state;
    unsigned seed = 3;
    for (int round = 0; round < 500; round++) {
        char text[100 * SC_UTF8_MAX_BYTES];
        size_t n_bytes = 0, n, at = 0;
        for (int i = 0; i < 100; i++) {
            seed = seed * 1103515245u + 12345u;
            const uint32_t c = (seed >> 8) % (round % 2 ? 0x110000 : 0x250);
            n_bytes += sc_utf8_encode(c >= 0xD800 && c <= 0xDFFF ? 0 : c, text + n_bytes);
        }
        int32_t *ids = encode(gpt2, text, n_bytes, &n);
        assert_true(n <= n_bytes);
        for (size_t i = 0; i < n; i++) {
            char bytes[SC_TOKEN_MAX_BYTES];
            const size_t length = sc_tokenizer_decode(gpt2, ids[i], bytes);
            assert_true(length > 0 && length <= n_bytes - at);
            assert_memory_equal(bytes, text + at, length);
            at += length;
        }
        assert_int_equal(at, n_bytes);
        free(ids);
    }
    char bytes[SC_TOKEN_MAX_BYTES];
    assert_int_equal(sc_tokenizer_decode(gpt2, 50256, bytes), 13);
    assert_memory_equal(bytes, "<|endoftext|>", 13);
    assert_int_equal(sc_tokenizer_decode(gpt2, 50257, bytes), 0);
    assert_int_equal(sc_tokenizer_decode(gpt2, -1, bytes), 0);
}

/* Ids that come in pieces. */
typedef struct gathered {
    int32_t ids[8192];
    size_t n;
} gathered;

static sc_status gather(void *context, const int32_t *ids, size_t n)
{
    gathered *self = context;
    assert_true(n <= sizeof self->ids / sizeof *self->ids - self->n);
    memcpy(self->ids + self->n, ids, n * sizeof *ids);
    self->n += n;
    return SC_OK;
}

static sc_status gather_text(void *context, const sc_text *text, bool more, size_t *used)
{
    return sc_tokenizer_encode_some(gpt2, text, more, gather, context, used);
}

static void pieces_of_any_size_give_the_same_ids(void **state)
{
    (void)state;
    static const char text[] =
        "Don't stop: it'll  \n\n be   <|endoftext|>  <|endoftex|>42\xC2\xBD \xE4\xBD\xA0\xE5\xA5\xBD "
        "\xF0\x9F\x98\x80\xF0\x9F\x98\x80<|endoftext|><|endoftext|>\r\n\t they're'' we'v \xC2\xA0 "
        "Donaudampfschifffahrtsgesellschaftskapit\xC3\xA4n 1234567890123456789   ";
    const char *path = scratch_write("pieces", text, sizeof text - 1);
    size_t n;
    int32_t *ids = encode(gpt2, text, sizeof text - 1, &n);
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        static gathered all;
        all.n = 0;
        if (sc_text_file_each(path, piece, gather_text, &all) != SC_OK)
            fail_msg("%s", sc_status_message());
        assert_int_equal(all.n, n);
        assert_memory_equal(all.ids, ids, n * sizeof *ids);
    }
    free(ids);
}

static void broken_utf8_is_named_with_its_place_in_the_file(void **state)
{
    (void)state;
    static const char text[] = "one\ntwo\n\xC3\xA9 t\xFFhree";
    const char *path = scratch_write("broken", text, sizeof text - 1);
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        static gathered all;
        all.n = 0;
        assert_int_equal(sc_text_file_each(path, piece, gather_text, &all), SC_INVALID);
        assert_message("broken:3:4: byte 0xFF at offset 12");
    }
    const char *cut = scratch_write("cut", "ab\xE4\xBD", 4);
    static gathered all;
    assert_int_equal(sc_text_file_each(cut, 2, gather_text, &all), SC_INVALID);
    assert_message("cut:1:3: byte 0xE4 at offset 2");
}

/* The definition: of the pairs that have a merge, the one of the lowest rank, the leftmost. */
static size_t merge_plainly(const sc_bpe_merges *merges, int32_t *ids, size_t n)
{
    for (;;) {
        const sc_bpe_merge *best = NULL;
        size_t place = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const sc_bpe_merge *merge = sc_bpe_merges_find(merges, ids[i], ids[i + 1]);
            if (merge && (!best || merge < best)) {
                best = merge;
                place = i;
            }
        }
        if (!best)
            return n;
        ids[place] = best->merged;
        memmove(ids + place + 1, ids + place + 2, (n - place - 2) * sizeof *ids);
        n--;
    }
}

static void short_and_long_words_follow_the_definition(void **state)
{
    (void)state;
    sc_bpe_merges merges;
    assert_int_equal(sc_bpe_merges_init(&merges, 60), SC_OK);
    unsigned seed = 1;
    for (int32_t id = 3; id < 43;) { /* any two of three letters and what came of them, in any order */
        seed = seed * 1103515245u + 12345u;
        const int32_t left = (int32_t)(seed >> 8) % id, right = (int32_t)(seed >> 16) % id;
        if (sc_bpe_merges_find(&merges, left, right))
            continue;
        assert_int_equal(sc_bpe_merges_add(&merges, (sc_bpe_merge){left, right, id++}), SC_OK);
    }
    sc_bpe_scratch scratch = {0};
    for (size_t n = 1; n < 300; n++) {
        int32_t ids[300], plain[300];
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1103515245u + 12345u;
            ids[i] = plain[i] = (int32_t)(seed >> 8) % 3;
        }
        size_t left = n;
        assert_int_equal(sc_bpe_merges_apply(&merges, &scratch, ids, &left), SC_OK);
        assert_int_equal(left, merge_plainly(&merges, plain, n));
        assert_memory_equal(ids, plain, left * sizeof *ids);
    }
    sc_bpe_scratch_clear(&scratch);
    sc_bpe_merges_clear(&merges);
}

/* Quadratic time would take an hour here, and the test's limit is two minutes. */
static void a_word_of_a_megabyte_is_no_trouble(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    char *text = malloc(N);
    for (size_t i = 0; i < N; i++)
        text[i] = "etaoinshrdlu"[i * i % 12];
    size_t n;
    int32_t *ids = encode(gpt2, text, N, &n);
    assert_true(n > N / 16 && n < N);
    free(ids);
    memset(text, 'a', N);
    ids = encode(gpt2, text, N, &n);
    assert_true(n >= N / SC_TOKEN_MAX_BYTES && n < N / 2);
    free(ids);
    free(text);
}

static void assert_same(const sc_tokenizer *a, const sc_tokenizer *b)
{
    uint64_t hash_a, hash_b;
    assert_int_equal(sc_tokenizer_hash(a, &hash_a), SC_OK);
    assert_int_equal(sc_tokenizer_hash(b, &hash_b), SC_OK);
    assert_true(hash_a == hash_b);
    assert_int_equal(sc_tokenizer_vocab(a), sc_tokenizer_vocab(b));
    assert_int_equal(sc_tokenizer_special(b, "<|endoftext|>"), 50256);
}

static void every_file_form_loads_to_the_same(void **state)
{
    (void)state;
    assert_string_equal(sc_tokenizer_type(gpt2), "bpe");
    assert_int_equal(sc_tokenizer_vocab(gpt2), 50257);
    sc_tokenizer *again;
    assert_int_equal(sc_tokenizer_save(gpt2, scratch_file("stagecoach_tokenizer.json")), SC_OK);
    assert_int_equal(sc_tokenizer_load(scratch_file("stagecoach_tokenizer.json"), &again), SC_OK);
    assert_same(gpt2, again);
    sc_tokenizer_destroy(&again);
    assert_int_equal(sc_tokenizer_bpe_export(gpt2, scratch_path), SC_OK);
    const char *const names[] = {"", "vocab.json", "merges.txt", "tokenizer.json", "stagecoach_tokenizer.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        again = open_tokenizer(scratch_file(names[i]));
        assert_same(gpt2, again);
        sc_tokenizer_destroy(&again);
    }
    again = open_tokenizer(GOLDEN "vocab-gpt2/vocab.bpe");
    assert_same(gpt2, again);
    sc_tokenizer_destroy(&again);
    for (size_t i = 1; i < sizeof names / sizeof *names; i++)
        unlink(scratch_file(names[i]));
    assert_int_equal(sc_tokenizer_open(scratch_path, &again), SC_NOT_FOUND);
    assert_message("holds no tokenizer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_the_ids_of_hugging_face),
        cmocka_unit_test(whole_files_become_the_ids_of_hugging_face),
        cmocka_unit_test(decoding_gives_the_text_back),
        cmocka_unit_test(pieces_of_any_size_give_the_same_ids),
        cmocka_unit_test(broken_utf8_is_named_with_its_place_in_the_file),
        cmocka_unit_test(short_and_long_words_follow_the_definition),
        cmocka_unit_test(a_word_of_a_megabyte_is_no_trouble),
        cmocka_unit_test(every_file_form_loads_to_the_same),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
