/* Branch and bound by halving the box of inputs: for nets of few inputs, where small boxes leave few units undecided. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/cert/decide_tree.h"
#include "core/cert/mix.h"
#include "core/cert/refute.h"
#include "core/cert/relax_parts.h"

/* One thread's own. */
typedef struct hand {
  lip_ranges *g;
  lip_score *score;
  double *low, *now; /* (m) bounds of the property's rows */
  double *mix;
  double *a, *scores; /* (n_in) */
} hand;

typedef struct splitting {
  lip_search *s;
  hand *hand; /* (threads) */
} splitting;

/* ---- one node ---- */

/* The clause that is farthest from proved, by the row that decides it. */
static size_t deciding_row(const lip_property *p, const double *low, double *least) {
  size_t found = SIZE_MAX;
  *least = INFINITY;
  for (size_t i = 0; i < p->n; i++) {
    const lip_clause *c = &p->clause[i];
    /* the need-th largest: so many rows are at least as large */
    for (size_t r = c->first; r < c->first + c->n; r++) {
      size_t above = 0, before = 0;
      for (size_t t = c->first; t < c->first + c->n; t++) {
        above += low[t] > low[r];
        before += low[t] == low[r] && t < r;
      }
      if (above + before + 1 != c->need) continue;
      if (found == SIZE_MAX || low[r] < *least) *least = low[r], found = r;
    }
  }
  return found;
}

static void raise(lip_ranges *g, const lip_property *p, bool relaxed, hand *h) {
  lip_ranges_rows(g, lip_ranges_last(g), p->weight, p->constant, p->m, relaxed, h->now);
  for (size_t j = 0; j < p->m; j++)
    if (h->now[j] > h->low[j]) h->low[j] = h->now[j];
}

static bool proves(const lip_search *s, hand *h, const double *box) {
  const lip_property *p = s->part.property;
  const lip_region region = {.p = LIP_PINF,
                             .boxed = true,
                             .from = box,
                             .to = box + s->n_in,
                             .executed = LIP_EXECUTED_FLOAT32,
                             .cancel = s->net->engine.cancel};
  for (size_t j = 0; j < p->m; j++) h->low[j] = -INFINITY;
  lip_ranges_start(h->g, &region);
  raise(h->g, p, true, h);
  if (lip_property_proved(p, 0, h->low)) return true;
  if (s->relax->n > 2) {
    lip_ranges_tighten(h->g);
    raise(h->g, p, true, h);
    if (lip_property_proved(p, 0, h->low)) return true;
  }
  return lip_mix_proves(h->g, p, 0, h->low, h->mix) || lip_refute_proves(h->g, p, 0, h->low, h->now, h->mix);
}

/* The row's coefficients at the input. */
static void coefficients(lip_ranges *g, const double *w, double d, double *a) {
  const size_t n = g->r->a->n_in, last = lip_ranges_last(g);
  memset(a, 0, n * sizeof *a);
  if (!g->known) return;
  lip_relax_put(g, last, w, d, 0);
  lip_relax_back(g, last, 1);
  for (size_t i = 0; i < g->now.n; i++) a[g->now.all ? i : g->now.at[i]] = g->now.v[i * g->lanes];
}

static size_t best_side(const double *score, const double *box, size_t n) {
  size_t best = SIZE_MAX;
  for (size_t k = 0; k < n; k++) {
    const double from = box[k], to = box[n + k], m = 0.5 * from + 0.5 * to;
    if (!(m > from && m < to)) continue;
    /* NaN counts as nothing */
    if (best == SIZE_MAX || score[k] > score[best]) best = k;
  }
  return best;
}

/* A node is its box, from and to. */
static void look(void *arg, size_t id, double *box, float *points, lip_fate *f) {
  const splitting *t = arg;
  const lip_search *s = t->s;
  const lip_property *p = s->part.property;
  const size_t n = s->n_in;
  hand *h = &t->hand[id];
  f->proved = proves(s, h, box);
  if (f->proved) return;
  const size_t r = deciding_row(p, h->low, &f->least);
  coefficients(h->g, p->weight + r * p->C, p->constant[r], h->a);
  if (h->g->known)
    lip_score_inputs(h->score, h->g, p->weight + r * p->C, box, box + n, h->a, h->scores);
  else
    for (size_t k = 0; k < n; k++) h->scores[k] = box[n + k] - box[k];
  f->split = best_side(h->scores, box, n);
  f->high = f->split != SIZE_MAX && h->a[f->split] < 0;
  for (size_t k = 0; k < n; k++) { /* the corner that the bound blames, and the middle */
    points[k] = lip_search_clamp(s, k, h->a[k] > 0 ? box[k] : box[n + k]);
    points[n + k] = lip_search_clamp(s, k, 0.5 * box[k] + 0.5 * box[n + k]);
  }
}

static void half(void *arg, const double *box, const lip_fate *f, bool high, double *child) {
  const splitting *t = arg;
  const size_t n = t->s->n_in, k = f->split;
  const double m = 0.5 * box[k] + 0.5 * box[n + k];
  memcpy(child, box, 2 * n * sizeof *box);
  child[high ? k : n + k] = m;
}

/* ---- memory ---- */

static bool hands_init(splitting *t) {
  const lip_search *s = t->s;
  const size_t m = s->part.property->m;
  t->hand = lip_alloc(s->threads, sizeof *t->hand);
  if (!t->hand) return false;
  memset(t->hand, 0, s->threads * sizeof *t->hand);
  for (size_t i = 0; i < s->threads; i++) {
    hand *h = &t->hand[i];
    h->g = s->ranges[i];
    h->score = lip_score_new(s->relax);
    h->low = lip_alloc(2 * m + 2 * s->n_in, sizeof *h->low);
    h->mix = lip_alloc(lip_mix_work(s->part.property->C), sizeof *h->mix);
    if (!h->score || !h->low || !h->mix) return false;
    h->now = h->low + m;
    h->a = h->now + m;
    h->scores = h->a + s->n_in;
  }
  return true;
}

static void hands_free(splitting *t) {
  for (size_t i = 0; t->hand && i < t->s->threads; i++) {
    lip_score_free(t->hand[i].score);
    lip_free(t->hand[i].low);
    lip_free(t->hand[i].mix);
  }
  lip_free(t->hand);
}

lip_status lip_decide_input(lip_search *s, lip_err *err) {
  const size_t n = s->n_in;
  splitting t = {.s = s};
  const lip_tree_kind kind = {2 * n, look, half, &t, "a box too small to be halved is not proved"};
  double *box = lip_alloc(2 * n, sizeof *box);
  lip_status status = box && hands_init(&t) ? LIP_OK : lip_fail(err, LIP_MEMORY, "decide: out of memory");
  if (!status) {
    memcpy(box, s->part.from, n * sizeof *box);
    memcpy(box + n, s->part.to, n * sizeof *box);
    status = lip_tree_grow(s, &kind, box, err);
  }
  hands_free(&t);
  lip_free(box);
  return status;
}
