/* Vectors of eight lanes in GCC's and clang's vector notation: the compiler makes one AVX-512, two AVX2 or four SSE2
 * instructions of each, and the order of a sum does not depend on which. */
#ifndef LIP_NORM_LANES_H
#define LIP_NORM_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"

#define LIP_LANES 8

typedef double lip_d8 __attribute__((vector_size(64)));
typedef int64_t lip_l8 __attribute__((vector_size(64)));
typedef float lip_f8 __attribute__((vector_size(32)));
typedef int32_t lip_i8 __attribute__((vector_size(32)));
typedef float lip_f16 __attribute__((vector_size(64)));
typedef int32_t lip_i16 __attribute__((vector_size(64)));
typedef uint32_t lip_u16 __attribute__((vector_size(64)));

/* Vectors go by pointer: by value their calling convention would depend on the instruction set. */

/* A whole vector from or to numbers that need no alignment. */
#define LIP_LOAD(v, p) memcpy(&(v), (p), sizeof(v))
#define LIP_STORE(p, v) memcpy((p), &(v), sizeof(v))

/* load: the next k (1 and more) numbers, zeros behind them where k < lanes; store: as many of them back. */
#define LIP_NEXT_LANES(load, store, vector, number, lanes)                                                   \
  LIP_INLINE void load(vector *v, const number *x, size_t k) {                                               \
    if (k >= lanes) {                                                                                        \
      LIP_LOAD(*v, x);                                                                                       \
    } else {                                                                                                 \
      number t[lanes] = {0};                                                                                 \
      for (size_t i = 0; i < k; i++) t[i] = x[i];                                                            \
      LIP_LOAD(*v, t);                                                                                       \
    }                                                                                                        \
  }                                                                                                          \
  LIP_INLINE void store(number *x, const vector *v, size_t k) {                                              \
    if (k >= lanes)                                                                                          \
      LIP_STORE(x, *v);                                                                                      \
    else                                                                                                     \
      for (size_t i = 0; i < k; i++) x[i] = (*v)[i];                                                         \
  }
LIP_NEXT_LANES(lip_load, lip_store, lip_f8, float, LIP_LANES)
LIP_NEXT_LANES(lip_load_d, lip_store_d, lip_d8, double, LIP_LANES)
LIP_NEXT_LANES(lip_load16, lip_store16, lip_f16, float, 16)

LIP_INLINE void lip_abs(lip_f8 *v) {
  *v = (lip_f8)((lip_i8)*v & 0x7fffffff);
}
/* Non-negative doubles to floats, towards zero; NaN stays NaN. The bits of a positive float are ordered, so one
 * less is the float below. */
LIP_INLINE void lip_narrow_down(lip_f8 *out, const lip_d8 *d) {
  lip_f8 f = __builtin_convertvector(*d, lip_f8);
  lip_l8 above = __builtin_convertvector(f, lip_d8) > *d;
  *out = (lip_f8)((lip_i8)f + __builtin_convertvector(above, lip_i8));
}
/* Lanes i and i + 8 to double, added to sum. */
LIP_INLINE void lip_add_wide(lip_d8 *sum, const lip_f16 *v) {
  lip_f8 half[2];
  memcpy(half, v, sizeof half);
  *sum += __builtin_convertvector(half[0], lip_d8) + __builtin_convertvector(half[1], lip_d8);
}
/* Eight numbers, lanes of a vector or an array, added in the one order that all sums of lanes have. */
#define LIP_SUM8(v) ((((v)[0] + (v)[4]) + ((v)[2] + (v)[6])) + (((v)[1] + (v)[5]) + ((v)[3] + (v)[7])))
LIP_INLINE double lip_sum_lanes(const lip_d8 *v) {
  return LIP_SUM8(*v);
}

#endif
