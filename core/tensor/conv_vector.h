/* Inside of core/tensor: the vectors of each family of kernels, for loops that are written once, as a macro, for all of
 * them: of 4, 8 and 16 floats. Fused multiply-adds are written out, since the engine is built without contraction. */
#ifndef LIP_TENSOR_CONV_VECTOR_H
#define LIP_TENSOR_CONV_VECTOR_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/simd.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define LIP_X86
#include <immintrin.h>
#endif

/* KEEPn(g, a): a where g is not <= 0 (NaN is not), else 0. MASKn: lanes that are not 0 in n numbers. MASKEDn: those lanes, zeros in the others, whose memory need not exist.
 * HOLDn: the number stays in a register; gcc likes to load what several multiply-adds need once for each of them. */

/* Without instructions beyond the baseline. */
typedef float VEC4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t BITS4 __attribute__((vector_size(16)));
typedef const int32_t *MASK4;
#define LOAD4(p) (*(const VEC4 *)(p))
#define STORE4(p, a) (*(VEC4 *)(p) = (a))
#define ONE4(p) ((VEC4){*(p), *(p), *(p), *(p)})
#define FMA4(a, b, c) ((a) * (b) + (c))
#define ADD4(a, b) ((a) + (b))
#define KEEP4(g, a) ((VEC4)((BITS4)(a) & ~((g) <= 0)))
#define GET_MASK4(p) (p)
#define HOLD4(a) (void)(a)
LIP_INLINE VEC4 MASKED4(const float *p, MASK4 m) {
  if (m[0] && m[1] && m[2] && m[3]) return LOAD4(p);
  return (VEC4){m[0] ? p[0] : 0, m[1] ? p[1] : 0, m[2] ? p[2] : 0, m[3] ? p[3] : 0};
}

#if defined(LIP_X86)
#define AVX2 __attribute__((target("avx2,fma")))
typedef __m256 VEC8;
typedef __m256i MASK8;
#define LOAD8(p) _mm256_loadu_ps(p)
#define STORE8(p, a) _mm256_storeu_ps(p, a)
#define ONE8(p) _mm256_broadcast_ss(p)
#define FMA8(a, b, c) _mm256_fmadd_ps(a, b, c)
#define ADD8(a, b) _mm256_add_ps(a, b)
#define KEEP8(g, a) _mm256_and_ps(_mm256_cmp_ps(g, _mm256_setzero_ps(), _CMP_NLE_UQ), a)
#define GET_MASK8(p)                                                                                         \
  _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p)), _mm256_setzero_si256())
#define MASKED8(p, m) _mm256_maskload_ps(p, m)
#define HOLD8(a) __asm__("" : "+x"(a))

#define AVX512 __attribute__((target("avx512f")))
typedef __m512 VEC16;
typedef __mmask16 MASK16;
#define LOAD16(p) _mm512_loadu_ps(p)
#define STORE16(p, a) _mm512_storeu_ps(p, a)
#define ONE16(p) _mm512_set1_ps(*(p))
#define FMA16(a, b, c) _mm512_fmadd_ps(a, b, c)
#define ADD16(a, b) _mm512_add_ps(a, b)
#define KEEP16(g, a) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(g, _mm512_setzero_ps(), _CMP_NLE_UQ), a)
#define GET_MASK16(p) _mm512_test_epi32_mask(_mm512_loadu_si512(p), _mm512_loadu_si512(p))
#define MASKED16(p, m) _mm512_maskz_loadu_ps(m, p)
#define HOLD16(a) __asm__("" : "+v"(a))
#endif

#endif
