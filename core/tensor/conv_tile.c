/* See conv_tile.h. One body for all families: a term is one factor for each place, a number spread over a vector or
 * a vector, and one or two multiply-adds. Fused ones are written out, since the engine is built without contraction.
 * Pointers have just been written one by one: read together they would wait for the stores, hence volatile.
 * KEEP(g, a): a where g is not <= 0 (NaN is not), else 0. */
#include "core/tensor/conv_tile.h"

#include <stdint.h>

#include "core/tensor/kernel.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define LIP_X86
#include <immintrin.h>
#endif

#define TILE(NAME, TARGET, V, N, LANES, NV, LOAD, STORE, FACTOR, FMA, ADD, KEEP)                             \
  TARGET static void sum_##NAME(const lip_tile_sum *t) {                                                     \
    V acc[N][NV];                                                                                            \
    const float *x[N], *w = t->w;                                                                            \
    for (size_t i = 0; i < N; i++) x[i] = *(const float *const volatile *)&t->x[i];                          \
    for (size_t i = 0; i < N; i++)                                                                           \
      for (size_t v = 0; v < NV; v++) acc[i][v] = LOAD(t->bias + v * LANES);                                 \
    for (size_t row = 0; row < t->rows; row++)                                                               \
      for (size_t col = 0; col < t->cols; col++) {                                                           \
        size_t at = row * t->row_step + col * t->col_step;                                                   \
        for (const size_t end = at + t->length; at < end; at++, w += 2 * LANES) {                            \
          V b[NV];                                                                                           \
          for (size_t v = 0; v < NV; v++) b[v] = LOAD(w + v * LANES);                                        \
          for (size_t i = 0; i < N; i++)                                                                     \
            for (size_t v = 0; v < NV; v++) acc[i][v] = FMA(FACTOR(x[i] + at, v * LANES), b[v], acc[i][v]);  \
        }                                                                                                    \
      }                                                                                                      \
    for (size_t i = 0; i < N; i++)                                                                           \
      for (size_t v = 0; v < NV; v++) STORE(t->y[i] + v * LANES, acc[i][v]);                                 \
    for (size_t i = 0; t->end != LIP_TILE_AS_IT_IS && i < N; i++) {                                          \
      const float *gate = t->end == LIP_TILE_GATED ? t->gate[i] : t->y[i];                                   \
      for (size_t v = 0; v < NV; v++)                                                                        \
        STORE(t->y[i] + v * LANES, KEEP(LOAD(gate + v * LANES), LOAD(t->y[i] + v * LANES)));                 \
    }                                                                                                        \
  }                                                                                                          \
  TARGET static void outer_##NAME(const lip_tile_outer *t) {                                                 \
    V acc[N][NV];                                                                                            \
    size_t term[N];                                                                                          \
    const float zero[NV * LANES] = {0};                                                                      \
    for (size_t i = 0; i < N; i++) term[i] = t->term[i];                                                     \
    for (size_t i = 0; i < N; i++)                                                                           \
      for (size_t v = 0; v < NV; v++) acc[i][v] = LOAD(zero);                                                \
    for (size_t p = 0; p < t->n; p++) {                                                                      \
      const float *x = t->x + t->x_at[p], *dy = t->dy + t->dy_at[p];                                         \
      V b[NV];                                                                                               \
      for (size_t v = 0; v < NV; v++) b[v] = LOAD(dy + v * LANES);                                           \
      for (size_t i = 0; i < N; i++)                                                                         \
        for (size_t v = 0; v < NV; v++) acc[i][v] = FMA(FACTOR(x + term[i], v * LANES), b[v], acc[i][v]);    \
    }                                                                                                        \
    for (size_t i = 0; i < N; i++)                                                                           \
      for (size_t v = 0; v < NV; v++) {                                                                      \
        float *dw = t->dw[i] + v * LANES;                                                                    \
        STORE(dw, ADD(LOAD(dw), acc[i][v]));                                                                 \
      }                                                                                                      \
  }

/* Without instructions beyond the baseline: four lanes, as many registers as every processor has. */
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t bits __attribute__((vector_size(16)));
#define LOAD4(p) (*(const four *)(p))
#define STORE4(p, a) (*(four *)(p) = (a))
#define ONE4(p, v) ((four){*(p), *(p), *(p), *(p)})
#define EACH4(p, v) LOAD4((p) + (v))
#define FMA4(a, b, c) ((a) * (b) + (c))
#define ADD4(a, b) ((a) + (b))
#define KEEP4(g, a) ((four)((bits)(a) & ~((g) <= 0)))
#define TILE4(NAME, NV, FACTOR) TILE(NAME, , four, 4, 4, NV, LOAD4, STORE4, FACTOR, FMA4, ADD4, KEEP4)
TILE4(any_1, 1, ONE4)
TILE4(any_2, 2, ONE4)
TILE4(any_each_1, 1, EACH4)
TILE4(any_each_2, 2, EACH4)
static const lip_tile any[] = {
    {4, 4, 8, {sum_any_1, sum_any_2}, {outer_any_1, outer_any_2}},
    {4, 4, 8, {sum_any_each_1, sum_any_each_2}, {outer_any_each_1, outer_any_each_2}}};

#if defined(LIP_X86)
#define AVX2 __attribute__((target("avx2,fma")))
#define ONE8(p, v) _mm256_broadcast_ss(p)
#define EACH8(p, v) _mm256_loadu_ps((p) + (v))
#define KEEP8(g, a) _mm256_and_ps(_mm256_cmp_ps(g, _mm256_setzero_ps(), _CMP_NLE_UQ), a)
#define TILE8(NAME, NV, FACTOR)                                                                              \
  TILE(NAME, AVX2, __m256, 6, 8, NV, _mm256_loadu_ps, _mm256_storeu_ps, FACTOR, _mm256_fmadd_ps,             \
       _mm256_add_ps, KEEP8)
TILE8(avx2_1, 1, ONE8)
TILE8(avx2_2, 2, ONE8)
TILE8(avx2_each_1, 1, EACH8)
TILE8(avx2_each_2, 2, EACH8)
static const lip_tile avx2[] = {
    {6, 8, 16, {sum_avx2_1, sum_avx2_2}, {outer_avx2_1, outer_avx2_2}},
    {6, 8, 16, {sum_avx2_each_1, sum_avx2_each_2}, {outer_avx2_each_1, outer_avx2_each_2}}};

#define AVX512 __attribute__((target("avx512f")))
#define ONE16(p, v) _mm512_set1_ps(*(p))
#define EACH16(p, v) _mm512_loadu_ps((p) + (v))
#define KEEP16(g, a) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(g, _mm512_setzero_ps(), _CMP_NLE_UQ), a)
#define TILE16(NAME, NV, FACTOR)                                                                             \
  TILE(NAME, AVX512, __m512, 12, 16, NV, _mm512_loadu_ps, _mm512_storeu_ps, FACTOR, _mm512_fmadd_ps,         \
       _mm512_add_ps, KEEP16)
TILE16(avx512_1, 1, ONE16)
TILE16(avx512_2, 2, ONE16)
TILE16(avx512_each_1, 1, EACH16)
TILE16(avx512_each_2, 2, EACH16)
static const lip_tile avx512[] = {
    {12, 16, 32, {sum_avx512_1, sum_avx512_2}, {outer_avx512_1, outer_avx512_2}},
    {12, 16, 32, {sum_avx512_each_1, sum_avx512_each_2}, {outer_avx512_each_1, outer_avx512_each_2}}};
#endif

const lip_tile *lip_tile_get(bool each) {
  const lip_kernel *kernel = lip_kernel_get();
  if (!kernel) return NULL;
#if defined(LIP_X86)
  if (kernel->level == LIP_LEVEL_AVX512) return &avx512[each];
  if (kernel->level == LIP_LEVEL_AVX2) return &avx2[each];
#endif
  return &any[each];
}
