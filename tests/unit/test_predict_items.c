#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/tokenizer_items.h"
#include "coordinator/run/predict_item.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 5, LONGEST = 3 };

static sc_predict_model model;

/* Items a to e, ids 1 to 5. */
static int setup(void **state)
{
    (void)state;
    sc_labels names = {0};
    int32_t id;
    model = (sc_predict_model){.dir = "d", .model = {.family = SC_GPT2, .vocab = N + 1}, .longest = LONGEST, .top = 2};
    for (char name[] = "a"; name[0] < 'a' + N; name[0]++)
        if (sc_labels_add(&names, name, 1, &id) != SC_OK)
            return -1;
    const sc_status status = sc_tokenizer_new_items(&names, &model.tokenizer);
    sc_labels_clear(&names);
    return status == SC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    sc_tokenizer_destroy(&model.tokenizer);
    return 0;
}

static sc_predict_item *prepare(const char *line)
{
    sc_predict_item *item;
    assert_int_equal(sc_predict_item_new(line, strlen(line), NULL, 0, 1, &item), SC_OK);
    assert_ptr_equal(sc_predict_task_of(&model), &sc_predict_items);
    assert_int_equal(sc_predict_items.prepare(&model, item), SC_OK);
    return item;
}

static void the_last_items_that_are_known_are_the_row(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int32_t tokens[LONGEST];
        int n;
    } cases[] = {
        {"a", {1}, 1},
        {" b\tx a ", {2, 1}, 2},
        {"a b c", {1, 2, 3}, 3},
        {"e a b x c", {1, 2, 3}, 3},
        {"a a d e e x", {4, 5, 5}, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_predict_item *item = prepare(cases[i].line);
        assert_null(item->message);
        assert_int_equal(item->n_rows, 1);
        assert_int_equal(item->rows[0].n, cases[i].n);
        assert_memory_equal(item->rows[0].tokens, cases[i].tokens, (size_t)cases[i].n * sizeof(int32_t));
        sc_predict_item_destroy(&item);
    }
    static const char *const bad[] = {"", "  ", "x y"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sc_predict_item *item = prepare(bad[i]);
        assert_string_equal(item->message, "the line has no item that the model knows");
        assert_int_equal(item->n_rows, 0);
        sc_predict_item_destroy(&item);
    }
}

/* Padding is never an answer, whatever its logit; what the line has, also beyond the row, only if it may be. */
static void the_likeliest_come_first(void **state)
{
    (void)state;
    const float logits[N + 1] = {9, 3, 5, 5, 1, 4};
    double sum = 0;
    for (int i = 0; i <= N; i++)
        sum += exp((double)logits[i] - 9);
    static const struct {
        const char *line;
        bool includes_seen;
        int top, n;
        int32_t expected[N];
    } cases[] = {
        {"a", false, 2, 2, {2, 3}},         {"b", false, 2, 2, {3, 5}}, {"b a d a a", false, 2, 2, {3, 5}},
        {"a b c d", false, 3, 1, {5}},      {"b", true, 2, 2, {2, 3}},  {"a b c d e", false, 3, 0, {0}},
        {"a", true, 9, 5, {2, 3, 5, 1, 4}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_predict_item *item = prepare(cases[i].line);
        model.includes_seen = cases[i].includes_seen;
        model.top = cases[i].top;
        assert_int_equal(sc_predict_items.take(&model, item, 0, logits), SC_OK);
        const sc_predict_mask *next = &item->masks[0];
        assert_int_equal(next->n, cases[i].n);
        for (int k = 0; k < next->n; k++) {
            assert_int_equal(next->tokens[k], cases[i].expected[k]);
            /* of the whole softmax, what is left out included; both sums are double, in another order at most */
            assert_true(fabs(next->probabilities[k] - exp((double)logits[next->tokens[k]] - 9) / sum) < 1e-12);
        }
        sc_predict_item_destroy(&item);
    }
}

static void a_diverged_model_is_an_error(void **state)
{
    (void)state;
    const float logits[N + 1] = {0, 1, NAN, 0, 0, 0};
    sc_predict_item *item = prepare("a");
    assert_int_equal(sc_predict_items.take(&model, item, 0, logits), SC_DATA_LOSS);
    sc_predict_item_destroy(&item);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_items_that_are_known_are_the_row),
        cmocka_unit_test(the_likeliest_come_first),
        cmocka_unit_test(a_diverged_model_is_an_error),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
