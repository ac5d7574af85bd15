/* Losses from the dual of the Wasserstein-1 distance (Kantorovich, Rubinstein 1958): over nets f of constant 1
 *   W1(P, Q) = max over f of  mean f on P - mean f on Q,
 * so the negative of a value of `kr`, divided by a bound of the net, is a lower bound of the distance of the samples.
 *
 * Every output c has its own two distributions: label c against the rest; one output: label 1 against label 0. With n_c
 * rows of label c among the B of the batch, s_c = 1 there and -1 elsewhere, the parts of a row are
 *   kr_c     -s_c z_c B / (n_c or B - n_c)      their mean over the rows is mean of z_c elsewhere - mean of z_c on c
 *   hinge_c  (C - 1 on its own label, else 1) max(0, M / 2 - s_c z_c)       the factor is 1 for C <= 2
 * and the losses, averaged over the outputs,
 *   kr    1/C sum_c kr_c                                 (Serrurier et al. 2021; rows are weighted as in deel-lip)
 *   hkr   1/C sum_c alpha hinge_c + (1 - alpha) kr_c     (the same, with alpha in [0, 1] as in deel-lip)
 * A label that a batch lacks has no mean: its part is 0. Every batch is weighed by itself: the value of a whole data set is
 * that of one batch with all of it.
 *
 *   lse_hkr  alpha (max(0, M / 2 - z_y) + max(0, M / 2 + w)) + (1 - alpha) (w - z_y),   w = 1/t log sum over j != y of e^(t z_j)
 * with t = log(C - 1) / (penalty M / 2), so that w is at most penalty M / 2 above the largest of them; two outputs: w is the
 * other one; M or penalty 0: the largest (deel-torchlip, LseHKRMulticlassLoss).
 *
 * At a kink the gradient is the one of the flat side. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "core/net/loss.h"
#include "core/net/loss_row.h"

enum { BLOCK = 256 }; /* outputs whose rows are counted at a time */

typedef struct hkr_conf {
  double alpha, margin, penalty;
} hkr_conf;

#define ALPHA                                                                                                \
  {                                                                                                          \
    "alpha", LIP_OPT_REAL, offsetof(hkr_conf, alpha), false, 0.9, 0, 1, NULL,                                \
        "share of the hinge: 0 is kr alone, 1 the hinge alone"                                               \
  }
#define MARGIN                                                                                               \
  {                                                                                                          \
    "margin", LIP_OPT_REAL, offsetof(hkr_conf, margin), false, 1, 0, 1e6, NULL,                              \
        "M: the two sides are to be that far apart, half of it on each side of 0"                            \
  }

static const lip_opt hkr_options[] = {ALPHA, MARGIN, {0}};
static const lip_opt lse_options[] = {
    ALPHA,
    MARGIN,
    {"penalty", LIP_OPT_REAL, offsetof(hkr_conf, penalty), false, 1, 0, 1e6, NULL,
     "how far the soft maximum of the other logits may be above them, in margin / 2"},
    {0}};

/* ---- kr and hkr ---- */

static size_t positive_class(size_t C, size_t c) {
  return C == 1 ? 1 : c;
}

/* What the two sides of outputs c0 .. c0+n-1 weigh in a sum over rows: B / n_c and B / (B - n_c), 0 for an empty side. */
static void weigh(const int32_t *labels, size_t B, size_t C, size_t c0, size_t n, double *on, double *off) {
  const size_t first = positive_class(C, c0);
  for (size_t c = 0; c < n; c++) on[c] = 0;
  for (size_t r = 0; r < B; r++) {
    const size_t y = (size_t)labels[r];
    if (y >= first && y < first + n) on[y - first]++;
  }
  for (size_t c = 0; c < n; c++) {
    const double rest = (double)B - on[c];
    on[c] = on[c] > 0 ? (double)B / on[c] : 0;
    off[c] = rest > 0 ? (double)B / rest : 0;
  }
}

/* (1 - alpha) kr + alpha hinge of rows r0..r1. */
static void add_sides(const hkr_conf *c, const float *z, size_t B, size_t C, const int32_t *labels, size_t r0,
                      size_t r1, double *value, float *dz) {
  const double share = 1 / (double)C, kr = (1 - c->alpha) * share, hinge = c->alpha * share,
               half = c->margin / 2;
  const double own = C > 2 ? (double)(C - 1) : 1, scale = 1 / (double)B;
  double on[BLOCK], off[BLOCK];
  for (size_t r = r0; r < r1; r++) value[r] = 0;
  for (size_t c0 = 0; c0 < C; c0 += BLOCK) {
    const size_t n = C - c0 < BLOCK ? C - c0 : BLOCK;
    weigh(labels, B, C, c0, n, on, off);
    for (size_t r = r0; r < r1; r++) {
      const size_t y = (size_t)labels[r], first = positive_class(C, c0);
      const float *row = z + r * C + c0;
      float *out = dz ? dz + r * C + c0 : NULL;
      double sum = 0;
      for (size_t k = 0; k < n; k++) {
        const bool is = y == first + k;
        const double s = is ? 1 : -1, v = s * (double)row[k], h = half - v, weight = is ? own : 1;
        const double slope = kr * (is ? on[k] : off[k]), steep = h > 0 ? hinge * weight : 0;
        sum += steep * h - slope * v;
        if (out) out[k] = (float)(-s * (slope + steep) * scale);
      }
      value[r] += sum;
    }
  }
  for (size_t r = r0; r < r1; r++)
    if (!lip_row_finite(z + r * C, C)) lip_row_refuse(value + r, dz ? dz + r * C : NULL, C);
}

static void hkr_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                     size_t r1, double *value, float *dz) {
  add_sides(conf, z, B, C, t->labels, r0, r1, value, dz);
}

static void kr_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                    size_t r1, double *value, float *dz) {
  (void)conf;
  add_sides(&(hkr_conf){0}, z, B, C, t->labels, r0, r1, value, dz);
}

/* ---- lse_hkr ---- */

/* w of one row; *total: the sum of e^(t (z_j - *top)). */
static double soft_largest(const float *z, size_t C, size_t y, double t, double *total, double *top) {
  double sum = 0;
  *top = -INFINITY;
  for (size_t j = 0; j < C; j++)
    if (j != y && (double)z[j] > *top) *top = (double)z[j];
  for (size_t j = 0; j < C && t < INFINITY; j++)
    if (j != y) sum += exp(t * ((double)z[j] - *top));
  *total = sum;
  return t > 0 && t < INFINITY ? *top + log(sum) / t : *top; /* t = 0: there is only one */
}

static void lse_gradient(const float *z, size_t C, size_t y, double t, double total, double top,
                         double slope_w, double slope_y, float *out) {
  bool found = false;
  for (size_t j = 0; j < C; j++) {
    double part = t < INFINITY ? exp(t * ((double)z[j] - top)) / total : 0;
    if (!(t < INFINITY) && j != y && !found && (double)z[j] == top) part = 1, found = true;
    out[j] = (float)(j == y ? slope_y : slope_w * part);
  }
}

static void lse_hkr_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                         size_t r0, size_t r1, double *value, float *dz) {
  const hkr_conf *c = conf;
  const double half = c->margin / 2, kr = 1 - c->alpha, scale = 1 / (double)B;
  const double sharp = C > 2 ? log((double)(C - 1)) / (c->penalty * half) : 0;
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C;
    float *out = dz ? dz + r * C : NULL;
    if (!lip_row_finite(row, C)) {
      lip_row_refuse(value + r, out, C);
      continue;
    }
    const size_t y = (size_t)t->labels[r];
    double total, top, w = soft_largest(row, C, y, sharp, &total, &top), zy = (double)row[y];
    const double a = half - zy, b = half + w;
    value[r] = c->alpha * ((a > 0 ? a : 0) + (b > 0 ? b : 0)) + kr * (w - zy);
    if (out)
      lse_gradient(row, C, y, sharp, total, top, scale * (kr + (b > 0 ? c->alpha : 0)),
                   -scale * (kr + (a > 0 ? c->alpha : 0)), out);
  }
}

const lip_loss_kind lip_loss_kr = {
    .desc = {"kr", "mean output off a label less that on it, of each batch: minus a Wasserstein-1 distance",
             NULL, 0},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 1,
    .rows = kr_rows,
};
const lip_loss_kind lip_loss_hkr = {
    .desc = {"hkr", "kr with a hinge: (1 - alpha) kr + alpha max(0, margin / 2 - s z), s = 1 or -1",
             hkr_options, sizeof(hkr_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 1,
    .rows = hkr_rows,
};
const lip_loss_kind lip_loss_lse_hkr = {
    .desc = {"lse_hkr", "hkr of the label's output against a soft maximum of the others", lse_options,
             sizeof(hkr_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 2,
    .rows = lse_hkr_rows,
};
