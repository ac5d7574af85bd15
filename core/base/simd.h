/* One word in front of a hot function: the compiler then builds it for AVX-512, AVX2 and the baseline, and
 * the loader takes the best one this processor has. Contraction to fused multiply-add is off (see
 * CMakeLists.txt), so the three differ only where a loop reorders a sum. */
#ifndef LIP_BASE_SIMD_H
#define LIP_BASE_SIMD_H

#include <stdbool.h>

/* clang before 18 gives the dispatching symbol another name (".ifunc" is added), so that no other file can call it */
#if defined(__clang__) && __clang_major__ < 18 && !defined(LIP_NO_CLONES)
#define LIP_NO_CLONES
#endif
/* By level, not by model: "arch=skylake-avx512" is taken on that very model only and leaves later ones with SSE2. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(LIP_NO_CLONES)
#define LIP_HOT __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LIP_HOT
#endif

/* Whether hot functions run as they are built for AVX-512. */
static inline bool lip_has_wide(void) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(LIP_NO_CLONES)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd");
#elif defined(__AVX512F__)
  return true;
#else
  return false;
#endif
}

/* For small functions called inside of a hot one: gcc inlines across different targets only when it must, and a call
 * left in a loop keeps that loop from becoming vectors. */
#if defined(__GNUC__)
#define LIP_INLINE static inline __attribute__((always_inline))
#else
#define LIP_INLINE static inline
#endif

#endif
