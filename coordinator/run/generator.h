/* Generation: text from a directory of weights, over a pipeline of local workers.
 *
 * Each token is drawn from the logits behind the last `context` tokens: one forward-only step of a single micro-batch, whose
 * last position's logits come back. As long as the text fits the context, the stages keep its keys and values: the first
 * step brings the prompt, each further one the token drawn last. From then on the window slides by one token a step, which
 * gives every token in it another position, and it is computed anew. */
#ifndef SC_GENERATOR_H
#define SC_GENERATOR_H

#include "coordinator/run/sampler.h"

#include <stdio.h>

typedef struct sc_generator_options {
    const char *dir;    /* a run directory, or a directory of weights */
    const char *prompt; /* NULL or "": begins with the tokenizer's first newline, or its token 0 */
    int n_tokens;       /* to generate */
    sc_sampler_settings sampler;
    int workers; /* S */
    int threads; /* per worker; 0: a share of the cores */
    FILE *out;   /* the prompt and what follows, as it comes */
} sc_generator_options;

/* Errors: SC_NOT_FOUND, SC_INVALID (prompt, directory), SC_DATA_LOSS (weights), what stops a worker; SC_CANCELLED. */
sc_status sc_generator_run(const sc_generator_options *options);

#endif
