/* Matrices: MatMul and Gemm with a constant on one side become dense layers, whose weights are the constant's numbers, put
 * in the order (outputs, inputs). */
#include <math.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"

/* Entry (k, j) of the constant, k inputs and j outputs, stands at k step_k + j step_j. */
typedef struct matrix {
  const float *v;
  size_t K, N, step_k, step_j;
} matrix;

/* y = W x behind v, whose numbers are the inputs. */
static lip_status put_dense(lip_onnx *o, lip_val *v, const matrix *w) {
  lip_status status = lip_fold_finite(o, w->v, w->K * w->N);
  if (!status) status = lip_onnx_flatten(o, v);
  lip_piece *p = status ? NULL : lip_onnx_layer(o, v, "dense");
  if (!p) return status ? status : LIP_MEMORY;
  status = lip_onnx_set(o, p, "out", (double)w->N);
  if (!status) status = lip_onnx_set(o, p, "bias", 0);
  float *W = status ? NULL : lip_onnx_array(o, p, "weight", w->N * w->K);
  if (!W) return status ? status : LIP_MEMORY;
  enum { TILE = 32 }; /* one of both sides is read in steps */
  for (size_t k0 = 0; k0 < w->K; k0 += TILE)
    for (size_t j = 0; j < w->N; j++)
      for (size_t k = k0; k < w->K && k < k0 + TILE; k++)
        W[j * w->K + (v->map ? v->map[k] : k)] = w->v[k * w->step_k + j * w->step_j];
  v->here = (lip_shape){1, {w->N, 0, 0}};
  if (!v->map) return LIP_OK;
  lip_free(v->map);
  v->map = NULL;
  return lip_onnx_note(o, "takes the order of its inputs into its columns");
}

/* Sides of the constant without leading ones: at most two are left. */
static lip_status two_sides(const lip_onnx *o, const lip_val *c, int64_t side[2]) {
  char text[120];
  int skip = 0;
  while (c->ndim - skip > 2 && c->dim[skip] == 1) skip++;
  if (!c->f || c->ndim - skip != 2)
    return lip_onnx_refuse(o, "needs a constant matrix, got %s",
                           c->f ? lip_dims_text(c->dim, c->ndim, text, sizeof text) : "whole numbers");
  side[0] = c->dim[skip];
  side[1] = c->dim[skip + 1];
  return LIP_OK;
}

/* Every side but `last` is 1: the value is one row, or one column. */
static bool alone(const lip_val *v, int last) {
  return last >= 0 && (size_t)v->dim[last] == v->n;
}

static lip_status misfit(const lip_onnx *o, const lip_val *v, const int64_t side[2]) {
  char text[120];
  return lip_onnx_refuse(
      o,
      "of the value %s and a constant %lldx%lld: only a matrix times one row (or one column) of "
      "numbers is supported",
      lip_dims_text(v->dim, v->ndim, text, sizeof text), (long long)side[0], (long long)side[1]);
}

/* x W, x one row; or W x, x one column. */
static lip_status multiply(lip_onnx *o, lip_val *v, const lip_val *c, bool left) {
  int64_t side[2], dim[LIP_GRAPH_DIMS];
  const int column = v->ndim > 1 ? v->ndim - 2 : 0;
  lip_status status = two_sides(o, c, side);
  if (status) return status;
  const bool fits = left ? alone(v, column) && v->dim[column] == side[1]
                         : alone(v, v->ndim - 1) && v->dim[v->ndim - 1] == side[0];
  if (!fits) return misfit(o, v, side);
  const size_t K = v->n, N = (size_t)side[left ? 0 : 1];
  const matrix w = {c->f, K, N, left ? 1 : N, left ? K : 1};
  status = put_dense(o, v, &w);
  if (status) return status;
  const int ndim = v->ndim > c->ndim || v->ndim == 1 ? v->ndim : c->ndim;
  for (int i = 0; i < ndim; i++) dim[i] = 1;
  dim[left && v->ndim > 1 ? ndim - 2 : ndim - 1] = (int64_t)N;
  return lip_val_dims(o, v, ndim, dim);
}

lip_status lip_onnx_matmul(lip_onnx *o) {
  lip_val v = {0};
  const lip_val *x = lip_onnx_in(o, 0), *y = lip_onnx_in(o, 1);
  if (!x || !y) return lip_onnx_refuse(o, "needs two inputs");
  const bool left = !lip_val_computed(x);
  if (!left && lip_val_computed(y))
    return lip_onnx_refuse(o, "of two computed values is not linear and not supported");
  lip_status status = lip_onnx_take_in(o, left, &v);
  if (!status) status = multiply(o, &v, left ? x : y, left);
  return lip_onnx_end(o, &v, status);
}

/* ---- Gemm ---- */

/* factor v in place; false: some product is no float32 number, and nothing has changed. */
static bool times(float factor, float *v, size_t n) {
  if (factor == 1) return true;
  for (size_t i = 0; i < n; i++) {
    const double exact = (double)factor * (double)v[i];
    if ((double)(float)exact != exact) return false;
  }
  for (size_t i = 0; i < n; i++) v[i] *= factor;
  return true;
}

static void round_times(float factor, float *v, size_t n) {
  for (size_t i = 0; i < n; i++) v[i] *= factor;
}

static lip_status put_alpha(lip_onnx *o, lip_val *v, float alpha) {
  const lip_piece *p = lip_run_last(&v->run);
  if (times(alpha, p->array[0].v, p->array[0].n)) return LIP_OK;
  lip_list list = {1, lip_alloc(1, sizeof(float))};
  if (!list.v) return lip_onnx_no_memory(o);
  list.v[0] = alpha;
  lip_status status = lip_fold_times(o, v, &list);
  return status ? status
                : lip_onnx_note(o, "alpha %.9g is a scale of its own: not all products with it are float32",
                                (double)alpha);
}

static lip_status put_beta(lip_onnx *o, lip_val *v, const lip_val *c, float beta) {
  lip_list list;
  lip_status status = lip_fold_spread(o, c, v, &list);
  if (!status && !times(beta, list.v, list.C)) {
    if (!o->conf->round)
      status = lip_onnx_refuse(
          o, "products of beta %.9g and C are no float32 numbers; round = true takes the nearest",
          (double)beta);
    else
      round_times(beta, list.v, list.C);
    o->notes->rounded = true;
    if (!status) status = lip_onnx_note(o, "beta C is rounded to the nearest float32 numbers");
    if (!status) status = lip_fold_finite(o, list.v, list.C);
  }
  if (!status) return lip_fold_wants_bias(v) ? lip_fold_bias(o, v, &list) : lip_fold_plus(o, v, &list);
  lip_free(list.v);
  return status;
}

lip_status lip_onnx_gemm(lip_onnx *o) {
  lip_val v = {0};
  const lip_val *w = lip_onnx_in(o, 1), *c = lip_onnx_in(o, 2);
  const bool turn = lip_onnx_int(o, "transB", 0) != 0;
  const int row = lip_onnx_int(o, "transA", 0) == 0;
  int64_t side[2];
  if (!w || lip_val_computed(w) || (c && lip_val_computed(c)))
    return lip_onnx_refuse(o, "needs constants as B and C");
  lip_status status = two_sides(o, w, side);
  if (!status) status = lip_onnx_take_in(o, 0, &v);
  if (status) return lip_onnx_end(o, &v, status);
  const size_t N = (size_t)side[!turn];
  const matrix m = {w->f, v.n, N, turn ? 1 : N, turn ? v.n : 1};
  if (v.ndim != 2 || !alone(&v, row) || v.dim[row] != side[turn]) status = misfit(o, &v, side);
  if (!status) status = put_dense(o, &v, &m);
  if (!status) status = lip_val_dims(o, &v, 2, (int64_t[]){1, (int64_t)N});
  if (!status) status = put_alpha(o, &v, lip_onnx_float(o, "alpha", 1));
  if (!status && c) status = put_beta(o, &v, c, lip_onnx_float(o, "beta", 1));
  return lip_onnx_end(o, &v, status);
}
