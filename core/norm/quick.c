#include "core/norm/quick.h"

#include "core/base/simd.h"
#include "core/norm/lanes.h"
#include "core/norm/quick_soft.h"
#include "core/norm/round.h"

enum { L = 16, PIECE = 2048 }; /* lanes; elements summed in float32 before they go to double */

/* Two float32 additions in a row, then at most n/64 + 4 additions of lanes in double. */
double lip_quick_error(size_t n) {
  return 0x1p-23 + 0x1p-44 + lip_gamma(n / 64 + 10);
}

LIP_HOT double lip_quick_abs_sum(const float *x, size_t n) {
  lip_d8 sum = {0};
  size_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    lip_f16 v[4];
    memcpy(v, x + i, sizeof v);
    for (int k = 0; k < 4; k++) v[k] = (lip_f16)((lip_i16)v[k] & INT32_MAX);
    v[0] = (v[0] + v[1]) + (v[2] + v[3]);
    lip_add_wide(&sum, &v[0]);
  }
  for (; i < n; i += L) {
    lip_f16 v;
    lip_load16(&v, x + i, n - i);
    v = (lip_f16)((lip_i16)v & INT32_MAX);
    lip_add_wide(&sum, &v);
  }
  return lip_sum_lanes(&sum);
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

LIP_HOT double lip_sum_above(const float *x, size_t n, float t) {
  int32_t level = bits_of(t);
  lip_d8 s0 = {0}, s1 = {0};
  lip_f16 a, b;
  lip_i16 over;
  size_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    lip_load16(&a, x + i, L);
    lip_load16(&b, x + i + L, L);
    pick(&a, &over, level);
    pick(&b, &over, level);
    lip_add_wide(&s0, &a);
    lip_add_wide(&s1, &b);
  }
  for (; i < n; i += L) {
    lip_load16(&a, x + i, n - i);
    pick(&a, &over, level);
    lip_add_wide(&s0, &a);
  }
  s0 += s1;
  return lip_sum_lanes(&s0);
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
