/* Losses that see how far logits can move, per row with label y and bounds K_ij >= |(z_i - z_j)(x) - (z_i - z_j)(x')| /
 * |x - x'|: within radius eps, logit j gains at most eps K_yj on logit y.
 *
 *   certified  the base loss of the logits at their worst, s_j = z_j + eps K_yj, s_y = z_y:
 *                cross_entropy  T log sum_j exp((s_j - s_y) / T)
 *                multi_margin   1/(C-1) sum over j != y of max(0, s_j - s_y), 0 exactly where the row is certified
 *              (the robust cross entropy of Wong and Kolter 2018 with a Lipschitz bound; Tsuzuku et al. 2018)
 *   emma       cross entropy with s_j = z_j + c_j eps K_yj, c_j = min(max((z_y - z_j) / (eps K_yj), 1/100), 1) held
 *              fixed in the gradient: each class is pushed as far as it now is, up to eps (Hu et al. 2023, EMMA, as in
 *              the authors' code)
 *   gloro      cross entropy over C + 1 classes, the last of them "not certified": with p the largest logit,
 *              z_(C+1) = max over j != p of z_j + eps K_pj (Leino, Wang, Fredrikson 2021, section 3)
 *
 * All three scale their cross entropy by T as `cross_entropy` does. dK is eps times the gradient in s_j (with c_j as a
 * further factor for emma), for gloro that in z_(C+1) at the j of the maximum. A row that is not finite gives NaN. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "core/net/loss.h"
#include "core/net/loss_row.h"
#include "core/tensor/vmath.h"

typedef enum base { CROSS_ENTROPY, MULTI_MARGIN } base;
static const char *const base_names[] = {"cross_entropy", "multi_margin", NULL};
const char *const lip_pair_method_names[] = {"product", "recursion", "multiplier", NULL};

typedef struct bounded_conf {
  double eps, temperature;
  lip_pair_conf pairs;
  int base;
} bounded_conf;

#define COMMON                                                                                               \
  {"eps",                                                                                                    \
   LIP_OPT_REAL,                                                                                             \
   offsetof(bounded_conf, eps),                                                                              \
   true,                                                                                                     \
   0,                                                                                                        \
   0,                                                                                                        \
   1e6,                                                                                                      \
   NULL,                                                                                                     \
   "radius, in the norm of the net's input"},                                                                \
      {"method",                                                                                             \
       LIP_OPT_ENUM,                                                                                         \
       offsetof(bounded_conf, pairs.method),                                                                 \
       false,                                                                                                \
       LIP_PAIR_PRODUCT,                                                                                     \
       0,                                                                                                    \
       0,                                                                                                    \
       lip_pair_method_names,                                                                                \
       "bound of a pair of logits: of layer norms, or of multipliers (norm 2)"},                             \
      {"refresh",                                                                                            \
       LIP_OPT_SIZE,                                                                                         \
       offsetof(bounded_conf, pairs.refresh),                                                                \
       false,                                                                                                \
       0,                                                                                                    \
       0,                                                                                                    \
       1e6,                                                                                                  \
       NULL,                                                                                                 \
       "pairs whose multipliers each step looks at, in turn; 0: all"},                                       \
  {                                                                                                          \
    "temperature", LIP_OPT_REAL, offsetof(bounded_conf, temperature), false, 1, 1e-6, 1e6, NULL,             \
        "T: logits are divided by it and the loss multiplied"                                                \
  }

static const lip_opt options[] = {COMMON, {0}};
static const lip_opt certified_options[] = {COMMON,
                                            {"base", LIP_OPT_ENUM, offsetof(bounded_conf, base), false,
                                             CROSS_ENTROPY, 0, 0, base_names,
                                             "loss of the logits at their worst"},
                                            {0}};

static const lip_pair_conf *pairs_of(const void *conf) {
  return &((const bounded_conf *)conf)->pairs;
}

/* One row and where its results go; dz and dK may be NULL, and K: then it is 0. */
typedef struct row {
  const bounded_conf *conf;
  const float *z, *K;
  size_t C, y;
  double share; /* 1/B */
  double *value;
  float *dz, *dK;
  bool adaptive; /* emma */
} row;

/* What logit j is raised by. */
LIP_INLINE double raise(const row *r, size_t j) {
  if (j == r->y || !r->K) return 0;
  double full = r->conf->eps * (double)r->K[j];
  if (!r->adaptive) return full;
  double ahead = (double)r->z[r->y] - (double)r->z[j];
  return fmin(fmax(ahead, full / 100), full);
}

/* d raise / d K_yj. */
LIP_INLINE double raise_slope(const row *r, size_t j) {
  return r->adaptive ? (r->K[j] > 0 ? raise(r, j) / (double)r->K[j] : 0) : r->conf->eps;
}

static bool row_fits(const row *r) {
  return lip_row_finite(r->z, r->C) && (!r->K || lip_row_finite(r->K, r->C));
}

static void refuse(const row *r) {
  lip_row_refuse(r->value, r->dz, r->C);
  for (size_t j = 0; r->dK && j < r->C; j++) r->dK[j] = NAN;
}

/* From the gradient in the raised logits to that in the bounds. */
static void carry(const row *r) {
  for (size_t j = 0; r->dK && j < r->C; j++)
    r->dK[j] = j == r->y ? 0 : (float)(raise_slope(r, j) * (double)r->dz[j]);
}

static void cross_entropy_row(const row *r) {
  const double T = r->conf->temperature, zy = (double)r->z[r->y];
  double top = zy, sum = 0, others = 0;
  for (size_t j = 0; j < r->C; j++) top = fmax(top, (double)r->z[j] + raise(r, j));
  for (size_t j = 0; j < r->C; j++) {
    float e = lip_expf((float)(((double)r->z[j] + raise(r, j) - top) / T));
    sum += (double)e;
    if (r->dz) r->dz[j] = e;
  }
  *r->value = T * log(sum) + (top - zy);
  if (!r->dz) return;
  const float scale = (float)(r->share / sum);
  r->dz[r->y] = 0;
  for (size_t j = 0; j < r->C; j++) others += (double)(r->dz[j] *= scale);
  r->dz[r->y] = (float)-others;
  carry(r);
}

static void multi_margin_row(const row *r) {
  const double zy = (double)r->z[r->y], each = 1 / (double)(r->C - 1);
  double sum = 0, active = 0;
  for (size_t j = 0; j < r->C; j++) {
    double h = j == r->y ? 0 : (double)r->z[j] + raise(r, j) - zy;
    sum += h > 0 ? h : 0;
    active += h > 0;
    if (r->dz) r->dz[j] = h > 0 ? (float)(each * r->share) : 0;
  }
  *r->value = sum * each;
  if (!r->dz) return;
  r->dz[r->y] = (float)(-active * each * r->share);
  carry(r);
}

static size_t largest(const float *z, size_t C) {
  size_t best = 0;
  for (size_t j = 1; j < C; j++)
    if (z[j] > z[best]) best = j;
  return best;
}

/* K of the row is that of p, the largest logit. */
static void gloro_row(const row *r, size_t p) {
  const double T = r->conf->temperature, zy = (double)r->z[r->y];
  double last = -INFINITY, others = 0;
  size_t at = 0;
  for (size_t j = 0; j < r->C; j++) {
    double s = (double)r->z[j] + (r->K ? r->conf->eps * (double)r->K[j] : 0);
    if (j != p && s > last) last = s, at = j;
  }
  double top = fmax((double)r->z[p], last);
  const float extra = lip_expf((float)((last - top) / T));
  double sum = (double)extra;
  for (size_t j = 0; j < r->C; j++) {
    float e = lip_expf((float)(((double)r->z[j] - top) / T));
    sum += (double)e;
    if (r->dz) r->dz[j] = e;
  }
  *r->value = T * log(sum) + (top - zy);
  if (!r->dz) return;
  const float scale = (float)(r->share / sum), gone = extra * scale;
  r->dz[r->y] = 0;
  for (size_t j = 0; j < r->C; j++) others += (double)(r->dz[j] *= scale);
  r->dz[r->y] = (float)-(others + (double)gone);
  r->dz[at] += gone;
  for (size_t j = 0; r->dK && j < r->C; j++) r->dK[j] = j == at ? (float)(r->conf->eps * (double)gone) : 0;
}

/* The r-th row of a batch whose bounds are those of class `from`. */
static row row_at(const bounded_conf *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                  const lip_pair_terms *k, size_t r, size_t from, double *value, float *dz) {
  if (k && dz) k->from[r] = (uint32_t)from;
  return (row){.conf = conf,
               .z = z + r * C,
               .K = k ? k->K + from * C : NULL,
               .C = C,
               .y = (size_t)t->labels[r],
               .share = 1 / (double)B,
               .value = value + r,
               .dz = dz ? dz + r * C : NULL,
               .dK = k && dz ? k->dK + r * C : NULL};
}

static void certified_bounded(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                              const lip_pair_terms *k, size_t r0, size_t r1, double *value, float *dz) {
  for (size_t r = r0; r < r1; r++) {
    row one = row_at(conf, z, B, C, t, k, r, (size_t)t->labels[r], value, dz);
    if (!row_fits(&one))
      refuse(&one);
    else if (one.conf->base == MULTI_MARGIN)
      multi_margin_row(&one);
    else
      cross_entropy_row(&one);
  }
}

static void emma_bounded(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                         const lip_pair_terms *k, size_t r0, size_t r1, double *value, float *dz) {
  for (size_t r = r0; r < r1; r++) {
    row one = row_at(conf, z, B, C, t, k, r, (size_t)t->labels[r], value, dz);
    one.adaptive = true;
    if (row_fits(&one))
      cross_entropy_row(&one);
    else
      refuse(&one);
  }
}

static void gloro_bounded(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                          const lip_pair_terms *k, size_t r0, size_t r1, double *value, float *dz) {
  for (size_t r = r0; r < r1; r++) {
    size_t p = largest(z + r * C, C);
    row one = row_at(conf, z, B, C, t, k, r, p, value, dz);
    if (row_fits(&one))
      gloro_row(&one, p);
    else
      refuse(&one);
  }
}

static void certified_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                           size_t r0, size_t r1, double *value, float *dz) {
  certified_bounded(conf, z, B, C, t, NULL, r0, r1, value, dz);
}

static void emma_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                      size_t r1, double *value, float *dz) {
  emma_bounded(conf, z, B, C, t, NULL, r0, r1, value, dz);
}

static void gloro_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
                       size_t r1, double *value, float *dz) {
  gloro_bounded(conf, z, B, C, t, NULL, r0, r1, value, dz);
}

const lip_loss_kind lip_loss_certified = {
    .desc = {"certified", "a loss of the margins that are left at radius eps, by bounds of the net as it is",
             certified_options, sizeof(bounded_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 2,
    .rows = certified_rows,
    .pairs = pairs_of,
    .bounded = certified_bounded,
};
const lip_loss_kind lip_loss_gloro = {
    .desc = {"gloro", "cross entropy with one more class: not certified at radius eps (Leino et al. 2021)",
             options, sizeof(bounded_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 2,
    .rows = gloro_rows,
    .pairs = pairs_of,
    .bounded = gloro_bounded,
};
const lip_loss_kind lip_loss_emma = {
    .desc = {"emma",
             "cross entropy of margins less the certified radius each has, up to eps (Hu et al. 2023)",
             options, sizeof(bounded_conf)},
    .target = LIP_TARGET_LABELS,
    .min_outputs = 2,
    .rows = emma_rows,
    .pairs = pairs_of,
    .bounded = emma_bounded,
};
