/* chain: layers in sequence, y = f_n(...f_1(x)).
 *
 *   dx   through the layers backwards        constant   product of the layers' constants, rounded up
 *
 * Where the norm path steps from p to q the first weighted layer inside makes that step, as in a net. Without one all
 * constants are p -> p, which bounds p -> q as well (q >= p).
 *
 * The functions lip_chain_* are what a net and every other container of layers are made of. The kept block holds,
 * child after child, the outputs that are not the chain's own, their gradients, and what each child keeps. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/form.h"

/* y is x, and nothing is computed. */
static bool is_alias(const lip_layer *l) {
  return (l->kind->flags & LIP_LAYER_ALIAS) != 0 || l->merged;
}

static bool is_weighted(const lip_layer *l) {
  return (l->kind->flags & LIP_LAYER_WEIGHTED) != 0;
}

/* Index of the last child that computes something; n_child when none does. */
static size_t last_worker(const lip_layer *l) {
  for (size_t i = l->n_child; i-- > 0;)
    if (!is_alias(l->child[i])) return i;
  return l->n_child;
}

static bool learns(const lip_layer *l) {
  if (l->units > 0) return true;
  for (size_t i = 0; i < l->n_child; i++)
    if (learns(l->child[i])) return true;
  return false;
}

/* "layer 3 (dense): ..." in front of what the layer itself said; nested chains add their own place. */
static lip_status at_place(lip_err *err, size_t i, const lip_layer_kind *kind, lip_status status) {
  if (!err) return status;
  char said[sizeof err->msg];
  memcpy(said, err->msg, sizeof said);
  const char *text = said;
  size_t n = strlen(kind->desc.name);
  if (strncmp(said, kind->desc.name, n) == 0 && said[n] == ':') text = said + n + 1 + (said[n + 1] == ' ');
  return lip_fail(err, status, "layer %zu (%s): %.340s", i + 1, kind->desc.name, text);
}

/* ---- orders ---- */

static void set_order(lip_layer *l, bool x, bool y, lip_order order) {
  if (x) l->x_order = order;
  if (y) l->y_order = order;
  l->x_row = lip_shape_row(&l->in, l->x_order);
  l->y_row = lip_shape_row(&l->out, l->y_order);
}

/* Everything between children a and b, which both take pixels, stands in pixels with the widest border that one of them
 * needs, unless that would be most of it. */
static void agree(lip_layer *l, size_t a, size_t b) {
  lip_layer *from = l->child[a], *to = l->child[b], *middle = l->child[a + 1];
  lip_order order = {true, 0};
  size_t in, out, other;
  from->kind->borders(from, &other, &out);
  to->kind->borders(to, &in, &other);
  order.border = in > out ? in : out;
  if (lip_shape_row(&to->in, order) > 5 * to->n_in / 2) return;
  for (size_t i = a; i <= b; i++) set_order(l->child[i], i > a, i < b, order);
  middle->merged = b == a + 2 && (middle->kind->flags & LIP_LAYER_RECTIFIER);
  from->rectify_y = to->rectify_dx = middle->merged;
}

/* Between two children that take pixels, and those that look at single pixels between them, nothing needs planes. */
static void agree_on_orders(lip_layer *l) {
  const size_t none = l->n_child;
  size_t last = none, in, out;
  for (size_t i = 0; i < l->n_child; i++) {
    const lip_layer *c = l->child[i];
    if (c->kind->flags & LIP_LAYER_PIXELWISE) continue;
    const bool takes = c->kind->borders && c->kind->borders(c, &in, &out);
    if (takes && last != none) agree(l, last, i);
    last = takes ? i : none;
  }
  for (size_t i = 0; i < l->n_child; i++)
    if (l->child[i]->kind->ordered) l->child[i]->kind->ordered(l->child[i]);
}

/* ---- runs: children with pixels between them, which take a few images at a time ---- */

/* The child behind the run that begins at i; most are alone. */
static size_t run_end(const lip_layer *l, size_t i) {
  while (l->child[i]->y_order.pixels) i++;
  return i + 1;
}

/* In a run every child has scratch of its own, so that it need not prepare its weights again. */
static size_t scratch_of(const lip_layer *c) {
  return (c->scratch + LIP_ALIGN - 1) / LIP_ALIGN * LIP_ALIGN;
}

static void set_scratch(lip_layer *l) {
  for (size_t i = 0, end; i < l->n_child; i = end) {
    size_t sum = 0;
    end = run_end(l, i);
    for (size_t k = i; k < end; k++) sum += scratch_of(l->child[k]);
    if (sum > l->scratch) l->scratch = sum;
  }
}

/* Rows that a run takes at a time: what is written by one child is still in a cache near by when the next reads it. Parts
 * are multiples of it. */
static size_t rows_at_a_time(const lip_layer *l, size_t a, size_t b) {
  enum { FLOATS = 1 << 17, LEAST = 4 };
  size_t most = 1;
  for (size_t i = a; i < b; i++) {
    const size_t n = l->child[i]->x_row + l->child[i]->y_row;
    if (n > most) most = n;
  }
  size_t rows = LEAST;
  while (2 * rows <= LIP_PART && 2 * rows * most <= FLOATS) rows *= 2;
  return rows;
}

/* Children a..b-1, those that compute, for the rows of `pass`; forwards or backwards. */
static void run_children(const lip_layer *l, size_t a, size_t b, const lip_pass *pass, bool back) {
  lip_pass part = *pass;
  for (size_t i = back ? b : a; back ? i > a : i < b; back ? i-- : i++) {
    const lip_layer *c = l->child[back ? i - 1 : i];
    if (is_alias(c)) continue;
    if (!back)
      c->kind->forward(c, &part);
    else if (c->dx || c->grad_by_parts || c->kind->flags & LIP_LAYER_CONTAINER)
      c->kind->backward(c, &part);
    part.scratch = (unsigned char *)part.scratch + scratch_of(c);
  }
}

static void run(const lip_layer *l, size_t a, size_t b, const lip_pass *pass, bool back) {
  lip_pass part = *pass;
  const size_t rows = b - a > 1 ? rows_at_a_time(l, a, b) : pass->r1 - pass->r0;
  for (size_t r = pass->r0; r < pass->r1; r += rows) {
    part.r0 = r;
    part.r1 = pass->r1 - r < rows ? pass->r1 : r + rows;
    part.again = r > pass->r0;
    run_children(l, a, b, &part, back);
  }
}

/* ---- planning and buffers ---- */

lip_status lip_chain_plan(lip_layer *l, lip_spec *const *specs, size_t n, const lip_path *path,
                          lip_plan *plan, lip_err *err) {
  size_t weighted = 0;
  l->child = lip_alloc(n, sizeof(lip_layer *));
  if (!l->child) return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu layers", l->kind->desc.name, n);
  l->out = l->in;
  for (size_t i = 0; i < n; i++) {
    lip_pq pq = {l->pq.p, l->pq.p};
    bool heavy = (specs[i]->kind->flags & LIP_LAYER_WEIGHTED) != 0;
    if (path) {
      pq.p = pq.q = lip_path_at(path, weighted);
      if (heavy) pq = lip_path_step(path, weighted);
    }
    if (heavy) weighted++;
    lip_status status = lip_layer_new(specs[i], &l->out, pq, plan, &l->child[i], err);
    if (status) return at_place(err, i, specs[i]->kind, status);
    l->n_child = i + 1;
    l->out = l->child[i]->out;
  }
  agree_on_orders(l);
  set_scratch(l);
  return LIP_OK;
}

size_t lip_chain_cache(const lip_layer *l) {
  size_t n = 0, last = last_worker(l);
  for (size_t i = 0; i < l->n_child; i++) {
    const lip_layer *c = l->child[i];
    n += c->cache;
    if (!is_alias(c) && i != last) n += 2 * c->y_row;
  }
  return n;
}

void lip_chain_bind(lip_layer *l, const float *x, float *y, const float *dy, float *dx, float *kept,
                    size_t capacity) {
  size_t last = last_worker(l);
  bool need = dx != NULL; /* does anything before this child want a gradient? */
  float *dx_here = dx;
  for (size_t i = 0; i < l->n_child; i++) {
    lip_layer *c = l->child[i];
    if (is_alias(c)) { /* same numbers under another shape */
      lip_layer_bind(c, x, (float *)(uintptr_t)x, dx_here, dx_here, kept, capacity);
      continue;
    }
    float *yi = y, *dyi = (float *)(uintptr_t)dy;
    if (i != last && kept) {
      yi = kept;
      dyi = yi + capacity * c->y_row;
      kept = dyi + capacity * c->y_row;
    }
    lip_layer_bind(c, x, yi, dyi, need ? dx_here : NULL, kept, capacity);
    if (kept) kept += capacity * c->cache;
    need = need || learns(c);
    x = yi;
    dx_here = dyi;
  }
}

void lip_chain_forward(const lip_layer *l, const lip_pass *pass) {
  for (size_t i = 0, end; i < l->n_child; i = end) run(l, i, end = run_end(l, i), pass, false);
  if (last_worker(l) == l->n_child) /* nothing computed: y = x */
    memcpy(l->y + pass->r0 * l->n_in, l->x + pass->r0 * l->n_in,
           (pass->r1 - pass->r0) * l->n_in * sizeof(float));
}

void lip_chain_backward(const lip_layer *l, const lip_pass *pass) {
  for (size_t end = l->n_child, i; end > 0; end = i) {
    for (i = end - 1; i > 0 && l->child[i - 1]->y_order.pixels; i--) continue;
    run(l, i, end, pass, true);
  }
  if (last_worker(l) == l->n_child && l->dx)
    memcpy(l->dx + pass->r0 * l->n_in, l->dy + pass->r0 * l->n_in,
           (pass->r1 - pass->r0) * l->n_in * sizeof(float));
}

lip_status lip_chain_bound(const lip_layer *l, double *upper, lip_err *err) {
  double product = 1;
  *upper = INFINITY;
  for (size_t i = 0; i < l->n_child; i++) {
    double k;
    lip_status status = lip_layer_bound(l->child[i], l->child[i]->pq, &k, err);
    if (status) return status;
    if (isinf(k)) return LIP_OK;
    if (k != 1) product = k == 0 ? 0 : nextafter(product * k, INFINITY);
  }
  *upper = product;
  return LIP_OK;
}

void lip_chain_deviate(const lip_layer *l, lip_deviation *d) {
  for (size_t i = 0; i < l->n_child; i++) lip_layer_deviate(l->child[i], l->child[i]->pq, d);
}

bool lip_chain_form(const lip_layer *l, lip_form *f) {
  for (size_t i = 0; i < l->n_child; i++)
    if (!f->through(f, l->child[i])) return false;
  return true;
}

lip_status lip_chain_fixed(const lip_layer *l, double *product, size_t *weighted, lip_err *err) {
  *product = 1;
  *weighted = 0;
  for (size_t i = 0; i < l->n_child; i++) {
    if (is_weighted(l->child[i])) {
      ++*weighted;
      continue;
    }
    double k;
    lip_status status = lip_layer_bound(l->child[i], l->child[i]->pq, &k, err);
    if (status) return status;
    if (k > 0 && isfinite(k)) *product *= k;
  }
  return LIP_OK;
}

/* Equal shares K^(1/n) for the weighted children, what the others take already set aside. The share is a little
 * short of the root, so that the product, rounded upwards, stays within K. */
lip_status lip_chain_share_budget(lip_layer *l, double budget, lip_err *err) {
  size_t weighted;
  double fixed;
  lip_status status = lip_chain_fixed(l, &fixed, &weighted, err);
  if (status || weighted == 0) return status;
  double share = isinf(budget) ? INFINITY : pow(budget / fixed, 1 / (double)weighted) * (1 - 0x1p-40);
  for (size_t i = 0; i < l->n_child; i++)
    if (is_weighted(l->child[i])) {
      status = lip_layer_set_budget(l->child[i], share, err);
      if (status) return at_place(err, i, l->child[i]->kind, status);
    }
  return LIP_OK;
}

/* ---- the kind ---- */

static lip_status chain_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  const lip_path step = {.n = 2, .p = {l->pq.p, l->pq.q}};
  lip_status status = lip_chain_plan(l, spec->child, spec->n_child, &step, plan, err);
  if (status) return status;
  l->cache = lip_chain_cache(l);
  return LIP_OK;
}

static void chain_bind(lip_layer *l) {
  lip_chain_bind(l, l->x, l->y, l->dy, l->dx, l->kept, l->capacity);
}

/* A larger exponent only shrinks the norm of the output; for others nothing is known. */
static bool covers(const lip_layer *l, lip_pq pq) {
  return pq.p == l->pq.p && pq.q >= l->pq.q;
}

static lip_status chain_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return covers(l, pq) ? lip_chain_bound(l, upper, err) : LIP_OK;
}

static void chain_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (!covers(l, pq))
    d->size = d->off = INFINITY;
  else
    lip_chain_deviate(l, d);
}

const lip_layer_kind lip_layer_chain = {
    .desc = {"chain", "layers in sequence, used as one", NULL, 0},
    .flags = LIP_LAYER_CONTAINER | LIP_LAYER_WEIGHTED,
    .plan = chain_plan,
    .bind = chain_bind,
    .forward = lip_chain_forward,
    .backward = lip_chain_backward,
    .set_budget = lip_chain_share_budget,
    .bound = chain_bound,
    .form = lip_chain_form,
    .deviate = chain_deviate,
};
