/* Branch and bound by halving the box of inputs: for nets of few inputs, where small boxes leave few units undecided.
 *
 * Depth first, ROUND nodes at a time: the threads share the nodes of a round, what comes of them is put in order by the
 * caller's thread. A node's fate depends on its box alone, so the tree is the same for any number of threads. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/base/thread.h"
#include "core/cert/decide_parts.h"
#include "core/cert/mix.h"
#include "core/cert/refute.h"
#include "core/cert/relax_parts.h"
#include "core/norm/round.h"

enum { ROUND = 32, TRIED = 2 }; /* points of a node that are tried: the corner that its bound blames, the middle */

/* One thread's own. */
typedef struct hand {
  lip_ranges *g;
  lip_score *score;
  double *low, *now; /* (m) bounds of the property's rows */
  double *mix;
  double *a, *scores; /* (n_in) */
} hand;

/* What a node has come to. */
typedef struct fate {
  bool proved;
  size_t split; /* SIZE_MAX: no side can be halved */
  bool high;    /* its upper half is the likelier one to hold a counterexample */
  double least;
} fate;

typedef struct node {
  size_t depth;
  double least; /* of its parent */
} node;

typedef struct tree {
  lip_search *s;
  hand *hand; /* (threads) */
  size_t n, room;
  node *node;   /* (room) */
  double *box;  /* (room, 2 n_in) */
  double *work; /* (ROUND, 2 n_in) boxes of this round */
  node round[ROUND];
  fate fate[ROUND];
  float *x; /* (ROUND * TRIED, n_in) */
  size_t taken;
  atomic_size_t next;
} tree;

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

static void look(tree *t, hand *h, size_t i) {
  const lip_search *s = t->s;
  const lip_property *p = s->part.property;
  const size_t n = s->n_in;
  const double *box = t->work + i * 2 * n;
  fate *f = &t->fate[i];
  *f = (fate){.proved = proves(s, h, box), .split = SIZE_MAX, .least = INFINITY};
  if (f->proved) return;
  const size_t r = deciding_row(p, h->low, &f->least);
  coefficients(h->g, p->weight + r * p->C, p->constant[r], h->a);
  if (h->g->known)
    lip_score_inputs(h->score, h->g, p->weight + r * p->C, box, box + n, h->a, h->scores);
  else
    for (size_t k = 0; k < n; k++) h->scores[k] = box[n + k] - box[k];
  f->split = best_side(h->scores, box, n);
  f->high = f->split != SIZE_MAX && h->a[f->split] < 0;
  for (size_t k = 0; k < n; k++) {
    t->x[(TRIED * i) * n + k] = lip_search_clamp(s, k, h->a[k] > 0 ? box[k] : box[n + k]);
    t->x[(TRIED * i + 1) * n + k] = lip_search_clamp(s, k, 0.5 * box[k] + 0.5 * box[n + k]);
  }
}

static void look_at_all(void *arg, const lip_worker *me) {
  tree *t = arg;
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t i; (i = atomic_fetch_add(&t->next, 1)) < t->taken && !lip_cancel_raised(t->s->net->engine.cancel);)
    look(t, &t->hand[me->id], i);
  lip_ieee_leave(&saved);
}

/* ---- the tree ---- */

static bool push(tree *t, const double *box, node v) {
  const size_t n = 2 * t->s->n_in;
  if (t->n == t->room) {
    const size_t room = 2 * t->room;
    node *nodes = lip_realloc(t->node, room, sizeof *nodes);
    if (nodes) t->node = nodes;
    double *boxes = nodes ? lip_realloc(t->box, room * n, sizeof *boxes) : NULL;
    if (!boxes) return false;
    t->box = boxes;
    t->room = room;
  }
  t->node[t->n] = v;
  memcpy(t->box + t->n * n, box, n * sizeof *box);
  t->n++;
  return true;
}

/* Both halves of node i of the round, the likelier one last: it is looked at first. */
static bool split(tree *t, size_t i) {
  const size_t n = t->s->n_in;
  const fate *f = &t->fate[i];
  double *box = t->work + i * 2 * n, from = box[f->split], to = box[n + f->split], m = 0.5 * from + 0.5 * to;
  const node child = {t->round[i].depth + 1, f->least};
  for (int k = 0; k < 2; k++) {
    const bool high = f->high == (k == 1);
    box[f->split] = high ? m : from;
    box[n + f->split] = high ? to : m;
    if (!push(t, box, child)) return false;
  }
  return true;
}

static double least_open(const tree *t) {
  double least = INFINITY;
  for (size_t i = 0; i < t->n; i++)
    if (!(t->node[i].least >= least)) least = t->node[i].least;
  return least;
}

/* Nodes of the round that are not proved are open, too. */
static void give_up(tree *t, const char *why) {
  lip_decision *d = t->s->out;
  double least = least_open(t);
  for (size_t i = 0; i < t->taken; i++)
    if (!t->fate[i].proved && !(t->fate[i].least >= least)) least = t->fate[i].least;
  d->verdict = LIP_UNKNOWN;
  if (!(d->least <= least)) d->least = least;
  lip_snprintf(d->why, sizeof d->why, "%s", why);
}

/* Takes the last nodes off, the last first. */
static void take(tree *t) {
  const size_t n = 2 * t->s->n_in;
  t->taken = t->n < ROUND ? t->n : ROUND;
  for (size_t i = 0; i < t->taken; i++) {
    t->n--;
    t->round[i] = t->node[t->n];
    memcpy(t->work + i * n, t->box + t->n * n, n * sizeof *t->box);
  }
  atomic_store(&t->next, 0);
}

/* Puts the round back as it was. */
static void put_back(tree *t) {
  for (size_t i = t->taken; i-- > 0;) (void)push(t, t->work + i * 2 * t->s->n_in, t->round[i]); /* there was room */
}

/* What the round has come to goes into the tree; true: the search is over. */
static bool settle(tree *t) {
  lip_search *s = t->s;
  const size_t n = s->n_in;
  size_t B = 0;
  for (size_t i = 0; i < t->taken; i++) {
    if (t->fate[i].proved) continue;
    memmove(t->x + B * n, t->x + TRIED * i * n, TRIED * n * sizeof *t->x);
    B += TRIED;
  }
  if (B > 0 && lip_search_try(s, t->x, B)) return true;
  for (size_t i = t->taken; i-- > 0;) { /* the first of the round on top */
    const fate *f = &t->fate[i];
    s->progress.nodes++;
    if (t->round[i].depth > s->progress.deepest) s->progress.deepest = t->round[i].depth;
    if (f->proved) {
      s->progress.closed++;
      s->progress.done += ldexp(1, -(int)(t->round[i].depth < 1000 ? t->round[i].depth : 1000));
    } else if (f->split == SIZE_MAX) {
      give_up(t, "a box too small to be halved is not proved");
      return true;
    } else if (!split(t, i)) {
      give_up(t, "out of memory");
      return true;
    }
  }
  return false;
}

static void grow(tree *t) {
  lip_search *s = t->s;
  for (;;) {
    const char *over = t->n > 0 ? lip_search_over(s) : NULL;
    t->taken = 0;
    if (t->n == 0) s->out->verdict = LIP_VERIFIED;
    if (over) give_up(t, over);
    if (t->n == 0 || over) return;
    take(t);
    lip_pool_run(s->net->engine.pool, false, look_at_all, t);
    if (lip_cancel_raised(s->net->engine.cancel)) {
      put_back(t);
      continue;
    }
    if (settle(t)) return;
    s->progress.open = t->n;
    if (s->conf->watch && !lip_search_tell(s, least_open(t))) {
      t->taken = 0;
      give_up(t, "interrupted");
      return;
    }
  }
}

/* ---- memory ---- */

static bool hands_init(tree *t) {
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

static void tree_free(tree *t) {
  for (size_t i = 0; t->hand && i < t->s->threads; i++) {
    lip_score_free(t->hand[i].score);
    lip_free(t->hand[i].low);
    lip_free(t->hand[i].mix);
  }
  lip_free(t->hand);
  lip_free(t->node);
  lip_free(t->box);
  lip_free(t->work);
  lip_free(t->x);
}

lip_status lip_decide_input(lip_search *s, lip_err *err) {
  const size_t n = s->n_in;
  tree t = {.s = s, .room = 4 * ROUND};
  t.node = lip_alloc(t.room, sizeof *t.node);
  t.box = lip_alloc(t.room * 2 * n, sizeof *t.box);
  t.work = lip_alloc(ROUND * 2 * n, sizeof *t.work);
  t.x = lip_alloc(ROUND * TRIED * n, sizeof *t.x);
  lip_status status = lip_net_reserve(s->net, ROUND * TRIED, err);
  if (!status && (!t.node || !t.box || !t.work || !t.x || !hands_init(&t)))
    status = lip_fail(err, LIP_MEMORY, "decide: out of memory");
  if (!status) {
    double *box = t.work;
    memcpy(box, s->part.from, n * sizeof *box);
    memcpy(box + n, s->part.to, n * sizeof *box);
    push(&t, box, (node){0, -INFINITY});
    grow(&t);
  }
  tree_free(&t);
  return status;
}
