/* flatten: y is x under the shape {n}; the same memory, so nothing is computed and the constant is 1 for every
 * p -> q with q >= p. */
#include "core/layer/same_shape.h"

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)spec, (void)p, (void)err;
  l->out = (lip_shape){1, {l->n_in, 0, 0}};
  return LIP_OK;
}

const lip_layer_kind lip_layer_flatten = {
    .desc = {"flatten", "channels x height x width seen as one row of features", NULL, 0},
    .flags = LIP_LAYER_ALIAS,
    .plan = plan,
    .bound = lip_unit_bound,
    .deviate = lip_exact_deviate,
};
