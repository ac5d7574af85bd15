/* Interval arithmetic through the layers of a chain, with what each of them offers, in this order:
 *   interval   its own word
 *   range      unit by unit: values in [least, most], executed to within off
 *   exchange   both ends of a pair are put in order: the larger of two values lies between the larger of the low and of
 *              the high ends, the smaller between the smaller ones. Nothing is rounded
 *   matrix     with middle m and half width h, W x + b in W m + b -+ |W| h. In double, terms W m + b and |W| h are sums of
 *              N + 1 each, right to gamma_{2N+8} (|W| (|m| + h) + |b|) with the middle's own rounding in h; float32 errs by what
 *              rounding.c derives, from |W||x| + |b| <= |W| (|m| + h) + |b|
 *   children   of a chain, one after the other
 * Denormal numbers that a program flushes to zero, input or output, are 2^-126 each: 2^-122 (1 + slope) is added after maps of
 * single values; of the others each has its own account. */
#include "core/cert/interval.h"

#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/mem.h"
#include "core/norm/round.h"

enum { MOST = 1 << 25 };

/* One layer of the chain, children of inner chains in their place. */
typedef struct step {
  const lip_layer *layer;
  float *W, *b; /* of a matrix; W owned, b behind it */
} step;

struct lip_boxes {
  const lip_net *net;
  step *step; /* (n) */
  size_t n, widest, numbers;
};

static size_t count(const lip_layer *l) {
  size_t n = 0;
  if (l->kind != &lip_layer_chain) return 1;
  for (size_t i = 0; i < l->n_child; i++) n += count(l->child[i]);
  return n;
}

/* False: nothing is known of the layer. */
static bool offers(const lip_layer *l) {
  const lip_layer_kind *k = l->kind;
  return k->flags & LIP_LAYER_ALIAS || k->interval || k->range || k->exchange || k->matrix;
}

static lip_status add_steps(lip_boxes *b, const lip_layer *l, const char **unknown, lip_err *err) {
  lip_status status = LIP_OK;
  if (l->kind == &lip_layer_chain) {
    for (size_t i = 0; !status && !*unknown && i < l->n_child; i++)
      status = add_steps(b, l->child[i], unknown, err);
    return status;
  }
  step *s = &b->step[b->n++];
  *s = (step){.layer = l};
  if (l->n_out > b->widest) b->widest = l->n_out;
  if (!offers(l)) *unknown = l->kind->desc.name;
  const lip_layer_kind *k = l->kind;
  if (*unknown || k->flags & LIP_LAYER_ALIAS || k->interval || k->range || k->exchange) return LIP_OK;
  size_t numbers;
  if (!lip_mul_fits(l->n_out, l->n_in + 1, &numbers) || numbers > MOST - b->numbers) {
    *unknown = "size";
    return LIP_OK;
  }
  b->numbers += numbers;
  s->W = lip_alloc(numbers, sizeof *s->W);
  if (!s->W) return lip_fail(err, LIP_MEMORY, "out of memory for the matrices of a net");
  s->b = s->W + l->n_out * l->n_in;
  k->matrix(l, s->W, s->b);
  return LIP_OK;
}

lip_status lip_boxes_new(const lip_net *net, lip_boxes **out, const char **unknown, lip_err *err) {
  *out = NULL;
  *unknown = NULL;
  lip_boxes *b = lip_alloc(1, sizeof *b);
  if (!b) return lip_fail(err, LIP_MEMORY, "out of memory for intervals of a net");
  *b = (lip_boxes){
      .net = net, .step = lip_alloc(count(net->root), sizeof *b->step), .widest = net->root->n_in};
  lip_status status = b->step ? add_steps(b, net->root, unknown, err)
                              : lip_fail(err, LIP_MEMORY, "out of memory for intervals of a net");
  if (status || *unknown)
    lip_boxes_free(b);
  else
    *out = b;
  return status;
}

void lip_boxes_free(lip_boxes *b) {
  if (!b) return;
  for (size_t i = 0; i < b->n; i++) lip_free(b->step[i].W);
  lip_free(b->step);
  lip_free(b);
}

/* Two boxes, and the partners of an exchange. */
size_t lip_boxes_room(const lip_boxes *b) {
  return 5 * b->widest;
}

/* ---- one layer ---- */

static void by_range(const lip_layer *l, const double *low, const double *high, double *out_low,
                     double *out_high) {
  for (size_t k = 0; k < l->n_out; k++) {
    lip_range r;
    l->kind->range(l, k, low[k], high[k], &r);
    const double off = r.off + 0x1p-122 * (1 + fmax(fabs(r.low), fabs(r.high)));
    out_low[k] = lip_step_down(r.least - lip_step_up(off));
    out_high[k] = -lip_step_down(-r.most - lip_step_up(off));
  }
}

/* False when the layer does not say its rounds. */
static bool by_exchange(const lip_layer *l, const double *low, const double *high, double *out_low,
                        double *out_high, uint32_t *mate) {
  const size_t n = l->n_out;
  const bool descending = l->kind->flags & LIP_LAYER_DESCENDING;
  size_t round = 0;
  memcpy(out_low, low, n * sizeof *low);
  memcpy(out_high, high, n * sizeof *high);
  for (; l->kind->exchange(l, round, mate); round++)
    for (size_t k = 0; k < n; k++) {
      const size_t m = mate[k], first = descending ? k : m, second = descending ? m : k; /* larger, smaller */
      if (m <= k) continue;
      const double a[2] = {out_low[k], out_low[m]}, z[2] = {out_high[k], out_high[m]};
      out_low[first] = fmax(a[0], a[1]);
      out_high[first] = fmax(z[0], z[1]);
      out_low[second] = fmin(a[0], a[1]);
      out_high[second] = fmin(z[0], z[1]);
    }
  return round > 0;
}

static void by_matrix(const step *s, const double *low, const double *high, double *out_low,
                      double *out_high) {
  const lip_layer *l = s->layer;
  const size_t N = l->n_in;
  const double gamma = lip_gamma(2 * N + 8);
  double bulk = 0;
  for (size_t k = 0; k < N; k++) bulk += fmax(fabs(low[k]), fabs(high[k]));
  bulk *= 1 + gamma;
  for (size_t o = 0; o < l->n_out; o++) {
    const float *w = s->W + o * N;
    double at = (double)s->b[o], half = 0, size = fabs(at), entry = 0;
    for (size_t k = 0; k < N; k++) {
      const double v = (double)w[k], m = 0.5 * low[k] + 0.5 * high[k], h = 0.5 * high[k] - 0.5 * low[k];
      at += v * m;
      half += fabs(v) * h;
      size += fabs(v) * (fabs(m) + h);
      entry = fmax(entry, fabs(v));
    }
    size *= 1 + 2 * gamma;
    const double off = lip_dot_error(N, bulk, size, size, entry) + 2 * gamma * size + 0x1p-900;
    const double width = (half + off) * (1 + 2 * gamma);
    out_low[o] = lip_step_down(at - width);
    out_high[o] = -lip_step_down(-at - width);
  }
}

static bool is_finite_box(const double *low, const double *high, size_t n) {
  bool ok = true;
  for (size_t k = 0; k < n; k++) ok = ok && low[k] <= high[k] && low[k] > -INFINITY && high[k] < INFINITY;
  return ok;
}

/* ---- all layers ---- */

/* The inputs of the region, every one by itself: all norms are above the largest coordinate. */
static bool start(const lip_boxes *b, const lip_region *r, double *low, double *high) {
  const size_t n = b->net->root->n_in;
  bool boxed = r->boxed;
  if (!(r->eps >= 0) || !(r->eps < INFINITY)) return false;
  for (size_t k = 0; boxed && k < n; k++)
    boxed = (double)r->x[k] >= r->from[k] && (double)r->x[k] <= r->to[k];
  for (size_t k = 0; k < n; k++) {
    const double x = (double)r->x[k], s = r->scale ? r->scale[k] : 1, d = lip_up_mul(r->eps, s);
    if (!isfinite(x) || !(s >= 0) || !(s < INFINITY)) return false;
    low[k] = s == 0 ? x : lip_step_down(x - d);
    high[k] = s == 0 ? x : -lip_step_down(-x - d);
    if (boxed && low[k] < r->from[k]) low[k] = r->from[k];
    if (boxed && high[k] > r->to[k]) high[k] = r->to[k];
  }
  return is_finite_box(low, high, n);
}

bool lip_boxes_run(const lip_boxes *b, const lip_region *region, double *room, const double **low,
                   const double **high) {
  const size_t w = b->widest;
  double *at[2] = {room, room + w}, *next[2] = {room + 2 * w, room + 3 * w};
  if (!start(b, region, at[0], at[1])) return false;
  for (size_t i = 0; i < b->n; i++) {
    const lip_layer *l = b->step[i].layer;
    if (l->kind->flags & LIP_LAYER_ALIAS) continue;
    bool known = !lip_cancel_raised(region->cancel);
    if (l->kind->interval)
      l->kind->interval(l, at[0], at[1], next[0], next[1]);
    else if (l->kind->range)
      by_range(l, at[0], at[1], next[0], next[1]);
    else if (l->kind->exchange)
      known = known && by_exchange(l, at[0], at[1], next[0], next[1], (uint32_t *)(void *)(room + 4 * w));
    else
      by_matrix(&b->step[i], at[0], at[1], next[0], next[1]);
    if (!known || !is_finite_box(next[0], next[1], l->n_out)) return false;
    double *t[2] = {at[0], at[1]};
    memcpy(at, next, sizeof t);
    memcpy(next, t, sizeof t);
  }
  *low = at[0];
  *high = at[1];
  return true;
}
