#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/items_fixture.h"

#include <stdio.h>

static sc_interactions in;

static int clear(void **state)
{
    (void)state;
    sc_interactions_clear(&in);
    return 0;
}

static const sc_interaction_columns movielens = {"::", 1, 2, 4};

static sc_status read_as(const char *bytes, const sc_interaction_columns *columns)
{
    const sc_text file = {.name = "f", .bytes = bytes, .n_bytes = strlen(bytes)};
    return columns ? sc_interactions_read(&in, &file, columns) : sc_interactions_read_sequences(&in, &file);
}

static void read_good(const char *bytes, const sc_interaction_columns *columns)
{
    if (read_as(bytes, columns) != SC_OK)
        fail_msg("%s", sc_status_message());
}

static void assert_refused(const char *bytes, const sc_interaction_columns *columns, const char *message)
{
    clear(NULL);
    assert_int_equal(read_as(bytes, columns), SC_INVALID);
    if (!strstr(sc_status_message(), message))
        fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), message);
}

/* All in order, as "user:item". */
static void assert_order(const char *expected)
{
    char text[512] = "";
    sc_interactions_sort(&in);
    for (size_t i = 0; i < in.n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d:%s", i ? " " : "", (int)in.all[i].user,
                 in.items.names[in.all[i].item]);
    assert_string_equal(text, expected);
}

static void lines_of_fields(void **state)
{
    (void)state;
    read_good("\xEF\xBB\xBFu::c::7::30\r\nv::a::1::5\n\n u :: b ::2:: 10 \nu::d::9::30\nv::c::3::-4.5", &movielens);
    assert_int_equal(in.n_users, 2);
    /* u's c and d are of the same time, and stay as they stood */
    assert_order("0:b 0:c 0:d 1:c 1:a");
    /* users go on in another file, whose columns may differ */
    const sc_interaction_columns other = {"\t", 3, 1, 2};
    read_good("e\t20\tu\textra\na\t1\tw\n", &other);
    assert_int_equal(in.n_users, 3);
    assert_order("0:b 0:e 0:c 0:d 1:c 1:a 2:a");
}

static void lines_without_a_time_are_in_order(void **state)
{
    (void)state;
    const sc_interaction_columns columns = {",", 1, 2, 0};
    read_good("u,z\nv,b\nu,a\n", &columns);
    assert_order("0:z 0:a 1:b");
}

static void lines_of_items(void **state)
{
    (void)state;
    read_good("a b\tc  a\n\nb \r\n", NULL);
    assert_int_equal(in.n_users, 2);
    assert_order("0:a 0:b 0:c 0:a 1:b");
    /* a user with a name is another than those without */
    read_good("0::x::1::1\n", &movielens);
    assert_order("0:a 0:b 0:c 0:a 1:b 2:x");
}

static void mistakes_are_told_with_their_place(void **state)
{
    (void)state;
    char long_name[SC_ITEM_NAME_BYTES + 20] = "u::";
    memset(long_name + 3, 'x', SC_ITEM_NAME_BYTES + 1);
    strcat(long_name, "::1::1");
    assert_refused("u::a::1::2\nu::b::3\n", &movielens,
                   "f:2: has no column 4 for the time; columns stand between '::'");
    assert_refused("u::a::1::2\n\nu\n", &movielens, "f:3: has no column 2 for the item");
    assert_refused("u::a::1::soon\n", &movielens, "f:1: the time 'soon' is not a number");
    assert_refused("u::a::1::1e999\n", &movielens, "f:1: the time '1e999' is not a number");
    assert_refused("u::a::1::\n", &movielens, "f:1: the time '' is not a number");
    assert_refused("u::::1::2\n", &movielens, "f:1: has an empty item");
    assert_refused("::a::1::2\n", &movielens, "f:1: has an empty user");
    assert_refused("u::The Bank::1::2\n", &movielens, "f:1: the item 'The Bank' holds a blank");
    assert_refused(long_name, &movielens, "bytes; allowed: at most 254");
    assert_refused("u::a\xFF::1::2\n", &movielens, "f:1:5: byte 0xFF");
    assert_refused("\n \n", &movielens, "f: holds no item");
    assert_refused("", NULL, "f: holds no item");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(lines_of_fields, clear),
        cmocka_unit_test_teardown(lines_without_a_time_are_in_order, clear),
        cmocka_unit_test_teardown(lines_of_items, clear),
        cmocka_unit_test_teardown(mistakes_are_told_with_their_place, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
