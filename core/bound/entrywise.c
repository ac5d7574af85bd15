/* abs: the triangle inequality entry by entry instead of norm by norm.
 *
 * In the coordinates of affine.h the increments of a net are z_l = R_l y_{l-1}, y_0 = x, with y_k = s_k z_k for some
 * s_k in [low_k, high_k]. Write s_k = c_k + t_k h_k, c_k the middle and h_k half of the width, |t_k| <= 1, and
 * w_k = t_k z_k. Unrolled down to the input and to every w on the way,
 *   z_j = G_j0 x + sum_{0<i<j} G_ji diag(h_i) w_i,   G_ji = R_j diag(c_{j-1}) R_{j-1} ... diag(c_{i+1}) R_{i+1},
 * and |w_i| <= |z_i| gives by induction, entry by entry, |z_j| <= B_j |x| with
 *   B_j = |G_j0| + sum_{0<i<j} |G_ji| diag(h_i) B_i.
 * Hence |f(x) - f(x')| <= B_n |x - x'|, likewise every difference of two logits with the rows of G_n subtracted before
 * the absolute value. A matrix whose absolute values lie below those of B has no larger norm p->q, so the one matrix
 * serves every p and q, and boxes with sides of their own (the same family as Pintore, Despres 2024). Since |c| + h is
 * the larger of |low|, |high|, B_n <= |R_n| diag(max |s|) ... |R_1|; for relu and p = inf that is never above the
 * product of the norms. For other nets it can be, so the smaller of both is kept. For p = inf only B_j 1 is needed.
 *
 * Rounding: everything in double. c is what (low + high) / 2 rounds to and h the larger distance of an end to it,
 * rounded up. G^ is kept with one number per row, e_r >= |G^ - G|_rc for every column c. With top_m the largest |G^_mc|
 * of a row, one step G -> turn(W turn_back(c G)) has
 *   c G:  e <- |c| e + u |c| top,    turn: e <- e_a + e_b + u (top_a + top_b)  (half of it backwards),
 *   W G:  e_r <- sum_m |W_rm| (e_m + gamma_{K+1} top_m)     (Higham 2002, section 3.5, for any order of the sum),
 * each raised by 1 + 2^-30 for its own roundings (at most 2^20 terms: more are refused) and by 2^-900 for all that
 * underflows. B is a sum of products of non-negative numbers: N roundings lose less than a factor 1 - gamma_N. */
#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/affine/wide.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/bound/found.h"
#include "core/norm/opnorm.h"
#include "core/norm/round.h"

enum { MOST_TERMS = 1 << 20, MOST_ENTRIES = 1 << 27, CHUNK = 64 };

#define TINY 0x1p-900
static const double raise = 1 + 0x1p-30;

/* (rows, cols) with errors and largest absolute values of rows. */
typedef struct mat {
  size_t rows, cols;
  double *v, *e, *top;
} mat;

/* The units of a block whose slope is not known: what the chain is cut at. Behind the last block: all. */
typedef struct cut {
  size_t n;
  size_t *unit;
  double *h; /* (n) */
  double *B; /* (n, width) */
} cut;

typedef struct chain {
  const lip_ask *ask;
  const lip_affine *a;
  size_t width;   /* columns of B: n_in, or 1 */
  size_t sources; /* so far: the input, then one cut after every block */
  mat *G;         /* (n) from source i to the units of the block at hand */
  cut *at;        /* (n + 1) at[i]: behind block i - 1 */
  double *W;      /* of the block at hand, in double */
  double *weight; /* (CHUNK, largest M): |G| diag(h) */
  double *rows;   /* (CHUNK, width) of the last B */
  double *wide;   /* (n_in) */
  double *column; /* (C) */
  double deadline;
  double work, took; /* multiplications of products so far, and their seconds */
} chain;

static bool takes(const lip_ask *ask, char *why) {
  const lip_affine *a = ask->affine;
  size_t terms = 0;
  if (!lip_pq_tractable((lip_pq){ask->p, ask->q}))
    return lip_because(why, "no norms from %s to %s can be worked out", lip_p_name(ask->p),
                       lip_p_name(ask->q));
  if (!lip_ask_has_form(ask, why)) return false;
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *k = &a->block[l];
    if (k->M > MOST_ENTRIES / (a->n_in > k->N ? a->n_in : k->N))
      return lip_because(why, "the layers are too large: a matrix of more than 2^27 entries would be needed");
    terms += k->N + k->M + 8;
  }
  return terms < MOST_TERMS || lip_because(why, "the layers are too large: sums of more than 2^20 terms");
}

static bool all_finite(const lip_block *k) {
  for (size_t i = 0; i < k->M * k->N; i++)
    if (!isfinite(lip_block_weight(k, i))) return false;
  for (size_t i = 0; i < k->M; i++)
    if (!(k->low[i] <= k->high[i]) || !isfinite(k->low[i]) || !isfinite(k->high[i])) return false;
  return true;
}

static double middle(const lip_block *k, size_t i) {
  return (k->low[i] + k->high[i]) / 2;
}

static double half_width(const lip_block *k, size_t i) {
  double c = middle(k, i), d = fmax(k->high[i] - c, c - k->low[i]);
  return d > 0 ? lip_up(d) : 0;
}

/* ---- life ---- */

static void mat_free(mat *m) {
  lip_free(m->v);
  lip_free(m->e);
  lip_free(m->top);
  *m = (mat){0};
}

static bool mat_init(mat *m, size_t rows, size_t cols) {
  *m = (mat){rows, cols, lip_alloc(rows * cols, sizeof(double)), lip_alloc(rows, sizeof(double)),
             lip_alloc(rows, sizeof(double))};
  return m->v && m->e && m->top;
}

static bool cut_init(cut *t, const lip_block *k, bool last, size_t width) {
  size_t n = 0;
  for (size_t i = 0; i < k->M; i++) n += last || k->low[i] < k->high[i];
  t->unit = lip_alloc(n, sizeof *t->unit);
  t->h = lip_alloc(n, sizeof *t->h);
  t->B = lip_alloc(n * width, sizeof *t->B);
  if (!t->unit || !t->h || !t->B) return false;
  for (size_t i = 0; i < k->M; i++) {
    if (!last && !(k->low[i] < k->high[i])) continue;
    t->unit[t->n] = i;
    t->h[t->n++] = half_width(k, i);
  }
  return true;
}

static void chain_free(chain *s) {
  for (size_t i = 0; s->G && i < s->a->n; i++) mat_free(&s->G[i]);
  for (size_t i = 0; s->at && i <= s->a->n; i++) {
    lip_free(s->at[i].unit);
    lip_free(s->at[i].h);
    lip_free(s->at[i].B);
  }
  lip_free(s->G);
  lip_free(s->at);
  lip_free(s->W);
  lip_free(s->weight);
  lip_free(s->rows);
  lip_free(s->wide);
  lip_free(s->column);
}

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "out of memory for a bound entry by entry");
}

static lip_status chain_init(chain *s, lip_err *err) {
  const lip_affine *a = s->a;
  size_t M = CHUNK, MN = 1;
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *k = &a->block[l];
    M = k->M > M ? k->M : M;
    MN = k->M * k->N > MN ? k->M * k->N : MN;
  }
  s->G = lip_alloc(a->n, sizeof *s->G);
  s->at = lip_alloc(a->n + 1, sizeof *s->at);
  s->W = lip_alloc(MN, sizeof *s->W);
  s->weight = lip_alloc(CHUNK * M, sizeof *s->weight);
  s->rows = lip_alloc(CHUNK * s->width, sizeof *s->rows);
  s->wide = lip_alloc(a->n_in, sizeof *s->wide);
  s->column = lip_alloc(a->n_out, sizeof *s->column);
  bool complete = s->G && s->at && s->W && s->weight && s->rows && s->wide && s->column;
  for (size_t i = 1; complete && i <= a->n; i++)
    complete = cut_init(&s->at[i], &a->block[i - 1], i == a->n, s->width);
  return complete ? LIP_OK : no_memory(err);
}

/* ---- G with its errors ---- */

static void measure(mat *m) {
  for (size_t r = 0; r < m->rows; r++) {
    double top = 0;
    for (size_t c = 0; c < m->cols; c++) top = fmax(top, fabs(m->v[r * m->cols + c]));
    m->top[r] = top;
  }
}

static void turn(mat *m, const lip_block *k, bool back) {
  if (!k->mate) return;
  measure(m);
  lip_block_turn(k, m->v, m->cols, back);
  for (size_t a = 0; a < k->M; a++) {
    size_t b = k->mate[a];
    if (b <= a) continue;
    double e = m->e[a] + m->e[b] + LIP_U * (m->top[a] + m->top[b]);
    m->e[a] = m->e[b] = (back ? e / 2 : e) * raise + TINY;
  }
}

static void scale(mat *m, const lip_block *k) {
  measure(m);
  for (size_t r = 0; r < m->rows; r++) {
    double c = middle(k, r);
    for (size_t j = 0; j < m->cols; j++) m->v[r * m->cols + j] *= c;
    m->e[r] = fabs(c) * (m->e[r] + LIP_U * m->top[r]) * raise + TINY;
  }
}

/* out = W in, W (M, N) in double. */
static lip_status multiply(const chain *s, const lip_block *k, mat *in, mat *out, lip_err *err) {
  if (!mat_init(out, k->M, in->cols)) return no_memory(err);
  measure(in);
  lip_wide_product(k->M, in->cols, k->N, s->W, k->N, in->v, in->cols, out->v, out->cols,
                   s->ask->net->engine.pool);
  double g = lip_gamma(k->N + 1);
  for (size_t r = 0; r < k->M; r++) {
    double e = 0;
    for (size_t m = 0; m < k->N; m++) e += fabs(s->W[r * k->N + m]) * (in->e[m] + g * in->top[m]);
    out->e[r] = e * raise + TINY;
  }
  return LIP_OK;
}

/* Units of block j - 1 -> units of block j, for the input and all cuts before. */
static lip_status carry(chain *s, size_t j, mat *G, lip_err *err) {
  const lip_block *before = &s->a->block[j - 1], *k = &s->a->block[j];
  mat out = {0};
  scale(G, before);
  turn(G, before, true);
  lip_status status = multiply(s, k, G, &out, err);
  mat_free(G);
  *G = out;
  if (!status) turn(G, k, false);
  return status;
}

/* What block j makes of the units before it (of the input): W turn_back, the columns of the cut alone. */
static lip_status begin(const chain *s, size_t j, mat *G, lip_err *err) {
  const lip_block *k = &s->a->block[j];
  if (j == 0) {
    if (!mat_init(G, k->M, k->N)) return no_memory(err);
    memcpy(G->v, s->W, k->M * k->N * sizeof *G->v);
    turn(G, k, false);
    return LIP_OK;
  }
  const lip_block *before = &s->a->block[j - 1];
  const cut *t = &s->at[j];
  if (!mat_init(G, k->M, t->n)) return no_memory(err);
  for (size_t r = 0; r < k->M; r++) {
    const double *w = s->W + r * k->N;
    double top = 0;
    for (size_t c = 0; c < t->n; c++) {
      size_t at = t->unit[c], mate = before->mate ? before->mate[at] : at;
      double v = mate == at ? w[at] : mate > at ? (w[at] + w[mate]) / 2 : (w[mate] - w[at]) / 2;
      top = fmax(top, fabs(v));
      G->v[r * t->n + c] = v;
    }
    G->e[r] = before->mate ? LIP_U * top * raise + TINY : 0;
  }
  turn(G, k, false);
  return LIP_OK;
}

/* ---- B ---- */

/* |row i - row j of G| (j = i: row i alone) plus its error, into out. */
static void row_sizes(const mat *G, size_t i, size_t j, double *out) {
  const double *a = G->v + i * G->cols, *b = G->v + j * G->cols;
  double e = i == j ? G->e[i] : (G->e[i] + G->e[j]) * (1 + 4 * LIP_U);
  for (size_t c = 0; c < G->cols; c++) {
    double d = i == j ? fabs(a[c]) : fabs(a[c] - b[c]);
    out[c] = (d + e) * (1 + 4 * LIP_U);
  }
}

/* n <= CHUNK rows of B: rows i[r] of G less rows j[r] of it (itself: nothing), into out (n, width). */
static void bound_rows(const chain *s, size_t n, const size_t *i, const size_t *j, double *out) {
  const mat *G = &s->G[0];
  size_t width = s->width, terms = G->cols;
  memset(out, 0, n * width * sizeof *out);
  for (size_t r = 0; r < n; r++) {
    if (width == G->cols) {
      row_sizes(G, i[r], j[r], out + r * width);
      continue;
    }
    row_sizes(G, i[r], j[r], s->wide);
    for (size_t c = 0; c < G->cols; c++) out[r] += s->wide[c];
  }
  for (size_t q = 1; q < s->sources; q++) {
    const cut *t = &s->at[q];
    for (size_t r = 0; r < n; r++) {
      double *w = s->weight + r * t->n;
      row_sizes(&s->G[q], i[r], j[r], w);
      for (size_t c = 0; c < t->n; c++) w[c] = w[c] * t->h[c] + TINY;
    }
    lip_wide_product(n, width, t->n, s->weight, t->n, t->B, width, out, width, s->ask->net->engine.pool);
    terms += t->n + 8;
  }
  double more = 1 + 4 * lip_gamma(terms + 8);
  for (size_t c = 0; c < n * width; c++) out[c] = out[c] * more + TINY;
}

/* Rows of B behind the cut after block j - 1. */
static void bound_cut(const chain *s, cut *t) {
  for (size_t r = 0; r < t->n; r += CHUNK)
    bound_rows(s, t->n - r < CHUNK ? t->n - r : CHUNK, t->unit + r, t->unit + r, t->B + r * s->width);
}

/* ||row||_{p*}; for p = inf the row is its 1-norm already. */
static double row_norm(const chain *s, const double *row) {
  return lip_norm_upper_d(row, s->width, lip_p_dual(s->ask->p));
}

static void take_pairs(const chain *s, lip_found *out) {
  size_t C = s->a->n_out, i[CHUNK], j[CHUNK], n = 0;
  for (size_t a = 1; a < C; a++)
    for (size_t b = 0; b < a; b++) {
      if (lip_ask_wants(s->ask, a, b)) {
        i[n] = a;
        j[n++] = b;
      }
      if (n == 0 || (n < CHUNK && !(a == C - 1 && b == a - 1))) continue;
      bound_rows(s, n, i, j, s->rows);
      for (size_t r = 0; r < n; r++)
        out->pair[i[r] * C + j[r]] = out->pair[j[r] * C + i[r]] = row_norm(s, s->rows + r * s->width);
      n = 0;
    }
}

/* The norm of B (C, n_in) from p to q. */
static lip_status take_upper(const chain *s, lip_found *out, lip_err *err) {
  size_t C = s->a->n_out, n = s->width;
  const double *B = s->at[s->a->n].B;
  double upper = 0;
  if (s->ask->q == LIP_PINF) {
    for (size_t i = 0; i < C; i++) upper = fmax(upper, row_norm(s, B + i * n));
  } else if (s->ask->p == LIP_P1) {
    for (size_t c = 0; c < n; c++) {
      for (size_t i = 0; i < C; i++) s->column[i] = B[i * n + c];
      upper = fmax(upper, lip_norm_upper_d(s->column, C, s->ask->q));
    }
  } else { /* 2->2: larger entries have no smaller norm */
    float *f = lip_alloc(C * n, sizeof *f);
    if (!f) return no_memory(err);
    for (size_t c = 0; c < C * n; c++) {
      f[c] = (float)B[c];
      if (!((double)f[c] >= B[c])) f[c] = nextafterf(f[c], INFINITY);
    }
    lip_status status = lip_opnorm_upper(f, C, n, (lip_pq){LIP_P2, LIP_P2}, &upper, err);
    lip_free(f);
    if (status) return status;
  }
  out->upper = upper;
  return LIP_OK;
}

/* Whether n multiplications would end behind the deadline, as fast as those before (the first: 2e9 a second). */
static bool too_late(const chain *s, double n) {
  double speed = s->took > 0.01 ? s->work / s->took : 2e9;
  return !(lip_seconds() + n / speed <= s->deadline);
}

/* carry, with an eye on the clock. *late: nothing was done. */
static lip_status carry_in_time(chain *s, size_t j, mat *G, bool *late, lip_err *err) {
  const lip_block *k = &s->a->block[j];
  double n = (double)k->M * (double)k->N * (double)G->cols, began = lip_seconds();
  if (lip_cancel_raised(s->ask->net->engine.cancel) || !lip_watch_tell(s->ask->progress, false))
    return lip_fail(err, LIP_CANCELLED, "bound: cancelled");
  *late = too_late(s, n);
  if (*late) return LIP_OK;
  lip_status status = carry(s, j, G, err);
  s->work += n;
  s->took += lip_seconds() - began;
  return status;
}

/* Multiplications of all products to come: what cannot end in time need not begin. */
static double whole_work(const chain *s) {
  double columns = (double)s->a->n_in, sum = 0;
  for (size_t j = 0; j < s->a->n; j++) {
    const lip_block *k = &s->a->block[j];
    double units = 0;
    for (size_t i = 0; i < k->M; i++) units += k->low[i] < k->high[i];
    if (j > 0) sum += (double)k->M * (double)k->N * columns;
    sum += units * (columns - (double)s->a->n_in) * (double)s->width;
    columns += units;
  }
  return sum;
}

static lip_status run_chain(chain *s, lip_found *out, lip_err *err) {
  if (too_late(s, whole_work(s))) {
    lip_out_of_time(s->ask, out->reason, 0, s->a->n, "matrices");
    return LIP_OK;
  }
  lip_watch_begin(s->ask->progress, "abs", s->a->n);
  for (size_t j = 0; j < s->a->n; j++) {
    const lip_block *k = &s->a->block[j];
    lip_status status = LIP_OK;
    for (size_t i = 0; i < k->M * k->N; i++) s->W[i] = lip_block_weight(k, i);
    for (size_t q = 0; !status && q < s->sources; q++) {
      bool late = false;
      status = carry_in_time(s, j, &s->G[q], &late, err);
      if (!late) continue;
      lip_out_of_time(s->ask, out->reason, j, s->a->n, "matrices");
      return LIP_OK;
    }
    if (!status) status = begin(s, j, &s->G[j], err);
    if (status) return status;
    s->sources = j + 1;
    bound_cut(s, &s->at[j + 1]);
    lip_watch_add(s->ask->progress, 1);
  }
  if (s->ask->pairs) take_pairs(s, out);
  return take_upper(s, out, err);
}

static lip_status run(const lip_ask *ask, lip_found *out, lip_err *err) {
  const lip_affine *a = ask->affine;
  chain s = {.ask = ask,
             .a = a,
             .width = ask->p == LIP_PINF ? 1 : a->n_in,
             .deadline = lip_seconds() + ask->seconds};
  bool finite = true;
  for (size_t l = 0; finite && l < a->n; l++) finite = all_finite(&a->block[l]);
  fenv_t saved;
  lip_ieee_enter(&saved);
  lip_status status = chain_init(&s, err);
  if (!status && finite) status = run_chain(&s, out, err);
  if (!finite) lip_because(out->reason, "a weight or slope is not finite");
  lip_ieee_leave(&saved);
  chain_free(&s);
  return status ? status : lip_found_product(ask, false, out, err); /* no larger than the product of norms */
}

const lip_method lip_method_abs = {
    .name = "abs",
    .help = "the triangle inequality entry by entry: linear part plus what the slopes may add",
    .takes = takes,
    .run = run,
};
