/* How well a model predicts samples that it was not fitted on. */

#ifndef EVALUATION_H
#define EVALUATION_H

#include "model.h"

/* A sample counts as predicted malignant where its probability is at least one half. */
struct evaluation {
    size_t samples;
    size_t true_positives;
    size_t false_positives;
    size_t true_negatives;
    size_t false_negatives;
    double accuracy;
    double log_loss; /* The mean over the samples, in nats. */
    double area;     /* Under the ROC curve: how often a malignant sample has the higher score; a tie counts a half. */
};

/* False means that there are no samples of both classes, or no memory. */
bool evaluate(const struct model *model, const struct samples *samples, struct evaluation *evaluation);

#endif
