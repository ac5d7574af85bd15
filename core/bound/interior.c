/* A primal-dual interior-point method for
 *   minimise sum_j c_j v_j over multipliers and weights v,   S(v) = sum_k v_k E_k - V'V >= 0,   v_k >= 0 of multipliers.
 * Its partner is X >= 0 with <E_j, X> = c_j at weights and w_k = -<E_k, X> >= 0 at multipliers, the mean of what the
 * constraints leave over for signals distributed as X; <V'V, X> is then below every value, and the gap <S, X> + sum w v.
 * With T = S^-1 a step solves (Helmberg, Rendl, Vanderbei, Wolkowicz 1996; Kojima, Shindoh, Hara 1997; Monteiro 1997)
 *   X + dX = mu T - sym(X dS T) - sym(dX' dS' T),   w + dw = (mu - w dv - dw' dv') / v,   <E_k, X + dX> + w + dw = 0, c_j,
 * sym the symmetric part and ' the step for mu = 0 that comes first and says how small mu may be (Mehrotra 1992). That is
 * B dv = rhs with B_kl = <E_k, X E_l T>, of which E_k = -(u v' + v u') / 2, u = e_k - low b_k, v = high b_k - e_k makes
 *   B_kl = ((v_k'X u_l) (u_k'T v_l) + (v_k'X v_l) (u_k'T u_l) + (u_k'X u_l) (v_k'T v_l) + (u_k'X v_l) (v_k'T u_l)) / 4,
 * sums of entries of X, Z X and Z X Z'. S begins feasible and stays so, whenever this ends; X need not be. */
#include "core/bound/interior.h"

#include <math.h>
#include <string.h>

#include "core/bound/interior_parts.h"
#include "core/norm/symmetric.h"

enum { MOST_STEPS = 40 };
/* Share of the way to the border that is gone; the next try after one that leaves it; steps too short to go on; the least share of mu aimed at. */
static const double WAY = 0.95, SHORTER = 0.8, SHORTEST = 1e-4, LEAST = 1e-3;

/* ---- matrices ---- */

/* T = S^-1. False: S is not definite. */
static bool invert(lip_interior *t) {
  size_t N = t->N;
  memcpy(t->G, t->S, N * N * sizeof *t->G);
  if (!lip_sym_cholesky(t->G, N)) return false;
  memset(t->Y, 0, N * N * sizeof *t->Y);
  for (size_t i = 0; i < N; i++) t->Y[i * N + i] = 1;
  lip_sym_solve_rows(t->Y, N, N, t->G, N);
  memset(t->T, 0, N * N * sizeof *t->T);
  lip_sym_add_gram(t->T, N, t->Y, N, N);
  lip_sym_mirror(t->T, N);
  return true;
}

/* Products of one pair of unit rows: u'Mu, u'Mv, v'Mu, v'Mv. */
typedef struct corner {
  double uu, uv, vu, vv;
} corner;

static inline corner corner_of(const lip_interior *t, const double *M, int which, size_t k, size_t l) {
  size_t N = t->N, in = t->in, F = t->F;
  double m = M[(in + k) * N + in + l], kl = t->P[which][k * N + in + l], lk = t->P[which][l * N + in + k];
  double c = t->C[which][k * F + l], a = t->low[k], A = t->high[k], b = t->low[l], B = t->high[l];
  return (corner){m - b * lk - a * kl + a * b * c, B * lk - m - a * B * c + a * kl,
                  A * kl - b * A * c - m + b * lk, A * B * c - A * kl - B * lk + m};
}

/* <E_k, X E_j T> of a multiplier and input i. */
static double with_input(const lip_interior *t, size_t k, size_t i) {
  size_t N = t->N, row = t->in + k;
  double xe = t->X[row * N + i], te = t->T[row * N + i], xb = t->P[0][k * N + i], tb = t->P[1][k * N + i];
  double a = t->low[k], A = t->high[k];
  return -0.5 * ((xe - a * xb) * (A * tb - te) + (A * xb - xe) * (te - a * tb));
}

static void fill_units(lip_interior *t) {
  size_t F = t->F, k1 = t->k;
  for (size_t k = 0; k < F; k++)
    for (size_t l = 0; l <= k; l++) {
      corner x = corner_of(t, t->X, 0, k, l), y = corner_of(t, t->T, 1, k, l);
      t->B[k * k1 + l] = 0.25 * (x.vu * y.uv + x.vv * y.uu + x.uu * y.vv + x.uv * y.vu) * t->v[k] * t->v[l];
    }
}

static void fill_inputs(lip_interior *t) {
  size_t F = t->F, N = t->N, k1 = t->k;
  for (size_t i = 0; i < t->in; i++) {
    if (!t->live[i]) continue;
    double *row = t->B + (F + (t->weighted ? i : 0)) * k1, v = t->v[F + (t->weighted ? i : 0)];
    for (size_t k = 0; k < F; k++) row[k] += with_input(t, k, i) * v * t->v[k];
    for (size_t j = 0; j < t->in; j++) {
      if (!t->live[j] || (t->weighted && j > i)) continue;
      row[F + (t->weighted ? j : 0)] +=
          t->X[i * N + j] * t->T[i * N + j] * v * t->v[F + (t->weighted ? j : 0)];
    }
  }
}

/* B in units of the variables, factorised. False: it is not definite. */
static bool fill_system(lip_interior *t) {
  size_t F = t->F, k1 = t->k, all = F + t->m;
  memset(t->B, 0, k1 * k1 * sizeof *t->B);
  fill_units(t);
  fill_inputs(t);
  for (size_t k = 0; k < k1; k++) {
    double *at = t->B + k * k1 + k;
    if (k < F) *at += t->w[k] * t->v[k];
    if (k >= all || (k < F && !t->live[t->in + k])) *at = 1;
  }
  return lip_sym_cholesky(t->B, k1);
}

/* dv from rhs; then dS. */
static void solve(lip_interior *t, const double *rhs) {
  size_t all = t->F + t->m;
  for (size_t k = 0; k < t->k; k++) t->dv[k] = k < all ? rhs[k] * t->v[k] : 0;
  lip_sym_forward(t->B, t->k, t->dv);
  lip_sym_backward(t->B, t->k, t->dv);
  for (size_t k = 0; k < all; k++) t->dv[k] *= t->v[k];
  for (size_t k = 0; k < t->F; k++)
    if (!t->live[t->in + k]) t->dv[k] = 0;
  lip_interior_assemble(t, t->dv, false, t->dS);
}

/* G = -sym(M dS T), rows and columns of padding 0. */
static void turn(lip_interior *t, const double *M) {
  size_t N = t->N;
  lip_interior_times(t, M, t->dS, t->Y);
  lip_sym_multiply(t->G, N, t->Y, N, N, t->T, N, N, N);
  for (size_t i = 0; i < N; i++)
    for (size_t j = 0; j <= i; j++) {
      double both = t->live[i] && t->live[j] ? -0.5 * (t->G[i * N + j] + t->G[j * N + i]) : 0;
      t->G[i * N + j] = t->G[j * N + i] = both;
    }
}

/* ---- steps ---- */

/* A share of the longest step that keeps A + step D definite; D may be let go of. */
static double border(lip_interior *t, const double *A, const double *D, double step) {
  size_t N = t->N;
  for (; step > SHORTEST; step *= SHORTER) {
    double far = step / WAY;
    for (size_t i = 0; i < N; i++)
      for (size_t j = 0; j <= i; j++) t->Y[i * N + j] = A[i * N + j] + far * D[i * N + j];
    if (lip_sym_cholesky(t->Y, N)) return step;
  }
  return 0;
}

static double ratio(const double *x, const double *dx, size_t n) {
  double step = 1;
  for (size_t k = 0; k < n; k++)
    if (dx[k] < 0 && -WAY * x[k] / dx[k] < step) step = -WAY * x[k] / dx[k];
  return step;
}

static double inner(const double *A, const double *B, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += lip_sym_dot(A + i * n, B + i * n, n);
  return sum;
}

/* <S, X> over unknowns that count. */
static double product(const lip_interior *t) {
  double sum = inner(t->S, t->X, t->N);
  for (size_t i = 0; i < t->N; i++)
    if (!t->live[i]) sum -= t->S[i * t->N + i] * t->X[i * t->N + i];
  return sum;
}

static double gap_of(const lip_interior *t) {
  double gap = product(t);
  for (size_t k = 0; k < t->F; k++) gap += t->w[k] * t->v[k];
  return gap;
}

/* What the gap would be after steps a of S and v and b of X and w. */
static double gap_after(const lip_interior *t, double gap, double a, double b) {
  size_t N = t->N;
  double sx = inner(t->S, t->dX, N), xs = inner(t->dS, t->X, N), both = inner(t->dS, t->dX, N);
  for (size_t k = 0; k < t->F; k++) {
    sx += t->v[k] * t->dw[k];
    xs += t->w[k] * t->dv[k];
    both += t->dv[k] * t->dw[k];
  }
  return gap + b * sx + a * xs + a * b * both;
}

/* dw and dX for mu, with the second-order terms in `bend` and Y if there are any; G = -sym(X dS T) is made. */
static void partner(lip_interior *t, double mu, const double *second, const double *bend) {
  size_t N = t->N;
  turn(t, t->X);
  for (size_t i = 0; i < N; i++)
    for (size_t j = 0; j < N; j++) {
      size_t at = i * N + j;
      double own = t->live[i] && t->live[j] ? mu * t->T[at] - t->X[at] : 0;
      t->dX[at] = own + t->G[at] + (second ? second[at] : 0);
    }
  for (size_t k = 0; k < t->F; k++)
    t->dw[k] = t->live[t->in + k] ? (mu - t->w[k] * t->dv[k] + (bend ? bend[k] : 0)) / t->v[k] - t->w[k] : 0;
}

static double longest_dual(lip_interior *t) {
  return border(t, t->S, t->dS, ratio(t->v, t->dv, t->F + t->m));
}

static double longest_primal(lip_interior *t) {
  return border(t, t->X, t->dX, ratio(t->w, t->dw, t->F));
}

/* Everything a step needs of X and T, and B. False: rounding has the upper hand. */
static bool prepare(lip_interior *t) {
  lip_interior_rows(t, t->X, t->P[0]);
  lip_interior_square(t, t->P[0], t->C[0]);
  lip_interior_rows(t, t->T, t->P[1]);
  lip_interior_square(t, t->P[1], t->C[1]);
  lip_interior_traces(t, t->T, t->P[1], t->trace);
  return fill_system(t);
}

/* The step for mu = 0; returns what it would leave of the gap. */
static double predict(lip_interior *t, double gap) {
  for (size_t k = 0; k < t->F + t->m; k++) t->rhs[k] = -t->cost[k];
  solve(t, t->rhs);
  partner(t, 0, NULL, NULL);
  double a = longest_dual(t), b = longest_primal(t);
  return fmin(fmax(gap_after(t, gap, a, b) / gap, 0), 1);
}

/* The step for mu with what the predicted one has bent. */
static void correct(lip_interior *t, double mu) {
  size_t F = t->F, N = t->N;
  turn(t, t->dX);
  memcpy(t->second, t->G, N * N * sizeof *t->second);
  lip_interior_rows(t, t->second, t->P[0]);
  lip_interior_traces(t, t->second, t->P[0], t->rhs);
  for (size_t k = 0; k < F; k++) {
    t->bend[k] = -t->dw[k] * t->dv[k];
    if (t->live[t->in + k]) t->rhs[k] += (mu + t->bend[k]) / t->v[k];
  }
  for (size_t k = 0; k < F + t->m; k++) t->rhs[k] += mu * t->trace[k] - t->cost[k];
  solve(t, t->rhs);
  partner(t, mu, t->second, t->bend);
}

/* From a gap to a smaller one. False: no way on. */
static bool step(lip_interior *t, double gap) {
  size_t N = t->N;
  if (!prepare(t)) return false;
  double left = predict(t, gap), mu = gap / (double)t->count;
  correct(t, mu * fmax(left * left, LEAST));
  double a = longest_dual(t), b = longest_primal(t);
  if (!(a > 0 && b > 0)) return false;
  for (size_t i = 0; i < N * N; i++) t->X[i] += b * t->dX[i];
  for (size_t k = 0; k < t->F; k++) t->w[k] += b * t->dw[k];
  for (size_t k = 0; k < t->F + t->m; k++) t->v[k] += a * t->dv[k];
  lip_interior_assemble(t, t->v, true, t->S);
  return invert(t);
}

/* X and w of the central path at the start, but for what X is to be at the inputs, of which the sum is right. */
static bool begin(lip_interior *t) {
  size_t N = t->N;
  double sum = 0;
  lip_interior_assemble(t, t->v, true, t->S);
  if (!invert(t)) return false;
  for (size_t i = 0; i < t->in; i++) sum += t->live[i] ? t->T[i * N + i] : 0;
  if (!(sum > 0 && sum < INFINITY)) return false;
  for (size_t i = 0; i < N * N; i++) t->X[i] = t->T[i] / sum;
  for (size_t k = 0; k < t->F; k++) t->w[k] = t->live[t->in + k] ? 1 / sum : 0;
  return true;
}

static double objective(const lip_interior *t) {
  double sum = 0;
  for (size_t j = t->F; j < t->F + t->m; j++) sum += t->cost[j] * t->v[j];
  return sum;
}

bool lip_interior_run(lip_interior *t, double *lambda, double *d, double *rho, double gap,
                      bool (*stop)(void *arg), void *arg) {
  size_t F = t->F, steps = 0;
  double top = 0;
  if (!lip_interior_load(t, lambda, d, *rho) || !begin(t)) return false;
  for (; steps < MOST_STEPS && !stop(arg); steps++) {
    double g = gap_of(t), f = objective(t), below = inner(t->VV, t->X, t->N);
    if (g <= gap * f && f - below <= gap * f) break;
    if (!(g > 0) || !step(t, g)) break;
  }
  for (size_t k = 0; k < F; k++) lambda[k] = t->v[k] * t->start[k];
  for (size_t j = 0; j < t->m; j++) top = fmax(top, t->v[F + j] * t->start[F + j]);
  for (size_t j = 0; d && j < t->m; j++) d[j] = fmax(t->v[F + j] * t->start[F + j] / top, 1e-9);
  *rho = top;
  return steps > 0 && top > 0 && top < INFINITY;
}
