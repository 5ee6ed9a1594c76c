/* Bad vocabularies: each is refused with a message that names the file, and the line or the token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/byte_alphabet.h"
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/utf8.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tokenizer_fixture.h"

#include <jansson.h>
#include <sys/stat.h>

/* {"symbol": id} of the 256 bytes, then `more` ("ab" 256, ...). */
static json_t *vocabulary(const char *const *more)
{
    json_t *vocab = json_object();
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte, symbol[SC_BYTE_ALPHABET_MAX + 1];
        symbol[sc_byte_alphabet_write(&c, 1, symbol)] = '\0';
        json_object_set_new(vocab, symbol, json_integer(byte));
    }
    for (; *more; more++)
        json_object_set_new(vocab, *more, json_integer((json_int_t)json_object_size(vocab)));
    return vocab;
}

static void write_json(const char *name, json_t *object)
{
    char *text = json_dumps(object, 0);
    scratch_write(name, text, strlen(text));
    free(text);
    json_decref(object);
}

static void assert_refused(const char *name, sc_status status, const char *file, const char *piece)
{
    sc_tokenizer *self;
    assert_int_equal(sc_tokenizer_open(scratch_file(name), &self), status);
    assert_null(self);
    assert_message(file);
    assert_message(piece);
}

static void the_alphabet_of_bytes_is_gpt2s(void **state)
{
    (void)state;
    bool seen[0x200] = {false};
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte, symbol[SC_BYTE_ALPHABET_MAX], back;
        uint32_t code_point;
        const size_t n = sc_byte_alphabet_write(&c, 1, symbol);
        assert_int_equal(sc_utf8_decode(symbol, n, &code_point), n);
        assert_true(code_point > 0x20 && code_point < 0x144 && !seen[code_point]);
        seen[code_point] = true;
        assert_int_equal(sc_byte_alphabet_read(symbol, n, &back), 1);
        assert_int_equal(back, c);
    }
    char out[10];
    assert_int_equal(sc_byte_alphabet_write(" \n\x7F\xA0\xAD", 5, out), 10);
    assert_memory_equal(out, "\xC4\xA0\xC4\x8A\xC4\xA1\xC5\x82\xC5\x83", 10);
    assert_int_equal(sc_byte_alphabet_read(" ", 1, out), SIZE_MAX);
    assert_int_equal(sc_byte_alphabet_read("\xC5\x84", 2, out), SIZE_MAX); /* U+0144, the first behind */
}

static void bad_merges_are_named_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *merges, *place, *piece;
    } cases[] = {
        {"#version: 0.2\na b\nab\n", "merges.txt:3:", "'ab' is not two tokens"},
        {"a b\n\n", "merges.txt:2:", "'' is not two tokens"},
        {"a  b\n", "merges.txt:1:", "not two tokens"},
        {"a b c\n", "merges.txt:1:", "not two tokens"},
        {"a b\nab zz\n", "merges.txt:2:", "'zz' is a token that the vocabulary lacks"},
        {"zz a\n", "merges.txt:1:", "'zz' is a token that the vocabulary lacks"},
        {"a b\nb a\n", "merges.txt:2:", "'b a' merges to a token that the vocabulary lacks"},
        {"a b\r\nab c\na b", "merges.txt:3:", "'a b' is given for the second time"},
    };
    write_json("vocab.json", vocabulary((const char *[]){"ab", "abc", NULL}));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_write("merges.txt", cases[i].merges, strlen(cases[i].merges));
        assert_refused("vocab.json", SC_INVALID, cases[i].place, cases[i].piece);
    }
    scratch_write("merges.txt", "#version: 0.2\r\na b\r\nab c", 24);
    sc_tokenizer *self = open_tokenizer(scratch_file("merges.txt"));
    size_t n;
    int32_t *ids = encode(self, "abcab", 5, &n);
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], 257);
    assert_int_equal(ids[1], 256);
    assert_int_equal(sc_tokenizer_special(self, "<|endoftext|>"), -1);
    free(ids);
    sc_tokenizer_destroy(&self);
    unlink(scratch_file("merges.txt"));
    assert_refused("vocab.json", SC_NOT_FOUND, "/merges.txt", "cannot be opened");
}

static void bad_vocabularies_are_named_by_token(void **state)
{
    (void)state;
    scratch_write("merges.txt", "", 0);
    static const struct {
        const char *token;
        const char *id;
        const char *piece;
    } cases[] = {
        {"ab", "7", "have the same id 7"},
        {"ab", "257", "'ab' has id 257, but 257 tokens have 0 to 256"},
        {"ab", "-1", "'ab' has id -1"},
        {"ab", "\"256\"", "'ab' has no integer as its id"},
        {"a b", "256", "'a b' has a character that stands for no byte"},
        {"\xE4\xBD\xA0", "256", "has a character that stands for no byte"},
        {"", "256", "has 0 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *vocab = vocabulary((const char *[]){NULL});
        json_object_set_new(vocab, cases[i].token, json_loads(cases[i].id, JSON_DECODE_ANY, NULL));
        write_json("vocab.json", vocab);
        assert_refused("vocab.json", SC_INVALID, "/vocab.json: ", cases[i].piece);
    }
    char longest[SC_TOKEN_MAX_BYTES + 2];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    write_json("vocab.json", vocabulary((const char *[]){longest, NULL}));
    assert_refused("vocab.json", SC_INVALID, "/vocab.json: ", "has 257 bytes");
    json_t *vocab = vocabulary((const char *[]){"bc", NULL});
    json_object_del(vocab, "A");
    json_object_set_new(vocab, "ab", json_integer('A'));
    write_json("vocab.json", vocab);
    assert_refused("vocab.json", SC_INVALID, "/vocab.json: ", "no token stands for byte 0x41");
    scratch_write("vocab.json", "{\"a\":1,\n\"a\":2}", 14);
    assert_refused("vocab.json", SC_INVALID, "/vocab.json:2:", "duplicate");
    scratch_write("vocab.json", "[]", 2);
    assert_refused("vocab.json", SC_INVALID, "/vocab.json: ", "is not a JSON object");
    scratch_write("added_tokens.json", "{}", 2);
    assert_refused("vocab.json", SC_INVALID, "/added_tokens.json", "tokenizer.json alone");
    unlink(scratch_file("added_tokens.json"));
    unlink(scratch_file("vocab.json"));
    unlink(scratch_file("merges.txt"));
}

/* A tokenizer.json that is right. */
static json_t *hugging_face(void)
{
    return json_pack(
        "{ss,sn,sn,s[{si,ss,sb,sb,sb,sb,sb}],sn,s{ss,sb,sb,sb},s{ss,sb,sb},s{ss},s{ss,sn,sb,so,s[s,[s,s]]}}", "version",
        "1.0", "truncation", "padding", "added_tokens", "id", 258, "content", "<pad>", "single_word", 0, "lstrip", 0,
        "rstrip", 0, "normalized", 0, "special", 1, "normalizer", "pre_tokenizer", "type", "ByteLevel",
        "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1, "post_processor", "type", "ByteLevel", "trim_offsets",
        0, "add_prefix_space", 1, "decoder", "type", "ByteLevel", "model", "type", "BPE", "dropout", "ignore_merges", 0,
        "vocab", vocabulary((const char *[]){"ab", "abc", NULL}), "merges", "a b", "ab", "c");
}

/* Sets the value at a path of keys, "model.dropout"; a number is a place in a list. */
static void set(json_t *object, const char *path, const char *value)
{
    char copy[64], *rest = copy, *key = NULL;
    snprintf(copy, sizeof copy, "%s", path);
    json_t *at = object;
    while ((key = strsep(&rest, ".")) && rest)
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
    json_t *new_value = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(new_value);
    assert_int_equal(json_is_array(at) ? json_array_set_new(at, (size_t)atoi(key), new_value)
                                       : json_object_set_new(at, key, new_value),
                     0);
}

static void what_would_change_the_tokens_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value, *piece;
    } cases[] = {
        {"model.type", "\"Unigram\"", "model has the type \"Unigram\"; supported: BPE"},
        {"model.dropout", "0.1", "model: \"dropout\" would change"},
        {"model.ignore_merges", "true", "model: \"ignore_merges\" would change"},
        {"model.end_of_word_suffix", "\"</w>\"", "model: \"end_of_word_suffix\" would change"},
        {"model.continuing_subword_prefix", "\"##\"", "model: \"continuing_subword_prefix\" would change"},
        {"model.surprise", "1", "model: the key \"surprise\" is not known"},
        {"model.vocab", "[]", "lacks the object \"vocab\""},
        {"model.merges.0", "\"a c\"", "model.merges[0]: 'a c' merges to a token"},
        {"model.merges.1", "[\"ab\"]", "model.merges[1]: is not two tokens"},
        {"model.merges.1", "[\"ab\",\"c d\"]", "model.merges[1]: 'ab c d' is not two tokens"},
        {"normalizer", "{\"type\":\"NFC\"}", "\"normalizer\" would change"},
        {"truncation", "{\"max_length\":3}", "\"truncation\" would change"},
        {"padding", "{}", "\"padding\" would change"},
        {"pre_tokenizer", "null", "pre_tokenizer has the type \"\""},
        {"pre_tokenizer.type", "\"Whitespace\"", "pre_tokenizer has the type \"Whitespace\""},
        {"pre_tokenizer.add_prefix_space", "true", "pre_tokenizer: \"add_prefix_space\" would change"},
        {"pre_tokenizer.use_regex", "false", "pre_tokenizer: \"use_regex\" would change"},
        {"pre_tokenizer", "{\"type\":\"ByteLevel\"}", "\"add_prefix_space\" is missing"},
        {"post_processor.type", "\"BertProcessing\"", "post_processor has the type \"BertProcessing\""},
        {"post_processor", "{\"type\":\"TemplateProcessing\"}", "its template \"single\" adds tokens"},
        {"post_processor",
         "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<pad>\",\"type_id\":0}},"
         "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}",
         "its template \"single\" adds tokens"},
        {"post_processor",
         "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<pad>\",\"type_id\":0}}]}",
         "its template \"single\" adds tokens"},
        {"post_processor", "{\"type\":\"TemplateProcessing\",\"surprise\":1}", "the key \"surprise\" is not known"},
        {"decoder.type", "\"WordPiece\"", "decoder has the type \"WordPiece\""},
        {"added_tokens.0.lstrip", "true", "added_tokens[0]: \"lstrip\" would change"},
        {"added_tokens.0.single_word", "true", "added_tokens[0]: \"single_word\" would change"},
        {"added_tokens.0.content", "\"\"", "has 0 bytes"},
        {"added_tokens.0.id", "300", "'<pad>' has id 300"},
        {"added_tokens.0.id", "65", "have the same id 65"},
        {"added_tokens.0.content", "\"ab\"", "'ab' has another id than in the vocabulary"},
        {"added_tokens", "[{\"id\":258,\"content\":\"<a>\",\"normalized\":true},{\"id\":259,\"content\":\">b\"}]",
         "'<a>' and '>b' overlap and differ in \"normalized\""},
        {"surprise", "1", "the key \"surprise\" is not known"},
    };
    write_json("tokenizer.json", hugging_face());
    sc_tokenizer *self = open_tokenizer(scratch_file("tokenizer.json"));
    size_t n;
    int32_t *ids = encode(self, "ab<pad>abc<pad", 14, &n);
    const int32_t expected[] = {256, 258, 257, '<', 'p', 'a', 'd'};
    assert_int_equal(n, 7);
    assert_memory_equal(ids, expected, sizeof expected);
    free(ids);
    sc_tokenizer_destroy(&self);
    json_t *of_transformers_5 = hugging_face();
    set(of_transformers_5, "post_processor",
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[{"
        "\"Sequence\":"
        "{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{}}");
    write_json("tokenizer.json", of_transformers_5);
    self = open_tokenizer(scratch_file("tokenizer.json"));
    ids = encode(self, "ab<pad>abc<pad", 14, &n);
    assert_int_equal(n, 7);
    assert_memory_equal(ids, expected, sizeof expected);
    free(ids);
    sc_tokenizer_destroy(&self);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *file = hugging_face();
        set(file, cases[i].path, cases[i].value);
        write_json("tokenizer.json", file);
        assert_refused("tokenizer.json", SC_INVALID, "/tokenizer.json: ", cases[i].piece);
    }
}

static void a_saved_vocabulary_is_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *content, *piece;
    } cases[] = {
        {"{\"type\":\"bpe\",\"vocab\":[],\"merges\":[]}", "lacks one of the lists"},
        {"{\"type\":\"bpe\",\"vocab\":[],\"merges\":[],\"added\":[]}", "has 0 tokens"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\",\"a\"],\"merges\":[],\"added\":[]}", "vocab[1], 'a', is there"},
        {"{\"type\":\"bpe\",\"vocab\":[7],\"merges\":[],\"added\":[]}", "vocab[0] is no text"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\\u0000\"],\"merges\":[],\"added\":[]}", "vocab[0] is no text"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[],\"added\":[1]}", "added[0]"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[],\"added\":[0,0]}", "added[1]"},
        {"{\"type\":\"bpe\",\"vocab\":[\"a\"],\"merges\":[],\"added\":[]}", "no token stands for byte 0x00"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_write("stagecoach_tokenizer.json", cases[i].content, strlen(cases[i].content));
        assert_refused("stagecoach_tokenizer.json", SC_INVALID, "/stagecoach_tokenizer.json: ", cases[i].piece);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_alphabet_of_bytes_is_gpt2s),
        cmocka_unit_test(bad_merges_are_named_by_line),
        cmocka_unit_test(bad_vocabularies_are_named_by_token),
        cmocka_unit_test(what_would_change_the_tokens_is_refused_by_name),
        cmocka_unit_test(a_saved_vocabulary_is_read_strictly),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
