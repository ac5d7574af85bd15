/* Losses of a row that count less once it is well classified, or badly beyond hope; z the logits, y the label, and of one
 * output f the logits 0 and f.
 *
 *   annealed       -T (1 - p)^gamma log p,  p = softmax((z - offset e_y) / T)_y: "logit annealing", a margin that grows until
 *                  p is large (Lai et al. 2025, without their constant factor; cross_entropy for gamma = 0)
 *   clipped_hinge  min(max(0, 1 - m / M), clip) + mix T cross entropy(z / T),  m = z_y - the largest other logit: rows that are
 *                  far from right are given up, and the cross entropy, which `anneal` of lip.train lets fade, finds a
 *                  beginning (Zhang et al. 2022, for l_inf-dist nets). A row is certified at eps by constants c of
 *                  its pairs when m > eps c: M = 2 eps for logits of constant 1 each.
 *   bce            T log(1 + e^(-s z / T)), s = 1 or -1: binary cross entropy, of one output, or the mean over all outputs of
 *                  each label against the rest */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "core/net/loss.h"
#include "core/net/loss_row.h"

typedef struct annealed_conf {
  double temperature, offset, gamma;
} annealed_conf;
typedef struct clipped_conf {
  double margin, clip, mix, temperature;
} clipped_conf;
typedef struct bce_conf {
  double temperature;
} bce_conf;

#define REAL(conf, member, must, def, low, high, help)                                                       \
  { #member, LIP_OPT_REAL, offsetof(conf, member), must, def, low, high, NULL, help }
static const lip_opt annealed_options[] = {
    REAL(annealed_conf, temperature, false, 0.75, 1e-6, 1e6,
         "T: logits are divided by it and the loss multiplied"),
    REAL(annealed_conf, offset, false, 2, 0, 1e6, "taken off the true logit, before the division"),
    REAL(annealed_conf, gamma, false, 5, 0, 100, "how fast rows that are right fade"),
    {0}};
static const lip_opt clipped_options[] = {
    REAL(clipped_conf, margin, true, 1, 1e-6, 1e6, "M: margin at which the hinge becomes 0"),
    REAL(clipped_conf, clip, false, 1, 0, 1e6,
         "largest hinge: rows beyond it (at 1 all wrong answers) have no gradient but that of mix"),
    REAL(clipped_conf, mix, false, 0, 0, 1e6,
         "factor of the cross entropy that is added: above 0, wrong answers are learnt from"),
    REAL(clipped_conf, temperature, false, 1, 1e-6, 1e6, "T of the cross entropy"),
    {0}};
static const lip_opt bce_options[] = {
    REAL(bce_conf, temperature, false, 1, 1e-6, 1e6, "T: outputs are divided by it and the loss multiplied"),
    {0}};

/* ---- softmax of a row, in double ---- */

/* One row: its logits, and where what is left of the label's own lies. */
typedef struct soft {
  double top, sum,
      rest;   /* the largest shifted logit; sums of e^(. - top): of all, and without the label's own */
  double own; /* its shifted logit, less top */
} soft;

static double shifted(const float *z, size_t y, size_t j, double T, double offset) {
  return ((double)z[j] - (j == y ? offset : 0)) / T;
}

static soft soft_of(const float *z, size_t C, size_t y, double T, double offset) {
  soft s = {.top = -INFINITY};
  for (size_t j = 0; j < C; j++) s.top = fmax(s.top, shifted(z, y, j, T, offset));
  for (size_t j = 0; j < C; j++)
    if (j != y) s.rest += exp(shifted(z, y, j, T, offset) - s.top);
  s.own = shifted(z, y, y, T, offset) - s.top;
  s.sum = s.rest + exp(s.own);
  return s;
}

/* -log p: exact to rounding also where p is near 1. */
static double surprise(const soft *s) {
  return s->own == 0 ? log1p(s->rest) : log(s->sum) - s->own;
}

/* out_j = A p_j, and for the label A (p - 1), whose size is A times what is left. */
static void soft_gradient(const soft *s, const float *z, size_t C, size_t y, double T, double offset,
                          double A, float *out) {
  for (size_t j = 0; j < C; j++) {
    double part = j == y ? -s->rest : exp(shifted(z, y, j, T, offset) - s->top);
    out[j] = (float)(A * (part / s->sum));
  }
}

/* ---- one row: its value, and `share` times its gradient into out (C) or NULL ---- */

typedef double row_loss(const void *conf, const float *z, size_t C, size_t y, double share, float *out);

static double annealed_row(const void *conf, const float *z, size_t C, size_t y, double share, float *out) {
  const annealed_conf *c = conf;
  const soft s = soft_of(z, C, y, c->temperature, c->offset);
  const double q = s.rest / s.sum, p = exp(s.own) / s.sum, fade = pow(q, c->gamma), l = surprise(&s);
  /* the fading factor adds gamma p l / q, which is gamma where q vanishes */
  const double ratio = q > 0x1p-500 ? l / q : 1;
  if (out)
    soft_gradient(&s, z, C, y, c->temperature, c->offset, share * fade * (1 + c->gamma * p * ratio), out);
  return c->temperature * fade * l;
}

static double clipped_row(const void *conf, const float *z, size_t C, size_t y, double share, float *out) {
  const clipped_conf *c = conf;
  size_t other = y == 0;
  for (size_t j = 0; j < C; j++)
    if (j != y && z[j] > z[other]) other = j;
  const double h = 1 - ((double)z[y] - (double)z[other]) / c->margin;
  const double hinge = h > 0 ? (h < c->clip ? h : c->clip) : 0;
  const bool slopes = h > 0 && h < c->clip;
  for (size_t j = 0; out && j < C; j++) out[j] = 0;
  double entropy = 0;
  if (c->mix > 0) {
    const soft s = soft_of(z, C, y, c->temperature, 0);
    entropy = c->mix * c->temperature * surprise(&s);
    if (out) soft_gradient(&s, z, C, y, c->temperature, 0, share * c->mix, out);
  }
  if (out && slopes) {
    out[y] = (float)((double)out[y] - share / c->margin);
    out[other] = (float)((double)out[other] + share / c->margin);
  }
  return hinge + entropy;
}

/* Rows one by one; an output alone as the second of two logits. */
static void run_rows(row_loss *f, const void *conf, const float *z, size_t B, size_t C, const int32_t *labels,
                     size_t r0, size_t r1, double *value, float *dz) {
  const double share = 1 / (double)B;
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C, two[2] = {0, *row};
    float *out = dz ? dz + r * C : NULL, pair[2];
    if (!lip_row_finite(row, C)) {
      lip_row_refuse(value + r, out, C);
      continue;
    }
    const size_t y = (size_t)labels[r];
    value[r] = C > 1 ? f(conf, row, C, y, share, out) : f(conf, two, 2, y, share, out ? pair : NULL);
    if (C == 1 && out) *out = pair[1];
  }
}

static void annealed_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                          size_t r0, size_t r1, double *value, float *dz) {
  run_rows(annealed_row, conf, z, B, C, t->labels, r0, r1, value, dz);
}

static void clipped_hinge_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                               size_t r0, size_t r1, double *value, float *dz) {
  run_rows(clipped_row, conf, z, B, C, t->labels, r0, r1, value, dz);
}

static void bce_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                     size_t r1, double *value, float *dz) {
  const double T = ((const bce_conf *)conf)->temperature, mean = 1 / (double)C, scale = mean / (double)B;
  for (size_t r = r0; r < r1; r++) {
    const float *row = z + r * C;
    float *out = dz ? dz + r * C : NULL;
    if (!lip_row_finite(row, C)) {
      lip_row_refuse(value + r, out, C);
      continue;
    }
    const size_t y = (size_t)t->labels[r];
    double sum = 0;
    for (size_t j = 0; j < C; j++) {
      const double s = (C == 1 ? y == 1 : y == j) ? 1 : -1, v = s * (double)row[j] / T, e = exp(-fabs(v));
      sum += (v < 0 ? -v : 0) + log1p(e);
      if (out) out[j] = (float)(-s * scale * (v < 0 ? 1 : e) / (1 + e));
    }
    value[r] = T * sum * mean;
  }
}

const lip_loss_kind lip_loss_bce = {
    .desc = {"bce",
             "binary cross entropy of each output: label 1 for one, else its own label against the rest",
             bce_options, sizeof(bce_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 1,
    .rows = bce_rows,
};
const lip_loss_kind lip_loss_annealed = {
    .desc = {"annealed", "cross entropy that fades with (1 - p)^gamma, with temperature and offset",
             annealed_options, sizeof(annealed_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 1,
    .rows = annealed_rows,
};
const lip_loss_kind lip_loss_clipped_hinge = {
    .desc = {"clipped_hinge", "hinge of the margin, clipped, with a share of cross entropy that may fade",
             clipped_options, sizeof(clipped_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 1,
    .rows = clipped_hinge_rows,
};
