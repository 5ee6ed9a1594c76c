/* Any bytes as a prediction file: refused with a message, or reported on in every format. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/report/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The same bytes as sets of labels. */
static void report_sets(const sc_text *text)
{
    sc_label_sets sets = {0};
    const sc_status status = sc_label_sets_read(text, ",", &sets);
    if (status != SC_OK && !sc_status_message()[0])
        abort();
    for (size_t i = 0; status == SC_OK && i < (size_t)sets.labels.n; i++)
        if (sets.counts[i].correct > sets.counts[i].right || sets.counts[i].correct > sets.counts[i].predicted ||
            sets.counts[i].right > sets.n)
            abort();
    for (int json = 0; status == SC_OK && json < 2; json++) {
        char *report = NULL;
        size_t n = 0;
        FILE *out = open_memstream(&report, &n);
        if (!out || sc_report_print_sets(&sets, json ? SC_REPORT_JSON : SC_REPORT_SKLEARN, 2, out) != SC_OK)
            abort();
        fclose(out);
        free(report);
    }
    sc_label_sets_clear(&sets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const sc_text text = {.name = "predictions", .bytes = (const char *)data, .n_bytes = size};
    sc_predictions predictions = {0};
    const sc_status status = sc_predictions_read(&text, &predictions);
    if (status != SC_OK && !sc_status_message()[0])
        abort();
    for (sc_report_format format = SC_REPORT_SKLEARN; status == SC_OK && format <= SC_REPORT_JSON; format++) {
        char *report = NULL;
        size_t n = 0;
        FILE *out = open_memstream(&report, &n);
        const bool entities = format == SC_REPORT_SEQEVAL || format == SC_REPORT_CONLLEVAL;
        if (!out || (sc_report_print(&predictions, format, 2, out) != SC_OK && !entities))
            abort();
        fclose(out);
        free(report);
    }
    sc_predictions_clear(&predictions);
    report_sets(&text);
    return 0;
}
