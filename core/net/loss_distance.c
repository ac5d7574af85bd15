/* Distances to values v, per row:
 *   mse  1/C sum_i (z_i - v_i)^2     (no factor 1/2: dz = 2 (z - v) / C)
 *   mae  1/C sum_i |z_i - v_i|       (dz = sign(z - v) / C, 0 where they are equal) */
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
