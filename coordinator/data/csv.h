/* Tables of comma-separated values, RFC 4180: fields between commas; a field in double quotes may hold commas, line breaks, and
 * quotes that are doubled; lines end with CR LF or LF. Beyond the RFC, a quote inside a field that does not begin with one is
 * taken as it is, and empty lines are skipped. */
#ifndef SC_CSV_H
#define SC_CSV_H

#include "coordinator/data/tokenizer.h"

/* Without quotes; borrowed. */
typedef struct sc_csv_field {
    const char *text;
    size_t n;
} sc_csv_field;

typedef struct sc_csv_row {
    const sc_csv_field *fields;
    int n;
    uint64_t line; /* where the row begins, from 1 */
} sc_csv_row;

/* The message of a failure lacks file and line, which are added. */
typedef sc_status (*sc_csv_use)(void *context, const sc_csv_row *row);

/* Gives each row to `use`, in order. Errors: those of `use`; SC_INVALID, naming file and line (a quoted field that does not
 * end, or goes on behind its quote), SC_RESOURCE_EXHAUSTED. */
sc_status sc_csv_read(const sc_text *file, sc_csv_use use, void *context);

#endif
