#include "core/norm/quick.h"

#include <math.h>

#include "core/base/simd.h"
#include "core/norm/lanes.h"
#include "core/norm/quick_soft.h"
#include "core/norm/round.h"

enum { L = 16, PIECE = 2048 }; /* lanes; elements summed in float32 before they go to double */

/* Four float32 additions in a row (a product before them when squared), then at most n/256 + 20 additions of lanes in
 * double. */
double lip_quick_error(size_t n) {
  return 0x1p-22 + 0x1p-42 + lip_gamma(n / 256 + 24);
}
double lip_quick_square_error(size_t n) {
  return lip_quick_error(n) + 0x1p-24;
}

/* |x| or x^2 of the next vector, up to `k` of its lanes. */
LIP_INLINE void take(lip_f16 *v, const float *x, size_t k, int square) {
  lip_load16(v, x, k);
  *v = square ? *v * *v : (lip_f16)((lip_i16)*v & INT32_MAX);
}

LIP_INLINE double quick_sum(const float *x, size_t n, int square) {
  lip_d8 sum = {0};
  size_t i = 0;
  lip_f16 v[4], part[4];
  for (; i + 16 * L <= n; i += 16 * L) {
    for (size_t k = 0; k < 4; k++) {
      for (size_t l = 0; l < 4; l++) take(&v[l], x + i + (4 * k + l) * L, L, square);
      part[k] = (v[0] + v[1]) + (v[2] + v[3]);
    }
    part[0] = (part[0] + part[1]) + (part[2] + part[3]);
    lip_add_wide(&sum, &part[0]);
  }
  for (; i + 4 * L <= n; i += 4 * L) {
    for (size_t l = 0; l < 4; l++) take(&v[l], x + i + l * L, L, square);
    v[0] = (v[0] + v[1]) + (v[2] + v[3]);
    lip_add_wide(&sum, &v[0]);
  }
  for (; i < n; i += L) {
    take(&v[0], x + i, n - i, square);
    lip_add_wide(&sum, &v[0]);
  }
  return lip_sum_lanes(&sum);
}

LIP_HOT double lip_quick_abs_sum(const float *x, size_t n) {
  return quick_sum(x, n, 0);
}
LIP_HOT double lip_quick_square_sum(const float *x, size_t n) {
  return quick_sum(x, n, 1);
}

/* Bits of non-negative floats are ordered as integers: the sign of a difference is the comparison. */
LIP_INLINE void pick(lip_f16 *v, lip_i16 *over, int32_t level) {
  lip_i16 bits = (lip_i16)*v & INT32_MAX;
  *over = (level - bits) >> 31;
  *v = (lip_f16)(bits & *over);
}

LIP_INLINE int32_t bits_of(float t) {
  int32_t bits;
  memcpy(&bits, &t, sizeof bits);
  return bits;
}

/* Lanes below 2^27, added in pairs of 32 bits. */
LIP_INLINE size_t sum_counts(const lip_i16 *v) {
  lip_i8 half[2];
  uint64_t pair[4];
  memcpy(half, v, sizeof half);
  half[0] += half[1];
  memcpy(pair, &half[0], sizeof pair);
  pair[0] = (pair[0] + pair[1]) + (pair[2] + pair[3]);
  return (size_t)(pair[0] & UINT32_MAX) + (size_t)(pair[0] >> 32);
}

LIP_HOT lip_guess lip_quick_above(const float *x, size_t n, float t) {
  int32_t level = bits_of(t);
  lip_d8 sum = {0};
  lip_guess out = {0, 0};
  for (size_t first = 0; first < n;) {
    size_t last = n - first > PIECE ? first + PIECE : n, i = first;
    lip_f16 s0 = {0}, s1 = {0}, a, b;
    lip_i16 count = {0}, over_a, over_b;
    for (; i + 2 * L <= last; i += 2 * L) {
      lip_load16(&a, x + i, L);
      lip_load16(&b, x + i + L, L);
      pick(&a, &over_a, level);
      pick(&b, &over_b, level);
      s0 += a;
      s1 += b;
      count -= over_a + over_b;
    }
    for (; i < last; i += L) {
      lip_load16(&a, x + i, last - i);
      pick(&a, &over_a, level);
      s0 += a;
      count -= over_a;
    }
    s0 += s1;
    lip_add_wide(&sum, &s0);
    out.count += sum_counts(&count);
    first = last;
  }
  out.sum = lip_sum_lanes(&sum);
  return out;
}

/* Lane by lane: compilers widen to double best out of loops. */
LIP_HOT lip_active lip_active_above(const float *x, size_t n, float t) {
  double sum[L] = {0};
  float least[L];
  int32_t count[L] = {0};
  size_t i = 0;
  for (size_t k = 0; k < L; k++) least[k] = INFINITY;
  for (; i + L <= n; i += L)
    for (size_t k = 0; k < L; k++) {
      float a = fabsf(x[i + k]), kept = a > t ? a : 0, other = a > t ? a : INFINITY;
      sum[k] += (double)kept;
      least[k] = other < least[k] ? other : least[k];
      count[k] += a > t;
    }
  for (size_t k = 0; i + k < n; k++) {
    float a = fabsf(x[i + k]);
    if (!(a > t)) continue;
    sum[k] += (double)a;
    least[k] = a < least[k] ? a : least[k];
    count[k]++;
  }
  for (size_t half = L / 2; half > 0; half /= 2)
    for (size_t k = 0; k < half; k++) {
      sum[k] += sum[k + half];
      count[k] += count[k + half];
      least[k] = least[k + half] < least[k] ? least[k + half] : least[k];
    }
  return (lip_active){sum[0], (size_t)count[0], least[0]};
}

LIP_HOT static void soft(float *x, size_t n, const lip_split *t) {
  lip_f16 high = t->high - (lip_f16){0}, low = t->low - (lip_f16){0}, v;
  size_t i = 0;
  for (; i + L <= n; i += L) {
    lip_load16(&v, x + i, L);
    lip_soft16(&v, &high, &low);
    lip_store16(x + i, &v, L);
  }
  if (i < n) {
    lip_load16(&v, x + i, n - i);
    lip_soft16(&v, &high, &low);
    lip_store16(x + i, &v, n - i);
  }
}

void lip_quick_soft(float *x, size_t n, double tau) {
  lip_split t = lip_split_up(tau);
  soft(x, n, &t);
}
