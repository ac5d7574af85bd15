/* Nets laid out for eliminate.c: units with a multiplier in front of those of known slope, pairs turned, everything padded
 * for the kernels of symmetric.h. */
#include <math.h>
#include <string.h>

#include "core/affine/bend.h"
#include "core/base/mem.h"
#include "core/bound/eliminate_parts.h"
#include "core/norm/symmetric.h"

typedef lip_elim_block stage;

static size_t padded(size_t n) {
  return n ? (n + LIP_PAD - 1) / LIP_PAD * LIP_PAD : LIP_PAD;
}

static void *take(lip_elim *e, size_t count, size_t size) {
  void *p = e->failed || e->n_owned == LIP_ELIM_OWNED ? NULL : lip_alloc(count, size);
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
  return !(b->low[k] < b->high[k]) || lip_block_is_line(b, k);
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
    double v = lip_block_weight(b, k * b->N + j), o = lip_block_weight(b, m * b->N + j);
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
  s->w = take_matrix(e, LIP_LEADING, s->M > e->R ? s->M : e->R);
  s->direction = take_matrix(e, LIP_LEADING, s->F);
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
  e->weighted = weighted;
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
  bool forward = !weighted;
  for (size_t l = 0; l < e->n; l++) forward = forward && e->stage[l].F == e->stage[l].M;
  if (forward) e->forward = take_matrix(e, e->count, 1);
  for (int i = 0; forward && i < 2; i++) e->X[i] = take_matrix(e, wide, wide);
  e->Q0 = take_matrix(e, e->in, e->in);
  e->x = take_matrix(e, LIP_LEADING, e->in);
}

lip_status lip_elim_new(const lip_affine *a, bool weighted, lip_elim **out, lip_err *err) {
  *out = NULL;
  lip_elim *e = lip_alloc(1, sizeof *e);
  if (e) {
    e->a = a;
    build(e, weighted);
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

void lip_elim_import(const lip_elim *e, const double *from, double *lambda) {
  for (size_t l = 0; l < e->n; l++) {
    const stage *s = &e->stage[l];
    for (size_t p = 0; p < s->F; p++) {
      size_t k = s->unit[p];
      bool pair = k != UINT32_MAX && s->block->mate && s->block->mate[k] != k;
      lambda[s->at + p] = k == UINT32_MAX ? 1 : pair ? 2 * from[k] : from[k];
    }
    from += s->block->M;
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
    size_t i = (all ? r : rows.i) * b->N, j = rows.j * b->N;
    bool alone = all || rows.j == LIP_NO_ROW;
    for (size_t k = 0; k < b->N; k++)
      row[k] = lip_block_weight(b, i + k) - (alone ? 0 : lip_block_weight(b, j + k));
    turn_columns(s->block, row);
    for (size_t p = 0; p < e->last; p++) {
      size_t k = s->unit[p];
      e->V[r * e->last + p] = k == UINT32_MAX ? 0 : row[k];
    }
  }
  memset(e->x, 0, e->in * sizeof *e->x);
}
