/* What scripts do along one dimension of a tensor beside the reductions of ops.h: sums of exponentials, and entries
 * chosen by index. Dimensions count from 0; views with any strides. */
#ifndef LIP_TENSOR_ALONG_H
#define LIP_TENSOR_ALONG_H

#include "core/tensor/tensor.h"

/* log sum exp along `dim` (not empty), as m + log sum exp(x - m) with m the largest, in double, rounded once; `out` is
 * contiguous and has the shape of t without `dim`. A row with NaN gives NaN, one with +inf and no NaN +inf, one of
 * -inf alone -inf. */
void lip_tensor_logsumexp(lip_tensor *out, const lip_tensor *t, int dim);
/* exp(x - log sum exp) along `dim`; `out` is contiguous and has the shape of t. Rows sum to 1 up to rounding; those with
 * NaN or +inf, or of -inf alone, become NaN. */
void lip_tensor_softmax(lip_tensor *out, const lip_tensor *t, int dim);

/* out = a where mask is not 0, else b, NaN where mask is NaN; `out` has the shape that lip_op_shape gives of all three
 * and overlaps none of them. */
void lip_tensor_where(lip_tensor *out, const lip_tensor *mask, const lip_tensor *a, const lip_tensor *b);

/* Which entries along `dim`: `index` has the sides of the tensor but along `dim`, and holds whole numbers that count
 * from `base`. LIP_ARGUMENT names the first that is none, or is outside of 0..n-1 (base 0) or 1..n. */
typedef struct lip_choice {
  const lip_tensor *index;
  int dim, base;
} lip_choice;

/* out[.., i, ..] = t[.., index[.., i, ..], ..]; `out` has the shape of the index. */
lip_status lip_tensor_gather(lip_tensor *out, const lip_tensor *t, const lip_choice *c, lip_err *err);
/* to[.., index[.., i, ..], ..] += from[.., i, ..], in the order of i; `from` has the shape of the index and overlaps
 * `to` nowhere. On failure nothing has changed. */
lip_status lip_tensor_scatter_add(lip_tensor *to, const lip_tensor *from, const lip_choice *c, lip_err *err);

#endif
