/* flatten: y is x under the shape {n}; the same memory, so nothing is computed and the constant is 1 for every
 * p -> q with q >= p. */
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)spec, (void)p, (void)err;
  l->out = (lip_shape){1, {l->n_in, 0, 0}};
  return LIP_OK;
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_add(e, &(lip_emit_step){.op = LIP_EMIT_RESHAPE, .out = l->out}, &x, 1);
}

const lip_layer_kind lip_layer_flatten = {
    .desc = {"flatten", "channels x height x width seen as one row of features", NULL, 0},
    .flags = LIP_LAYER_ALIAS,
    .plan = plan,
    .bound = lip_unit_bound,
    .emit = emit,
    .deviate = lip_exact_deviate,
};
