/* See conv_tile.h. One body for all families: a term is one factor for each place, a number spread over a vector or
 * a vector, and one or two multiply-adds.
 * Pointers have just been written one by one: read together they would wait for the stores, hence volatile. */
#include "core/tensor/conv_tile.h"

#include "core/tensor/conv_vector.h"
#include "core/tensor/kernel.h"

#define UNROLL _Pragma("GCC unroll 12")
#define TILE(NAME, TARGET, V, N, LANES, NV, LOAD, STORE, FACTOR, FMA, ADD, KEEP)                             \
  TARGET static void sum_##NAME(const lip_tile_sum *t) {                                                     \
    V acc[N][NV];                                                                                            \
    const float *x[N], *w = t->w;                                                                            \
    UNROLL for (size_t i = 0; i < N; i++) x[i] = *(const float *const volatile *)&t->x[i];                   \
    UNROLL for (size_t i = 0; i < N; i++) UNROLL for (size_t v = 0; v < NV; v++) acc[i][v] =                 \
        LOAD(t->bias + v * LANES);                                                                           \
    for (size_t row = 0; row < t->rows; row++)                                                               \
      for (size_t col = 0; col < t->cols; col++) {                                                           \
        size_t at = row * t->row_step + col * t->col_step;                                                   \
        for (const size_t end = at + t->length; at < end; at++, w += 2 * LANES) {                            \
          V b[NV];                                                                                           \
          UNROLL for (size_t v = 0; v < NV; v++) b[v] = LOAD(w + v * LANES);                                 \
          UNROLL for (size_t i = 0; i < N; i++) UNROLL for (size_t v = 0; v < NV; v++) acc[i][v] =           \
              FMA(FACTOR(x[i] + at, v * LANES), b[v], acc[i][v]);                                            \
        }                                                                                                    \
      }                                                                                                      \
    UNROLL for (size_t i = 0; i < N; i++) UNROLL for (size_t v = 0; v < NV; v++)                             \
        STORE(t->y[i] + v * LANES, acc[i][v]);                                                               \
    for (size_t i = 0; t->end != LIP_TILE_AS_IT_IS && i < N; i++) {                                          \
      const float *gate = t->end == LIP_TILE_GATED ? t->gate[i] : t->y[i];                                   \
      UNROLL for (size_t v = 0; v < NV; v++)                                                                 \
          STORE(t->y[i] + v * LANES, KEEP(LOAD(gate + v * LANES), LOAD(t->y[i] + v * LANES)));               \
    }                                                                                                        \
  }                                                                                                          \
  TARGET static void outer_##NAME(const lip_tile_outer *t) {                                                 \
    V acc[N][NV];                                                                                            \
    size_t term[N];                                                                                          \
    const float zero[NV * LANES] = {0};                                                                      \
    UNROLL for (size_t i = 0; i < N; i++) term[i] = t->term[i];                                              \
    UNROLL for (size_t i = 0; i < N; i++) UNROLL for (size_t v = 0; v < NV; v++) acc[i][v] = LOAD(zero);     \
    for (size_t p = 0; p < t->n; p++) {                                                                      \
      const float *x = t->x + t->x_at[p], *dy = t->dy + t->dy_at[p];                                         \
      V b[NV];                                                                                               \
      UNROLL for (size_t v = 0; v < NV; v++) b[v] = LOAD(dy + v * LANES);                                    \
      UNROLL for (size_t i = 0; i < N; i++) UNROLL for (size_t v = 0; v < NV; v++) acc[i][v] =               \
          FMA(FACTOR(x + term[i], v * LANES), b[v], acc[i][v]);                                              \
    }                                                                                                        \
    UNROLL for (size_t i = 0; i < N; i++) UNROLL for (size_t v = 0; v < NV; v++) {                           \
      float *dw = t->dw[i] + v * LANES;                                                                      \
      STORE(dw, ADD(LOAD(dw), acc[i][v]));                                                                   \
    }                                                                                                        \
  }

#define SPREAD4(p, v) ONE4(p)
#define EACH4(p, v) LOAD4((p) + (v))
#define TILE4(NAME, NV, FACTOR) TILE(NAME, , VEC4, 4, 4, NV, LOAD4, STORE4, FACTOR, FMA4, ADD4, KEEP4)
TILE4(any_1, 1, SPREAD4)
TILE4(any_2, 2, SPREAD4)
TILE4(any_each_1, 1, EACH4)
TILE4(any_each_2, 2, EACH4)
static const lip_tile any[] = {
    {4, 4, 8, {sum_any_1, sum_any_2}, {outer_any_1, outer_any_2}},
    {4, 4, 8, {sum_any_each_1, sum_any_each_2}, {outer_any_each_1, outer_any_each_2}},
    {4, 4, 8, {sum_any_1, sum_any_2}, {outer_any_1, outer_any_2}}};

#if defined(LIP_X86)
#define SPREAD8(p, v) ONE8(p)
#define EACH8(p, v) LOAD8((p) + (v))
#define TILE8(NAME, N, NV, FACTOR) TILE(NAME, AVX2, VEC8, N, 8, NV, LOAD8, STORE8, FACTOR, FMA8, ADD8, KEEP8)
TILE8(avx2_1, 6, 1, SPREAD8)
TILE8(avx2_2, 6, 2, SPREAD8)
TILE8(avx2_each_1, 6, 1, EACH8)
TILE8(avx2_each_2, 6, 2, EACH8)
TILE8(avx2_low_1, 4, 1, SPREAD8)
TILE8(avx2_low_2, 4, 2, SPREAD8)
static const lip_tile avx2[] = {
    {6, 8, 16, {sum_avx2_1, sum_avx2_2}, {outer_avx2_1, outer_avx2_2}},
    {6, 8, 16, {sum_avx2_each_1, sum_avx2_each_2}, {outer_avx2_each_1, outer_avx2_each_2}},
    {4, 8, 16, {sum_avx2_low_1, sum_avx2_low_2}, {outer_avx2_low_1, outer_avx2_low_2}}};

#define SPREAD16(p, v) ONE16(p)
#define EACH16(p, v) LOAD16((p) + (v))
#define TILE16(NAME, N, NV, FACTOR)                                                                          \
  TILE(NAME, AVX512, VEC16, N, 16, NV, LOAD16, STORE16, FACTOR, FMA16, ADD16, KEEP16)
TILE16(avx512_1, 12, 1, SPREAD16)
TILE16(avx512_2, 12, 2, SPREAD16)
TILE16(avx512_each_1, 12, 1, EACH16)
TILE16(avx512_each_2, 12, 2, EACH16)
TILE16(avx512_low_1, 8, 1, SPREAD16)
TILE16(avx512_low_2, 8, 2, SPREAD16)
static const lip_tile avx512[] = {
    {12, 16, 32, {sum_avx512_1, sum_avx512_2}, {outer_avx512_1, outer_avx512_2}},
    {12, 16, 32, {sum_avx512_each_1, sum_avx512_each_2}, {outer_avx512_each_1, outer_avx512_each_2}},
    {8, 16, 32, {sum_avx512_low_1, sum_avx512_low_2}, {outer_avx512_low_1, outer_avx512_low_2}}};
#endif

const lip_tile *lip_tile_get(lip_tile_kind kind) {
  const lip_kernel *kernel = lip_kernel_get();
  if (!kernel) return NULL;
#if defined(LIP_X86)
  if (kernel->level == LIP_LEVEL_AVX512) return &avx512[kind];
  if (kernel->level == LIP_LEVEL_AVX2) return &avx2[kind];
#endif
  return &any[kind];
}
