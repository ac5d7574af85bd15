/* The clip of a training step. A (k,n) is the matrix or its transpose with k <= n. Q (b,k) has orthonormal rows and
 * follows the leading left singular vectors: each call does a Rayleigh-Ritz step, which gives sigma_i and rows q_i
 * with q_i A of length sigma_i and mutually orthogonal, lowers those above the radius,
 *     A <- A - sum_i (1 - radius / sigma_i) q_i^T (q_i A),
 * and one step of orthogonal iteration (Golub and Van Loan 2013, section 8.2.4). The update multiplies A from the left by
 * a contraction, so it never raises a singular value, converged or not; with b = k it is the exact projection. */
#include "core/norm/spectral.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/base/simd.h"
#include "core/norm/lanes.h"
#include "core/norm/rows.h"
#include "core/tensor/gemm.h"
#include "core/tensor/linalg.h"

/* Inside by more than float32 rounding, so that a matrix just clipped is not touched again. */
#define AIM (1 - 0x1p-20)

enum { MAX_BLOCK = 16, COLD_ROUNDS = 12, MAX_SWEEPS = 30 };

struct lip_spectral {
  size_t M, N, k, n, b;
  bool transposed;
  float *warm;          /* behind Q, so that both are stored as one array: 0 until Q has been started */
  float *Q, *P, *C, *R; /* (b,k), (b,n), (b, max(k,n)) and (b,b) */
  double *Z;            /* (b,k) */
  void *gemm;           /* the caller's, during a call */
};

lip_spectral *lip_spectral_new(size_t M, size_t N, size_t block) {
  lip_spectral *s = lip_alloc(1, sizeof *s);
  if (!s) return NULL;
  *s = (lip_spectral){.M = M, .N = N, .k = M < N ? M : N, .n = M < N ? N : M, .transposed = M > N};
  s->b = block < MAX_BLOCK ? block : MAX_BLOCK;
  if (s->k < s->b) s->b = s->k;
  s->Q = lip_alloc(s->b * s->k + 1, sizeof(float));
  s->P = lip_alloc(s->b, s->n * sizeof(float));
  s->C = lip_alloc(s->b, s->n * sizeof(float));
  s->R = lip_alloc(s->b, s->b * sizeof(float));
  s->Z = lip_alloc(s->b, s->k * sizeof(double));
  if (s->Q) s->warm = s->Q + s->b * s->k;
  if (s->Q && s->P && s->C && s->R && s->Z) return s;
  lip_spectral_free(s);
  return NULL;
}

void lip_spectral_free(lip_spectral *s) {
  if (!s) return;
  lip_free(s->Q);
  lip_free(s->P);
  lip_free(s->C);
  lip_free(s->R);
  lip_free(s->Z);
  lip_free(s);
}

/* ---- products ---- */

static void apply(lip_spectral *s, const float *W, float alpha) { /* P = alpha Q A */
  lip_gemm(LIP_N, s->transposed ? LIP_T : LIP_N, s->b, s->n, s->k, alpha, s->Q, s->k, W, s->N, 0, s->P, s->n,
           s->gemm);
}

static void apply_back(lip_spectral *s, const float *W, float alpha) { /* C (b,k) = alpha P A^T */
  lip_gemm(LIP_N, s->transposed ? LIP_N : LIP_T, s->b, s->k, s->n, alpha, s->P, s->n, W, s->N, 0, s->C, s->k,
           s->gemm);
}

static void subtract(lip_spectral *s, float *W, size_t rank,
                     float alpha) { /* A -= alpha C^T P, leading rows */
  if (s->transposed)
    lip_gemm(LIP_T, LIP_N, s->M, s->N, rank, -alpha, s->P, s->n, s->C, s->k, 1, W, s->N, s->gemm);
  else
    lip_gemm(LIP_T, LIP_N, s->M, s->N, rank, -alpha, s->C, s->k, s->P, s->n, 1, W, s->N, s->gemm);
}

static void rotate(lip_spectral *s, float *X, size_t len) { /* X = R X, through C */
  lip_gemm(LIP_N, LIP_N, s->b, len, s->b, 1, s->R, s->b, X, len, 0, s->C, len, s->gemm);
  memcpy(X, s->C, s->b * len * sizeof *X);
}

LIP_HOT static double dot_f(const float *x, const float *y, size_t n) {
  double part[2 * LIP_LANES] = {0};
  size_t i = 0;
  for (; i + 2 * LIP_LANES <= n; i += 2 * LIP_LANES)
    for (size_t l = 0; l < 2 * LIP_LANES; l++) part[l] += (double)x[i + l] * (double)y[i + l];
  for (size_t l = 0; i + l < n; l++) part[l] += (double)x[i + l] * (double)y[i + l];
  for (size_t half = LIP_LANES; half > 0; half /= 2)
    for (size_t l = 0; l < half; l++) part[l] += part[l + half];
  return part[0];
}

LIP_INLINE double dot(const double *x, const double *y, size_t n) {
  double part[LIP_LANES] = {0};
  size_t i = 0;
  for (; i + LIP_LANES <= n; i += LIP_LANES)
    for (size_t l = 0; l < LIP_LANES; l++) part[l] += x[i + l] * y[i + l];
  for (; i < n; i++) part[0] += x[i] * y[i];
  return LIP_SUM8(part);
}

/* Rows of Z (b,k) made orthonormal (modified Gram-Schmidt, repeated when a row loses most of its length), a row
 * that vanishes replaced by a random one; into Q. */
LIP_HOT static void orthonormalise(lip_spectral *s) {
  lip_rng rng = lip_rng_new(2, LIP_RNG_USER, 0);
  for (size_t i = 0; i < s->b; i++) {
    double *z = s->Z + i * s->k, before = sqrt(dot(z, z, s->k)), after = 0;
    for (int pass = 0; pass < 4; pass++) {
      if (!(before > 0)) {
        for (size_t c = 0; c < s->k; c++) z[c] = lip_rng_normal(&rng);
        before = sqrt(dot(z, z, s->k));
      }
      for (size_t j = 0; j < i; j++) {
        const double *y = s->Z + j * s->k;
        double f = dot(y, z, s->k);
        for (size_t c = 0; c < s->k; c++) z[c] -= f * y[c];
      }
      after = sqrt(dot(z, z, s->k));
      if (after > 0.5 * before) break;
      before = after > 0x1p-40 * before ? after : 0;
    }
    double f = after > 0 ? 1 / after : 0;
    for (size_t c = 0; c < s->k; c++) {
      z[c] *= f;
      s->Q[i * s->k + c] = (float)z[c];
    }
  }
}

/* ---- Rayleigh-Ritz ---- */

/* Cyclic Jacobi (Golub and Van Loan 2013, section 8.5) on H (b,b); rows of R are the eigenvectors. */
static void jacobi(double H[MAX_BLOCK][MAX_BLOCK], double R[MAX_BLOCK][MAX_BLOCK], size_t b) {
  for (int sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    bool rotated = false;
    for (size_t p = 0; p + 1 < b; p++)
      for (size_t q = p + 1; q < b; q++) {
        double h = H[p][q];
        if (!(fabs(h) > 0x1p-34 * sqrt(fabs(H[p][p] * H[q][q])))) continue;
        double t = (H[q][q] - H[p][p]) / (2 * h);
        t = (t >= 0 ? 1 : -1) / (fabs(t) + sqrt(1 + t * t));
        double c = 1 / sqrt(1 + t * t), sn = t * c;
        for (size_t i = 0; i < b; i++) {
          double x = H[i][p], y = H[i][q];
          H[i][p] = c * x - sn * y;
          H[i][q] = sn * x + c * y;
        }
        for (size_t i = 0; i < b; i++) {
          double x = H[p][i], y = H[q][i], u = R[p][i], v = R[q][i];
          H[p][i] = c * x - sn * y;
          H[q][i] = sn * x + c * y;
          R[p][i] = c * u - sn * v;
          R[q][i] = sn * u + c * v;
        }
        rotated = true;
      }
    if (!rotated) return;
  }
}

float *lip_spectral_warm(lip_spectral *s, size_t *n) {
  *n = s->b * s->k + 1;
  return s->Q;
}

/* Turns Q and P = alpha Q A to Ritz vectors, sigma[i] = ||q_i A||, descending. False when something is not finite. */
static bool ritz(lip_spectral *s, const float *W, float alpha, double *sigma) {
  double H[MAX_BLOCK][MAX_BLOCK], R[MAX_BLOCK][MAX_BLOCK] = {{0}};
  size_t order[MAX_BLOCK];
  apply(s, W, alpha);
  for (size_t i = 0; i < s->b; i++) {
    R[i][i] = 1;
    for (size_t j = 0; j <= i; j++) {
      H[i][j] = H[j][i] = dot_f(s->P + i * s->n, s->P + j * s->n, s->n);
      if (!isfinite(H[i][j])) return false;
    }
  }
  jacobi(H, R, s->b);
  for (size_t i = 0; i < s->b; i++) {
    size_t at = i;
    for (; at > 0 && H[order[at - 1]][order[at - 1]] < H[i][i]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
  for (size_t i = 0; i < s->b; i++) {
    double h = H[order[i]][order[i]];
    sigma[i] = sqrt(h > 0 ? h : 0) / (double)alpha;
    for (size_t j = 0; j < s->b; j++) s->R[i * s->b + j] = (float)R[order[i]][j];
  }
  rotate(s, s->Q, s->k);
  rotate(s, s->P, s->n);
  return true;
}

/* One step of orthogonal iteration; P = alpha Q A must be current. */
static void advance(lip_spectral *s, const float *W, float alpha) {
  const float *from = s->Q;
  if (s->b < s->k) {
    apply_back(s, W, alpha);
    from = s->C;
  }
  for (size_t i = 0; i < s->b * s->k; i++) s->Z[i] = (double)from[i];
  orthonormalise(s);
}

/* A power of two that brings entries of size `top` near 1, for float32 products. */
static float near_one(float top) {
  int e;
  (void)frexpf(top, &e);
  return ldexpf(1, e > 120 ? -120 : e < -120 ? 120 : -e);
}

static void start(lip_spectral *s, const float *W, float alpha) {
  double sigma[MAX_BLOCK];
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  for (size_t i = 0; i < s->b * s->k; i++) s->Z[i] = lip_rng_normal(&rng);
  orthonormalise(s);
  for (int i = 0; i < COLD_ROUNDS && s->b < s->k; i++) {
    if (!ritz(s, W, alpha, sigma)) return;
    advance(s, W, alpha);
  }
  *s->warm = 1;
}

void lip_spectral_clip(lip_spectral *s, float *W, double radius, void *scratch) {
  lip_spectral_clip_by(s, W, 0, radius, scratch);
}

void lip_spectral_clip_by(lip_spectral *s, float *W, double factor, double least, void *scratch) {
  double sigma[MAX_BLOCK];
  float top = lip_row_abs_max(W, s->M * s->N);
  if (top == 0 || !isfinite(top)) return;
  float alpha = near_one(top);
  s->gemm = scratch;
  if (*s->warm == 0) start(s, W, alpha);
  if (!ritz(s, W, alpha, sigma)) return;
  const double radius = fmax(least, factor * sigma[0]);
  size_t rank = 0;
  for (; rank < s->b && sigma[rank] > radius; rank++) {
    float f = (float)(1 - radius * AIM / sigma[rank]);
    for (size_t c = 0; c < s->k; c++) s->C[rank * s->k + c] = f * s->Q[rank * s->k + c];
  }
  if (rank > 0) subtract(s, W, rank, 1 / alpha);
  for (size_t i = 0; i < rank; i++) lip_row_scale(s->P + i * s->n, s->n, radius * AIM / sigma[i]);
  advance(s, W, alpha);
}

/* ---- with a full decomposition ---- */

lip_status lip_spectral_clip_exact(float *W, size_t M, size_t N, double radius, lip_err *err) {
  size_t k = M < N ? M : N;
  double *a = lip_alloc(M, N * sizeof *a), *u = lip_alloc(M, k * sizeof *u),
         *vt = lip_alloc(k, N * sizeof *vt);
  double *sigma = lip_alloc(k, sizeof *sigma);
  lip_status st = LIP_OK;
  if (!a || !u || !vt || !sigma) {
    st = lip_fail(err, LIP_MEMORY, "no memory to project a %zux%zu matrix", M, N);
    goto done;
  }
  for (size_t i = 0; i < M * N; i++) a[i] = (double)W[i];
  st = lip_svd(a, M, N, u, sigma, vt, err);
  if (st != LIP_OK) goto done;
  size_t rank = 0;
  while (rank < k && sigma[rank] > radius) rank++;
  bool fits = true;
  for (size_t i = 0; i < M; i++) {
    st = lip_cancel_check("projection", err);
    if (st != LIP_OK) goto done;
    double *row = a + i * N; /* the decomposition has used it up */
    for (size_t j = 0; j < N; j++) row[j] = (double)W[i * N + j];
    for (size_t r = 0; r < rank; r++) {
      double f = u[i * k + r] * (sigma[r] - radius);
      const double *v = vt + r * N;
      for (size_t j = 0; j < N; j++) row[j] -= f * v[j];
    }
    for (size_t j = 0; j < N; j++) fits = fits && fabs(row[j]) <= (double)FLT_MAX;
  }
  if (!fits) {
    st = lip_fail(err, LIP_NOT_FINITE,
                  "the nearest %zux%zu matrix of norm %g has entries beyond the largest float32", M, N,
                  radius);
    goto done;
  }
  for (size_t i = 0; i < M * N; i++) W[i] = (float)a[i];
done:
  lip_free(a);
  lip_free(u);
  lip_free(vt);
  lip_free(sigma);
  return st;
}
