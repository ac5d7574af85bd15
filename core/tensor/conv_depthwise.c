/* Lanes run along a row of outputs. A row of the image is loaded three times, one number further each time, for the three
 * rows of outputs that it meets; lanes that would read a border are masked and rows outside are a row of zeros, so that no
 * loop asks where the image ends and nothing is copied. The input gradient is the same sum over dy, last tap first.
 *
 * A vector may reach past the end of its row of outputs. What it leaves there is written later: rows and planes go
 * upwards, the vectors of a row downwards, and the last planes are made elsewhere. */
#include "core/tensor/conv_planes.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/tensor/conv_frame.h"
#include "core/tensor/conv_vector.h"
#include "core/tensor/kernel.h"

enum {
  SIDE = 3, /* of the kernel */
  TAPS = SIDE * SIDE,
  MOST_LANES = 16,
  LEAST = 5,    /* columns: a vector for fewer is mostly empty */
  CHANNELS = 16 /* taken together for the weight gradient: neighbours in memory */
};

/* Outputs (r, c), r < rows, c < cols, that read a plane H x W at (r + i - top, c + j - top), i and j < SIDE. */
typedef struct plane {
  size_t H, W, rows, cols;
  ptrdiff_t top;
  const float *zeros; /* W of them */
  const int32_t
      *mask; /* of each vector in a row (SIDE + 1, MOST_LANES), not 0 for lanes that are outputs: for each j
                          those that read inside of the plane, then all of them */
} plane;

/* y[r][c] = bias + sum over i, j of w[i][j] x[r + i - top][c + j - top], with `relu` 0 where it is <= 0. Whole vectors are written. */
typedef struct plane_sum {
  plane at;
  bool relu;
  const float *x;
  float w[TAPS], bias, *y;
} plane_sum;

/* sums[(i * SIDE + j) * lanes..] += sum over vectors of outputs of dy[r][c..] x[r + i - top][c + j - top..]. */
typedef struct plane_outer {
  plane at;
  const float *x, *dy;
  float *sums;
} plane_outer;

typedef struct family {
  size_t lanes;
  void (*sum)(const plane_sum *t);
  void (*outer)(const plane_outer *t);
} family;

LIP_INLINE const float *row_of(const plane *at, const float *x, size_t r) {
  const size_t row = (size_t)((ptrdiff_t)r - at->top); /* huge above the image */
  return row < at->H ? x + row * at->W : at->zeros;
}

/* The rows of the plane go by once: a row is tap row 0 of the outputs that begin with it, 1 of those before, 2 of those
 * before them. Columns of taps are written out: in loops gcc 12 keeps their sums in memory. */
#define SUM_TAP(N, j)                                                                                        \
  x = MASKED##N(from + j, m##j);                                                                             \
  HOLD##N(x);                                                                                                \
  y0 = FMA##N(x, w[j], y0);                                                                                  \
  y1 = FMA##N(x, w[SIDE + j], y1);                                                                           \
  y2 = FMA##N(x, w[2 * SIDE + j], y2);
#define OUTER_TAP(N, j)                                                                                      \
  x = MASKED##N(from + j, m##j);                                                                             \
  HOLD##N(x);                                                                                                \
  a##j = FMA##N(x, dy0, a##j);                                                                               \
  b##j = FMA##N(x, dy1, b##j);                                                                               \
  c##j = FMA##N(x, dy2, c##j);
#define LOAD_SUMS(N, j)                                                                                      \
  VEC##N a##j = LOAD##N(t->sums + j * N), b##j = LOAD##N(t->sums + (SIDE + j) * N),                          \
         c##j = LOAD##N(t->sums + (2 * SIDE + j) * N);
#define STORE_SUMS(N, j)                                                                                     \
  STORE##N(t->sums + j * N, a##j);                                                                           \
  STORE##N(t->sums + (SIDE + j) * N, b##j);                                                                  \
  STORE##N(t->sums + (2 * SIDE + j) * N, c##j);
#define GET(N, j) GET_MASK##N(at->mask + (c / N * (SIDE + 1) + j) * MOST_LANES)

#define PLANE(NAME, TARGET, N)                                                                               \
  TARGET static void sum_##NAME(const plane_sum *t) {                                                        \
    const plane *at = &t->at;                                                                                \
    const VEC##N bias = ONE##N(&t->bias);                                                                    \
    VEC##N w[TAPS];                                                                                          \
    for (size_t i = 0; i < TAPS; i++) w[i] = ONE##N(t->w + i);                                               \
    for (size_t end = (at->cols + N - 1) / N * N; end > 0; end -= N) {                                       \
      const size_t c = end - N;                                                                              \
      const MASK##N m0 = GET(N, 0), m1 = GET(N, 1), m2 = GET(N, 2);                                          \
      VEC##N x, y0 = bias, y1 = bias, y2;                                                                    \
      float *y = t->y + c;                                                                                   \
      for (size_t row = 0; row < at->rows + SIDE - 1; row++) {                                               \
        const float *from = row_of(at, t->x, row) + (ptrdiff_t)c - at->top;                                  \
        y2 = y1, y1 = y0, y0 = bias;                                                                         \
        SUM_TAP(N, 0) SUM_TAP(N, 1) SUM_TAP(N, 2) if (row < SIDE - 1) continue;                              \
        if (t->relu) y2 = KEEP##N(y2, y2);                                                                   \
        STORE##N(y, y2);                                                                                     \
        y += at->cols;                                                                                       \
      }                                                                                                      \
    }                                                                                                        \
  }                                                                                                          \
  TARGET static void outer_##NAME(const plane_outer *t) {                                                    \
    const plane *at = &t->at;                                                                                \
    const float none = 0;                                                                                    \
    LOAD_SUMS(N, 0) LOAD_SUMS(N, 1) LOAD_SUMS(N, 2) for (size_t c = 0; c < at->cols; c += N) {               \
      const MASK##N m0 = GET(N, 0), m1 = GET(N, 1), m2 = GET(N, 2), own = GET(N, SIDE);                      \
      VEC##N x, dy0 = ONE##N(&none), dy1 = dy0, dy2;                                                         \
      for (size_t row = 0; row < at->rows + SIDE - 1; row++) {                                               \
        const float *from = row_of(at, t->x, row) + (ptrdiff_t)c - at->top;                                  \
        dy2 = dy1, dy1 = dy0;                                                                                \
        dy0 = row < at->rows ? MASKED##N(t->dy + row * at->cols + c, own) : ONE##N(&none);                   \
        OUTER_TAP(N, 0) OUTER_TAP(N, 1) OUTER_TAP(N, 2)                                                      \
      }                                                                                                      \
    }                                                                                                        \
    STORE_SUMS(N, 0) STORE_SUMS(N, 1) STORE_SUMS(N, 2)                                                       \
  }                                                                                                          \
  static const family NAME = {N, sum_##NAME, outer_##NAME};

PLANE(any, , 4)
#if defined(LIP_X86)
PLANE(avx2, AVX2, 8)
PLANE(avx512, AVX512, 16)
#endif

/* Half a vector is enough for a short row; who has the long ones has both. */
static const family *family_of(size_t cols) {
  const lip_level level = lip_kernel_get()->level;
#if defined(LIP_X86)
  if (level == LIP_LEVEL_AVX512) return cols > avx2.lanes ? &avx512 : &avx2;
  if (level == LIP_LEVEL_AVX2) return &avx2;
#endif
  (void)level, (void)cols;
  return &any;
}

/* ---- scratch ---- */

static size_t vectors(size_t cols) {
  return (cols + any.lanes - 1) / any.lanes;
}

/* In floats from the start of scratch. */
typedef struct places {
  size_t mask, zeros, sums, spare, end;
} places;

static places places_of(size_t W, size_t rows, size_t cols) {
  places p = {0};
  p.mask = room(&p.end, vectors(cols) * (SIDE + 1) * MOST_LANES);
  p.zeros = room(&p.end, W);
  p.sums = room(&p.end, CHANNELS * TAPS * MOST_LANES);
  p.spare = room(&p.end, rows * cols + MOST_LANES);
  return p;
}

static size_t scratch_room(const lip_direct *s) {
  const lip_patches *g = &s->at;
  if (s->groups == 1 || s->groups != s->C || s->groups != s->OUT) return 0;
  if (g->kernel != SIDE || g->stride != 1 || g->dilation != 1 || g->W < LEAST || g->OW < LEAST) return 0;
  const size_t a = places_of(g->W, g->OH, g->OW).end, b = places_of(g->OW, g->H, g->W).end;
  return a > b ? a : b;
}

/* Fills what the loops share: size, zeros, masks. */
static plane open_plane(size_t H, size_t W, size_t rows, size_t cols, ptrdiff_t top, size_t lanes,
                        const places *p, float *base) {
  int32_t *mask = (int32_t *)(void *)(base + p->mask);
  memset(base + p->zeros, 0, W * sizeof *base);
  for (size_t c = 0; c < cols; c += lanes)
    for (size_t j = 0; j <= SIDE; j++, mask += MOST_LANES)
      for (size_t v = 0; v < MOST_LANES; v++) {
        const size_t column = (size_t)((ptrdiff_t)(c + v + j) - top); /* huge left of the image */
        mask[v] = v < lanes && c + v < cols && (j == SIDE || column < W);
      }
  return (plane){H, W, rows, cols, top, base + p->zeros, (const int32_t *)(const void *)(base + p->mask)};
}

/* ---- passes ---- */

/* B images of C planes H x W to planes rows x cols. `turned`: last tap first. */
static void run_planes(const lip_direct *s, size_t B, plane_sum *t, const float *w, bool turned,
                       const float *bias, const float *gate, const float *x, float *y, float *spare) {
  const family *f = family_of(t->at.cols);
  const size_t P = t->at.rows * t->at.cols, planes = B * s->C;
  for (size_t n = 0; n < planes; n++, x += t->at.H * t->at.W, y += P) {
    const float *from = w + n % s->C * TAPS;
    for (size_t i = 0; i < TAPS; i++) t->w[i] = from[turned ? TAPS - 1 - i : i];
    const bool last = (planes - n - 1) * P < MOST_LANES; /* behind it there is no room for a vector */
    t->bias = bias ? bias[n % s->C] : 0;
    t->x = x;
    t->y = last ? spare : y;
    f->sum(t);
    if (last) memcpy(y, spare, P * sizeof *y);
    if (gate && (n + 1) % s->C == 0) lip_frame_gate(y - (s->C - 1) * P, gate + (n + 1 - s->C) * P, s->C * P);
  }
}

static void forward(const lip_direct *s, const float *w, const float *b, size_t B, const float *x, float *y,
                    float *scratch) {
  const lip_patches *g = &s->at;
  const places p = places_of(g->W, g->OH, g->OW);
  plane_sum t = {.at = open_plane(g->H, g->W, g->OH, g->OW, (ptrdiff_t)g->padding, family_of(g->OW)->lanes,
                                  &p, scratch)};
  t.relu = s->relu;
  run_planes(s, B, &t, w, false, b, NULL, x, y, scratch + p.spare);
}

static void backward(const lip_direct *s, const float *w, size_t B, const float *dy, const float *gate,
                     float *dx, float *scratch) {
  const lip_patches *g = &s->at;
  const places p = places_of(g->OW, g->H, g->W);
  plane_sum t = {.at = open_plane(g->OH, g->OW, g->H, g->W, SIDE - 1 - (ptrdiff_t)g->padding,
                                  family_of(g->W)->lanes, &p, scratch)};
  run_planes(s, B, &t, w, true, NULL, gate, dy, dx, scratch + p.spare);
}

/* dw = beta dw + the sums over the lanes, in their order. */
static void add_lanes(float *dw, const float *sums, size_t lanes, float beta) {
  for (size_t i = 0; i < TAPS; i++) {
    float sum = beta != 0 ? dw[i] : 0;
    for (size_t v = 0; v < lanes; v++) sum += sums[i * lanes + v];
    dw[i] = sum;
  }
}

static void grad(const lip_direct *s, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
                 float beta, float *dw, float *scratch) {
  const lip_patches *g = &s->at;
  const family *f = family_of(g->OW);
  const places p = places_of(g->W, g->OH, g->OW);
  const size_t each = TAPS * f->lanes;
  float *sums = scratch + p.sums;
  plane_outer t = {.at = open_plane(g->H, g->W, g->OH, g->OW, (ptrdiff_t)g->padding, f->lanes, &p, scratch)};
  for (size_t u = u0, n; u < u1; u += n) {
    n = u1 - u < CHANNELS ? u1 - u : CHANNELS;
    memset(sums, 0, n * each * sizeof *sums);
    for (size_t i = 0; i < B * n; i++) {
      const size_t channel = i / n * s->C + u + i % n;
      t.x = x + channel * g->H * g->W;
      t.dy = dy + channel * g->OH * g->OW;
      t.sums = sums + i % n * each;
      f->outer(&t);
    }
    for (size_t i = 0; i < n; i++) add_lanes(dw + (u + i) * TAPS, sums + i * each, f->lanes, beta);
  }
}

const lip_planes lip_planes_depthwise = {scratch_room, forward, backward, grad};
