/* bjorck: the nearest orthonormal rows (M <= N) or columns, W = (V V')^-1/2 V, by Newton and Schulz's iteration
 * (Bjorck, Bowie 1971, order 1), which takes every singular value s to 1.5 s - 0.5 s^3. It runs in the n x n Gram matrix of the
 * smaller side, n = min(M, N), whose polynomials are symmetric, half the work:
 *
 *   A_0 = c^2 V V',  P_i = 1.5 I - 0.5 A_i,  A_{i+1} = P_i A_i P_i,  G = c P_{k-1} ... P_0 V
 *
 * c makes the mean square of the singular values 1, and less than that where a row of |A| sums up to more than REACH: the
 * largest is then at most sqrt(REACH) < sqrt(3), and the result at most 1, after any number of iterations. There is one at
 * least, and `iterations` at most: none more where the rest is known to be below ENOUGH. An eigenvalue 1 + e of A becomes
 * 1 - 3/4 e^2 + 1/4 e^3.
 *
 * It is a retraction (Absil, Mahony, Sepulchre 2008, section 4.1): G takes the place of V, so that V stays near the orthonormal
 * matrices, one iteration is nearly always enough, and the derivative is that at V = G, G G' = I, the projection on the
 * tangent space:
 *
 *   dV = dG - sym(dG V') V
 *
 * Products of a step, in units of n^2 max(M, N) multiplications: A 1/2, G 1, dV 2, with nothing in between. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/orthogonal.h"
#include "core/tensor/vec.h"

static const double REACH = 2, ENOUGH = 0x1p-10;
enum { ITERATIONS = 3 };

static size_t side(const lip_weight *w) {
  return w->M < w->N ? w->M : w->N;
}

static size_t iterations_of(const lip_weight *w) {
  return w->conf->iterations > 0 ? w->conf->iterations : ITERATIONS;
}

/* tmp: A, P, a product, S, all (n,n), and the sums of A's rows; V brought to a size whose squares are numbers. */
static lip_status plan(lip_weight *w, lip_err *err) {
  const size_t n = side(w);
  w->work = 4 * n * n + 2 * n + w->M * w->N;
  return lip_orthogonal_fits(w, err);
}

typedef struct rows {
  size_t n;
  float a, b;
  const float *X;
  float *out;
} rows;

/* Rows of out = a I + b X. */
static void run_line(void *arg, const lip_worker *me) {
  const rows *x = arg;
  size_t i, end;
  lip_share(me, x->n, 16, &i, &end);
  for (; i < end; i++) {
    for (size_t j = 0; j < x->n; j++) x->out[i * x->n + j] = x->b * x->X[i * x->n + j];
    x->out[i * x->n + i] += x->a;
  }
}

static void line(const lip_team *t, size_t n, float a, float b, const float *X, float *out) {
  rows x = {n, a, b, X, out};
  lip_team_run(t, 2 * (double)n * (double)n, run_line, &x);
}

/* Sums of |A| and |A - I| by rows. */
static void run_sums(void *arg, const lip_worker *me) {
  const rows *x = arg;
  size_t i, end;
  lip_share(me, x->n, 16, &i, &end);
  for (; i < end; i++) {
    const float at = x->X[i * x->n + i];
    const double sum = lip_vec_abs_sum(x->X + i * x->n, x->n);
    x->out[i] = (float)sum;
    x->out[x->n + i] = (float)(sum - fabs((double)at) + fabs((double)at - 1));
  }
}

/* Brings A's eigenvalues within REACH, and tells by what factor, and how many iterations of at most k it wants. sums: 2n. */
static double bring_within_reach(const lip_team *t, size_t n, float *A, float *sums, size_t *k) {
  rows x = {n, 0, 0, A, sums};
  lip_team_run(t, 2 * (double)n * (double)n, run_sums, &x);
  const double most = (double)lip_vec_abs_max(sums, n), factor = most > REACH ? REACH / most : 1;
  if (factor < 1) {
    line(t, n, 0, (float)factor, A, A);
    return factor;
  }
  size_t wanted = 1;
  for (double e = (double)lip_vec_abs_max(sums + n, n); wanted < *k; wanted++) {
    e = 0.75 * e * e + 0.25 * e * e * e;
    if (e < ENOUGH) break;
  }
  *k = wanted;
  return 1;
}

/* P_{k-1} ... P_0 of A, which is lost, with three (n,n) behind it. */
static const float *polynomial(const lip_team *t, size_t n, size_t k, float *A) {
  float *P = A + n * n, *B = P + n * n, *S = B + n * n;
  line(t, n, 1.5f, -0.5f, A, P);
  memcpy(S, P, n * n * sizeof *S);
  for (size_t i = 1; i < k; i++) {
    lip_team_symmetric(t, LIP_N, LIP_N, n, n, 1, A, n, P, n, 0, B, n);
    lip_team_symmetric(t, LIP_N, LIP_N, n, n, 1, B, n, P, n, 0, A, n);
    line(t, n, 1.5f, -0.5f, A, P);
    lip_team_symmetric(t, LIP_N, LIP_N, n, n, 1, S, n, P, n, 0, B, n);
    float *last = S;
    S = B;
    B = last;
  }
  return S;
}

static void g(const lip_weight *w, const lip_team *t, const float *V, float *G) {
  const size_t n = side(w), N = w->N, all = w->M * N;
  const bool tall = w->M > N;
  float *A = w->tmp, *sums = A + 4 * n * n, *copy = sums + 2 * n;
  const double square = lip_vec_square_sum(V, all);
  double c = square > 0 ? sqrt((double)n / square) : 1;
  if (!(c > 0x1p-30 && c < 0x1p30) && isfinite(square)) {
    for (size_t i = 0; i < all; i++) copy[i] = (float)(c * (double)V[i]);
    V = copy;
    c = 1;
  }
  lip_team_gram(t, tall ? LIP_T : LIP_N, n, tall ? w->M : N, (float)(c * c), V, N, 0, A, n);
  size_t k = iterations_of(w);
  c *= sqrt(bring_within_reach(t, n, A, sums, &k));
  const float *S = polynomial(t, n, k, A);
  if (tall)
    lip_team_gemm(t, LIP_N, LIP_N, w->M, n, n, (float)c, V, N, S, n, 0, G, N);
  else
    lip_team_gemm(t, LIP_N, LIP_N, n, N, n, (float)c, S, n, V, N, 0, G, N);
}

/* V, not G: a net read from a file has the same V but another G, g of what is already orthonormal. */
static void pull(const lip_weight *w, const lip_team *t, const float *V, const float *G, float *dG, float *dV,
                 float accumulate) {
  const size_t n = side(w), N = w->N, all = w->M * N;
  const bool tall = w->M > N;
  float *H = w->tmp, *S = H + n * n;
  (void)G;
  if (accumulate == 0)
    memcpy(dV, dG, all * sizeof *dV);
  else
    lip_vec_axpy(dV, 1, dG, all);
  lip_team_gemm(t, tall ? LIP_T : LIP_N, tall ? LIP_N : LIP_T, n, n, tall ? w->M : N, 1, dG, N, V, N, 0, H,
                n);
  lip_team_fold(t, n, 0.5f, H, n, 1, 0, S, n);
  if (tall)
    lip_team_gemm(t, LIP_N, LIP_N, w->M, n, n, -1, V, N, S, n, 1, dV, N);
  else
    lip_team_gemm(t, LIP_N, LIP_N, n, N, n, -1, S, n, V, N, 1, dV, N);
}

/* The same iteration on V itself, on its left or right whichever is smaller. */
static lip_status wide(const lip_weight *w, const double *V, double *G) {
  const size_t n = side(w), m = w->M + w->N - n;
  const bool tall = w->M > w->N;
  double *A = lip_alloc(n * n + 2 * n * m, sizeof *A), *X = A + n * n, *Y = X + n * m, square = 0, most = 0,
         e = 0;
  if (!A) return LIP_MEMORY;
  for (size_t i = 0; i < n * m; i++) square += V[i] * V[i];
  const double c = square > 0 ? sqrt((double)n / square) : 1;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++) X[i * m + j] = c * (tall ? V[j * n + i] : V[i * m + j]);
  for (size_t k = 0; k < iterations_of(w); k++) {
    lip_plain_product(LIP_N, LIP_T, n, n, m, X, X, A);
    for (size_t i = 0; k == 0 && i < n; i++) {
      double sum = 0, off = 0;
      for (size_t j = 0; j < n; j++) {
        sum += fabs(A[i * n + j]);
        off += fabs(A[i * n + j] - (i == j));
      }
      most = fmax(most, sum);
      e = fmax(e, off);
    }
    const double factor = k == 0 && most > REACH ? REACH / most : 1;
    lip_plain_product(LIP_N, LIP_N, n, m, n, A, X, Y);
    for (size_t i = 0; i < n * m; i++) X[i] = sqrt(factor) * (1.5 * X[i] - 0.5 * factor * Y[i]);
    e = 0.75 * e * e + 0.25 * e * e * e;
    if (most <= REACH && e < ENOUGH) break;
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++) G[tall ? j * n + i : i * m + j] = X[i * m + j];
  lip_free(A);
  return LIP_OK;
}

const lip_parametrisation lip_weight_bjorck = {
    .desc = {"bjorck", "the nearest orthonormal rows or columns, by Newton and Schulz's iteration", NULL, 0},
    .flags = LIP_WEIGHT_BOUNDED | LIP_WEIGHT_RETRACTS,
    .plan = plan,
    .g = g,
    .pull = pull,
    .wide = wide,
};
