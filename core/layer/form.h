/* How a layer that is neither a matrix nor a map of single values tells bounds of whole nets what it is made of
 * (core/affine/affine.c listens). Values stand in segments, the segments on a stack; a layer finds its input in the top
 * one, and must leave its output there and all below as it was. Every function copies what it is given and returns false
 * when there is no such form, or no memory for it; then the layer's `form` does nothing more and returns false. */
#ifndef LIP_LAYER_FORM_H
#define LIP_LAYER_FORM_H

#include "core/layer/layer.h"

#define LIP_FORM_MOST ((size_t)1 << 27) /* values in a segment, or entries of a matrix */
#define LIP_FORM_ZERO UINT32_MAX        /* in `gather`: a value that is 0 */

/* y = s x below 0 and t x above, s and t two fixed numbers: 0, 1, -1 and exactly so, or known to a relative error of
 * 2^-50. Where s is t the value is multiplied. Executed float32 is within off |x| + tiny of that. */
typedef struct lip_bend {
  double below, above; /* s, t: finite */
  double off, tiny;
} lip_bend;

struct lip_form {
  /* The top segment, l->n_in values, becomes what `l` makes of it: l->n_out values. */
  bool (*through)(lip_form *f, const lip_layer *l);
  /* A copy of the segment `depth` below the top (0: of the top itself) is put on top. */
  bool (*copy)(lip_form *f, size_t depth);
  /* The segment `depth` below the top comes up to the top. */
  bool (*lift)(lip_form *f, size_t depth);
  /* The top segment x becomes y_i = x[from[i]], i < n. Nothing is computed. */
  bool (*gather)(lip_form *f, const uint32_t *from, size_t n);
  /* Disjoint pairs of the top segment are put in order: mate[k] is the partner of k, or k itself. `descending`: the larger
   * value goes to the lower index. */
  bool (*exchange)(lip_form *f, const uint32_t *mate, bool descending);
  /* Value i of the top segment becomes what bend[i] makes of it. Nothing but `off` is counted for its execution. */
  bool (*bend)(lip_form *f, const lip_bend *bend);
  /* A segment of n fixed numbers is put on top. */
  bool (*constant)(lip_form *f, const float *value, size_t n);
  /* The n segments on top become one, the deepest first. */
  bool (*join)(lip_form *f, size_t n);
  /* The n segments on top, of one length, become sum_k weight[k] x_k, weight[0] that of the deepest (NULL: all 1):
   * executed as n products (none where the weight is 1) and their sum, in any order. */
  bool (*sum)(lip_form *f, const float *weight, size_t n);
  /* Why a layer gives up itself; always false. */
  bool (*no_memory)(lip_form *f);
  bool (*too_large)(lip_form *f);
};

#endif
