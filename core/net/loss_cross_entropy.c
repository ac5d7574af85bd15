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
#include <string.h>

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

enum { LANES = 16, BLOCK = 512, NARROW = 256 };

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

/* One row after the other: what is left over, and rows of many classes. */
static void row_by_row(const cross_entropy_conf *c, const float *z, size_t B, size_t C, const int32_t *labels,
                       size_t r0, size_t r1, double *value, float *dz) {
  const float inv = (float)(1 / c->temperature);
  float scratch[BLOCK];
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C;
    float *out = dz ? dz + r * C : NULL;
    size_t y = (size_t)labels[r];
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

/* ---- LANES rows side by side, class after class: the same operations in the same order, hence the same bits ---- */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t masks __attribute__((vector_size(4 * LANES)));

/* e (C, LANES): the rows, each with its true logit shifted; largest and whether a row is finite, per lane. */
LIP_HOT static void prepare_lanes(const float *restrict z, size_t C, const int32_t *labels, double offset,
                                  float *restrict e, float *restrict max, float *restrict shifted,
                                  int32_t *restrict bad) {
  masks wrong = {0}, top = {0};
  const int32_t infinity = 0x7f800000;
  for (size_t l = 0; l < LANES; l++)
    for (size_t i = 0; i < C; i++) e[i * LANES + l] = z[l * C + i];
  for (size_t i = 0; i < C; i++) {
    masks bits;
    memcpy(&bits, e + i * LANES, sizeof bits);
    wrong |= (bits & infinity) == infinity;
  }
  for (size_t l = 0; l < LANES; l++) {
    float *own = e + (size_t)labels[l] * LANES + l;
    shifted[l] = *own = (float)((double)*own - offset);
    wrong[l] |= !isfinite(shifted[l]);
  }
  memcpy(&top, e, sizeof top);
  for (size_t i = 1; i < C; i++) {
    lanes x, best;
    memcpy(&x, e + i * LANES, sizeof x);
    memcpy(&best, &top, sizeof best);
    masks more = x > best;
    top = ((masks)x & more) | (top & ~more);
  }
  memcpy(max, &top, sizeof top);
  memcpy(bad, &wrong, sizeof wrong);
}

/* e = exp((e - max) * inv), sums per lane. */
LIP_HOT static void exp_lanes(float *restrict e, size_t C, const float *restrict max, float inv,
                              double *restrict sum) {
  lanes top;
  double s[LANES] = {0};
  memcpy(&top, max, sizeof top);
  for (size_t i = 0; i < C; i++) {
    lanes x;
    memcpy(&x, e + i * LANES, sizeof x);
    x = (x - top) * inv;
    memcpy(e + i * LANES, &x, sizeof x);
  }
  for (size_t k = 0; k < C * LANES; k++) e[k] = lip_expf(e[k]);
  for (size_t i = 0; i < C; i++)
    for (size_t l = 0; l < LANES; l++) s[l] += (double)e[i * LANES + l];
  memcpy(sum, s, sizeof s);
}

/* Gradients from the exponentials, back into rows. */
LIP_HOT static void gradient_lanes(float *restrict e, size_t C, const int32_t *labels,
                                   const float *restrict scale, float *restrict dz) {
  lanes by;
  double others[LANES] = {0};
  memcpy(&by, scale, sizeof by);
  for (size_t l = 0; l < LANES; l++) e[(size_t)labels[l] * LANES + l] = 0;
  for (size_t i = 0; i < C; i++) {
    lanes x;
    memcpy(&x, e + i * LANES, sizeof x);
    x *= by;
    memcpy(e + i * LANES, &x, sizeof x);
  }
  for (size_t i = 0; i < C; i++)
    for (size_t l = 0; l < LANES; l++) others[l] += (double)e[i * LANES + l];
  for (size_t l = 0; l < LANES; l++) e[(size_t)labels[l] * LANES + l] = (float)-others[l];
  for (size_t l = 0; l < LANES; l++)
    for (size_t i = 0; i < C; i++) dz[l * C + i] = e[i * LANES + l];
}

/* z, value and dz (NULL: none) from the first of LANES rows on. */
static void side_by_side(const cross_entropy_conf *c, const float *z, size_t B, size_t C,
                         const int32_t *labels, double *value, float *dz) {
  float e[NARROW * LANES], max[LANES], shifted[LANES], scale[LANES];
  double sum[LANES];
  int32_t bad[LANES];
  prepare_lanes(z, C, labels, c->offset, e, max, shifted, bad);
  exp_lanes(e, C, max, (float)(1 / c->temperature), sum);
  for (size_t l = 0; l < LANES; l++) {
    value[l] = c->temperature * log(sum[l]) + ((double)max[l] - (double)shifted[l]);
    scale[l] = (float)(1 / (sum[l] * (double)B));
  }
  if (dz) gradient_lanes(e, C, labels, scale, dz);
  for (size_t l = 0; l < LANES; l++)
    if (bad[l]) lip_row_refuse(value + l, dz ? dz + l * C : NULL, C);
}

static void cross_entropy_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                               size_t r0, size_t r1, double *value, float *dz) {
  size_t r = r0;
  for (; C <= NARROW && r + LANES <= r1; r += LANES)
    side_by_side(conf, z + r * C, B, C, t->labels + r, value + r, dz ? dz + r * C : NULL);
  row_by_row(conf, z, B, C, t->labels, r, r1, value, dz);
}

const lip_loss_kind lip_loss_cross_entropy = {
    .desc = {"cross_entropy", "cross entropy of the softmax, with temperature and offset", options,
             sizeof(cross_entropy_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 2,
    .rows = cross_entropy_rows,
};
