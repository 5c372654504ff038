/*
 * With features z standardised to mean 0 and standard deviation 1, and w[0] the intercept, the loss is
 *
 *     sum over samples of softplus(eta) - y eta,   eta = w[0] + w[1] z[1] + ...,   plus RIDGE/2 (w[1]^2 + ...)
 *
 * It is convex; its gradient is sum of (p - y) z + RIDGE w and its Hessian sum of p (1 - p) z z' + RIDGE, with
 * p = sigmoid(eta). A step solves Hessian d = gradient by Cholesky's decomposition and takes d from w.
 */

#include "model.h"

#include <math.h>
#include <stdlib.h>

/* The largest part of the gradient, a sample, that still counts as converged. */
#define CONVERGED 1e-10

/* What the steps work on; `size` is the number of features and one, for the intercept. */
struct problem {
    size_t size;
    size_t samples;
    const double *rows; /* Standardised, with a 1 in front. */
    const double *labels;
    double *weights;
    double *gradient;
    double *hessian;
};

double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

double softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

static double dot(const double *left, const double *right, size_t size) {
    double sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum += left[i] * right[i];
    }
    return sum;
}

double log_odds(const struct model *model, const double *row) {
    return model->intercept + dot(model->coefficients, row, model->features);
}

/* Mean and standard deviation of one feature; a feature that is constant has the scale 1, and so the coefficient 0. */
static void measure(const struct samples *samples, size_t feature, double *mean, double *scale) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < samples->count; i++) {
        sum += samples->values[i * samples->features + feature];
    }
    *mean = sum / (double)samples->count;
    for (size_t i = 0; i < samples->count; i++) {
        double distance = samples->values[i * samples->features + feature] - *mean;
        squares += distance * distance;
    }
    double deviation = sqrt(squares / (double)samples->count);
    *scale = deviation > 1e-12 * fabs(*mean) ? deviation : 1;
}

static void standardise(const struct samples *samples, const double *means, const double *scales, double *rows) {
    for (size_t i = 0; i < samples->count; i++) {
        *rows++ = 1;
        for (size_t j = 0; j < samples->features; j++) {
            *rows++ = (samples->values[i * samples->features + j] - means[j]) / scales[j];
        }
    }
}

/* Gradient and the lower half of the Hessian at the present weights. */
static void differentiate(const struct problem *problem) {
    size_t size = problem->size;
    for (size_t j = 0; j < size; j++) {
        double penalty = j > 0 ? RIDGE : 0;
        problem->gradient[j] = penalty * problem->weights[j];
        for (size_t k = 0; k <= j; k++) {
            problem->hessian[j * size + k] = j == k ? penalty : 0;
        }
    }
    for (size_t i = 0; i < problem->samples; i++) {
        const double *row = &problem->rows[i * size];
        double p = sigmoid(dot(problem->weights, row, size));
        for (size_t j = 0; j < size; j++) {
            problem->gradient[j] += (p - problem->labels[i]) * row[j];
            for (size_t k = 0; k <= j; k++) {
                problem->hessian[j * size + k] += p * (1 - p) * row[j] * row[k];
            }
        }
    }
}

/* Turn the lower half of a symmetric matrix into its Cholesky factor; false where it is not positive definite. */
static bool decompose(double *matrix, size_t size) {
    for (size_t j = 0; j < size; j++) {
        double *row = &matrix[j * size];
        for (size_t k = 0; k < j; k++) {
            row[k] = (row[k] - dot(row, &matrix[k * size], k)) / matrix[k * size + k];
        }
        double square = row[j] - dot(row, row, j);
        if (!(square > 0)) {
            return false;
        }
        row[j] = sqrt(square);
    }
    return true;
}

/* Solve factor factor' x = vector in place. */
static void solve(const double *factor, double *vector, size_t size) {
    for (size_t j = 0; j < size; j++) {
        vector[j] = (vector[j] - dot(&factor[j * size], vector, j)) / factor[j * size + j];
    }
    for (size_t j = size; j-- > 0;) {
        for (size_t k = j + 1; k < size; k++) {
            vector[j] -= factor[k * size + j] * vector[k];
        }
        vector[j] /= factor[j * size + j];
    }
}

static bool minimise(const struct problem *problem) {
    for (int step = 0; step < NEWTON_STEPS; step++) {
        differentiate(problem);
        if (!decompose(problem->hessian, problem->size)) {
            return false;
        }
        solve(problem->hessian, problem->gradient, problem->size);
        for (size_t j = 0; j < problem->size; j++) {
            problem->weights[j] -= problem->gradient[j];
        }
    }
    differentiate(problem);
    for (size_t j = 0; j < problem->size; j++) {
        if (!(fabs(problem->gradient[j]) < CONVERGED * (double)problem->samples)) {
            return false;
        }
    }
    return true;
}

static bool has_both_classes(const struct samples *samples) {
    size_t malignant = 0;
    for (size_t i = 0; i < samples->count; i++) {
        malignant += samples->labels[i] > 0;
    }
    return malignant > 0 && malignant < samples->count;
}

bool fit(const struct samples *samples, struct model *model) {
    size_t size = samples->features + 1;
    double *means = calloc(size, sizeof *means);
    double *scales = calloc(size, sizeof *scales);
    double *rows = calloc(samples->count, size * sizeof *rows);
    double *weights = calloc(size, sizeof *weights);
    double *gradient = calloc(size, sizeof *gradient);
    double *hessian = calloc(size * size, sizeof *hessian);
    double *coefficients = calloc(size, sizeof *coefficients);
    if (!means || !scales || !rows || !weights || !gradient || !hessian || !coefficients ||
        !has_both_classes(samples)) {
        return false;
    }
    for (size_t j = 0; j < samples->features; j++) {
        measure(samples, j, &means[j], &scales[j]);
    }
    standardise(samples, means, scales, rows);
    struct problem problem = {size, samples->count, rows, samples->labels, weights, gradient, hessian};
    if (!minimise(&problem)) {
        return false;
    }
    *model = (struct model){samples->features, weights[0], coefficients};
    for (size_t j = 0; j < samples->features; j++) {
        coefficients[j] = weights[j + 1] / scales[j];
        model->intercept -= coefficients[j] * means[j];
    }
    return true;
}
