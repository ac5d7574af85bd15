/* The matrix product on BLIS's micro-kernel (Van Zee, van de Geijn 2015). BLIS's own sgemm packs both operands on
 * every call through an object layer made for large matrices; the products of a training step are small, and here
 * they ran at 15 to 50 % of the machine. So this file packs the operands itself, into memory its caller
 * owns, and calls the micro-kernel: C tile (mr, nr) += panel of P (k, mr) times panel of Q (k, nr).
 *
 * A kernel that prefers C by columns computes the transposed product, so C is always met in its own order.
 * Every tile sums over k in the same order whatever its place; tiles at the edge go through a buffer with the
 * same arithmetic. */
#include "core/tensor/gemm.h"

#if defined(LIP_BLIS)

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <blis.h>

#include "core/base/simd.h"

enum { MAX_MR = 64, MAX_NR = 64, MAX_MC = 480, MAX_KC = 384, MAX_NC = 768 };

static struct {
  sgemm_ukr_ft kernel;
  cntx_t *context;
  size_t mr, nr, mc, nc, kc;
  bool by_columns; /* the kernel writes C best when its columns are contiguous */
  char name[64];
} blis;

/* BLIS 0.9 tells AVX-512 machines apart by the processor's marketing name and takes AVX2 kernels when it does not
 * know it; the instructions themselves are what matters. A choice of the user stands. */
static bool has_avx512(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

static size_t round_down(size_t value, size_t multiple, size_t most) {
  size_t v = value < most ? value : most;
  return v < multiple ? multiple : v / multiple * multiple;
}

/* The families this BLIS was built with. It aborts on any other number in BLIS_ARCH_TYPE. */
static bool is_family(const char *text) {
  static const int built[] = {
#ifdef BLIS_CONFIG_SKX
      BLIS_ARCH_SKX,
#endif
#ifdef BLIS_CONFIG_HASWELL
      BLIS_ARCH_HASWELL,
#endif
#ifdef BLIS_CONFIG_SANDYBRIDGE
      BLIS_ARCH_SANDYBRIDGE,
#endif
#ifdef BLIS_CONFIG_PENRYN
      BLIS_ARCH_PENRYN,
#endif
#ifdef BLIS_CONFIG_ZEN3
      BLIS_ARCH_ZEN3,
#endif
#ifdef BLIS_CONFIG_ZEN2
      BLIS_ARCH_ZEN2,
#endif
#ifdef BLIS_CONFIG_ZEN
      BLIS_ARCH_ZEN,
#endif
#ifdef BLIS_CONFIG_GENERIC
      BLIS_ARCH_GENERIC,
#endif
  };
  char *end;
  long id = strtol(text, &end, 10);
  if (end == text || *end != '\0') return false;
  for (size_t i = 0; i < sizeof built / sizeof *built; i++)
    if (built[i] == id) return true;
  return false;
}

static void start(void) {
  char skx[8];
  const char *chosen = getenv("BLIS_ARCH_TYPE");
  bool refused = chosen && !is_family(chosen);
  bool set = has_avx512() && (!chosen || refused);
  snprintf(skx, sizeof skx, "%d", (int)BLIS_ARCH_SKX);
  if (refused) unsetenv("BLIS_ARCH_TYPE");
  if (set) setenv("BLIS_ARCH_TYPE", skx, 1);
  bli_init(); /* before any query: the family is looked up in tables that this fills */
  cntx_t *c = bli_gks_query_cntx();
  arch_t arch = bli_arch_query_id();
  if (set) unsetenv("BLIS_ARCH_TYPE");
  blis.context = c;
  void *kernel = bli_cntx_get_l3_nat_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, c);
  memcpy(&blis.kernel, &kernel, sizeof kernel); /* ISO C has no cast from object to function pointer */
  blis.mr = (size_t)bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MR, c);
  blis.nr = (size_t)bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_NR, c);
  blis.mc = round_down((size_t)bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MC, c), blis.mr, MAX_MC);
  blis.nc = round_down(MAX_NC, blis.nr, MAX_NC);
  blis.kc = round_down((size_t)bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_KC, c), 1, MAX_KC);
  blis.by_columns = !bli_cntx_l3_nat_ukr_prefers_rows_dt(BLIS_FLOAT, BLIS_GEMM_UKR, c);
  snprintf(blis.name, sizeof blis.name, "blis %s %s%s", bli_info_get_version_str(), bli_arch_string(arch),
           refused ? " (BLIS_ARCH_TYPE ignored)" : "");
}

static void ready(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, start);
}

size_t lip_gemm_scratch(void) {
  ready();
  return sizeof(float) * (blis.mc * blis.kc + blis.nc * blis.kc + MAX_MR * MAX_NR);
}

const char *lip_gemm_backend(void) {
  ready();
  return blis.name;
}

/* An operand as the packing sees it: element (i, k) stands at src[i * si + k * sk]; one of the strides is 1. */
typedef struct operand {
  const float *src;
  size_t si, sk;
} operand;

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

/* One panel of r rows, n of them real, the rest zero. */
LIP_HOT static void pack_panel(float *restrict dst, size_t r, size_t n, size_t k, const float *restrict src,
                               size_t si, size_t sk) {
  if (n < r) memset(dst, 0, r * k * sizeof *dst);
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

static void pack(float *dst, size_t r, size_t n, size_t k, operand x, size_t i0, size_t k0) {
  for (size_t i = 0; i < n; i += r, dst += r * k) {
    size_t real = n - i < r ? n - i : r;
    pack_panel(dst, r, real, k, x.src + (i0 + i) * x.si + k0 * x.sk, x.si, x.sk);
  }
}

/* C (m, n) = beta * C + alpha * P Q^T on packed panels; beta is 0 or 1; element (i, j) of C at i * rs + j * cs. */
static void multiply_block(size_t m, size_t n, size_t k, float alpha, const float *P, const float *Q,
                           float beta, float *C, size_t rs, size_t cs, float *tile) {
  float zero = 0;
  auxinfo_t aux;
  memset(&aux, 0, sizeof aux);
  size_t tile_rs = rs == 1 ? 1 : blis.nr, tile_cs = rs == 1 ? blis.mr : 1;
  for (size_t j = 0; j < n; j += blis.nr)
    for (size_t i = 0; i < m; i += blis.mr) {
      float *p = (float *)(uintptr_t)(P + i * k),
            *q = (float *)(uintptr_t)(Q + j * k); /* BLIS knows no const */
      float *c = C + i * rs + j * cs;
      size_t mi = m - i < blis.mr ? m - i : blis.mr, nj = n - j < blis.nr ? n - j : blis.nr;
      aux.a_next = i + blis.mr < m ? p + blis.mr * k : (float *)(uintptr_t)P;
      aux.b_next = i + blis.mr < m ? q : q + blis.nr * k;
      if (mi == blis.mr && nj == blis.nr) {
        blis.kernel((dim_t)mi, (dim_t)nj, (dim_t)k, &alpha, p, q, &beta, c, (inc_t)rs, (inc_t)cs, &aux,
                    blis.context);
        continue;
      }
      blis.kernel((dim_t)blis.mr, (dim_t)blis.nr, (dim_t)k, &alpha, p, q, &zero, tile, (inc_t)tile_rs,
                  (inc_t)tile_cs, &aux, blis.context);
      for (size_t jj = 0; jj < nj; jj++)
        for (size_t ii = 0; ii < mi; ii++) {
          float t = tile[ii * tile_rs + jj * tile_cs];
          c[ii * rs + jj * cs] = beta == 0 ? t : c[ii * rs + jj * cs] + t;
        }
    }
}

static void scale_rows(float *C, size_t M, size_t N, size_t ldc, float beta) {
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) C[i * ldc + j] = beta == 0 ? 0 : C[i * ldc + j] * beta;
}

/* C (m, n) = alpha P Q^T + beta C in the kernel's roles; an operand that stands packed already is not packed again. */
typedef struct product {
  operand p, q;
  const float *packed_p, *packed_q; /* whole operands in panels, or NULL */
  size_t m, n, K;
  float alpha, beta;
  float *C;
  size_t rs, cs;
} product;

/* Where k-block k of a packed operand of `rows` rows begins: blocks follow each other, each in panels of r rows. */
static const float *packed_block(const float *packed, size_t rows, size_t r, size_t k) {
  return packed + (rows + r - 1) / r * r * k;
}

static void multiply(const product *x, float *scratch) {
  float *P = scratch, *Q = P + blis.mc * blis.kc, *tile = Q + blis.nc * blis.kc;
  for (size_t j = 0; j < x->n; j += blis.nc) {
    size_t nj = x->n - j < blis.nc ? x->n - j : blis.nc;
    for (size_t k = 0; k < x->K; k += blis.kc) {
      size_t kk = x->K - k < blis.kc ? x->K - k : blis.kc;
      const float *q = Q;
      if (x->packed_q)
        q = packed_block(x->packed_q, x->n, blis.nr, k) + j * kk;
      else
        pack(Q, blis.nr, nj, kk, x->q, j, k);
      for (size_t i = 0; i < x->m; i += blis.mc) {
        size_t mi = x->m - i < blis.mc ? x->m - i : blis.mc;
        const float *p = P;
        if (x->packed_p)
          p = packed_block(x->packed_p, x->m, blis.mr, k) + i * kk;
        else
          pack(P, blis.mr, mi, kk, x->p, i, k);
        multiply_block(mi, nj, kk, x->alpha, p, q, k == 0 ? x->beta : 1, x->C + i * x->rs + j * x->cs, x->rs,
                       x->cs, tile);
      }
    }
  }
}

/* Row-major C (M, N) = A B as the kernel likes it: itself, or transposed. */
static product arrange(operand a, operand b, size_t M, size_t N, size_t K, float alpha, float beta, float *C,
                       size_t ldc) {
  product x = {
      .p = a, .q = b, .m = M, .n = N, .K = K, .alpha = alpha, .beta = beta, .C = C, .rs = ldc, .cs = 1};
  if (!blis.by_columns) return x;
  x.p = b;
  x.q = a;
  x.m = N;
  x.n = M;
  x.rs = 1;
  x.cs = ldc;
  return x;
}

void lip_gemm(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, const float *A,
              size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc, void *scratch) {
  ready();
  if (M == 0 || N == 0) return;
  if (K == 0 || (beta != 0 && beta != 1)) { /* the kernels then meet 0 and 1 only */
    scale_rows(C, M, N, ldc, beta);
    if (K == 0) return;
    if (beta != 0) beta = 1;
  }
  operand a = {A, ta == LIP_N ? lda : 1, ta == LIP_N ? 1 : lda};
  operand b = {B, tb == LIP_N ? 1 : ldb, tb == LIP_N ? ldb : 1};
  product x = arrange(a, b, M, N, K, alpha, beta, C, ldc);
  multiply(&x, scratch);
}

/* ---- weights kept in panels ---- */

static size_t panel_rows(void) {
  return blis.by_columns ? blis.mr : blis.nr;
}

size_t lip_gemm_packed_size(size_t N, size_t K) {
  ready();
  size_t r = panel_rows();
  return LIP_GEMM_PACK_GRAIN % r == 0 ? (N + r - 1) / r * r * K : 0;
}

void lip_gemm_pack(float *packed, const float *W, size_t N, size_t K, size_t n0, size_t n1) {
  size_t r = panel_rows();
  operand w = {W, K, 1};
  for (size_t k = 0; k < K; k += blis.kc) {
    size_t kk = K - k < blis.kc ? K - k : blis.kc;
    float *block = packed + (N + r - 1) / r * r * k;
    pack(block + n0 * kk, r, n1 - n0, kk, w, n0, k);
  }
}

void lip_gemm_packed(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *packed, float *C,
                     size_t ldc, void *scratch) {
  if (M == 0 || N == 0) return;
  product x = arrange((operand){A, lda, 1}, (operand){NULL, 0, 0}, M, N, K, 1, 0, C, ldc);
  if (blis.by_columns)
    x.packed_p = packed;
  else
    x.packed_q = packed;
  multiply(&x, scratch);
}

#endif
