/* How rounding travels through a chain. For layer l with Lipschitz constant K_l (step p -> q of the norm path),
 * executed input h~ = h + d, |d| <= off, and local error e_l(h~) of the layer's own arithmetic,
 *   || executed - exact ||_q <= K_l off + e_l,
 * so norms multiply by the same constants as in the bound: no absolute values of products of matrices (Murray's
 * normwise form of Higham 2002, section 3.1). Sizes come from the executed activations at the centre where they are
 * at hand: over a ball of radius R, ||h_l|| <= ||h~_l(centre)|| + off_l(centre) + K_1 ... K_{l-1} R. */
#include "core/cert/walk.h"

#include <stdint.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/norm/round.h"

static bool is_dense(const lip_layer *l) {
  return strcmp(l->kind->desc.name, "dense") == 0;
}

/* A container states what it was planned for only. */
static bool states(const lip_layer *l, lip_pq pq) {
  return l->n_child == 0 || (pq.p == l->pq.p && pq.q == l->pq.q);
}

static lip_status stage_init(lip_stage *s, const lip_layer *l, lip_pq pq, lip_err *err) {
  s->layer = l;
  s->pq = pq;
  s->upper = INFINITY;
  lip_status status = LIP_OK;
  if (lip_pq_tractable(pq) && states(l, pq)) status = lip_layer_bound(l, pq, &s->upper, err);
  if (status == LIP_UNSUPPORTED) s->upper = INFINITY;
  if (status && status != LIP_UNSUPPORTED) return status;
  if (!(s->upper < INFINITY)) s->upper = INFINITY; /* NaN too */
  s->dense = is_dense(l);
  return s->dense ? lip_dense_error_init(&s->error, l, pq, s->upper, err) : LIP_OK;
}

static lip_status fill_stages(lip_walk *w, const lip_net *net, const lip_path *path, lip_err *err) {
  const lip_layer *chain = net->root;
  size_t weighted = 0;
  *w = (lip_walk){.net = net, .upper = 1};
  w->p = lip_path_at(path, 0);
  w->stage = lip_alloc(chain->n_child + 1, sizeof *w->stage);
  if (!w->stage) return lip_fail(err, LIP_MEMORY, "out of memory for a certificate");
  for (size_t i = 0; i < chain->n_child; i++) {
    const lip_layer *l = chain->child[i];
    if (l->kind->flags & LIP_LAYER_ALIAS) continue;
    lip_p p = lip_path_at(path, weighted);
    lip_pq pq = l->kind->flags & LIP_LAYER_WEIGHTED ? lip_path_step(path, weighted++) : (lip_pq){p, p};
    lip_stage *s = &w->stage[w->n++];
    lip_status status = stage_init(s, l, pq, err);
    if (status) {
      lip_walk_free(w);
      return status;
    }
    s->before = w->upper;
    w->upper = lip_up_mul(w->upper, s->upper);
    if (!(s->upper < INFINITY) && !w->unknown) w->unknown = l->kind->desc.name;
    if (!s->dense && ((l->kind->flags & LIP_LAYER_WEIGHTED) || l->n_child > 0)) w->costly = true;
  }
  w->q = lip_path_at(path, weighted);
  return LIP_OK;
}

lip_status lip_walk_init(lip_walk *w, const lip_net *net, const lip_path *path, lip_err *err) {
  fenv_t saved;
  lip_ieee_enter(&saved);
  lip_status status = fill_stages(w, net, path ? path : &net->conf.path, err);
  lip_ieee_leave(&saved);
  return status;
}

void lip_walk_free(lip_walk *w) {
  for (size_t i = 0; i < w->n; i++) lip_dense_error_free(&w->stage[i].error);
  lip_free(w->stage);
  *w = (lip_walk){0};
}

/* The activations of all rows are kept for a backward pass, each in its own place. Should a net ever share places
 * between layers, what stands there now may not be what the layer has read: then it is not used. */
static bool input_is_intact(const lip_walk *w, size_t i) {
  const lip_layer *l = w->stage[i].layer;
  if (!l->x) return false;
  uintptr_t a0 = (uintptr_t)l->x, a1 = a0 + l->capacity * l->n_in * sizeof *l->x;
  for (size_t k = i; k < w->n; k++) {
    const lip_layer *o = w->stage[k].layer;
    uintptr_t b0 = (uintptr_t)o->y, b1 = b0 + o->capacity * o->n_out * sizeof *o->y;
    if (a0 < b1 && b0 < a1) return false;
  }
  return true;
}

void lip_stage_deviate(const lip_stage *s, lip_deviation *d) {
  if (states(s->layer, s->pq))
    lip_layer_deviate(s->layer, s->pq, d);
  else
    *d = (lip_deviation){INFINITY, INFINITY};
}

/* One stage: d goes in as the size of the exact input and the error of the executed one. `executed` bounds the
 * norm of the executed input, `terms` is || |W||h| || of it where that is known better (or INFINITY). */
static void advance(const lip_stage *s, double executed, double terms, size_t n, lip_deviation *d) {
  if (!s->dense) {
    lip_stage_deviate(s, d);
    return;
  }
  const lip_dense_error *e = &s->error;
  double usual = lip_up_mul(e->abs_norm, executed);
  double local = lip_dense_error_local(e, executed, terms < usual ? terms : usual, n);
  d->off = lip_up_add(lip_up_mul(s->upper, d->off), local);
  d->size = lip_up_add(lip_up_mul(s->upper, d->size), e->bias);
}

static double at_most(double a, double b) {
  return b < a ? b : a;
}

void lip_walk_centre(const lip_walk *w, const float *x, size_t r, lip_centre *at) {
  const lip_layer *chain = w->net->root;
  at->x = x + r * chain->n_in;
  at->first = INFINITY;
  at->nonzero = chain->n_in;
  if (w->n && w->stage[0].dense) at->first = lip_dense_error_columns(&w->stage[0].error, at->x, &at->nonzero);
  lip_deviation d = {lip_norm_upper(at->x, chain->n_in, w->p), 0};
  for (size_t i = 0; i < w->n; i++) {
    const lip_stage *s = &w->stage[i];
    double executed = lip_up_add(d.size, d.off);
    if (i > 0 && s->dense && input_is_intact(w, i))
      executed = at_most(executed, lip_norm_upper(s->layer->x + r * s->layer->n_in, s->layer->n_in, s->pq.p));
    at->size[i] = executed;
    at->off[i] = d.off;
    d.size = at_most(d.size, lip_up_add(executed, d.off));
    advance(s, executed, i == 0 ? at->first : (double)INFINITY, i == 0 ? at->nonzero : s->layer->n_in, &d);
  }
  at->size[w->n] = lip_up_add(d.size, d.off);
  at->off[w->n] = d.off;
}

lip_deviation lip_walk_ball(const lip_walk *w, const lip_centre *at, double radius, size_t last) {
  lip_deviation d = {lip_up_add(at->size[0], radius), 0};
  for (size_t i = 0; i <= last; i++) {
    const lip_stage *s = &w->stage[i];
    if (i > 0) { /* the exact activation at the centre, and how far the ball reaches */
      double reach = lip_up_mul(i < w->n ? s->before : w->upper, radius);
      d.size = at_most(d.size, lip_up_add(lip_up_add(at->size[i], at->off[i]), reach));
    }
    if (i == last) break;
    double executed = lip_up_add(d.size, d.off), terms = INFINITY;
    if (i == 0 && s->dense)
      terms = lip_up_add(at_most(at->first, lip_up_mul(s->error.abs_norm, at->size[0])),
                         lip_up_mul(s->error.abs_norm, radius));
    advance(s, executed, terms, s->layer->n_in, &d);
  }
  return d;
}
