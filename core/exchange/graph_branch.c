/* Where branches meet: Add and Sub of computed values become residual or sum, Concat becomes concat. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"
#include "core/io/spec_json.h"

/* Branches that meet at the node, and what they are multiplied by. */
typedef struct meeting {
  size_t n;
  lip_val *v;    /* (n) owned */
  float *weight; /* (n) owned, NULL where they are joined */
} meeting;

static void end(meeting *m) {
  for (size_t i = 0; m->v && i < m->n; i++) lip_val_free(&m->v[i]);
  lip_free(m->v);
  lip_free(m->weight);
  *m = (meeting){0};
}

static lip_status begin(const lip_onnx *o, size_t n, meeting *m) {
  *m = (meeting){n, lip_alloc(n, sizeof *m->v), lip_alloc(n, sizeof *m->weight)};
  for (size_t i = 0; m->weight && i < n; i++) m->weight[i] = 1;
  return m->v && m->weight ? LIP_OK : lip_onnx_no_memory(o);
}

/* They must begin at one value: graphs whose branches cross are not made of residual, sum and concat. */
static lip_status same_base(const lip_onnx *o, const meeting *m) {
  for (size_t i = 0; i < m->n; i++)
    if (m->v[i].base == LIP_GRAPH_NONE || m->v[i].base != m->v[0].base) {
      const size_t b = m->v[i].base == LIP_GRAPH_NONE ? m->v[0].base : m->v[i].base;
      return lip_onnx_refuse(
          o,
          "its branches do not begin at the same value (one begins at \"%.60s\"): branches that "
          "cross are not supported",
          b == LIP_GRAPH_NONE ? "" : o->g->value[b].name);
    }
  return LIP_OK;
}

static size_t depth_of(const lip_run *r) {
  size_t depth = 0;
  for (size_t i = 0; i < r->n; i++)
    if (r->piece[i]->depth > depth) depth = r->piece[i]->depth;
  return depth;
}

/* The container behind the base of the branches, whose runs it takes; *out, which has its shape already, goes on there. */
static lip_status meet(lip_onnx *o, meeting *m, lip_piece_what what, lip_val *out) {
  const size_t b = m->v[0].base;
  lip_val *base = &o->val[b];
  size_t depth = 0;
  for (size_t i = 0; i < m->n; i++)
    if (depth_of(&m->v[i].run) > depth) depth = depth_of(&m->v[i].run);
  if (depth + 2 >= LIP_SPEC_MAX_NESTING)
    return lip_onnx_refuse(o, "branches are nested more than %d deep", LIP_SPEC_MAX_NESTING / 2 - 1);
  lip_run *branch = lip_alloc(m->n, sizeof *branch);
  if (!branch) return lip_onnx_no_memory(o);
  base->open -= base->open < m->n ? base->open : m->n - 1;
  out->base = b;
  if (base->open <= 1) {
    out->base = base->base;
    out->run = base->run;
    base->run = (lip_run){0};
  }
  lip_piece *p = lip_onnx_piece(o, &out->run, what);
  if (!p) {
    lip_free(branch);
    return o->err ? o->err->code : LIP_MEMORY;
  }
  p->depth = depth + 2;
  p->branch = branch;
  p->n_branch = m->n;
  for (size_t i = 0; i < m->n; i++) {
    branch[i] = m->v[i].run;
    m->v[i].run = (lip_run){0};
  }
  p->weight = m->weight;
  m->weight = NULL;
  return LIP_OK;
}

/* ---- sums ---- */

/* A factor for all numbers at the end of a branch is the branch's weight. */
static void take_weight(lip_val *v, float *weight) {
  lip_piece *p = lip_run_last(&v->run);
  if (!p || p->what != LIP_PIECE_MAP || p->C != 1 || !p->a || p->m || p->b) return;
  if (p->a[0] == 0 || fabsf(p->a[0]) > 1e12F) return;
  *weight *= p->a[0]; /* by 1 or -1 */
  lip_piece_free(p);
  v->run.n--;
}

/* A sum that is a whole branch over the same base, times 1. */
static bool is_sum(const meeting *m, size_t i) {
  return m->v[i].run.n == 1 && m->v[i].run.piece[0]->what == LIP_PIECE_SUM && m->weight[i] == 1;
}

/* (a + b) + c is a sum of three, from the first on; so is c + (a + b), which is the same number. */
static lip_status unfold(const lip_onnx *o, meeting *m) {
  const size_t i = is_sum(m, 0) ? 0 : 1;
  if (!is_sum(m, i)) return LIP_OK;
  lip_piece *inner = m->v[i].run.piece[0];
  meeting all;
  lip_status status = begin(o, inner->n_branch + 1, &all);
  if (status) {
    end(&all);
    return status;
  }
  for (size_t k = 0; k < inner->n_branch; k++) {
    all.v[k] = (lip_val){.known = true, .base = m->v[i].base, .run = inner->branch[k]};
    all.weight[k] = inner->weight[k];
    inner->branch[k] = (lip_run){0};
  }
  all.v[inner->n_branch] = m->v[1 - i];
  all.weight[inner->n_branch] = m->weight[1 - i];
  m->v[1 - i] = (lip_val){0};
  end(m);
  *m = all;
  return LIP_OK;
}

static bool same_order(const lip_val *a, const lip_val *b) {
  if (!a->map || !b->map) return a->map == b->map;
  return memcmp(a->map, b->map, a->n * sizeof *a->map) == 0;
}

/* Sides of the sum: those of both, which may differ by sides of 1 in front. */
static lip_status sum_sides(const lip_onnx *o, const meeting *m, lip_val *out) {
  char a[120], b[120];
  const lip_val *x = &m->v[0], *y = &m->v[1];
  const lip_val *more = x->ndim >= y->ndim ? x : y, *less = x->ndim >= y->ndim ? y : x;
  bool same = x->n == y->n;
  for (int i = 0; same && i < less->ndim; i++) same = less->dim[i] == more->dim[i + more->ndim - less->ndim];
  if (!same)
    return lip_onnx_refuse(o, "of the values %s and %s: they must have the same shape",
                           lip_dims_text(x->dim, x->ndim, a, sizeof a),
                           lip_dims_text(y->dim, y->ndim, b, sizeof b));
  if (!same_order(x, y))
    return lip_onnx_refuse(o, "one of its values comes from a Transpose, the other does not");
  return lip_val_dims(o, out, more->ndim, more->dim);
}

/* The shape that sum has is that of its first branch, and residual's that of its input. */
static lip_status sum_shape(const lip_onnx *o, meeting *m, lip_val *out) {
  const lip_val *x = &m->v[0], *y = &m->v[1];
  bool same = x->here.ndim == y->here.ndim;
  for (int i = 0; same && i < x->here.ndim; i++) same = x->here.dim[i] == y->here.dim[i];
  for (int i = 0; !same && i < 2; i++) {
    lip_status status = lip_onnx_flatten(o, &m->v[i]);
    if (status) return status;
  }
  out->here = m->v[0].here;
  out->map = m->v[0].map;
  m->v[0].map = NULL;
  return LIP_OK;
}

static lip_status total(lip_onnx *o, bool minus) {
  meeting m;
  lip_val out = {.known = true};
  const lip_graph_node *n = lip_onnx_node(o);
  lip_status status = begin(o, 2, &m);
  for (size_t i = 0; !status && i < 2; i++) status = lip_onnx_take(o, n->in[i], &m.v[i]);
  if (!status) status = same_base(o, &m);
  if (!status) status = sum_sides(o, &m, &out);
  if (!status && minus) m.weight[1] = -1;
  for (size_t i = 0; !status && i < 2; i++) take_weight(&m.v[i], &m.weight[i]);
  if (!status) status = sum_shape(o, &m, &out);
  if (!status) status = unfold(o, &m);
  if (!status) status = meet(o, &m, LIP_PIECE_SUM, &out);
  end(&m);
  return lip_onnx_end(o, &out, status);
}

/* One of the two is a constant. */
static lip_status shifted(lip_onnx *o, bool minus) {
  lip_val v = {0};
  lip_list list = {0};
  const bool first = !lip_val_computed(lip_onnx_in(o, 0));
  const lip_val *c = lip_onnx_in(o, !first);
  lip_status status = lip_onnx_take_in(o, first, &v);
  if (!status) status = lip_fold_spread(o, c, &v, &list);
  if (!status)
    status = !minus  ? lip_fold_plus(o, &v, &list)
             : first ? lip_fold_from(o, &v, &list)
                     : lip_fold_minus(o, &v, &list);
  else
    lip_free(list.v);
  return lip_onnx_end(o, &v, status);
}

static lip_status plus(lip_onnx *o, bool minus) {
  const lip_val *x = lip_onnx_in(o, 0), *y = lip_onnx_in(o, 1);
  if (!x || !y || lip_onnx_node(o)->n_in != 2) return lip_onnx_refuse(o, "needs two inputs");
  return (lip_val_computed(x) && lip_val_computed(y) ? total : shifted)(o, minus);
}

lip_status lip_onnx_add(lip_onnx *o) {
  return plus(o, false);
}

lip_status lip_onnx_sub(lip_onnx *o) {
  return plus(o, true);
}

/* ---- Concat ---- */

/* What they are joined along: the first side of our shapes, or all of them flat. */
static lip_status join_shapes(const lip_onnx *o, meeting *m, int axis, lip_val *out) {
  const lip_val *x = &m->v[0];
  int64_t dim[LIP_GRAPH_DIMS], before = 1;
  bool alike = axis + x->here.ndim == x->ndim;
  memcpy(dim, x->dim, sizeof dim);
  dim[axis] = 0;
  for (size_t i = 0; i < m->n; i++) {
    const lip_val *v = &m->v[i];
    bool fits = v->ndim == x->ndim;
    for (int d = 0; fits && d < v->ndim; d++) fits = d == axis || v->dim[d] == x->dim[d];
    if (!fits) return lip_onnx_refuse(o, "its inputs differ beside axis %d", axis);
    if (v->map) return lip_onnx_refuse(o, "one of its values comes from a Transpose");
    alike = alike && v->here.ndim == x->here.ndim;
    for (int d = 0; alike && d < v->here.ndim; d++) alike = (int64_t)v->here.dim[d] == v->dim[axis + d];
    dim[axis] += v->dim[axis];
  }
  for (int d = 0; d < axis; d++) before *= x->dim[d];
  if (before != 1) return lip_onnx_refuse(o, "joins along axis %d, not along channels or features", axis);
  lip_status status = lip_val_dims(o, out, x->ndim, dim);
  for (size_t i = 0; !status && !alike && i < m->n; i++) status = lip_onnx_flatten(o, &m->v[i]);
  if (status) return status;
  out->here = m->v[0].here;
  for (size_t i = 1; i < m->n; i++) out->here.dim[0] += m->v[i].here.dim[0];
  return LIP_OK;
}

lip_status lip_onnx_concat(lip_onnx *o) {
  meeting m;
  int axis = 0;
  lip_val out = {.known = true};
  const lip_graph_node *n = lip_onnx_node(o);
  if (n->n_in == 1) return lip_onnx_identity(o);
  for (size_t i = 0; i < n->n_in; i++) {
    const lip_val *v = lip_onnx_in(o, i);
    if (v && !lip_val_computed(v) && i == 0) return lip_onnx_join_shapes(o);
    if (!v || !lip_val_computed(v))
      return lip_onnx_refuse(o, "of computed values and constants is not supported");
  }
  lip_status status = begin(o, n->n_in, &m);
  for (size_t i = 0; !status && i < n->n_in; i++) status = lip_onnx_take(o, n->in[i], &m.v[i]);
  if (!status) status = same_base(o, &m);
  if (!status) status = lip_onnx_axis(o, lip_onnx_int(o, "axis", 1), m.v[0].ndim, &axis);
  if (!status) status = join_shapes(o, &m, axis, &out);
  if (!status) status = meet(o, &m, LIP_PIECE_JOIN, &out);
  end(&m);
  return lip_onnx_end(o, &out, status);
}
