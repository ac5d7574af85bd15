/* Functions of one number, and BatchNormalization. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"

lip_status lip_onnx_unit(lip_onnx *o) {
  static const struct {
    const char *op, *kind;
  } rows[] = {{"Relu", "relu"},       {"Abs", "abs"},           {"Tanh", "tanh"},
              {"Sigmoid", "sigmoid"}, {"Softplus", "softplus"}, {NULL, NULL}};
  lip_val v = {0};
  size_t i = 0;
  while (rows[i].op && strcmp(rows[i].op, lip_onnx_node(o)->op) != 0) i++;
  lip_status status = lip_onnx_take_in(o, 0, &v);
  lip_piece *p = status ? NULL : lip_onnx_layer(o, &v, rows[i].kind);
  if (p) p->any_shape = true;
  return lip_onnx_end(o, &v, p ? LIP_OK : status ? status : LIP_MEMORY);
}

/* LeakyRelu, and PRelu with one slope. */
lip_status lip_onnx_leaky(lip_onnx *o) {
  lip_val v = {0};
  float slope = lip_onnx_float(o, "alpha", 0.01F);
  if (strcmp(lip_onnx_node(o)->op, "PRelu") == 0) {
    const lip_val *c = lip_onnx_in(o, 1);
    if (!c || !c->f || !lip_list_all(&(lip_list){c->n, (float *)(uintptr_t)c->f}, c->f[0]))
      return lip_onnx_refuse(o, "with more than one constant slope is not supported");
    slope = c->f[0];
  }
  lip_status status = lip_fold_finite(o, &slope, 1);
  if (!status) status = lip_onnx_take_in(o, 0, &v);
  lip_piece *p = status ? NULL : lip_onnx_layer(o, &v, "leaky_relu");
  if (!status) status = p ? lip_onnx_set(o, p, "slope", (double)slope) : LIP_MEMORY;
  if (p) p->any_shape = true;
  return lip_onnx_end(o, &v, status);
}

/* ---- BatchNormalization ---- */

enum { GAMMA, BETA, MEAN, VARIANCE, ARRAYS };

/* A batch_norm has an eps from 1e-12 on. With less, the map of the file is written down as a batch_norm executes it. */
static lip_status put_map(lip_onnx *o, lip_val *v, float *const list[ARRAYS], size_t C, double eps) {
  lip_list a = {C, lip_alloc(C, sizeof(float))}, b = {C, lip_alloc(C, sizeof(float))};
  lip_list m = {C, lip_alloc(C, sizeof(float))};
  lip_status status = a.v && b.v && m.v ? LIP_OK : lip_onnx_no_memory(o);
  bool plain = true; /* divides by 1 */
  for (size_t c = 0; !status && c < C; c++) plain = plain && eps == 0 && list[VARIANCE][c] == 1;
  for (size_t c = 0; !status && c < C; c++) {
    const double s = sqrt((double)list[VARIANCE][c] + eps);
    a.v[c] = plain ? list[GAMMA][c] : (float)((double)list[GAMMA][c] / s);
    m.v[c] = plain ? list[MEAN][c] : 0;
    b.v[c] = plain ? list[BETA][c] : (float)((double)list[BETA][c] - (double)a.v[c] * (double)list[MEAN][c]);
    if (!isfinite(a.v[c]) || !isfinite(b.v[c])) status = lip_onnx_refuse(o, "divides by the root of 0");
  }
  lip_list *const in_order[] = {&m, &a, &b};
  for (int i = 0; !status && i < 3; i++) {
    if (lip_list_all(in_order[i], i == 1 ? 1 : 0)) continue; /* does nothing */
    status = i == 0 ? lip_fold_minus(o, v, &m) : i == 1 ? lip_fold_times(o, v, &a) : lip_fold_plus(o, v, &b);
  }
  lip_free(a.v);
  lip_free(b.v);
  lip_free(m.v);
  return status;
}

static lip_status put_layer(lip_onnx *o, lip_val *v, float *const list[ARRAYS], size_t C, double eps) {
  static const char *const names[ARRAYS] = {"gamma", "beta", "running_mean", "running_variance"};
  lip_piece *p = lip_onnx_layer(o, v, "batch_norm");
  lip_status status = p ? lip_onnx_set(o, p, "eps", eps) : LIP_MEMORY;
  for (int i = 0; !status && i < ARRAYS; i++) {
    float *to = lip_onnx_array(o, p, names[i], C);
    if (!to) return LIP_MEMORY;
    memcpy(to, list[i], C * sizeof *to);
  }
  if (status) return status;
  return lip_onnx_note(
      o, "is executed as a x + b with the float32 numbers a = scale / sqrt(var + epsilon), b = B - a mean");
}

/* The constant k + 1 of the node, in the order of our channels. */
static lip_status take_list(const lip_onnx *o, const lip_val *v, size_t k, float *to) {
  const lip_val *c = lip_onnx_in(o, k + 1);
  const size_t C = v->here.dim[0];
  if (!c || !c->f || c->n != C)
    return lip_onnx_refuse(o, "needs %zu constant numbers as input %zu", C, k + 2);
  lip_status status = lip_fold_finite(o, c->f, C);
  for (size_t i = 0; !status && i < C; i++) {
    to[v->map ? v->map[i] : i] = c->f[i];
    if (k == VARIANCE && c->f[i] < 0) status = lip_onnx_refuse(o, "variance %zu is negative", i + 1);
  }
  return status;
}

lip_status lip_onnx_batch_norm(lip_onnx *o) {
  lip_val v = {0};
  const double eps = (double)lip_onnx_float(o, "epsilon", 1e-5F);
  if (lip_onnx_int(o, "training_mode", 0) != 0 || !(eps >= 0))
    return lip_onnx_refuse(o, "in training, or with a negative epsilon, is not supported");
  lip_status status = lip_onnx_take_in(o, 0, &v);
  if (!status) status = lip_onnx_shape(o, &v);
  if (status) return lip_onnx_end(o, &v, status);
  const size_t C = v.here.dim[0];
  float *all = lip_alloc(C, ARRAYS * sizeof *all);
  if (!all) return lip_onnx_end(o, &v, lip_onnx_no_memory(o));
  float *const list[ARRAYS] = {all, all + C, all + 2 * C, all + 3 * C};
  for (size_t k = 0; !status && k < ARRAYS; k++) status = take_list(o, &v, k, list[k]);
  if (!status) status = (eps < 1e-12 ? put_map : put_layer)(o, &v, list, C, eps);
  lip_free(all);
  return lip_onnx_end(o, &v, status);
}
