/* Sums over a row of a matrix, full or with few numbers; the order of a sum does not depend on the processor. */
#include <math.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/cert/relax_parts.h"
#include "core/norm/lanes.h"

/* Eight numbers of x, as the row sees them from number i on. */
LIP_INLINE void load_at(lip_d8 *v, const double *x, const uint32_t *at, size_t i) {
  if (!at) {
    LIP_LOAD(*v, x + i);
    return;
  }
  double t[LIP_LANES];
  for (size_t j = 0; j < LIP_LANES; j++) t[j] = x[at[i + j]];
  LIP_LOAD(*v, t);
}

LIP_INLINE void absolute(lip_d8 *v) {
  *v = (lip_d8)((lip_l8)*v & INT64_MAX);
}

LIP_INLINE void sums(const double *v, const uint32_t *at, size_t n, const double *m, const double *h,
                     const double *w, lip_sums *out) {
  lip_d8 a = {0}, b = {0}, c = {0};
  lip_sums t = {0, 0, 0};
  size_t i = 0;
  for (; i + LIP_LANES <= n; i += LIP_LANES) {
    lip_d8 p, x, y, z;
    LIP_LOAD(p, v + i);
    load_at(&x, m, at, i);
    load_at(&y, h, at, i);
    load_at(&z, w, at, i);
    a += p * x;
    absolute(&p);
    b += p * y;
    c += p * z;
  }
  for (; i < n; i++) {
    size_t k = at ? at[i] : i;
    t.at += v[i] * m[k];
    t.half += fabs(v[i]) * h[k];
    t.size += fabs(v[i]) * w[k];
  }
  *out = (lip_sums){t.at + lip_sum_lanes(&a), t.half + lip_sum_lanes(&b), t.size + lip_sum_lanes(&c)};
}

LIP_HOT static void full_sums(const double *restrict v, size_t n, const double *restrict m,
                              const double *restrict h, const double *restrict w, lip_sums *out) {
  sums(v, NULL, n, m, h, w, out);
}

LIP_HOT static void few_sums(const double *restrict v, const uint32_t *restrict at, size_t n,
                             const double *restrict m, const double *restrict h, const double *restrict w,
                             lip_sums *out) {
  sums(v, at, n, m, h, w, out);
}

void lip_row_sums(lip_row v, const double *m, const double *h, const double *w, lip_sums *out) {
  if (v.at)
    few_sums(v.v, v.at, v.n, m, h, w, out);
  else
    full_sums(v.v, v.n, m, h, w, out);
}

LIP_INLINE double raw_half(const double *p, const double *q, const uint32_t *at, size_t n, double sign,
                           const double *h) {
  lip_d8 s = {0};
  double sum = 0;
  size_t i = 0;
  for (; i + LIP_LANES <= n; i += LIP_LANES) {
    lip_d8 a, b, x;
    LIP_LOAD(a, p + i);
    LIP_LOAD(b, q + i);
    load_at(&x, h, at, i);
    a += sign * b;
    absolute(&a);
    s += a * x;
  }
  for (; i < n; i++) sum += fabs(p[i] + sign * q[i]) * h[at ? at[i] : i];
  return sum + lip_sum_lanes(&s);
}

LIP_HOT static double full_raw_half(const double *restrict p, const double *restrict q, size_t n, double sign,
                                    const double *restrict h) {
  return raw_half(p, q, NULL, n, sign, h);
}

LIP_HOT static double few_raw_half(const double *restrict p, const double *restrict q,
                                   const uint32_t *restrict at, size_t n, double sign,
                                   const double *restrict h) {
  return raw_half(p, q, at, n, sign, h);
}

double lip_row_raw_half(lip_row p, lip_row q, double sign, const double *h) {
  return p.at ? few_raw_half(p.v, q.v, p.at, p.n, sign, h) : full_raw_half(p.v, q.v, p.n, sign, h);
}
