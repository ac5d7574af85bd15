/* Losses of margins, per row with label y and margin M >= 0:
 *   multi_margin  1/(C-1) sum over i != y of max(0, M - (z_y - z_i))           (Weston and Watkins 1999, averaged)
 *   hinge         1/C sum over i of max(0, M - s_i z_i), s_y = 1, other s_i = -1   (one class against the rest)
 *                 with one output: max(0, M - s z), s = 1 for label 1 and -1 for label 0    (Cortes and Vapnik 1995)
 * To be certified at radius eps in the norm of the net take M = eps L c with c = 1, sqrt 2, 2 for logits measured in
 * the norm 1, 2, inf: multi_margin is then 0 exactly where every pair has that margin. At a kink the gradient is the
 * one of the flat side. */
#include <stddef.h>
#include <stdint.h>

#include "core/net/loss.h"
#include "core/net/loss_row.h"

typedef struct margin_conf {
  double margin;
} margin_conf;

static const lip_opt options[] = {{"margin", LIP_OPT_REAL, offsetof(margin_conf, margin), false, 1, 0, 1e6,
                                   NULL, "M: distance at which the loss becomes 0"},
                                  {0}};

static void multi_margin_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                              size_t r0, size_t r1, double *value, float *dz) {
  const double margin = ((const margin_conf *)conf)->margin, share = 1 / (double)(C - 1);
  const float slope = (float)(share / (double)B);
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C;
    float *out = dz ? dz + r * C : NULL;
    if (!lip_row_finite(row, C)) {
      lip_row_refuse(value + r, out, C);
      continue;
    }
    const size_t y = (size_t)t->labels[r];
    const double least = margin - (double)row[y];
    double sum = 0;
    size_t active = 0;
    for (size_t i = 0; i < C; i++) {
      double h = i == y ? 0 : least + (double)row[i];
      sum += h > 0 ? h : 0;
      active += h > 0;
      if (out) out[i] = h > 0 ? slope : 0;
    }
    value[r] = sum * share;
    if (out) out[y] = (float)(-(double)active * (share / (double)B));
  }
}

static void hinge_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                       size_t r1, double *value, float *dz) {
  const double margin = ((const margin_conf *)conf)->margin, share = 1 / (double)C;
  const float slope = (float)(share / (double)B);
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C;
    float *out = dz ? dz + r * C : NULL;
    if (!lip_row_finite(row, C)) {
      lip_row_refuse(value + r, out, C);
      continue;
    }
    /* one output: label 1 is the positive side */
    const size_t y = C == 1 ? (t->labels[r] == 1 ? 0 : 1) : (size_t)t->labels[r];
    double sum = 0;
    for (size_t i = 0; i < C; i++) {
      double s = i == y ? 1 : -1, h = margin - s * (double)row[i];
      sum += h > 0 ? h : 0;
      if (out) out[i] = h > 0 ? (i == y ? -slope : slope) : 0;
    }
    value[r] = sum * share;
  }
}

const lip_loss_kind lip_loss_multi_margin = {
    .desc = {"multi_margin", "mean over the wrong classes of max(0, margin - (z_y - z_i))", options,
             sizeof(margin_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 2,
    .rows = multi_margin_rows,
};
const lip_loss_kind lip_loss_hinge = {
    .desc = {"hinge", "each class against the rest: mean of max(0, margin - s z), s = 1 or -1", options,
             sizeof(margin_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 1,
    .rows = hinge_rows,
};
