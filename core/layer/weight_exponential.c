/* exponential: orthonormal rows or columns by matrix exponentials of skew matrices (square: Lezcano-Casado,
 * Martinez-Rubio 2019). A rectangular W, here with M < N and V = [U R], U (M,M), is the product of two, whose first M rows are
 * (coset coordinates, Edelman, Arias, Smith 1998, section 2.3)
 *
 *   exp(U - U') [I 0] exp([0 R; -R' 0]) = E [cos H^1/2   sin(H^1/2) H^-1/2 R],   H = R R'
 *
 * With M > N all of it is transposed. Both come from one pair of functions of a symmetric matrix K, for A = U - U' and K = A A':
 *
 *   D(K) = I - cos K^1/2,  S(K) = sin(K^1/2) K^-1/2,    E = I - D(K) + A S(K)
 *
 * whose polynomials are symmetric, half the work. K is divided by 4^q until its norm is below 1, the series are cut after K^5
 * and K^4 (what is left out is below 2^-25), and then q times
 *
 *   D <- 4 D - 2 D^2,   S <- S - S D
 *
 * (1 - cos in place of cos, so that the rounding of the small one is not multiplied by 4^q), and a step of Newton and Schulz
 * makes good what rounding has left. The gradient goes the same way back: a product C = X Y of polynomials in K has
 * dX = sym(dC Y), dY = sym(dC X). V is scaled back where ||V||_F > MOST; then no angle exceeds sqrt(2) MOST, and q is at most
 * DOUBLINGS. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/orthogonal.h"
#include "core/tensor/vec.h"

static const double MOST = 45;
enum { DOUBLINGS = 6, CURVE = 5 + 2 * (DOUBLINGS + 1) };

static const float D2 = 1.0f / 2, D4 = 1.0f / 24, D6 = 1.0f / 720, D8 = 1.0f / 40320, D10 = 1.0f / 3628800;
static const float S3 = 1.0f / 6, S5 = 1.0f / 120, S7 = 1.0f / 5040, S9 = 1.0f / 362880;

/* ---- elementwise ---- */

typedef struct blend {
  size_t n;
  float a, b, c;
  const float *X, *Y;
  float *out;
} blend;

static void run_blend(void *arg, const lip_worker *me) {
  const blend *x = arg;
  size_t i, end;
  lip_share(me, x->n, 16, &i, &end);
  for (; i < end; i++) {
    for (size_t k = i * x->n; k < (i + 1) * x->n; k++) x->out[k] = x->b * x->X[k] + x->c * x->Y[k];
    x->out[i * x->n + i] += x->a;
  }
}

/* out = a I + b X + c Y, all (n,n); out may be X or Y. */
static void mix(const lip_team *t, size_t n, float a, float b, const float *X, float c, const float *Y,
                float *out) {
  blend x = {n, a, b, c, X, Y, out};
  lip_team_run(t, 3 * (double)n * (double)n, run_blend, &x);
}

/* C = alpha X Y + beta C, of symmetric matrices that commute. */
static void commute(const lip_team *t, size_t n, float alpha, const float *X, const float *Y, float beta,
                    float *C) {
  lip_team_symmetric(t, LIP_N, LIP_N, n, n, alpha, X, n, Y, n, beta, C, n);
}

static void times(const lip_team *t, size_t n, float alpha, const float *X, const float *Y, float beta,
                  float *C) {
  lip_team_gemm(t, LIP_N, LIP_N, n, n, n, alpha, X, n, Y, n, beta, C, n);
}

/* out = beta out + alpha sym(X). */
static void sym(const lip_team *t, size_t n, float alpha, const float *X, float beta, float *out) {
  lip_team_fold(t, n, alpha / 2, X, n, 1, beta, out, n);
}

/* ---- D and S of one matrix ---- */

/* Where they are: K and K^2 (divided), the inner factors of the series, D_0..D_q, S_0..S_q. */
typedef struct curve {
  size_t n, q;
  float *K, *K2, *XD, *XD0, *XS, *D, *S;
} curve;

static curve curve_at(size_t n, float *keep) {
  const size_t s = n * n;
  return (curve){n,
                 0,
                 keep,
                 keep + s,
                 keep + 2 * s,
                 keep + 3 * s,
                 keep + 4 * s,
                 keep + 5 * s,
                 keep + (5 + DOUBLINGS + 1) * s};
}

/* Upper bound of an angle: the fourth root of a norm of K^2, or what the caller knows. */
static size_t doublings(const curve *c, double angle) {
  double most = 0;
  for (size_t i = 0; i < c->n; i++) most = fmax(most, lip_vec_abs_sum(c->K2 + i * c->n, c->n));
  angle = fmin(angle, sqrt(sqrt(most)));
  size_t q = 0;
  while (q < DOUBLINGS && angle > 1) angle /= 2, q++;
  return q;
}

/* From K in its place, whose eigenvalues are at most angle^2. */
static void follow(const lip_team *t, curve *c, double angle) {
  const size_t n = c->n, s = n * n;
  commute(t, n, 1, c->K, c->K, 0, c->K2);
  c->q = doublings(c, angle);
  const float f = ldexpf(1, -2 * (int)c->q);
  mix(t, n, 0, f, c->K, 0, c->K, c->K);
  mix(t, n, 0, f * f, c->K2, 0, c->K2, c->K2);
  mix(t, n, -D8, D10, c->K, 0, c->K, c->XD0);
  mix(t, n, -D4, D6, c->K, 0, c->K, c->XD);
  commute(t, n, 1, c->K2, c->XD0, 1, c->XD);
  mix(t, n, 0, D2, c->K, 0, c->K, c->D);
  commute(t, n, 1, c->K2, c->XD, 1, c->D);
  mix(t, n, S5, -S7, c->K, S9, c->K2, c->XS);
  mix(t, n, 1, -S3, c->K, 0, c->K, c->S);
  commute(t, n, 1, c->K2, c->XS, 1, c->S);
  for (size_t i = 0; i < c->q; i++) {
    float *D = c->D + i * s, *S = c->S + i * s;
    mix(t, n, 0, 4, D, 0, D, D + s);
    commute(t, n, -2, D, D, 1, D + s);
    memcpy(S + s, S, s * sizeof *S);
    commute(t, n, -1, S, D, 1, S + s);
  }
}

/* dD and dS become dK and something else. tmp: 4 (n,n). */
static void follow_back(const lip_team *t, const curve *c, float *dD, float *dS, float *tmp) {
  const size_t n = c->n, s = n * n;
  float *T = tmp, *dXD = T + s, *dXS = dXD + s, *dK2 = dXS + s;
  for (size_t i = c->q; i-- > 0;) {
    const float *D = c->D + i * s, *S = c->S + i * s;
    times(t, n, -4, dD, D, 0, T);
    times(t, n, -1, dS, S, 1, T);
    sym(t, n, 1, T, 4, dD);
    times(t, n, -1, dS, D, 0, T);
    sym(t, n, 1, T, 1, dS);
  }
  times(t, n, 1, c->K2, dD, 0, T);
  sym(t, n, 1, T, 0, dXD);
  times(t, n, 1, c->K2, dS, 0, T);
  sym(t, n, 1, T, 0, dXS);
  times(t, n, 1, dD, c->XD, 0, T);
  times(t, n, 1, dS, c->XS, 1, T);
  times(t, n, 1, dXD, c->XD0, 1, T);
  sym(t, n, 1, T, 0, dK2);
  mix(t, n, 0, 1, dK2, S9, dXS, dK2);
  mix(t, n, 0, D2, dD, -S3, dS, dD); /* now dK */
  mix(t, n, 0, 1, dD, -S7, dXS, dD);
  mix(t, n, 0, 1, dD, D6, dXD, dD);
  times(t, n, 1, c->K2, dXD, 0, T);
  sym(t, n, D10, T, 1, dD);
  times(t, n, 1, dK2, c->K, 0, T);
  sym(t, n, 2, T, 1, dD);
  mix(t, n, 0, ldexpf(1, -2 * (int)c->q), dD, 0, dD, dD);
}

/* ---- the weight ---- */

/* Laid over keep and tmp. V, G and their gradients as if M <= N. */
typedef struct parts {
  size_t n, m, rest;
  float *V, *A, *E, *Z; /* keep: (n,m), (n,n), (n,n), S(H) R (n,rest) */
  curve of_a, of_h;
  float *numbers; /* the factor of V, and both q */
} parts;

static parts parts_of(const lip_weight *w) {
  const size_t n = w->M < w->N ? w->M : w->N, m = w->M + w->N - n, s = n * n;
  float *V = w->keep, *A = V + n * m, *E = A + s, *Z = E + s, *first = Z + n * (m - n),
        *second = first + CURVE * s;
  float *numbers = m > n ? second + CURVE * s : second;
  parts p = {n, m, m - n, V, A, E, Z, curve_at(n, first), curve_at(n, second), numbers};
  p.of_a.q = (size_t)numbers[1];
  p.of_h.q = (size_t)numbers[2];
  return p;
}

static lip_status plan(lip_weight *w, lip_err *err) {
  const size_t n = w->M < w->N ? w->M : w->N, m = w->M + w->N - n;
  w->kept = n * m + 2 * n * n + n * (m - n) + (size_t)(m > n ? 2 : 1) * CURVE * n * n + 3;
  w->work = 7 * n * n + 2 * n * m;
  return lip_orthogonal_fits(w, err);
}

/* to (n,m) = from, or its transpose if W is taller than wide; and back. */
static void lay(const lip_weight *w, double s, const float *from, float *to) {
  const bool tall = w->M > w->N;
  for (size_t i = 0; i < w->M; i++)
    for (size_t j = 0; j < w->N; j++)
      to[tall ? j * w->M + i : i * w->N + j] = (float)(s * (double)from[i * w->N + j]);
}

static void put_back(const lip_weight *w, float beta, const float *from, float *to) {
  const bool tall = w->M > w->N;
  for (size_t i = 0; i < w->M; i++)
    for (size_t j = 0; j < w->N; j++) {
      const float x = from[tall ? j * w->M + i : i * w->N + j];
      to[i * w->N + j] = beta == 0 ? x : to[i * w->N + j] + x;
    }
}

static void g(const lip_weight *w, const lip_team *t, const float *V, float *G) {
  parts p = parts_of(w);
  const size_t n = p.n, m = p.m, s = n * n;
  const double scale = lip_orthogonal_scale(V, w->M * w->N, MOST);
  const float *R = p.V + n;
  float *C = w->tmp, *Gt = C + s;
  lay(w, scale, V, p.V);
  const double length = fmin(sqrt(lip_vec_square_sum(p.V, n * m)), MOST);
  lip_team_fold(t, n, 1, p.V, m, -1, 0, p.A, n);
  lip_team_gram(t, LIP_N, n, n, 1, p.A, n, 0, p.of_a.K, n);
  follow(t, &p.of_a, sqrt(2) * length);
  mix(t, n, 1, -1, p.of_a.D + p.of_a.q * s, 0, p.A, p.E);
  times(t, n, 1, p.A, p.of_a.S + p.of_a.q * s, 1, p.E);
  if (p.rest > 0) {
    lip_team_gram(t, LIP_N, n, p.rest, 1, R, m, 0, p.of_h.K, n);
    follow(t, &p.of_h, length);
    mix(t, n, 1, -1, p.of_h.D + p.of_h.q * s, 0, p.A, C);
    lip_team_gemm(t, LIP_N, LIP_N, n, p.rest, n, 1, p.of_h.S + p.of_h.q * s, n, R, m, 0, p.Z, p.rest);
    lip_team_gemm(t, LIP_N, LIP_N, n, n, n, 1, p.E, n, C, n, 0, Gt, m);
    lip_team_gemm(t, LIP_N, LIP_N, n, p.rest, n, 1, p.E, n, p.Z, p.rest, 0, Gt + n, m);
  } else {
    memcpy(Gt, p.E, s * sizeof *Gt);
  }
  lip_team_gram(t, LIP_N, n, m, -0.5f, Gt, m, 0, C,
                n); /* Newton and Schulz, against what rounding has left */
  for (size_t i = 0; i < n; i++) C[i * n + i] += 1.5f;
  lip_team_gemm(t, LIP_N, LIP_N, n, m, n, 1, C, n, Gt, m, 0, Gt + n * m, m);
  put_back(w, 0, Gt + n * m, G);
  p.numbers[0] = (float)scale;
  p.numbers[1] = (float)p.of_a.q;
  p.numbers[2] = (float)p.of_h.q;
}

/* dE of D = [D1 D2], and the part of R in dV. tmp: 6 (n,n). */
static void pull_rest(const lip_team *t, const parts *p, float *D, float *dE, float *dV, float *tmp) {
  const size_t n = p->n, m = p->m, s = n * n, q = p->of_h.q;
  float *dD = tmp, *dS = dD + s, *rest = dS + s, *dZ = dV + n;
  mix(t, n, 1, -1, p->of_h.D + q * s, 0, p->A, dD); /* cos */
  lip_team_gemm(t, LIP_N, LIP_N, n, n, n, 1, D, m, dD, n, 0, dE, n);
  lip_team_gemm(t, LIP_N, LIP_T, n, n, p->rest, 1, D + n, m, p->Z, p->rest, 1, dE, n);
  lip_team_gemm(t, LIP_T, LIP_N, n, n, n, 1, p->E, n, D, m, 0, rest, n);
  sym(t, n, -1, rest, 0, dD);
  lip_team_gemm(t, LIP_T, LIP_N, n, p->rest, n, 1, p->E, n, D + n, m, 0, dZ, m);
  lip_team_gemm(t, LIP_N, LIP_T, n, n, p->rest, 1, dZ, m, p->V + n, m, 0, rest, n);
  sym(t, n, 1, rest, 0, dS);
  follow_back(t, &p->of_h, dD, dS, rest);
  /* dR = S dZ + 2 dH R; dZ stands where dR belongs, D2 is done with */
  for (size_t i = 0; i < n; i++) memcpy(D + i * m + n, dZ + i * m, p->rest * sizeof *dZ);
  lip_team_gemm(t, LIP_N, LIP_N, n, p->rest, n, 1, p->of_h.S + q * s, n, D + n, m, 0, dZ, m);
  lip_team_gemm(t, LIP_N, LIP_N, n, p->rest, n, 2, dD, n, p->V + n, m, 1, dZ, m);
}

static void pull(const lip_weight *w, const lip_team *t, const float *V, const float *G, float *dG, float *dV,
                 float accumulate) {
  const parts p = parts_of(w);
  const size_t n = p.n, m = p.m, s = n * n, all = w->M * w->N;
  float *dE = w->tmp, *dD = dE + s, *dS = dD + s, *rest = dS + s, *D = dE + 7 * s, *back = D + n * m;
  const double along = p.numbers[0] < 1 && accumulate != 0 ? lip_vec_dot(V, dV, all) : 0;
  (void)G;
  lay(w, (double)p.numbers[0], dG, D);
  if (p.rest > 0)
    pull_rest(t, &p, D, dE, back, dD);
  else
    memcpy(dE, D, s * sizeof *dE);
  sym(t, n, -1, dE, 0, dD);
  lip_team_gemm(t, LIP_T, LIP_N, n, n, n, 1, p.A, n, dE, n, 0, rest, n);
  sym(t, n, 1, rest, 0, dS);
  follow_back(t, &p.of_a, dD, dS, rest);
  times(t, n, 1, dE, p.of_a.S + p.of_a.q * s, 0, rest); /* dA */
  times(t, n, 2, dD, p.A, 1, rest);
  lip_team_fold(t, n, 1, rest, n, -1, 0, back, m);
  put_back(w, accumulate, back, dV);
  if (p.numbers[0] < 1) lip_orthogonal_scale_pull(V, dV, all, along);
}

/* exp(A) by its series after scaling, and squaring. */
static void plain_exponential(size_t n, double *A, double *T, double *E) {
  enum { HALVINGS = 8, TERMS = 20 };
  for (size_t i = 0; i < n * n; i++) {
    A[i] = ldexp(A[i], -HALVINGS);
    E[i] = i % (n + 1) == 0;
  }
  for (size_t k = TERMS; k > 0; k--) { /* Horner */
    lip_plain_product(LIP_N, LIP_N, n, n, n, A, E, T);
    for (size_t i = 0; i < n * n; i++) E[i] = T[i] / (double)k + (i % (n + 1) == 0);
  }
  for (size_t k = 0; k < HALVINGS; k++) {
    lip_plain_product(LIP_N, LIP_N, n, n, n, E, E, T);
    memcpy(E, T, n * n * sizeof *E);
  }
}

/* The two exponentials themselves, of sides n and m. */
static lip_status wide(const lip_weight *w, const double *V, double *G) {
  const size_t n = w->M < w->N ? w->M : w->N, m = w->M + w->N - n;
  const bool tall = w->M > w->N;
  double *A = lip_alloc(4 * m * m, sizeof *A), *T = A + m * m, *E = T + m * m, *F = E + m * m, norm = 0;
  if (!A) return LIP_MEMORY;
  for (size_t i = 0; i < n * m; i++) norm += V[i] * V[i];
  const double s = fmin(1, MOST / sqrt(norm));
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) A[i * n + j] = s * (V[i * w->N + j] - V[j * w->N + i]) * (tall ? -1 : 1);
  plain_exponential(n, A, T, E);
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < m; j++) {
      const size_t a = i < n ? i : j, b = i < n ? j : i;
      const bool corner = a < n && b >= n;
      A[i * m + j] = !corner ? 0 : s * (tall ? V[b * n + a] : V[a * m + b]) * (i < n ? 1 : -1);
    }
  plain_exponential(m, A, T, F);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++) {
      double sum = 0;
      for (size_t k = 0; k < n; k++) sum += E[i * n + k] * F[k * m + j];
      G[tall ? j * n + i : i * m + j] = sum;
    }
  lip_free(A);
  return LIP_OK;
}

const lip_parametrisation lip_weight_exponential = {
    .desc = {"exponential", "orthonormal rows or columns by exponentials of skew matrices", NULL, 0},
    .flags = LIP_WEIGHT_BOUNDED,
    .plan = plan,
    .g = g,
    .pull = pull,
    .wide = wide,
};
