/* Write the increments of block l as z = A y_prev, y its outputs, units of known slope c apart: y_E = c z_E. Pairs are
 * turned by the orthogonal matrix [[1, 1], [1, -1]] / sqrt 2, so that a multiplier here is twice that of lmi.h. For
 * units F with slopes in [m - h, m + h], h > 0, and a quadratic form Q of everything behind the block,
 *
 *   sup_{y_F} y'Qy + sum_k lambda_k (y_k - (m_k - h_k) z_k) ((m_k + h_k) z_k - y_k)
 *     = sup_{y_F} -y_F' P y_F + 2 y_F' g + y_E' Q_EE y_E - sum_k lambda_k (m_k^2 - h_k^2) z_k^2,
 *         P = Lambda - Q_FF,  g = Lambda m z_F + Q_FE y_E,
 *     = g' P^-1 g + y_E' Q_EE y_E - sum_k lambda_k (m_k^2 - h_k^2) z_k^2   at y_F = P^-1 g,  when P is positive definite
 *
 * and +infinity when P has a negative direction. That is a form z'Kz, the next Q is A'KA, and at the input rho is the
 * largest eigenvalue: M of lmi.h is positive semidefinite exactly when every P and rho - Q_0 are (Schur complements,
 * Haynsworth 1968; for slopes in [0, 1] the recursion of Fazlyab et al. 2019 read backwards).
 *
 * The last block. Q = V'V with few rows V = [V_F, V_E]. By Woodbury P^-1 = L^-1 + L^-1 V_F' S^-1 V_F L^-1, where L = Lambda
 * and S = 1 - V_F L^-1 V_F', and P is positive definite exactly when S is. Put s = V_E y_E, N = V_F L^-1 V_F' = 1 - S,
 * w = V_F m z_F:
 *   g' L^-1 g          = s'Ns + 2 s'w + sum lambda m^2 z^2,      V_F L^-1 g = N s + w
 *   g' P^-1 g + s's - sum lambda (m^2 - h^2) z^2
 *     = s'(1 + N + N S^-1 N)s + 2 s'(1 + N S^-1) w + w' S^-1 w + sum lambda h^2 z^2
 *     = (s + w)' S^-1 (s + w) + sum lambda h^2 z^2,
 * since (1 - S) S^-1 = S^-1 - 1 turns both brackets into S^-1. With T = V_F m A_F + V_E c A_E the next Q is therefore
 *   sum_k lambda_k h_k^2 a_k a_k' + T' S^-1 T,   and   y_F = m z + L^-1 V_F' S^-1 (s + w).
 *
 * Closed form. With q >= ||Q||, lambda_k = q (1 + |m_k| / h_k) gives, unit by unit,
 *   sup_y q y^2 + lambda (y - (m - h) z)((m + h) z - y) = q (|m| + h)^2 z^2
 * (t = lambda: t^2 m^2 / (t - q) - t (m^2 - h^2) = t m^2 q / (t - q) + t h^2, whose derivative -m^2 q^2 / (t - q)^2 + h^2
 * vanishes there), the largest slope squared: by Q <= q the next Q is at most q A' diag((|m| + h)^2) A, so the result is
 * never above the product of the layers' norms. For slopes in [0, 1] this is lambda = 2 q, the closed form of Xu,
 * Sivaranjani 2024 (ECLipsE-Fast); for [-1, 1] it is lambda = q.
 *
 * The gradient needs no derivative of an inverse: rho is a supremum over (x, y) with |x| = 1, so at the maximiser
 * d rho / d lambda_k = (y_k - (m_k - h_k) z_k) ((m_k + h_k) z_k - y_k)  (Danskin 1967).
 *
 * Following the limit. Slopes in [-h, h] alone make K = Lambda h^2: rho falls with lambda down to the border P >= 0, where
 * nothing holds a descent back, and steps end outside. Those blocks have lambda = s (1 + gap) E with s the largest
 * eigenvalue of E^-1/2 Q_FF E^-1/2, the least factor that is feasible. With Q_FF w = s E w, w'Ew = 1,
 *   d s / d E_k = -s w_k^2,     d s / d (later lambda) = w' (d Q) w = the gradient above for the signal y = w,
 * and G = sum lambda_k d rho / d lambda_k is what a factor on all of them does to rho.
 *
 * The input: for n_0 > n_1 everything depends on x through z = A D^-1/2 x only, and A D^-1 A' = R R' (Cholesky) allows to
 * put R in the place of A D^-1/2. */
#include <math.h>
#include <string.h>

#include "core/bound/eliminate_parts.h"
#include "core/norm/symmetric.h"

typedef lip_elim_block stage;

static const double ROOM = LIP_ELIM_ROOM; /* of what follows the limit at least */
static const double GAP = 0.1; /* where following starts at least, if a block also has units of known slope */

/* T, which depends on target and weights of the input but not on multipliers. */
static void make_T(lip_elim *e) {
  const stage *s = &e->stage[e->n - 1];
  for (size_t r = 0; r < e->rows; r++)
    for (size_t p = 0; p < s->M; p++) e->W[r * s->M + p] = s->mid[p] * e->V[r * s->M + p];
  lip_sym_multiply(e->T, e->R, s->At, s->M, s->N, e->W, s->M, e->rows, s->M);
}

/* ---- backwards ---- */

/* The form before the last block, into Q (N, N). */
static bool last_block(lip_elim *e, const double *lambda, double *Q) {
  stage *s = &e->stage[e->n - 1];
  size_t R = e->rows, ld = s->F + e->R;
  for (size_t r = 0; r < R; r++)
    for (size_t p = 0; p < s->F; p++) e->W[r * s->M + p] = e->V[r * s->M + p] / sqrt(lambda[p]);
  memset(e->S, 0, R * R * sizeof *e->S);
  lip_sym_add_gram(e->S, R, e->W, s->M, s->F);
  for (size_t r = 0; r < R; r++)
    for (size_t c = 0; c <= r; c++) e->S[r * R + c] = (r == c) - e->S[r * R + c];
  if (!lip_sym_cholesky(e->S, R)) return false;
  for (size_t p = 0; p < s->F; p++) s->y[p] = sqrt(lambda[p]) * s->half[p];
  for (size_t i = 0; i < s->N; i++) {
    double *h = s->H + i * ld;
    for (size_t p = 0; p < s->F; p++) h[p] = s->At[i * s->M + p] * s->y[p];
    memcpy(h + s->F, e->T + i * e->R, R * sizeof *h);
  }
  lip_sym_solve_rows(s->H + s->F, ld, s->N, e->S, R);
  memset(Q, 0, s->N * s->N * sizeof *Q);
  lip_sym_add_gram(Q, s->N, s->H, ld, s->F + R);
  lip_sym_mirror(Q, s->N);
  return true;
}

/* The same for a block with Q behind it. */
static bool inner_block(stage *s, const double *lambda, double *Q) {
  size_t M = s->M, F = s->F, K = M - F;
  for (size_t p = 0; p < F; p++)
    for (size_t c = 0; c <= p; c++) s->P[p * F + c] = (p == c ? lambda[p] : 0) - s->Q[p * M + c];
  if (!lip_sym_cholesky(s->P, F)) return false;
  memset(Q, 0, s->N * s->N * sizeof *Q);
  if (K) { /* E = (c A_E)' Q_EE */
    lip_sym_multiply(s->E, K, s->At + F, M, s->N, s->Q + F * M + F, M, K, K);
    lip_sym_add_product(Q, s->N, s->E, K, s->At + F, M, K);
    lip_sym_multiply(s->H, F, s->At + F, M, s->N, s->Q + F, M, F, K);
  } else {
    memset(s->H, 0, s->N * F * sizeof *s->H);
  }
  if (s->full)
    for (size_t i = 0; i < s->N; i++)
      for (size_t p = 0; p < F; p++) s->H[i * F + p] += lambda[p] * s->mid[p] * s->At[i * M + p];
  if (K || s->full) {
    lip_sym_solve_rows(s->H, F, s->N, s->P, F);
    lip_sym_add_gram(Q, s->N, s->H, F, F);
  }
  if (s->bent) {
    for (size_t i = 0; i < s->N; i++)
      for (size_t p = 0; p < F; p++)
        s->H[i * F + p] = lambda[p] * (s->half[p] * s->half[p] - s->mid[p] * s->mid[p]) * s->At[i * M + p];
    lip_sym_add_product(Q, s->N, s->H, F, s->At, M, F);
  }
  lip_sym_mirror(Q, s->N);
  return true;
}

static double *before(lip_elim *e, size_t l) {
  return l ? e->stage[l - 1].Q : e->Q0;
}

static bool eliminate(lip_elim *e, size_t l, const double *lambda) {
  stage *s = &e->stage[l];
  if (lip_cancel_raised(e->cancel)) return false;
  return l + 1 == e->n ? last_block(e, lambda + s->at, before(e, l))
                       : inner_block(s, lambda + s->at, before(e, l));
}

static double leading(lip_elim *e, const double *Q, size_t n, double *x, double tolerance) {
  double value;
  lip_leading(Q, n, 1, &value, x, tolerance, e->work);
  return value;
}

/* Rows times rows: the form of the rows themselves. */
static double rows_norm(lip_elim *e, double *Q, double *x) {
  memset(Q, 0, e->rows * e->rows * sizeof *Q);
  lip_sym_add_gram(Q, e->rows, e->V, e->last, e->last);
  lip_sym_mirror(Q, e->rows);
  return leading(e, Q, e->rows, x, 1e-12);
}

static double closed_limit(lip_elim *e, size_t l) {
  memset(e->s, 0, e->R * sizeof *e->s);
  if (l + 1 == e->n) return rows_norm(e, e->S, e->s);
  stage *s = &e->stage[l];
  memset(s->z, 0, s->M * sizeof *s->z);
  return leading(e, s->Q, s->M, s->z, 1e-10);
}

void lip_elim_watch(lip_elim *e, lip_cancel *cancel) {
  e->cancel = cancel;
}

double lip_elim_closed(lip_elim *e, double room, double *lambda) {
  make_T(e);
  for (size_t p = 0; p < e->count; p++) lambda[p] = 1;
  for (size_t l = e->n; l-- > 0;) {
    const stage *s = &e->stage[l];
    double q = closed_limit(e, l);
    if (!(q > 0)) q = 0x1p-900;
    for (size_t p = 0; p < s->F; p++)
      if (s->half[p] > 0) lambda[s->at + p] = q * (1 + room) * (1 + fabs(s->mid[p]) / s->half[p]);
    if (!isfinite(q) || !eliminate(e, l, lambda)) return INFINITY;
  }
  double rho = leading(e, e->Q0, e->in, e->x, 1e-12);
  return rho >= 0 ? rho : (double)INFINITY;
}

/* ---- multipliers that follow their limit ---- */

/* The limit of a direction E > 0 of multipliers: the largest eigenvalue of E^-1/2 Q_FF E^-1/2, and the vectors w of the
 * leading ones, Q w = eigenvalue E w, w'Ew = 1, with weights by `blur` as in lip_elim_rho. S (F, F) is working memory. */
static void find_limit(lip_elim *e, size_t l, const double *E, double blur) {
  stage *s = &e->stage[l];
  double value[LIP_LEADING], sum = 0;
  bool last = l + 1 == e->n;
  size_t F = s->F, n = last ? e->rows : F;
  double *S = last ? e->S : s->P;
  if (last) { /* from the few rows of V: eigenvectors v of V E^-1 V', w = E^-1 V'v / sqrt(eigenvalue) */
    for (size_t r = 0; r < n; r++)
      for (size_t p = 0; p < F; p++) e->W[r * s->M + p] = e->V[r * s->M + p] / sqrt(E[p]);
    memset(S, 0, n * n * sizeof *S);
    lip_sym_add_gram(S, n, e->W, s->M, F);
    lip_sym_mirror(S, n);
  } else {
    for (size_t p = 0; p < F; p++)
      for (size_t c = 0; c < F; c++) S[p * F + c] = s->Q[p * s->M + c] / sqrt(E[p] * E[c]);
  }
  memset(s->w, 0, n * sizeof *s->w);
  lip_leading(S, n, LIP_LEADING, value, s->w, 1e-5, e->work);
  s->limit = value[0];
  for (size_t i = 0; i < LIP_LEADING; i++) {
    double gap = i ? (value[0] - value[i]) / (blur * value[0]) : 0, *w = s->w + i * n,
           *to = s->direction + i * F;
    s->share[i] = gap < 20 ? exp(-gap) : 0;
    sum += s->share[i];
    for (size_t p = 0; p < F; p++) {
      to[p] = last ? 0 : w[p];
      for (size_t r = 0; last && s->share[i] > 0 && r < n; r++)
        to[p] += w[r] * e->W[r * s->M + p] / sqrt(value[i]);
      to[p] /= sqrt(E[p]);
    }
  }
  for (size_t i = 0; i < LIP_LEADING; i++) s->share[i] /= sum;
}

/* ---- forwards: the signal that attains the supremum, and the gradient ---- */

static void outputs(lip_elim *e, size_t l, const double *lambda) {
  stage *s = &e->stage[l];
  size_t R = e->rows;
  memcpy(s->y, s->z, s->M * sizeof *s->y);
  if (l + 1 == e->n) {
    double *t = e->s;
    for (size_t r = 0; r < R; r++) {
      t[r] = 0;
      for (size_t p = 0; p < s->M; p++) t[r] += e->V[r * s->M + p] * s->mid[p] * s->z[p];
    }
    lip_sym_forward(e->S, R, t);
    lip_sym_backward(e->S, R, t);
    for (size_t p = 0; p < s->F; p++) {
      double v = 0;
      for (size_t r = 0; r < R; r++) v += e->V[r * s->M + p] * t[r];
      s->y[p] = s->mid[p] * s->z[p] + v / lambda[p];
    }
    return;
  }
  for (size_t p = 0; p < s->F; p++) {
    double g = lambda[p] * s->mid[p] * s->z[p];
    for (size_t c = s->F; c < s->M; c++) g += s->Q[p * s->M + c] * s->y[c];
    s->y[p] = g;
  }
  lip_sym_forward(s->P, s->F, s->y);
  lip_sym_backward(s->P, s->F, s->y);
}

/* Adds w times the gradient in the multipliers of blocks l.. for the input x of block l. */
static void forwards(lip_elim *e, const double *lambda, size_t l, const double *x, double w,
                     double *gradient) {
  const double *in = x;
  for (; l < e->n; l++) {
    stage *s = &e->stage[l];
    memset(s->z, 0, s->M * sizeof *s->z);
    for (size_t i = 0; i < s->N; i++)
      if (in[i] != 0) lip_sym_axpy(s->z, in[i], s->At + i * s->M, s->M);
    outputs(e, l, lambda + s->at);
    for (size_t p = 0; p < s->F; p++) {
      double low = s->mid[p] - s->half[p], high = s->mid[p] + s->half[p];
      gradient[s->at + p] += w * (s->y[p] - low * s->z[p]) * (high * s->z[p] - s->y[p]);
    }
    in = s->y;
  }
}

static void rho_gradient(lip_elim *e, const double *lambda, const double *value, size_t count, double blur,
                         double *gradient) {
  double sum = 0;
  for (size_t i = 0; i < LIP_LEADING; i++) {
    double gap = i ? (value[0] - value[i]) / (blur * value[0]) : 0;
    e->weight[i] = i < count && gap < 20 ? exp(-gap) : 0;
    sum += e->weight[i];
  }
  memset(gradient, 0, e->count * sizeof *gradient);
  for (size_t i = 0; i < LIP_LEADING; i++) {
    e->weight[i] /= sum;
    if (e->weight[i] > 0) forwards(e, lambda, 0, e->x + i * e->in, e->weight[i], gradient);
  }
}

double lip_elim_rho(lip_elim *e, const double *lambda, double tolerance, double blur, double *gradient) {
  make_T(e);
  for (size_t l = e->n; l-- > 0;)
    if (!eliminate(e, l, lambda)) return INFINITY;
  double value[LIP_LEADING];
  size_t count = gradient && blur > 0 ? LIP_LEADING : 1;
  lip_leading(e->Q0, e->in, count, value, e->x, tolerance, e->work);
  if (!(value[0] >= 0)) return INFINITY;
  if (gradient) rho_gradient(e, lambda, value, count, blur, gradient);
  return value[0];
}

static bool follows(const stage *s) {
  return !s->full && s->F > 0;
}

/* Gradient in E and gap of a block that follows its limit, from the one in its multipliers lambda = limit (1 + gap) E;
 * what later multipliers do to the limit is added to theirs. */
static void follow_gradient(lip_elim *e, size_t l, const double *lambda, double gap, double *gradient,
                            double *d_gap) {
  stage *s = &e->stage[l];
  double *g = gradient + s->at, G = 0, *y = e->work;
  for (size_t p = 0; p < s->F; p++) G += g[p] * lambda[s->at + p];
  *d_gap = G * gap / (1 + gap);
  for (size_t p = 0; p < s->F; p++) g[p] *= lambda[s->at + p];
  for (size_t i = 0; i < LIP_LEADING; i++) {
    if (!(s->share[i] > 0)) continue;
    const double *w = s->direction + i * s->F;
    memset(y, 0, s->M * sizeof *y);
    memcpy(y, w, s->F * sizeof *y);
    for (size_t p = 0; p < s->F; p++) {
      double E = lambda[s->at + p] / (s->limit * (1 + gap));
      g[p] -= s->share[i] * G * E * w[p] * w[p];
    }
    forwards(e, lambda, l + 1, y, s->share[i] * G / s->limit, gradient);
  }
}

double lip_elim_follow(lip_elim *e, const double *param, double *lambda, double tolerance, double blur,
                       double *gradient) {
  make_T(e);
  memcpy(lambda, param, e->count * sizeof *lambda);
  for (size_t l = e->n; l-- > 0;) {
    stage *s = &e->stage[l];
    if (follows(s)) {
      find_limit(e, l, param + s->at, blur);
      double f = s->limit * (1 + fmax(param[e->count + l], ROOM));
      if (!(f > 0)) return INFINITY;
      for (size_t p = 0; p < s->F; p++) lambda[s->at + p] *= f;
    }
    if (!eliminate(e, l, lambda)) return INFINITY;
  }
  double value[LIP_LEADING];
  lip_leading(e->Q0, e->in, LIP_LEADING, value, e->x, tolerance, e->work);
  if (!(value[0] >= 0)) return INFINITY;
  rho_gradient(e, lambda, value, LIP_LEADING, blur, gradient);
  for (size_t l = 0; l < e->n; l++) {
    const stage *s = &e->stage[l];
    gradient[e->count + l] = 0;
    if (follows(s))
      follow_gradient(e, l, lambda, fmax(param[e->count + l], ROOM), gradient, gradient + e->count + l);
    else
      for (size_t p = 0; p < s->F; p++) gradient[s->at + p] *= lambda[s->at + p];
  }
  return value[0];
}

bool lip_elim_param(lip_elim *e, const double *lambda, double *param) {
  memcpy(param, lambda, e->count * sizeof *param);
  make_T(e);
  for (size_t l = e->n; l-- > 0;) {
    stage *s = &e->stage[l];
    double top = 0;
    param[e->count + l] = 1;
    if (follows(s)) {
      for (size_t p = 0; p < s->F; p++) top = fmax(top, lambda[s->at + p]);
      for (size_t p = 0; p < s->F; p++) param[s->at + p] /= top;
      find_limit(e, l, param + s->at, 1);
      param[e->count + l] = fmax(top / s->limit - 1, s->M > s->F ? GAP : ROOM);
    }
    if (!eliminate(e, l, lambda)) return false;
  }
  return true;
}

size_t lip_elim_params(const lip_elim *e) {
  return e->count + e->n;
}

void lip_elim_slacken(const lip_elim *e, double *lambda, double by) {
  double factor = 1;
  for (size_t l = e->n; l-- > 0;) {
    factor *= 1 + by;
    for (size_t p = 0; p < e->stage[l].F; p++) lambda[e->stage[l].at + p] *= factor;
  }
}

static void steepest(lip_elim *e, const double *x, double *u) {
  memset(u, 0, e->n_in * sizeof *u);
  if (!e->compress) {
    for (size_t i = 0; i < e->a->n_in; i++) u[i] = x[i] * sqrt(e->d[i]);
    return;
  }
  /* A D^-1/2 = R U with orthonormal rows of U: the input is D^-1/2 U'x = D^-1/2 (A D^-1/2)' R'^-1 x */
  double *w = e->work;
  memcpy(w, x, e->in * sizeof *w);
  lip_sym_backward(e->R0, e->in, w);
  for (size_t p = 0; p < e->in; p++) lip_sym_axpy(u, w[p], e->Ad + p * e->n_in, e->n_in);
  for (size_t i = 0; i < e->n_in; i++) u[i] *= sqrt(e->d[i]);
}

void lip_elim_squares(lip_elim *e, double *square) {
  double *u = e->work + e->in;
  memset(square, 0, e->a->n_in * sizeof *square);
  for (size_t i = 0; i < LIP_LEADING; i++) {
    if (!(e->weight[i] > 0)) continue;
    steepest(e, e->x + i * e->in, u);
    for (size_t k = 0; k < e->a->n_in; k++) square[k] += e->weight[i] * u[k] * u[k];
  }
}

/* With A = R U the form is Q = U' Q_0 U: rows of (U' Q_0) against rows of U', LIP_PAD at a time. */
static void spread_compressed(lip_elim *e, double *d) {
  size_t m = e->in, n = e->n_in;
  double *U = e->Ut, *Y = e->Yt, dot[LIP_PAD * LIP_PAD];
  for (size_t i = 0; i < n; i++)
    for (size_t p = 0; p < m; p++) U[i * m + p] = e->A[p * n + i];
  lip_sym_solve_rows(U, m, n, e->R0, m);
  lip_sym_multiply(Y, m, U, m, n, e->Q0, m, m, m);
  for (size_t i = 0; i < n; i += LIP_PAD)
    for (size_t j = 0; j < n; j += LIP_PAD) {
      lip_sym_multiply(dot, LIP_PAD, Y + i * m, m, LIP_PAD, U + j * m, m, LIP_PAD, m);
      for (size_t r = i; r < i + LIP_PAD && r < e->a->n_in; r++)
        for (size_t c = 0; c < LIP_PAD; c++) d[r] += fabs(dot[(r - i) * LIP_PAD + c]);
    }
}

void lip_elim_spread(lip_elim *e, double *d) {
  memset(d, 0, e->a->n_in * sizeof *d);
  if (e->compress) {
    spread_compressed(e, d);
    return;
  }
  for (size_t i = 0; i < e->a->n_in; i++)
    for (size_t j = 0; j < e->in; j++) d[i] += fabs(e->Q0[i * e->in + j]);
}
