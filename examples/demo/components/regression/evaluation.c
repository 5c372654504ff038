#include "evaluation.h"

#include <stdlib.h>

struct scored {
    double score;
    bool malignant;
};

static int compare_scores(const void *left, const void *right) {
    double a = ((const struct scored *)left)->score;
    double b = ((const struct scored *)right)->score;
    return (a > b) - (a < b);
}

/* The area by Mann and Whitney's count: for each malignant sample the benign ones below it, and half of those equal. */
static double area_under_curve(struct scored *scored, size_t count, size_t malignant) {
    qsort(scored, count, sizeof *scored, compare_scores);
    double wins = 0;
    size_t benign_below = 0;
    for (size_t start = 0, end; start < count; start = end) {
        size_t positives = 0;
        for (end = start; end < count && scored[end].score == scored[start].score; end++) {
            positives += scored[end].malignant;
        }
        size_t negatives = end - start - positives;
        wins += (double)positives * ((double)benign_below + (double)negatives / 2);
        benign_below += negatives;
    }
    return wins / ((double)malignant * (double)(count - malignant));
}

static void count_outcome(struct evaluation *evaluation, bool malignant, bool predicted) {
    evaluation->true_positives += malignant && predicted;
    evaluation->false_positives += !malignant && predicted;
    evaluation->true_negatives += !malignant && !predicted;
    evaluation->false_negatives += malignant && !predicted;
}

bool evaluate(const struct model *model, const struct samples *samples, struct evaluation *evaluation) {
    struct scored *scored = calloc(samples->count, sizeof *scored);
    if (scored == NULL) {
        return false;
    }
    *evaluation = (struct evaluation){.samples = samples->count};
    double loss = 0;
    for (size_t i = 0; i < samples->count; i++) {
        double score = log_odds(model, &samples->values[i * samples->features]);
        scored[i] = (struct scored){score, samples->labels[i] > 0};
        count_outcome(evaluation, scored[i].malignant, score >= 0);
        loss += softplus(score) - samples->labels[i] * score;
    }
    size_t malignant = evaluation->true_positives + evaluation->false_negatives;
    if (malignant == 0 || malignant == samples->count) {
        return false;
    }
    evaluation->accuracy =
        (double)(evaluation->true_positives + evaluation->true_negatives) / (double)samples->count;
    evaluation->log_loss = loss / (double)samples->count;
    evaluation->area = area_under_curve(scored, samples->count, malignant);
    return true;
}
