/* Class weights: how much a target's loss counts in training, by its label, so that a loss is sum (w l) / sum (w), as that of
 * torch.nn.CrossEntropyLoss (weight).
 *
 * They are named, LABEL=WEIGHT each, and a label that is not named weighs 1; or `balanced`, as scikit-learn has it: n / (K count)
 * of n targets with K labels.  Pure; thread: any. */
#ifndef SC_CLASS_WEIGHTS_H
#define SC_CLASS_WEIGHTS_H

#include "coordinator/data/labels.h"

/* texts: train.class_weights, at least one; counts: [labels->n] targets of each label in the training data. Returns owned in *out,
 * for free (), [labels->n]. Errors, which the caller gives a place: SC_INVALID naming the text and the label; SC_RESOURCE_EXHAUSTED. */
sc_status sc_class_weights_new(char *const *texts, int n_texts, const sc_labels *labels, const uint64_t *counts,
                               float **out);

#endif
