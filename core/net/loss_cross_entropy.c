/* Cross entropy with temperature T and offset u, per row with label y:
 *   s = (z - u e_y) / T,   value = T (log sum_i exp s_i - s_y),   dz_i = softmax(s)_i - [i = y].
 * T = 1, u = 0 is the plain loss. An offset keeps pushing until the margin is beyond u, a small T does so sharply
 * (Prach and Lampert 2022, section 5: u = sqrt 2, T = 1/4 in the l2 norm). The factor T keeps the slope in z the
 * same for every T, so T does not act as a learning rate.
 *
 * Computed as T log sum_i exp((z'_i - max z')/T) + max z' - z'_y with z' = z - u e_y: no exponent is positive, no
 * size of logit overflows. The gradient of the true class is minus the sum of the others, which is more exact than
 * softmax - 1 and makes the row sum to zero. A row with NaN or infinity gives NaN everywhere. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/simd.h"
#include "core/net/loss.h"
#include "core/net/loss_row.h"
#include "core/tensor/vmath.h"

typedef struct cross_entropy_conf {
  double temperature, offset;
} cross_entropy_conf;

static const lip_opt options[] = {{"temperature", LIP_OPT_REAL, offsetof(cross_entropy_conf, temperature),
                                   false, 1, 1e-6, 1e6, NULL,
                                   "T: logits are divided by it and the loss multiplied"},
                                  {"offset", LIP_OPT_REAL, offsetof(cross_entropy_conf, offset), false, 0, 0,
                                   1e6, NULL, "u: subtracted from the logit of the true class"},
                                  {0}};

enum { LANES = 16, BLOCK = 512 };

/* Largest of x; *finite tells whether no element is NaN or infinite. */
LIP_HOT static float row_max(const float *x, size_t n, bool *finite) {
  float best[LANES], m = x[0];
  size_t i = 0;
  for (size_t k = 0; k < LANES; k++) best[k] = x[0];
  for (; i + LANES <= n; i += LANES)
    for (size_t k = 0; k < LANES; k++) best[k] = x[i + k] > best[k] ? x[i + k] : best[k];
  for (; i < n; i++) best[i % LANES] = x[i] > best[i % LANES] ? x[i] : best[i % LANES];
  for (size_t k = 0; k < LANES; k++) m = best[k] > m ? best[k] : m;
  *finite = lip_row_finite(x, n);
  return m;
}

/* e = exp((x - max) * inv), the element `y` (if it lies inside) with x_y; returns the sum in element order. */
LIP_HOT static double exp_sum(const float *restrict x, size_t n, float max, float inv, size_t y, float xy,
                              float *restrict e) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) e[i] = lip_expf((x[i] - max) * inv);
  if (y < n) e[y] = lip_expf((xy - max) * inv);
  for (size_t i = 0; i < n; i++) sum += (double)e[i];
  return sum;
}

static void cross_entropy_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                               size_t r0, size_t r1, double *value, float *dz) {
  const cross_entropy_conf *c = conf;
  const float inv = (float)(1 / c->temperature);
  float scratch[BLOCK];
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C;
    float *out = dz ? dz + r * C : NULL;
    size_t y = (size_t)t->labels[r];
    bool finite;
    float max = row_max(row, C, &finite), shifted = (float)((double)row[y] - c->offset);
    if (!finite || !isfinite(shifted)) {
      lip_row_refuse(value + r, out, C);
      continue;
    }
    if (c->offset > 0 && row[y] == max) { /* the largest after the shift may be another one */
      max = shifted;
      for (size_t i = 0; i < C; i++) max = i != y && row[i] > max ? row[i] : max;
    }
    double sum = 0;
    if (out)
      sum = exp_sum(row, C, max, inv, y, shifted, out);
    else
      for (size_t i = 0; i < C; i += BLOCK) {
        size_t n = C - i < BLOCK ? C - i : BLOCK;
        sum += exp_sum(row + i, n, max, inv, y - i, shifted, scratch); /* y < i wraps: outside */
      }
    value[r] = c->temperature * log(sum) + ((double)max - (double)shifted);
    if (!out) continue;
    const float scale = (float)(1 / (sum * (double)B));
    double others = 0;
    out[y] = 0;
    for (size_t i = 0; i < C; i++) out[i] *= scale;
    for (size_t i = 0; i < C; i++) others += (double)out[i];
    out[y] = (float)-others;
  }
}

const lip_loss_kind lip_loss_cross_entropy = {
    .desc = {"cross_entropy", "cross entropy of the softmax, with temperature and offset", options,
             sizeof(cross_entropy_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 2,
    .rows = cross_entropy_rows,
};
