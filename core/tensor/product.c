/* Packing, and the product on packed blocks: see kernel.h. */
#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/tensor/kernel.h"

typedef float eight __attribute__((vector_size(32)));
typedef int32_t pick __attribute__((vector_size(32)));

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (pick){__VA_ARGS__})
#endif

/* Pairs, then pairs of pairs, then halves: eight rows of v become eight columns. */
#define MIX_PAIRS(a, b, low, high)                                                                           \
  low = SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13), high = SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define MIX_QUADS(a, b, low, high)                                                                           \
  low = SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13), high = SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define MIX_HALVES(a, b, low, high)                                                                          \
  low = SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11), high = SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15)

/* dst[k * r + i] = src[i * si + k] for eight i and eight k. */
LIP_INLINE void transpose8(float *dst, size_t r, const float *src, size_t si) {
  eight v[8], p[8], q[8];
  for (size_t i = 0; i < 8; i++) memcpy(&v[i], src + i * si, sizeof v[i]);
  for (size_t i = 0; i < 8; i += 2) MIX_PAIRS(v[i], v[i + 1], p[i], p[i + 1]);
  for (size_t i = 0; i < 8; i += 4) {
    MIX_QUADS(p[i], p[i + 2], q[i], q[i + 1]);
    MIX_QUADS(p[i + 1], p[i + 3], q[i + 2], q[i + 3]);
  }
  for (size_t i = 0; i < 4; i++) MIX_HALVES(q[i], q[i + 4], v[i], v[i + 4]);
  for (size_t i = 0; i < 8; i++) memcpy(dst + i * r, &v[i], sizeof v[i]);
}

typedef float four __attribute__((vector_size(16)));
typedef int32_t pick4 __attribute__((vector_size(16)));

#if defined(__clang__)
#define SHUFFLE4(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE4(a, b, ...) __builtin_shuffle(a, b, (pick4){__VA_ARGS__})
#endif

/* The same for four and four: panels of 6 and 12 rows have such a rest. */
LIP_INLINE void transpose4(float *dst, size_t r, const float *src, size_t si) {
  four v[4], p[4];
  for (size_t i = 0; i < 4; i++) memcpy(&v[i], src + i * si, sizeof v[i]);
  for (size_t i = 0; i < 4; i += 2) {
    p[i] = SHUFFLE4(v[i], v[i + 1], 0, 4, 1, 5);
    p[i + 1] = SHUFFLE4(v[i], v[i + 1], 2, 6, 3, 7);
  }
  for (size_t i = 0; i < 2; i++) {
    v[2 * i] = SHUFFLE4(p[i], p[i + 2], 0, 1, 4, 5);
    v[2 * i + 1] = SHUFFLE4(p[i], p[i + 2], 2, 3, 6, 7);
  }
  for (size_t i = 0; i < 4; i++) memcpy(dst + i * r, &v[i], sizeof v[i]);
}

/* In blocks of k, so that the part of the panel under way stays in the first cache. */
LIP_INLINE void pack_transposed(float *dst, size_t r, size_t n, size_t k, const float *src, size_t si) {
  enum { BLOCK = 16 };
  size_t n8 = n / 8 * 8, n4 = n / 4 * 4;
  for (size_t k0 = 0; k0 < k; k0 += BLOCK) {
    size_t k1 = k - k0 < BLOCK ? k : k0 + BLOCK, k8 = k0 + (k1 - k0) / 8 * 8;
    for (size_t i = 0; i < n8; i += 8)
      for (size_t kk = k0; kk < k8; kk += 8) transpose8(dst + kk * r + i, r, src + i * si + kk, si);
    if (n4 > n8)
      for (size_t kk = k0; kk < k8; kk += 4) transpose4(dst + kk * r + n8, r, src + n8 * si + kk, si);
    for (size_t i = 0; i < n4; i++)
      for (size_t kk = k8; kk < k1; kk++) dst[kk * r + i] = src[i * si + kk];
    for (size_t i = n4; i < n; i++)
      for (size_t kk = k0; kk < k1; kk++) dst[kk * r + i] = src[i * si + kk];
  }
}

LIP_HOT void lip_pack_lanes(float *restrict dst, size_t r, size_t n, size_t k, const float *restrict src,
                            size_t si, size_t sk) {
  if (si != 1) {
    pack_transposed(dst, r, n, k, src, si);
  } else if (r == 32 && n == 32) { /* the sizes of the AVX-512 and AVX2 kernels, unrolled by the compiler */
    for (size_t kk = 0; kk < k; kk++)
      for (size_t i = 0; i < 32; i++) dst[kk * 32 + i] = src[kk * sk + i];
  } else if (r == 16 && n == 16) {
    for (size_t kk = 0; kk < k; kk++)
      for (size_t i = 0; i < 16; i++) dst[kk * 16 + i] = src[kk * sk + i];
  } else if (r == 12 && n == 12) {
    for (size_t kk = 0; kk < k; kk++)
      for (size_t i = 0; i < 12; i++) dst[kk * 12 + i] = src[kk * sk + i];
  } else {
    for (size_t kk = 0; kk < k; kk++)
      for (size_t i = 0; i < n; i++) dst[kk * r + i] = src[kk * sk + i];
  }
}

/* Whole panels side by side, a row of all of them at a time: the rows of a large matrix lie pages apart, and panel after
 * panel would go through all those pages for 128 bytes of each. */
LIP_INLINE void copy_rows(float *restrict dst, size_t r, size_t panels, size_t k, const float *restrict src,
                          size_t sk) {
  for (size_t kk = 0; kk < k; kk++)
    for (size_t p = 0; p < panels; p++)
      for (size_t i = 0; i < r; i++) dst[(p * k + kk) * r + i] = src[kk * sk + p * r + i];
}

LIP_HOT static void pack_side_by_side(float *restrict dst, size_t r, size_t panels, size_t k,
                                      const float *restrict src, size_t sk) {
  enum { TOGETHER = 8 };
  for (size_t p = 0; p < panels; p += TOGETHER) {
    size_t some = panels - p < TOGETHER ? panels - p : TOGETHER;
    if (r == 32)
      copy_rows(dst + p * r * k, 32, some, k, src + p * r, sk);
    else if (r == 16)
      copy_rows(dst + p * r * k, 16, some, k, src + p * r, sk);
    else if (r == 12)
      copy_rows(dst + p * r * k, 12, some, k, src + p * r, sk);
    else
      copy_rows(dst + p * r * k, r, some, k, src + p * r, sk);
  }
}

static void pack(float *dst, size_t r, size_t n, size_t k, const lip_operand *x, size_t i0, size_t k0) {
  if (x->si == 1 && n >= r) {
    pack_side_by_side(dst, r, n / r, k, x->src + i0 + k0 * x->sk, x->sk);
    dst += n / r * r * k;
    i0 += n / r * r;
    n %= r;
  }
  for (size_t i = 0; i < n; i += r, dst += r * k) {
    size_t real = n - i < r ? n - i : r;
    if (real < r) memset(dst, 0, r * k * sizeof *dst);
    lip_pack_lanes(dst, r, real, k, x->src + (i0 + i) * x->si + k0 * x->sk, x->si, x->sk);
  }
}

size_t lip_kernel_narrow(const lip_kernel *kernel) {
  return kernel->by_columns ? kernel->nr : kernel->mr;
}

size_t lip_kernel_wide(const lip_kernel *kernel) {
  return kernel->by_columns ? kernel->mr : kernel->nr;
}

size_t lip_product_scratch(const lip_kernel *kernel) {
  return sizeof(float) * ((kernel->mc + kernel->nc) * kernel->kc + kernel->mr * kernel->nr);
}

/* Block i.., k.. of operand x in panels of r: where it stands, or packed into `room`. */
static const float *block_of(const lip_operand *x, size_t r, size_t i, size_t n, size_t k, size_t kk,
                             float *room, size_t *step) {
  if (x->panels) {
    *step = x->step;
    return x->panels + i / r * x->step + k * r;
  }
  *step = r * kk;
  pack(room, r, n, kk, x, i, k);
  return room;
}

void lip_product_run(const lip_kernel *kernel, const lip_product *x, void *scratch) {
  const bool turned = kernel->by_columns; /* then the kernel computes C' = B A' */
  const lip_operand *p = turned ? &x->b : &x->a, *q = turned ? &x->a : &x->b;
  const size_t m = turned ? x->N : x->M, n = turned ? x->M : x->N;
  float *P = scratch, *Q = P + kernel->mc * kernel->kc;
  lip_block b = {.alpha = x->alpha,
                 .rs = turned ? 1 : x->ldc,
                 .cs = turned ? x->ldc : 1,
                 .lower = x->lower,
                 .tile = Q + kernel->nc * kernel->kc};
  for (size_t j = 0; j < n; j += kernel->nc) {
    b.n = n - j < kernel->nc ? n - j : kernel->nc;
    for (size_t k = 0; k < x->K; k += kernel->kc) {
      b.k = x->K - k < kernel->kc ? x->K - k : kernel->kc;
      b.beta = k == 0 ? x->beta : 1;
      b.q = block_of(q, kernel->nr, j, b.n, k, b.k, Q, &b.q_step);
      for (size_t i = 0; i < m; i += kernel->mc) {
        b.m = m - i < kernel->mc ? m - i : kernel->mc;
        b.p = block_of(p, kernel->mr, i, b.m, k, b.k, P, &b.p_step);
        b.C = x->C + i * b.rs + j * b.cs;
        b.row = (turned ? j : i) + x->diagonal;
        b.col = turned ? i : j;
        kernel->multiply(&b);
      }
    }
  }
}
