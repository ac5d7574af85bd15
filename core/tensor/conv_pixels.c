#include "core/tensor/conv_pixels.h"

#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"

typedef float eight __attribute__((vector_size(32)));
typedef int32_t pick __attribute__((vector_size(32)));

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (pick){__VA_ARGS__})
#endif

/* Pairs, then pairs of pairs, then halves: eight rows of v become eight columns. */
LIP_INLINE void turn(eight v[8]) {
  eight p[8], q[8];
  for (size_t i = 0; i < 8; i += 2) {
    p[i] = SHUFFLE(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    p[i + 1] = SHUFFLE(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (size_t i = 0; i < 8; i += 4)
    for (size_t j = 0; j < 2; j++) {
      q[i + 2 * j] = SHUFFLE(p[i + j], p[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      q[i + 2 * j + 1] = SHUFFLE(p[i + j], p[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (size_t i = 0; i < 4; i++) {
    v[i] = SHUFFLE(q[i], q[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = SHUFFLE(q[i], q[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

/* Where the next eight of n begin: the last ones overlap those before, so that there is no rest. */
LIP_INLINE size_t next_eight(size_t i, size_t n) {
  return i + 16 <= n || i + 8 == n ? i + 8 : n - 8;
}

LIP_HOT void lip_pixels_spread(float *to, const size_t *place, size_t n, const float *from, size_t rows,
                               size_t step) {
  if (rows < 8 || n < 8) {
    for (size_t r = 0; r < rows; r++)
      for (size_t i = 0; i < n; i++) to[place[i] + r] = from[r * step + i];
    return;
  }
  for (size_t i = 0; i < n; i = next_eight(i, n))
    for (size_t r = 0; r < rows; r = next_eight(r, rows)) {
      eight v[8];
      for (size_t j = 0; j < 8; j++) memcpy(&v[j], from + (r + j) * step + i, sizeof v[j]);
      turn(v);
      for (size_t j = 0; j < 8; j++) memcpy(to + place[i + j] + r, &v[j], sizeof v[j]);
    }
}

LIP_HOT void lip_pixels_collect(float *to, size_t rows, size_t step, const float *from, const size_t *place,
                                size_t n, float beta) {
  if (rows < 8 || n < 8 || beta != 0) {
    for (size_t r = 0; r < rows; r++)
      for (size_t i = 0; i < n; i++) {
        float *at = to + r * step + i, v = from[place[i] + r];
        *at = beta != 0 ? *at + v : v;
      }
    return;
  }
  for (size_t i = 0; i < n; i = next_eight(i, n))
    for (size_t r = 0; r < rows; r = next_eight(r, rows)) {
      eight v[8];
      for (size_t j = 0; j < 8; j++) memcpy(&v[j], from + place[i + j] + r, sizeof v[j]);
      turn(v);
      for (size_t j = 0; j < 8; j++) memcpy(to + (r + j) * step + i, &v[j], sizeof v[j]);
    }
}

LIP_HOT void lip_pixels_sum(double *restrict sum, size_t rows, const float *restrict from, size_t n,
                            size_t step) {
  for (size_t p = 0; p < n; p++)
    for (size_t i = 0; i < rows; i++) sum[i] += (double)from[p * step + i];
}
