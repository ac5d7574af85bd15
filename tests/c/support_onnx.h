/* Small ONNX files for tests, made with the packer that protobuf-c generates. */
#ifndef LIP_TESTS_SUPPORT_ONNX_H
#define LIP_TESTS_SUPPORT_ONNX_H

#include <onnx.pb-c.h>
#include <stddef.h>
#include <stdint.h>

enum {
  ONNX_FLOAT = 1,
  ONNX_UINT8,
  ONNX_INT8,
  ONNX_UINT16,
  ONNX_INT16,
  ONNX_INT32,
  ONNX_INT64,
  ONNX_STRING,
  ONNX_BOOL,
  ONNX_FLOAT16,
  ONNX_DOUBLE,
  ONNX_UINT32,
  ONNX_UINT64,
  ONNX_BFLOAT16 = 16
};

/* A net that grows; `model` may be changed at will. Texts and arrays that tests put into it must outlive it, and lists
 * have room for nothing more. */
typedef struct onnx_net {
  LipOnnx__ModelProto *model;
  size_t n_block;
  void **block;
} onnx_net;

onnx_net *onnx_new(int64_t opset); /* with version 8 of the format, and no nodes */
void onnx_free(onnx_net *n);
/* Zeroed memory that lives as long as the net. */
void *onnx_take(onnx_net *n, size_t bytes);

/* Inputs and outputs of float32; a dimension below 0 is left open. */
LipOnnx__ValueInfoProto *onnx_input(onnx_net *n, const char *name, int ndim, const int64_t *dim);
LipOnnx__ValueInfoProto *onnx_output(onnx_net *n, const char *name, int ndim, const int64_t *dim);
/* A tensor with raw bytes (copied; NULL: none), which belongs to nobody yet; the same as an initializer. */
LipOnnx__TensorProto *onnx_tensor(onnx_net *n, const char *name, int type, int ndim, const int64_t *dim,
                                  const void *raw, size_t bytes);
LipOnnx__TensorProto *onnx_initializer(onnx_net *n, const char *name, int type, int ndim, const int64_t *dim,
                                       const void *raw, size_t bytes);
/* An entry of external_data, and the mark that there are some. */
void onnx_external(onnx_net *n, LipOnnx__TensorProto *t, const char *key, const char *value);
/* Names of inputs and outputs with a blank between two; "-" is one that is left out. */
LipOnnx__NodeProto *onnx_node(onnx_net *n, const char *op, const char *name, const char *in, const char *out);
LipOnnx__AttributeProto *onnx_attribute(onnx_net *n, LipOnnx__NodeProto *node, const char *name, int type);
void onnx_attribute_int(onnx_net *n, LipOnnx__NodeProto *node, const char *name, int64_t v);
void onnx_attribute_float(onnx_net *n, LipOnnx__NodeProto *node, const char *name, float v);
void onnx_attribute_ints(onnx_net *n, LipOnnx__NodeProto *node, const char *name, size_t count,
                         const int64_t *v);
void onnx_attribute_text(onnx_net *n, LipOnnx__NodeProto *node, const char *name, const char *text);
void onnx_attribute_tensor(onnx_net *n, LipOnnx__NodeProto *node, const char *name, LipOnnx__TensorProto *t);

/* The file; free() it. */
uint8_t *onnx_pack(const onnx_net *n, size_t *size);
void onnx_write(const onnx_net *n, const char *path);

#endif
