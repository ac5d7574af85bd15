/* Layers of functions that are handed over (custom.h).
 *
 *   dx, dw    what the functions say, with y, in one call for the whole batch
 *   constant  K of p -> p, as stated; it bounds p -> q for q >= p as well. Without a statement: infinite
 *   float32   with off' as stated, or K off + r (size + off) for a stated r: || executed - exact || <= off', and the exact
 *             output has at most the norm K size + ||f(0)||, f(0) as executed with its own error added
 *
 * Whatever does not answer, or not in numbers, counts as infinite and stands in plan->fault; a pass goes on with NaN. */
#include "core/layer/custom.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/same_shape.h"
#include "core/tensor/vec.h"

/* What a planned layer keeps. */
typedef struct kept {
  float *dw;      /* gradients of the params, one behind the other, of the last backward pass */
  float *x0, *y0; /* one row: the input 0 and what it becomes */
} kept;

static const lip_custom *self(const lip_layer *l) {
  return (const lip_custom *)l->kind;
}

/* ---- faults ---- */

static bool faulty(const lip_layer *l) {
  return l->plan->fault && l->plan->fault->err.code != LIP_OK;
}

/* The first one counts. */
static void record(const lip_layer *l, const lip_err *err) {
  lip_fault *f = l->plan->fault;
  if (!f || faulty(l)) return;
  f->err = *err;
  f->layer = l;
}

static void fill_nan(float *v, size_t n) {
  for (size_t i = 0; v && i < n; i++) v[i] = NAN;
}

static bool all_finite(const float *v, size_t n) {
  return lip_vec_abs_max(v, n) < INFINITY;
}

/* While it runs nobody else may use the net. */
static lip_status run(const lip_layer *l, const lip_custom_rows *rows, bool back, lip_err *err) {
  lip_fault *f = l->plan->fault;
  const lip_custom *c = self(l);
  const lip_layer *before = f ? f->running : NULL;
  if (f) f->running = l;
  lip_status status = (back ? c->ops.backward : c->ops.forward)(c, l, rows, err);
  if (f) f->running = before;
  return status;
}

/* ---- planning ---- */

static lip_status count_params(const lip_layer *l, size_t *total, bool *trained) {
  *total = 0;
  *trained = false;
  for (size_t i = 0; i < l->n_param; i++) {
    size_t n = 1;
    for (int k = 0; k < l->param[i].ndim; k++)
      if (l->param[i].shape[k] == 0 || !lip_mul_fits(n, l->param[i].shape[k], &n)) return LIP_SHAPE;
    if (!lip_add_fits(*total, n, total) || *total > (size_t)1 << 40) return LIP_SHAPE;
    *trained = *trained || !l->param[i].frozen;
  }
  return LIP_OK;
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  const char *name = spec->kind->desc.name;
  size_t params, row = 1;
  bool trained;
  (void)p;
  lip_status status = self(l)->ops.plan(self(l), l, err);
  if (status) return status;
  for (int i = 0; i < l->out.ndim; i++)
    if (l->out.dim[i] == 0 || !lip_mul_fits(row, l->out.dim[i], &row) || row > (size_t)1 << 40)
      return lip_fail(err, LIP_SHAPE, "%s: its output has no elements, or too many", name);
  if (count_params(l, &params, &trained))
    return lip_fail(err, LIP_SHAPE, "%s: a parameter has no elements, or too many", name);
  kept *k = l->state = lip_alloc(1, sizeof *k);
  if (k) k->dw = lip_alloc(params, sizeof *k->dw);
  if (k) k->x0 = lip_alloc(l->n_in + row, sizeof *k->x0);
  if (!k || !k->dw || !k->x0) return lip_fail(err, LIP_MEMORY, "%s: out of memory", name);
  k->y0 = k->x0 + l->n_in;
  l->on_caller = true;
  l->units = trained; /* one: it only takes over what backward was given */
  l->grad_by_parts = trained;
  return LIP_OK;
}

static void release(lip_layer *l) {
  kept *k = l->state;
  if (!k) return;
  lip_free(k->dw);
  lip_free(k->x0);
  lip_free(k);
}

static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  lip_status status = LIP_OK;
  (void)rng;
  for (size_t i = 0; !status && self(l)->ops.reset && i < l->n_param; i++)
    status = self(l)->ops.reset(self(l), l, i, l->plan->seed * UINT64_C(0x9E3779B97F4A7C15) + l->id, err);
  return status;
}

/* ---- passes ---- */

static lip_custom_rows rows_of(const lip_layer *l, const lip_pass *pass) {
  return (lip_custom_rows){.rows = pass->r1 - pass->r0,
                           .x = l->x + pass->r0 * l->x_row,
                           .y = l->y + pass->r0 * l->y_row,
                           .training = pass->training,
                           .gradient = l->dx != NULL || (pass->training && l->units > 0),
                           .seed = pass->seed * UINT64_C(0xD1342543DE82EF95) + l->id};
}

/* In training what is not finite ends the step; else it stays visible, as it does in every layer. */
static void forward(const lip_layer *l, const lip_pass *pass) {
  const lip_custom_rows rows = rows_of(l, pass);
  const size_t n = rows.rows * l->y_row;
  lip_err err;
  if (n == 0) return;
  bool done = !faulty(l) && run(l, &rows, false, &err) == LIP_OK;
  if (!done) {
    if (!faulty(l)) record(l, &err);
    fill_nan(rows.y, n);
    return;
  }
  if (!pass->training || all_finite(rows.y, n) || !all_finite(rows.x, rows.rows * l->x_row)) return;
  lip_fail(&err, LIP_NOT_FINITE, "forward gave NaN or infinity for inputs that are finite");
  record(l, &err);
}

static void check_gradients(const lip_layer *l, const lip_custom_rows *rows, size_t n_dw) {
  lip_err err;
  if (!all_finite(rows->dy, rows->rows * l->y_row)) return; /* not its fault, and seen elsewhere */
  const bool dx = !rows->dx || all_finite(rows->dx, rows->rows * l->x_row);
  if (dx && (!rows->dw || lip_gradient_fits(rows->dw, n_dw))) return;
  lip_fail(&err, LIP_NOT_FINITE, "backward gave NaN or infinity as gradient of its %s",
           dx ? "parameters" : "input");
  record(l, &err);
}

static size_t size_of_params(const lip_layer *l) {
  size_t n = 0;
  for (size_t i = 0; i < l->n_param; i++) n += lip_param_size(&l->param[i]);
  return n;
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  lip_custom_rows rows = rows_of(l, pass);
  float *dw = ((const kept *)l->state)->dw;
  const size_t n_dw = size_of_params(l);
  lip_err err;
  rows.dy = lip_layer_dy(l, pass);
  rows.dx = lip_layer_dx(l, pass);
  if (l->units > 0 && pass->training) {
    memset(dw, 0, n_dw * sizeof *dw);
    rows.dw = dw;
  }
  if (rows.rows == 0 || (!rows.dx && !rows.dw)) return;
  bool done = !faulty(l) && run(l, &rows, true, &err) == LIP_OK;
  if (!done) {
    if (!faulty(l)) record(l, &err);
    fill_nan(rows.dx, rows.rows * l->x_row);
  } else if (pass->training) {
    check_gradients(l, &rows, n_dw);
  }
}

static void grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  const float *dw = ((const kept *)l->state)->dw;
  for (size_t i = 0; i < l->n_param; i++) {
    const lip_param *p = &l->param[i];
    const size_t n = lip_param_size(p);
    for (size_t k = 0; !p->frozen && k < n; k++)
      p->grad[k] = pass->accumulate != 0 ? p->grad[k] + dw[k] : dw[k];
    dw += n;
  }
  if (pass->done) pass->done(pass->done_arg, u0, u1);
}

/* ---- constants ---- */

/* While a net shares out its budget there are no params yet to ask about. */
static double constant(const lip_layer *l, lip_p p) {
  const lip_custom *c = self(l);
  double k = c->constant;
  lip_err err;
  if (c->ops.constant && l->n_param > 0 && !l->param[0].value) return INFINITY;
  if (c->ops.constant && c->ops.constant(c, l, p, &k, &err)) {
    record(l, &err);
    k = INFINITY;
  }
  return k >= 0 ? k : INFINITY; /* NaN too */
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  if (pq.q >= pq.p) *upper = constant(l, pq.p);
  return LIP_OK;
}

/* Local error and that of the input, multiplied. */
static double error_of(const lip_layer *l, lip_p p, double K, const lip_deviation *d) {
  const lip_custom *c = self(l);
  double off =
      lip_round_up(lip_round_up(K * d->off) + lip_round_up(c->relative * lip_round_up(d->size + d->off)));
  lip_err err;
  if (c->ops.deviate && c->ops.deviate(c, l, p, d, &off, &err)) {
    record(l, &err);
    off = INFINITY;
  }
  return off >= 0 ? off : INFINITY;
}

/* >= norm of f(0). */
static double size_at_zero(const lip_layer *l, lip_p p, double K) {
  const kept *k = l->state;
  const lip_custom_rows rows = {.rows = 1, .x = k->x0, .y = k->y0};
  const lip_deviation none = {0, 0};
  lip_err err;
  memset(k->x0, 0, l->n_in * sizeof *k->x0);
  if (faulty(l) || run(l, &rows, false, &err)) {
    if (!faulty(l)) record(l, &err);
    return INFINITY;
  }
  return lip_round_up(lip_norm_upper(k->y0, l->n_out, p) + error_of(l, p, K, &none));
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  const lip_deviation unknown = {INFINITY, INFINITY};
  if (lip_step_down(pq, d)) return;
  const double K = constant(l, pq.p);
  if (!(K < INFINITY) || !(d->size < INFINITY) || !(d->off < INFINITY)) {
    *d = unknown;
    return;
  }
  const double off = error_of(l, pq.p, K, d), size = lip_round_up(K * d->size) + size_at_zero(l, pq.p, K);
  *d = (lip_deviation){lip_round_up(size), off};
  if (!(off < INFINITY) || !(size < INFINITY)) *d = unknown;
  lip_check_overflow(d);
}

/* ---- the kind ---- */

static void hold(const lip_layer_kind *kind, bool more) {
  lip_custom *c = (lip_custom *)(uintptr_t)kind; /* made by lip_custom_init in memory of the owner's */
  c->specs += more ? 1 : (size_t)-1;
  if (c->specs == 0 && c->ops.drop) c->ops.drop(c);
}

void lip_custom_init(lip_custom *c, const lip_desc *desc, const char *origin) {
  const bool known = c->ops.constant || c->constant < INFINITY;
  const bool rounds = known && (c->ops.deviate || c->relative < INFINITY);
  c->kind = (lip_layer_kind){.desc = *desc,
                             .origin = origin,
                             .hold = hold,
                             .plan = plan,
                             .release = release,
                             .reset = reset,
                             .forward = forward,
                             .backward = backward,
                             .grad = grad,
                             .bound = known ? bound : NULL,
                             .deviate = rounds ? deviate : NULL};
}

const lip_custom *lip_custom_of(const lip_layer_kind *kind) {
  return kind->plan == plan ? (const lip_custom *)kind : NULL;
}

/* ---- who and where ---- */

bool lip_layer_place(const lip_layer *root, const lip_layer *l, char *buf, size_t size) {
  for (size_t i = 0; i < root->n_child && size > 1; i++) {
    const lip_layer *c = root->child[i];
    const int n = snprintf(buf, size, "layer %zu (%s)", i + 1, c->kind->desc.name);
    if (c == l) return true;
    if (c->n_child == 0 || n < 0 || (size_t)n + 2 >= size) continue;
    memcpy(buf + n, ": ", 2);
    if (lip_layer_place(c, l, buf + n + 2, size - (size_t)n - 2)) return true;
  }
  return false;
}

static const lip_layer *find_assumed(const lip_layer *l, size_t *skip) {
  if (lip_custom_of(l->kind) && l->kind->bound && (*skip)-- == 0) return l;
  for (size_t i = 0; i < l->n_child; i++) {
    const lip_layer *found = find_assumed(l->child[i], skip);
    if (found) return found;
  }
  return NULL;
}

const lip_layer *lip_custom_assumed(const lip_layer *root, size_t i) {
  return find_assumed(root, &i);
}

const lip_layer *lip_custom_unrounded(const lip_layer *root) {
  const lip_layer *l;
  for (size_t i = 0; (l = lip_custom_assumed(root, i)) != NULL; i++)
    if (!l->kind->deviate) return l;
  return NULL;
}
