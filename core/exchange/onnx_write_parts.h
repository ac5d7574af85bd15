/* What the files that write ONNX share; nobody else includes it. */
#ifndef LIP_EXCHANGE_ONNX_WRITE_PARTS_H
#define LIP_EXCHANGE_ONNX_WRITE_PARTS_H

#include <stdint.h>

#include "core/layer/emit.h"

/* ---- onnx_write_file.c: a file in the making. After a failure everything does nothing, and texts are "". ---- */

typedef struct lip_onnx_file lip_onnx_file;
lip_onnx_file *lip_onnx_file_new(const char *version); /* NULL: no memory */
void lip_onnx_file_free(lip_onnx_file *f);             /* accepts NULL */

/* n elements of `size` bytes, or a text, that live as long as the file; NULL and "" after a failure. */
void *lip_onnx_file_take(lip_onnx_file *f, size_t n, size_t size);
const char *lip_onnx_file_text(lip_onnx_file *f, const char *fmt, ...) LIP_PRINTF(2, 3);

/* Names are kept as pointers: they must live as long as the file. */
void lip_onnx_file_node(lip_onnx_file *f, const char *op, const char *name, size_t n_in,
                        const char *const *in, size_t n_out, const char *const *out);
/* Attributes of the last node. */
void lip_onnx_file_int(lip_onnx_file *f, const char *key, int64_t v);
void lip_onnx_file_ints(lip_onnx_file *f, const char *key, size_t n, const int64_t *v);
void lip_onnx_file_float(lip_onnx_file *f, const char *key, float v);
void lip_onnx_file_word(lip_onnx_file *f, const char *key, const char *v);
/* Constants; returns `name`. One that is there already stays. Numbers are lent, whole ones copied. */
const char *lip_onnx_file_floats(lip_onnx_file *f, const char *name, int ndim, const int64_t *dim,
                                 const float *v);
const char *lip_onnx_file_whole(lip_onnx_file *f, const char *name, size_t n, const int64_t *v);
/* The input (N, shape), or the output. */
void lip_onnx_file_port(lip_onnx_file *f, bool output, const char *name, const lip_shape *shape);
void lip_onnx_file_meta(lip_onnx_file *f, const char *key, const char *value);
void lip_onnx_file_no_memory(lip_onnx_file *f);
void lip_onnx_file_refuse(lip_onnx_file *f, const char *kind, const char *why);
lip_status lip_onnx_file_save(lip_onnx_file *f, const char *path, lip_err *err);

/* ---- nodes of a step, in onnx_write_file.c too ---- */

/* Steps on their way into a file. */
typedef struct lip_onnx_steps {
  lip_onnx_file *file;
  const lip_emit *e;
  const char **value; /* (e->n) name of each value */
  const char *path;   /* of the layer whose step is written: "3.dense", in front of names of arrays */
  const char *name;   /* of the step: the path, or "3.dense#2" where the layer has others before it */
} lip_onnx_steps;

/* A node of one output with n inputs; `part` goes behind the name of the step. Returns its output, `out` or a name of its
 * own where that is NULL. */
const char *lip_onnx_put(lip_onnx_steps *s, const char *op, const char *part, size_t n, const char *const *in,
                         const char *out);
/* x in the shape {batch, side...}. */
const char *lip_onnx_put_reshape(lip_onnx_steps *s, const char *part, const char *x, size_t n,
                                 const size_t *side, const char *out);

/* ---- onnx_write_step.c ---- */

/* Appends nodes that compute value i of e from those before it; `out` is what to call it. */
void lip_onnx_put_step(lip_onnx_steps *s, size_t i, const char *out);

/* ---- onnx_write_move.c ---- */

void lip_onnx_put_move(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out);

#endif
