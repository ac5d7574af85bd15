/* Specs, and the defaults of the contract: every cautious answer is decided here. */
#include "core/layer/layer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/tensor/vec.h"

#define INITS "orthogonal", "he", "glorot", "lecun", "on_ball", NULL
const char *const lip_init_names[] = {INITS};
const char *const lip_own_init_names[] = {"net", INITS};

/* ---- specs ---- */

void lip_projection_hold(const lip_projection *p, bool more) {
  lip_projection *own = (lip_projection *)(uintptr_t)p; /* counted in memory of the owner's */
  if (!p) return;
  own->users += more ? 1 : (size_t)-1;
  if (own->users == 0 && own->drop) own->drop(own);
}

lip_spec *lip_spec_new(const lip_layer_kind *kind) {
  lip_spec *s = lip_alloc(1, sizeof *s);
  if (!s) return NULL;
  s->kind = kind;
  s->conf = lip_conf_new(&kind->desc);
  if (!s->conf) {
    lip_free(s);
    return NULL;
  }
  if (kind->hold) kind->hold(kind, true);
  return s;
}

void lip_spec_free(lip_spec *s) {
  if (!s) return;
  for (size_t i = 0; i < s->n_child; i++) lip_spec_free(s->child[i]);
  lip_free(s->child);
  const lip_layer_kind *kind = s->kind;
  lip_projection_hold(s->projection, false);
  lip_conf_free(&kind->desc, s->conf);
  lip_free(s);
  if (kind->hold) kind->hold(kind, false);
}

lip_spec *lip_spec_copy(const lip_spec *spec) {
  lip_spec *s = lip_alloc(1, sizeof *s);
  if (!s) return NULL;
  s->kind = spec->kind;
  if (s->kind->hold) s->kind->hold(s->kind, true);
  s->projection = spec->projection;
  lip_projection_hold(s->projection, true);
  s->conf = lip_conf_copy(&spec->kind->desc, spec->conf);
  bool ok = s->conf != NULL;
  for (size_t i = 0; ok && i < spec->n_child; i++) {
    lip_spec *child = lip_spec_copy(spec->child[i]);
    ok = child && lip_spec_add(s, child, NULL) == LIP_OK;
    if (!ok) lip_spec_free(child);
  }
  if (ok) return s;
  lip_spec_free(s);
  return NULL;
}

lip_status lip_spec_add(lip_spec *s, lip_spec *child, lip_err *err) {
  const char *name = s->kind->desc.name;
  if (!(s->kind->flags & LIP_LAYER_CONTAINER))
    return lip_fail(err, LIP_UNSUPPORTED, "%s: cannot hold layers, got a %s inside", name,
                    child->kind->desc.name);
  if (child->depth >= LIP_SPEC_DEPTH)
    return lip_fail(
        err, LIP_UNSUPPORTED,
        "%s: cannot hold layers that are nested %d deep: put some of them one after the other, in "
        "one chain{...}",
        name, LIP_SPEC_DEPTH);
  lip_spec **list = lip_realloc(s->child, s->n_child + 1, sizeof *list);
  if (!list) return lip_fail(err, LIP_MEMORY, "%s: no memory for layer %zu", name, s->n_child + 1);
  s->child = list;
  list[s->n_child++] = child;
  if (s->depth <= child->depth) s->depth = child->depth + 1;
  return LIP_OK;
}

/* ---- planning ---- */

size_t lip_shape_size(const lip_shape *s) {
  size_t n = 1;
  for (int i = 0; i < s->ndim; i++) n *= s->dim[i];
  return n;
}

size_t lip_shape_row(const lip_shape *s, lip_order order) {
  const size_t b = 2 * order.border;
  return order.pixels ? (s->dim[1] + b) * (s->dim[2] + b) * s->dim[0] : lip_shape_size(s);
}

const char *lip_shape_describe(const lip_shape *s, char *buf, size_t size) {
  size_t at = 0;
  buf[0] = '\0';
  for (int i = 0; i < s->ndim && at < size; i++)
    at += (size_t)snprintf(buf + at, size - at, "%s%zu", i ? "x" : "", s->dim[i]);
  return buf;
}

size_t lip_param_size(const lip_param *p) {
  size_t n = 1;
  for (int i = 0; i < p->ndim; i++) n *= p->shape[i];
  return n;
}

lip_param *lip_layer_param(const lip_layer *l, const char *name) {
  for (size_t i = 0; i < l->n_param; i++)
    if (strcmp(l->param[i].name, name) == 0) return (lip_param *)(uintptr_t)&l->param[i];
  return NULL;
}

static bool by_unit(const lip_layer *l) {
  for (size_t i = 0; i < l->n_param; i++)
    if (l->param[i].ndim == 0 || l->param[i].shape[0] != l->units) return false;
  return l->units > 0;
}

/* Nothing of it changes by training. */
static void stand_still(lip_layer *l) {
  l->still = true;
  l->project_units = 0;
  l->project_by_unit = false;
  for (size_t i = 0; i < l->n_param; i++) {
    l->param[i].frozen = true;
    l->param[i].decay = false;
  }
}

/* Weights that are trained themselves and have a budget or could have one. */
static lip_status choose_projection(lip_layer *l, const lip_projection *own, const lip_projection *common,
                                    lip_err *err) {
  const lip_param *w = &l->param[0];
  if (l->n_param > 0 && l->project_units > 0 && !w->frozen && strcmp(w->name, "weight") == 0)
    l->projection = own ? own : common;
  else if (own && !l->still)
    return lip_fail(
        err, LIP_UNSUPPORTED,
        "%s: option 'projection' is for a weight that is trained itself: this one is computed from "
        "other numbers",
        l->kind->desc.name);
  return LIP_OK;
}

static lip_status check_shape(const lip_shape *s, size_t *size) {
  size_t n = 1;
  for (int i = 0; i < s->ndim; i++)
    if (s->dim[i] == 0 || !lip_mul_fits(n, s->dim[i], &n)) return LIP_SHAPE;
  *size = n;
  return n <= (size_t)1 << 40 ? LIP_OK : LIP_SHAPE;
}

lip_status lip_layer_new(const lip_spec *spec, const lip_shape *in, lip_pq pq, lip_plan *plan,
                         lip_layer **out, lip_err *err) {
  const lip_layer_kind *kind = spec->kind;
  *out = NULL;
  lip_layer *l = lip_alloc(1, sizeof *l);
  if (!l) return lip_fail(err, LIP_MEMORY, "%s: out of memory", kind->desc.name);
  l->kind = kind;
  l->conf = spec->conf;
  l->plan = plan;
  l->id = plan->next_id++;
  l->in = l->out = *in;
  l->pq = pq;
  l->budget = INFINITY;
  l->anchored = plan->anchored;
  lip_status status = check_shape(in, &l->n_in);
  if (status) lip_fail(err, status, "%s: its input has no elements, or too many", kind->desc.name);
  if (!status) status = kind->plan(l, spec, plan, err);
  if (!status) {
    status = check_shape(&l->out, &l->n_out);
    if (status) lip_fail(err, status, "%s: its output has no elements, or too many", kind->desc.name);
  }
  if (!status && l->own && !l->own->trainable) stand_still(l);
  if (!status) status = choose_projection(l, spec->projection, plan->projection, err);
  l->params_by_unit = by_unit(l);
  l->x_row = l->n_in;
  l->y_row = l->n_out;
  if (status)
    lip_layer_free(l);
  else
    *out = l;
  return status;
}

void lip_layer_free(lip_layer *l) {
  if (!l) return;
  if (l->kind->release) l->kind->release(l);
  for (size_t i = 0; i < l->n_child; i++) lip_layer_free(l->child[i]);
  lip_free(l->child);
  lip_free(l);
}

void lip_layer_add_param(lip_layer *l, const char *name, int ndim, const size_t *shape, bool decay) {
  lip_param *p = &l->param[l->n_param++];
  *p = (lip_param){.name = name, .ndim = ndim, .decay = decay};
  for (int i = 0; i < ndim; i++) p->shape[i] = shape[i];
}

lip_init lip_layer_init(const lip_layer *l) {
  return l->own && l->own->init > 0 ? (lip_init)(l->own->init - 1) : l->plan->init;
}

double lip_layer_own_budget(const lip_layer *l) {
  return l->own ? l->own->budget : 0;
}

size_t lip_layer_rows(const lip_layer *l, size_t B) {
  return l->anchored ? B + (B + LIP_PART - 1) / LIP_PART : B;
}

bool lip_spec_weighted(const lip_spec *spec) {
  bool weighted = !(spec->kind->flags & LIP_LAYER_CONTAINER);
  for (size_t i = 0; i < spec->n_child; i++) weighted = weighted || lip_spec_weighted(spec->child[i]);
  return weighted && spec->kind->flags & LIP_LAYER_WEIGHTED;
}

bool lip_layer_weighted(const lip_layer *l) {
  bool weighted = !(l->kind->flags & LIP_LAYER_CONTAINER);
  for (size_t i = 0; i < l->n_child; i++) weighted = weighted || lip_layer_weighted(l->child[i]);
  return weighted && l->kind->flags & LIP_LAYER_WEIGHTED;
}

size_t lip_layer_leaves(lip_layer *l, lip_layer **out, size_t cap) {
  size_t n = 0;
  if (l->units > 0 || l->project_units > 0 || l->n_param > 0) {
    if (cap > 0) out[0] = l;
    n = 1;
  }
  for (size_t i = 0; i < l->n_child; i++)
    n += lip_layer_leaves(l->child[i], out ? out + n : NULL, cap > n ? cap - n : 0);
  return n;
}

void lip_layer_bind(lip_layer *l, const float *x, float *y, const float *dy, float *dx, float *kept,
                    size_t capacity) {
  l->x = x;
  l->y = y;
  l->dy = dy;
  l->dx = dx;
  l->kept = kept;
  l->capacity = capacity;
  if (l->kind->bind) l->kind->bind(l);
}

const float *lip_layer_dy(const lip_layer *l, const lip_pass *pass) {
  return pass->dy ? pass->dy : l->dy + pass->r0 * l->y_row;
}

float *lip_layer_dx(const lip_layer *l, const lip_pass *pass) {
  if (pass->dx) return pass->dx;
  return l->dx ? l->dx + pass->r0 * l->x_row : NULL;
}

bool lip_gradient_fits(const float *dy, size_t n) {
  return lip_vec_abs_max(dy, n) < 0x1p60f;
}

/* ---- defaults ---- */

lip_status lip_layer_set_budget(lip_layer *l, double budget, lip_err *err) {
  const double own = lip_layer_own_budget(l);
  if (own > budget * (1 + 0x1p-36))
    return lip_fail(err, LIP_OPTION, "%s: its option budget is %g, but its share of the net's is only %g",
                    l->kind->desc.name, own, budget);
  l->budget = own > 0 && own < budget ? own : budget;
  budget = l->budget;
  return l->kind->set_budget ? l->kind->set_budget(l, budget, err) : LIP_OK;
}

lip_status lip_layer_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  *upper = INFINITY;
  if (!l->kind->bound) return LIP_OK;
  lip_status status = l->kind->bound(l, pq, upper, err);
  if (status || !(*upper >= 0)) *upper = INFINITY; /* NaN is not a bound */
  return status;
}

double lip_layer_estimate(const lip_layer *l, lip_pq pq) {
  if (l->kind->estimate) return l->kind->estimate(l, pq);
  double upper;
  return lip_layer_bound(l, pq, &upper, NULL) == LIP_OK ? upper : INFINITY;
}

void lip_layer_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (l->kind->flags & LIP_LAYER_ALIAS && pq.p == pq.q) return;
  if (l->kind->deviate)
    l->kind->deviate(l, pq, d);
  else
    d->size = d->off = INFINITY;
  if (!(d->size >= 0) || !(d->off >= 0)) d->size = d->off = INFINITY;
}

lip_status lip_layer_project_exact(lip_layer *l, lip_err *err) {
  if (l->kind->project_exact) return l->kind->project_exact(l, err);
  if (l->kind->project && l->project_units > 0) l->kind->project(l, 0, l->project_units, NULL);
  return LIP_OK;
}

void lip_layer_copy_warm(lip_layer *to, const lip_layer *from) {
  lip_warm mine, other;
  for (size_t i = 0; to->kind == from->kind && to->kind->warm; i++) {
    if (!to->kind->warm(to, i, &mine) || !from->kind->warm(from, i, &other)) break;
    if (mine.wide == other.wide && mine.n == other.n)
      memcpy(mine.data, other.data, mine.n * (mine.wide ? sizeof(double) : sizeof(float)));
  }
  for (size_t i = 0; i < to->n_child && i < from->n_child; i++)
    lip_layer_copy_warm(to->child[i], from->child[i]);
}

lip_status lip_layer_reset(lip_layer *l, uint64_t seed, lip_err *err) {
  for (size_t i = 0; i < l->n_param; i++) {
    size_t n = 1;
    for (int k = 0; k < l->param[i].ndim; k++) n *= l->param[i].shape[k];
    memset(l->param[i].value, 0, n * sizeof(float));
  }
  if (l->kind->reset) {
    lip_rng rng = lip_rng_new(seed, LIP_RNG_INIT, l->id);
    lip_status status = l->kind->reset(l, &rng, err);
    if (status) return status;
  }
  for (size_t i = 0; i < l->n_child; i++) {
    lip_status status = lip_layer_reset(l->child[i], seed, err);
    if (status) return status;
  }
  return LIP_OK;
}
