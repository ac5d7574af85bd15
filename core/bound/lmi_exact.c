/* The matrix of lmi_prove.c without units of known slope.
 *
 * Where y = s z, y is no unknown: every z is a linear function of x and of the free units u (those of no known slope) in blocks before it,
 *     z_i = sum over free j of A_ij u_j + sum over known j of A_ij s_j z_j,
 * and with these rows, and w = V y made in the same way,
 *     M = diag(rho d, lambda) - sum_f p_f (e_f z_f' + z_f e_f') + sum_f q_f z_f z_f' - sum_r w_r w_r'.
 * It is smaller than the block tridiagonal matrix, not sparse, and free of the penalty for known slopes. In the terms of
 * lmi_prove.c it has two blocks, u and x.
 *
 * Rounding. An entry of z is a sum of products of entries of A and slopes. Each block adds one product, the sum, the
 * roundings of A and the one of A s: at most k_{l-1} + LIP_ROTATED + 4; 8 more stand for slopes known to 2^-50. With h = the sum of those over all blocks, z is off by
 * at most gamma_h of its `size`, the same sum of absolute values, and M by gamma_K |M| with K = 2 h + F + rows + 20.
 * Underflow: what a unit loses grows in a later block by at most the largest row sum of |A| max(1, |s|). With the product of
 * these over all blocks <= 2^300, row sums of V <= 2^41, sizes <= 2^60, lambda <= 2^100 and m_ii >= 2^-200 (all asked for,
 * else this form is not used) less than 2^-400 arrives in a scaled entry. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/bound/compress.h"
#include "core/bound/lmi_form.h"

enum { MOST_BLOCKS = 64, MOST_UNKNOWNS = 2048, MOST_ENTRIES = 1 << 25 };

static bool alloc_chain(lip_chain *c, size_t rows) {
  const size_t N = c->N, wide = c->F + rows;
  c->at = lip_alloc(c->units, sizeof *c->at);
  c->Z = lip_alloc(c->units, N * sizeof(double));
  c->size = lip_alloc(c->units, N * sizeof(double));
  c->W = lip_alloc(rows, N * sizeof(double));
  c->W_size = lip_alloc(rows, N * sizeof(double));
  c->lambda = lip_alloc(c->F, sizeof(double));
  c->p = lip_alloc(c->F, sizeof(double));
  c->q = lip_alloc(c->F, sizeof(double));
  c->unit = lip_alloc(c->F, sizeof *c->unit);
  c->s = lip_alloc(N, sizeof(double));
  c->row = lip_alloc(N, sizeof(double));
  c->G = lip_alloc(N, N * sizeof(double));
  c->T = lip_alloc(N, wide * sizeof(double));
  c->U = lip_alloc(N, wide * sizeof(double));
  return c->at && c->Z && c->size && c->W && c->W_size && c->lambda && c->p && c->q && c->unit && c->s &&
         c->row && c->G && c->T && c->U;
}

void lip_exact_free(lip_lmi *e) {
  if (!e) return;
  lip_chain *c = e->chain;
  if (c) {
    void *own[] = {c->at, c->Z, c->size, c->W, c->W_size, c->lambda, c->p,
                   c->q,  c->s, c->row,  c->G, c->T,      c->U,      c->unit};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) lip_free(own[i]);
  }
  for (size_t b = 0; e->at && b < e->n; b++) lip_level_free(&e->at[b]);
  lip_free(c);
  lip_free(e->at);
  lip_free(e->base);
  lip_free(e->left);
  lip_free(e->d);
  lip_free(e);
}

static bool alloc_form(lip_lmi *e, const lip_lmi *m, size_t units, size_t n_free) {
  size_t k0 = m->at[0].k;
  e->chain = lip_alloc(1, sizeof *e->chain);
  e->at = lip_alloc(2, sizeof *e->at);
  e->base = lip_alloc(k0, k0 * sizeof(double));
  e->left = lip_alloc(k0, k0 * sizeof(double));
  e->d = lip_alloc(k0, sizeof(double));
  if (!e->chain || !e->at || !e->base || !e->left || !e->d) return false;
  e->n = 2;
  e->at[0] = (lip_level){.n = m->at[0].n, .k = k0};
  e->at[1] = (lip_level){.n = n_free, .k = lip_lmi_pad(n_free), .below = k0};
  *e->chain = (lip_chain){.F = e->at[1].k, .N = e->at[1].k + k0, .units = units};
  return alloc_chain(e->chain, m->rows) && lip_level_alloc(&e->at[0]) && lip_level_alloc(&e->at[1]);
}

lip_status lip_exact_new(const lip_lmi *m, lip_lmi **out, lip_err *err) {
  size_t units = 0, n_free = 0, known = 0, h = 0;
  *out = NULL;
  for (size_t b = 1; b < m->n; b++) {
    const lip_level *l = &m->at[b];
    units += l->n;
    h += l->k + l->below + LIP_ROTATED + (m->a->block[b - 1].bend ? 12 : 4);
    for (size_t k = 0; k < l->n; k++) {
      n_free += !lip_unit_known(m, b, k);
      known += lip_unit_known(m, b, k) && l->low[k] != 0;
    }
  }
  size_t unknowns = lip_lmi_pad(n_free) + m->at[0].k;
  if (known == 0 || m->n > MOST_BLOCKS || unknowns > MOST_UNKNOWNS || units > MOST_ENTRIES / unknowns)
    return LIP_OK;
  lip_lmi *e = lip_alloc(1, sizeof *e);
  if (e) *e = (lip_lmi){.a = m->a, .least = 0x1p-200};
  if (!e || !alloc_form(e, m, units, n_free)) {
    lip_exact_free(e);
    return lip_fail(err, LIP_MEMORY, "out of memory for the inequality of %zu units", n_free);
  }
  e->terms = 2 * h + e->chain->F + m->rows + 20;
  size_t unit = 0, at = 0;
  for (size_t b = 1; b < m->n; b++)
    for (size_t k = 0; k < m->at[b].n; k++, unit++) {
      e->chain->at[unit] = lip_unit_known(m, b, k) ? e->chain->N : at;
      if (!lip_unit_known(m, b, k)) e->chain->unit[at++] = unit;
    }
  *out = e;
  return LIP_OK;
}

static double slope_of(const lip_lmi *m, size_t b, size_t k) {
  const lip_block *block = &m->a->block[b - 1];
  return lip_block_is_line(block, k) ? block->bend[k].below : m->at[b].low[k];
}

/* to += A y for the unknowns y of level b, whose first unit is `first`. Returns sum |A| max(1, |s|). */
static double substitute(const lip_lmi *m, const lip_chain *c, size_t b, size_t first, const double *A,
                         const double *size, double *to, double *to_size) {
  const lip_level *l = &m->at[b];
  double growth = 0;
  if (b == 0) {
    memcpy(to + c->F, A, l->k * sizeof *to);
    memcpy(to_size + c->F, size, l->k * sizeof *to);
    return 1; /* nothing has been lost yet */
  }
  for (size_t j = 0; j < l->n; j++) {
    size_t u = first + j;
    double slope = c->at[u] < c->N ? 1 : slope_of(m, b, j);
    if (size[j] == 0 || slope == 0) continue;
    growth += size[j] * fmax(1, fabs(slope));
    if (c->at[u] < c->N) {
      to[c->at[u]] += A[j];
      to_size[c->at[u]] += size[j];
    } else {
      lip_sym_axpy(to, A[j] * slope, c->Z + u * c->N, c->N);
      lip_sym_axpy(to_size, size[j] * fabs(slope), c->size + u * c->N, c->N);
    }
  }
  return growth;
}

static bool small(const double *size, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!(size[i] <= 0x1p60)) return false;
  return true;
}

static bool make_rows(lip_chain *c, const lip_lmi *m) {
  size_t unit = 0;
  double growth = 1;
  memset(c->Z, 0, c->units * c->N * sizeof *c->Z);
  memset(c->size, 0, c->units * c->N * sizeof *c->size);
  for (size_t b = 1; b < m->n; b++) {
    const lip_level *l = &m->at[b], *x = &m->at[b - 1];
    size_t first = unit - (b > 1 ? x->n : 0);
    double most = 1;
    for (size_t i = 0; i < l->n; i++, unit++) {
      double g = substitute(m, c, b - 1, first, l->A + i * l->below, l->size + i * l->below,
                            c->Z + unit * c->N, c->size + unit * c->N);
      if (!(g <= most)) most = g; /* NaN stays */
    }
    growth *= most;
  }
  return growth <= 0x1p300 && small(c->size, c->units * c->N);
}

/* Multipliers of the free units. */
static bool take_lambda(lip_chain *c, const lip_lmi *m) {
  size_t unit = 0;
  bool tame = true;
  for (size_t b = 1; b < m->n; b++)
    for (size_t k = 0; k < m->at[b].n; k++, unit++) {
      size_t f = c->at[unit];
      if (f == c->N) continue;
      c->lambda[f] = m->at[b].lambda[k];
      c->p[f] = m->at[b].p[k];
      c->q[f] = m->at[b].q[k];
      tame = tame && c->lambda[f] <= 0x1p100;
    }
  return tame;
}

/* G = sum q z z' - sum w w' - p couplings + diag(lambda), lower triangle. */
static void fill_matrix(lip_chain *c, size_t n_free, size_t rows) {
  const size_t N = c->N, F = c->F, wide = F + rows;
  memset(c->G, 0, N * N * sizeof *c->G);
  for (size_t j = 0; j < N; j++) {
    for (size_t f = 0; f < F; f++) {
      double z = f < n_free ? c->Z[c->unit[f] * N + j] : 0;
      c->T[j * wide + f] = z;
      c->U[j * wide + f] = c->q[f] * z;
    }
    for (size_t r = 0; r < rows; r++) {
      c->T[j * wide + F + r] = c->W[r * N + j];
      c->U[j * wide + F + r] = -c->W[r * N + j];
    }
  }
  lip_sym_add_product(c->G, N, c->T, wide, c->U, wide, wide);
  for (size_t f = 0; f < n_free; f++) {
    const double *z = c->Z + c->unit[f] * N;
    c->G[f * N + f] += c->lambda[f];
    for (size_t j = 0; j < N; j++) { /* z of f has no f in it */
      double *g = j < f ? &c->G[f * N + j] : &c->G[j * N + f];
      *g -= c->p[f] * z[j];
    }
  }
}

bool lip_exact_assemble(lip_lmi *e, const lip_lmi *m, size_t rows, bool d) {
  lip_chain *c = e->chain;
  lip_level *u = &e->at[1], *x = &e->at[0];
  const lip_level *last = &m->at[m->n - 1];
  const size_t N = c->N, F = c->F;
  if (!take_lambda(c, m)) return false;
  if (d || !c->made) {
    c->made = false;
    if (!make_rows(c, m)) return false;
    c->made = !d;
  }
  memset(c->W, 0, rows * N * sizeof *c->W);
  memset(c->W_size, 0, rows * N * sizeof *c->W_size);
  for (size_t r = 0; r < rows; r++)
    if (!(substitute(m, c, m->n - 1, c->units - last->n, m->V + r * last->k, m->V_size + r * last->k,
                     c->W + r * N, c->W_size + r * N) <= 0x1p41))
      return false;
  if (!small(c->W_size, rows * N)) return false;
  fill_matrix(c, u->n, rows);
  memcpy(e->d, m->d, x->k * sizeof *e->d);
  for (size_t i = 0; i < N; i++) memcpy(u->B + i * F, c->G + i * N, F * sizeof *u->B);
  for (size_t i = 0; i < x->k; i++) memcpy(x->B + i * x->k, c->G + (F + i) * N + F, x->k * sizeof *x->B);
  return true;
}

void lip_exact_row_sums(lip_lmi *e, size_t rows, double rho) {
  lip_chain *c = e->chain;
  lip_level *u = &e->at[1], *x = &e->at[0];
  memcpy(c->s, u->scale, u->k * sizeof *c->s);
  memcpy(c->s + c->F, x->scale, x->k * sizeof *c->s);
  for (size_t i = 0; i < c->N; i++) c->row[i] = (i < c->F ? c->lambda[i] : rho * e->d[i - c->F]) * c->s[i];
  for (size_t f = 0; f < u->n; f++) {
    const double *size = c->size + c->unit[f] * c->N, p = fabs(c->p[f]), q = fabs(c->q[f]);
    if (p == 0 && q == 0) continue;
    double w = lip_sym_dot(size, c->s, c->N);
    c->row[f] += p * w;
    lip_sym_axpy(c->row, p * c->s[f] + q * w, size, c->N);
  }
  for (size_t r = 0; r < rows; r++)
    lip_sym_axpy(c->row, lip_sym_dot(c->W_size + r * c->N, c->s, c->N), c->W_size + r * c->N, c->N);
  for (size_t i = 0; i < u->k; i++) u->row[i] = c->row[i] * c->s[i];
  for (size_t i = 0; i < x->k; i++) x->row[i] = c->row[c->F + i] * c->s[c->F + i];
}
