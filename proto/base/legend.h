/* The letters and limits that the whole project uses.
 *
 *   B   sequences in a micro-batch           S   stages (one worker each)
 *   T   tokens in a sequence                 K   chunks (virtual stages) per worker
 *   C   channels (hidden size)               M   micro-batches in a step
 *   NH  attention heads, HS = C / NH         R   data-parallel replicas
 *   V   vocabulary size                      L   transformer layers
 *   N   rows of a matrix, B * T where it holds tokens
 *
 * A tensor is row-major, its last axis dense. Gradients are named d<tensor>.
 * A virtual stage v of S * K is chunk v / S of worker v % S (with K = 1 simply worker v). */
#ifndef SC_LEGEND_H
#define SC_LEGEND_H

enum {
    SC_MAX_STAGES = 256,        /* workers in one pipeline */
    SC_MAX_CHUNKS = 16,         /* virtual stages per worker */
    SC_MAX_MICROBATCHES = 4096, /* per step */
    SC_MAX_LAYERS = 1024,
    SC_MAX_DIMS = 4, /* axes of a tensor */
    SC_NAME_BYTES = 96, /* a parameter's name with its NUL */
};

#endif
