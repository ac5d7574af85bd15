/* float32 arrays of up to four dimensions: owners of a block or views of somebody else's. */
#ifndef LIP_TENSOR_TENSOR_H
#define LIP_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

#define LIP_MAX_DIMS 4

/* Strides count elements. An owner is always contiguous (row-major); a view may step. A scalar has ndim 0. */
typedef struct lip_tensor {
  float *data;
  int ndim;
  size_t shape[LIP_MAX_DIMS];
  size_t stride[LIP_MAX_DIMS];
  bool owner;
} lip_tensor;

/* Zero-filled owner of that shape; LIP_SHAPE when ndim is outside 0..4 or the size overflows, LIP_MEMORY.
 * On failure *t is an empty view (data NULL). Released by lip_tensor_free. */
lip_status lip_tensor_init(lip_tensor *t, int ndim, const size_t *shape, lip_err *err);
/* A contiguous view of `data`, which must outlive it. ndim and shape must be valid. */
lip_tensor lip_tensor_wrap(float *data, int ndim, const size_t *shape);
/* Releases an owner's block; harmless on views and on what was released before. */
void lip_tensor_free(lip_tensor *t);

size_t lip_tensor_size(const lip_tensor *t); /* number of elements */
bool lip_tensor_is_contiguous(const lip_tensor *t);
bool lip_tensor_same_shape(const lip_tensor *a, const lip_tensor *b);

/* Shape and strides moved to the right end of four dimensions; the missing ones have extent 1 and stride 0. */
void lip_tensor_expand(const lip_tensor *t, size_t shape[LIP_MAX_DIMS], size_t stride[LIP_MAX_DIMS]);

/* Sub-range [first, last) of dimension `dim` in steps of `step` (> 0); the range must lie inside. */
lip_tensor lip_tensor_slice(const lip_tensor *t, int dim, size_t first, size_t last, size_t step);
/* Index `i` of dimension `dim`: one dimension fewer. */
lip_tensor lip_tensor_select(const lip_tensor *t, int dim, size_t i);
/* Dimensions a and b exchanged. */
lip_tensor lip_tensor_transpose(const lip_tensor *t, int a, int b);

/* Element by element; shapes must agree (asserted by the caller), overlap only if identical. */
void lip_tensor_copy(lip_tensor *to, const lip_tensor *from);
void lip_tensor_fill(lip_tensor *t, float v);

/* Writes "2x3x4" (or "scalar") into buf; returns buf. */
const char *lip_shape_text(int ndim, const size_t *shape, char *buf, size_t size);

#endif
