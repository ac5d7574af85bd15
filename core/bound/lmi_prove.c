/* The proof of the inequality of lmi.h.
 *
 * Units are rotated (compress.h): z_l = A_l y_{l-1}, y_0 = x, and the vector V y_{n-1} is what is asked about. A wide x is
 * replaced by u with z_1 = R u and |u|^2 <= x' diag(d) x (compress.c). With p_k = lambda_k (low_k + high_k) / 2 and
 * q_k = lambda_k low_k high_k the symmetric matrix of the form is block tridiagonal,
 *     M_00 = rho diag(d) + A_1' diag(q_1) A_1                  (rho I + R' diag(q_1) R)
 *     M_ll = diag(lambda_l) + A_{l+1}' diag(q_{l+1}) A_{l+1},  the last with - V'V in place of the second term
 *     M_l,l-1 = - diag(p_l) A_l.
 *
 * Rounding. Every entry is a sum of products. A product has at most 2 LIP_ROTATED roundings from the two entries of A,
 * 2 from p or q (their sum, product), 2 more; at most n + 4 products meet in a sum. So with K = n + 2 LIP_ROTATED + 16 the
 * computed entry is off by at most gamma_K |M|_ij, |M| made of absolute values (Higham 2002, section 3.1); the symmetric
 * error matrix plus diag(r), r_i = gamma_K sum_j |M|_ij, is diagonally dominant, thus positive semi-definite.
 *
 * Scaling. S = diag of powers of two so that s_i^2 m_ii is in [1/2, 2) (in [1/4, 4) for x, where rho moves): exact, and SMS
 * is positive semi-definite exactly when M is; the errors become s_i r_i with the s_j inside of the sum.
 *
 * Factorisation. Let B be the matrix handed to Cholesky's method, unknowns in the order y_{n-1}, ..., y_1, x. If
 * it runs to completion, B + D is positive semi-definite with |D_ij| <= phi d_i d_j, d_i = sqrt(b_ii), phi = gamma_h /
 * (1 - gamma_h), h = 1 + the number of terms in one entry (top of core/norm/verify.c). Entries outside of the block tridiagonal
 * are never touched, so D has only these, and sums of one entry run over its own block and the one before:
 * h = 2 + max (n_l + n_{l+1}). The norm of a symmetric matrix in blocks is at most the largest row sum of their norms, so
 *     ||D||_2 <= phi max_l t_l (t_{l-1} + t_l + t_{l+1}),   t_l^2 = trace of the l-th diagonal block.
 * Hence M is positive semi-definite when B = fl(SMS - diag(r) - c I) with
 *     c >= that bound + 4 u max b_ii (two roundings of each diagonal entry) + 2^-300,
 * the last for underflow: multipliers outside [2^-300, 2^300] are moved into it or to 0, slopes below 2^-200 are widened
 * to 0 or to that, m_ii outside [2^-400, 2^900] is refused; so nothing above underflows by more than 2^-1074 in an
 * entry, or 2^-600 after scaling.
 *
 * rho appears in the block of x alone, which is factorised last: what the other blocks leave behind there is computed once,
 * and each further rho costs a factorisation of that block. r and c are made for the largest rho tried, where they are
 * largest.
 *
 * Units of known slope s are put in where that pays (lmi_exact.c). Else lambda (y - s z)^2 is a penalty for y that stray,
 * by about 1 / lambda, while directions in which y follows z shrink by lambda when scaled. EQUAL, times the
 * largest curvature that a y of that block has from what follows, is the compromise: it costs 1e-6 to 1e-5 of rho. Dead
 * units (slope 0) and units without weight behind or before them drop out. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/bound/compress.h"
#include "core/bound/lmi.h"
#include "core/bound/lmi_form.h"
#include "core/norm/round.h"
#include "core/norm/symmetric.h"

#define EQUAL 0x1p20

/* ---- what does not depend on the target ---- */

/* Slopes that no product below can push into underflow: away from 0 and outwards. */
static double outward(double s, double to) {
  if (s == 0 || fabs(s) >= 0x1p-200) return s;
  return (s > 0) == (to > 0) ? to : 0;
}

static bool fill_slopes(lip_level *l, const lip_block *b) {
  bool good = true;
  for (size_t i = 0; i < l->n; i++) {
    l->low[i] = outward(b->low[i], -0x1p-200);
    l->high[i] = outward(b->high[i], 0x1p-200);
    good = good && l->low[i] <= l->high[i] && fabs(l->low[i]) <= 0x1p100 && fabs(l->high[i]) <= 0x1p100;
  }
  return good;
}

/* Rows of block `b` (its matrix acts on level b) into A and size, `stride` apart; columns of dead units are 0. */
static void fill_row(const lip_lmi *m, size_t b, size_t i, double *A, double *size) {
  const lip_level *l = &m->at[b];
  lip_rotated_row(m->a, b, i, A, size);
  for (size_t k = 0; b > 0 && k < l->n; k++)
    if (lip_unit_dead(l, k)) A[k] = size[k] = 0;
}

static bool alloc_all(lip_lmi *m, bool compressed) {
  const lip_affine *a = m->a;
  m->at = lip_alloc(m->n, sizeof *m->at);
  if (!m->at) return false;
  for (size_t i = 0; i < m->n; i++) {
    lip_level *l = &m->at[i];
    l->n = i ? a->block[i - 1].M : compressed ? a->block[0].M : a->block[0].N;
    l->k = lip_lmi_pad(l->n);
    l->below = i ? m->at[i - 1].k : 0;
    m->most = l->k > m->most ? l->k : m->most;
    if (!lip_level_alloc(l)) return false;
  }
  size_t k0 = m->at[0].k, last = m->at[m->n - 1].k;
  m->rows = lip_lmi_pad(a->block[a->n - 1].M);
  size_t room =
      last * m->rows; /* for the transposed factors of each product, and for what a block leaves behind */
  for (size_t i = 1; i < m->n; i++) {
    const lip_level *l = &m->at[i];
    size_t wide = l->k > l->below ? l->k : l->below;
    room = l->below * wide > room ? l->below * wide : room;
  }
  if (compressed) {
    m->first = lip_alloc(k0, k0 * sizeof(double));
    m->weighted = lip_alloc(k0, k0 * sizeof(double));
  }
  m->base = lip_alloc(k0, k0 * sizeof(double));
  m->left = lip_alloc(k0, k0 * sizeof(double));
  m->T = lip_alloc(room, sizeof(double));
  m->U = lip_alloc(room, sizeof(double));
  m->V = lip_alloc(m->rows, last * sizeof(double));
  m->V_size = lip_alloc(m->rows, last * sizeof(double));
  m->d = lip_alloc(k0, sizeof(double));
  return ((m->first && m->weighted) || !compressed) && m->base && m->left && m->T && m->U && m->V &&
         m->V_size && m->d;
}

bool lip_lmi_fits(const lip_affine *a) {
  double entries = 0, below = 0;
  for (size_t i = 0; i < a->n; i++) {
    double k = (double)(i                               ? a->block[i - 1].M
                        : a->block[0].N < a->block[0].M ? a->block[0].N
                                                        : a->block[0].M);
    entries += k * (k + below);
    below = k;
  }
  return a->n > 0 && entries <= 0x1p25;
}

lip_status lip_lmi_new(const lip_affine *a, lip_lmi **out, lip_err *err) {
  *out = NULL;
  lip_lmi *m = lip_alloc(1, sizeof *m);
  bool fits = lip_lmi_fits(a), compressed = fits && a->block[0].N > a->block[0].M;
  if (m) *m = (lip_lmi){.a = a, .n = fits ? a->n : 0, .least = 0x1p-400, .broken = !fits};
  if (!m || (fits && !alloc_all(m, compressed))) {
    lip_lmi_free(m);
    return lip_fail(err, LIP_MEMORY, "out of memory for the inequality of a net with %zu matrices", a->n);
  }
  for (size_t i = 1; i < m->n; i++)
    if (!fill_slopes(&m->at[i], &a->block[i - 1])) m->broken = true;
  for (size_t i = compressed ? 2 : 1; i < m->n; i++)
    for (size_t r = 0; r < m->at[i].n; r++)
      fill_row(m, i - 1, r, m->at[i].A + r * m->at[i].below, m->at[i].size + r * m->at[i].below);
  if (compressed && !m->broken) {
    bool proved;
    lip_status st = lip_compress(a, NULL, m->first, &proved, err);
    if (st != LIP_OK) {
      lip_lmi_free(m);
      return st;
    }
    m->broken = !proved;
  }
  m->terms = (m->most > m->rows ? m->most : m->rows) + 2 * LIP_ROTATED + 20;
  lip_status st = m->broken ? LIP_OK : lip_exact_new(m, &m->exact, err);
  if (st != LIP_OK) {
    lip_lmi_free(m);
    return st;
  }
  *out = m;
  return LIP_OK;
}

void lip_lmi_free(lip_lmi *m) {
  if (!m) return;
  for (size_t i = 0; m->at && i < m->n; i++) lip_level_free(&m->at[i]);
  lip_exact_free(m->exact);
  double *own[] = {m->first, m->weighted, m->base, m->left, m->T, m->U, m->V, m->V_size, m->d};
  for (size_t j = 0; j < sizeof own / sizeof *own; j++) lip_free(own[j]);
  lip_free(m->at);
  lip_free(m);
}

/* ---- one target ---- */

/* The first matrix for the weights d, and the weights that remain. False: no proof. */
static lip_status load_weights(lip_lmi *m, const double *d, const double **R, bool *good, lip_err *err) {
  lip_level *x = &m->at[0];
  *good = true;
  *R = m->first;
  for (size_t k = 0; k < x->n; k++) {
    m->d[k] = d && !m->first ? d[k] : 1;
    *good = *good && m->d[k] >= 0x1p-300 && m->d[k] <= 0x1p300;
  }
  if (!m->first) return LIP_OK;
  if (d) {
    lip_status st = lip_compress(m->a, d, m->weighted, good, err);
    if (st != LIP_OK) return st;
    *R = m->weighted;
  }
  if (m->n > 1) {
    lip_level *l = &m->at[1];
    memcpy(l->A, *R, l->k * l->below * sizeof *l->A);
    for (size_t i = 0; i < l->k * l->below; i++) l->size[i] = fabs(l->A[i]);
  }
  return LIP_OK;
}

/* Row i of the last matrix. R: the first, compressed; NULL: as it is. */
static void last_row(const lip_lmi *m, const double *R, size_t i, double *A, double *size) {
  size_t k = m->at[m->n - 1].k;
  if (m->n == 1 && R) {
    memcpy(A, R + i * k, k * sizeof *A);
    for (size_t j = 0; j < k; j++) size[j] = fabs(A[j]);
  } else {
    fill_row(m, m->n - 1, i, A, size);
  }
}

/* V and its sizes; returns its rows, padded. *zero: V is 0. */
static size_t load_target(lip_lmi *m, const double *R, lip_rows t, bool *zero) {
  size_t k = m->at[m->n - 1].k, all = m->a->block[m->n - 1].M, rows = t.i == LIP_NO_ROW ? all : 1;
  memset(m->V, 0, m->rows * k * sizeof *m->V);
  memset(m->V_size, 0, m->rows * k * sizeof *m->V_size);
  for (size_t r = 0; r < rows; r++)
    last_row(m, R, t.i == LIP_NO_ROW ? r : t.i, m->V + r * k, m->V_size + r * k);
  if (t.i != LIP_NO_ROW && t.j != LIP_NO_ROW) {
    last_row(m, R, t.j, m->T, m->U);
    for (size_t c = 0; c < m->at[m->n - 1].n; c++) {
      m->V[c] -= m->T[c];
      m->V_size[c] += m->U[c];
    }
  }
  *zero = true;
  for (size_t i = 0; i < rows * k; i++) *zero = *zero && m->V[i] == 0;
  return lip_lmi_pad(rows);
}

static double usable(double lambda) {
  if (!(lambda >= 0x1p-300)) return 0;
  return lambda <= 0x1p300 ? lambda : 0x1p300;
}

/* v_k of level b: how much of the form depends on y_k alone, equal and dead units aside. */
static double need_of(lip_lmi *m, size_t b, size_t rows) {
  lip_level *l = &m->at[b];
  double most = 0;
  bool last = b + 1 == m->n;
  const lip_level *up = last ? NULL : &m->at[b + 1];
  for (size_t k = 0; k < l->k; k++) l->v[k] = 0;
  for (size_t r = 0; r < (last ? rows : up->n); r++) {
    const double *A = last ? m->V + r * l->k : up->A + r * l->k;
    double slope = last ? 1 : fmax(fabs(up->low[r]), fabs(up->high[r]));
    double weight = last ? 1 : (lip_unit_known(m, b + 1, r) ? up->v[r] : up->lambda[r]) * slope * slope;
    for (size_t k = 0; k < l->k; k++) l->v[k] += weight * A[k] * A[k];
  }
  for (size_t k = 0; k < l->n; k++) most = fmax(most, l->v[k]);
  return most;
}

/* Multipliers that are used, also written back; p and q. */
static void load_lambda(lip_lmi *m, size_t rows, double *lambda) {
  for (size_t b = m->n - 1; b > 0; b--) {
    lip_level *l = &m->at[b];
    size_t first = 0;
    for (size_t i = 1; i < b; i++) first += m->at[i].n;
    double most = need_of(m, b, rows);
    for (size_t k = 0; k < l->n; k++) {
      double *given = &lambda[first + k], low = l->low[k], high = l->high[k];
      *given = usable(*given);
      if (*given == 0 && lip_unit_known(m, b, k)) *given = usable(EQUAL * most);
      l->lambda[k] = lip_unit_dead(l, k) ? 0 : *given;
      l->p[k] = l->lambda[k] * ((low + high) / 2);
      l->q[k] = l->lambda[k] * (low * high);
    }
  }
}

/* B += A' diag(w) A on the lower triangle, A (rows, k). */
static void add_weighted(lip_lmi *m, double *B, size_t k, const double *A, size_t rows, const double *w) {
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < k; j++) {
      m->T[j * rows + i] = A[i * k + j];
      m->U[j * rows + i] = w ? w[i] * A[i * k + j] : -A[i * k + j];
    }
  lip_sym_add_product(B, k, m->T, rows, m->U, rows, rows);
}

/* M but for rho, in lower triangles. */
static void assemble(lip_lmi *m, size_t rows) {
  for (size_t b = 0; b < m->n; b++) {
    lip_level *l = &m->at[b];
    memset(l->B, 0, (l->k + l->below) * l->k * sizeof *l->B);
    for (size_t i = 0; b > 0 && i < l->n; i++) l->B[i * l->k + i] = l->lambda[i];
  }
  for (size_t b = 1; b < m->n; b++) {
    lip_level *l = &m->at[b];
    bool any = false;
    for (size_t i = 0; i < l->n; i++) {
      any = any || l->q[i] != 0;
      for (size_t j = 0; j < l->below; j++) l->B[(l->k + j) * l->k + i] = -l->p[i] * l->A[i * l->below + j];
    }
    if (any) add_weighted(m, m->at[b - 1].B, l->below, l->A, l->k, l->q);
  }
  lip_level *last = &m->at[m->n - 1];
  add_weighted(m, last->B, last->k, m->V, rows, NULL);
}

/* row = S |M| S 1 for the scales at hand. */
static void row_sums(lip_lmi *m, size_t rows, double rho) {
  if (m->chain) {
    lip_exact_row_sums(m, rows, rho);
    return;
  }
  for (size_t b = 0; b < m->n; b++) {
    lip_level *l = &m->at[b];
    for (size_t i = 0; i < l->k; i++) l->row[i] = (b ? l->lambda[i] : rho * m->d[i]) * l->scale[i];
  }
  for (size_t b = 1; b < m->n; b++) {
    lip_level *l = &m->at[b], *x = &m->at[b - 1];
    for (size_t i = 0; i < l->n; i++) {
      if (l->p[i] == 0 && l->q[i] == 0) continue;
      const double *size = l->size + i * l->below;
      double w = lip_sym_dot(size, x->scale, x->k);
      l->row[i] += fabs(l->p[i]) * w;
      lip_sym_axpy(x->row, fabs(l->p[i]) * l->scale[i] + fabs(l->q[i]) * w, size, x->k);
    }
  }
  lip_level *last = &m->at[m->n - 1];
  for (size_t r = 0; r < rows; r++) {
    const double *size = m->V_size + r * last->k;
    lip_sym_axpy(last->row, lip_sym_dot(size, last->scale, last->k), size, last->k);
  }
  for (size_t b = 0; b < m->n; b++)
    for (size_t i = 0; i < m->at[b].k; i++) m->at[b].row[i] *= m->at[b].scale[i];
}

/* Scales from the diagonal at the largest rho; unknowns that nothing depends on get 1 there. False: not definite. */
static bool find_scales(lip_lmi *m, size_t rows, double rho) {
  for (size_t b = 0; b < m->n; b++)
    for (size_t i = 0; i < m->at[b].k; i++) m->at[b].scale[i] = 1;
  row_sums(m, rows, rho);
  for (size_t b = 0; b < m->n; b++) {
    lip_level *l = &m->at[b];
    for (size_t i = 0; i < l->k; i++) {
      double *diagonal = &l->B[i * l->k + i], v = *diagonal + (b ? 0 : rho * m->d[i]);
      int e;
      if (l->row[i] == 0) v = *diagonal = 1;
      if (!(v >= m->least && v <= 0x1p900)) return false;
      (void)frexp(v, &e);
      l->scale[i] = ldexp(1, -(e - (e & 1)) / 2);
    }
  }
  row_sums(m, rows, rho);
  return true;
}

/* SMS less everything that rounding may cost. False: the dimensions are beyond the estimates. */
static bool scale_and_shift(lip_lmi *m, double rho) {
  size_t terms = 0;
  double cost = 0, before = 0, now = 0;
  for (size_t b = 0; b < m->n; b++) {
    lip_level *l = &m->at[b];
    double trace = 0;
    for (size_t i = 0; i < l->k + l->below; i++) {
      double s = i < l->k ? l->scale[i] : m->at[b - 1].scale[i - l->k];
      for (size_t j = 0; j < (i < l->k ? i + 1 : l->k); j++)
        l->B[i * l->k + j] = l->B[i * l->k + j] * s * l->scale[j];
    }
    for (size_t i = 0; i < l->k; i++)
      trace += l->B[i * l->k + i] + (b ? 0 : rho * m->d[i] * l->scale[i] * l->scale[i]);
    double after = sqrt(trace); /* of level b; `now` of b - 1, `before` of b - 2 */
    cost = fmax(cost, now * (before + now + after));
    before = now;
    now = after;
    terms = l->k + l->below > terms ? l->k + l->below : terms;
  }
  cost = fmax(cost, now * (before + now));
  double phi = lip_gamma(terms + 2), g = lip_gamma(m->terms);
  if (!(phi < 0.25 && g < 0.25)) return false;
  /* every sum of numbers >= 0 used here is right within 2^-20 */
  double c = phi / (1 - phi) * cost * (1 + 0x1p-10) + 0x1p-300;
  for (size_t b = 0; b < m->n; b++)
    for (size_t i = 0; i < m->at[b].k; i++)
      m->at[b].B[i * m->at[b].k + i] -= (g * m->at[b].row[i] + c) * (1 + 0x1p-10);
  return true;
}

/* Factorises all blocks but that of x, which goes to base and left. */
static bool eliminate(lip_lmi *m) {
  size_t k0 = m->at[0].k;
  memcpy(m->base, m->at[0].B, k0 * k0 * sizeof *m->base);
  memset(m->left, 0, k0 * k0 * sizeof *m->left);
  for (size_t b = m->n - 1; b > 0; b--) {
    lip_level *l = &m->at[b], *x = &m->at[b - 1];
    double *H = b > 1 ? m->T : m->left;
    if (!lip_sym_cholesky_polled(l->B, l->k + l->below, l->k)) return false;
    memset(H, 0, x->k * x->k * sizeof *H);
    if (!lip_sym_add_gram_polled(H, x->k, l->B + l->k * l->k, l->k, l->k)) return false;
    for (size_t i = 0; b > 1 && i < x->k; i++)
      for (size_t j = 0; j <= i; j++) x->B[i * x->k + j] -= H[i * x->k + j];
  }
  return true;
}

static bool proved_for(lip_lmi *m, double rho) {
  lip_level *x = &m->at[0];
  for (size_t i = 0; i < x->k; i++) {
    for (size_t j = 0; j < i; j++) x->B[i * x->k + j] = m->base[i * x->k + j] - m->left[i * x->k + j];
    double own = m->base[i * x->k + i] + rho * m->d[i] * x->scale[i] * x->scale[i];
    x->B[i * x->k + i] = own - m->left[i * x->k + i];
  }
  return lip_sym_cholesky_polled(x->B, x->k, x->k);
}

/* The smallest excess over rho that is proved, within a factor of about 1.1, or INFINITY. */
static double search(lip_lmi *m, double rho) {
  double failed = 0, excess = 1e-9;
  while (!proved_for(m, rho * (1 + excess))) {
    failed = excess;
    excess *= 2;
    if (excess > 0.999) return INFINITY;
  }
  for (int i = 0; failed > 0 && i < 3; i++) {
    double mid = (failed + excess) / 2;
    if (proved_for(m, rho * (1 + mid)))
      excess = mid;
    else
      failed = mid;
  }
  return rho * (1 + excess);
}

/* From an assembled matrix to the rho that is proved. */
static double solve(lip_lmi *m, size_t rows, double rho) {
  bool definite = find_scales(m, rows, 2 * rho) && scale_and_shift(m, 2 * rho) && eliminate(m);
  return definite ? search(m, rho) : INFINITY;
}

lip_status lip_lmi_prove(lip_lmi *m, lip_multipliers *t, lip_err *err) {
  double rho = t->rho;
  const double *R;
  bool good, zero;
  t->rho = INFINITY;
  if (m->broken) return LIP_OK;
  lip_status st = load_weights(m, t->d, &R, &good, err);
  if (st != LIP_OK || !good) return st;
  size_t rows = load_target(m, R, t->rows, &zero);
  load_lambda(m, rows, t->lambda);
  if (zero) {
    t->rho = 0;
    return LIP_OK;
  }
  if (!(rho > 0 && rho <= 0x1p380)) return LIP_OK;
  if (rho < 0x1p-380) rho = 0x1p-380;
  if (m->exact && lip_exact_assemble(m->exact, m, rows, t->d != NULL)) t->rho = solve(m->exact, rows, rho);
  if (t->rho <= rho * (1 + 1e-7)) return LIP_OK;
  assemble(m, rows);
  t->rho = fmin(t->rho, solve(m, rows, rho));
  return LIP_OK;
}
