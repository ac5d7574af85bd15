/* Block 1 gives u = V y + c, its units h = a (u - m) + b with float32 numbers a, m, b (1, 0, 0 for those that pass), and
 * block 2 takes W h + d. Together that is W' y + c' with W' = W diag(a) V, c'= W (a (c - m) + b) + d.
 *
 * Exact. Block 1 is taken in only where each entry of W' is one product w a v, or 0, and is a double: w a always is
 * (24 + 24 bits), and the last product is looked at with a fused multiply-add. So it is where V moves values about and W
 * is any matrix (preprocessing), and where V is any matrix and W moves (batch_norm before a nonlinearity). Entries are
 * finite as float32 numbers and rows are not all smaller than 2^-149, what is said of float32 matrices elsewhere. No two
 * products meet in an entry, hence also |W'| = |W| diag(|a|) |V|.
 *
 * The bias c' is computed in double with K_r + 8 roundings at most on the way of a term, K_r the numbers in a row of W:
 * it is off by at most gamma_{K + 8} size', size' the sum of absolute values of its terms, size of c standing for |c|, and by
 * |w a| off of c (Higham 2002, section 3.1).
 *
 * As executed in float32, v = 2^-24, unit roundoff; let S_r = |V_r| |y| + size_r and T_r = |a| S_r + |a m| + |b|, so that
 * |u_r| <= S_r and |h_r| <= T_r. With e_r <= gamma_R S_r + L_r the error of u_r, and three roundings in h_r,
 *   error of h_r <= |a| e_r + gamma_3 (|a| (S_r + e_r + |m|) + |b|) + flushed <= gamma_{R+3} T_r + D_r,
 *   D_r = (1 + gamma_3) |a| L_r + what flushing takes: 2^-126 (5 + 4 |a| + |u_r| + |m|) at most, u_r as executed,
 * since gamma_j + gamma_k + gamma_j gamma_k <= gamma_{j+k} (Lemma 3.3 there). Block 2 adds n terms, gamma_{n+1} of their
 * sizes (rounding.c; nothing where that is one 1), so with |W'_k| |y| + size'_k = sum_r |w_kr| T_r + |d_k|
 *   error of unit k <= gamma_{max R + n + 4} (|W'_k| |y| + size'_k) + (1 + gamma) sum_r |w_kr| D_r + flushed,
 *   flushed <= 2^-122 ((n + 1) (8 + max |w|) + sum_r |h_r|), h_r as executed: <= (1 + gamma) T_r + D_r.
 * All of these are linear in y: T_r <= |a| (top_r sum |y| + size_r) + |a m| + |b| with top_r the largest |V_rj|. In what
 * follows, 1 + 2^-4 covers every factor 1 + gamma (n and R below 2^18: more are not folded) and all roundings in double. */
#include "core/affine/fold.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/affine/block.h"
#include "core/base/mem.h"
#include "core/norm/round.h"

enum { MOST_TERMS = 1 << 18 };
#define FLUSH 0x1p-122
static const double raise = 1 + 0x1p-4;

/* A bias and what executed float32 may be off by: fields as in lip_fold. Of h_r, |a V_r| |y| + size is T_r, and flat +
 * steep sum |y| is D_r. */
typedef struct account {
  double c, off, size, rounds, flat, steep;
} account;

typedef struct fold_job {
  const lip_block *one, *two;
  /* of block 1, by rows */
  size_t *start; /* (M + 1) of each row in the two below */
  uint32_t *column;
  double *value;
  float (*amb)[3];          /* (M) */
  double *top;              /* (M) largest absolute value */
  account *before, *behind; /* (M) of u_r and of h_r */
  lip_fold *out;
  double A, B; /* sum of all |h_r| <= A sum |y| + B */
} fold_job;

/* ---- life ---- */

static void job_free(fold_job *j) {
  lip_free(j->start);
  lip_free(j->column);
  lip_free(j->value);
  lip_free(j->amb);
  lip_free(j->top);
  lip_free(j->before);
  lip_free(j->behind);
}

/* ---- block 1 ---- */

/* Whether all units are multiplied by known numbers, one of them by a layer that says so. */
static bool is_known(const lip_block *b) {
  return b->phi && b->phi->kind->diagonal && !b->mate && !b->bend && b->M < MOST_TERMS && b->N < MOST_TERMS;
}

/* *finite: whether the numbers of its maps are. False: no memory. */
static bool read_rows(fold_job *j, bool *finite) {
  const lip_block *b = j->one;
  size_t all = 0;
  j->start = lip_alloc(b->M + 1, sizeof *j->start);
  j->amb = lip_alloc(b->M, sizeof *j->amb);
  j->top = lip_alloc(b->M, sizeof *j->top);
  if (!j->start || !j->amb || !j->top) return false;
  for (size_t i = 0; i < b->M * b->N; i++) all += lip_block_weight(b, i) != 0;
  j->column = lip_alloc(all, sizeof *j->column);
  j->value = lip_alloc(all, sizeof *j->value);
  if (!j->column || !j->value) return false;
  *finite = true;
  for (size_t r = 0, at = 0; r < b->M; r++) {
    for (size_t i = 0; i < b->N; i++) {
      double v = lip_block_weight(b, r * b->N + i);
      if (v == 0) continue;
      j->column[at] = (uint32_t)i;
      j->value[at++] = v;
      j->top[r] = fmax(j->top[r], fabs(v));
      *finite = *finite && isfinite(v);
    }
    j->start[r + 1] = at;
    j->amb[r][0] = 1;
    if (r < b->n_phi) b->phi->kind->diagonal(b->phi, r, j->amb[r]);
    for (size_t i = 0; i < 3; i++) *finite = *finite && isfinite(j->amb[r][i]);
    *finite = *finite && isfinite(b->b[r]);
  }
  return true;
}

/* Terms of a float32 sum; a bias alone is exact, and so is a single product by 1 or -1: 0. */
static double terms_of(const lip_block *b, size_t k, double *top) {
  const float *w = b->W + k * b->N;
  double n = b->b[k] != 0;
  *top = 0;
  for (size_t i = 0; i < b->N; i++) {
    n += w[i] != 0;
    *top = fmax(*top, fabs((double)w[i]));
  }
  return n == 0 || (n == 1 && (*top == 1 || *top == 0)) ? 0 : n;
}

static account account_of(const lip_block *b, size_t r) {
  const lip_fold *f = b->fold;
  if (f) return (account){f->c[r], f->off[r], f->size[r], f->rounds[r], f->flat[r], f->steep[r]};
  double top, n = terms_of(b, r, &top), c = (double)b->b[r];
  if (n == 0) return (account){c, 0, fabs(c), 0, FLUSH, 0};
  return (account){c, 0, fabs(c), n + 1, FLUSH * (n + 1) * (8 + top), FLUSH};
}

/* ---- the product ---- */

/* Row k of W'. False: not exact, or not of the size of float32 numbers. */
static bool product_row(const fold_job *j, size_t k) {
  const lip_block *two = j->two;
  const float *w = two->W + k * two->N;
  double *row = j->out->W + k * j->one->N, most = 0;
  for (size_t r = 0; r < two->N; r++) {
    double p = (double)w[r] * (double)j->amb[r][0];
    if (!isfinite(w[r])) return false;
    for (size_t e = j->start[r]; p != 0 && e < j->start[r + 1]; e++) {
      double v = p * j->value[e], *to = &row[j->column[e]];
      if (*to != 0 || fma(p, j->value[e], -v) != 0 || !(fabs(v) <= (double)FLT_MAX) || v == 0) return false;
      *to = v;
      most = fmax(most, fabs(v));
    }
  }
  return most == 0 || most >= 0x1p-149;
}

/* The account of h_r from that of u_r. */
static account through(const account *u, const float amb[3], double top) {
  double a = fabs((double)amb[0]), m = fabs((double)amb[1]), b = fabs((double)amb[2]);
  bool copied = amb[0] == 1 && m == 0 && b == 0;
  return (account){.c = (double)amb[0] * (u->c - (double)amb[1]) + (double)amb[2],
                   .off = a * u->off,
                   .size = a * (u->size + m) + b,
                   .rounds = u->rounds + (copied ? 0 : 3),
                   .flat = raise * a * u->flat + FLUSH * (1 + a + m + u->size + u->flat),
                   .steep = raise * a * u->steep + FLUSH * (top + u->steep)};
}

/* Both, of all units. False: no memory. */
static bool take_accounts(fold_job *j) {
  const size_t M = j->one->M;
  j->before = lip_alloc(M, sizeof *j->before);
  j->behind = lip_alloc(M, sizeof *j->behind);
  if (!j->before || !j->behind) return false;
  for (size_t r = 0; r < M; r++) {
    j->before[r] = account_of(j->one, r);
    j->behind[r] = through(&j->before[r], j->amb[r], j->top[r]);
  }
  return true;
}

/* Bounds of all that is computed on the way, and of the sum of what comes out. */
static void measure(fold_job *j) {
  const lip_fold *old = j->one->fold;
  double reach = old ? old->reach : 0, rise = old ? old->rise : 0;
  for (size_t r = 0; r < j->one->M; r++) {
    account h = j->behind[r], u = j->before[r];
    double a = fabs((double)j->amb[r][0]), m = fabs((double)j->amb[r][1]);
    j->A += raise * (a * j->top[r] + h.steep);
    j->B += raise * (h.size + h.flat);
    reach = fmax(reach, raise * (h.size + h.flat + u.size + u.flat + m));
    rise = fmax(rise, raise * ((1 + a) * j->top[r] + h.steep + u.steep));
  }
  j->out->reach = reach;
  j->out->rise = rise;
}

static void account_row(const fold_job *j, size_t k) {
  const lip_block *two = j->two;
  lip_fold *f = j->out;
  double top, n = terms_of(two, k, &top), most = 0, off = 0, flat = 0, steep = 0, count = 8;
  double c = (double)two->b[k], size = fabs(c);
  for (size_t r = 0; r < two->N; r++) {
    double w = (double)two->W[k * two->N + r];
    if (w == 0) continue;
    account h = j->behind[r];
    c += w * h.c;
    size += fabs(w) * h.size;
    off += fabs(w) * h.off;
    flat += fabs(w) * h.flat;
    steep += fabs(w) * h.steep;
    most = fmax(most, h.rounds);
    count++;
  }
  f->c[k] = c;
  f->size[k] = size * raise;
  f->off[k] = (off + lip_gamma((size_t)count) * size) * raise + (size > 0 ? 0x1p-900 : 0);
  f->rounds[k] = most + (n > 0 ? n + 1 : 0);
  f->flat[k] = raise * flat + (n > 0 ? FLUSH * ((n + 1) * (8 + top) + j->B) : FLUSH);
  f->steep[k] = raise * steep + (n > 0 ? FLUSH * j->A : 0);
}

/* The product in j->out. *exact: whether there is one. False: no memory. */
static bool multiply(fold_job *j, bool *exact) {
  const size_t M = j->two->M, N = j->one->N;
  bool finite;
  *exact = false;
  if (!read_rows(j, &finite)) return false;
  if (!finite) return true;
  j->out = lip_fold_new(M, N);
  if (!j->out) return false;
  *exact = true;
  for (size_t k = 0; *exact && k < M; k++) *exact = product_row(j, k);
  if (!*exact) return true;
  if (!take_accounts(j)) return false;
  measure(j);
  for (size_t k = 0; k < M; k++) {
    account_row(j, k);
    *exact = *exact && fabs(j->out->c[k]) <= (double)FLT_MAX && j->out->size[k] < INFINITY &&
             j->out->rounds[k] < MOST_TERMS;
  }
  return true;
}

/* ---- the chain ---- */

/* Block 2 with what j->out holds. False: no memory. */
static bool replace(lip_block *two, size_t N, lip_fold *f) {
  float *W = lip_alloc(two->M * N, sizeof *W);
  if (!W) return false;
  for (size_t i = 0; i < two->M * N; i++) W[i] = (float)f->W[i];
  for (size_t k = 0; k < two->M; k++) two->b[k] = (float)f->c[k];
  lip_free(two->W);
  two->W = W;
  two->N = N;
  two->fold = f;
  return true;
}

/* Block l into the next one. *done: whether that was possible. False: no memory. */
static bool fold_into_next(lip_affine *a, size_t l, bool *done) {
  fold_job j = {.one = &a->block[l], .two = &a->block[l + 1]};
  bool complete = multiply(&j, done);
  if (complete && *done) complete = replace(&a->block[l + 1], a->block[l].N, j.out);
  if (!complete || !*done) lip_fold_free(j.out);
  job_free(&j);
  if (!complete || !*done) return complete;
  lip_block_free(&a->block[l]);
  a->n--;
  memmove(&a->block[l], &a->block[l + 1], (a->n - l) * sizeof *a->block);
  return true;
}

lip_status lip_fold_blocks(lip_affine *a, lip_err *err) {
  fenv_t saved;
  bool complete = true;
  lip_ieee_enter(&saved);
  for (size_t l = 0; complete && l + 1 < a->n;) {
    bool done = false;
    if (is_known(&a->block[l])) complete = fold_into_next(a, l, &done);
    if (!done) l++;
  }
  lip_ieee_leave(&saved);
  return complete ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory for the matrices of a net");
}
