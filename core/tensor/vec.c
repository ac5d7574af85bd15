/* Sums run in 16 lanes (i mod 16) that are added pairwise at the end: a fixed order the compiler can vectorise
 * without being allowed to reorder anything. */
#include "core/tensor/vec.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"

enum { LANES = 16 };

static double add_lanes(const double *lane) {
  double a[LANES];
  for (int i = 0; i < LANES; i++) a[i] = lane[i];
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) a[i] += a[i + half];
  return a[0];
}

LIP_HOT void lip_vec_axpy(float *restrict y, float a, const float *restrict x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

LIP_HOT void lip_vec_scale(float *x, float a, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] *= a;
}

LIP_HOT void lip_vec_add_rows(float *restrict y, const float *restrict b, size_t B, size_t N) {
  for (size_t r = 0; r < B; r++)
    for (size_t i = 0; i < N; i++) y[r * N + i] += b[i];
}

LIP_HOT void lip_vec_sum_rows(float *restrict out, const float *restrict y, size_t ld, size_t B, size_t N,
                              float beta) {
  if (beta == 0)
    for (size_t i = 0; i < N; i++) out[i] = 0;
  for (size_t r = 0; r < B; r++)
    for (size_t i = 0; i < N; i++) out[i] += y[r * ld + i];
}

LIP_HOT double lip_vec_dot(const float *restrict x, const float *restrict y, size_t n) {
  double lane[LANES] = {0};
  size_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (size_t k = 0; k < LANES; k++) lane[k] += (double)x[i + k] * (double)y[i + k];
  for (size_t k = 0; i + k < n; k++) lane[k] += (double)x[i + k] * (double)y[i + k];
  return add_lanes(lane);
}

LIP_HOT double lip_vec_sum(const float *x, size_t n) {
  double lane[LANES] = {0};
  size_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (size_t k = 0; k < LANES; k++) lane[k] += (double)x[i + k];
  for (size_t k = 0; i + k < n; k++) lane[k] += (double)x[i + k];
  return add_lanes(lane);
}

LIP_HOT double lip_vec_abs_sum(const float *x, size_t n) {
  double lane[LANES] = {0};
  size_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (size_t k = 0; k < LANES; k++) lane[k] += (double)fabsf(x[i + k]);
  for (size_t k = 0; i + k < n; k++) lane[k] += (double)fabsf(x[i + k]);
  return add_lanes(lane);
}

double lip_vec_square_sum(const float *x, size_t n) {
  return lip_vec_dot(x, x, n);
}

/* Without their sign bit the bits of floats are ordered as integers, infinity and NaN on top. */
LIP_HOT static uint32_t top_bits(const float *x, size_t n) {
  uint32_t top = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    bits &= 0x7fffffffu;
    top = bits > top ? bits : top;
  }
  return top;
}

float lip_vec_abs_max(const float *x, size_t n) {
  uint32_t bits = top_bits(x, n);
  float top;
  memcpy(&top, &bits, sizeof top);
  return top;
}

bool lip_vec_all_finite(const float *x, size_t n) {
  return top_bits(x, n) < 0x7f800000u;
}
