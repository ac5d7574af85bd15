#include "core/layer/same_shape.h"

#include <float.h>
#include <math.h>

lip_status lip_same_shape_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  (void)spec, (void)plan, (void)err;
  l->out = l->in;
  return LIP_OK;
}

lip_status lip_constant_bound(lip_pq pq, double constant, double *upper) {
  *upper = lip_pq_tractable(pq) ? constant : INFINITY;
  return LIP_OK;
}

lip_status lip_unit_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)l;
  (void)err;
  return lip_constant_bound(pq, 1, upper);
}

void lip_exact_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  (void)l;
  lip_step_down(pq, d);
}

bool lip_step_down(lip_pq pq, lip_deviation *d) {
  if (lip_pq_tractable(pq)) return false;
  *d = (lip_deviation){INFINITY, INFINITY};
  return true;
}

double lip_ones_norm(size_t n, lip_p p) {
  if (p == LIP_PINF) return n > 0;
  double v = (double)n;
  return p == LIP_P1 ? v : lip_round_up(sqrt(v));
}

double lip_round_up(double v) {
  return v * (1 + 0x1p-48) + 0x1p-1060;
}

void lip_check_overflow(lip_deviation *d) {
  if (!(d->size + d->off < (double)FLT_MAX / 2)) d->off = INFINITY;
}

void lip_shape_channels(const lip_shape *s, size_t *C, size_t *S) {
  *C = s->dim[0];
  *S = 1;
  for (int i = 1; i < s->ndim; i++) *S *= s->dim[i];
}

void lip_rising_slopes(const lip_layer *l, double *low, double *high) {
  for (size_t i = 0; i < l->n_in; i++) low[i] = 0, high[i] = 1;
}

void lip_identity_slopes(const lip_layer *l, double *low, double *high) {
  for (size_t i = 0; i < l->n_in; i++) low[i] = high[i] = 1;
}
