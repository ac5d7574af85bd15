/* anchor: y = f(x) - f(a) + v, f the layers inside in sequence, so that y(a) = v whatever they learn. a (`at`) and v
 * (`value`) are fixed float32 numbers.
 *
 *   dx = f'(x)^T dy; a weight w of f gets dL/dw through f(x) and, from -f(a), that of the point a with -sum of dy
 *   constant  that of f: the rest is a translation
 *   budget K  that of f
 *   float32   f is executed at a as it is at x, in the same pass and with the same weights, then two roundings: y(a) = v
 *             exactly, and |error| <= error of f at x + error of f at a + u (2 + u) (|f(x)| + |f(a)|) + u |v|, plus
 *             underflow, |.| as executed
 *
 * In the buffers of f every group of LIP_PART rows has a in front: row r of the batch is row r + r / G + 1 there. So
 * calls for different groups share nothing, gradients are summed in a fixed order, and it costs a 16th. The block kept
 * for a batch: x, f, df, dx of all these rows, then what f keeps. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/branches.h"
#include "core/layer/emit.h"
#include "core/layer/form.h"
#include "core/layer/same_shape.h"

typedef struct conf {
  lip_reals at, value;
} conf;

static const lip_opt options[] = {
    {.name = "at",
     .type = LIP_OPT_REALS,
     .offset = offsetof(conf, at),
     .low = -1e30,
     .high = 1e30,
     .help = "the point: one number for all inputs, or one each, in order; 0 unless given"},
    {.name = "value",
     .type = LIP_OPT_REALS,
     .offset = offsetof(conf, value),
     .low = -1e30,
     .high = 1e30,
     .help = "the output there: one number for all outputs, or one each; 0 unless given"},
    {.name = NULL},
};

enum { GROUP = LIP_PART };

static const lip_layer *inside(const lip_layer *l) {
  return l->child[0];
}

/* a (n_in), then v (n_out) */
static const float *point(const lip_layer *l) {
  return l->state;
}

static const float *value(const lip_layer *l) {
  return point(l) + l->n_in;
}

/* ---- planning ---- */

static lip_status check_list(const char *name, const lip_reals *list, const lip_shape *shape,
                             const char *what, lip_err *err) {
  char text[64];
  const size_t n = lip_shape_size(shape);
  if (list->n <= 1 || list->n == n) return LIP_OK;
  return lip_fail(err, LIP_SHAPE, "anchor: option '%s' has %zu numbers, but the %s %s has %zu", name, list->n,
                  what, lip_shape_describe(shape, text, sizeof text), n);
}

static void take_list(float *to, const lip_reals *list, size_t n) {
  for (size_t i = 0; i < n && list->n > 0; i++) to[i] = (float)list->v[list->n == 1 ? 0 : i];
}

static lip_status plan_inside(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  if (spec->n_child == 0)
    return lip_fail(err, LIP_OPTION,
                    "anchor: has no layers inside: give at least one, as in anchor{dense{...}}");
  if (p->anchored)
    return lip_fail(err, LIP_UNSUPPORTED,
                    "anchor: cannot stand inside another anchor: put it beside that one");
  l->child = lip_alloc(1, sizeof *l->child);
  if (!l->child) return lip_fail(err, LIP_MEMORY, "anchor: out of memory");
  p->anchored = true;
  lip_status status = lip_branch_add(l, spec->child, spec->n_child, p, err);
  p->anchored = false;
  if (status || !l->whole_batch) return status;
  return lip_fail(
      err, LIP_UNSUPPORTED,
      "anchor: a layer inside sees the whole batch in training, as batch_norm does: its statistics "
      "would be those of the point too");
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  const conf *o = spec->conf;
  lip_status status = check_list("at", &o->at, &l->in, "input", err);
  if (!status) status = plan_inside(l, spec, p, err);
  if (!status) status = check_list("value", &o->value, &inside(l)->out, "output", err);
  if (status) return status;
  const lip_layer *f = inside(l);
  float *numbers = lip_alloc(l->n_in + f->n_out, sizeof *numbers);
  if (!numbers) return lip_fail(err, LIP_MEMORY, "anchor: no memory for %zu numbers", l->n_in + f->n_out);
  l->state = numbers; /* released by layer.c from here on */
  take_list(numbers, &o->at, l->n_in);
  take_list(numbers + l->n_in, &o->value, f->n_out);
  l->out = f->out;
  l->cache = 2 * (2 * l->n_in + 2 * f->n_out + f->cache); /* 32 rows for 16, the least capacity there is */
  return LIP_OK;
}

static void release(lip_layer *l) {
  lip_free(l->state);
}

/* ---- rows ---- */

/* Rows that f has room for: a multiple of 16 again. */
static size_t room(const lip_layer *l) {
  return (l->capacity + l->capacity / GROUP + 15) / 16 * 16;
}

/* Row r of the batch, and the point in front of its group, in the buffers of f. */
static size_t place(size_t r) {
  return r + r / GROUP + 1;
}

static size_t point_place(size_t r) {
  return r / GROUP * (GROUP + 1);
}

static float *writable(const float *p) {
  return (float *)(uintptr_t)p; /* a buffer of f that bind has laid out */
}

static void bind(lip_layer *l) {
  if (!l->kept) return;
  lip_layer *f = l->child[0];
  const size_t rows = room(l);
  float *x = l->kept, *y = x + rows * l->n_in, *dy = y + rows * l->n_out, *dx = dy + rows * l->n_out;
  lip_layer_bind(f, x, y, dy, l->dx ? dx : NULL, dx + rows * l->n_in, rows);
}

/* Rows r0..r1-1 with the points in front of their groups: of a group that has begun before r0 the point by itself. */
static void run(const lip_layer *l, const lip_pass *pass, void (*task)(const lip_layer *, const lip_pass *)) {
  if (pass->r0 >= pass->r1) return;
  lip_pass p = *pass;
  p.r0 = point_place(pass->r0);
  if (pass->r0 % GROUP != 0) {
    p.r1 = p.r0 + 1;
    task(inside(l), &p);
    p.r0 = place(pass->r0);
  }
  p.r1 = place(pass->r1 - 1) + 1;
  task(inside(l), &p);
}

LIP_HOT static void shifted(float *restrict y, const float *restrict f, const float *restrict f0,
                            const float *restrict v, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = f[i] - f0[i] + v[i];
}

LIP_HOT static void subtract(float *restrict to, const float *restrict from, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] -= from[i];
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const lip_layer *f = inside(l);
  const size_t in = l->n_in, out = l->n_out;
  for (size_t r = pass->r0; r < pass->r1; r++) {
    memcpy(writable(f->x) + place(r) * in, l->x + r * in, in * sizeof(float));
    if (r == pass->r0 || r % GROUP == 0)
      memcpy(writable(f->x) + point_place(r) * in, point(l), in * sizeof(float));
  }
  run(l, pass, f->kind->forward);
  for (size_t r = pass->r0; r < pass->r1; r++)
    shifted(l->y + r * out, f->y + place(r) * out, f->y + point_place(r) * out, value(l), out);
}

/* The point's gradient starts at the first row of its group and goes on from there, should the group be cut. */
static void backward(const lip_layer *l, const lip_pass *pass) {
  const lip_layer *f = inside(l);
  const size_t in = l->n_in, out = l->n_out;
  for (size_t r = pass->r0; r < pass->r1; r++) {
    float *at = writable(f->dy) + point_place(r) * out;
    if (r % GROUP == 0) memset(at, 0, out * sizeof *at);
    subtract(at, l->dy + r * out, out);
    memcpy(writable(f->dy) + place(r) * out, l->dy + r * out, out * sizeof(float));
  }
  run(l, pass, f->kind->backward);
  for (size_t r = pass->r0; l->dx && r < pass->r1; r++)
    memcpy(l->dx + r * in, f->dx + place(r) * in, in * sizeof(float));
}

/* ---- constants ---- */

static lip_status set_budget(lip_layer *l, double budget, lip_err *err) {
  return lip_layer_set_budget(l->child[0], budget, err);
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return lip_layer_bound(inside(l), pq, upper, err);
}

/* What is subtracted is executed too, in an order of its own. */
static bool form(const lip_layer *l, lip_form *f) {
  return f->through(f, inside(l)) && f->constant(f, point(l), l->n_in) && f->through(f, inside(l)) &&
         f->constant(f, value(l), l->n_out) && f->sum(f, (float[]){1, -1, 1}, 3);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const double u = 0x1p-24, v = lip_norm_upper(value(l), l->n_out, pq.q);
  lip_deviation f = *d, at = {lip_norm_upper(point(l), l->n_in, pq.p), 0};
  lip_layer_deviate(inside(l), pq, &f);
  lip_layer_deviate(inside(l), pq, &at);
  const double executed = f.size + f.off + at.size + at.off;
  const double rounding =
      u * (2 + u) * executed + u * v + 2 * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  d->off = lip_round_up(f.off + at.off + rounding);
  d->size = lip_round_up(f.size + at.size + v);
  lip_check_overflow(d);
}

static size_t constant(lip_emit *e, const float *v, const lip_shape *shape) {
  return lip_emit_add(e, &(lip_emit_step){.op = LIP_EMIT_CONSTANT, .out = *shape, .u.constant = {.v = v}},
                      NULL, 0);
}

/* f is executed at the point too: written out twice. */
static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  static const float by[] = {1, -1, 1};
  const size_t y = lip_emit_layer(e, inside(l), x);
  const size_t there = lip_emit_layer(e, inside(l), constant(e, point(l), &l->in));
  return lip_emit_sum(e, l, (size_t[]){y, there, constant(e, value(l), &l->out)}, 3, by);
}

const lip_layer_kind lip_layer_anchor = {
    .desc = {"anchor",
             "layers in sequence, moved so that one point has a given output: anchor{at = 0, dense{out = 8}, "
             "...}",
             options, sizeof(conf)},
    .flags = LIP_LAYER_CONTAINER | LIP_LAYER_WEIGHTED,
    .plan = plan,
    .release = release,
    .bind = bind,
    .forward = forward,
    .backward = backward,
    .set_budget = set_budget,
    .bound = bound,
    .form = form,
    .emit = emit,
    .deviate = deviate,
};
