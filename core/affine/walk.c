/* How rounding travels through a chain. For layer l with Lipschitz constant K_l (step p -> q of the norm path),
 * executed input h~ = h + d, |d| <= off, and local error e_l(h~) of the layer's own arithmetic,
 *   || executed - exact ||_q <= K_l off + e_l,
 * so norms multiply by the same constants as in the bound: no absolute values of products of matrices (Murray's
 * normwise form of Higham 2002, section 3.1). Sizes come from the executed activations at the centre where they are
 * at hand: over a ball of radius R, ||h_l|| <= ||h~_l(centre)|| + off_l(centre) + K_1 ... K_{l-1} R, and the sums that e_l
 * is made of grow by at most || |W_l| || and K_l times ||h~_l(x') - h~_l(centre)||. */
#include "core/affine/walk.h"

#include <stdint.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/net/wide.h"
#include "core/norm/round.h"

static bool is_dense(const lip_layer *l) {
  return strcmp(l->kind->desc.name, "dense") == 0;
}

static lip_status stage_init(lip_stage *s, const lip_layer *l, lip_pq pq, lip_err *err) {
  s->layer = l;
  s->pq = pq;
  s->upper = INFINITY;
  lip_status status = LIP_OK;
  if (lip_pq_tractable(pq)) status = lip_layer_bound(l, pq, &s->upper, err);
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
    lip_pq pq = lip_layer_weighted(l) ? lip_path_step(path, weighted++) : (lip_pq){p, p};
    lip_stage *s = &w->stage[w->n++];
    lip_status status = stage_init(s, l, pq, err);
    if (status) {
      lip_walk_free(w);
      return status;
    }
    s->before = w->upper;
    w->upper = lip_up_mul(w->upper, s->upper);
    if (!(s->upper < INFINITY) && !w->unknown) w->unknown = l->kind->desc.name;
    if (!s->dense && (lip_layer_weighted(l) || l->n_child > 0 || l->on_caller)) w->costly = true;
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
 * between layers, what stands there now may not be what was put there: then it is not used. Numbers of what stage
 * first - 1 has left (first = 0: the net's input) that a stage from `first` on may have overwritten. */
static bool intact(const lip_walk *w, const float *a, size_t n, size_t first) {
  if (!a) return false;
  uintptr_t a0 = (uintptr_t)a, a1 = a0 + n * sizeof *a;
  for (size_t k = first; k < w->n; k++) {
    const lip_layer *o = w->stage[k].layer;
    uintptr_t b0 = (uintptr_t)o->y, b1 = b0 + o->capacity * o->y_row * sizeof *o->y;
    if (a0 < b1 && b0 < a1) return false;
  }
  return true;
}

static const float *input_row(const lip_walk *w, size_t i, size_t r) {
  const lip_layer *l = w->stage[i].layer;
  return intact(w, l->x, l->capacity * l->n_in, i) ? l->x + r * l->n_in : NULL;
}

static const float *output_row(const lip_walk *w, size_t i, size_t r) {
  const lip_layer *l = w->stage[i].layer;
  return intact(w, l->y, l->capacity * l->n_out, i + 1) ? l->y + r * l->n_out : NULL;
}

void lip_stage_deviate(const lip_stage *s, lip_deviation *d) {
  lip_layer_deviate(s->layer, s->pq, d);
}

static double at_most(double a, double b) {
  return b < a ? b : a;
}

/* One stage that is not dense: d goes in as the size of the exact input and the error of the executed one. */
static void advance_other(const lip_stage *s, double grain, lip_deviation *d) {
  if (grain == LIP_GRAIN_FLOAT) {
    lip_stage_deviate(s, d);
    return;
  }
  lip_deviation local = {lip_up_add(d->size, d->off), 0}, sized = {d->size, 0};
  lip_stage_deviate(s, &local);
  lip_stage_deviate(s, &sized);
  d->off = lip_up_add(lip_up_mul(s->upper, d->off), lip_up_mul(grain, local.off));
  d->size = sized.size;
}

/* What a dense stage adds, from n products that are not zero: their norm, and those of the absolute terms and of the exact result. */
typedef struct sums {
  size_t n;
  double size, terms, result;
} sums;

static double local_error(const lip_stage *s, const sums *a, double grain) {
  return lip_up_mul(grain, lip_dense_error_local(&s->error, a->n, a->size, a->terms, a->result));
}

static void advance_dense(const lip_stage *s, const sums *a, double grain, lip_deviation *d) {
  d->off = lip_up_add(lip_up_mul(s->upper, d->off), local_error(s, a, grain));
  d->size = lip_up_add(lip_up_mul(s->upper, d->size), s->error.bias);
}

/* The norms of terms and result that a norm of the input allows. */
static sums sums_of(const lip_stage *s, double size) {
  const lip_dense_error *e = &s->error;
  return (sums){e->most, size, lip_up_add(lip_up_mul(e->abs_norm, size), e->bias),
                lip_up_add(lip_up_mul(e->norm, size), e->bias)};
}

lip_deviation lip_walk_reach(const lip_walk *w, double size, size_t nonzero, size_t last) {
  lip_deviation d = {size, 0};
  for (size_t i = 0; i < last; i++) {
    const lip_stage *s = &w->stage[i];
    if (!s->dense) {
      lip_stage_deviate(s, &d);
      continue;
    }
    sums a = sums_of(s, lip_up_add(d.size, d.off));
    if (i == 0 && nonzero < a.n) a.n = nonzero;
    advance_dense(s, &a, LIP_GRAIN_FLOAT, &d);
  }
  if (!(d.off >= 0) || !(d.size >= 0)) d = (lip_deviation){INFINITY, INFINITY};
  return d;
}

/* The exact result is no farther from the executed one than the error bound says; one that is not finite breaks all
 * bounds. */
static void see_result(const lip_stage *s, sums *a, double executed, double grain) {
  if (!(executed < INFINITY)) a->terms = INFINITY;
  a->result = at_most(a->result, lip_up_add(executed, local_error(s, a, grain)));
}

static void record(lip_centre *at, size_t i, const sums *a) {
  if (at->terms) at->terms[i] = a->terms;
  if (at->result) at->result[i] = a->result;
}

/* What is read off the executed numbers before one stage, if they are still there, for a stage that asks: their norm
 * (at most `known`, but infinite when they are not finite), and the sums of a dense stage. */
static lip_scan scan_input(const lip_walk *w, size_t i, const float *x, size_t r, double known) {
  const lip_stage *s = &w->stage[i];
  const float *in = i == 0 ? x : s->dense ? input_row(w, i, r) : NULL;
  if (!in) return (lip_scan){known, INFINITY, s->layer->n_in};
  lip_scan seen = lip_row_scan(in, s->dense ? s->error.column : NULL, s->layer->n_in, s->pq.p);
  if (seen.norm < INFINITY) seen.norm = at_most(known, seen.norm);
  return seen;
}

void lip_walk_centre(const lip_walk *w, const float *x, size_t r, lip_centre *at) {
  const lip_layer *chain = w->net->root;
  lip_deviation d = {INFINITY, 0};
  at->x = x + r * chain->n_in;
  at->nonzero = chain->n_in;
  for (size_t i = 0; i < w->n; i++) {
    const lip_stage *s = &w->stage[i];
    lip_scan in = scan_input(w, i, at->x, r, lip_up_add(d.size, d.off));
    at->size[i] = in.norm;
    at->off[i] = d.off;
    if (in.norm < INFINITY)
      d.size = at_most(d.size, lip_up_add(in.norm, d.off));
    else
      d.size = INFINITY;
    if (!s->dense) {
      advance_other(s, LIP_GRAIN_FLOAT, &d);
      continue;
    }
    sums a = sums_of(s, in.norm);
    const float *out = output_row(w, i, r);
    if (in.nonzero < a.n) a.n = in.nonzero;
    a.terms = at_most(a.terms, lip_dense_error_terms(&s->error, &in));
    if (i == 0) at->nonzero = a.n;
    if (out) see_result(s, &a, lip_row_scan(out, NULL, s->layer->n_out, s->pq.q).norm, LIP_GRAIN_FLOAT);
    record(at, i, &a);
    advance_dense(s, &a, LIP_GRAIN_FLOAT, &d);
  }
  if (w->n == 0) d.size = lip_norm_upper(at->x, chain->n_in, w->p);
  at->size[w->n] = lip_up_add(d.size, d.off);
  at->off[w->n] = d.off;
}

/* ---- in double ---- */

typedef struct wide {
  const lip_walk *w;
  lip_centre *at;
  lip_deviation d;
  size_t i;
  double *rows; /* (widest) */
} wide;

/* One stage of the pass, as it has run. */
static void see_wide(void *arg, const lip_layer *l, const double *x, const double *y) {
  wide *v = arg;
  const lip_stage *s = &v->w->stage[v->i];
  double executed = lip_norm_upper_d(x, l->n_in, s->pq.p);
  v->at->size[v->i] = executed;
  v->at->off[v->i] = v->d.off;
  v->d.size = lip_up_add(executed, v->d.off);
  if (s->dense) {
    sums a = sums_of(s, executed);
    a.terms = at_most(a.terms, lip_dense_error_rows(&s->error, x, v->rows));
    see_result(s, &a, lip_norm_upper_d(y, l->n_out, s->pq.q), LIP_GRAIN_DOUBLE);
    record(v->at, v->i, &a);
    advance_dense(s, &a, LIP_GRAIN_DOUBLE, &v->d);
  } else {
    advance_other(s, LIP_GRAIN_DOUBLE, &v->d);
  }
  v->i++;
}

size_t lip_walk_room(const lip_walk *w) {
  return lip_wide_room(w->net) / 2 * 3;
}

const double *lip_walk_wide(const lip_walk *w, const float *x, double *room, lip_centre *at,
                            const double **rows) {
  size_t each = lip_wide_room(w->net) / 2;
  wide v = {w, at, {0, 0}, 0, room + 2 * each};
  at->x = x;
  at->nonzero = w->net->root->n_in;
  if (w->n == 0) at->size[0] = lip_norm_upper(x, w->net->root->n_in, w->p);
  const double *z = lip_wide_row(w->net, x, room, see_wide, &v);
  at->size[w->n] = lip_up_add(v.d.size, v.d.off);
  at->off[w->n] = v.d.off;
  *rows = v.rows;
  return z;
}

/* ---- around a centre ---- */

lip_ball lip_walk_ball(const lip_walk *w, const lip_centre *at, double radius, double grain, size_t last) {
  lip_deviation d = {lip_up_add(at->size[0], radius), 0};
  if (grain == LIP_GRAIN_EXACT) return (lip_ball){0, 0, 0};
  for (size_t i = 0;; i++) {
    double gap = radius;
    if (i > 0) { /* the exact activation at the centre, and how far the ball reaches */
      gap = lip_up_add(at->off[i], lip_up_mul(i < w->n ? w->stage[i].before : w->upper, radius));
      d.size = at_most(d.size, lip_up_add(at->size[i], gap));
      gap = lip_up_add(gap, d.off);
    }
    double executed = lip_up_add(d.size, d.off);
    if (i == last) return (lip_ball){d.off, executed, gap};
    const lip_stage *s = &w->stage[i];
    if (!s->dense) {
      advance_other(s, grain, &d);
      continue;
    }
    sums a = sums_of(s, executed);
    a.terms = at_most(a.terms, lip_up_add(at->terms[i], lip_up_mul(s->error.abs_norm, gap)));
    a.result = at_most(a.result, lip_up_add(at->result[i], lip_up_mul(s->error.norm, gap)));
    advance_dense(s, &a, grain, &d);
  }
}
