/* Logistic regression with a ridge penalty, fitted by Newton's method on standardised features. */

#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>

/* Rows of `features` doubles each, one row a patient; labels are 1 (malignant) or 0 (benign). */
struct samples {
    size_t count;
    size_t features;
    const double *values;
    const double *labels;
};

/* The log-odds of a row x are intercept + sum of coefficients[i] * x[i]; x as it is, not standardised. */
struct model {
    size_t features;
    double intercept;
    double *coefficients;
};

/* Half the penalty on the sum of squares of the standardised coefficients; the intercept has none. */
#define RIDGE 1.0

/* Newton's method squares its error in each step, so this many are enough, and always the same number are made. */
enum { NEWTON_STEPS = 25 };

/* False means that there are no samples of both classes, no memory, or that the steps did not converge. */
bool fit(const struct samples *samples, struct model *model);

double log_odds(const struct model *model, const double *row);

/* 1 / (1 + exp(-x)), and log(1 + exp(x)), without overflow. */
double sigmoid(double x);
double softplus(double x);

#endif
