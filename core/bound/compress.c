/* A square matrix in the place of a wide one.
 *
 * Let Z (n1, n0) be the first matrix and D = diag(d). For every x there is a u with R u = Z x and |u|^2 <= x' D x as soon
 * as R R' - Z D^-1 Z' is positive semi-definite: for t = Z x and any c,
 *     (c't)^2 = (c' Z D^-1/2 D^1/2 x)^2 <= (c' Z D^-1 Z' c) x'Dx <= |R'c|^2 x'Dx,
 * so R'c -> c't is a well-defined linear function of norm at most sqrt(x'Dx) on the range of R', and the u in that
 * range that represents it has R u = t (the direction of Douglas 1966 that is needed here). What is proved of all (u, y)
 * with z_1 = R u therefore holds for all (x, y) with z_1 = Z x, with |u|^2 in the place of x' D x.
 *
 * R is a Cholesky factor of a rounded Gram matrix made larger by what rounding may have cost. u = 2^-53.
 *  1. h_k = 1/sqrt(d_k) rounded upwards in both steps: h_k^2 d_k >= 1, and a larger h only enlarges the right side.
 *     Rows are scaled by powers of two t_i to a size near 1: exact.
 *  2. y_ik = fl(z_ik h_k) t_i and G = fl(Y Y'): entry (i, j) is a sum of n0 products, each with LIP_ROTATED + 1 roundings in
 *     either factor and one of its own, so |G - Y Y'| <= gamma_K S S' with K = n0 + 2 LIP_ROTATED + 4 and S = |Y| made of
 *     absolute values (Higham 2002, section 3.1). E = G - Y Y' is symmetric, and diag(r) + E is diagonally dominant
 *     for r_i = gamma_K sum_j (S S')_ij.
 *  3. B = G + diag(delta) is factorised. Its factor satisfies R R' = B + F, ||F||_2 <= phi tr B (derivation: the top of
 *     core/norm/verify.c), phi = gamma_{k+1} / (1 - gamma_{k+1}). Hence
 *         R R' - Y Y' = diag(delta) + E + F + rounding of the diagonal
 *     is positive semi-definite for delta_i >= r_i + phi tr B + u b_ii + 2^-600.
 *  4. Row i of R divided by t_i: exact.
 * Underflow loses at most 2^-1074 in each of fewer than 2^64 products and in each entry of step 4 (t_i < 2^310): far below
 * 2^-600. */
#include "core/bound/compress.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/norm/round.h"
#include "core/norm/symmetric.h"

enum { CHUNK = 256, CHUNK_LD = CHUNK + LIP_PAD };

static void rotate_columns(const lip_block *before, double *row, double *size) {
  for (size_t p = 0; p < before->M; p++) {
    size_t q = before->mate[p];
    if (q <= p) continue;
    double x = row[p], y = row[q], s = (size[p] + size[q]) / 2;
    row[p] = (x + y) / 2;
    row[q] = (x - y) / 2;
    size[p] = size[q] = s;
  }
}

void lip_rotated_row(const lip_affine *a, size_t l, size_t i, double *row, double *size) {
  const lip_block *b = &a->block[l];
  size_t mate = b->mate ? b->mate[i] : i;
  for (size_t j = 0; j < b->N; j++) {
    double x = lip_block_weight(b, i * b->N + j), y = lip_block_weight(b, mate * b->N + j);
    row[j] = mate == i ? x : i < mate ? x + y : y - x;
    size[j] = mate == i ? fabs(x) : fabs(x) + fabs(y);
  }
  if (l > 0 && a->block[l - 1].mate) rotate_columns(&a->block[l - 1], row, size);
}

/* ---- the Gram matrix ---- */

typedef struct work {
  size_t n0, n1, k;
  double *row, *size, *h;  /* (n0): one row, its absolute values, 1 / sqrt(d) */
  double *Y, *S;           /* (k, CHUNK_LD) */
  double *z, *abs, *scale; /* (n1, n0) twice; (k) powers of two */
  double *error;           /* (k) row sums of S S' */
} work;

static bool alloc_all(work *w) {
  w->row = lip_alloc(w->n0, sizeof(double));
  w->size = lip_alloc(w->n0, sizeof(double));
  w->h = lip_alloc(w->n0, sizeof(double));
  w->Y = lip_alloc(w->k, CHUNK_LD * sizeof(double));
  w->S = lip_alloc(w->k, CHUNK_LD * sizeof(double));
  w->z = lip_alloc(w->n1, w->n0 * sizeof(double));
  w->abs = lip_alloc(w->n1, w->n0 * sizeof(double));
  w->scale = lip_alloc(w->k, sizeof(double));
  w->error = lip_alloc(w->k, sizeof(double));
  return w->row && w->size && w->h && w->Y && w->S && w->z && w->abs && w->scale && w->error;
}

static void free_all(work *w) {
  double *all[] = {w->row, w->size, w->h, w->Y, w->S, w->z, w->abs, w->scale, w->error};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) lip_free(all[i]);
}

static bool in_range(double x, int most) {
  return x >= ldexp(1, -most) && x <= ldexp(1, most);
}

/* h and the scaled matrix: sizes in [0, 2). False when the numbers do not allow it. */
static bool scale_rows(work *w, const lip_affine *a, const double *d) {
  for (size_t k = 0; k < w->n0; k++) {
    if (d && !in_range(d[k], 300)) return false;
    w->h[k] = d ? lip_sqrt_up(lip_up(1 / d[k])) : 1;
  }
  for (size_t i = 0; i < w->n1; i++) {
    double *z = w->z + i * w->n0, *abs = w->abs + i * w->n0, most = 0;
    int e = 0;
    lip_rotated_row(a, 0, i, z, abs);
    for (size_t k = 0; k < w->n0; k++) {
      z[k] *= w->h[k];
      abs[k] *= w->h[k];
      if (!(abs[k] <= 0x1p400)) return false;
      most = abs[k] > most ? abs[k] : most;
    }
    if (most > 0) (void)frexp(most, &e);
    w->scale[i] = ldexp(1, -e);
    for (size_t k = 0; k < w->n0; k++) {
      z[k] *= w->scale[i];
      abs[k] *= w->scale[i];
    }
  }
  return true;
}

static void gram(work *w, double *G) {
  for (size_t p0 = 0; p0 < w->n0; p0 += CHUNK) {
    size_t n = w->n0 - p0 < CHUNK ? w->n0 - p0 : CHUNK;
    double column[CHUNK] = {0};
    for (size_t i = 0; i < w->n1; i++) {
      double *y = w->Y + i * CHUNK_LD, *s = w->S + i * CHUNK_LD;
      memset(y, 0, CHUNK * sizeof *y);
      memset(s, 0, CHUNK * sizeof *s);
      memcpy(y, w->z + i * w->n0 + p0, n * sizeof *y);
      memcpy(s, w->abs + i * w->n0 + p0, n * sizeof *s);
      lip_sym_axpy(column, 1, s, CHUNK);
    }
    lip_sym_add_gram(G, w->k, w->Y, CHUNK_LD, CHUNK);
    for (size_t i = 0; i < w->n1; i++) w->error[i] += lip_sym_dot(w->S + i * CHUNK_LD, column, CHUNK);
  }
}

/* Steps 3 and 4. */
static bool factor(work *w, double *R) {
  const size_t k = w->k;
  double g = lip_gamma(w->n0 + 2 * LIP_ROTATED + 4), phi = lip_gamma(k + 1), trace = 0, most = 0;
  if (!(phi < 0.25 && g < 0.25)) return false;
  phi /= 1 - phi;
  /* sums of numbers >= 0 with fewer than n0 + n1 + 8 roundings: 2^-20 covers them all */
  for (size_t i = 0; i < k; i++) {
    double r = g * w->error[i] * (1 + 0x1p-20);
    trace += R[i * k + i] + r;
    most = fmax(most, R[i * k + i] + r);
    w->error[i] = r;
  }
  double common = (phi * trace * (1 + 0x1p-10) + LIP_U * most) * (1 + 0x1p-10) + 0x1p-600;
  for (size_t i = 0; i < k; i++) R[i * k + i] += w->error[i] + common;
  if (!lip_sym_cholesky(R, k)) return false;
  for (size_t i = 0; i < k; i++)
    for (size_t j = 0; j < k; j++) {
      double *r = &R[i * k + j];
      *r = j > i || i >= w->n1 ? 0 : *r / w->scale[i];
      if (!isfinite(*r)) return false;
    }
  return true;
}

lip_status lip_compress(const lip_affine *a, const double *d, double *R, bool *proved, lip_err *err) {
  work w = {.n0 = a->block[0].N, .n1 = a->block[0].M};
  lip_status st = LIP_OK;
  *proved = false;
  w.k = (w.n1 + LIP_PAD - 1) / LIP_PAD * LIP_PAD;
  if (!alloc_all(&w)) {
    st = lip_fail(err, LIP_MEMORY, "out of memory for a matrix of %zux%zu in place of %zux%zu", w.n1, w.n1,
                  w.n1, w.n0);
  } else if (scale_rows(&w, a, d)) {
    memset(R, 0, w.k * w.k * sizeof *R);
    gram(&w, R);
    *proved = factor(&w, R);
  }
  free_all(&w);
  return st;
}
