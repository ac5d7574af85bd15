#include "core/norm/rows.h"

#include <math.h>

#include "core/base/simd.h"
#include "core/norm/lanes.h"
#include "core/norm/round.h"

/* ---- enclosures ---- */

/* s + d and its rounding error (Knuth 1969). */
static void two_sum(double *s, double *err, double d) {
  double a = *s, t = a + d, b = t - a;
  *err = (a - (t - b)) + (d - b);
  *s = t;
}

lip_interval lip_exact_sum_bounds(const lip_exact_sum *v, size_t n) {
  if (!isfinite(v->s) || !isfinite(v->e) || !isfinite(v->size)) return (lip_interval){0, INFINITY};
  /* e is a sum of n terms of absolute sum `size`: its own error is below n u size; doubled for the roundings here */
  double slack = v->size > 0 ? lip_up(2 * (double)n * LIP_U * v->size) : 0;
  double high = v->s, low = v->s, rest;
  two_sum(&high, &rest, slack > 0 ? nextafter(v->e + slack, INFINITY) : v->e);
  if (rest > 0) high = lip_up(high);
  two_sum(&low, &rest, slack > 0 ? nextafter(v->e - slack, -INFINITY) : v->e);
  if (rest < 0) low = lip_down(low);
  return (lip_interval){low > 0 ? low : 0, high};
}

LIP_INLINE void enclose(const float *x, size_t n, int square, lip_exact_sum *out) {
  lip_d8 s = {0}, e = {0}, size = {0};
  for (size_t i = 0; i < n; i += LIP_LANES) {
    lip_f8 f;
    lip_load(&f, x + i, n - i);
    lip_abs(&f);
    lip_d8 d = __builtin_convertvector(f, lip_d8);
    if (square) d *= d; /* exact: 24 + 24 bits, exponents far inside double's */
    lip_d8 t = s + d, b = t - s, err = (s - (t - b)) + (d - b);
    s = t;
    e += err;
    size += (lip_d8)((lip_l8)err & INT64_MAX);
  }
  *out = (lip_exact_sum){s[0], e[0], size[0]};
  for (int k = 1; k < LIP_LANES; k++) {
    double err;
    two_sum(&out->s, &err, s[k]);
    out->e += err + e[k];
    out->size += fabs(err) + size[k];
  }
}

LIP_HOT static void enclose_abs(const float *x, size_t n, lip_exact_sum *out) {
  enclose(x, n, 0, out);
}
LIP_HOT static void enclose_square(const float *x, size_t n, lip_exact_sum *out) {
  enclose(x, n, 1, out);
}

lip_interval lip_row_norm(const float *x, size_t n, lip_p p) {
  lip_exact_sum sum;
  if (p == LIP_PINF) {
    double top = (double)lip_row_abs_max(x, n);
    return (lip_interval){isfinite(top) ? top : 0, top};
  }
  if (p == LIP_P1) {
    enclose_abs(x, n, &sum);
    return lip_exact_sum_bounds(&sum, n + 2 * LIP_LANES);
  }
  enclose_square(x, n, &sum);
  lip_interval v = lip_exact_sum_bounds(&sum, n + 2 * LIP_LANES);
  return (lip_interval){lip_sqrt_down(v.low), isfinite(v.high) ? lip_sqrt_up(v.high) : INFINITY};
}

/* ---- plain sums ---- */

/* Each of 16 partial sums takes n/16 terms (rounded up), then four more additions. */
double lip_row_sum_error(size_t n) {
  return lip_gamma(n / 16 + 6);
}

LIP_HOT double lip_row_abs_sum(const float *x, size_t n) {
  lip_d8 s0 = {0}, s1 = {0};
  size_t i = 0;
  for (; i + 2 * LIP_LANES <= n; i += 2 * LIP_LANES) {
    lip_f8 a, b;
    lip_load(&a, x + i, LIP_LANES);
    lip_load(&b, x + i + LIP_LANES, LIP_LANES);
    lip_abs(&a);
    lip_abs(&b);
    s0 += __builtin_convertvector(a, lip_d8);
    s1 += __builtin_convertvector(b, lip_d8);
  }
  for (; i < n; i += LIP_LANES) {
    lip_f8 a;
    lip_load(&a, x + i, n - i);
    lip_abs(&a);
    s0 += __builtin_convertvector(a, lip_d8);
  }
  s0 += s1;
  return lip_sum_lanes(&s0);
}

LIP_HOT double lip_row_square_sum(const float *x, size_t n) {
  lip_d8 s0 = {0}, s1 = {0};
  size_t i = 0;
  for (; i + 2 * LIP_LANES <= n; i += 2 * LIP_LANES) {
    lip_f8 a, b;
    lip_load(&a, x + i, LIP_LANES);
    lip_load(&b, x + i + LIP_LANES, LIP_LANES);
    lip_d8 da = __builtin_convertvector(a, lip_d8), db = __builtin_convertvector(b, lip_d8);
    s0 += da * da;
    s1 += db * db;
  }
  for (; i < n; i += LIP_LANES) {
    lip_f8 a;
    lip_load(&a, x + i, n - i);
    lip_d8 da = __builtin_convertvector(a, lip_d8);
    s0 += da * da;
  }
  s0 += s1;
  return lip_sum_lanes(&s0);
}

/* One vector of lip_row_above: adds to the sums what it holds. */
#define ABOVE_STEP(f, all, sum, count)                                                                       \
  do {                                                                                                       \
    lip_i8 over = (f) > t;                                                                                   \
    lip_f8 kept = (lip_f8)((lip_i8)(f)&over);                                                                \
    (all) += __builtin_convertvector((f), lip_d8);                                                           \
    (sum) += __builtin_convertvector(kept, lip_d8);                                                          \
    (count) -= over;                                                                                         \
  } while (0)

LIP_HOT lip_above lip_row_above(const float *x, size_t n, float t) {
  lip_d8 all0 = {0}, all1 = {0}, sum0 = {0}, sum1 = {0};
  lip_above out = {0, 0, 0};
  for (size_t first = 0; first < n;) {
    /* 32-bit counters: in pieces far below their range */
    size_t last = n - first > ((size_t)1 << 30) ? first + ((size_t)1 << 30) : n, i = first;
    lip_i8 count0 = {0}, count1 = {0};
    for (; i + 2 * LIP_LANES <= last; i += 2 * LIP_LANES) {
      lip_f8 a, b;
      lip_load(&a, x + i, LIP_LANES);
      lip_load(&b, x + i + LIP_LANES, LIP_LANES);
      lip_abs(&a);
      lip_abs(&b);
      ABOVE_STEP(a, all0, sum0, count0);
      ABOVE_STEP(b, all1, sum1, count1);
    }
    for (; i < last; i += LIP_LANES) {
      lip_f8 a;
      lip_load(&a, x + i, last - i);
      lip_abs(&a);
      ABOVE_STEP(a, all0, sum0, count0);
    }
    count0 += count1;
    for (int k = 0; k < LIP_LANES; k++) out.count += (size_t)count0[k];
    first = last;
  }
  all0 += all1;
  sum0 += sum1;
  out.all = lip_sum_lanes(&all0);
  out.sum = lip_sum_lanes(&sum0);
  return out;
}

/* Bits of non-negative floats are ordered as integers; those of infinity and NaN are the largest. */
LIP_HOT static uint32_t top_bits(const float *x, size_t n) {
  int32_t top = 0; /* of integers: the compiler makes vectors of this by itself */
  for (size_t i = 0; i < n; i++) {
    int32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= INT32_MAX;
    top = bits > top ? bits : top;
  }
  return (uint32_t)top;
}

float lip_row_abs_max(const float *x, size_t n) {
  uint32_t bits = top_bits(x, n);
  float f;
  if (bits > 0x7f800000u) return INFINITY;
  memcpy(&f, &bits, sizeof f);
  return f;
}

bool lip_row_all_finite(const float *x, size_t n) {
  return top_bits(x, n) < 0x7f800000u;
}

/* ---- writers ---- */

LIP_HOT void lip_row_scale(float *x, size_t n, double s) {
  for (size_t i = 0; i < n; i += LIP_LANES) {
    lip_f8 f, y;
    lip_load(&f, x + i, n - i);
    lip_i8 sign = (lip_i8)f & INT32_MIN;
    lip_abs(&f);
    lip_d8 d = __builtin_convertvector(f, lip_d8) * s;
    lip_narrow_down(&y, &d);
    y = (lip_f8)((lip_i8)y | sign);
    lip_store(x + i, &y, n - i);
  }
}

LIP_HOT void lip_row_shrink(float *x, size_t n, float s) {
  for (size_t i = 0; i < n; i++) x[i] *= s;
}

LIP_HOT void lip_row_soft(float *x, size_t n, double tau) {
  for (size_t i = 0; i < n; i += LIP_LANES) {
    lip_f8 f, y;
    lip_load(&f, x + i, n - i);
    lip_i8 sign = (lip_i8)f & INT32_MIN;
    lip_abs(&f);
    lip_d8 d = __builtin_convertvector(f, lip_d8) - tau;
    d = (lip_d8)((lip_l8)d & ~(d <= 0));
    lip_narrow_down(&y, &d);
    y = (lip_f8)((lip_i8)y | sign);
    lip_store(x + i, &y, n - i);
  }
}

LIP_HOT void lip_row_clamp(float *x, size_t n, float c) {
  for (size_t i = 0; i < n; i++) {
    float v = x[i];
    v = v > c ? c : v;
    x[i] = v < -c ? -c : v;
  }
}

/* ---- balls ---- */

bool lip_row_inside(const float *x, size_t n, lip_p p, double radius) {
  if (p == LIP_PINF) return (double)lip_row_abs_max(x, n) <= radius;
  double sum = p == LIP_P1 ? lip_row_abs_sum(x, n) : lip_row_square_sum(x, n);
  double most = sum * (1 + 2 * lip_row_sum_error(n)), least = sum * (1 - 2 * lip_row_sum_error(n));
  /* one ulp more for each rounding of these products and of the root */
  if (p == LIP_P2) most = sqrt(most), least = sqrt(least);
  if (most * (1 + 0x1p-50) <= radius) return true;
  if (!(least * (1 - 0x1p-50) <= radius)) return false;
  return lip_row_norm(x, n, p).high <= radius;
}

/* Four roundings: the quotient, this product, the product with an element, and one to spare. */
double lip_scale_inside(double radius, double high) {
  if (radius >= high) return 1;
  return radius / high * (1 - 0x1p-51);
}

/* |fl(x s)| <= |x| s (1 + 2^-24) + 2^-150: the norm of n such elements stays within radius when s is 2^-23 short of
 * the exact quotient and the radius is far above what underflow can add. */
float lip_shrink_inside(double radius, double high, size_t n) {
  if (!(radius > (double)n * 0x1p-120) || !(high > radius)) return 0;
  float s = lip_float_down(radius / high * (1 - 0x1p-23) * (1 - 0x1p-50));
  return s > 0x1p-100f ? s : 0;
}
