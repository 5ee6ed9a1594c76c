#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/text_file.h"
#include "coordinator/data/tokenizer_wordpiece.h"
#include "coordinator/data/utf8.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tokenizer_fixture.h"

enum { UNCASED, CASED, CHINESE, ACCENTS, BARE, N_KINDS };
static const char *const names[N_KINDS] = {"uncased", "cased", "chinese", "accents", "bare"};
static sc_tokenizer *kinds[N_KINDS];

static sc_tokenizer *with_config(const char *vocabulary, const char *config)
{
    char path[512];
    size_t n;
    snprintf(path, sizeof path, GOLDEN "vocab-bert/%s/vocab.txt", vocabulary);
    char *bytes = read_golden(path, &n);
    scratch_write("vocab.txt", bytes, n);
    scratch_write("tokenizer_config.json", config, strlen(config));
    free(bytes);
    return open_tokenizer(scratch_file("vocab.txt"));
}

/* clean_text has no key in tokenizer_config.json. */
static sc_tokenizer *bare(void)
{
    sc_tokenizer *cased = open_tokenizer(GOLDEN "vocab-bert/cased"), *self;
    assert_int_equal(sc_tokenizer_save(cased, scratch_file("cased.json")), SC_OK);
    sc_tokenizer_destroy(&cased);
    json_t *object = json_load_file(scratch_file("cased.json"), 0, NULL);
    assert_non_null(object);
    json_object_set_new(object, "clean", json_false());
    json_object_set_new(object, "chinese", json_false());
    json_object_set_new(object, "strip_accents", json_true());
    assert_int_equal(json_dump_file(object, scratch_file("bare.json"), 0), 0);
    json_decref(object);
    if (sc_tokenizer_load(scratch_file("bare.json"), &self) != SC_OK)
        fail_msg("%s", sc_status_message());
    return self;
}

static int setup(void **state)
{
    if (scratch_setup(state) != 0)
        return -1;
    for (int i = UNCASED; i <= CHINESE; i++) {
        char path[512];
        snprintf(path, sizeof path, GOLDEN "vocab-bert/%s", names[i]);
        kinds[i] = open_tokenizer(path);
    }
    kinds[ACCENTS] = with_config("uncased", "{\"strip_accents\": false}");
    kinds[BARE] = bare();
    return 0;
}

static int teardown(void **state)
{
    for (int i = 0; i < N_KINDS; i++)
        sc_tokenizer_destroy(&kinds[i]);
    return scratch_teardown(state);
}

static const sc_tokenizer *kind_of(const char *name)
{
    for (int i = 0; i < N_KINDS; i++)
        if (strcmp(names[i], name) == 0)
            return kinds[i];
    fail_msg("no kind %s", name);
    return NULL;
}

static size_t from_hex(const char *hex, char *text, size_t capacity)
{
    const size_t n = strlen(hex) / 2;
    assert_true(n <= capacity);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        text[i] = (char)byte;
    }
    return n;
}

/* Lines "NAME<tab>HEX<tab>HEX or -<tab>ids", the ids with [CLS] and [SEP]. Returns how many. */
static int check_vectors(const char *path, const sc_tokenizer *tokenizer)
{
    size_t n_file;
    char *file = read_golden(path, &n_file), *rest = file;
    int n_lines = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line; n_lines++) {
        const char *name = strsep(&line, "\t");
        int32_t all[4096];
        size_t n_all = 0;
        all[n_all++] = sc_tokenizer_special(tokenizer, "[CLS]");
        for (int part = 0; part < 2; part++) {
            const char *hex = strsep(&line, "\t");
            char text[8192];
            size_t n;
            if (strcmp(hex, "-") == 0)
                continue;
            int32_t *ids = encode(tokenizer, text, from_hex(hex, text, sizeof text), &n);
            memcpy(all + n_all, ids, n * sizeof *ids);
            n_all += n;
            all[n_all++] = sc_tokenizer_special(tokenizer, "[SEP]");
            free(ids);
        }
        size_t i = 0;
        for (char *field = strtok(line, " "); field; field = strtok(NULL, " "), i++)
            if (i >= n_all || all[i] != atoi(field))
                fail_msg("%s: id %zu is not %s", name, i, field);
        assert_int_equal(i, n_all);
    }
    free(file);
    return n_lines;
}

static void texts_become_the_ids_of_transformers_js(void **state)
{
    (void)state;
    assert_int_equal(check_vectors(GOLDEN "wordpiece/uncased.tsv", kinds[UNCASED]), 30);
    assert_int_equal(check_vectors(GOLDEN "wordpiece/cased.tsv", kinds[CASED]), 8);
    assert_int_equal(check_vectors(GOLDEN "wordpiece/chinese.tsv", kinds[CHINESE]), 7);
}

static void check_spans(int line, const char *text, const sc_token_span *spans, size_t n, char *ids, char *offsets)
{
    char *rest_ids, *rest_offsets, *id = strtok_r(ids, " ", &rest_ids);
    char *offset = strtok_r(offsets, " ", &rest_offsets);
    size_t i = 0;
    for (; id; i++, id = strtok_r(NULL, " ", &rest_ids), offset = strtok_r(NULL, " ", &rest_offsets)) {
        size_t begin, end;
        assert_non_null(offset);
        assert_int_equal(sscanf(offset, "%zu-%zu", &begin, &end), 2);
        if (i >= n || spans[i].id != atoi(id))
            fail_msg("line %d: id %zu is not %s", line, i, id);
        if (sc_utf8_count(text, spans[i].begin) != begin || sc_utf8_count(text, spans[i].end) != end)
            fail_msg("line %d: token %zu lies at %zu-%zu, not at %s", line, i, sc_utf8_count(text, spans[i].begin),
                     sc_utf8_count(text, spans[i].end), offset);
    }
    assert_int_equal(i, n);
}

static void random_texts_become_the_ids_and_places_of_hugging_face(void **state)
{
    (void)state;
    size_t n_file;
    char *file = read_golden(GOLDEN "wordpiece/cases.tsv", &n_file), *rest = file;
    int n_lines = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        const sc_tokenizer *tokenizer = kind_of(strsep(&line, "\t"));
        char text[8192];
        const size_t n_bytes = from_hex(strsep(&line, "\t"), text, sizeof text);
        size_t n, n_spans;
        int32_t *ids = encode(tokenizer, text, n_bytes, &n);
        sc_token_span *spans;
        assert_int_equal(sc_tokenizer_encode_spans(tokenizer,
                                                   &(sc_text){.name = "text", .bytes = text, .n_bytes = n_bytes},
                                                   &spans, &n_spans),
                         SC_OK);
        assert_int_equal(n, n_spans);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(ids[i], spans[i].id);
        char *expected = strsep(&line, "\t");
        check_spans(++n_lines, text, spans, n, expected, line);
        free(ids);
        free(spans);
    }
    assert_int_equal(n_lines, 400);
    free(file);
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
    char *list = read_golden(GOLDEN "wordpiece/wholes.tsv", &n_list), *rest = list;
    int n_files = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line; n_files++) {
        char name[128], kind[16], path[512];
        size_t expected, n_bytes, n;
        unsigned long long hash;
        assert_int_equal(sscanf(line, "%127s %15s %zu %llx", name, kind, &expected, &hash), 4);
        snprintf(path, sizeof path, SC_SOURCE_DIR "/%s", name);
        char *bytes = read_golden(path, &n_bytes);
        int32_t *ids = encode(kind_of(kind), bytes, n_bytes, &n);
        assert_int_equal(n, expected);
        assert_true(fnv1a(ids, n) == hash);
        free(bytes);
        free(ids);
    }
    assert_int_equal(n_files, 9);
    free(list);
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
    return sc_tokenizer_encode_some(kinds[UNCASED], text, more, gather, context, used);
}

static void pieces_of_any_size_give_the_same_ids(void **state)
{
    (void)state;
    static const char text[] = "Unbelievably, it'll  \n\n be [MASK][MAS [[SEP]] 42\xC2\xBD \xE4\xBD\xA0\xE5\xA5\xBD "
                               "\xC3\x89t\xC3\xA9 e\xCC\x81\xCC\xA3 na\xE2\x80\x8Bive \xED\x95\x9C\xEA\xB5\xAD "
                               "\xF0\x9F\x98\x80\r\n\t Donaudampfschifffahrtsgesellschaft \xC2\xA0 [CLS]";
    const char *path = scratch_write("pieces", text, sizeof text - 1);
    size_t n;
    int32_t *ids = encode(kinds[UNCASED], text, sizeof text - 1, &n);
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

/* A word that is longer than what is waited for: unknown, and only its tail is kept. */
static void a_word_without_end_is_one_unknown_token_in_bounded_memory(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    char *text = malloc(N);
    memset(text, 'x', N);
    memcpy(text, "one ", 4);
    memcpy(text + N - 4, " two", 4);
    const char *path = scratch_write("long", text, N);
    static gathered all;
    all.n = 0;
    assert_int_equal(sc_text_file_each(path, 1 << 12, gather_text, &all), SC_OK);
    const int32_t expected[] = {2028, 100, 2048};
    assert_int_equal(all.n, 3);
    assert_memory_equal(all.ids, expected, sizeof expected);
    const sc_text piece = {.name = "long", .bytes = text + 4, .n_bytes = N / 2};
    size_t used;
    assert_int_equal(sc_tokenizer_encode_some(kinds[UNCASED], &piece, true, gather, &all, &used), SC_OK);
    assert_true(used >= N / 2 - 1000);
    free(text);
}

static void control_characters_without_end_are_refused_by_place(void **state)
{
    (void)state;
    enum { N = 3 << 20 };
    char *text = calloc(N, 1);
    memcpy(text, "one\n two", 8);
    const char *path = scratch_write("zeros", text, N);
    static gathered all;
    all.n = 0;
    assert_int_equal(sc_text_file_each(path, 1 << 12, gather_text, &all), SC_INVALID);
    assert_message("zeros:2:2: a word of more than 1048576 bytes");
    free(text);
}

static void tokens_are_told_apart_and_written(void **state)
{
    (void)state;
    const sc_tokenizer *self = kinds[UNCASED];
    char bytes[SC_TOKEN_MAX_BYTES];
    assert_string_equal(sc_tokenizer_type(self), "wordpiece");
    assert_int_equal(sc_tokenizer_vocab(self), 30522);
    assert_int_equal(sc_tokenizer_special(self, "[PAD]"), 0);
    assert_int_equal(sc_tokenizer_special(self, "[MASK]"), 103);
    assert_int_equal(sc_tokenizer_special(self, "the"), -1);
    assert_int_equal(sc_tokenizer_decode(self, 2028, bytes), 4);
    assert_memory_equal(bytes, " one", 4);
    assert_int_equal(sc_tokenizer_decode(self, 2075, bytes), 3);
    assert_memory_equal(bytes, "ing", 3);
    assert_true(sc_tokenizer_continues(self, 2075));
    assert_false(sc_tokenizer_continues(self, 2028));
    assert_false(sc_tokenizer_continues(self, 30522));
    assert_int_equal(sc_tokenizer_decode(self, 30522, bytes), 0);
}

static void assert_same(const sc_tokenizer *a, const sc_tokenizer *b)
{
    uint64_t hash_a, hash_b;
    assert_int_equal(sc_tokenizer_hash(a, &hash_a), SC_OK);
    assert_int_equal(sc_tokenizer_hash(b, &hash_b), SC_OK);
    assert_true(hash_a == hash_b);
}

static void saving_and_exporting_give_the_same_back(void **state)
{
    (void)state;
    for (int i = 0; i < N_KINDS; i++) {
        sc_tokenizer *again;
        assert_int_equal(sc_tokenizer_save(kinds[i], scratch_file("saved.json")), SC_OK);
        again = open_tokenizer(scratch_file("saved.json"));
        assert_same(kinds[i], again);
        sc_tokenizer_destroy(&again);
        assert_int_equal(sc_tokenizer_export(kinds[i], scratch_path), SC_OK);
        again = open_tokenizer(scratch_file("tokenizer.json"));
        assert_same(kinds[i], again);
        sc_tokenizer_destroy(&again);
        if (i == BARE)
            continue; /* vocab.txt and its config cannot say that nothing is cleaned */
        again = open_tokenizer(scratch_file("vocab.txt"));
        assert_same(kinds[i], again);
        sc_tokenizer_destroy(&again);
    }
}

static void a_tokenizer_json_of_hugging_face_loads(void **state)
{
    (void)state;
    sc_tokenizer *self = open_tokenizer(GOLDEN "wordpiece/tokenizer.json");
    size_t n;
    int32_t *ids = encode(self, "Unbelievable! [MASK] [mask]", 27, &n);
    const int32_t expected[] = {5, 6, 7, 8, 4, 1, 1, 1};
    assert_int_equal(n, 8);
    assert_memory_equal(ids, expected, sizeof expected);
    free(ids);
    sc_tokenizer_destroy(&self);
}

/* The golden tokenizer.json with one text replaced by another. */
static void assert_refused(const char *from, const char *to, const char *message)
{
    size_t n;
    char *bytes = read_golden(GOLDEN "wordpiece/tokenizer.json", &n);
    char *changed = calloc(1, n + strlen(to) + 1);
    size_t at = 0;
    while (at < n && strncmp(bytes + at, from, strlen(from)) != 0)
        at++;
    if (at == n)
        fail_msg("no %s in the file", from);
    memcpy(changed, bytes, at);
    strcpy(changed + at, to);
    strcat(changed, bytes + at + strlen(from));
    free(bytes);
    scratch_write("tokenizer.json", changed, strlen(changed));
    free(changed);
    sc_tokenizer *self;
    assert_int_equal(sc_tokenizer_open(scratch_file("tokenizer.json"), &self), SC_INVALID);
    assert_null(self);
    assert_message(message);
}

static void what_would_change_the_ids_is_refused(void **state)
{
    (void)state;
    assert_refused("BertNormalizer", "NFKC", "normalizer has the type \"NFKC\"; supported: BertNormalizer");
    assert_refused("BertPreTokenizer", "Whitespace", "pre_tokenizer has the type \"Whitespace\"");
    assert_refused("\"normalized\": false", "\"normalized\": true", "is \"normalized\", which is not supported");
    assert_refused("\"lstrip\": false", "\"lstrip\": true", "\"lstrip\" would change the tokens");
    assert_refused("\"type_id\": 1", "\"type_id\": 0", "post_processor: does not put texts as");
    assert_refused("\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 0", "no integer from 1");
    assert_refused("\"unk_token\": \"[UNK]\"", "\"unk_token\": \"[OOV]\"", "lacks the unknown token '[OOV]'");
    assert_refused("\"clean_text\"", "\"clean_words\"", "the key \"clean_words\" is not known");
}

static void assert_bad_txt(const char *text, size_t n, const char *config, const char *message)
{
    scratch_write("vocab.txt", text, n);
    scratch_write("tokenizer_config.json", config, strlen(config));
    sc_tokenizer *self;
    assert_int_equal(sc_tokenizer_open(scratch_file("vocab.txt"), &self), SC_INVALID);
    assert_null(self);
    assert_message(message);
}

static void mistakes_in_vocab_txt_are_named_by_line(void **state)
{
    (void)state;
    assert_bad_txt("[UNK]\na\n\nb\n", 11, "{}", "vocab.txt:3: is empty");
    assert_bad_txt("[UNK]\na\na\n", 10, "{}", "vocab.txt:3: 'a' is there for the second time");
    assert_bad_txt("[UNK]\n\xFF\n", 8, "{}", "vocab.txt:2: is not valid UTF-8");
    assert_bad_txt("[PAD]\na\n", 8, "{}", "vocab.txt: the vocabulary lacks the unknown token '[UNK]'");
    assert_bad_txt("", 0, "{}", "vocab.txt: has 0 tokens");
    assert_bad_txt("[UNK]\n", 6, "{\"do_lower_case\": 1}", "tokenizer_config.json: \"do_lower_case\" is neither");
    assert_bad_txt("[UNK]\n", 6, "{\"cls_token\": {\"content\": \"<s>\"}}", "\"cls_token\" is '<s>'; supported: [CLS]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_the_ids_of_transformers_js),
        cmocka_unit_test(random_texts_become_the_ids_and_places_of_hugging_face),
        cmocka_unit_test(whole_files_become_the_ids_of_hugging_face),
        cmocka_unit_test(pieces_of_any_size_give_the_same_ids),
        cmocka_unit_test(a_word_without_end_is_one_unknown_token_in_bounded_memory),
        cmocka_unit_test(control_characters_without_end_are_refused_by_place),
        cmocka_unit_test(tokens_are_told_apart_and_written),
        cmocka_unit_test(saving_and_exporting_give_the_same_back),
        cmocka_unit_test(a_tokenizer_json_of_hugging_face_loads),
        cmocka_unit_test(what_would_change_the_ids_is_refused),
        cmocka_unit_test(mistakes_in_vocab_txt_are_named_by_line),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
