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
 * The input: for n_0 > n_1 everything depends on x through z = A D^-1/2 x only, and A D^-1 A' = R R' (Cholesky) allows to
 * put R in the place of A D^-1/2. */
#include "core/cert/eliminate.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/cert/leading.h"
#include "core/norm/symmetric.h"

enum { OWNED = 512 };
static const double ROOM = 1e-6; /* closed-form multipliers above the limit, relative */

typedef struct stage {
  const lip_block *block;
  size_t N, M,
      F;     /* columns of A; units with padding; the first F of them (padding included) have a multiplier */
  size_t at; /* of its multipliers */
  uint32_t *unit;        /* (M) unit of the block at a place; UINT32_MAX: padding */
  double *At;            /* (N, M) columns m.. of known slope times the slope */
  double *mid, *half;    /* (M); mid = 1, half = 0 at known slopes (they are in At), both 0 at padding */
  double *Q, *P, *H, *E; /* (M, M) behind the block; (F, F) factor; (N, F + rows); (N, M - F) */
  double *z, *y;         /* (M) */
  bool full, bent;       /* some mid != 0; some mid^2 != half^2 */
} stage;

struct lip_elim {
  const lip_affine *a;
  size_t n, count, last;     /* hidden blocks; multipliers; inputs of the last matrix as laid out here */
  stage *stage;              /* (n) */
  size_t R, rows;            /* room for rows of V, those in use: padded */
  double *V, *W, *T, *S, *s; /* (R, last), (R, last), (N, R), (R, R), (R) */
  /* the input */
  size_t n_in, in; /* padded; after compression */
  bool compress;
  double *A, *Ad;             /* (M_1, n_in) when compressed or weighted */
  double *R0, *d;             /* (in, in) factor; (n_in) 1 / d */
  double *Ut, *Yt;            /* (n_in, in) when weighted and compressed */
  double *Q0, *x, *work;      /* (in, in), (LIP_LEADING, in) */
  double weight[LIP_LEADING]; /* of the rows of x in the last gradient */
  void *owned[OWNED];
  size_t n_owned;
  bool failed;
};

static size_t padded(size_t n) {
  return n ? (n + LIP_PAD - 1) / LIP_PAD * LIP_PAD : LIP_PAD;
}

static void *take(lip_elim *e, size_t count, size_t size) {
  void *p = e->failed || e->n_owned == OWNED ? NULL : lip_alloc(count, size);
  if (!p)
    e->failed = true;
  else
    e->owned[e->n_owned++] = p;
  return p;
}

static double *take_matrix(lip_elim *e, size_t m, size_t n) {
  size_t all;
  if (!lip_mul_fits(m, n, &all)) e->failed = true;
  return take(e, e->failed ? 0 : all, sizeof(double));
}

/* ---- layout ---- */

static bool known(const lip_block *b, size_t k) {
  return !(b->low[k] < b->high[k]);
}

/* Units with a multiplier first, then those of known slope, each padded. */
static void lay_out(lip_elim *e, stage *s, const lip_block *b) {
  size_t F = 0, K = 0;
  for (size_t k = 0; k < b->M; k++) known(b, k) ? K++ : F++;
  s->block = b;
  s->F = F ? padded(F) : 0;
  s->M = s->F + (K || !F ? padded(K) : 0);
  s->unit = take(e, s->M, sizeof *s->unit);
  s->mid = take_matrix(e, s->M, 1);
  s->half = take_matrix(e, s->M, 1);
  if (e->failed) return;
  memset(s->unit, 0xff, s->M * sizeof *s->unit);
  for (size_t k = 0, f = 0, c = s->F; k < b->M; k++) {
    size_t at = known(b, k) ? c++ : f++;
    s->unit[at] = (uint32_t)k;
    s->mid[at] = known(b, k) ? 1 : b->low[k] / 2 + b->high[k] / 2;
    s->half[at] = known(b, k) ? 0 : b->high[k] / 2 - b->low[k] / 2;
    s->full |= at < s->F && s->mid[at] != 0;
    s->bent |= at < s->F && fabs(s->mid[at]) != s->half[at];
  }
}

/* Row `row` of W with its columns turned as the pairs in front of them are. */
static void turn_columns(const lip_block *before, double *row) {
  if (!before || !before->mate) return;
  for (size_t k = 0; k < before->M; k++) {
    size_t m = before->mate[k];
    if (m <= k) continue;
    double a = row[k], b = row[m];
    row[k] = (a + b) * sqrt(0.5);
    row[m] = (a - b) * sqrt(0.5);
  }
}

/* Row of A at unit k: its row of W, or the sum or difference of two, turned. `other` is working memory. */
static void turned_row(const lip_block *b, const lip_block *before, size_t k, double *row) {
  size_t m = b->mate ? b->mate[k] : k;
  for (size_t j = 0; j < b->N; j++) {
    double v = (double)b->W[k * b->N + j], o = (double)b->W[m * b->N + j];
    row[j] = m == k ? v : m > k ? (v + o) * sqrt(0.5) : (o - v) * sqrt(0.5);
  }
  turn_columns(before, row);
}

static double slope_of(const stage *s, size_t p) {
  return p < s->F ? 1 : s->block->low[s->unit[p]];
}

/* At of an inner block: rows as the stage before lays its units out. */
static void fill_inner(stage *s, const stage *before, double *row) {
  for (size_t p = 0; p < s->M; p++) {
    if (s->unit[p] == UINT32_MAX) continue;
    turned_row(s->block, before->block, s->unit[p], row);
    for (size_t i = 0; i < s->N; i++)
      if (before->unit[i] != UINT32_MAX) s->At[i * s->M + p] = slope_of(s, p) * row[before->unit[i]];
  }
}

static void fill_first(lip_elim *e, stage *s) {
  for (size_t p = 0; p < s->M; p++) {
    double *row = e->A + p * e->n_in;
    if (s->unit[p] == UINT32_MAX) continue;
    turned_row(s->block, NULL, s->unit[p], row);
    for (size_t i = 0; i < e->n_in; i++) row[i] *= slope_of(s, p);
  }
}

static void make_stage(lip_elim *e, stage *s, size_t l) {
  lay_out(e, s, &e->a->block[l]);
  if (e->failed) return;
  if (l == 0) {
    e->compress = e->n_in > s->M;
    e->in = e->compress ? s->M : e->n_in;
    e->A = take_matrix(e, s->M, e->n_in);
    e->Ad = take_matrix(e, s->M, e->n_in);
    e->R0 = take_matrix(e, e->in, e->in);
  }
  s->N = l == 0 ? e->in : e->stage[l - 1].M;
  s->at = e->count;
  e->count += s->F;
  s->At = take_matrix(e, s->N, s->M);
  s->Q = take_matrix(e, s->M, s->M);
  s->P = take_matrix(e, s->F, s->F);
  s->H = take_matrix(e, s->N, s->F + (l + 1 == e->n ? e->R : 0));
  s->E = take_matrix(e, s->N, s->M - s->F);
  s->z = take_matrix(e, s->M, 1);
  s->y = take_matrix(e, s->M, 1);
  if (e->failed) return;
  if (l == 0)
    fill_first(e, s);
  else
    fill_inner(s, s - 1, e->work);
}

static size_t widest(const lip_affine *a) {
  size_t n = a->n_in;
  for (size_t l = 0; l < a->n; l++) n = a->block[l].M > n ? a->block[l].M : n;
  return n;
}

static void build(lip_elim *e, bool weighted) {
  const lip_affine *a = e->a;
  size_t wide = padded(widest(a));
  e->n = a->n - 1;
  e->n_in = e->in = padded(a->n_in);
  e->R = padded(a->n_out);
  e->stage = take(e, e->n, sizeof *e->stage);
  e->work = take_matrix(e, lip_leading_work(2 * wide), 1);
  if (e->failed) return;
  for (size_t l = 0; !e->failed && l < e->n; l++) make_stage(e, &e->stage[l], l);
  if (e->failed) return;
  size_t N = e->stage[e->n - 1].N;
  e->last = e->stage[e->n - 1].M;
  e->V = take_matrix(e, e->R, e->last);
  e->W = take_matrix(e, e->R, e->last);
  e->T = take_matrix(e, N, e->R);
  e->S = take_matrix(e, e->R, e->R);
  e->s = take_matrix(e, e->R, 2);
  e->d = take_matrix(e, e->n_in, 1);
  if (weighted && e->compress) {
    e->Ut = take_matrix(e, e->n_in, e->in);
    e->Yt = take_matrix(e, e->n_in, e->in);
  }
  e->Q0 = take_matrix(e, e->in, e->in);
  e->x = take_matrix(e, LIP_LEADING, e->in);
}

lip_status lip_elim_new(const lip_affine *a, bool weighted, lip_elim **out, lip_err *err) {
  *out = NULL;
  lip_elim *e = lip_alloc(1, sizeof *e);
  if (e) {
    e->a = a;
    if (20 + 10 * a->n < OWNED)
      build(e, weighted);
    else
      e->failed = true;
  }
  if (!e || e->failed) {
    lip_elim_free(e);
    return lip_fail(err, LIP_MEMORY, "out of memory for the multipliers of a net");
  }
  for (size_t i = 0; i < e->n_in; i++) e->d[i] = 1;
  if (!weighted) (void)lip_elim_weigh(e, NULL);
  *out = e;
  return LIP_OK;
}

void lip_elim_free(lip_elim *e) {
  if (!e) return;
  while (e->n_owned) lip_free(e->owned[--e->n_owned]);
  lip_free(e);
}

size_t lip_elim_count(const lip_elim *e) {
  return e->count;
}

void lip_elim_export(const lip_elim *e, const double *lambda, double *to) {
  for (size_t l = 0; l < e->n; l++) {
    const stage *s = &e->stage[l];
    for (size_t k = 0; k < s->block->M; k++) to[k] = 0;
    for (size_t p = 0; p < s->F; p++) {
      size_t k = s->unit[p];
      if (k == UINT32_MAX) continue;
      bool pair = s->block->mate && s->block->mate[k] != k;
      to[k] = pair ? lambda[s->at + p] / 2 : lambda[s->at + p];
    }
    to += s->block->M;
  }
}

/* ---- the input and the target ---- */

bool lip_elim_weigh(lip_elim *e, const double *d) {
  stage *s = &e->stage[0];
  for (size_t i = 0; i < e->a->n_in; i++) e->d[i] = d ? 1 / d[i] : 1;
  for (size_t p = 0; p < s->M; p++)
    for (size_t i = 0; i < e->n_in; i++) e->Ad[p * e->n_in + i] = e->A[p * e->n_in + i] * sqrt(e->d[i]);
  if (!e->compress) {
    for (size_t i = 0; i < s->N; i++)
      for (size_t p = 0; p < s->M; p++) s->At[i * s->M + p] = e->Ad[p * e->n_in + i];
    return true;
  }
  double top = 0;
  memset(e->R0, 0, e->in * e->in * sizeof *e->R0);
  lip_sym_add_gram(e->R0, e->in, e->Ad, e->n_in, e->n_in);
  for (size_t i = 0; i < e->in; i++) top = fmax(top, e->R0[i * e->in + i]);
  for (size_t i = 0; i < e->in; i++) e->R0[i * e->in + i] += 1e-13 * top + 0x1p-1000;
  if (!lip_sym_cholesky(e->R0, e->in)) return false;
  for (size_t i = 0; i < e->in; i++)
    for (size_t p = 0; p < e->in; p++) s->At[i * s->M + p] = p >= i ? e->R0[p * e->in + i] : 0;
  return true;
}

void lip_elim_target(lip_elim *e, lip_rows rows) {
  const lip_block *b = &e->a->block[e->a->n - 1];
  const stage *s = &e->stage[e->n - 1];
  bool all = rows.i == LIP_NO_ROW;
  size_t R = all ? b->M : 1;
  double *row = e->work;
  e->rows = padded(R);
  memset(e->V, 0, e->R * e->last * sizeof *e->V);
  for (size_t r = 0; r < R; r++) {
    const float *wi = b->W + (all ? r : rows.i) * b->N;
    const float *wj = all || rows.j == LIP_NO_ROW ? NULL : b->W + rows.j * b->N;
    for (size_t k = 0; k < b->N; k++) row[k] = (double)wi[k] - (wj ? (double)wj[k] : 0);
    turn_columns(s->block, row);
    for (size_t p = 0; p < e->last; p++) {
      size_t k = s->unit[p];
      e->V[r * e->last + p] = k == UINT32_MAX ? 0 : row[k];
    }
  }
  memset(e->x, 0, e->in * sizeof *e->x);
}

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

double lip_elim_closed(lip_elim *e, double *lambda) {
  make_T(e);
  for (size_t p = 0; p < e->count; p++) lambda[p] = 1;
  for (size_t l = e->n; l-- > 0;) {
    const stage *s = &e->stage[l];
    double q = closed_limit(e, l);
    if (!(q > 0)) q = 0x1p-900;
    for (size_t p = 0; p < s->F; p++)
      if (s->half[p] > 0) lambda[s->at + p] = q * (1 + ROOM) * (1 + fabs(s->mid[p]) / s->half[p]);
    if (!isfinite(q) || !eliminate(e, l, lambda)) return INFINITY;
  }
  double rho = leading(e, e->Q0, e->in, e->x, 1e-12);
  return rho >= 0 ? rho : (double)INFINITY;
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

/* Adds w times the gradient for the input x to `gradient`. */
static void forwards(lip_elim *e, const double *lambda, const double *x, double w, double *gradient) {
  const double *in = x;
  for (size_t l = 0; l < e->n; l++) {
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

double lip_elim_rho(lip_elim *e, const double *lambda, double tolerance, double blur, double *gradient) {
  make_T(e);
  for (size_t l = e->n; l-- > 0;)
    if (!eliminate(e, l, lambda)) return INFINITY;
  double value[LIP_LEADING];
  size_t count = gradient && blur > 0 ? LIP_LEADING : 1;
  lip_leading(e->Q0, e->in, count, value, e->x, tolerance, e->work);
  if (!(value[0] >= 0)) return INFINITY;
  if (!gradient) return value[0];
  double sum = 0;
  for (size_t i = 0; i < LIP_LEADING; i++) {
    double gap = i ? (value[0] - value[i]) / (blur * value[0]) : 0;
    e->weight[i] = i < count && gap < 20 ? exp(-gap) : 0;
    sum += e->weight[i];
  }
  memset(gradient, 0, e->count * sizeof *gradient);
  for (size_t i = 0; i < LIP_LEADING; i++) {
    e->weight[i] /= sum;
    if (e->weight[i] > 0) forwards(e, lambda, e->x + i * e->in, e->weight[i], gradient);
  }
  return value[0];
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
