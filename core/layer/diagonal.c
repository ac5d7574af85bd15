#include "core/layer/diagonal.h"

#include <float.h>
#include <math.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/same_shape.h"
#include "core/tensor/vec.h"

lip_status lip_diagonal_plan(lip_layer *l, lip_channel_map *map, lip_err *err) {
  const size_t C = l->in.dim[0];
  lip_diagonal *d = lip_alloc(1, sizeof *d);
  if (!d) return lip_fail(err, LIP_MEMORY, "%s: out of memory", l->kind->desc.name);
  l->state = d; /* released by layer.c from here on */
  d->map = map;
  d->mean = lip_alloc(C, 4 * sizeof *d->mean);
  if (!d->mean) return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu channels", l->kind->desc.name, C);
  d->variance = d->mean + C;
  d->sum = d->variance + C;
  d->dot = d->sum + C;
  l->out = l->in;
  l->scratch = 4 * C * sizeof(float);
  return LIP_OK;
}

void lip_diagonal_release(lip_layer *l) {
  lip_diagonal *d = l->state;
  if (d) lip_free(d->mean);
  lip_free(d);
}

/* ---- passes ---- */

LIP_HOT static void affine(float *restrict y, const float *restrict x, const float *restrict a,
                           const float *restrict m, const float *restrict b, size_t C, size_t S) {
  if (S == 1)
    for (size_t c = 0; c < C; c++) y[c] = a[c] * (x[c] - m[c]) + b[c];
  else
    for (size_t c = 0; c < C; c++)
      for (size_t i = c * S; i < (c + 1) * S; i++) y[i] = a[c] * (x[i] - m[c]) + b[c];
}

void lip_channel_affine(const lip_layer *l, float *y, const float *x, size_t r0, size_t r1,
                        const float *amb) {
  size_t C, S, n = l->n_in;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t r = r0; r < r1; r++) affine(y + r * n, x + r * n, amb, amb + C, amb + 2 * C, C, S);
}

/* The map of every channel, without `offset` its slopes alone: a, 0 and b. */
static const float *spread(const lip_layer *l, void *scratch, bool offset) {
  const lip_diagonal *d = l->state;
  const size_t C = l->in.dim[0];
  float *a = scratch;
  for (size_t c = 0; c < C; c++) {
    d->map(l, c, &a[c], &a[2 * C + c]);
    a[C + c] = 0;
    if (!offset) a[2 * C + c] = 0;
  }
  return a;
}

void lip_diagonal_forward(const lip_layer *l, const lip_pass *pass) {
  lip_channel_affine(l, l->y, l->x, pass->r0, pass->r1, spread(l, pass->scratch, true));
}

void lip_diagonal_backward(const lip_layer *l, const lip_pass *pass) {
  lip_channel_affine(l, l->dx, l->dy, pass->r0, pass->r1, spread(l, pass->scratch, false));
}

void lip_diagonal_wide(const lip_layer *l, size_t B, const double *x, double *y) {
  const lip_diagonal *d = l->state;
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t c = 0; c < C; c++) {
    float a, b;
    d->map(l, c, &a, &b);
    for (size_t r = 0; r < B; r++)
      for (size_t i = r * C * S + c * S; i < r * C * S + (c + 1) * S; i++)
        y[i] = (double)a * x[i] + (double)b;
  }
}

/* ---- sums ---- */

LIP_HOT static void row_sums(double *restrict sum, double *restrict dot, const float *restrict x,
                             const float *restrict y, size_t n) {
  for (size_t c = 0; c < n; c++) {
    sum[c] += (double)y[c];
    dot[c] += (double)y[c] * (double)x[c];
  }
}

void lip_channel_sums(const lip_layer *l, const float *x, const float *y, size_t r0, size_t r1, size_t c0,
                      size_t c1, double *sum, double *dot) {
  size_t C, S, n = l->n_in;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t c = c0; c < c1; c++) sum[c] = dot[c] = 0;
  for (size_t r = r0; r < r1; r++) {
    if (S == 1) row_sums(sum + c0, dot + c0, x + r * n + c0, y + r * n + c0, c1 - c0);
    for (size_t c = c0; S > 1 && c < c1; c++) {
      sum[c] += lip_vec_sum(y + r * n + c * S, S);
      dot[c] += lip_vec_dot(y + r * n + c * S, x + r * n + c * S, S);
    }
  }
}

/* Sums of squares less the square of the mean: in double that leaves 7 digits of the variance of values whose mean is
 * 10^4 times their deviation, about what float32 itself has of them. */
void lip_diagonal_measure(const lip_layer *l, size_t r0, size_t r1) {
  lip_diagonal *d = l->state;
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  d->count = (r1 - r0) * S;
  lip_channel_sums(l, l->x, l->x, r0, r1, 0, C, d->mean, d->variance);
  for (size_t c = 0; c < C; c++) {
    d->mean[c] /= (double)d->count;
    d->variance[c] = d->variance[c] / (double)d->count - d->mean[c] * d->mean[c];
    if (d->variance[c] < 0) d->variance[c] = 0;
  }
}

float lip_running(float old, double now, double momentum) {
  const float moved = (float)((1 - momentum) * (double)old + momentum * now);
  return isfinite(moved) ? moved : old;
}

/* ---- constants ---- */

static double largest(const lip_layer *l) {
  const lip_diagonal *d = l->state;
  double most = 0;
  for (size_t c = 0; c < l->in.dim[0]; c++) {
    float a, b;
    d->map(l, c, &a, &b);
    if (isnan(a) || isnan(b)) return INFINITY;
    most = fmax(most, fabs((double)a));
  }
  return most;
}

lip_status lip_diagonal_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  return lip_constant_bound(pq, largest(l), upper);
}

void lip_diagonal_slopes(const lip_layer *l, double *low, double *high) {
  const lip_diagonal *d = l->state;
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t c = 0; c < C; c++) {
    float a, b;
    d->map(l, c, &a, &b);
    for (size_t i = c * S; i < (c + 1) * S; i++) low[i] = high[i] = (double)a;
  }
}

void lip_diagonal_range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  const lip_diagonal *d = l->state;
  size_t C, S;
  float slope, offset;
  lip_shape_channels(&l->in, &C, &S);
  d->map(l, k / S, &slope, &offset);
  const double a = (double)slope, b = (double)offset, u = a * from + b, v = a * to + b;
  const double size = fabs(a) * fmax(fabs(from), fabs(to)) + fabs(b);
  const double off = size * 0x1p-51 + 0x1p-1000; /* of a product and a sum in double */
  const double executed = lip_round_up((0x1p-23 + 0x1p-48) * size + 2 * (double)FLT_MIN);
  *r = (lip_range){a, a, fmin(u, v) - off, fmax(u, v) + off, executed, 1};
}

void lip_diagonal_unit(const lip_layer *l, size_t k, float amb[3]) {
  const lip_diagonal *d = l->state;
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  d->map(l, k / S, &amb[0], &amb[2]);
  amb[1] = 0;
}

void lip_diagonal_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const lip_diagonal *s = l->state;
  const double u = 0x1p-24, a = largest(l);
  size_t C, S;
  double b = 0;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t c = 0; c < C; c++) {
    float slope, offset;
    s->map(l, c, &slope, &offset);
    double one[] = {b, lip_round_up(fabs((double)offset) * lip_ones_norm(S, pq.q))};
    b = lip_norm_upper_d(one, 2, pq.q);
  }
  const double underflow = 2 * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  const double rounding = (2 * u + u * u) * a * (d->size + d->off) + u * b + underflow;
  d->size = lip_round_up(a * d->size + b);
  d->off = lip_round_up(a * d->off + rounding);
  lip_check_overflow(d);
}
