/* Branch and bound by deciding units: a relu is on or off, a difference of a pair has one sign or the other (Bunel et al. 2018;
 * with multipliers for what is supposed Wang et al. 2021, "beta-CROWN"). For nets of many inputs.
 *
 * What is refuted are sets of rows that would all have to be <= 0 at a counterexample: of a clause of n rows that needs k, every
 * set of n - k + 1. Supposing that such a set is <= 0 makes the intervals of all units smaller (relax_cut.c) for the
 * whole tree, in the half space that the rows' bound leaves (refute.c).
 *
 * A node is what its units' intervals are, with the slopes and multipliers to begin with. The intervals hold wherever what is
 * supposed holds; sizes and roundings are those of the whole region. Where all units are decided a linear program is left, which
 * ascent need not solve to the end: then the box of inputs is halved, too. */
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/base/thread.h"
#include "core/cert/alpha.h"
#include "core/cert/decide_tree.h"
#include "core/cert/dual.h"
#include "core/norm/round.h"

enum { STEPS = 20, FIRST_STEPS = 60, FIRST_ROUNDS = 8, ALPHA_STEPS = 8, SETS = 64 };

/* A round of smaller intervals that brings the bound no nearer to 0 than by this factor is the last. */
#define PROGRESS 0.9

/* One thread's own. */
typedef struct hand {
  lip_ranges *g;
  lip_alpha *alpha; /* NULL: the net is not made for it */
  lip_dual *d;
  lip_rows rows;
} hand;

typedef struct deciding {
  lip_search *s;
  hand *hand; /* (threads) */
  size_t units, n_rows;
  double *w, *c; /* rows of the set at hand */
  /* intervals of the whole region */
  size_t block, n_waiting;
  uint32_t *waiting; /* (widest) */
  double *from, *to; /* (widest) of those */
  atomic_size_t next;
} deciding;

/* ---- nodes as numbers: from, to, alpha, beta, side (units each), shares (rows), the box of inputs (2 n_in) ---- */

enum { PARTS = 5 };

static size_t box_at(const deciding *t) {
  return PARTS * t->units + t->n_rows;
}

static size_t numbers_of(const deciding *t) {
  return box_at(t) + 2 * t->s->n_in;
}

static void save(const deciding *t, const hand *h, double *node) {
  const lip_relax *r = t->s->relax;
  const size_t U = t->units;
  for (size_t l = 0; l + 1 < r->n; l++) {
    const size_t at = h->d->first[l], n = r->slab[l].M;
    memcpy(node + at, h->g->reach[l].from, n * sizeof *node);
    memcpy(node + U + at, h->g->reach[l].to, n * sizeof *node);
  }
  memcpy(node + 2 * U, h->d->alpha, U * sizeof *node);
  memcpy(node + 3 * U, h->d->beta, U * sizeof *node);
  memcpy(node + 4 * U, h->d->side, U * sizeof *node);
  memcpy(node + PARTS * U, h->rows.share, t->n_rows * sizeof *node);
}

typedef enum met { EMPTY, UNKNOWN, MET } met;

/* The node's intervals and what follows from them. */
static met load(const deciding *t, hand *h, const double *node) {
  const lip_relax *r = t->s->relax;
  const size_t U = t->units;
  lip_relax_restore(h->g);
  if (!t->s->part.ball) {
    h->g->copy.from = node + box_at(t);
    h->g->copy.to = h->g->copy.from + t->s->n_in;
    if (!lip_region_start(h->g)) return UNKNOWN;
  }
  for (size_t l = 0; l + 1 < r->n; l++) {
    reach *q = &h->g->reach[l];
    const double *from = node + h->d->first[l], *to = from + U;
    for (size_t k = 0; k < r->slab[l].M; k++) {
      if (from[k] > q->from[k]) q->from[k] = from[k];
      if (to[k] < q->to[k]) q->to[k] = to[k];
      if (q->from[k] > q->to[k]) return EMPTY;
    }
  }
  for (size_t l = 0; l + 1 < r->n; l++)
    if (!lip_relax_lines(h->g, l)) return UNKNOWN;
  memcpy(h->d->alpha, node + 2 * U, U * sizeof *node);
  memcpy(h->d->beta, node + 3 * U, U * sizeof *node);
  memcpy(h->d->side, node + 4 * U, U * sizeof *node);
  memcpy(h->rows.share, node + PARTS * U, t->n_rows * sizeof *node);
  lip_dual_prepare(h->d, h->g);
  return MET;
}

/* ---- one node ---- */

/* Intervals in the half space that the last bound leaves; EMPTY: there is nothing in it. */
static met narrow(const deciding *t, hand *h) {
  lip_ranges *g = h->g;
  bool empty = false, known = lip_cut_suppose_row(g, h->d->a, h->d->rest);
  g->cut.wanted = true;
  for (size_t l = 0; l < t->s->relax->n && known; l++) known = lip_relax_renew(g, l, &empty);
  g->cut.on = g->cut.wanted = false;
  if (!known) return empty ? EMPTY : UNKNOWN;
  lip_dual_prepare(h->d, g);
  return MET;
}

/* Whether it is refuted; else its bound. Intervals, slopes and multipliers stay in h. */
static bool refutes(const deciding *t, hand *h, const double *node, bool first, double *bound) {
  met state = load(t, h, node);
  *bound = -INFINITY;
  if (state != MET) return state == EMPTY;
  *bound = lip_dual_ascend(h->d, h->g, &h->rows, first ? FIRST_STEPS : STEPS);
  for (size_t i = 0; first && i < FIRST_ROUNDS && !(*bound > 0) && *bound > -INFINITY; i++) {
    state = narrow(t, h);
    if (state == EMPTY) return true;
    if (state == UNKNOWN || lip_cancel_raised(t->s->net->engine.cancel)) {
      *bound = -INFINITY;
      return false;
    }
    const double now = lip_dual_ascend(h->d, h->g, &h->rows, STEPS);
    const bool last = !(now > PROGRESS * *bound);
    if (now > *bound) *bound = now;
    if (last) break;
  }
  return *bound > 0;
}

/* What deciding unit k of block l may give back to the bound, about: what its line takes where the relaxed function is least,
 * and, where the chord is what counts, how far that is from the kink (De Palma et al. 2021, "BaBSR"). */
static double promise(const hand *h, size_t l, size_t k) {
  const reach *q = &h->g->reach[l];
  const size_t i = h->d->first[l] + k;
  const double g = h->d->g[i];
  const bool chord = (h->d->curve[i] > 0) != (g >= 0);
  return lip_dual_loss(h->d, h->g, l, k) + (chord ? fabs(g) * fabs(g >= 0 ? q->below[k] : q->above[k]) : 0);
}

/* The undecided unit that promises most; SIZE_MAX: all are decided. */
static size_t worst_unit(const deciding *t, const hand *h, bool *high) {
  const lip_relax *r = t->s->relax;
  const lip_dual *d = h->d;
  size_t found = SIZE_MAX;
  double most = -1;
  for (size_t l = 0; l + 1 < r->n; l++)
    for (size_t k = 0; k < r->slab[l].M; k++) {
      const size_t i = d->first[l] + k;
      if (!(d->least[i] <= d->most[i])) continue;
      const double much = promise(h, l, k);
      if (!(much > most)) continue;
      most = much;
      found = i;
      *high = d->u[i] > 0;
    }
  return found;
}

/* The input whose halves change the bound most; SIZE_MAX: none can be halved. */
static size_t widest_input(const deciding *t, const hand *h, const double *box) {
  const size_t n = t->s->n_in;
  size_t found = SIZE_MAX;
  double most = -1;
  for (size_t k = 0; k < n && !t->s->part.ball; k++) {
    const double from = box[k], to = box[n + k], m = 0.5 * from + 0.5 * to;
    const double score = (fabs(h->d->a[k]) + DBL_MIN) * (to - from);
    if (m > from && m < to && score > most) most = score, found = k;
  }
  return found;
}

static void look(void *arg, size_t id, double *node, float *points, lip_fate *f) {
  const deciding *t = arg;
  const size_t n = t->s->n_in;
  hand *h = &t->hand[id];
  bool first = true;
  for (size_t i = 0; i < t->units && first; i++) first = node[4 * t->units + i] == 0;
  f->proved = refutes(t, h, node, first, &f->least);
  if (f->proved) return;
  if (f->least > -INFINITY) {
    f->split = worst_unit(t, h, &f->high);
    if (f->split == SIZE_MAX) {
      const size_t k = widest_input(t, h, node + box_at(t));
      if (k != SIZE_MAX) f->split = t->units + k, f->high = h->d->a[k] < 0;
    }
  }
  if (f->split != SIZE_MAX) save(t, h, node);
  const double inwards = t->s->part.ball ? 1 - 0x1p-20 : 1;
  for (size_t k = 0; k < n; k++) { /* where the bound is least, and half way there */
    const double x = h->g->x[k], d = (h->d->x[k] - x) * inwards;
    points[k] = lip_search_clamp(t->s, k, x + d);
    points[n + k] = lip_search_clamp(t->s, k, x + 0.5 * d);
  }
}

static void half(void *arg, const double *node, const lip_fate *f, bool high, double *child) {
  const deciding *t = arg;
  const size_t i = f->split, U = t->units;
  memcpy(child, node, numbers_of(t) * sizeof *node);
  if (i >= U) {
    double *box = child + box_at(t) + (i - U);
    const size_t n = t->s->n_in;
    box[high ? 0 : n] = 0.5 * box[0] + 0.5 * box[n];
    return;
  }
  child[4 * U + i] = high ? -1 : 1;
  child[3 * U + i] = 0;
  if (high && !(child[i] > 0)) child[i] = 0;
  if (!high && !(child[U + i] < 0)) child[U + i] = 0;
}

/* ---- the whole region ---- */

static void start(void *arg, const lip_worker *me) {
  const deciding *t = arg;
  lip_ranges *g = t->hand[me->id].g;
  fenv_t saved;
  lip_ieee_enter(&saved);
  const lip_region region = lip_search_region(t->s);
  lip_ranges_start(g, &region);
  lip_ranges_tighten(g);
  lip_ieee_leave(&saved);
}

/* The next of the waiting units. */
static void tighten_share(void *arg, const lip_worker *me) {
  deciding *t = arg;
  const hand *h = &t->hand[me->id];
  enum { MOST = LIP_CHUNK / 2 };
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t i; (i = MOST * atomic_fetch_add(&t->next, 1)) < t->n_waiting;) {
    const size_t n = t->n_waiting - i < MOST ? t->n_waiting - i : MOST;
    lip_alpha_units(h->alpha, h->g, t->block, t->waiting + i, n, ALPHA_STEPS, t->from + i, t->to + i);
  }
  lip_ieee_leave(&saved);
}

/* What the shares have found, in every hand's ranges; false: nothing is known. */
static bool take_intervals(const deciding *t) {
  bool known = !lip_cancel_raised(t->s->net->engine.cancel);
  for (size_t id = 0; id < t->s->threads; id++) {
    reach *q = &t->hand[id].g->reach[t->block];
    for (size_t i = 0; i < t->n_waiting && known; i++) {
      const size_t k = t->waiting[i];
      if (t->from[i] > q->from[k]) q->from[k] = t->from[i];
      if (t->to[i] < q->to[k]) q->to[k] = t->to[i];
    }
    known = known && lip_relax_lines(t->hand[id].g, t->block);
  }
  return known;
}

/* Intervals of undecided units with slopes of their own, block after block, where what the hands' ranges suppose holds. */
static void tighten(deciding *t) {
  const lip_relax *r = t->s->relax;
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (t->block = 1; t->hand[0].alpha && t->hand[0].g->known && t->block + 1 < r->n; t->block++) {
    const reach *q = &t->hand[0].g->reach[t->block];
    t->n_waiting = 0;
    for (size_t k = 0; k < r->slab[t->block].M; k++)
      if (q->low[k] != q->high[k]) t->waiting[t->n_waiting++] = (uint32_t)k;
    atomic_store(&t->next, 0);
    lip_pool_run(t->s->net->engine.pool, false, tighten_share, t);
    if (!take_intervals(t))
      for (size_t id = 0; id < t->s->threads; id++) t->hand[id].g->known = false;
  }
  lip_ieee_leave(&saved);
}

/* ---- sets of rows ---- */

static lip_status refute_set(deciding *t, lip_err *err) {
  const size_t U = t->units;
  const lip_tree_kind kind = {
      numbers_of(t), look, half, t,
      "all units are decided and inputs too close to be halved, and a bound is not above 0"};
  double *root = lip_alloc(kind.numbers, sizeof *root);
  if (!root) return lip_fail(err, LIP_MEMORY, "decide: out of memory");
  for (size_t i = 0; i < U; i++) {
    root[i] = -INFINITY;
    root[U + i] = INFINITY;
    root[2 * U + i] = NAN; /* as the lines have it */
    root[3 * U + i] = root[4 * U + i] = 0;
  }
  for (size_t j = 0; j < t->n_rows; j++) root[PARTS * U + j] = 1 / (double)t->n_rows;
  memcpy(root + box_at(t), t->s->part.from, t->s->n_in * sizeof *root);
  memcpy(root + box_at(t) + t->s->n_in, t->s->part.to, t->s->n_in * sizeof *root);
  lip_status status = lip_tree_grow(t->s, &kind, root, err);
  lip_free(root);
  return status;
}

/* Rows of the clause that the bits of `set` name. */
static void choose_rows(deciding *t, const lip_property *p, const lip_clause *c, const uint32_t *set,
                        size_t n) {
  t->n_rows = n;
  for (size_t j = 0; j < n; j++) {
    const size_t r = c->first + set[j];
    memcpy(t->w + j * p->C, p->weight + r * p->C, p->C * sizeof *t->w);
    t->c[j] = p->constant[r];
  }
  for (size_t id = 0; id < t->s->threads; id++) t->hand[id].rows.n = n;
}

/* The next set of n out of m numbers in order; false: it was the last. */
static bool next_set(uint32_t *set, size_t n, size_t m) {
  for (size_t j = n; j-- > 0;) {
    if (set[j] >= m - n + j) continue;
    set[j]++;
    for (size_t i = j + 1; i < n; i++) set[i] = set[i - 1] + 1;
    return true;
  }
  return false;
}

static double count_sets(size_t m, size_t n) {
  double count = 1;
  for (size_t i = 0; i < n; i++) count = count * (double)(m - i) / (double)(i + 1);
  return count;
}

static lip_status refute_clause(deciding *t, const lip_clause *c, lip_err *err) {
  const lip_property *p = t->s->part.property;
  lip_decision *out = t->s->out;
  const size_t n = c->n - c->need + 1;
  uint32_t set[LIP_ROWS];
  out->verdict = LIP_UNKNOWN;
  if (n > LIP_ROWS || (n > 1 && count_sets(c->n, n) > SETS)) {
    out->least = -INFINITY;
    lip_snprintf(out->why, sizeof out->why, "a clause of %zu rows that needs %zu has too many ways to fail",
                 c->n, c->need);
    return LIP_OK;
  }
  for (size_t j = 0; j < n; j++) set[j] = (uint32_t)j;
  do {
    choose_rows(t, p, c, set, n);
    lip_status status = refute_set(t, err);
    if (status || out->verdict != LIP_VERIFIED) return status;
  } while (next_set(set, n, c->n));
  return LIP_OK;
}

/* ---- memory ---- */

static lip_status hands_init(deciding *t, lip_err *err) {
  const lip_search *s = t->s;
  const size_t C = s->n_out;
  lip_status status = LIP_OK;
  t->hand = lip_alloc(s->threads, sizeof *t->hand);
  t->w = lip_alloc(LIP_ROWS * C + LIP_ROWS, sizeof *t->w);
  t->waiting = lip_alloc(2 * s->relax->widest, sizeof *t->waiting);
  t->from = lip_alloc(2 * s->relax->widest, sizeof *t->from);
  if (t->hand) memset(t->hand, 0, s->threads * sizeof *t->hand);
  if (!t->hand || !t->w || !t->waiting || !t->from) return lip_fail(err, LIP_MEMORY, "decide: out of memory");
  t->c = t->w + LIP_ROWS * C;
  t->to = t->from + s->relax->widest;
  for (size_t i = 0; !status && i < s->threads; i++) {
    hand *h = &t->hand[i];
    h->g = s->ranges[i];
    status = lip_dual_new(s->relax, &h->d, err);
    if (!status) status = lip_alpha_new(s->relax, &h->alpha, err);
    h->rows = (lip_rows){.w = t->w, .c = t->c, .share = lip_alloc(LIP_ROWS + C, sizeof(double))};
    if (!status && !h->rows.share) status = lip_fail(err, LIP_MEMORY, "decide: out of memory");
    if (h->rows.share) h->rows.sum = h->rows.share + LIP_ROWS;
  }
  if (!status) t->units = t->hand[0].d->units;
  return status;
}

static void hands_free(deciding *t) {
  for (size_t i = 0; t->hand && i < t->s->threads; i++) {
    lip_dual_free(t->hand[i].d);
    lip_alpha_free(t->hand[i].alpha);
    lip_free(t->hand[i].rows.share);
  }
  lip_free(t->hand);
  lip_free(t->w);
  lip_free(t->waiting);
  lip_free(t->from);
}

lip_status lip_decide_unit(lip_search *s, lip_err *err) {
  const lip_property *p = s->part.property;
  deciding t = {.s = s};
  lip_status status = hands_init(&t, err);
  s->out->verdict = LIP_VERIFIED;
  if (!status) {
    lip_pool_run(s->net->engine.pool, false, start, &t);
    tighten(&t);
    for (size_t id = 0; id < s->threads; id++)
      if (t.hand[id].g->known) lip_relax_keep(t.hand[id].g);
  }
  for (size_t i = 0; !status && i < p->n && s->out->verdict == LIP_VERIFIED; i++)
    status = refute_clause(&t, &p->clause[i], err);
  hands_free(&t);
  return status;
}
