#include "core/cert/decide_tree.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/base/thread.h"
#include "core/norm/round.h"

enum { ROUND = LIP_TREE_ROUND, TRIED = LIP_TREE_TRIED };

typedef struct node {
  size_t depth;
  double least; /* of its parent */
} node;

typedef struct tree {
  lip_search *s;
  const lip_tree_kind *kind;
  size_t n, room;
  node *node;      /* (room) open ones, the last is the next */
  double *numbers; /* (room, kind->numbers) */
  size_t taken;
  node round[ROUND];
  lip_fate fate[ROUND];
  double *work; /* (ROUND + 1, kind->numbers) nodes of this round, and a child */
  float *x;     /* (ROUND * TRIED, n_in) */
  atomic_size_t next;
} tree;

/* ---- open nodes ---- */

static bool push(tree *t, const double *numbers, node v) {
  const size_t n = t->kind->numbers;
  if (t->n == t->room) {
    const size_t room = 2 * t->room;
    node *nodes = lip_realloc(t->node, room, sizeof *nodes);
    if (nodes) t->node = nodes;
    double *more = nodes ? lip_realloc(t->numbers, room * n, sizeof *more) : NULL;
    if (!more) return false;
    t->numbers = more;
    t->room = room;
  }
  t->node[t->n] = v;
  memcpy(t->numbers + t->n * n, numbers, n * sizeof *numbers);
  t->n++;
  return true;
}

/* Takes the last nodes off, the last first. */
static void take(tree *t) {
  const size_t n = t->kind->numbers;
  t->taken = t->n < ROUND ? t->n : ROUND;
  for (size_t i = 0; i < t->taken; i++) {
    t->n--;
    t->round[i] = t->node[t->n];
    memcpy(t->work + i * n, t->numbers + t->n * n, n * sizeof *t->work);
  }
  atomic_store(&t->next, 0);
}

/* Puts the round back. */
static void put_back(tree *t) {
  for (size_t i = t->taken; i-- > 0;)
    (void)push(t, t->work + i * t->kind->numbers, t->round[i]); /* there was room */
  t->taken = 0;
}

/* Both halves of node i of the round, the likelier one last: it is looked at first. */
static bool split(tree *t, size_t i) {
  const size_t n = t->kind->numbers;
  const lip_fate *f = &t->fate[i];
  double *child = t->work + ROUND * n;
  for (int k = 0; k < 2; k++) {
    t->kind->half(t->kind->arg, t->work + i * n, f, f->high == (k == 1), child);
    if (!push(t, child, (node){t->round[i].depth + 1, f->least})) return false;
  }
  return true;
}

/* ---- the search ---- */

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

static void look_at_all(void *arg, const lip_worker *me) {
  tree *t = arg;
  const size_t n = t->kind->numbers, points = TRIED * t->s->n_in;
  lip_cancel *cancel = t->s->net->engine.cancel;
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t i; (i = atomic_fetch_add(&t->next, 1)) < t->taken && !lip_cancel_raised(cancel);) {
    t->fate[i] = (lip_fate){.split = SIZE_MAX, .least = -INFINITY};
    t->kind->look(t->kind->arg, me->id, t->work + i * n, t->x + i * points, &t->fate[i]);
  }
  lip_ieee_leave(&saved);
}

static void count(lip_search *s, const node *v, const lip_fate *f) {
  s->progress.nodes++;
  if (v->depth > s->progress.deepest) s->progress.deepest = v->depth;
  if (!f->proved) return;
  s->progress.closed++;
  s->progress.done += ldexp(1, -(int)(v->depth < 1000 ? v->depth : 1000));
}

/* What the round has come to goes into the tree; true: the search is over. */
static bool settle(tree *t) {
  lip_search *s = t->s;
  const size_t points = TRIED * s->n_in;
  size_t B = 0;
  for (size_t i = 0; i < t->taken; i++) {
    if (t->fate[i].proved) continue;
    memmove(t->x + B * s->n_in, t->x + i * points, points * sizeof *t->x);
    B += TRIED;
  }
  if (B > 0 && lip_search_try(s, t->x, B)) return true;
  for (size_t i = t->taken; i-- > 0;) { /* the first of the round on top */
    const lip_fate *f = &t->fate[i];
    count(s, &t->round[i], f);
    if (f->proved) continue;
    const char *why = f->split == SIZE_MAX ? t->kind->stuck : split(t, i) ? NULL : "out of memory";
    if (why) {
      give_up(t, why);
      return true;
    }
  }
  t->taken = 0;
  return false;
}

static void grow(tree *t) {
  lip_search *s = t->s;
  for (;;) {
    const char *over = t->n > 0 ? lip_search_over(s) : NULL;
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
      give_up(t, "interrupted");
      return;
    }
  }
}

lip_status lip_tree_grow(lip_search *s, const lip_tree_kind *kind, const double *root, lip_err *err) {
  const size_t n = kind->numbers;
  tree t = {.s = s, .kind = kind, .room = 4 * ROUND};
  t.node = lip_alloc(t.room, sizeof *t.node);
  t.numbers = lip_alloc(t.room * n, sizeof *t.numbers);
  t.work = lip_alloc((ROUND + 1) * n, sizeof *t.work);
  t.x = lip_alloc(ROUND * TRIED * s->n_in, sizeof *t.x);
  lip_status status = lip_net_reserve(s->net, ROUND * TRIED, err);
  if (!status && (!t.node || !t.numbers || !t.work || !t.x))
    status = lip_fail(err, LIP_MEMORY, "decide: out of memory");
  if (!status) {
    push(&t, root, (node){0, -INFINITY});
    grow(&t);
  }
  lip_free(t.node);
  lip_free(t.numbers);
  lip_free(t.work);
  lip_free(t.x);
  return status;
}
