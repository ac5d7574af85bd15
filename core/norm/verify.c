/* Proved bounds of sigma_max of a float32 matrix in plain double arithmetic.
 *
 * Let A (k,n) be the matrix or its transpose with k <= n, scaled by a power of two so that its largest entry is in
 * [1/2, 1): exact, and squares neither overflow nor underflow. u = 2^-53, gamma_j = j u / (1 - j u).
 *
 * G = fl(A A^T). Products of two float32 numbers are exact in double, a sum of n terms in any order errs by at most
 * gamma_n times the sum of absolute values (Higham 2002, section 3.1), so A A^T = G + E with
 *     ||E||_2 <= ||E||_inf <= e := gamma_n || |A| |A|^T ||_inf.
 *
 * Let B be a symmetric matrix of floating-point numbers whose Cholesky factorisation runs to completion with positive
 * pivots. Its factor satisfies R^T R = B + D with |D_ij| <= gamma_{k+1} (|R|^T |R|)_ij in any order of the sums
 * (Higham 2002, theorem 10.3), and the diagonal gives ||r_i||^2 <= b_ii / (1 - gamma_{k+1}) for the columns r_i of R;
 * by Cauchy and Schwarz |D| <= phi d d^T with phi = gamma_{k+1} / (1 - gamma_{k+1}), d_i = sqrt(b_ii), and
 * ||d d^T||_2 = tr B (Demmel 1989; Rump 2006). Hence B + phi tr(B) I is positive semi-definite. Underflow inside the
 * factorisation adds below k (k + sqrt(max b)) 2^-1074 to ||D||_2, far below the 2^-900 allowed here.
 *
 * Take b_ij = -g_ij and b_ii = fl(a' - g_ii) (one rounding, at most u |b_ii|). Then
 *     a I - A A^T = B + (a - a') I + diag(rounding) - E
 * is positive semi-definite when a - a' >= phi tr(B) + u max |b_ii| + e + 2^-900, and sigma_max^2 <= a. */
#include <math.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/mem.h"
#include "core/norm/lanczos.h"
#include "core/norm/power.h"
#include "core/norm/round.h"
#include "core/norm/rows.h"
#include "core/norm/spectral.h"
#include "core/norm/symmetric.h"

enum { CHUNK = 256, CHUNK_LD = CHUNK + LIP_PAD, TRIES = 16 };

/* A, seen through the stored matrix. */
typedef struct scaled {
  const float *W;
  size_t M, N, k, n; /* k padded with zero rows to a multiple of LIP_PAD */
  bool transposed;
  int exponent; /* A = W 2^-exponent */
} scaled;

static scaled scale_of(const float *W, size_t M, size_t N, float top) {
  scaled a = {.W = W, .M = M, .N = N, .transposed = M > N};
  size_t small = M < N ? M : N;
  a.k = (small + LIP_PAD - 1) / LIP_PAD * LIP_PAD;
  a.n = M < N ? N : M;
  (void)frexpf(top, &a.exponent);
  return a;
}

/* Columns [p0, p0 + CHUNK) of A, zero padded. */
static void pack(const scaled *a, size_t p0, double *panel) {
  double s = ldexp(1, -a->exponent);
  size_t p1 = a->n - p0 < CHUNK ? a->n : p0 + CHUNK;
  memset(panel, 0, a->k * CHUNK_LD * sizeof *panel);
  if (a->transposed) {
    for (size_t p = p0; p < p1; p++)
      for (size_t i = 0; i < a->N; i++) panel[i * CHUNK_LD + p - p0] = (double)a->W[p * a->N + i] * s;
  } else {
    for (size_t i = 0; i < a->M; i++)
      for (size_t p = p0; p < p1; p++) panel[i * CHUNK_LD + p - p0] = (double)a->W[i * a->N + p] * s;
  }
}

static lip_status cancelled(lip_err *err) {
  return lip_cancel_check("the norm of a matrix", err);
}

/* A sum was left unfinished, whatever the flag says by now. */
static lip_status stopped(lip_err *err) {
  return lip_fail(err, LIP_CANCELLED, "the norm of a matrix: cancelled");
}

/* G = fl(A A^T), mirrored; *e >= ||A A^T - G||_2. The row sums of |A| |A|^T come from the same panels. LIP_MEMORY, LIP_CANCELLED.
 */
static lip_status gram(const scaled *a, double *G, double *e, lip_err *err) {
  double *panel = lip_alloc(a->k, CHUNK_LD * sizeof *panel), *row = lip_alloc(a->k, sizeof *row), top = 0;
  lip_status st = LIP_OK;
  if (!panel || !row) {
    st = lip_fail(err, LIP_MEMORY, "no memory for the norm of a %zux%zu matrix", a->M, a->N);
    goto done;
  }
  for (size_t p0 = 0; p0 < a->n; p0 += CHUNK) {
    st = cancelled(err);
    if (st != LIP_OK) goto done;
    double column[CHUNK] = {0};
    pack(a, p0, panel);
    if (!lip_sym_add_gram_polled(G, a->k, panel, CHUNK_LD, CHUNK)) {
      st = stopped(err);
      goto done;
    }
    for (size_t i = 0; i < a->k; i++)
      for (size_t p = 0; p < CHUNK; p++) {
        double *x = &panel[i * CHUNK_LD + p];
        *x = fabs(*x);
        column[p] += *x;
      }
    for (size_t i = 0; i < a->k; i++) row[i] += lip_sym_dot(panel + i * CHUNK_LD, column, CHUNK);
  }
  lip_sym_mirror(G, a->k);
  for (size_t i = 0; i < a->k; i++) top = row[i] > top ? row[i] : top;
  /* `row` itself has at most n + k + 2 roundings; padding with zeros adds none to G */
  *e = lip_up(lip_gamma(a->n) * top * (1 + 4 * lip_gamma(a->n + a->k + 2)));
done:
  lip_free(panel);
  lip_free(row);
  return st;
}

/* ---- the proof ---- */

/* True when sigma^2 <= *a is proved for a = theta + the shift the proof costs + theta * slack. B is destroyed. */
static bool prove(const double *G, double *B, size_t k, double e, double theta, double slack, double *a) {
  double trace = 0, most = 0, base = theta * (1 + slack);
  memcpy(B, G, k * k * sizeof *B);
  for (size_t i = 0; i < k * k; i++) B[i] = -B[i];
  for (size_t i = 0; i < k; i++) {
    double b = base - G[i * k + i];
    B[i * k + i] = b;
    trace += fabs(b);
    most = fabs(b) > most ? fabs(b) : most;
  }
  *a = lip_up(base + lip_sym_proof_shift(k, trace, most, e)); /* here a' = base */
  return isfinite(*a) && lip_sym_cholesky_polled(B, k, k);
}

static lip_status no_memory(lip_err *err, size_t M, size_t N) {
  return lip_fail(err, LIP_MEMORY, "no memory for the spectral norm of a %zux%zu matrix", M, N);
}

typedef struct whole {
  const double *G;
  size_t k;
} whole;

static void apply_whole(const void *arg, const double *x, double *y) {
  const whole *a = arg;
  lip_sym_apply(a->G, a->k, x, y);
}

lip_status lip_spectral_upper(const float *W, size_t M, size_t N, double *upper, lip_err *err) {
  double frobenius = lip_row_norm(W, M * N, LIP_P2).high, e = 0, a = 0, slack = 0x1p-44, gram_bound;
  float top = lip_row_abs_max(W, M * N);
  *upper = INFINITY;
  if (!isfinite(top)) return LIP_OK;
  if (top == 0 || M == 1 || N == 1) return *upper = frobenius, LIP_OK;
  scaled s = scale_of(W, M, N, top);
  size_t cells, steps = s.k < LIP_LANCZOS_MOST ? s.k : LIP_LANCZOS_MOST;
  bool proved = false;
  double *G = NULL, *B = NULL, *V = NULL;
  lip_status st = LIP_OK;
  if (!lip_mul_fits(s.k, s.k, &cells)) return no_memory(err, M, N);
  G = lip_alloc(cells, sizeof *G);
  B = lip_alloc(cells, sizeof *B);
  V = lip_alloc((steps + 1) * s.k, sizeof *V);
  if (!G || !B || !V) {
    st = no_memory(err, M, N);
    goto done;
  }
  st = gram(&s, G, &e, err);
  if (st != LIP_OK) goto done;
  double theta = lip_lanczos(apply_whole, &(whole){G, s.k}, s.k, s.k, steps, 0x1p-46, V);
  for (int i = 0; i < TRIES && !proved && !lip_cancelled(); i++, slack *= 8)
    proved = prove(G, B, s.k, e, theta, slack, &a);
  if (proved) {
    double sigma = ldexp(lip_sqrt_up(a), s.exponent);
    *upper = sigma < frobenius ? sigma : frobenius;
    goto done;
  }
  st = cancelled(err);
  if (st != LIP_OK) goto done;
  lip_free(B);
  B = NULL;
  st = lip_spectral_gram(W, M, N, 10, &gram_bound, err);
  if (st == LIP_OK) *upper = gram_bound < frobenius ? gram_bound : frobenius;
done:
  lip_free(G);
  lip_free(B);
  lip_free(V);
  return st;
}

lip_status lip_spectral_below(const float *W, size_t M, size_t N, double limit, bool *below, lip_err *err) {
  float top = lip_row_abs_max(W, M * N);
  double e = 0, a = 0;
  *below = false;
  if (!isfinite(top) || !(limit >= 0)) return LIP_OK;
  scaled s = scale_of(W, M, N, top);
  double scaled_limit = ldexp(limit, -s.exponent), most = lip_down(scaled_limit * scaled_limit);
  size_t cells;
  if (top == 0 || !(most > 0x1p-500 && most < 0x1p500)) return *below = top == 0, LIP_OK;
  if (!lip_mul_fits(s.k, s.k, &cells)) return no_memory(err, M, N);
  double *G = lip_alloc(cells, sizeof *G), *B = lip_alloc(cells, sizeof *B);
  lip_status st = G && B ? gram(&s, G, &e, err) : no_memory(err, M, N);
  if (st == LIP_OK) *below = prove(G, B, s.k, e, most * (1 - 0x1p-30), 0, &a) && a <= most;
  if (st == LIP_OK && !*below) st = cancelled(err);
  lip_free(G);
  lip_free(B);
  return st;
}

/* ---- the Gram iteration: sigma^2 <= ||G_t||_F^(1/2^t), squared and rescaled t times (Delattre et al. 2023) ---- */

/* ||G||_F rounded up, for entries below 2^500. */
static double frobenius_up(const double *G, size_t k) {
  double sum = lip_sym_dot(G, G, k * k);
  return lip_sqrt_up(lip_up(sum * (1 + 2 * lip_gamma(k * k)) + 0x1p-900));
}

lip_status lip_spectral_gram(const float *W, size_t M, size_t N, size_t iterations, double *upper,
                             lip_err *err) {
  enum { MOST = 48 };
  double cost[MOST], factor[MOST], e = 0, bound;
  float top = lip_row_abs_max(W, M * N);
  size_t cells, steps = iterations > MOST ? MOST : iterations;
  *upper = INFINITY;
  if (!isfinite(top)) return LIP_OK;
  if (top == 0 || steps == 0 || M == 1 || N == 1) return *upper = lip_row_norm(W, M * N, LIP_P2).high, LIP_OK;
  scaled s = scale_of(W, M, N, top);
  if (!lip_mul_fits(s.k, s.k, &cells)) return no_memory(err, M, N);
  double *G = lip_alloc(cells, sizeof *G), *H = lip_alloc(cells, sizeof *H);
  lip_status st = G && H ? gram(&s, G, &e, err) : no_memory(err, M, N);
  if (st != LIP_OK) goto done;
  bound = frobenius_up(G, s.k);
  for (size_t t = 1; t < steps; t++) {
    /* halve exponents to near 1: exact but for underflow, at most 2^-1074 per entry */
    int shift;
    (void)frexp(bound, &shift);
    factor[t] = ldexp(1, shift);
    for (size_t i = 0; i < cells; i++) G[i] *= 1 / factor[t];
    bound = lip_up(bound / factor[t]);
    /* ||fl(G G) - G G||_F <= gamma_k || |G| |G| ||_F <= gamma_k ||G||_F^2, and the underflows of both steps */
    cost[t] = lip_up(lip_gamma(s.k) * bound * bound * (1 + 0x1p-48) + 0x1p-900);
    memset(H, 0, cells * sizeof *H);
    if (!lip_sym_add_gram_polled(H, s.k, G, s.k, s.k)) {
      st = stopped(err);
      goto done;
    }
    lip_sym_mirror(H, s.k);
    double *swap = G;
    G = H;
    H = swap;
    bound = frobenius_up(G, s.k);
  }
  /* unwind: ||G_{t-1}||_2 <= factor * sqrt(||G_t||_2 + cost) */
  for (size_t t = steps; t-- > 1;)
    bound = lip_up(lip_sqrt_up(lip_add_up(bound, cost[t])) + 0x1p-900) * factor[t];
  *upper = ldexp(lip_sqrt_up(lip_add_up(bound, e)), s.exponent);
done:
  lip_free(G);
  lip_free(H);
  return st;
}

/* ---- from below ---- */

/* ||Wx||_2 / ||x||_2 rounded down: each element of Wx errs by at most gamma_N |W||x|. */
static double quotient_down(const float *W, size_t M, size_t N, const double *x) {
  double yy = 0, dd = 0, xx = 0, g = lip_gamma(N + 2);
  for (size_t j = 0; j < N; j++) xx += x[j] * x[j];
  for (size_t i = 0; i < M; i++) {
    double y = 0, d = 0;
    for (size_t j = 0; j < N; j++) {
      double t = (double)W[i * N + j] * x[j];
      y += t;
      d += fabs(t);
    }
    yy += y * y;
    dd += d * d;
  }
  /* ||y exact|| >= ||y|| - gamma || |W||x| ||; every sum of squares within gamma_{M+N+2}, underflow far below */
  double r = 4 * lip_gamma(M + N + 4);
  double low = sqrt(yy) * (1 - r) - 2 * g * sqrt(dd) * (1 + r);
  if (!(low > 0x1p-300) || !(xx > 0x1p-500)) return 0;
  return lip_down(low / (sqrt(xx) * (1 + r)));
}

lip_status lip_spectral_lower(const float *W, size_t M, size_t N, double *lower, lip_err *err) {
  *lower = 0;
  double *v = lip_alloc(N, sizeof *v), *scratch = lip_alloc(M + N, sizeof *scratch);
  lip_status st = LIP_OK;
  if (!v || !scratch) {
    st = no_memory(err, M, N);
  } else {
    lip_power_estimate(W, M, N, 200, v, scratch);
    st = cancelled(err);
    if (st == LIP_OK) *lower = quotient_down(W, M, N, v);
  }
  lip_free(v);
  lip_free(scratch);
  return st;
}
