/* Constants and linear steps: what may be put together without a rounding is, everything else stays a step of its own. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"

lip_status lip_fold_finite(const lip_onnx *o, const float *v, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!isfinite(v[i])) {
      lip_onnx_refuse(o, "number %zu of its constant is NaN or infinite", i + 1);
      return o->err ? o->err->code = LIP_NOT_FINITE : LIP_NOT_FINITE;
    }
  return LIP_OK;
}

/* ---- lists ---- */

bool lip_list_all(const lip_list *list, float value) {
  for (size_t i = 0; i < list->C; i++)
    if (list->v[i] != value) return false;
  return true;
}

static void drop(lip_list *list) {
  lip_free(list->v);
  *list = (lip_list){0};
}

/* Both sides of ONNX's broadcasting; the result must have as many numbers as v. */
static lip_status common_shape(const lip_onnx *o, const lip_val *c, lip_val *v) {
  char a[120], b[120];
  int64_t dim[LIP_GRAPH_DIMS];
  const int ndim = c->ndim > v->ndim ? c->ndim : v->ndim;
  size_t n = 1;
  bool fits = true;
  for (int i = 0; i < ndim; i++) {
    int64_t x = i < ndim - v->ndim ? 1 : v->dim[i - (ndim - v->ndim)];
    int64_t y = i < ndim - c->ndim ? 1 : c->dim[i - (ndim - c->ndim)];
    fits = fits && (x == y || x == 1 || y == 1);
    dim[i] = x == 1 ? y : x;
    n *= (size_t)x;
    fits = fits && (dim[i] == x || n == 0 || dim[i] == 1 || x != 1);
  }
  size_t all = 1;
  for (int i = 0; fits && i < ndim; i++) fits = dim[i] > 0 && lip_mul_fits(all, (size_t)dim[i], &all);
  if (!fits || all != v->n)
    return lip_onnx_refuse(o, "a constant %s does not fit the value %s",
                           lip_dims_text(c->dim, c->ndim, a, sizeof a),
                           lip_dims_text(v->dim, v->ndim, b, sizeof b));
  return lip_val_dims(o, v, ndim, dim);
}

/* full[k] for every number k of ours. */
static void broadcast(const lip_val *c, const lip_val *v, float *full) {
  size_t stride[LIP_GRAPH_DIMS] = {0}, at[LIP_GRAPH_DIMS] = {0}, step = 1, k = 0;
  for (int i = c->ndim; i-- > 0;) {
    int to = i + v->ndim - c->ndim;
    stride[to] = c->dim[i] == 1 ? 0 : step;
    step *= (size_t)c->dim[i];
  }
  for (size_t i = 0; i < v->n; i++) {
    full[v->map ? v->map[i] : i] = c->f[k];
    for (int d = v->ndim; d-- > 0;) {
      k += stride[d];
      if (++at[d] < (size_t)v->dim[d]) break;
      k -= stride[d] * at[d];
      at[d] = 0;
    }
  }
}

/* Puts one number of every channel first; false: they differ inside of one. */
static bool by_channel(float *full, size_t n, size_t C) {
  const size_t S = n / C;
  for (size_t i = 0; i < n; i++)
    if (full[i] != full[i / S * S]) return false;
  for (size_t c = 0; c < C; c++) full[c] = full[c * S];
  return true;
}

lip_status lip_fold_spread(lip_onnx *o, const lip_val *c, lip_val *v, lip_list *out) {
  *out = (lip_list){0};
  if (!c->f) return lip_onnx_refuse(o, "its constant has whole numbers");
  lip_status status = lip_fold_finite(o, c->f, c->n);
  if (!status) status = common_shape(o, c, v);
  if (status) return status;
  out->v = lip_alloc(c->n == 1 ? 1 : v->n, sizeof *out->v);
  if (!out->v) return lip_onnx_no_memory(o);
  out->C = 1;
  out->v[0] = c->f[0];
  if (c->n == 1) return LIP_OK;
  broadcast(c, v, out->v);
  if (by_channel(out->v, v->n, 1)) return LIP_OK;
  out->C = v->here.dim[0];
  if (by_channel(out->v, v->n, out->C)) return LIP_OK;
  out->C = v->n;
  return lip_onnx_flatten(o, v);
}

/* ---- maps ---- */

/* `list` with C numbers. */
static lip_status widen(const lip_onnx *o, float **list, size_t from, size_t C) {
  if (!*list || from == C) return LIP_OK;
  float *wide = lip_alloc(C, sizeof *wide);
  if (!wide) return lip_onnx_no_memory(o);
  for (size_t c = 0; c < C; c++) wide[c] = (*list)[0];
  lip_free(*list);
  *list = wide;
  return LIP_OK;
}

/* A map, the last piece of v or a new one, in which `slot` comes to hold the list. */
static lip_status put(const lip_onnx *o, lip_piece *p, float **slot, lip_list *list) {
  const size_t C = p->C > list->C ? p->C : list->C;
  lip_status status = widen(o, &list->v, list->C, C);
  if (!status) status = widen(o, &p->a, p->C, C);
  if (!status) status = widen(o, &p->m, p->C, C);
  if (!status) status = widen(o, &p->b, p->C, C);
  if (!status) {
    *slot = list->v;
    list->v = NULL;
    p->C = C;
    p->any_shape = C == 1;
  }
  drop(list);
  return status;
}

static lip_piece *new_map(const lip_onnx *o, lip_val *v) {
  lip_piece *p = lip_alloc(1, sizeof *p);
  if (!p) {
    lip_onnx_no_memory(o);
    return NULL;
  }
  p->what = LIP_PIECE_MAP;
  p->C = 1;
  p->any_shape = true;
  p->first = v->base == LIP_GRAPH_NONE && v->run.n == 0;
  return lip_run_push(o, &v->run, p) ? NULL : p;
}

/* The last piece when it is a map that ends before the operation with `later` as its slots, else a new one. */
static lip_piece *open_map(const lip_onnx *o, lip_val *v, bool offset) {
  lip_piece *p = lip_run_last(&v->run);
  if (p && p->what == LIP_PIECE_MAP && !p->b && (offset ? p->a != NULL : !p->a)) return p;
  return new_map(o, v);
}

static void negate(lip_list *list) {
  for (size_t i = 0; i < list->C; i++) list->v[i] = -list->v[i];
}

lip_status lip_fold_bias(lip_onnx *o, lip_val *v, lip_list *list) {
  lip_piece *p = lip_run_last(&v->run);
  const size_t outputs = v->here.dim[0];
  float *bias = lip_onnx_array(o, p, "bias", outputs);
  for (size_t i = 0; bias && i < outputs; i++) bias[i] = list->v[list->C == 1 ? 0 : i];
  drop(list);
  return bias ? lip_onnx_set(o, p, "bias", 1) : LIP_MEMORY;
}

bool lip_fold_wants_bias(const lip_val *v) {
  const lip_piece *p = lip_run_last(&v->run);
  return p && p->what == LIP_PIECE_LAYER && p->n_array == 1 && strcmp(p->array[0].name, "weight") == 0;
}

lip_status lip_fold_plus(lip_onnx *o, lip_val *v, lip_list *list) {
  if (lip_fold_wants_bias(v)) {
    const lip_status status = lip_fold_bias(o, v, list);
    return status ? status
                  : lip_onnx_note(o, "is the bias of the %s before it",
                                  lip_run_last(&v->run)->spec->kind->desc.name);
  }
  if (lip_list_all(list, 0)) {
    drop(list);
    return lip_onnx_note(o, "vanishes: it adds zeros");
  }
  lip_piece *p = open_map(o, v, true);
  if (!p) {
    drop(list);
    return LIP_MEMORY;
  }
  if (!p->a) negate(list); /* x - (-c): the same number */
  return put(o, p, p->a ? &p->b : &p->m, list);
}

lip_status lip_fold_minus(lip_onnx *o, lip_val *v, lip_list *list) {
  if (!lip_fold_wants_bias(v) && lip_list_all(list, 0)) {
    drop(list);
    return lip_onnx_note(o, "vanishes: it subtracts zeros");
  }
  negate(list);
  return lip_fold_plus(o, v, list);
}

lip_status lip_fold_times(lip_onnx *o, lip_val *v, lip_list *list) {
  if (lip_list_all(list, 1)) {
    drop(list);
    return lip_onnx_note(o, "vanishes: it multiplies by 1");
  }
  lip_piece *p = open_map(o, v, false);
  if (p) return put(o, p, &p->a, list);
  drop(list);
  return LIP_MEMORY;
}

lip_status lip_fold_from(lip_onnx *o, lip_val *v, lip_list *list) {
  lip_list minus = {1, lip_alloc(1, sizeof(float))};
  lip_piece *p = minus.v ? new_map(o, v) : NULL;
  if (!p) {
    drop(list);
    drop(&minus);
    return lip_onnx_no_memory(o);
  }
  minus.v[0] = -1; /* c - x = -(x - c), the same number */
  lip_status status = LIP_OK;
  if (lip_list_all(list, 0))
    drop(list);
  else
    status = put(o, p, &p->m, list);
  if (!status) return put(o, p, &p->a, &minus);
  drop(&minus);
  return status;
}

/* ---- layers of maps ---- */

static lip_status set_list(const lip_onnx *o, lip_piece *p, const char *option, const float *v, size_t C,
                           bool reciprocal) {
  lip_err why;
  double *list = lip_alloc(C, sizeof *list);
  if (!list) return lip_onnx_no_memory(o);
  for (size_t c = 0; c < C; c++) list[c] = reciprocal ? 1 / fabs((double)v[c]) : (double)v[c];
  lip_status status = lip_conf_set_reals(&p->spec->kind->desc, p->spec->conf, option, list, C, &why);
  lip_free(list);
  return status == LIP_MEMORY ? lip_onnx_no_memory(o)
         : status             ? lip_onnx_refuse(o, "%.240s", why.msg)
                              : status;
}

/* Whether scale can have these numbers: its mean, and a = factor / std, each of the sign of factor. */
static bool scale_fits(const lip_piece *p) {
  for (size_t c = 0; c < p->C; c++) {
    const double a = p->a ? (double)p->a[c] : 1, m = p->m ? (double)p->m[c] : 0;
    if (fabs(m) > 1e12 || a == 0 || (a < 0) != (p->a && p->a[0] < 0)) return false;
    if (fabs(a) < 2e-12 || fabs(a) > 5e11) return false;
    const double sign = a < 0 ? -1 : 1;
    if ((float)(sign / (1 / fabs(a))) != (float)a) return false;
  }
  return true;
}

static bool uniform(const float *v, size_t C) {
  return lip_list_all(&(lip_list){C, (float *)(uintptr_t)v}, v[0]);
}

static lip_status put_scale(const lip_onnx *o, const lip_piece *map, bool m, bool a, lip_run *out) {
  lip_val v = {.run = *out};
  lip_piece *p = lip_onnx_layer(o, &v, map->first && map->m && map->a ? "standardise" : "scale");
  *out = v.run;
  if (!p) return LIP_MEMORY;
  lip_status status = LIP_OK;
  if (m && map->m) status = set_list(o, p, "mean", map->m, uniform(map->m, map->C) ? 1 : map->C, false);
  if (status || !a || !map->a) return status;
  if (uniform(map->a, map->C)) return lip_onnx_set(o, p, "factor", (double)map->a[0]);
  status = set_list(o, p, "std", map->a, map->C, true);
  return status ? status : lip_onnx_set(o, p, "factor", map->a[0] < 0 ? -1 : 1);
}

/* a x + b as a batch_norm that divides by 1 and subtracts 0: its slope and offset are then a and b to the bit. */
static lip_status put_diagonal(const lip_onnx *o, const lip_piece *map, const float *m, lip_run *out) {
  const size_t C = map->C;
  lip_val v = {.run = *out};
  lip_piece *p = lip_onnx_layer(o, &v, "batch_norm");
  *out = v.run;
  if (!p) return LIP_MEMORY;
  lip_status status = lip_onnx_set(o, p, "eps", 1);
  if (!status) status = lip_onnx_set(o, p, "trainable", 0);
  float *gamma = status ? NULL : lip_onnx_array(o, p, "gamma", C);
  float *beta = gamma ? lip_onnx_array(o, p, "beta", C) : NULL;
  if (!beta || !lip_onnx_array(o, p, "running_mean", C) || !lip_onnx_array(o, p, "running_variance", C))
    return status ? status : LIP_MEMORY;
  for (size_t c = 0; c < C; c++) {
    gamma[c] = map->a ? map->a[c] : 1;
    beta[c] = map->b ? map->b[c] : m ? -m[c] : 0;
  }
  return LIP_OK;
}

lip_status lip_fold_settle(const lip_onnx *o, const lip_piece *map, lip_run *out) {
  const lip_piece shift = {.what = LIP_PIECE_MAP, .C = map->C, .m = map->m};
  if (scale_fits(map) && !map->b) return put_scale(o, map, true, true, out);
  if (map->C == 1) { /* any number of channels */
    float minus = map->b ? -map->b[0] : 0;
    const lip_piece last = {.what = LIP_PIECE_MAP, .C = 1, .m = &minus};
    if (!scale_fits(map) || !scale_fits(&last))
      return lip_onnx_refuse(o, "a map %g (x - %g) + %g before it is beyond what scale can do",
                             map->a ? (double)map->a[0] : 1, map->m ? (double)map->m[0] : 0, -(double)minus);
    lip_status status = put_scale(o, map, true, true, out);
    return status ? status : put_scale(o, &last, true, false, out);
  }
  if (!map->m || !map->a) return put_diagonal(o, map, map->m, out);
  lip_status status =
      scale_fits(&shift) ? put_scale(o, &shift, true, false, out) : put_diagonal(o, &shift, map->m, out);
  return status ? status : put_diagonal(o, map, NULL, out);
}

/* ---- operators ---- */

/* The one computed input as a run of its own, and the constant; *c NULL: both are computed. *first: the constant is input 0. */
static lip_status operands(lip_onnx *o, const lip_val **c, lip_val *v, bool *first) {
  const lip_graph_node *n = lip_onnx_node(o);
  const lip_val *x = lip_onnx_in(o, 0), *y = lip_onnx_in(o, 1);
  if (!x || !y) return lip_onnx_refuse(o, "needs two inputs");
  *first = !lip_val_computed(x);
  *c = *first ? x : lip_val_computed(y) ? NULL : y;
  return *c ? lip_onnx_take(o, n->in[*first], v) : LIP_OK;
}

/* Softplus behind a factor beta, and now divided by it: log(1 + exp(beta x)) / beta. */
static bool is_softplus(lip_val *v, const lip_list *list) {
  const size_t n = v->run.n;
  const lip_piece *p = lip_run_last(&v->run), *q = n > 1 ? v->run.piece[n - 2] : NULL;
  return p && q && p->spec && strcmp(p->spec->kind->desc.name, "softplus") == 0 && q->what == LIP_PIECE_MAP &&
         q->C == 1 && q->a && !q->m && list->C == 1 && list->v[0] == q->a[0];
}

static lip_status to_softplus(const lip_onnx *o, lip_val *v, lip_list *list) {
  const double beta = (double)list->v[0];
  lip_run *r = &v->run;
  lip_piece_free(r->piece[r->n - 2]);
  r->piece[r->n - 2] = r->piece[r->n - 1];
  r->n--;
  drop(list);
  return lip_onnx_set(o, r->piece[r->n - 1], "beta", beta);
}

/* 1 / c, exact or with leave to round. */
static lip_status invert(const lip_onnx *o, lip_list *list) {
  bool exact = true;
  for (size_t i = 0; i < list->C; i++) {
    const float c = list->v[i], r = (float)(1 / (double)c);
    if (c == 0 || !isfinite(r) || fabsf(r) < FLT_MIN) return lip_onnx_refuse(o, "divides by %g", (double)c);
    if ((double)r * (double)c != 1 && exact) {
      exact = false;
      if (!o->conf->round)
        return lip_onnx_refuse(
            o,
            "divides by %.9g, and 1 / %.9g is no float32 number; with round = true the net "
            "multiplies by the nearest one",
            (double)c, (double)c);
    }
    list->v[i] = r;
  }
  if (exact) return LIP_OK;
  o->notes->rounded = true;
  return lip_onnx_note(o, "multiplies by 1 / divisor, rounded to the nearest float32 number");
}

static lip_status divide(lip_onnx *o, lip_val *v, lip_list *list) {
  if (is_softplus(v, list)) return to_softplus(o, v, list);
  lip_status status = invert(o, list);
  if (!status) return lip_fold_times(o, v, list);
  drop(list);
  return status;
}

static lip_status product(lip_onnx *o, bool quotient) {
  lip_val v = {0};
  lip_list list = {0};
  const lip_val *c;
  bool first;
  lip_status status = operands(o, &c, &v, &first);
  if (!status && (!c || (quotient && first)))
    status = lip_onnx_refuse(o, "of two computed values, or by one, is not linear and not supported");
  if (!status) status = lip_fold_spread(o, c, &v, &list);
  if (!status) {
    status = quotient ? divide(o, &v, &list) : lip_fold_times(o, &v, &list);
    list.v = NULL;
  }
  drop(&list);
  return lip_onnx_end(o, &v, status);
}

lip_status lip_onnx_mul(lip_onnx *o) {
  return product(o, false);
}

lip_status lip_onnx_div(lip_onnx *o) {
  return product(o, true);
}

lip_status lip_onnx_neg(lip_onnx *o) {
  lip_val v = {0};
  lip_list minus = {1, NULL};
  lip_status status = lip_onnx_take_in(o, 0, &v);
  if (!status) {
    minus.v = lip_alloc(1, sizeof(float));
    if (minus.v) minus.v[0] = -1;
    status = minus.v ? lip_fold_times(o, &v, &minus) : lip_onnx_no_memory(o);
  }
  return lip_onnx_end(o, &v, status);
}

/* ---- max and min with constants ---- */

static lip_status copy_list(const lip_onnx *o, const lip_list *from, lip_list *to) {
  *to = (lip_list){from->C, lip_alloc(from->C, sizeof(float))};
  if (!to->v) return lip_onnx_no_memory(o);
  memcpy(to->v, from->v, from->C * sizeof(float));
  return LIP_OK;
}

/* max(x, c) = relu(x - c) + c;  min(x, c) = c - relu(c - x). Takes the list. */
static lip_status limit(lip_onnx *o, lip_val *v, lip_list *list, bool below) {
  lip_list again;
  const bool zero = lip_list_all(list, 0);
  lip_status status = copy_list(o, list, &again);
  if (status) {
    drop(list);
    return status;
  }
  if (!below)
    status = lip_fold_from(o, v, list);
  else if (!zero)
    status = lip_fold_minus(o, v, list);
  if (below && zero) drop(list);
  lip_piece *p = status ? NULL : lip_onnx_layer(o, v, "relu");
  if (!p) {
    drop(&again);
    return status ? status : LIP_MEMORY;
  }
  p->any_shape = true;
  if (!below)
    status = lip_fold_from(o, v, &again);
  else if (!zero)
    status = lip_fold_plus(o, v, &again);
  if (below && zero) drop(&again);
  if (status || zero) return status;
  return lip_onnx_note(o, below ? "is executed as relu(x - c) + c" : "is executed as c - relu(c - x)");
}

static lip_status bound_by(lip_onnx *o, lip_val *v, const lip_val *c, bool below) {
  lip_list list;
  lip_status status = lip_fold_spread(o, c, v, &list);
  if (!status) return limit(o, v, &list, below);
  drop(&list);
  return status;
}

static lip_status extreme(lip_onnx *o, bool below) {
  lip_val v = {0};
  const lip_val *c;
  bool first;
  if (lip_onnx_node(o)->n_in != 2) return lip_onnx_refuse(o, "of two values, one a constant, is supported");
  lip_status status = operands(o, &c, &v, &first);
  if (!status && !c)
    status = lip_onnx_refuse(
        o, "of computed values is supported only as the pairs that sorting layers are written as");
  if (!status) status = bound_by(o, &v, c, below);
  return lip_onnx_end(o, &v, status);
}

lip_status lip_onnx_max(lip_onnx *o) {
  return extreme(o, true);
}

lip_status lip_onnx_min(lip_onnx *o) {
  return extreme(o, false);
}

/* One end of Clip: an attribute up to opset 10, then an input. */
static lip_status clip_end(lip_onnx *o, lip_val *v, bool below) {
  const lip_graph_attribute *a = lip_graph_attribute_of(lip_onnx_node(o), below ? "min" : "max");
  const lip_val *in = lip_onnx_in(o, below ? 1 : 2);
  float number = a ? a->f : below ? -INFINITY : INFINITY;
  lip_val c = {.known = true, .n = 1, .f = &number};
  if (in) {
    if (!in->f || in->n != 1) return lip_onnx_refuse(o, "its ends must be constant numbers");
    number = in->f[0];
  }
  if (below ? number <= -FLT_MAX : number >= FLT_MAX) return LIP_OK;
  return bound_by(o, v, &c, below);
}

lip_status lip_onnx_clip(lip_onnx *o) {
  lip_val v = {0};
  lip_status status = lip_onnx_take_in(o, 0, &v);
  if (!status) status = clip_end(o, &v, true);
  if (!status) status = clip_end(o, &v, false);
  return lip_onnx_end(o, &v, status);
}
