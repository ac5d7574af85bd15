#include "support_onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_files.h"

static void keep(onnx_net *n, void *p) {
  assert_non_null(p);
  if ((n->n_block & (n->n_block - 1)) == 0) /* room doubles */
    n->block = realloc(n->block, (n->n_block ? 2 * n->n_block : 1) * sizeof *n->block);
  assert_non_null(n->block);
  n->block[n->n_block++] = p;
}

void *onnx_take(onnx_net *n, size_t bytes) {
  void *p = calloc(bytes ? bytes : 1, 1);
  keep(n, p);
  return p;
}

static char *copy(onnx_net *n, const char *text, size_t length) {
  char *p = onnx_take(n, length + 1);
  memcpy(p, text, length);
  return p;
}

/* Appends p to a list of pointers of any type, whose room doubles; byte by byte, as types differ. */
static void append(onnx_net *n, void *list, size_t *count, void *p) {
  unsigned char *now;
  memcpy(&now, list, sizeof now);
  if ((*count & (*count - 1)) == 0) {
    unsigned char *bigger = onnx_take(n, (*count ? 2 * *count : 1) * sizeof p);
    if (*count) memcpy(bigger, now, *count * sizeof p);
    memcpy(list, &bigger, sizeof bigger);
    now = bigger;
  }
  memcpy(now + *count * sizeof p, &p, sizeof p);
  (*count)++;
}

onnx_net *onnx_new(int64_t opset) {
  onnx_net *n = calloc(1, sizeof *n);
  assert_non_null(n);
  n->model = onnx_take(n, sizeof *n->model);
  lip_onnx__model_proto__init(n->model);
  n->model->has_ir_version = 1;
  n->model->ir_version = 8;
  n->model->graph = onnx_take(n, sizeof *n->model->graph);
  lip_onnx__graph_proto__init(n->model->graph);
  LipOnnx__OperatorSetIdProto *id = onnx_take(n, sizeof *id);
  lip_onnx__operator_set_id_proto__init(id);
  id->has_version = 1;
  id->version = opset;
  append(n, &n->model->opset_import, &n->model->n_opset_import, id);
  return n;
}

void onnx_free(onnx_net *n) {
  for (size_t k = 0; k < n->n_block; k++) free(n->block[k]);
  free(n->block);
  free(n);
}

static LipOnnx__ValueInfoProto *value(onnx_net *n, const char *name, int ndim, const int64_t *dim) {
  LipOnnx__ValueInfoProto *v = onnx_take(n, sizeof *v);
  lip_onnx__value_info_proto__init(v);
  v->name = copy(n, name, strlen(name));
  v->type = onnx_take(n, sizeof *v->type);
  lip_onnx__type_proto__init(v->type);
  LipOnnx__TypeProto__Tensor *t = v->type->tensor_type = onnx_take(n, sizeof *t);
  lip_onnx__type_proto__tensor__init(t);
  t->has_elem_type = 1;
  t->elem_type = ONNX_FLOAT;
  t->shape = onnx_take(n, sizeof *t->shape);
  lip_onnx__tensor_shape_proto__init(t->shape);
  for (int d = 0; d < ndim; d++) {
    LipOnnx__TensorShapeProto__Dimension *one = onnx_take(n, sizeof *one);
    lip_onnx__tensor_shape_proto__dimension__init(one);
    one->has_dim_value = dim[d] >= 0;
    one->dim_value = one->has_dim_value ? dim[d] : 0;
    if (dim[d] < 0) one->dim_param = copy(n, "batch", 5);
    append(n, &t->shape->dim, &t->shape->n_dim, one);
  }
  return v;
}

LipOnnx__ValueInfoProto *onnx_input(onnx_net *n, const char *name, int ndim, const int64_t *dim) {
  LipOnnx__ValueInfoProto *v = value(n, name, ndim, dim);
  append(n, &n->model->graph->input, &n->model->graph->n_input, v);
  return v;
}

LipOnnx__ValueInfoProto *onnx_output(onnx_net *n, const char *name, int ndim, const int64_t *dim) {
  LipOnnx__ValueInfoProto *v = value(n, name, ndim, dim);
  append(n, &n->model->graph->output, &n->model->graph->n_output, v);
  return v;
}

LipOnnx__TensorProto *onnx_tensor(onnx_net *n, const char *name, int type, int ndim, const int64_t *dim,
                                  const void *raw, size_t bytes) {
  LipOnnx__TensorProto *t = onnx_take(n, sizeof *t);
  lip_onnx__tensor_proto__init(t);
  t->name = copy(n, name, strlen(name));
  t->has_data_type = 1;
  t->data_type = type;
  t->n_dims = (size_t)ndim;
  t->dims = onnx_take(n, (size_t)ndim * sizeof *t->dims);
  if (ndim > 0) memcpy(t->dims, dim, (size_t)ndim * sizeof *t->dims);
  if (raw) {
    t->has_raw_data = 1;
    t->raw_data.len = bytes;
    t->raw_data.data = onnx_take(n, bytes);
    memcpy(t->raw_data.data, raw, bytes);
  }
  return t;
}

LipOnnx__TensorProto *onnx_initializer(onnx_net *n, const char *name, int type, int ndim, const int64_t *dim,
                                       const void *raw, size_t bytes) {
  LipOnnx__TensorProto *t = onnx_tensor(n, name, type, ndim, dim, raw, bytes);
  append(n, &n->model->graph->initializer, &n->model->graph->n_initializer, t);
  return t;
}

void onnx_external(onnx_net *n, LipOnnx__TensorProto *t, const char *key, const char *value_text) {
  LipOnnx__StringStringEntryProto *e = onnx_take(n, sizeof *e);
  lip_onnx__string_string_entry_proto__init(e);
  e->key = copy(n, key, strlen(key));
  e->value = copy(n, value_text, strlen(value_text));
  append(n, &t->external_data, &t->n_external_data, e);
  t->has_data_location = 1;
  t->data_location = 1;
}

static void append_names(onnx_net *n, const char *names, char ***list, size_t *count) {
  while (*names) {
    size_t length = strcspn(names, " ");
    append(n, list, count, length == 1 && *names == '-' ? copy(n, "", 0) : copy(n, names, length));
    names += length;
    names += *names == ' ';
  }
}

LipOnnx__NodeProto *onnx_node(onnx_net *n, const char *op, const char *name, const char *in,
                              const char *out) {
  LipOnnx__NodeProto *node = onnx_take(n, sizeof *node);
  lip_onnx__node_proto__init(node);
  node->op_type = copy(n, op, strlen(op));
  node->name = copy(n, name, strlen(name));
  append_names(n, in, &node->input, &node->n_input);
  append_names(n, out, &node->output, &node->n_output);
  append(n, &n->model->graph->node, &n->model->graph->n_node, node);
  return node;
}

LipOnnx__AttributeProto *onnx_attribute(onnx_net *n, LipOnnx__NodeProto *node, const char *name, int type) {
  LipOnnx__AttributeProto *a = onnx_take(n, sizeof *a);
  lip_onnx__attribute_proto__init(a);
  a->name = copy(n, name, strlen(name));
  a->has_type = 1;
  a->type = type;
  append(n, &node->attribute, &node->n_attribute, a);
  return a;
}

void onnx_attribute_int(onnx_net *n, LipOnnx__NodeProto *node, const char *name, int64_t v) {
  LipOnnx__AttributeProto *a = onnx_attribute(n, node, name, 2);
  a->has_i = 1;
  a->i = v;
}

void onnx_attribute_float(onnx_net *n, LipOnnx__NodeProto *node, const char *name, float v) {
  LipOnnx__AttributeProto *a = onnx_attribute(n, node, name, 1);
  a->has_f = 1;
  a->f = v;
}

void onnx_attribute_ints(onnx_net *n, LipOnnx__NodeProto *node, const char *name, size_t count,
                         const int64_t *v) {
  LipOnnx__AttributeProto *a = onnx_attribute(n, node, name, 7);
  a->n_ints = count;
  a->ints = onnx_take(n, count * sizeof *v);
  if (count) memcpy(a->ints, v, count * sizeof *v);
}

void onnx_attribute_text(onnx_net *n, LipOnnx__NodeProto *node, const char *name, const char *text) {
  LipOnnx__AttributeProto *a = onnx_attribute(n, node, name, 3);
  a->has_s = 1;
  a->s.len = strlen(text);
  a->s.data = (uint8_t *)copy(n, text, a->s.len);
}

void onnx_attribute_tensor(onnx_net *n, LipOnnx__NodeProto *node, const char *name, LipOnnx__TensorProto *t) {
  onnx_attribute(n, node, name, 4)->t = t;
}

uint8_t *onnx_pack(const onnx_net *n, size_t *size) {
  *size = lip_onnx__model_proto__get_packed_size(n->model);
  uint8_t *bytes = malloc(*size + 1);
  assert_non_null(bytes);
  assert_int_equal(lip_onnx__model_proto__pack(n->model, bytes), *size);
  return bytes;
}

void onnx_write(const onnx_net *n, const char *path) {
  size_t size;
  uint8_t *bytes = onnx_pack(n, &size);
  write_file(path, bytes, size);
  free(bytes);
}
