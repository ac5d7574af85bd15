/* losses: value against a plain formula in double, gradient against central differences of that formula, for every
 * row of losses.def; large, NaN and infinite logits; ranges of rows. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/net/loss.h"
#include "core/tensor/vmath.h"

enum { MAX_C = 1300 };

/* ---- the formulas, in double ---- */

typedef struct setting {
  const char *option[2];
  double value[2];
} setting;

/* One row: logits z, label y or values v; a and b are the two options of the setting. */
typedef double formula(const double *z, size_t C, int32_t y, const float *v, double a, double b);

static double cross_entropy(const double *z, size_t C, int32_t y, const float *v, double T, double u) {
  double m = -INFINITY, sum = 0;
  (void)v;
  for (size_t i = 0; i < C; i++) m = fmax(m, (z[i] - (i == (size_t)y ? u : 0)) / T);
  for (size_t i = 0; i < C; i++) sum += exp((z[i] - (i == (size_t)y ? u : 0)) / T - m);
  return T * (m + log(sum) - (z[y] - u) / T);
}

static double multi_margin(const double *z, size_t C, int32_t y, const float *v, double margin, double none) {
  double sum = 0;
  (void)v, (void)none;
  for (size_t i = 0; i < C; i++)
    if (i != (size_t)y) sum += fmax(0, margin - z[y] + z[i]);
  return sum / (double)(C - 1);
}

static double certified(const double *z, size_t C, int32_t y, const float *v, double T, double margin) {
  return margin == 1 ? multi_margin(z, C, y, v, 0, 0) : cross_entropy(z, C, y, v, T, 0);
}

/* One more class, as large as the second largest logit. */
static double gloro(const double *z, size_t C, int32_t y, const float *v, double T, double none) {
  double first = -INFINITY, second = -INFINITY, sum;
  (void)v, (void)none;
  for (size_t i = 0; i < C; i++) {
    second = fmax(second, fmin(first, z[i]));
    first = fmax(first, z[i]);
  }
  sum = exp((second - first) / T);
  for (size_t i = 0; i < C; i++) sum += exp((z[i] - first) / T);
  return T * log(sum) + first - z[y];
}

static double hinge(const double *z, size_t C, int32_t y, const float *v, double margin, double none) {
  double sum = 0;
  (void)v, (void)none;
  if (C == 1) return fmax(0, margin - (2 * y - 1) * z[0]);
  for (size_t i = 0; i < C; i++) sum += fmax(0, margin + (i == (size_t)y ? -z[i] : z[i]));
  return sum / (double)C;
}

/* Of a row in its batch: how many others have its labels. */
static const int32_t *batch_labels;
static size_t batch_rows;

static double hkr(const double *z, size_t C, int32_t y, const float *v, double alpha, double margin) {
  double sum = 0;
  (void)v;
  for (size_t c = 0; c < C; c++) {
    const int32_t label = C == 1 ? 1 : (int32_t)c;
    double on = 0, side = 0;
    for (size_t r = 0; r < batch_rows; r++) on += batch_labels[r] == label;
    side = y == label ? on : (double)batch_rows - on; /* this row is one of them */
    const double s = y == label ? 1 : -1, weight = C > 2 && y == label ? (double)C - 1 : 1;
    sum +=
        alpha * weight * fmax(0, margin / 2 - s * z[c]) - (1 - alpha) * s * z[c] * (double)batch_rows / side;
  }
  return sum / (double)C;
}

static double kr(const double *z, size_t C, int32_t y, const float *v, double none, double none2) {
  (void)none, (void)none2;
  return hkr(z, C, y, v, 0, 1);
}

static double lse_hkr(const double *z, size_t C, int32_t y, const float *v, double alpha, double margin) {
  double top = -INFINITY, sum = 0, t = log((double)C - 1) / (margin / 2);
  (void)v;
  for (size_t i = 0; i < C; i++)
    if (i != (size_t)y) top = fmax(top, z[i]);
  for (size_t i = 0; i < C; i++)
    if (i != (size_t)y) sum += exp(t * (z[i] - top));
  double w = margin > 0 && C > 2 ? top + log(sum) / t : top;
  return alpha * (fmax(0, margin / 2 - z[y]) + fmax(0, margin / 2 + w)) + (1 - alpha) * (w - z[y]);
}

static double bce(const double *z, size_t C, int32_t y, const float *v, double T, double none) {
  double sum = 0;
  (void)v, (void)none;
  for (size_t i = 0; i < C; i++) {
    const double u = (C == 1 ? y == 1 : y == (int32_t)i) ? z[i] / T : -z[i] / T;
    sum += T * (u > 0 ? log1p(exp(-u)) : log1p(exp(u)) - u);
  }
  return sum / (double)C;
}

/* Of one output the logits 0 and f. */
static double annealed(const double *z, size_t C, int32_t y, const float *v, double gamma, double T) {
  const double two[2] = {0, *z};
  if (C == 1) return annealed(two, 2, y, v, gamma, T);
  const double l = cross_entropy(z, C, y, v, T, 2) / T;
  return T * pow(-expm1(-l), gamma) * l;
}

static double clipped_hinge(const double *z, size_t C, int32_t y, const float *v, double margin, double mix) {
  const double two[2] = {0, *z};
  if (C == 1) return clipped_hinge(two, 2, y, v, margin, mix);
  double top = -INFINITY;
  for (size_t i = 0; i < C; i++)
    if (i != (size_t)y) top = fmax(top, z[i]);
  return fmin(fmax(0, 1 - (z[y] - top) / margin), 1) + mix * cross_entropy(z, C, y, v, 1, 0);
}

static double huber(const double *z, size_t C, int32_t y, const float *v, double delta, double none) {
  double sum = 0;
  (void)y, (void)none;
  for (size_t i = 0; i < C; i++) {
    const double d = fabs(z[i] - (double)v[i]);
    sum += d <= delta ? d * d / 2 : delta * d - delta * delta / 2;
  }
  return sum / (double)C;
}

static double quantile(const double *z, size_t C, int32_t y, const float *v, double tau, double none) {
  double sum = 0;
  (void)y, (void)none;
  for (size_t i = 0; i < C; i++) sum += fmax(tau * ((double)v[i] - z[i]), (1 - tau) * (z[i] - (double)v[i]));
  return sum / (double)C;
}

static double mse(const double *z, size_t C, int32_t y, const float *v, double none, double none2) {
  double sum = 0;
  (void)y, (void)none, (void)none2;
  for (size_t i = 0; i < C; i++) sum += (z[i] - (double)v[i]) * (z[i] - (double)v[i]);
  return sum / (double)C;
}

static double mae(const double *z, size_t C, int32_t y, const float *v, double none, double none2) {
  double sum = 0;
  (void)y, (void)none, (void)none2;
  for (size_t i = 0; i < C; i++) sum += fabs(z[i] - (double)v[i]);
  return sum / (double)C;
}

typedef struct subject {
  const char *name;
  formula *f;
  setting at[3];
} subject;

static const subject subjects[] = {
    {"cross_entropy",
     cross_entropy,
     {{{"temperature", "offset"}, {1, 0}},
      {{"temperature", "offset"}, {0.25, 1.5}},
      {{"temperature", "offset"}, {3, 0.7}}}},
    {"multi_margin", multi_margin, {{{"margin"}, {1}}, {{"margin"}, {0.1}}, {{"margin"}, {5}}}},
    {"hinge", hinge, {{{"margin"}, {1}}, {{"margin"}, {0.1}}, {{"margin"}, {5}}}},
    {"kr", kr, {{{NULL}, {0}}, {{NULL}, {0}}, {{NULL}, {0}}}},
    {"hkr",
     hkr,
     {{{"alpha", "margin"}, {0.9, 1}}, {{"alpha", "margin"}, {0, 1}}, {{"alpha", "margin"}, {1, 3}}}},
    {"lse_hkr",
     lse_hkr,
     {{{"alpha", "margin"}, {0.9, 1}}, {{"alpha", "margin"}, {0.3, 4}}, {{"alpha", "margin"}, {0.5, 0}}}},
    {"bce", bce, {{{"temperature"}, {1}}, {{"temperature"}, {0.25}}, {{"temperature"}, {3}}}},
    {"annealed",
     annealed,
     {{{"gamma", "temperature"}, {5, 0.75}},
      {{"gamma", "temperature"}, {0, 1}},
      {{"gamma", "temperature"}, {0.5, 2}}}},
    {"clipped_hinge",
     clipped_hinge,
     {{{"margin", "mix"}, {1, 0}}, {{"margin", "mix"}, {4, 0.1}}, {{"margin", "mix"}, {0.5, 2}}}},
    {"huber", huber, {{{"delta"}, {1}}, {{"delta"}, {0.1}}, {{"delta"}, {5}}}},
    {"quantile", quantile, {{{"tau"}, {0.5}}, {{"tau"}, {0.1}}, {{"tau"}, {1}}}},
    /* without bounds; with them: test_pairs.c */
    {"certified",
     certified,
     {{{"temperature"}, {1}}, {{"temperature", "base"}, {0.25, 0}}, {{"temperature", "base"}, {1, 1}}}},
    {"emma", cross_entropy, {{{"temperature"}, {1}}, {{"temperature"}, {0.25}}, {{"temperature"}, {3}}}},
    {"gloro", gloro, {{{"temperature"}, {1}}, {{"temperature"}, {0.25}}, {{"temperature"}, {3}}}},
    {"mse", mse, {{{NULL}, {0}}, {{NULL}, {0}}, {{NULL}, {0}}}},
    {"mae", mae, {{{NULL}, {0}}, {{NULL}, {0}}, {{NULL}, {0}}}},
};

static const subject *subject_of(const char *name) {
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
    if (strcmp(subjects[i].name, name) == 0) return &subjects[i];
  fail_msg("no formula for loss %s: add one", name);
  return NULL;
}

static void *conf_of(const lip_loss_kind *kind, const setting *s) {
  lip_err err;
  void *conf = lip_conf_new(&kind->desc);
  assert_non_null(conf);
  for (int i = 0; i < 2; i++)
    if (s->option[i] && strcmp(s->option[i], "base") == 0) /* words: by number */
      assert_int_equal(lip_conf_set_text(&kind->desc, conf, "base",
                                         s->value[i] == 1 ? "multi_margin" : "cross_entropy", &err),
                       LIP_OK);
    else if (s->option[i])
      assert_int_equal(lip_conf_set_number(&kind->desc, conf, s->option[i], s->value[i], &err), LIP_OK);
  return conf;
}

/* ---- one batch ---- */

typedef struct batch {
  size_t B, C;
  float *z, *v, *dz;
  int32_t *y;
  double *value;
} batch;

static batch new_batch(size_t B, size_t C, uint64_t seed, float spread) {
  batch b = {B,
             C,
             malloc(B * C * sizeof(float)),
             malloc(B * C * sizeof(float)),
             malloc(B * C * sizeof(float)),
             malloc(B * sizeof(int32_t)),
             malloc(B * sizeof(double))};
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, b.z, B * C, 0, spread);
  lip_rng_fill_normal(&rng, b.v, B * C, 0, 1);
  for (size_t r = 0; r < B; r++) b.y[r] = (int32_t)lip_rng_below(&rng, C == 1 ? 2 : C);
  return b;
}

static void free_batch(batch *b) {
  free(b->z), free(b->v), free(b->dz), free(b->y), free(b->value);
}

static lip_targets targets_of(const lip_loss_kind *kind, const batch *b) {
  return (lip_targets){kind->target, b->y, b->v};
}

static void check_rows(const lip_loss_kind *kind, const subject *s, const setting *at, size_t B, size_t C) {
  batch b = new_batch(B, C, 7 + C, 2);
  lip_targets t = targets_of(kind, &b);
  void *conf = conf_of(kind, at);
  batch_labels = b.y;
  batch_rows = B;
  kind->rows(conf, b.z, B, C, &t, 0, B, b.value, b.dz);
  static double z[MAX_C];
  for (size_t r = 0; r < B; r++) {
    for (size_t i = 0; i < C; i++) z[i] = (double)b.z[r * C + i];
    const float *v = b.v + r * C;
    double want = s->f(z, C, b.y[r], v, at->value[0], at->value[1]);
    assert_true(fabs(b.value[r] - want) <= 2e-6 * (1 + fabs(want)));
    for (size_t i = 0; i < C; i++) {
      const double h = 1e-5, z0 = z[i];
      z[i] = z0 + h;
      double up = s->f(z, C, b.y[r], v, at->value[0], at->value[1]);
      z[i] = z0 - h;
      double down = s->f(z, C, b.y[r], v, at->value[0], at->value[1]);
      z[i] = z0;
      /* a kink within h of z gives a wrong quotient: none of these batches has one (seeds are fixed) */
      assert_true(fabs((double)b.dz[r * C + i] * (double)B - (up - down) / (2 * h)) < 2e-6);
    }
  }
  lip_conf_free(&kind->desc, conf);
  free_batch(&b);
}

static void value_and_gradient_of_every_row(void **state) {
  (void)state;
  static const size_t widths[] = {1, 2, 3, 10, 16, 17, 100, 511, 1300};
  size_t i = 0;
  for (const lip_loss_kind *kind; (kind = lip_loss_kind_at(i)); i++) {
    const subject *s = subject_of(kind->desc.name);
    for (size_t k = 0; k < 3; k++)
      for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        if (widths[w] >= kind->min_outputs)
          check_rows(kind, s, &s->at[k], widths[w] > 100 ? 2 : 19, widths[w]);
  }
  assert_true(i >= sizeof subjects / sizeof *subjects);
}

/* The same bits for the value alone, for any split of the rows (those side by side in vectors and those alone), and
 * nothing written outside of the range. */
static void ranges_and_value_alone_agree(void **state) {
  (void)state;
  static const size_t widths[] = {2, 10, 33, 600};
  for (size_t i = 0; lip_loss_kind_at(i); i++) {
    const lip_loss_kind *kind = lip_loss_kind_at(i);
    void *conf = lip_conf_new(&kind->desc);
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
      enum { B = 39, R0 = 2, R1 = 37 };
      size_t C = widths[w];
      batch a = new_batch(B, C, 3, 1), b = new_batch(B, C, 3, 1);
      lip_targets t = targets_of(kind, &a);
      kind->rows(conf, a.z, B, C, &t, 0, B, a.value, a.dz);
      memset(b.dz, 0x55, B * C * sizeof *b.dz);
      kind->rows(conf, a.z, B, C, &t, R0, R1, b.value, b.dz);
      assert_memory_equal(a.value + R0, b.value + R0, (R1 - R0) * sizeof *a.value);
      assert_memory_equal(a.dz + R0 * C, b.dz + R0 * C, (R1 - R0) * C * sizeof *a.dz);
      const unsigned char *before = (const unsigned char *)b.dz,
                          *after = (const unsigned char *)(b.dz + R1 * C);
      for (size_t k = 0; k < R0 * C * sizeof *b.dz; k++) assert_int_equal(before[k], 0x55);
      for (size_t k = 0; k < (B - R1) * C * sizeof *b.dz; k++) assert_int_equal(after[k], 0x55);
      for (size_t r = 0; r < B; r++) kind->rows(conf, a.z, B, C, &t, r, r + 1, b.value, b.dz);
      assert_memory_equal(a.value, b.value, B * sizeof *a.value);
      assert_memory_equal(a.dz, b.dz, B * C * sizeof *a.dz);
      kind->rows(conf, a.z, B, C, &t, 0, B, b.value, NULL);
      assert_true(memcmp(a.value, b.value, B * sizeof *a.value) == 0 || C > 512);
      for (size_t r = 0; r < B; r++)
        assert_true(fabs(a.value[r] - b.value[r]) <= 1e-12 * (1 + fabs(a.value[r])));
      free_batch(&a);
      free_batch(&b);
    }
    lip_conf_free(&kind->desc, conf);
  }
}

/* A number must never come out of logits that are none, whichever of them it is. */
static void what_is_not_finite_stays_visible(void **state) {
  (void)state;
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  for (size_t i = 0; lip_loss_kind_at(i); i++) {
    const lip_loss_kind *kind = lip_loss_kind_at(i);
    void *conf = lip_conf_new(&kind->desc);
    for (size_t k = 0; k < 3; k++)
      for (size_t at = 0; at < 20; at++) {
        enum { B = 17 }; /* one row at the end and others side by side */
        batch b = new_batch(B, 20, 5, 1);
        lip_targets t = targets_of(kind, &b);
        b.z[3 * 20 + at] = b.z[(B - 1) * 20 + at] = bad[k];
        kind->rows(conf, b.z, B, 20, &t, 0, B, b.value, b.dz);
        for (size_t r = 0; r < B; r++) {
          bool hit = r == 3 || r == B - 1;
          assert_true(hit ? isnan(b.value[r]) && isnan(b.dz[r * 20 + at]) : isfinite(b.value[r]));
          for (size_t q = 0; q < 20; q++) assert_true(hit || isfinite(b.dz[r * 20 + q]));
        }
        kind->rows(conf, b.z, B, 20, &t, 0, B, b.value, NULL);
        for (size_t r = 0; r < B; r++) assert_int_equal(r == 3 || r == B - 1, isnan(b.value[r]) != 0);
        free_batch(&b);
      }
    lip_conf_free(&kind->desc, conf);
  }
}

static void cross_entropy_of_large_logits(void **state) {
  (void)state;
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  void *conf = lip_conf_new(&kind->desc);
  static const float z[2][3] = {{1e30f, -1e30f, 0}, {-FLT_MAX, FLT_MAX, 1}};
  static const int32_t y[2] = {1, 1};
  lip_targets t = {LIP_TARGET_LABELS, y, NULL};
  double value[2];
  float dz[2][3];
  kind->rows(conf, z[0], 2, 3, &t, 0, 2, value, dz[0]);
  assert_true(value[0] == 2 * (double)1e30f);
  assert_true(dz[0][0] == 0.5f && dz[0][1] == -0.5f && dz[0][2] == 0);
  assert_true(value[1] == 0 && dz[1][0] == 0 && dz[1][1] == 0);
  lip_conf_free(&kind->desc, conf);
}

static void gradient_of_cross_entropy_sums_to_zero(void **state) {
  (void)state;
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  void *conf = lip_conf_new(&kind->desc);
  static const float spread[] = {0.01f, 1, 30};
  for (size_t k = 0; k < 3; k++) {
    batch b = new_batch(50, 37, 11, spread[k]);
    lip_targets t = targets_of(kind, &b);
    kind->rows(conf, b.z, 50, 37, &t, 0, 50, b.value, b.dz);
    for (size_t r = 0; r < 50; r++) {
      double sum = 0, largest = 0;
      for (size_t i = 0; i < 37; i++) sum += (double)b.dz[r * 37 + i];
      for (size_t i = 0; i < 37; i++) largest = fmax(largest, fabs((double)b.dz[r * 37 + i]));
      assert_true(fabs(sum) <= 0x1p-24 * largest);
    }
    free_batch(&b);
  }
  lip_conf_free(&kind->desc, conf);
}

static void fast_exponential_is_close(void **state) {
  (void)state;
  for (uint32_t sign = 0; sign < 2; sign++)
    for (uint32_t bits = 0; bits < 0x7f800000u; bits += 1009) {
      uint32_t u = bits | sign << 31;
      float x;
      memcpy(&x, &u, sizeof x);
      double want = exp((double)x), got = (double)lip_expf(x);
      if (want > (double)FLT_MAX)
        assert_true(isinf(got));
      else if (want >= (double)FLT_MIN)
        assert_true(fabs(got - want) < 1e-7 * want);
      else
        assert_true(fabs(got - want) <= 0x1p-149);
    }
  assert_true(isnan(lip_expf(NAN)) && isinf(lip_expf(INFINITY)) && lip_expf(-INFINITY) == 0 &&
              lip_expf(0) == 1);
}

/* A label that no row has, or that all have: its part is 0, and nothing is NaN. */
static void labels_that_a_batch_lacks(void **state) {
  (void)state;
  static const char *const names[] = {"kr", "hkr"};
  static const float z[4] = {1, 2, -3, 5};
  for (int k = 0; k < 2; k++) {
    const lip_loss_kind *kind = lip_loss_kind_find(names[k]);
    void *conf = lip_conf_new(&kind->desc);
    if (k == 1) assert_int_equal(lip_conf_set_number(&kind->desc, conf, "alpha", 0, &(lip_err){0}), LIP_OK);
    for (int32_t y = 0; y < 2; y++) {
      const int32_t labels[4] = {y, y, y, y};
      lip_targets t = {LIP_TARGET_LABELS, labels, NULL};
      double value[4];
      float dz[4];
      kind->rows(conf, z, 4, 1, &t, 0, 4, value, dz);
      for (int r = 0; r < 4; r++) {
        assert_true(value[r] == (y == 1 ? -(double)z[r] : (double)z[r]));
        assert_true(dz[r] == (y == 1 ? -0.25f : 0.25f));
      }
      kind->rows(conf, z, 2, 2, &t, 0, 2, value, dz); /* rows {1, 2} and {-3, 5} */
      for (int r = 0; r < 2; r++)
        assert_true(value[r] ==
                    ((y == 0 ? -1 : 1) * (double)z[2 * r] + (y == 1 ? -1 : 1) * (double)z[2 * r + 1]) / 2);
    }
    lip_conf_free(&kind->desc, conf);
  }
}

/* Logits far apart: what fades is 0, what does not grows linearly, and no part is NaN. */
static void new_losses_of_large_logits(void **state) {
  (void)state;
  static const char *const names[] = {"annealed", "clipped_hinge", "bce", "lse_hkr", "hkr", "kr"};
  static const float z[4][3] = {
      {1e30f, -1e30f, 0}, {-1e30f, 1e30f, 1}, {FLT_MAX, -FLT_MAX, FLT_MAX}, {1e-45f, 0, -1e-45f}};
  static const int32_t y[4] = {0, 0, 0, 0};
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    const lip_loss_kind *kind = lip_loss_kind_find(names[k]);
    void *conf = lip_conf_new(&kind->desc);
    if (lip_opt_find(&kind->desc, "mix"))
      (void)lip_conf_set_number(&kind->desc, conf, "mix", 0.5, &(lip_err){0});
    lip_targets t = {LIP_TARGET_LABELS, y, NULL};
    double value[4];
    float dz[4][3];
    kind->rows(conf, z[0], 4, 3, &t, 0, 4, value, dz[0]);
    for (int r = 0; r < 4; r++) {
      assert_true(isfinite(value[r]));
      for (int i = 0; i < 3; i++) assert_true(isfinite(dz[r][i]));
    }
    if (k < 2) assert_true(value[0] == 0 && dz[0][0] == 0 && dz[0][1] == 0);
    if (k == 0) assert_true(fabs(value[1] / 2e30 - 1) < 1e-6 && fabs((double)dz[1][0] + 0.25) < 1e-6);
    if (k == 1) assert_true(fabs(value[1] / 1e30 - 1) < 1e-6 && fabs((double)dz[1][1] - 0.125) < 1e-6);
    lip_conf_free(&kind->desc, conf);
  }
}

static void names_and_ranges(void **state) {
  (void)state;
  lip_err err;
  assert_null(lip_loss_kind_find("no such loss"));
  for (size_t i = 0; lip_loss_kind_at(i); i++) {
    const lip_loss_kind *kind = lip_loss_kind_at(i);
    assert_ptr_equal(lip_loss_kind_find(kind->desc.name), kind);
    assert_true(strlen(kind->desc.help) > 0 && kind->min_outputs >= 1);
    void *conf = lip_conf_new(&kind->desc);
    for (const lip_opt *o = kind->desc.opts; o && o->name; o++) {
      assert_true(strlen(o->help) > 0);
      assert_int_equal(lip_conf_set_number(&kind->desc, conf, o->name, -1, &err), LIP_OPTION);
      assert_int_equal(lip_conf_set_number(&kind->desc, conf, o->name, NAN, &err), LIP_OPTION);
      assert_int_equal(lip_conf_set_number(&kind->desc, conf, o->name, INFINITY, &err), LIP_OPTION);
    }
    lip_conf_free(&kind->desc, conf);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(value_and_gradient_of_every_row),
      cmocka_unit_test(ranges_and_value_alone_agree),
      cmocka_unit_test(what_is_not_finite_stays_visible),
      cmocka_unit_test(cross_entropy_of_large_logits),
      cmocka_unit_test(gradient_of_cross_entropy_sums_to_zero),
      cmocka_unit_test(fast_exponential_is_close),
      cmocka_unit_test(labels_that_a_batch_lacks),
      cmocka_unit_test(new_losses_of_large_logits),
      cmocka_unit_test(names_and_ranges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
