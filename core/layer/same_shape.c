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

void lip_layer_channels(const lip_layer *l, size_t *C, size_t *S) {
  lip_shape_channels(&l->in, C, S);
  if (l->x_order.pixels) *S = 1;
}

void lip_rising_slopes(const lip_layer *l, double *low, double *high) {
  for (size_t i = 0; i < l->n_in; i++) low[i] = 0, high[i] = 1;
}

void lip_identity_slopes(const lip_layer *l, double *low, double *high) {
  for (size_t i = 0; i < l->n_in; i++) low[i] = high[i] = 1;
}

/* One product in double, moved outwards; a x is exact where a is 0, 1 or -1. */
static void product_range(double a, double x, double *least, double *most) {
  double v = a * x, off = a == 0 || fabs(a) == 1 ? 0 : fabs(v) * 0x1p-52 + 0x1p-1060;
  *least = fmin(*least, v - off);
  *most = fmax(*most, v + off);
}

void lip_two_slopes_range(double below, double above, double from, double to, lip_range *r) {
  r->low = from >= 0 ? above : to <= 0 ? below : fmin(below, above);
  r->high = from >= 0 ? above : to <= 0 ? below : fmax(below, above);
  r->curve = below <= above ? 1 : -1;
  r->least = INFINITY;
  r->most = -INFINITY;
  product_range(from >= 0 ? above : below, from, &r->least, &r->most);
  product_range(to >= 0 ? above : below, to, &r->least, &r->most);
  if (from < 0 && to > 0) product_range(0, 0, &r->least, &r->most);
  double a = from < 0 ? fabs(below) : 0, b = to > 0 ? fabs(above) : 0; /* a product by 0, 1 or -1 is exact */
  a = a == 1 ? 0 : -from * a;
  b = b == 1 ? 0 : to * b;
  double size = fmax(a, b);
  r->off = size > 0 ? lip_round_up(0x1p-24 * size + (double)FLT_MIN) : 0;
}

void lip_rising_range(double at_from, double at_to, double error, lip_range *r) {
  r->least = at_from - fabs(at_from) * error - 0x1p-1000;
  r->most = at_to + fabs(at_to) * error + 0x1p-1000;
}

void lip_identity_range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  (void)l;
  (void)k;
  lip_two_slopes_range(1, 1, from, to, r);
}
