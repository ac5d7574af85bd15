/* What Lua scripts do with tensors outside a training step: element-wise operations, reductions, sorting. All accept
 * views with any strides. Comparisons give 1 or 0. NaN: arithmetic and clamp, sign, relu, max, min pass it on;
 * comparisons with it are 0; argmax and argmin point at the first NaN; sorting puts it last in both directions. */
#ifndef LIP_TENSOR_OPS_H
#define LIP_TENSOR_OPS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/tensor/tensor.h"

/* One list: the enum, the kernels, the names and the methods seen from Lua.
 * X(id, name, tensors, numbers, result of x (first tensor), y (second tensor), p, q (numbers)), all float32. */
#define LIP_OP_MAP(X)                                                                                        \
  X(ADD, "add", 2, 0, x + y)                                                                                 \
  X(SUB, "sub", 2, 0, x - y)                                                                                 \
  X(MUL, "mul", 2, 0, (x * y))                                                                               \
  X(DIV, "div", 2, 0, x / y)                                                                                 \
  X(MAXIMUM, "maximum", 2, 0, x > y || x != x ? x : y)                                                       \
  X(MINIMUM, "minimum", 2, 0, x < y || x != x ? x : y)                                                       \
  X(EQ, "eq", 2, 0, x == y ? 1.0f : 0.0f)                                                                    \
  X(NE, "ne", 2, 0, x != y ? 1.0f : 0.0f)                                                                    \
  X(LT, "lt", 2, 0, x < y ? 1.0f : 0.0f)                                                                     \
  X(LE, "le", 2, 0, x <= y ? 1.0f : 0.0f)                                                                    \
  X(GT, "gt", 2, 0, x > y ? 1.0f : 0.0f)                                                                     \
  X(GE, "ge", 2, 0, x >= y ? 1.0f : 0.0f)                                                                    \
  X(POW, "pow", 2, 0, powf(x, y))                                                                            \
  X(AXPY, "axpy", 2, 1, x + p * y)                                                                           \
  X(NEG, "neg", 1, 0, -x)                                                                                    \
  X(ABS, "abs", 1, 0, fabsf(x))                                                                              \
  X(SQRT, "sqrt", 1, 0, sqrtf(x))                                                                            \
  X(EXP, "exp", 1, 0, expf(x))                                                                               \
  X(LOG, "log", 1, 0, logf(x))                                                                               \
  X(TANH, "tanh", 1, 0, tanhf(x))                                                                            \
  X(SIGN, "sign", 1, 0, x > 0 ? 1.0f : x < 0 ? -1.0f : x)                                                    \
  X(RELU, "relu", 1, 0, x <= 0 ? 0.0f : x)                                                                   \
  X(SQUARE, "square", 1, 0, (x * x))                                                                         \
  X(SIGMOID, "sigmoid", 1, 0, 1.0f / (1.0f + lip_expf(-x)))                                                  \
  X(SOFTPLUS, "softplus", 1, 0, (x > 0 ? x : 0.0f) + log1pf(lip_expf(-fabsf(x))))                            \
  X(CLAMP, "clamp", 1, 2, x<p ? p : x> q ? q : x)

typedef enum lip_op {
#define X(id, name, tensors, numbers, result) LIP_OP_##id,
  LIP_OP_MAP(X)
#undef X
      LIP_OP_COUNT
} lip_op;

const char *lip_op_name(lip_op op);
int lip_op_tensors(lip_op op); /* 1 or 2 */
int lip_op_numbers(lip_op op); /* 0, 1 or 2 */

/* Shape of the result of a two-tensor operation. One tensor is a scalar (0 dimensions), or a vector as long as the last
 * dimension of the other (which is added to each row, say), or both have the same number of dimensions and their sides
 * agree or are 1: along a side of 1 a tensor is repeated, a column (B, 1) for each column of (B, C). A vector (B) is
 * no column: (B, 1) beside (B), values beside labels, is a mistake that (B, B) would hide. LIP_SHAPE names both. */
lip_status lip_op_shape(const char *what, const lip_tensor *a, const lip_tensor *b, int *ndim,
                        size_t shape[LIP_MAX_DIMS], lip_err *err);
/* Strides of t for an index into such a result, moved to the right end of four dimensions: 0 along what t is repeated
 * over. */
void lip_tensor_spread(const lip_tensor *t, size_t stride[LIP_MAX_DIMS]);
/* out = op(a, b, p, q); `out` has the shape lip_op_shape gave; b is ignored (may be NULL) when op takes one tensor.
 * `out` may be a or b themselves, but may not overlap them otherwise: see lip_tensor_overlaps. */
void lip_tensor_apply(lip_op op, lip_tensor *out, const lip_tensor *a, const lip_tensor *b, float p, float q);
/* True when writing `to` while reading `from` element by element could read what was already written: their
 * ranges of addresses meet and they are not the same elements in the same places. */
bool lip_tensor_overlaps(const lip_tensor *to, const lip_tensor *from);

typedef enum lip_reduction {
  LIP_REDUCE_SUM,
  LIP_REDUCE_MEAN,
  LIP_REDUCE_MAX,
  LIP_REDUCE_MIN,
  LIP_REDUCE_NORM_1,
  LIP_REDUCE_NORM_2,
  LIP_REDUCE_NORM_INF,
  LIP_REDUCE_COUNT
} lip_reduction;

/* Over all elements, in double. Nothing to reduce: sum and norms 0, mean NaN, max -inf, min +inf. */
double lip_tensor_reduce(lip_reduction how, const lip_tensor *t);
/* Along one dimension, in double, rounded once; `out` is contiguous and has the shape of t without `dim`. */
void lip_tensor_reduce_dim(lip_reduction how, lip_tensor *out, const lip_tensor *t, int dim);

/* Position (from 0, row-major) of the first largest or smallest element; t is not empty. */
size_t lip_tensor_arg(const lip_tensor *t, bool largest);
/* The same along one dimension (not empty), positions from 0 as floats: exact below 2^24. */
void lip_tensor_arg_dim(lip_tensor *out, const lip_tensor *t, int dim, bool largest);

/* Same shape and every pair of elements equal, or within `tolerance` of each other (NaN is not within any). */
bool lip_tensor_equal(const lip_tensor *a, const lip_tensor *b, double tolerance);
bool lip_tensor_all_finite(const lip_tensor *t);

/* Stable sort along `dim`. `sorted` and `index` are contiguous with the shape of t; index holds positions from 0.
 * LIP_MEMORY; LIP_ARGUMENT when the dimension is longer than float32 can index (2^24). */
lip_status lip_tensor_sort(lip_tensor *sorted, lip_tensor *index, const lip_tensor *t, int dim,
                           bool descending, lip_err *err);

#endif
