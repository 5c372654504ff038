/*
 * A network of mnist-8's geometry, one image after the other: six operators of ONNX in f32.
 *
 * The innermost loop of a convolution goes along a row of its output, so that a compiler may do several at once without
 * another order of any sum, for two channels at a time. Rows have room for whole vectors; what is beyond the image is
 * computed and never looked at.
 */

#include <stdlib.h>

#include "kernel.h"

enum { KERNEL = 5, BORDER = 2, CLASSES = 10 };
enum { SIDE1 = 28, ROW1 = 28, CHANNELS1 = 8, POOL1 = 2 };
enum { SIDE2 = 14, ROW2 = 16, CHANNELS2 = 16, POOL2 = 3 };
enum { SIDE3 = 4, FLAT = CHANNELS2 * SIDE3 * SIDE3 };

/* Of the ONNX model, in its order. */
extern const float conv1[CHANNELS1 * KERNEL * KERNEL], bias1[CHANNELS1];
extern const float conv2[CHANNELS2 * CHANNELS1 * KERNEL * KERNEL], bias2[CHANNELS2];
extern const float dense[FLAT * CLASSES], bias3[CLASSES];

static float (*all_images)[SIDE1][SIDE1];
static float (*all_scores)[CLASSES];
static size_t count;

/* Where each convolution reads: its input, with zeros around. */
static float bordered1[1][SIDE1 + 2 * BORDER][ROW1 + 2 * BORDER];
static float bordered2[CHANNELS1][SIDE2 + 2 * BORDER][ROW2 + 2 * BORDER];
static float active1[CHANNELS1][SIDE1][ROW1];
static float active2[CHANNELS2][SIDE2][ROW2];
static float flat[FLAT];

uint64_t prepare(uint64_t size, uint64_t seed) {
    count = (size_t)size;
    all_images = malloc(count * sizeof *all_images);
    all_scores = calloc(count, sizeof *all_scores);
    if (all_images == NULL || all_scores == NULL) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t y = 0; y < SIDE1; y++) {
            for (size_t x = 0; x < SIDE1; x++) {
                all_images[i][y][x] = (float)next_fraction(&seed);
            }
        }
    }
    return 1;
}

/*
 * One row of weights on a row of an image, for two channels. Either way adds in the same order, and each compiler has the
 * one that it makes more of: clang keeps all sums in registers if it takes one weight after the other, gcc does not.
 */
#if defined(__clang__) && !defined(__FAST_MATH__)
#define ADD_ROW(ROW)                                                                                                   \
    _Pragma("GCC unroll 1") for (size_t kx = 0; kx < KERNEL; kx++) {                                                   \
        for (size_t x = 0; x < ROW; x++) {                                                                             \
            sums0[x] += w[kx] * row[x + kx], sums1[x] += v[kx] * row[x + kx];                                          \
        }                                                                                                              \
    }
#else
#define ADD_ROW(ROW)                                                                                                   \
    for (size_t x = 0; x < ROW; x++) {                                                                                 \
        float sum0 = sums0[x] + w[0] * row[x], sum1 = sums1[x] + v[0] * row[x];                                        \
        sum0 += w[1] * row[x + 1], sum1 += v[1] * row[x + 1];                                                          \
        sum0 += w[2] * row[x + 2], sum1 += v[2] * row[x + 2];                                                          \
        sum0 += w[3] * row[x + 3], sum1 += v[3] * row[x + 3];                                                          \
        sums0[x] = sum0 + w[4] * row[x + 4], sums1[x] = sum1 + v[4] * row[x + 4];                                      \
    }
#endif

/* Conv, Add and Relu: each sum in the order of channels, then rows, then columns of the weights, the bias last. */
#define CONVOLVE(name, CHANNELS_IN, CHANNELS_OUT, SIDE, ROW)                                                           \
    static void name(float (*in)[SIDE + 2 * BORDER][ROW + 2 * BORDER], const float *weights, const float *bias,        \
                     float (*out)[SIDE][ROW]) {                                                                        \
        enum { EACH = CHANNELS_IN * KERNEL * KERNEL };                                                                 \
        for (size_t o = 0; o < CHANNELS_OUT; o += 2) {                                                                 \
            for (size_t y = 0; y < SIDE; y++) {                                                                        \
                float sums0[ROW] = {0}, sums1[ROW] = {0};                                                              \
                const float *w = weights + o * EACH, *v = w + EACH;                                                    \
                for (size_t c = 0; c < CHANNELS_IN; c++) {                                                             \
                    for (size_t ky = 0; ky < KERNEL; ky++, w += KERNEL, v += KERNEL) {                                 \
                        const float *row = in[c][y + ky];                                                              \
                        ADD_ROW(ROW)                                                                                   \
                    }                                                                                                  \
                }                                                                                                      \
                for (size_t x = 0; x < ROW; x++) {                                                                     \
                    float sum0 = sums0[x] + bias[o], sum1 = sums1[x] + bias[o + 1];                                    \
                    out[o][y][x] = sum0 > 0 ? sum0 : 0;                                                                \
                    out[o + 1][y][x] = sum1 > 0 ? sum1 : 0;                                                            \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

CONVOLVE(convolve1, 1, CHANNELS1, SIDE1, ROW1)
CONVOLVE(convolve2, CHANNELS1, CHANNELS2, SIDE2, ROW2)

/* MaxPool of one place; `stride` is from one row to the next. */
static float greatest(const float *corner, size_t stride, size_t pool) {
    float most = *corner;
    for (size_t y = 0; y < pool; y++) {
        for (size_t x = 0; x < pool; x++) {
            float it = corner[y * stride + x];
            most = it > most ? it : most;
        }
    }
    return most;
}

static void pool1(void) {
    for (size_t c = 0; c < CHANNELS1; c++) {
        for (size_t y = 0; y < SIDE2; y++) {
            for (size_t x = 0; x < SIDE2; x++) {
                bordered2[c][y + BORDER][x + BORDER] = greatest(&active1[c][y * POOL1][x * POOL1], ROW1, POOL1);
            }
        }
    }
}

/* With Reshape, for what it writes is a row. */
static void pool2(void) {
    float *out = flat;
    for (size_t c = 0; c < CHANNELS2; c++) {
        for (size_t y = 0; y < SIDE3; y++) {
            for (size_t x = 0; x < SIDE3; x++) {
                *out++ = greatest(&active2[c][y * POOL2][x * POOL2], ROW2, POOL2);
            }
        }
    }
}

/* MatMul and Add. */
static void multiply(float *out) {
    float sums[CLASSES] = {0};
    for (size_t i = 0; i < FLAT; i++) {
        for (size_t j = 0; j < CLASSES; j++) {
            sums[j] += flat[i] * dense[i * CLASSES + j];
        }
    }
    for (size_t j = 0; j < CLASSES; j++) {
        out[j] = sums[j] + bias3[j];
    }
}

static void classify(size_t number) {
    for (size_t y = 0; y < SIDE1; y++) {
        memcpy(&bordered1[0][y + BORDER][BORDER], all_images[number][y], sizeof all_images[number][y]);
    }
    convolve1(bordered1, conv1, bias1, active1);
    pool1();
    convolve2(bordered2, conv2, bias2, active2);
    pool2();
    multiply(all_scores[number]);
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    uint64_t digest = 0;
    for (uint64_t k = 0; k < times; k++) {
        size_t number = (size_t)(k % count);
        classify(number);
        for (size_t j = 0; j < CLASSES; j++) {
            digest = digested_double(digest, (double)all_scores[number][j]);
        }
    }
    return digest;
}

double value(void) {
    double sum = 0;
    for (size_t i = 0; i < count * CLASSES; i++) {
        sum += (double)(i + 1) * (double)all_scores[i / CLASSES][i % CLASSES];
    }
    return sum;
}

#ifndef __wasm__
/* For whoever compares scores with those of another engine. */
SHOWN(images) const float *images(void) { return &all_images[0][0][0]; }
SHOWN(scores) const float *scores(void) { return &all_scores[0][0]; }
#endif
