/* See dist.h. The largest differences go in tiles of rows of x and of w, so that what is loaded serves several times; a
 * tile's rows stay in the first cache. Powers go pair by pair: for a large p nearly all terms are too small to count,
 * and a few vectors without one that does are passed over together. */
#include "core/tensor/dist.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/tensor/conv_vector.h"
#include "core/tensor/kernel.h"

/* From p = 2^7 on it pays to look whether any term counts. */
enum { SPARSE = 7 };
/* Terms below 2^-LEFT_OUT do not count. */
enum { LEFT_OUT = 26 };

typedef struct family {
  size_t rows, cols;     /* of a tile */
  size_t columns, lanes; /* that spread takes at a time, and spread_rest at most */
  void (*tile)(size_t n, const float *x, size_t rows, const float *w, size_t cols, float *y, size_t ldy);
  uint32_t (*place)(size_t n, const float *x, const float *w, float most);
  size_t (*above)(size_t from, size_t n, const float *x, const float *w, float least);
  float (*sum)(size_t n, const float *x, const float *w, float inv, float least, int k);
  void (*spread)(const lip_dist_terms *t, int k, const float *a, float least, float *acc);
  void (*spread_rest)(const lip_dist_terms *t, int k, size_t n, const float *a, float least, float *acc);
} family;

#define UNROLL _Pragma("GCC unroll 12")

/* ---- without instructions beyond the baseline ---- */

#define TARGET
#define V VEC4
#define L 4
#define ROWS 2
#define COLS 4
#define GROUP 2
#define FN(name) name##_any
#define LOAD LOAD4
#define STORE STORE4
#define ZERO ((VEC4){0, 0, 0, 0})
#define ONE ONE4
#define SUB(a, b) ((a) - (b))
#define ADD(a, b) ((a) + (b))
#define MUL(a, b) ((a) * (b))
#define FMA FMA4
#define HOLD HOLD4
#define ABS(a) ((VEC4)((BITS4)(a)&0x7fffffff))
LIP_INLINE VEC4 top4(VEC4 a, VEC4 b) {
  BITS4 p = (BITS4)a, q = (BITS4)b, less = p < q;
  return (VEC4)((q & less) | (p & ~less));
}
#define TOP top4
#define KEEP(t, f) ((VEC4)((BITS4)(t) & ~((t) < (f))))
LIP_INLINE uint32_t lanes4(BITS4 m) {
  return (m[0] ? 1U : 0U) | (m[1] ? 2U : 0U) | (m[2] ? 4U : 0U) | (m[3] ? 8U : 0U);
}
#define ANY(t, f) (lanes4(~((t) < (f))) != 0)
#define SIGNED(v, d) ((VEC4)((BITS4)(v) | ((BITS4)(d) & (BITS4){INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN})))
#define SAME(t, f) lanes4((t) == (f))
#define MORE(t, f) lanes4((t) > (f))
#include "core/tensor/dist_loops.h"

#if defined(LIP_X86)
#define TARGET AVX2
#define V VEC8
#define L 8
#define ROWS 2
#define COLS 4
#define GROUP 2
#define FN(name) name##_avx2
#define LOAD LOAD8
#define STORE STORE8
#define ZERO _mm256_setzero_ps()
#define ONE ONE8
#define SUB(a, b) _mm256_sub_ps(a, b)
#define ADD(a, b) _mm256_add_ps(a, b)
#define MUL(a, b) _mm256_mul_ps(a, b)
#define FMA FMA8
#define HOLD HOLD8
#define ABS(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define TOP(a, b) _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)))
#define KEEP(t, f) _mm256_and_ps(_mm256_cmp_ps(t, f, _CMP_NLT_UQ), t)
#define ANY(t, f) (_mm256_movemask_ps(_mm256_cmp_ps(t, f, _CMP_NLT_UQ)) != 0)
#define SIGNED(v, d) _mm256_or_ps(v, _mm256_and_ps(_mm256_set1_ps(-0.0f), d))
#define SAME(t, f) ((uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(t, f, _CMP_EQ_OQ)))
#define MORE(t, f) ((uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(t, f, _CMP_GT_OQ)))
#include "core/tensor/dist_loops.h"

#define COLS 4
#define TARGET AVX512
#define V VEC16
#define L 16
#define ROWS 4
#define GROUP 4
#define FN(name) name##_avx512
#define LOAD LOAD16
#define STORE STORE16
#define ZERO _mm512_setzero_ps()
#define ONE ONE16
#define SUB(a, b) _mm512_sub_ps(a, b)
#define ADD(a, b) _mm512_add_ps(a, b)
#define MUL(a, b) _mm512_mul_ps(a, b)
#define FMA FMA16
#define HOLD HOLD16
#define ABS(a) _mm512_abs_ps(a)
#define TOP(a, b) _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)))
#define KEEP(t, f) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(t, f, _CMP_NLT_UQ), t)
#define ANY(t, f) (_mm512_cmp_ps_mask(t, f, _CMP_NLT_UQ) != 0)
#define SIGNED(v, d)                                                                                         \
  _mm512_castsi512_ps(_mm512_or_si512(                                                                       \
      _mm512_castps_si512(v), _mm512_and_si512(_mm512_set1_epi32(INT32_MIN), _mm512_castps_si512(d))))
#define SAME(t, f) ((uint32_t)_mm512_cmp_ps_mask(t, f, _CMP_EQ_OQ))
#define MORE(t, f) ((uint32_t)_mm512_cmp_ps_mask(t, f, _CMP_GT_OQ))
#include "core/tensor/dist_loops.h"
#endif

static const family *get(void) {
  const lip_kernel *kernel = lip_kernel_get();
  if (!kernel) return &family_any;
#if defined(LIP_X86)
  if (kernel->level == LIP_LEVEL_AVX512) return &family_avx512;
  if (kernel->level == LIP_LEVEL_AVX2) return &family_avx2;
#endif
  return &family_any;
}

static size_t at_most(size_t n, size_t most) {
  return n < most ? n : most;
}

/* Some rows of w stay in the second cache while all rows of x pass. */
void lip_dist_largest(const lip_dist *d, float *y) {
  enum { BLOCK = 64 };
  const family *f = get();
  for (size_t j0 = 0; j0 < d->M; j0 += BLOCK) {
    const size_t j1 = at_most(j0 + BLOCK, d->M);
    for (size_t r = 0; r < d->B; r += f->rows)
      for (size_t j = j0; j < j1; j += f->cols)
        f->tile(d->n, d->x + r * d->n, at_most(d->B - r, f->rows), d->w + j * d->n, at_most(j1 - j, f->cols),
                y + r * d->M + j, d->M);
  }
}

void lip_dist_places(const lip_dist *d, const float *y, uint32_t *place) {
  const family *f = get();
  for (size_t r = 0; r < d->B; r++)
    for (size_t j = 0; j < d->M; j++)
      place[r * d->M + j] = f->place(d->n, d->x + r * d->n, d->w + j * d->n, y[r * d->M + j]);
}

/* Places in the order of falling values, equal ones of rising places: v (K), place (K). */
static void top_of(const family *f, size_t n, size_t K, const float *x, const float *w, float *v,
                   uint32_t *place) {
  size_t filled = 0;
  for (size_t i = 0; i < n; i++) {
    if (filled == K) i = f->above(i, n, x, w, v[K - 1]);
    if (i == n) return;
    const float now = fabsf(x[i] - w[i]);
    size_t at = filled < K ? filled++ : K - 1;
    for (; at > 0 && v[at - 1] < now; at--) {
      v[at] = v[at - 1];
      place[at] = place[at - 1];
    }
    v[at] = now;
    place[at] = (uint32_t)i;
  }
}

void lip_dist_sorted(const lip_dist *d, size_t K, const float *c, float *y, uint32_t *place) {
  const family *f = get();
  float v[LIP_DIST_TERMS];
  uint32_t at[LIP_DIST_TERMS];
  for (size_t r = 0; r < d->B; r++)
    for (size_t j = 0; j < d->M; j++) {
      float *out = y + r * d->M + j, sum = 0;
      uint32_t *kept = place ? place + (r * d->M + j) * K : at;
      if (!(*out <= FLT_MAX)) { /* as it is */
        memset(kept, 0, K * sizeof *kept);
        continue;
      }
      top_of(f, d->n, K, d->x + r * d->n, d->w + j * d->n, v, kept);
      for (size_t k = 0; k < K; k++) sum += c[k] * v[k];
      *out = sum;
    }
}

/* y = most s^(1/p), in place of s. */
LIP_HOT static void root(float *restrict y, const float *restrict most, int k, size_t n) {
  for (int i = 0; i < k; i++)
    for (size_t j = 0; j < n; j++) y[j] = sqrtf(y[j]);
  for (size_t j = 0; j < n; j++) {
    const float m = most[j] < FLT_MIN ? FLT_MIN : most[j];
    y[j] = most[j] > 0 && most[j] <= FLT_MAX ? m * y[j] : most[j];
  }
}

void lip_dist_norm(const lip_dist *d, int k, float *y) {
  enum { BLOCK = 8 };
  const family *f = get();
  const float least = exp2f(-(float)LEFT_OUT / (float)(1 << k));
  for (size_t j0 = 0; j0 < d->M; j0 += BLOCK)
    for (size_t r = 0; r < d->B; r++) {
      const size_t m = at_most(d->M - j0, BLOCK);
      float *most = y + r * d->M + j0, sum[BLOCK];
      for (size_t j = 0; j < m; j++) {
        const float top = most[j] < FLT_MIN ? FLT_MIN : most[j], inv = 1 / top;
        sum[j] = f->sum(d->n, d->x + r * d->n, d->w + (j0 + j) * d->n, inv, least * top, k);
      }
      root(sum, most, k, m);
      memcpy(most, sum, m * sizeof *sum);
    }
}

void lip_dist_spread(const lip_dist_terms *t, int k, size_t n, const float *a, float *acc) {
  const family *f = get();
  const float least = exp2f(-(float)LEFT_OUT / (float)((1 << k) - 1));
  lip_dist_terms part = *t;
  size_t i = 0;
  for (; i + f->columns <= n; i += f->columns, part.b += f->columns)
    f->spread(&part, k, a + i, least, acc + i);
  for (; i < n; i += f->lanes, part.b += f->lanes) f->spread_rest(&part, k, n - i, a + i, least, acc + i);
}

void lip_dist_plain(const lip_dist *d, int k, double *y) {
  for (size_t r = 0; r < d->B; r++)
    for (size_t j = 0; j < d->M; j++) {
      double most = 0, sum = 0;
      for (size_t i = 0; i < d->n; i++) {
        const double v = fabs((double)d->x[r * d->n + i] - (double)d->w[j * d->n + i]);
        most = v <= most ? most : v;
      }
      for (size_t i = 0; k > 0 && i < d->n; i++)
        sum += pow(fabs((double)d->x[r * d->n + i] - (double)d->w[j * d->n + i]) / most, exp2(k));
      y[r * d->M + j] = k > 0 && most > 0 ? most * pow(sum, exp2(-k)) : most;
    }
}
