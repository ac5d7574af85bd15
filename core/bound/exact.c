/* The largest norm over all patterns of slopes of a small net: the least constant that can be said of a net of these
 * matrices and slope intervals. Realisable or not, every pattern counts, so for relu it is a bound from above of the
 * constant of the net itself, and equal to it where every pattern has a point.
 *
 * Increments of a unit: y - y' = s (z - z') with s in [low, high], sums and differences of a pair likewise (affine.h).
 * So f(x) - f(x') = J(s) (x - x') for some s in the box of all slopes. J is affine in each s_k on its own, hence every
 * norm of J is convex in each s_k, and its maximum over the box is attained at a vertex: one coordinate after the other
 * can be moved to an end without lowering it (Virmaux, Scaman 2018, lemma 1, for relu). A pair has two vertices: both
 * orders.
 *
 * Rounding. Z_l = turn(W_l turn_back(S_{l-1} Z_{l-1})) is evaluated in double. With A_l the same recursion on absolute
 * values, |low|, |high| at most in S, entries that are not zero raised to at least 2^-800 and a little at every block,
 *   |Z^_n - Z_n| <= gamma_N A_n,   N = sum_l (columns of W_l + 8)
 * entry by entry: a sum of K products has gamma_{K+1}, a turn, a scaling and one more in A itself each one rounding
 * (Higham 2002, sections 3.1 and 3.6); a slope that is no double is one of 2^-50 beside it, 8 roundings more, and what underflows (K 2^-1074 a sum) is below gamma_1 2^-1000, which is added
 * where A is not zero; where it is, every product is zero. Norms of Z^ are rounded upwards and the norm of gamma_N A_n,
 * the same for all patterns, is added at the end.
 *
 * Norm 2->2 of Z^ (k, n), k the shorter side: best^2 I - Z^ Z^' is proved to be positive semi-definite by a Cholesky
 * factorisation (the argument of core/norm/verify.c with |fl(ZZ') - ZZ'| <= gamma_n |Z| |Z|', whose norm is at most
 * gamma_n ||Z||_F^2), `best` being what earlier patterns have needed; where that fails, it is raised. */
#include <math.h>
#include <string.h>

#include "core/affine/bend.h"
#include "core/affine/rounding.h"
#include "core/affine/wide.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/bound/found.h"
#include "core/norm/round.h"
#include "core/norm/symmetric.h"

enum { MOST_UNITS = 16, TRIES = 24 };

typedef struct level {
  const lip_block *k;
  double *W; /* (M, N) */
  double *Y; /* (N, n_in) slopes times what comes in, turned back; the first: the identity */
  double *Z; /* (M, n_in) turned */
} level;

typedef struct search {
  const lip_ask *ask;
  const lip_affine *a;
  size_t n_in, C, rows; /* rows: as many as the widest matrix has */
  level *at;
  size_t n_free, free_block[MOST_UNITS], free_unit[MOST_UNITS]; /* the last block first */
  double *slope;                                                /* (rows): of one block */
  double *A;                 /* (C, n_in) >= |error| of the last Z, all of it */
  double *row;               /* (n_in) */
  double *short_side, *gram; /* 2->2: (k, n) and (k, k), padded */
  size_t k, n;
  double upper, *pair;
} search;

static bool is_free(const lip_block *k, size_t i) {
  return k->low[i] < k->high[i] && !lip_block_is_line(k, i);
}

static bool all_finite(const lip_affine *a) {
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *k = &a->block[l];
    for (size_t i = 0; i < k->M * k->N; i++)
      if (!isfinite(lip_block_weight(k, i))) return false;
    for (size_t i = 0; i < k->M; i++)
      if (!(k->low[i] <= k->high[i]) || !isfinite(k->low[i]) || !isfinite(k->high[i])) return false;
  }
  return true;
}

static size_t free_units(const lip_affine *a) {
  size_t n = 0;
  for (size_t l = 0; l + 1 < a->n; l++)
    for (size_t i = 0; i < a->block[l].M; i++) n += is_free(&a->block[l], i);
  return n;
}

/* Multiplications of all patterns together. */
static double work(const lip_ask *ask) {
  const lip_affine *a = ask->affine;
  double once = ask->pairs ? (double)a->n_out * (double)a->n_out : 0;
  for (size_t l = 0; l < a->n; l++) once += (double)a->block[l].M * (double)a->block[l].N;
  return ldexp(once * (double)a->n_in, (int)free_units(a));
}

static bool takes(const lip_ask *ask, char *why) {
  const double most = 1e9; /* a few seconds */
  if (!lip_pq_tractable((lip_pq){ask->p, ask->q}))
    return lip_because(why, "no norms from %s to %s can be worked out", lip_p_name(ask->p),
                       lip_p_name(ask->q));
  if (!lip_ask_has_form(ask, why)) return false;
  size_t units = free_units(ask->affine);
  if (units > MOST_UNITS)
    return lip_because(why, "%zu units have two slopes, and it takes %d at most", units, MOST_UNITS);
  if (work(ask) > most)
    return lip_because(why, "the patterns of %zu units need %.2g multiplications, more than %.0g", units,
                       work(ask), most);
  return true;
}

/* ---- life ---- */

static size_t padded(size_t n) {
  return (n + LIP_PAD - 1) / LIP_PAD * LIP_PAD;
}

static void search_free(search *s) {
  for (size_t l = 0; s->at && l < s->a->n; l++) {
    lip_free(s->at[l].W);
    lip_free(s->at[l].Y);
    lip_free(s->at[l].Z);
  }
  lip_free(s->at);
  lip_free(s->slope);
  lip_free(s->A);
  lip_free(s->row);
  lip_free(s->short_side);
  lip_free(s->gram);
  lip_free(s->pair);
}

static bool level_init(level *v, const lip_block *k, size_t n_in) {
  v->k = k;
  v->W = lip_alloc(k->M * k->N, sizeof(double));
  v->Y = lip_alloc(k->N * n_in, sizeof(double));
  v->Z = lip_alloc(k->M * n_in, sizeof(double));
  if (!v->W || !v->Y || !v->Z) return false;
  for (size_t i = 0; i < k->M * k->N; i++) v->W[i] = lip_block_weight(k, i);
  return true;
}

static lip_status search_init(search *s, lip_err *err) {
  const lip_affine *a = s->a;
  s->at = lip_alloc(a->n, sizeof *s->at);
  bool complete = s->at != NULL;
  for (size_t l = 0; complete && l < a->n; l++) {
    complete = level_init(&s->at[l], &a->block[l], s->n_in);
    if (a->block[l].M > s->rows) s->rows = a->block[l].M;
  }
  if (complete) {
    s->k = padded(s->C < s->n_in ? s->C : s->n_in);
    s->n = padded(s->C < s->n_in ? s->n_in : s->C);
    s->slope = lip_alloc(s->rows, sizeof(double));
    s->A = lip_alloc(s->C * s->n_in, sizeof(double));
    s->row = lip_alloc(s->C + s->n_in, sizeof(double));
    s->short_side = lip_alloc(s->k * s->n, sizeof(double));
    s->gram = lip_alloc(2 * s->k * s->k, sizeof(double));
    s->pair = lip_alloc(s->C * s->C, sizeof(double));
    complete = s->slope && s->A && s->row && s->short_side && s->gram && s->pair;
  }
  if (!complete) return lip_fail(err, LIP_MEMORY, "out of memory for the patterns of a net");
  for (size_t l = a->n - 1; l-- > 0;)
    for (size_t i = 0; i < a->block[l].M; i++)
      if (is_free(&a->block[l], i)) {
        s->free_block[s->n_free] = l;
        s->free_unit[s->n_free++] = i;
      }
  for (size_t i = 0; i < s->n_in; i++) s->at[0].Y[i * s->n_in + i] = 1;
  return LIP_OK;
}

/* ---- one pattern ---- */

/* What the next block gets from block l under a pattern. */
static void switch_on(search *s, size_t l, unsigned pattern) {
  const level *v = &s->at[l];
  const lip_block *k = v->k;
  double *Y = s->at[l + 1].Y;
  for (size_t i = 0; i < k->M; i++) s->slope[i] = lip_block_is_line(k, i) ? k->bend[i].below : k->low[i];
  for (size_t f = 0; f < s->n_free; f++)
    if (s->free_block[f] == l && pattern >> f & 1) s->slope[s->free_unit[f]] = k->high[s->free_unit[f]];
  for (size_t i = 0; i < k->M; i++)
    for (size_t c = 0; c < s->n_in; c++) Y[i * s->n_in + c] = s->slope[i] * v->Z[i * s->n_in + c];
  lip_block_turn(k, Y, s->n_in, true);
}

/* From block `from`, whose Y stands, to the end. */
static void carry(search *s, size_t from, unsigned pattern) {
  for (size_t l = from; l < s->a->n; l++) {
    level *v = &s->at[l];
    memset(v->Z, 0, v->k->M * s->n_in * sizeof *v->Z);
    lip_wide_product(v->k->M, s->n_in, v->k->N, v->W, v->k->N, v->Y, s->n_in, v->Z, s->n_in, NULL);
    lip_block_turn(v->k, v->Z, s->n_in, false);
    if (l + 1 < s->a->n) switch_on(s, l, pattern);
  }
}

/* The sum of absolute values of a pair counts for both; back, half of that. */
static void turn_sizes(const lip_block *k, double *v, size_t n, bool back) {
  for (size_t a = 0; k->mate && a < k->M; a++) {
    size_t b = k->mate[a];
    for (size_t c = 0; b > a && c < n; c++)
      v[a * n + c] = v[b * n + c] = (v[a * n + c] + v[b * n + c]) * (back ? 0.5 : 1);
  }
}

/* A: the sizes, through the same buffers; then times gamma. */
static void measure_error(search *s) {
  size_t n = s->n_in, N = 0;
  for (size_t l = 0; l < s->a->n; l++) {
    level *v = &s->at[l];
    const lip_block *k = v->k;
    N += k->N + (k->bend ? 16 : 8);
    for (size_t i = 0; i < k->M * k->N; i++) v->W[i] = fabs(v->W[i]);
    memset(v->Z, 0, k->M * n * sizeof *v->Z);
    lip_wide_product(k->M, n, k->N, v->W, k->N, v->Y, n, v->Z, n, NULL);
    for (size_t i = 0; i < k->M * k->N; i++) v->W[i] = lip_block_weight(k, i);
    turn_sizes(k, v->Z, n, false);
    for (size_t i = 0; i < k->M * n; i++) v->Z[i] += v->Z[i] > 0 ? 0x1p-1000 : 0;
    if (l + 1 == s->a->n) break;
    double *Y = s->at[l + 1].Y;
    for (size_t i = 0; i < k->M; i++) {
      double most = fmax(fabs(k->low[i]), fabs(k->high[i]));
      for (size_t c = 0; c < n; c++) {
        double size = v->Z[i * n + c];
        Y[i * n + c] = most > 0 && size > 0 ? fmax(most * size, 0x1p-800) : 0;
      }
    }
    turn_sizes(k, Y, n, true);
  }
  const double *Z = s->at[s->a->n - 1].Z;
  for (size_t i = 0; i < s->C * n; i++) s->A[i] = 4 * lip_gamma(N) * Z[i];
}

/* ---- norms of the last Z ---- */

static double column_norm(search *s, const double *Z, size_t c, lip_p q) {
  for (size_t i = 0; i < s->C; i++) s->row[i] = Z[i * s->n_in + c];
  return lip_norm_upper_d(s->row, s->C, q);
}

/* Whether a I - Z Z' is proved positive semi-definite, `e` >= ||fl(ZZ') - ZZ'||_2. The diagonal of B is below a (1 + u),
 * so its trace is below k a (1 + u) and its roundings below u a (1 + u); 1 + 2^-40 covers those of `shift` itself. */
static bool is_above(search *s, double a, double e) {
  size_t k = s->k;
  double *B = s->gram + k * k, phi = lip_gamma(k + 1) / (1 - lip_gamma(k + 1));
  double shift = (phi * (double)k * a + 2 * LIP_U * a + e) * (1 + 0x1p-40) + 0x1p-900;
  double less = nextafter(a - shift, -INFINITY);
  for (size_t i = 0; i < k; i++) {
    for (size_t j = 0; j < i; j++) B[i * k + j] = -s->gram[i * k + j];
    B[i * k + i] = less - s->gram[i * k + i];
  }
  return lip_sym_cholesky(B, k);
}

/* Rayleigh quotient after some steps of the power method: a proposal, from below. */
static double propose(search *s) {
  enum { STEPS = 300 };
  size_t k = s->k;
  double *x = s->gram + k * k, *y = x + k, best = 0;
  for (size_t i = 0; i < k; i++) x[i] = 1 + 0.01 * (double)i;
  for (int t = 0; t < STEPS; t++) {
    lip_sym_apply(s->gram, k, x, y);
    double size = lip_sym_dot(y, y, k), old = lip_sym_dot(x, x, k);
    if (!(size > 0) || !(old > 0)) return best;
    best = lip_sym_dot(x, y, k) / old;
    for (size_t i = 0; i < k; i++) x[i] = y[i] / sqrt(size);
  }
  return best;
}

/* The larger of `best` and sigma_max of Z, rounded up. */
static double spectral_norm(search *s, const double *Z, double best) {
  size_t rows = s->C, n = s->n_in, k = s->k;
  double top = 0, F = 0;
  int ex;
  for (size_t i = 0; i < rows * n; i++) {
    if (!isfinite(Z[i])) return INFINITY;
    top = fmax(top, fabs(Z[i]));
  }
  if (top == 0) return best;
  (void)frexp(top, &ex);
  for (size_t i = 0; i < rows; i++)
    for (size_t c = 0; c < n; c++)
      s->short_side[rows <= n ? i * s->n + c : c * s->n + i] = ldexp(Z[i * n + c], -ex);
  memset(s->gram, 0, k * k * sizeof *s->gram);
  lip_sym_add_gram(s->gram, k, s->short_side, s->n, s->n);
  lip_sym_mirror(s->gram, k);
  for (size_t i = 0; i < k; i++) F += s->gram[i * k + i];
  F *= 1 + 4 * lip_gamma(s->n + k + 2);
  double e = 2 * lip_gamma(s->n + 1) * F, known = ldexp(best, -ex);
  if (known * known >= F || is_above(s, lip_down(known * known), e)) return best;
  double a = propose(s), raise = 1e-13;
  for (int t = 0; t < TRIES && raise < 1; t++, raise *= 4)
    if (is_above(s, a * (1 + raise), e)) return fmax(best, ldexp(lip_sqrt_up(a * (1 + raise)), ex));
  return fmax(best, ldexp(lip_sqrt_up(F), ex));
}

static void take(search *s) {
  const double *Z = s->at[s->a->n - 1].Z;
  size_t n = s->n_in;
  lip_p p = s->ask->p, q = s->ask->q;
  if (p == LIP_P1)
    for (size_t c = 0; c < n; c++) s->upper = fmax(s->upper, column_norm(s, Z, c, q));
  else if (q == LIP_PINF)
    for (size_t i = 0; i < s->C; i++)
      s->upper = fmax(s->upper, lip_norm_upper_d(Z + i * n, n, lip_p_dual(p)));
  else
    s->upper = spectral_norm(s, Z, s->upper);
  if (!s->ask->pairs) return;
  for (size_t i = 0; i < s->C; i++)
    for (size_t j = 0; j < i; j++) {
      if (!lip_ask_wants(s->ask, i, j)) continue;
      for (size_t c = 0; c < n; c++) s->row[c] = Z[i * n + c] - Z[j * n + c];
      double *best = &s->pair[i * s->C + j];
      *best = fmax(*best, lip_norm_upper_d(s->row, n, lip_p_dual(p)));
    }
}

/* ---- all of them ---- */

/* The error of every pattern, which is larger than the one of a subtraction. */
static void finish(search *s, lip_found *out) {
  size_t n = s->n_in, C = s->C;
  lip_p dual = lip_p_dual(s->ask->p);
  double all = lip_norm_upper_d(s->A, C * n, LIP_P1); /* above every norm of it */
  out->upper = lip_up_add(s->upper, all);
  for (size_t i = 0; s->ask->pairs && i < C; i++)
    for (size_t j = 0; j < i; j++) {
      if (!lip_ask_wants(s->ask, i, j)) continue;
      double e = lip_up_add(lip_norm_upper_d(s->A + i * n, n, dual), lip_norm_upper_d(s->A + j * n, n, dual));
      out->pair[i * C + j] = out->pair[j * C + i] = lip_up_add(s->pair[i * C + j], e);
    }
}

/* Patterns in the order of binary numbers: the slopes of the last blocks change most often. */
static lip_status all_patterns(search *s, lip_found *out, lip_err *err) {
  double end = lip_seconds() + s->ask->seconds;
  size_t all = (size_t)1 << s->n_free;
  lip_watch_begin(s->ask->progress, "exact", all);
  measure_error(s);
  carry(s, 0, 0);
  take(s);
  for (unsigned pattern = 1; pattern >> s->n_free == 0; pattern++) {
    unsigned changed = pattern ^ (pattern - 1);
    size_t top = 0;
    while (changed >> (top + 1)) top++;
    if (lip_cancel_raised(s->ask->net->engine.cancel))
      return lip_fail(err, LIP_CANCELLED, "bound: cancelled");
    if (pattern % 64 == 0) {
      lip_watch_add(s->ask->progress, 64);
      if (!lip_watch_tell(s->ask->progress, false)) return lip_fail(err, LIP_CANCELLED, "bound: cancelled");
      if (lip_seconds() > end) {
        lip_out_of_time(s->ask, out->reason, pattern, all, "patterns");
        return LIP_OK;
      }
    }
    switch_on(s, s->free_block[top], pattern);
    carry(s, s->free_block[top] + 1, pattern);
    take(s);
  }
  finish(s, out);
  return LIP_OK;
}

static lip_status run(const lip_ask *ask, lip_found *out, lip_err *err) {
  const lip_affine *a = ask->affine;
  if (!all_finite(a)) {
    lip_because(out->reason, "a weight or slope is not finite");
    return LIP_OK;
  }
  search s = {.ask = ask, .a = a, .n_in = a->n_in, .C = a->n_out};
  fenv_t saved;
  lip_ieee_enter(&saved);
  lip_status status = search_init(&s, err);
  if (!status) status = all_patterns(&s, out, err);
  lip_ieee_leave(&saved);
  search_free(&s);
  return status;
}

const lip_method lip_method_exact = {
    .name = "exact",
    .help = "the largest norm over all patterns of slopes, for at most 16 units (infinite beyond)",
    .bare = true,
    .takes = takes,
    .run = run,
};
