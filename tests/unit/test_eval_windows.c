/* Each token but the first is a target exactly once, whatever the sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "coordinator/run/eval_windows.h"

enum { MOST = 40 };
static uint16_t ids[MOST];
static sc_token_part part = {.name = "memory", .data = ids, .fd = -1};

static sc_eval_windows windows_of(uint64_t n, int B, int T)
{
    for (int i = 0; i < MOST; i++)
        ids[i] = (uint16_t)(1000 + i);
    part.n = n;
    return (sc_eval_windows){.tokens = {.parts = &part, .n_parts = 1, .n = n}, .B = B, .T = T};
}

static void every_token_but_the_first_is_a_target_once(void **state)
{
    (void)state;
    for (uint64_t n = 2; n <= MOST; n++)
        for (int B = 1; B <= 4; B++)
            for (int T = 1; T <= 9; T++) {
                sc_eval_windows w = windows_of(n, B, T);
                int32_t tokens[4 * 9], targets[4 * 9];
                uint64_t counted, all = 0, n_rows = 0, next = 1;
                for (uint64_t m = 0; m < sc_eval_windows_n_microbatches(&w); m++) {
                    int rows = sc_eval_windows_rows(&w, m);
                    assert_in_range(rows, 1, B);
                    assert_int_equal(sc_eval_windows_get(&w, m, tokens, targets, &counted), SC_OK);
                    for (int i = 0; i < rows * T; i++) {
                        if (targets[i] < 0) { /* only behind the last */
                            assert_int_equal(next, n);
                            assert_int_equal(tokens[i], 0);
                            continue;
                        }
                        assert_int_equal(targets[i], 1000 + (int)next);
                        assert_int_equal(tokens[i], 999 + (int)next);
                        assert_int_equal(i % T, (int)((next - 1) % (uint64_t)T)); /* windows begin where they should */
                        next++;
                    }
                    assert_true(targets[(rows - 1) * T] >= 0); /* no row without a target */
                    all += counted;
                    n_rows += (uint64_t)rows;
                }
                assert_int_equal(next, n);
                assert_int_equal(all, n - 1);
                assert_int_equal(n_rows, sc_eval_windows_n(&w));
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_token_but_the_first_is_a_target_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
