#include "core/norm/quick_cols.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/norm/l1ball.h"
#include "core/norm/lanes.h"
#include "core/norm/quick.h"
#include "core/norm/quick_soft.h"
#include "core/norm/round.h"

enum { L = 16, V = LIP_BLOCK / L, PIECE = 128, GUESSES = 8 };

/* What is known of the columns of one block. */
typedef struct block {
  _Alignas(64) float level[LIP_BLOCK], least[LIP_BLOCK], high[LIP_BLOCK], low[LIP_BLOCK];
  _Alignas(64) double sum[LIP_BLOCK], tau[LIP_BLOCK];
  _Alignas(64) int32_t count[LIP_BLOCK], keep[LIP_BLOCK];
  bool open[LIP_BLOCK]; /* still looking for its threshold */
} block;

/* Each kernel below is written for `v` vectors of columns, the last of which has `tail` of them; the caller passes
 * constants for whole blocks and whole vectors. */
typedef void pass_fn(float *W, size_t M, size_t N, size_t v, size_t tail, block *b, size_t at);
#define LOAD(x, i, k) lip_load16(&(x), W + (i)*N + (k)*L, (k) + 1 == v ? tail : L)
#define STORE(x, i, k) lip_store16(W + (i)*N + (k)*L, &(x), (k) + 1 == v ? tail : L)
#define ABS(x) ((x) = (lip_f16)((lip_i16)(x)&INT32_MAX))

LIP_INLINE void add_halves(lip_d8 *sum, const lip_f16 *x) {
  lip_f8 half[2];
  memcpy(half, x, sizeof half);
  sum[0] += __builtin_convertvector(half[0], lip_d8);
  sum[1] += __builtin_convertvector(half[1], lip_d8);
}

/* Three float32 additions in a row, then at most M/8 + 7 in double. */
double lip_quick_cols_error(size_t M) {
  return 0x1p-22 + 0x1p-44 + lip_gamma(M / 8 + 10);
}

/* Streams the rows, so that blocks find them in the cache afterwards. */
LIP_HOT void lip_quick_cols_sum(const float *W, size_t M, size_t N, size_t width, double *restrict sum) {
  size_t i = 0;
  memset(sum, 0, width * sizeof *sum);
  for (; i + 8 <= M; i += 8)
    for (size_t j = 0; j < width; j++) {
      const float *x = W + i * N + j;
      float a = (fabsf(x[0]) + fabsf(x[N])) + (fabsf(x[2 * N]) + fabsf(x[3 * N]));
      float b = (fabsf(x[4 * N]) + fabsf(x[5 * N])) + (fabsf(x[6 * N]) + fabsf(x[7 * N]));
      sum[j] += (double)(a + b);
    }
  for (; i < M; i++)
    for (size_t j = 0; j < width; j++) sum[j] += (double)fabsf(W[i * N + j]);
}

LIP_HOT void lip_cols_sum(const float *W, size_t M, size_t N, size_t width, double *restrict sum) {
  memset(sum, 0, width * sizeof *sum);
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < width; j++) sum[j] += (double)fabsf(W[i * N + j]);
}

/* Number and sum of the elements above each column's level, the sum in float32 but for pieces. */
LIP_INLINE void add_above(float *W, size_t M, size_t N, size_t v, size_t tail, block *b, size_t at) {
  lip_i16 level[V], count[V] = {{0}};
  lip_d8 total[2 * V] = {{0}};
  memcpy(level, b->level + at, v * sizeof *level);
  for (size_t first = 0; first < M; first += PIECE) {
    size_t last = M - first > PIECE ? first + PIECE : M;
    lip_f16 sum[V] = {{0}}, x;
    for (size_t i = first; i < last; i++)
      for (size_t k = 0; k < v; k++) {
        LOAD(x, i, k);
        lip_i16 bits = (lip_i16)x & INT32_MAX, over = (level[k] - bits) >> 31;
        sum[k] += (lip_f16)(bits & over);
        count[k] -= over;
      }
    for (size_t k = 0; k < v; k++) add_halves(total + 2 * k, &sum[k]);
  }
  memcpy(b->sum + at, total, v * L * sizeof *b->sum);
  memcpy(b->count + at, count, v * sizeof *count);
}

/* Number, least and sum in double of the elements above each column's level. Lane by lane: compilers widen to double best
 * out of loops. */
LIP_INLINE void find_active(const float *W, size_t M, size_t N, size_t width, block *b, size_t at) {
  double sum[LIP_BLOCK] = {0};
  float level[LIP_BLOCK], least[LIP_BLOCK];
  int32_t count[LIP_BLOCK] = {0};
  memcpy(level, b->level + at, width * sizeof *level);
  for (size_t j = 0; j < width; j++) least[j] = INFINITY;
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < width; j++) {
      float a = fabsf(W[i * N + j]), kept = a > level[j] ? a : 0, other = a > level[j] ? a : INFINITY;
      sum[j] += (double)kept;
      least[j] = other < least[j] ? other : least[j];
      count[j] += a > level[j];
    }
  memcpy(b->sum + at, sum, width * sizeof *sum);
  memcpy(b->least + at, least, width * sizeof *least);
  memcpy(b->count + at, count, width * sizeof *count);
}

LIP_INLINE void soft(float *W, size_t M, size_t N, size_t v, size_t tail, block *b, size_t at) {
  lip_f16 high[V], low[V];
  lip_i16 keep[V];
  memcpy(high, b->high + at, v * sizeof *high);
  memcpy(low, b->low + at, v * sizeof *low);
  memcpy(keep, b->keep + at, v * sizeof *keep);
  for (size_t i = 0; i < M; i++)
    for (size_t k = 0; k < v; k++) {
      lip_f16 x, y;
      LOAD(x, i, k);
      y = x;
      lip_soft16(&y, &high[k], &low[k]);
      y = (lip_f16)(((lip_i16)x & keep[k]) | ((lip_i16)y & ~keep[k]));
      STORE(y, i, k);
    }
}

LIP_INLINE void shrink(float *W, size_t M, size_t N, size_t v, size_t tail, block *b, size_t at) {
  lip_f16 s[V];
  memcpy(s, b->level + at, v * sizeof *s);
  for (size_t i = 0; i < M; i++)
    for (size_t k = 0; k < v; k++) {
      lip_f16 x;
      LOAD(x, i, k);
      x *= s[k];
      STORE(x, i, k);
    }
}

/* A block, or its whole vectors one by one and what is left. */
LIP_INLINE void run(pass_fn *pass, float *W, size_t M, size_t N, size_t width, block *b) {
  size_t at = 0;
  if (width == LIP_BLOCK) {
    pass(W, M, N, V, L, b, 0);
    return;
  }
  for (; at + L <= width; at += L) pass(W + at, M, N, 1, L, b, at);
  if (at < width) pass(W + at, M, N, 1, width - at, b, at);
}
LIP_HOT static void run_above(float *W, size_t M, size_t N, size_t width, block *b) {
  run(add_above, W, M, N, width, b);
}
/* For whole blocks, or the vectors that have columns still open. */
LIP_HOT static void run_active(const float *W, size_t M, size_t N, size_t width, block *b, bool all) {
  if (all && width == LIP_BLOCK) {
    find_active(W, M, N, LIP_BLOCK, b, 0);
    return;
  }
  for (size_t at = 0; at < width; at += L) {
    size_t n = width - at < L ? width - at : L;
    bool any = false;
    for (size_t j = at; j < at + n; j++) any |= b->open[j];
    if (!any) continue;
    if (n == L)
      find_active(W + at, M, N, L, b, at);
    else
      find_active(W + at, M, N, n, b, at);
  }
}
LIP_HOT static void run_soft(float *W, size_t M, size_t N, size_t width, block *b) {
  run(soft, W, M, N, width, b);
}
LIP_HOT static void run_shrink(float *W, size_t M, size_t N, size_t width, block *b) {
  run(shrink, W, M, N, width, b);
}

/* ---- thresholds ---- */

/* Newton's next level of every open column (see l1ball.c), whose sums lack up to `unsure`. True when some step was so long
 * that the set above the level must be expected to change once more. */
static bool newton(block *b, double radius, double unsure) {
  bool far = false;
  for (size_t j = 0; j < LIP_BLOCK; j++) {
    if (!b->open[j]) continue;
    double count = b->count[j] > 0 ? (double)b->count[j] : 1, level = (double)b->level[j];
    double next = (b->sum[j] - radius - b->sum[j] * unsure) / count;
    double turn = (next - level) / (b->sum[j] / count - level);
    far |= b->count[j] == 0 || turn * turn * count > 1;
    b->level[j] = lip_float_down(next > 0 ? next : 0);
  }
  return far;
}

/* Thresholds of the columns whose least active element is above them; true when columns remain that go on. */
static bool settle(block *b, size_t M, double radius) {
  double error = 2 * lip_gamma(M + 2) + 0x1p-45;
  bool more = false;
  for (size_t j = 0; j < LIP_BLOCK; j++) {
    if (!b->open[j]) continue;
    double t = b->count[j] > 0 ? lip_l1_threshold(b->sum[j], radius, (size_t)b->count[j], error) : 0;
    b->open[j] = t > 0x1p-100;
    if (!b->open[j]) continue;
    if (t >= (double)b->level[j] && t < (double)b->least[j]) {
      b->tau[j] = t;
      b->open[j] = false;
    }
    more |= b->open[j];
  }
  return more;
}

static void find_thresholds(float *W, size_t M, size_t N, size_t width, double radius, block *b) {
  run_above(W, M, N, width, b);
  for (int step = 0; step < GUESSES && newton(b, radius, 0x1p-22); step++) run_above(W, M, N, width, b);
  for (int step = 0; step < GUESSES; step++) {
    run_active(W, M, N, width, b, step == 0);
    if (!settle(b, M, radius)) return;
    newton(b, radius, 0);
  }
}

/* ---- whole operations ---- */

void lip_quick_cols_shrink(float *W, size_t M, size_t N, size_t width, const float *s) {
  block b;
  for (size_t j = 0; j < LIP_BLOCK; j++) b.level[j] = j < width ? s[j] : 1;
  run_shrink(W, M, N, width, &b);
}

void lip_quick_cols_l1(float *W, size_t M, size_t N, size_t width, double radius, double *tau, bool *todo) {
  block b;
  for (size_t j = 0; j < LIP_BLOCK; j++) {
    b.open[j] = j < width && todo[j];
    b.level[j] = b.open[j] ? lip_float_down(tau[j]) : INFINITY; /* that nothing exceeds */
    b.tau[j] = 0;
  }
  find_thresholds(W, M, N, width, radius, &b);
  bool any = false;
  for (size_t j = 0; j < LIP_BLOCK; j++) {
    bool on = b.tau[j] > 0;
    lip_split t = on ? lip_split_up(b.tau[j]) : (lip_split){0, 0};
    b.high[j] = t.high;
    b.low[j] = t.low;
    b.keep[j] = on ? 0 : -1;
    any |= on;
    if (!on) continue;
    tau[j] = b.tau[j];
    todo[j] = 0;
  }
  if (any) run_soft(W, M, N, width, &b);
}
