/* How a data file of texts with labels is to be read: what the keys of the section data say.
 *
 *   data.format        text-label  a text, a tab, its label; a line each
 *                      label-text  the same the other way round
 *                      csv         RFC 4180 with a header: commas, double quotes, line breaks inside quotes
 *                      jsonl       a JSON object a line
 *                      conll       a word a line with its tag in a column, an empty line between sentences
 *                      items       for a recommender: a user, an item and a time in columns of a line (interactions.h)
 *                      sequences   the same as ready sequences: a user's items a line
 *   data.text_column   csv, jsonl: the column or field of the text ("text")
 *   data.pair_column   csv, jsonl: that of a second text, if there is one ("")
 *   data.label_column  csv, jsonl: that of the label ("label"); a number is a label by its digits
 *   data.label_separator
 *                      with model.multi_label: what stands between the labels of a text (","); jsonl has an array of them
 *   data.word_column, data.tag_column
 *                      conll: the number of the column, from 1, or from -1 at the last (1 and -1) */
#ifndef SC_DATA_FORMAT_H
#define SC_DATA_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sc_data_format {
    SC_DATA_TEXT_LABEL,
    SC_DATA_LABEL_TEXT,
    SC_DATA_CSV,
    SC_DATA_JSONL,
    SC_DATA_CONLL,
    SC_DATA_ITEMS,
    SC_DATA_SEQUENCES,
} sc_data_format;

/* The names above; false if `name` is none. */
bool sc_data_format_parse(const char *name, sc_data_format *out);

/* Borrows its texts. */
typedef struct sc_data_columns {
    const char *text, *pair, *label; /* pair: "" for none */
    int word, tag;
    const char *label_separator; /* NULL: a text has one label */
} sc_data_columns;

sc_data_columns sc_data_columns_defaults(void);

/* Whether item i of n is one of the round (n * share) that a split by seed sets aside: each item with the same probability,
 * always the same ones. 0 <= share <= 1. */
bool sc_data_split_takes(uint64_t seed, uint64_t n, double share, uint64_t i);

#endif
