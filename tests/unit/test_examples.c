#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/examples.h"
#include "coordinator/data/pretrain_examples.h"
#include "coordinator/data/text_file.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tokenizer_fixture.h"

enum { CLS = 101, SEP = 102, MASK = 103, UNK = 100, T = 32, NONE = SC_NO_TARGET };

static sc_tokenizer *bert;

static int setup(void **state)
{
    bert = open_tokenizer(GOLDEN "vocab-bert/uncased");
    return scratch_setup(state);
}

static int teardown(void **state)
{
    sc_tokenizer_destroy(&bert);
    return scratch_teardown(state);
}

static void assert_ids(const int32_t *ids, int n, const int32_t *expected, size_t n_expected)
{
    assert_int_equal(n, n_expected);
    for (size_t i = 0; i < n_expected; i++)
        if (ids[i] != expected[i])
            fail_msg("%zu is %d, not %d", i, (int)ids[i], (int)expected[i]);
}

/* A row of examples that are not drawn. */
typedef struct row {
    int n;
    int32_t tokens[T], segments[T], targets[T], next;
} row;

static row get(const sc_examples *examples, size_t i, uint32_t epoch)
{
    row r;
    r.n = sc_examples_get(examples, 3, epoch, i, r.tokens, r.segments, r.targets, &r.next);
    assert_int_equal(r.n, sc_examples_length(examples, 3, epoch, i));
    assert_true(r.n <= sc_examples_longest(examples));
    return r;
}

static sc_examples *of_table(const char *bytes, int longest)
{
    sc_labelled_texts texts = {0};
    sc_labels labels = {0};
    sc_data_columns columns = sc_data_columns_defaults();
    columns.pair = "pair";
    sc_examples *examples;
    const sc_text file = {.name = "f", .bytes = bytes, .n_bytes = strlen(bytes)};
    if (sc_labelled_texts_read(&texts, &file, SC_DATA_CSV, &columns, &labels, false) != SC_OK ||
        sc_examples_of_texts(&texts, bert, longest, &examples) != SC_OK)
        fail_msg("%s", sc_status_message());
    sc_labelled_texts_clear(&texts);
    sc_labels_clear(&labels);
    return examples;
}

/* Expected ids: transformers 5.23, BertTokenizer, padding=False, truncation=True, max_length as here. */
static void texts_and_pairs_are_framed_and_cut(void **state)
{
    (void)state;
    static const char table[] = "text,pair,label\none two,,b\none two three,four five,a\n";
    sc_examples *examples = of_table(table, 12);
    row r = get(examples, 0, 0);
    assert_ids(r.tokens, r.n, (int32_t[]){CLS, 2028, 2048, SEP}, 4);
    assert_ids(r.segments, r.n, (int32_t[]){0, 0, 0, 0}, 4);
    assert_int_equal(r.targets[0], 0);
    r = get(examples, 1, 0);
    assert_ids(r.tokens, r.n, (int32_t[]){CLS, 2028, 2048, 2093, SEP, 2176, 2274, SEP}, 8);
    assert_ids(r.segments, r.n, (int32_t[]){0, 0, 0, 0, 0, 1, 1, 1}, 8);
    assert_int_equal(r.targets[0], 1);
    assert_int_equal(sc_examples_source_of(examples, 1).first, 1);
    sc_examples_destroy(&examples);
    examples =
        of_table("text,pair,label\none one one one one one one,two two,b\none one one one,two two two two two,a\n"
                 "one one one one one one one one one,,a\n",
                 9);
    r = get(examples, 0, 0);
    assert_ids(r.tokens, r.n, (int32_t[]){CLS, 2028, 2028, 2028, 2028, SEP, 2048, 2048, SEP}, 9);
    r = get(examples, 1, 0);
    assert_ids(r.tokens, r.n, (int32_t[]){CLS, 2028, 2028, 2028, SEP, 2048, 2048, 2048, SEP}, 9);
    r = get(examples, 2, 0);
    assert_ids(r.tokens, r.n, (int32_t[]){CLS, 2028, 2028, 2028, 2028, 2028, 2028, 2028, SEP}, 9);
    sc_examples_destroy(&examples);
}

static sc_examples *of_words(const char *bytes, int longest)
{
    sc_tagged_words words = {0};
    sc_labels labels = {0};
    const sc_data_columns columns = sc_data_columns_defaults();
    sc_examples *examples;
    const sc_text file = {.name = "f", .bytes = bytes, .n_bytes = strlen(bytes)};
    if (sc_tagged_words_read(&words, &file, &columns, &labels, false) != SC_OK ||
        sc_examples_of_words(&words, bert, longest, &examples) != SC_OK)
        fail_msg("%s", sc_status_message());
    sc_tagged_words_clear(&words);
    sc_labels_clear(&labels);
    return examples;
}

static void tags_stand_at_first_pieces(void **state)
{
    (void)state;
    sc_examples *examples = of_words("unbelievably\tO\n\tB-X\none\tI-X\n", 16);
    row r = get(examples, 0, 0);
    assert_ids(r.tokens, r.n, (int32_t[]){CLS, 4895, 8671, 2666, 3567, 6321, UNK, 2028, SEP}, 9);
    assert_ids(r.targets, r.n, (int32_t[]){NONE, 0, NONE, NONE, NONE, NONE, 1, 2, NONE}, 9);
    sc_examples_destroy(&examples);
}

static void long_sentences_become_windows_between_words(void **state)
{
    (void)state;
    /* Room for six pieces: one two three four | five unbelievably | and the next sentence by itself. */
    sc_examples *examples = of_words("one A\ntwo B\nunbelievably A\nfive B\nsix A\n\nseven B\n", 8);
    assert_int_equal(sc_examples_n(examples), 4);
    static const size_t sources[4][2] = {{0, 2}, {2, 2}, {4, 1}, {5, 1}};
    int n_tags = 0;
    for (size_t i = 0; i < 4; i++) {
        const row r = get(examples, i, 0);
        assert_int_equal(sc_examples_source_of(examples, i).first, sources[i][0]);
        assert_int_equal(sc_examples_source_of(examples, i).n, sources[i][1]);
        for (int t = 0; t < r.n; t++)
            n_tags += r.targets[t] != NONE;
    }
    assert_int_equal(n_tags, 6);
    sc_examples_destroy(&examples);
    examples = of_words("one A\nunbelievablyunbelievablyunbelievably B\n", 8);
    assert_int_equal(sc_examples_n(examples), 2);
    const row r = get(examples, 1, 0);
    assert_int_equal(r.n, 8);
    assert_int_equal(r.targets[1], 1);
    sc_examples_destroy(&examples);
}

static sc_documents read_documents(const char *bytes, bool split, size_t piece)
{
    sc_documents documents = {0};
    sc_documents_reader reader = {&documents, bert, split};
    const char *path = scratch_write("documents", bytes, strlen(bytes));
    if (sc_text_file_each(path, piece, sc_documents_add, &reader) != SC_OK)
        fail_msg("%s", sc_status_message());
    return documents;
}

static void documents_are_read_in_pieces_of_any_size(void **state)
{
    (void)state;
    static const char text[] = "\n\none two.\nthree\r\n \t\n\n\xE2\x80\x8B\nfour\n\n\xE2\x80\x8B\n\nfive";
    for (size_t piece = 1; piece < sizeof text + 1; piece++) {
        sc_documents documents = read_documents(text, false, piece);
        assert_int_equal(documents.n, 3);
        assert_int_equal(documents.n_sentences, 4);
        assert_ids(documents.ids, (int)documents.n_ids, (int32_t[]){2028, 2048, 1012, 2093, 2176, 2274}, 6);
        const size_t firsts[] = {0, 2, 3}, sentences[] = {0, 3, 4, 5, 6};
        assert_memory_equal(documents.firsts, firsts, sizeof firsts);
        assert_memory_equal(documents.sentences, sentences, sizeof sentences);
        sc_documents_clear(&documents);
    }
    sc_documents documents = {0};
    sc_documents_reader reader = {&documents, bert, false};
    const char *broken = scratch_write("broken", "a\nb\xFF", 4);
    assert_int_equal(sc_text_file_each(broken, 2, sc_documents_add, &reader), SC_INVALID);
    assert_message("broken:2:2: byte 0xFF");
    sc_documents_clear(&documents);
}

static void paragraphs_are_split_at_sentence_ends(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } cases[] = {{"It rains. We stay.", 10},   {"He said \"Go!\" Then he went.", 14},      {"Mr. J. R. Smith", 4},
                 {"J. R. Smith left. He", 18}, {"It costs 3.14 euros, e.g. here", 30},     {"Really?! Yes", 9},
                 {"Wait... what", 12},         {"\xE4\xB8\xAD\xE3\x80\x82\xE6\x96\x87", 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(sc_documents_first_sentence(cases[i].text, strlen(cases[i].text)), cases[i].n);
    sc_documents documents = read_documents("One. Two!\nThree\n", true, 100);
    assert_int_equal(documents.n_sentences, 3);
    assert_int_equal(documents.n, 1);
    sc_documents_clear(&documents);
}

/* 40 documents of 1 to 10 sentences of 1 to 12 words; each word's id tells its document. */
static sc_documents made_documents(void)
{
    sc_documents documents = {0};
    char text[1 << 15];
    size_t used = 0;
    unsigned seed = 1;
    sc_documents_reader reader = {&documents, bert, false};
    for (int d = 0; d < 40; d++) {
        char word[SC_TOKEN_MAX_BYTES];
        const size_t n = sc_tokenizer_decode(bert, 2000 + d, word);
        for (int s = d % 10; s >= 0; s--) {
            seed = seed * 1103515245u + 12345u;
            for (unsigned w = 0; w <= (seed >> 16 & 7); w++)
                used += (size_t)snprintf(text + used, sizeof text - used, "%.*s%s", (int)n, word,
                                         w == 3 ? " unbelievably" : "");
            used += (size_t)snprintf(text + used, sizeof text - used, "\n");
        }
        used += (size_t)snprintf(text + used, sizeof text - used, "\n");
    }
    size_t all;
    assert_int_equal(sc_documents_add(&reader, &(sc_text){.name = "f", .bytes = text, .n_bytes = used}, false, &all),
                     SC_OK);
    assert_int_equal(all, used);
    return documents;
}

/* What the rows of some epochs hold, summed. */
typedef struct tally {
    int rows, elsewhere, targets, candidates, masked, kept, other;
} tally;

static void check_row(const row *r, bool whole_words, tally *sum)
{
    int separators = 0, n_targets = 0;
    int32_t documents[2] = {-1, -1};
    assert_int_equal(r->tokens[0], CLS);
    assert_int_equal(r->tokens[r->n - 1], SEP);
    for (int t = 0; t < r->n; t++) {
        const int32_t was = r->targets[t] == NONE ? r->tokens[t] : r->targets[t];
        assert_int_equal(r->segments[t], separators);
        if (t > 0 && r->tokens[t] == SEP && r->targets[t] == NONE)
            separators++;
        else if (was >= 2000 && was < 2040 && documents[r->segments[t]] < 0)
            documents[r->segments[t]] = was;
        if (r->targets[t] == NONE)
            continue;
        n_targets++;
        sum->masked += r->tokens[t] == MASK;
        sum->kept += r->tokens[t] == was;
        sum->other += r->tokens[t] != MASK && r->tokens[t] != was;
        if (whole_words &&
            sc_tokenizer_continues(bert, was)) /* the piece before is of the same word, unless b began here */
            assert_true(r->targets[t - 1] != NONE || r->tokens[t - 1] == SEP || r->tokens[t - 1] == CLS);
    }
    assert_int_equal(separators, 2);
    if (documents[0] >= 0 && documents[1] >= 0)
        assert_int_equal(documents[0] != documents[1], r->next);
    assert_true(n_targets >= 1);
    sum->rows++;
    sum->elsewhere += r->next;
    sum->targets += n_targets;
    sum->candidates += r->n - 3;
}

static void pre_training_rows_have_the_shares_of_the_paper(void **state)
{
    (void)state;
    sc_documents documents = made_documents();
    for (int whole = 0; whole < 2; whole++) {
        sc_pretrain_options options = sc_pretrain_defaults(T, 5);
        options.whole_words = whole;
        sc_examples *examples;
        assert_int_equal(sc_examples_of_documents(&documents, bert, &options, &examples), SC_OK);
        const size_t n = sc_examples_n(examples);
        assert_true(n > 40);
        tally sum = {0};
        for (uint32_t epoch = 0; epoch < 60; epoch++)
            for (size_t i = 0; i < n; i++) {
                const row r = get(examples, i, epoch);
                check_row(&r, whole, &sum);
            }
        /* Targets are rounded to whole ones in rows of up to 29 candidates, and at least one. */
        assert_in_range(1000 * sum.targets / sum.candidates, 130, 190);
        /* About 8000 draws: four standard deviations of a share of 0.1 are 0.013, of 0.8 0.018. */
        assert_in_range(1000 * sum.masked / sum.targets, 780, 820);
        assert_in_range(1000 * sum.kept / sum.targets, 86, 114);
        assert_in_range(1000 * sum.other / sum.targets, 86, 114);
        /* Half, and always for stretches of one sentence. */
        assert_in_range(100 * sum.elsewhere / sum.rows, 50, 75);
        sc_examples_destroy(&examples);
    }
    sc_documents_clear(&documents);
}

static void rows_are_functions_of_seed_epoch_and_number(void **state)
{
    (void)state;
    sc_documents documents = made_documents();
    const sc_pretrain_options options = sc_pretrain_defaults(T, 5);
    sc_examples *examples;
    assert_int_equal(sc_examples_of_documents(&documents, bert, &options, &examples), SC_OK);
    int same = 0;
    for (size_t i = 0; i < sc_examples_n(examples); i++) {
        const row first = get(examples, i, 1), other = get(examples, i, 2), again = get(examples, i, 1);
        assert_int_equal(first.n, again.n);
        assert_memory_equal(first.tokens, again.tokens, (size_t)first.n * sizeof *first.tokens);
        assert_memory_equal(first.targets, again.targets, (size_t)first.n * sizeof *first.targets);
        same += first.n == other.n && memcmp(first.tokens, other.tokens, (size_t)first.n * sizeof *first.tokens) == 0;
    }
    assert_true(same < (int)sc_examples_n(examples) / 10);
    sc_examples_destroy(&examples);
    sc_documents_clear(&documents);
}

static void one_sentence_alone_and_a_wrong_tokenizer(void **state)
{
    (void)state;
    sc_documents documents = read_documents("one two three\n", false, 100);
    const sc_pretrain_options options = sc_pretrain_defaults(8, 5);
    sc_examples *examples;
    assert_int_equal(sc_examples_of_documents(&documents, bert, &options, &examples), SC_OK);
    for (uint32_t epoch = 0; epoch < 20; epoch++)
        get(examples, 0, epoch);
    sc_examples_destroy(&examples);
    sc_documents_clear(&documents);
    assert_int_equal(sc_examples_of_documents(&documents, bert, &options, &examples), SC_INVALID);
    assert_message("there are 0 sentences");
    sc_tokenizer *byte;
    assert_int_equal(sc_tokenizer_new_byte(&byte), SC_OK);
    assert_int_equal(sc_examples_of_texts(&(sc_labelled_texts){0}, byte, 8, &examples), SC_INVALID);
    assert_message("the tokenizer has no token [CLS]");
    sc_tokenizer_destroy(&byte);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_and_pairs_are_framed_and_cut),
        cmocka_unit_test(tags_stand_at_first_pieces),
        cmocka_unit_test(long_sentences_become_windows_between_words),
        cmocka_unit_test(documents_are_read_in_pieces_of_any_size),
        cmocka_unit_test(paragraphs_are_split_at_sentence_ends),
        cmocka_unit_test(pre_training_rows_have_the_shares_of_the_paper),
        cmocka_unit_test(rows_are_functions_of_seed_epoch_and_number),
        cmocka_unit_test(one_sentence_alone_and_a_wrong_tokenizer),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
