#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <onnx.pb-c.h>

#include "core/base/atomic.h"
#include "core/base/mem.h"
#include "core/exchange/onnx_write_parts.h"

/* Numbers of the format. */
enum { TYPE_FLOAT = 1, TYPE_INT64 = 7, IR_VERSION = 8, OPSET = 17 };
enum { ATTRIBUTE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_STRING = 3, ATTRIBUTE_INTS = 7 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they stand in memory");

/* Pointers to messages, as the generated structures want them. */
typedef struct list {
  size_t n, room;
  void **at;
} list;

struct lip_onnx_file {
  LipOnnx__ModelProto model;
  LipOnnx__GraphProto graph;
  list blocks; /* all that is owned */
  list node, constant, meta;
  lip_status status;
  lip_err err;
};

static char *writable(const char *text) {
  return (char *)(uintptr_t)text; /* the generated structures say char *, packing only reads */
}

void lip_onnx_file_no_memory(lip_onnx_file *f) {
  if (!f->status) f->status = lip_fail(&f->err, LIP_MEMORY, "out of memory for an ONNX file");
}

static bool push(lip_onnx_file *f, list *l, void *p) {
  if (!p) return false;
  if (l->n == l->room) {
    const size_t room = 2 * l->room + 16;
    void **more = lip_realloc(l->at, room, sizeof *more);
    if (!more) return lip_onnx_file_no_memory(f), false;
    l->at = more;
    l->room = room;
  }
  l->at[l->n++] = p;
  return true;
}

/* ---- memory ---- */

lip_onnx_file *lip_onnx_file_new(const char *version) {
  lip_onnx_file *f = lip_alloc(1, sizeof *f);
  if (!f) return NULL;
  *f = (lip_onnx_file){.model = LIP_ONNX__MODEL_PROTO__INIT, .graph = LIP_ONNX__GRAPH_PROTO__INIT};
  f->model.producer_name = writable("lipwb");
  f->model.producer_version = writable(version);
  f->model.has_ir_version = 1;
  f->model.ir_version = IR_VERSION;
  f->model.graph = &f->graph;
  f->graph.name = writable("net");
  return f;
}

void lip_onnx_file_free(lip_onnx_file *f) {
  if (!f) return;
  for (size_t i = 0; i < f->blocks.n; i++) lip_free(f->blocks.at[i]);
  lip_free(f->blocks.at);
  lip_free(f->node.at);
  lip_free(f->constant.at);
  lip_free(f->meta.at);
  lip_free(f);
}

void *lip_onnx_file_take(lip_onnx_file *f, size_t n, size_t size) {
  if (f->status) return NULL;
  void *p = lip_alloc(n > 0 ? n : 1, size);
  if (!p) return lip_onnx_file_no_memory(f), NULL;
  if (push(f, &f->blocks, p)) return p;
  lip_free(p);
  return NULL;
}

static const char *copy_text(lip_onnx_file *f, const char *text) {
  const size_t n = strlen(text) + 1;
  char *own = lip_onnx_file_take(f, n, 1);
  if (!own) return "";
  memcpy(own, text, n);
  return own;
}

const char *lip_onnx_file_text(lip_onnx_file *f, const char *fmt, ...) {
  char text[1024];
  va_list args;
  va_start(args, fmt);
  const int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (f->status) return "";
  if (n >= 0 && (size_t)n < sizeof text) return copy_text(f, text);
  f->status = lip_fail(&f->err, LIP_UNSUPPORTED, "a name in the ONNX file would have over %zu bytes",
                       sizeof text - 1);
  return "";
}

void lip_onnx_file_refuse(lip_onnx_file *f, const char *kind, const char *why) {
  if (!f->status)
    f->status = lip_fail(&f->err, LIP_UNSUPPORTED, "%s: cannot be written as ONNX: %s", kind, why);
}

/* ---- nodes ---- */

static char **names(lip_onnx_file *f, size_t n, const char *const *from) {
  char **own = lip_onnx_file_take(f, n, sizeof *own);
  for (size_t i = 0; own && i < n; i++) own[i] = writable(from[i]);
  return own;
}

void lip_onnx_file_node(lip_onnx_file *f, const char *op, const char *name, size_t n_in,
                        const char *const *in, size_t n_out, const char *const *out) {
  LipOnnx__NodeProto *node = lip_onnx_file_take(f, 1, sizeof *node);
  if (!node) return;
  lip_onnx__node_proto__init(node);
  node->op_type = writable(op);
  node->name = writable(name);
  node->input = names(f, n_in, in);
  node->output = names(f, n_out, out);
  node->n_input = node->input ? n_in : 0;
  node->n_output = node->output ? n_out : 0;
  (void)push(f, &f->node, node);
}

/* One more attribute of the last node, there in the list; NULL after a failure. */
static LipOnnx__AttributeProto *attribute(lip_onnx_file *f, const char *key, int type) {
  enum { MOST = 8 };
  LipOnnx__AttributeProto *a = lip_onnx_file_take(f, 1, sizeof *a);
  if (!a) return NULL;
  lip_onnx__attribute_proto__init(a);
  a->name = writable(key);
  a->has_type = 1;
  a->type = type;
  LipOnnx__NodeProto *node = f->node.at[f->node.n - 1];
  if (!node->attribute) node->attribute = lip_onnx_file_take(f, MOST, sizeof(LipOnnx__AttributeProto *));
  if (!node->attribute || node->n_attribute == MOST) return NULL;
  return node->attribute[node->n_attribute++] = a;
}

void lip_onnx_file_int(lip_onnx_file *f, const char *key, int64_t v) {
  LipOnnx__AttributeProto *a = attribute(f, key, ATTRIBUTE_INT);
  if (!a) return;
  a->has_i = 1;
  a->i = v;
}

void lip_onnx_file_float(lip_onnx_file *f, const char *key, float v) {
  LipOnnx__AttributeProto *a = attribute(f, key, ATTRIBUTE_FLOAT);
  if (!a) return;
  a->has_f = 1;
  a->f = v;
}

void lip_onnx_file_ints(lip_onnx_file *f, const char *key, size_t n, const int64_t *v) {
  LipOnnx__AttributeProto *a = attribute(f, key, ATTRIBUTE_INTS);
  int64_t *own = a ? lip_onnx_file_take(f, n, sizeof *own) : NULL;
  if (!own) return;
  memcpy(own, v, n * sizeof *own);
  a->ints = own;
  a->n_ints = n;
}

void lip_onnx_file_word(lip_onnx_file *f, const char *key, const char *v) {
  LipOnnx__AttributeProto *a = attribute(f, key, ATTRIBUTE_STRING);
  if (!a) return;
  a->has_s = 1;
  a->s = (ProtobufCBinaryData){strlen(v), (uint8_t *)(uintptr_t)v};
}

/* ---- constants ---- */

static bool is_there(const lip_onnx_file *f, const char *name) {
  for (size_t i = 0; i < f->constant.n; i++)
    if (strcmp(((const LipOnnx__TensorProto *)f->constant.at[i])->name, name) == 0) return true;
  return false;
}

/* `v` is as long as `dim` says, and stays where it is. */
static void constant(lip_onnx_file *f, const char *name, int ndim, const int64_t *dim, int type,
                     const void *v) {
  size_t bytes = type == TYPE_FLOAT ? sizeof(float) : sizeof(int64_t);
  LipOnnx__TensorProto *t = lip_onnx_file_take(f, 1, sizeof *t);
  int64_t *dims = t ? lip_onnx_file_take(f, (size_t)ndim, sizeof *dims) : NULL;
  if (!dims) return;
  lip_onnx__tensor_proto__init(t);
  for (int i = 0; i < ndim; i++) {
    dims[i] = dim[i];
    bytes *= (size_t)dim[i];
  }
  t->name = writable(name);
  t->dims = dims;
  t->n_dims = (size_t)ndim;
  t->has_data_type = t->has_raw_data = 1;
  t->data_type = type;
  t->raw_data = (ProtobufCBinaryData){bytes, (uint8_t *)(uintptr_t)v};
  (void)push(f, &f->constant, t);
}

const char *lip_onnx_file_floats(lip_onnx_file *f, const char *name, int ndim, const int64_t *dim,
                                 const float *v) {
  if (!f->status && !is_there(f, name)) constant(f, name, ndim, dim, TYPE_FLOAT, v);
  return name;
}

const char *lip_onnx_file_whole(lip_onnx_file *f, const char *name, size_t n, const int64_t *v) {
  const int64_t dim = (int64_t)n;
  if (f->status || is_there(f, name)) return name;
  int64_t *own = lip_onnx_file_take(f, n, sizeof *own);
  if (!own) return name;
  memcpy(own, v, n * sizeof *own);
  constant(f, name, 1, &dim, TYPE_INT64, own);
  return name;
}

/* ---- for steps ---- */

const char *lip_onnx_put(lip_onnx_steps *s, const char *op, const char *part, size_t n, const char *const *in,
                         const char *out) {
  const char *name = lip_onnx_file_text(s->file, "%s%s", s->name, part);
  if (!out) out = name;
  lip_onnx_file_node(s->file, op, name, n, in, 1, &out);
  return out;
}

const char *lip_onnx_put_reshape(lip_onnx_steps *s, const char *part, const char *x, size_t n,
                                 const size_t *side, const char *out) {
  int64_t shape[8] = {0}; /* 0: the batch, as it is */
  char text[200];
  int used = snprintf(text, sizeof text, "shape");
  for (size_t i = 0; i < n; i++) {
    shape[i + 1] = (int64_t)side[i];
    used +=
        snprintf(text + used, sizeof text - (size_t)used, ".%zu", side[i]); /* 7 numbers of 20 digits fit */
  }
  const char *to = lip_onnx_file_whole(s->file, lip_onnx_file_text(s->file, "%s", text), n + 1, shape);
  return lip_onnx_put(s, "Reshape", part, 2, (const char *const[]){x, to}, out);
}

/* ---- input, output, metadata ---- */

static LipOnnx__TensorShapeProto *batch_of(lip_onnx_file *f, const lip_shape *s) {
  const size_t n = (size_t)s->ndim + 1;
  LipOnnx__TensorShapeProto *shape = lip_onnx_file_take(f, 1, sizeof *shape);
  LipOnnx__TensorShapeProto__Dimension *dim = shape ? lip_onnx_file_take(f, n, sizeof *dim) : NULL;
  LipOnnx__TensorShapeProto__Dimension **at = dim ? lip_onnx_file_take(f, n, sizeof *at) : NULL;
  if (!at) return NULL;
  lip_onnx__tensor_shape_proto__init(shape);
  for (size_t i = 0; i < n; i++) {
    lip_onnx__tensor_shape_proto__dimension__init(&dim[i]);
    at[i] = &dim[i];
    if (i == 0) dim[i].dim_param = writable("N");
    if (i > 0) dim[i].has_dim_value = 1, dim[i].dim_value = (int64_t)s->dim[i - 1];
  }
  shape->dim = at;
  shape->n_dim = n;
  return shape;
}

void lip_onnx_file_port(lip_onnx_file *f, bool output, const char *name, const lip_shape *shape) {
  LipOnnx__ValueInfoProto *v = lip_onnx_file_take(f, 1, sizeof *v);
  LipOnnx__ValueInfoProto **list_of_one = v ? lip_onnx_file_take(f, 1, sizeof *list_of_one) : NULL;
  LipOnnx__TypeProto *type = list_of_one ? lip_onnx_file_take(f, 1, sizeof *type) : NULL;
  LipOnnx__TypeProto__Tensor *tensor = type ? lip_onnx_file_take(f, 1, sizeof *tensor) : NULL;
  LipOnnx__TensorShapeProto *sides = tensor ? batch_of(f, shape) : NULL;
  if (!sides) return;
  lip_onnx__value_info_proto__init(v);
  lip_onnx__type_proto__init(type);
  lip_onnx__type_proto__tensor__init(tensor);
  tensor->has_elem_type = 1;
  tensor->elem_type = TYPE_FLOAT;
  tensor->shape = sides;
  type->tensor_type = tensor;
  v->name = writable(name);
  v->type = type;
  list_of_one[0] = v;
  if (output)
    f->graph.output = list_of_one, f->graph.n_output = 1;
  else
    f->graph.input = list_of_one, f->graph.n_input = 1;
}

void lip_onnx_file_meta(lip_onnx_file *f, const char *key, const char *value) {
  LipOnnx__StringStringEntryProto *p = lip_onnx_file_take(f, 1, sizeof *p);
  if (!p) return;
  lip_onnx__string_string_entry_proto__init(p);
  p->key = writable(key);
  p->value = writable(copy_text(f, value));
  (void)push(f, &f->meta, p);
}

/* ---- writing ---- */

typedef struct sink {
  ProtobufCBuffer base; /* first */
  lip_atomic *file;
} sink;

static void append(ProtobufCBuffer *buffer, size_t n, const uint8_t *bytes) {
  lip_atomic_write(((sink *)(void *)buffer)->file, bytes, n);
}

lip_status lip_onnx_file_save(lip_onnx_file *f, const char *path, lip_err *err) {
  LipOnnx__OperatorSetIdProto opset = LIP_ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = {&opset};
  sink to = {.base = {.append = append}};
  if (f->status) {
    *err = f->err;
    return f->status;
  }
  opset.domain = writable("");
  opset.has_version = 1;
  opset.version = OPSET;
  f->model.opset_import = opsets;
  f->model.n_opset_import = 1;
  f->model.metadata_props = (LipOnnx__StringStringEntryProto **)f->meta.at;
  f->model.n_metadata_props = f->meta.n;
  f->graph.node = (LipOnnx__NodeProto **)f->node.at;
  f->graph.n_node = f->node.n;
  f->graph.initializer = (LipOnnx__TensorProto **)f->constant.at;
  f->graph.n_initializer = f->constant.n;
  const size_t bytes = lip_onnx__model_proto__get_packed_size(&f->model);
  if (bytes > INT32_MAX)
    return lip_fail(err, LIP_UNSUPPORTED,
                    "%s: would have %zu bytes, and an ONNX file may have 2 GB: net:save has no such limit",
                    path, bytes);
  lip_status status = lip_atomic_open(path, &to.file, err);
  if (status) return status;
  (void)lip_onnx__model_proto__pack_to_buffer(&f->model, &to.base);
  return lip_atomic_commit(to.file, err);
}
