/* bro: a block reflector, W = I - 2 V (V'V)^-1 V' (Lai et al. 2025, "BRO", equation 3; Schreiber, Parlett 1988): symmetric,
 * with eigenvalue -1 on the range of V and 1 beside it.
 *
 * n is the larger side of W, V (n, r), r the option `rank`: a quarter of n, but no more than the smaller side, with which
 * every W is reached that a larger r reaches (Schreiber, Parlett: E' - W' spans what is reflected). A rectangular W has rows (M < N) or columns (M > N) of the
 * reflector, which are orthonormal: as many as there are, evenly spaced. Its columns u_j = v_j / ||v_j|| enter, which changes
 * nothing but the rounding:
 *
 *   S = (U'U)^-1,  T = U S,  P = T U',  W = E - 2 P, E and P without the rows or columns left out
 *
 * A column nearer to the span of those before it than the root of LEAST is left out (S, T and the gradient have zeros there), so
 * that V may be anything. With D the gradient of W (zeros where it was left out) and F = (D + D') T:
 *
 *   dU = -2 (F - U (T'F)),   dv_j = (du_j - u_j <u_j, du_j>) / ||v_j|| */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/orthogonal.h"
#include "core/tensor/inverse.h"

static const float LEAST = 0x1p-13f;

typedef struct sizes {
  size_t n, r;
  size_t every; /* which rows or columns of the reflector are W's */
} sizes;

static sizes sizes_of(const lip_weight *w) {
  const size_t n = w->M > w->N ? w->M : w->N, few = w->M > w->N ? w->N : w->M;
  const size_t quarter = (n + 3) / 4, own = quarter < few ? quarter : few;
  return (sizes){n, w->conf->rank > 0 ? w->conf->rank : own, n / few};
}

/* keep: U, T (n,r), 1 / ||v_j||, S (r,r). tmp: the inverse's; T'F (r,r), F (n,r), and D + D' of a square W. */
static lip_status plan(lip_weight *w, lip_err *err) {
  const sizes z = sizes_of(w);
  if (z.r > z.n)
    return lip_fail(err, LIP_UNSUPPORTED, "rank = %zu is more than the larger side of the weight, %zu", z.r,
                    z.n);
  w->free_ndim = 2;
  w->free_shape[0] = z.n;
  w->free_shape[1] = z.r;
  w->free_shape[2] = w->free_shape[3] = 1;
  w->kept = 2 * z.n * z.r + z.r + z.r * z.r;
  w->work = z.r * z.r + z.n * z.r + (w->M == w->N ? z.n * z.n : 0);
  return lip_orthogonal_fits(w, err);
}

/* Normal numbers: their range has no preferred direction. W0 cannot be reached, a reflector is symmetric. */
static lip_status start(lip_weight *w, float *V, const float *W0, lip_rng *rng, lip_err *err) {
  const sizes z = sizes_of(w);
  (void)W0, (void)err;
  lip_rng_fill_normal(rng, V, z.n * z.r, 0, (float)(1 / sqrt((double)z.n)));
  return LIP_OK;
}

typedef struct columns {
  size_t n, r;
  const float *V;
  float *U, *inverse;         /* g */
  float *dU, *dV, accumulate; /* pull; U is read */
} columns;

enum { CHUNK = 64 };

/* u_j for the columns c0..c1, at most CHUNK. */
LIP_HOT static void normalise(const columns *c, size_t c0, size_t c1) {
  double square[CHUNK] = {0};
  const size_t k = c1 - c0, r = c->r;
  for (size_t i = 0; i < c->n; i++)
    for (size_t j = 0; j < k; j++) square[j] += (double)c->V[i * r + c0 + j] * (double)c->V[i * r + c0 + j];
  for (size_t j = 0; j < k; j++) {
    square[j] = square[j] == 0 ? 0 : 1 / sqrt(square[j]);
    c->inverse[c0 + j] = (float)square[j];
  }
  for (size_t i = 0; i < c->n; i++)
    for (size_t j = 0; j < k; j++) c->U[i * r + c0 + j] = (float)((double)c->V[i * r + c0 + j] * square[j]);
}

/* dv_j, likewise. */
LIP_HOT static void normalise_pull(const columns *c, size_t c0, size_t c1) {
  double along[CHUNK] = {0};
  const size_t k = c1 - c0, r = c->r;
  for (size_t i = 0; i < c->n; i++)
    for (size_t j = 0; j < k; j++) along[j] += (double)c->U[i * r + c0 + j] * (double)c->dU[i * r + c0 + j];
  for (size_t i = 0; i < c->n; i++)
    for (size_t j = 0; j < k; j++) {
      const size_t at = i * r + c0 + j;
      const double d = ((double)c->dU[at] - along[j] * (double)c->U[at]) * (double)c->inverse[c0 + j];
      c->dV[at] = (float)(c->accumulate == 0 ? d : (double)c->dV[at] + d);
    }
}

static void run_normalise(void *arg, const lip_worker *me) {
  const columns *c = arg;
  size_t c0, c1;
  lip_share(me, c->r, 16, &c0, &c1);
  for (; c0 < c1; c0 += CHUNK) normalise(c, c0, c0 + CHUNK < c1 ? c0 + CHUNK : c1);
}

static void run_normalise_pull(void *arg, const lip_worker *me) {
  const columns *c = arg;
  size_t c0, c1;
  lip_share(me, c->r, 16, &c0, &c1);
  for (; c0 < c1; c0 += CHUNK) normalise_pull(c, c0, c0 + CHUNK < c1 ? c0 + CHUNK : c1);
}

static void g(const lip_weight *w, const lip_team *t, const float *V, float *G) {
  const sizes z = sizes_of(w);
  const size_t n = z.n, r = z.r, skip = z.every * r;
  float *U = w->keep, *T = U + n * r, *inverse = T + n * r, *S = inverse + r;
  columns c = {.n = n, .r = r, .V = V, .U = U, .inverse = inverse};
  lip_team_run(t, 4 * (double)n * (double)r, run_normalise, &c);
  lip_team_gram(t, LIP_T, r, n, 1, U, r, 0, S, r);
  lip_team_inverse_symmetric(t, r, S, r, LEAST, w->tmp);
  lip_team_gemm(t, LIP_N, LIP_N, n, r, r, 1, U, r, S, r, 0, T, r);
  if (w->M == w->N)
    lip_team_symmetric(t, LIP_N, LIP_T, n, r, -2, T, r, U, r, 0, G, n);
  else if (w->M < w->N)
    lip_team_gemm(t, LIP_N, LIP_T, w->M, n, r, -2, T, skip, U, r, 0, G, n);
  else
    lip_team_gemm(t, LIP_N, LIP_T, n, w->N, r, -2, T, r, U, skip, 0, G, w->N);
  for (size_t i = 0; i < w->M && i < w->N; i++)
    G[w->M < w->N ? i * n + i * z.every : i * z.every * w->N + i] += 1;
}

/* F = (D + D') T. */
static void fold_gradient(const lip_weight *w, const lip_team *t, const sizes *z, const float *D,
                          const float *T, float *F, float *both) {
  const size_t n = z->n, r = z->r, skip = z->every * r, M = w->M, N = w->N;
  if (M == N) {
    lip_team_fold(t, n, 1, D, n, 1, 0, both, n);
    lip_team_gemm(t, LIP_N, LIP_N, n, r, n, 1, both, n, T, r, 0, F, r);
  } else if (M < N) {
    lip_team_gemm(t, LIP_T, LIP_N, n, r, M, 1, D, N, T, skip, 0, F, r);
    lip_team_gemm(t, LIP_N, LIP_N, M, r, n, 1, D, N, T, r, 1, F, skip);
  } else {
    lip_team_gemm(t, LIP_N, LIP_N, n, r, N, 1, D, N, T, skip, 0, F, r);
    lip_team_gemm(t, LIP_T, LIP_N, N, r, n, 1, D, N, T, r, 1, F, skip);
  }
}

static void pull(const lip_weight *w, const lip_team *t, const float *V, const float *G, float *dG, float *dV,
                 float accumulate) {
  const sizes z = sizes_of(w);
  const size_t n = z.n, r = z.r;
  float *U = w->keep, *T = U + n * r, *inverse = T + n * r, *C = w->tmp, *F = C + r * r;
  columns c = {n, r, V, U, inverse, F, dV, accumulate};
  (void)G;
  fold_gradient(w, t, &z, dG, T, F, F + n * r);
  lip_team_symmetric(t, LIP_T, LIP_N, r, n, 1, T, r, F, r, 0, C, r);
  lip_team_gemm(t, LIP_N, LIP_N, n, r, r, 2, U, r, C, r, -2, F, r);
  lip_team_run(t, 6 * (double)n * (double)r, run_normalise_pull, &c);
}

static lip_status wide(const lip_weight *w, const double *V, double *G) {
  const sizes z = sizes_of(w);
  const size_t n = z.n, r = z.r;
  double *U = lip_alloc(2 * n * r + r * r, sizeof *U), *T = U + n * r, *S = T + n * r;
  if (!U) return LIP_MEMORY;
  for (size_t j = 0; j < r; j++) {
    double square = 0;
    for (size_t i = 0; i < n; i++) square += V[i * r + j] * V[i * r + j];
    for (size_t i = 0; i < n; i++) U[i * r + j] = square == 0 ? 0 : V[i * r + j] / sqrt(square);
  }
  lip_plain_product(LIP_T, LIP_N, r, r, n, U, U, S);
  lip_plain_inverse(r, S, (double)LEAST);
  lip_plain_product(LIP_N, LIP_N, n, r, r, U, S, T);
  for (size_t i = 0; i < w->M; i++)
    for (size_t j = 0; j < w->N; j++) {
      const size_t a = w->M < w->N ? i * z.every : i, b = w->M > w->N ? j * z.every : j;
      double sum = a == b;
      for (size_t k = 0; k < r; k++) sum -= 2 * T[a * r + k] * U[b * r + k];
      G[i * w->N + j] = sum;
    }
  lip_free(U);
  return LIP_OK;
}

const lip_parametrisation lip_weight_bro = {
    .desc = {"bro", "rows or columns of a block reflector I - 2 V (V'V)^-1 V'", NULL, 0},
    .flags = LIP_WEIGHT_BOUNDED,
    .plan = plan,
    .start = start,
    .g = g,
    .pull = pull,
    .wide = wide,
};
