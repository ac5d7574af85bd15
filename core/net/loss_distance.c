/* Distances to values v, per row:
 *   mse  1/C sum_i (z_i - v_i)^2     (no factor 1/2: dz = 2 (z - v) / C)
 *   mae  1/C sum_i |z_i - v_i|       (dz = sign(z - v) / C, 0 where they are equal)
 *   huber     1/C sum_i h(z_i - v_i), h(d) = d^2 / 2 up to |d| = delta, beyond it delta (|d| - delta / 2)   (Huber 1964)
 *   quantile  1/C sum_i max(tau (v_i - z_i), (1 - tau) (z_i - v_i)): smallest where a share tau of the values is below z;
 *             0 is the gradient where they are equal                       (Koenker and Bassett 1978) */
#include <math.h>
#include <stddef.h>

#include "core/net/loss.h"
#include "core/net/loss_row.h"

static void mse_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                     size_t r1, double *value, float *dz) {
  const double share = 1 / (double)C, slope = 2 * share / (double)B;
  (void)conf;
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C, *v = t->values + r * C;
    float *out = dz ? dz + r * C : NULL;
    double sum = 0;
    for (size_t i = 0; i < C; i++) {
      double d = (double)row[i] - (double)v[i];
      sum += d * d;
    }
    value[r] = sum * share;
    if (!isfinite(sum)) lip_row_refuse(value + r, out, C);
    if (!out || !isfinite(sum)) continue;
    for (size_t i = 0; i < C; i++) out[i] = (float)(slope * ((double)row[i] - (double)v[i]));
  }
}

static void mae_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                     size_t r1, double *value, float *dz) {
  const double share = 1 / (double)C;
  const float slope = (float)(share / (double)B);
  (void)conf;
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C, *v = t->values + r * C;
    float *out = dz ? dz + r * C : NULL;
    double sum = 0;
    for (size_t i = 0; i < C; i++) sum += fabs((double)row[i] - (double)v[i]);
    value[r] = sum * share;
    if (!isfinite(sum)) lip_row_refuse(value + r, out, C);
    if (!out || !isfinite(sum)) continue;
    for (size_t i = 0; i < C; i++) out[i] = slope * (float)((row[i] > v[i]) - (row[i] < v[i]));
  }
}

typedef struct distance_conf {
  double delta, tau;
} distance_conf;
static const lip_opt huber_options[] = {{"delta", LIP_OPT_REAL, offsetof(distance_conf, delta), false, 1,
                                         1e-9, 1e9, NULL, "distance from which on it grows linearly"},
                                        {0}};
static const lip_opt quantile_options[] = {{"tau", LIP_OPT_REAL, offsetof(distance_conf, tau), true, 0.5, 0,
                                            1, NULL, "share of the values that is to be below the output"},
                                           {0}};

/* One distance d = z - v: the value, its slope. */
typedef double distance(const distance_conf *c, double d, double *slope);

static double huber(const distance_conf *c, double d, double *slope) {
  const double size = fabs(d);
  *slope = size <= c->delta ? d : d > 0 ? c->delta : -c->delta;
  return size <= c->delta ? d * d / 2 : c->delta * (size - c->delta / 2);
}

static double quantile(const distance_conf *c, double d, double *slope) {
  *slope = d > 0 ? 1 - c->tau : d < 0 ? -c->tau : 0;
  return d * *slope;
}

static void add_distances(distance *f, const void *conf, const float *z, size_t B, size_t C,
                          const float *values, size_t r0, size_t r1, double *value, float *dz) {
  const double share = 1 / (double)C, scale = share / (double)B;
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C, *v = values + r * C;
    float *out = dz ? dz + r * C : NULL;
    bool finite = true;
    double sum = 0, slope;
    for (size_t i = 0; i < C; i++) {
      const double d = (double)row[i] - (double)v[i];
      finite = finite && isfinite(d);
      sum += f(conf, d, &slope);
      if (out) out[i] = (float)(slope * scale);
    }
    value[r] = sum * share;
    if (!finite) lip_row_refuse(value + r, out, C);
  }
}

static void huber_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                       size_t r1, double *value, float *dz) {
  add_distances(huber, conf, z, B, C, t->values, r0, r1, value, dz);
}

static void quantile_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                          size_t r0, size_t r1, double *value, float *dz) {
  add_distances(quantile, conf, z, B, C, t->values, r0, r1, value, dz);
}

const lip_loss_kind lip_loss_huber = {
    .desc = {"huber", "squared distance up to delta, beyond it linear", huber_options, sizeof(distance_conf)},
    .target = LIP_TARGET_VALUES,
    .min_outputs = 1,
    .rows = huber_rows,
};
const lip_loss_kind lip_loss_quantile = {
    .desc = {"quantile", "distance weighed tau below the value and 1 - tau above it", quantile_options,
             sizeof(distance_conf)},
    .target = LIP_TARGET_VALUES,
    .min_outputs = 1,
    .rows = quantile_rows,
};
const lip_loss_kind lip_loss_mse = {
    .desc = {"mse", "mean squared distance to the target values", NULL, 0},
    .target = LIP_TARGET_VALUES,
    .min_outputs = 1,
    .rows = mse_rows,
};
const lip_loss_kind lip_loss_mae = {
    .desc = {"mae", "mean absolute distance to the target values", NULL, 0},
    .target = LIP_TARGET_VALUES,
    .min_outputs = 1,
    .rows = mae_rows,
};
