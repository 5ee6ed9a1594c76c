/* Any bytes as a file of answers: refused with a message, or an answer for every label, however the text to answer looks. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/run/answers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sc_labels labels;
    static const char *const names[] = {"a", "b", "card_arrival"};
    int32_t id;
    for (int32_t i = labels.n; i < 3; i++)
        if (sc_labels_add(&labels, names[i], strlen(names[i]), &id) != SC_OK)
            abort();
    sc_answers *answers = NULL;
    const sc_status status = sc_answers_parse((const char *)data, size, "answers", &labels, &answers);
    if ((status == SC_OK) != (answers != NULL) || (status != SC_OK && !sc_status_message()[0]))
        abort();
    for (int32_t i = 0; answers && i < labels.n; i++)
        for (int p = 0; p <= 2; p++) {
            char *answer = NULL;
            size_t n;
            bool known;
            if (sc_answers_give(answers, i, p / 2.0, "{text} }", 8, &answer, &n, &known) != SC_OK ||
                strlen(answer) != n)
                abort();
            if (p == 2 && !known)
                abort(); /* no threshold is above 1 */
            free(answer);
        }
    sc_answers_destroy(&answers);
    return 0;
}
