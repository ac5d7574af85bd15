#include "core/layer/inner.h"
#include "core/layer/emit.h"

#include <math.h>

#include "core/base/mem.h"
#include "core/layer/form.h"
#include "core/layer/same_shape.h"

const char *const lip_inner_names[] = {"relu", "tanh", "sigmoid", "softplus", "none", NULL};

extern const lip_layer_kind lip_layer_dense, lip_layer_residual, lip_layer_relu, lip_layer_tanh,
    lip_layer_sigmoid, lip_layer_softplus;
static const lip_layer_kind *const activations[] = {&lip_layer_relu, &lip_layer_tanh, &lip_layer_sigmoid,
                                                    &lip_layer_softplus};

/* ---- planning ---- */

/* Takes ownership of `child`, which may be NULL: no memory. */
static lip_status put(lip_spec *into, lip_spec *child, lip_err *err) {
  lip_status status = child ? lip_spec_add(into, child, err) : LIP_MEMORY;
  if (status) lip_spec_free(child);
  return status;
}

static lip_spec *dense(size_t out, bool bias) {
  lip_spec *s = lip_spec_new(&lip_layer_dense);
  bool ok = s && lip_conf_set_number(&s->kind->desc, s->conf, "out", (double)out, NULL) == LIP_OK &&
            lip_conf_set_bool(&s->kind->desc, s->conf, "bias", bias, NULL) == LIP_OK;
  if (ok) return s;
  lip_spec_free(s);
  return NULL;
}

static lip_status make_spec(lip_inner *m, size_t hidden, int activation, size_t out, bool around,
                            lip_err *err) {
  m->spec = lip_spec_new(around ? &lip_layer_residual : &lip_layer_chain);
  lip_status status = m->spec ? LIP_OK : LIP_MEMORY;
  if (!status && around) status = lip_conf_set_text(&m->spec->kind->desc, m->spec->conf, "mode", "add", err);
  if (!status) status = put(m->spec, dense(hidden, true), err);
  if (status || activation == LIP_INNER_NONE) return status;
  status = put(m->spec, lip_spec_new(activations[activation]), err);
  return status ? status : put(m->spec, dense(out, false), err);
}

static void freeze(lip_layer *l) {
  if (!l) return;
  l->param[0].frozen = true;
  l->param[0].decay = false;
  l->project_units = 0;
  l->project_by_unit = false;
}

lip_status lip_inner_plan(lip_layer *l, size_t hidden, int activation, size_t out, bool around,
                          lip_plan *plan, lip_err *err) {
  const char *name = l->kind->desc.name;
  char shape[64];
  lip_inner *m = l->state;
  if (l->in.ndim != 1)
    return lip_fail(err, LIP_SHAPE, "%s: expects a flat input, got %s: put a flatten layer before it", name,
                    lip_shape_describe(&l->in, shape, sizeof shape));
  lip_status status = make_spec(m, hidden, activation, out, around, err);
  const lip_path step = {.n = 2, .p = {l->pq.p, l->pq.q}};
  if (!status) status = lip_chain_plan(l, &m->spec, 1, &step, plan, err);
  if (status == LIP_MEMORY) return lip_fail(err, status, "%s: out of memory", name);
  if (status) return status;
  l->cache = lip_chain_cache(l);
  freeze(lip_inner_first(l));
  freeze(lip_inner_second(l));
  l->computed = l->child[0]->computed = true;
  for (size_t i = 0; i < l->child[0]->n_child; i++) l->child[0]->child[i]->computed = true;
  return LIP_OK;
}

void lip_inner_release(lip_layer *l) {
  lip_inner *m = l->state;
  if (!m) return;
  for (size_t i = 0; i < l->n_child; i++) lip_layer_free(l->child[i]); /* they refer to the spec */
  l->n_child = 0;
  lip_spec_free(m->spec);
  lip_free(m->room);
  lip_free(m);
}

lip_status lip_inner_take(lip_layer *l, size_t n, lip_err *err) {
  lip_inner *m = l->state;
  if (!m->room) m->room = lip_alloc(n, sizeof *m->room);
  if (m->room) return LIP_OK;
  return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu numbers", l->kind->desc.name, n);
}

lip_layer *lip_inner_first(const lip_layer *l) {
  return l->child[0]->child[0];
}

lip_layer *lip_inner_second(const lip_layer *l) {
  return l->child[0]->n_child > 1 ? l->child[0]->child[2] : NULL;
}

/* ---- table entries ---- */

void lip_inner_bind(lip_layer *l) {
  lip_chain_bind(l, l->x, l->y, l->dy, l->dx, l->kept, l->capacity);
}

bool lip_inner_form(const lip_layer *l, lip_form *f) {
  return f->through(f, l->child[0]);
}

size_t lip_inner_emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_layer(e, l->child[0], x);
}

lip_status lip_inner_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return lip_layer_bound(l->child[0], pq, upper, err);
}

/* With K the constant of the layer itself, which is less than what its parts suggest: |f(x)| <= |f(0)| + K |x|, and the executed
 * f at the executed x~ is as far from f(x) as its own rounding there and K |x~ - x|. */
void lip_inner_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  lip_deviation zero = {0, 0}, there = {lip_round_up(d->size + d->off), 0};
  const double size = d->size, off = d->off;
  double K;
  lip_layer_deviate(l->child[0], pq, d);
  if (lip_layer_bound(l, pq, &K, NULL) || !(K < INFINITY)) return;
  lip_layer_deviate(l->child[0], pq, &zero);
  lip_layer_deviate(l->child[0], pq, &there);
  d->size = fmin(d->size, lip_round_up(zero.size + K * size));
  d->off = fmin(d->off, lip_round_up(there.off + K * off));
}
