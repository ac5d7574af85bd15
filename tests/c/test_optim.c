/* optimisers: every row of optims.def against its formula in double, ranges, decay, NaN, memory; known values;
 * schedules against their formulas. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/net/optim.h"
#include "core/net/schedule.h"

enum { N = 67, STEPS = 50 };

/* ---- the formulas, one number at a time, in double ---- */

typedef struct options {
  double lr, d, mu, nesterov, b1, b2, eps;
} options;

typedef struct memory {
  double w, m, v, top;
} memory;

typedef void formula(const options *o, memory *s, double g, double on, int t);

static void sgd(const options *o, memory *s, double g, double on, int t) {
  (void)t;
  g += o->d * on * s->w;
  s->v = o->mu * s->v + g;
  s->w -= o->lr * (o->nesterov != 0 ? g + o->mu * s->v : s->v);
}

static double corrected(double m, double b, int t) {
  double power = 1;
  while (t--) power *= b;
  return m / (1 - power);
}

static void adam(const options *o, memory *s, double g, double on, int t) {
  g += o->d * on * s->w;
  s->m = o->b1 * s->m + (1 - o->b1) * g;
  s->v = o->b2 * s->v + (1 - o->b2) * g * g;
  s->w -= o->lr * corrected(s->m, o->b1, t) / (sqrt(corrected(s->v, o->b2, t)) + o->eps);
}

static void adamw(const options *o, memory *s, double g, double on, int t) {
  options plain = *o;
  double pull = o->lr * o->d * on * s->w;
  plain.d = 0;
  adam(&plain, s, g, on, t);
  s->w -= pull;
}

static void amsgrad(const options *o, memory *s, double g, double on, int t) {
  g += o->d * on * s->w;
  s->m = o->b1 * s->m + (1 - o->b1) * g;
  s->v = o->b2 * s->v + (1 - o->b2) * g * g;
  s->top = fmax(s->top, s->v);
  s->w -= o->lr * corrected(s->m, o->b1, t) / (sqrt(corrected(s->top, o->b2, t)) + o->eps);
}

static void rmsprop(const options *o, memory *s, double g, double on, int t) {
  (void)t;
  g += o->d * on * s->w;
  s->v = o->b2 * s->v + (1 - o->b2) * g * g;
  s->w -= o->lr * g / (sqrt(s->v) + o->eps);
}

static const struct subject {
  const char *name;
  formula *f;
} subjects[] = {{"sgd", sgd}, {"adam", adam}, {"adamw", adamw}, {"amsgrad", amsgrad}, {"rmsprop", rmsprop}};

static formula *formula_of(const char *name) {
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
    if (strcmp(subjects[i].name, name) == 0) return subjects[i].f;
  fail_msg("no formula for optimiser %s: add one", name);
  return NULL;
}

/* Sets those of the options that the kind has; nesterov is the one that is no number. */
static lip_optim *make(const lip_optim_kind *kind, const options *o) {
  static const char *const names[] = {"lr", "weight_decay", "momentum", "nesterov", "beta1", "beta2", "eps"};
  const double value[] = {o->lr, o->d, o->mu, o->nesterov, o->b1, o->b2, o->eps};
  lip_err err;
  lip_optim *opt = NULL;
  void *conf = lip_conf_new(&kind->desc);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const lip_opt *row = lip_opt_find(&kind->desc, names[i]);
    if (row && row->type == LIP_OPT_BOOL)
      assert_int_equal(lip_conf_set_bool(&kind->desc, conf, names[i], value[i] != 0, &err), LIP_OK);
    else if (row)
      assert_int_equal(lip_conf_set_number(&kind->desc, conf, names[i], value[i], &err), LIP_OK);
  }
  assert_int_equal(lip_optim_new(kind, conf, &opt, &err), LIP_OK);
  lip_conf_free(&kind->desc, conf);
  return opt;
}

/* One update as a net does it, in the given ranges. */
static void update(lip_optim *opt, float *w, const float *g, const float *decay, const size_t *cut,
                   size_t cuts) {
  float *slot[8] = {NULL};
  assert_true(opt->kind->slots <= 8);
  assert_int_equal(lip_optim_reserve(opt, N, NULL), LIP_OK);
  for (size_t k = 0; k < opt->kind->slots; k++) slot[k] = opt->state + k * N;
  opt->t++;
  for (size_t c = 0; c + 1 < cuts; c++)
    opt->kind->update(opt->conf, w, g, slot, decay, cut[c], cut[c + 1], opt->lr, opt->t);
}

static const size_t whole[] = {0, N};

static void gradient_at(int step, float *g) {
  lip_rng rng = lip_rng_new(9, LIP_RNG_USER, (uint64_t)step);
  lip_rng_fill_normal(&rng, g, N, 0.1f,
                      step < 25 ? 1.0f : 0.01f); /* falling: amsgrad must differ from adam */
  g[5] = 0;
}

static void start(float *w, float *decay) {
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, w, N, 0, 1);
  for (size_t i = 0; i < N; i++) decay[i] = i % 7 == 3 ? 0 : 1;
}

static const options settings[] = {
    {0.01, 0, 0, 0, 0.9, 0.999, 1e-8},     {0.01, 0.1, 0, 0, 0.8, 0.99, 1e-3},
    {0.002, 0, 0.9, 0, 0.5, 0.9, 1e-8},    {0.002, 0.3, 0.9, 1, 0, 0.999, 1e-6},
    {0.003, 0.02, 0.5, 0, 0.9, 0.5, 1e-4}, {0.02, 0, 0.7, 1, 0.99, 0.9999, 1e-8},
};

static void every_optimiser_follows_its_formula(void **state) {
  (void)state;
  size_t i = 0;
  for (const lip_optim_kind *kind; (kind = lip_optim_kind_at(i)); i++) {
    formula *f = formula_of(kind->desc.name);
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++)
      for (int masked = 0; masked < 2; masked++) {
        lip_optim *opt = make(kind, &settings[k]);
        float w[N], g[N], decay[N];
        memory s[N] = {{0}};
        double moved = 0;
        start(w, decay);
        for (size_t j = 0; j < N; j++) s[j].w = (double)w[j];
        for (int t = 1; t <= STEPS; t++) {
          gradient_at(t, g);
          update(opt, w, g, masked ? decay : NULL, whole, 2);
          for (size_t j = 0; j < N; j++)
            f(&settings[k], &s[j], (double)g[j], masked ? (double)decay[j] : 1, t);
        }
        for (size_t j = 0; j < N; j++) {
          assert_true(fabs((double)w[j] - s[j].w) < 1e-5);
          moved = fmax(moved, fabs(s[j].w));
        }
        assert_true(moved > 0.1);
        lip_optim_free(opt);
      }
  }
  assert_true(i >= sizeof subjects / sizeof *subjects);
}

static void ranges_give_the_same_bits(void **state) {
  (void)state;
  static const size_t cuts[] = {0, 1, 2, 18, 33, 64, 64, N};
  for (size_t i = 0; lip_optim_kind_at(i); i++)
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
      lip_optim *a = make(lip_optim_kind_at(i), &settings[k]), *b = make(lip_optim_kind_at(i), &settings[k]);
      float w[N], u[N], g[N], decay[N];
      start(w, decay);
      start(u, decay);
      for (int t = 1; t <= STEPS; t++) {
        gradient_at(t, g);
        update(a, w, g, decay, whole, 2);
        update(b, u, g, decay, cuts, sizeof cuts / sizeof *cuts);
        assert_memory_equal(w, u, sizeof w);
        assert_memory_equal(a->state, b->state, a->kind->slots * N * sizeof(float));
      }
      lip_optim_free(a);
      lip_optim_free(b);
    }
}

/* With no gradient only decay moves a weight, and it moves no bias. */
static void biases_do_not_decay(void **state) {
  (void)state;
  for (size_t i = 0; lip_optim_kind_at(i); i++) {
    lip_optim *opt = make(lip_optim_kind_at(i), &settings[1]);
    float w[N], first[N], g[N] = {0}, decay[N];
    start(w, decay);
    memcpy(first, w, sizeof w);
    for (int t = 0; t < 5; t++) update(opt, w, g, decay, whole, 2);
    for (size_t j = 0; j < N; j++)
      if (decay[j] == 0)
        assert_true(w[j] == first[j]);
      else
        assert_true(fabsf(w[j]) < fabsf(first[j]));
    lip_optim_free(opt);
  }
}

/* NaN reaches its own weight and stays there; the others do not see it. */
static void nan_stays_in_its_place(void **state) {
  (void)state;
  for (size_t i = 0; lip_optim_kind_at(i); i++) {
    lip_optim *a = make(lip_optim_kind_at(i), &settings[2]), *b = make(lip_optim_kind_at(i), &settings[2]);
    float w[N], u[N], g[N], decay[N];
    start(w, decay);
    start(u, decay);
    for (int t = 1; t <= 5; t++) {
      gradient_at(t, g);
      update(b, u, g, decay, whole, 2);
      if (t == 2) g[20] = NAN;
      update(a, w, g, decay, whole, 2);
    }
    for (size_t j = 0; j < N; j++)
      if (j == 20)
        assert_true(isnan(w[j]));
      else
        assert_true(w[j] == u[j]);
    lip_optim_free(a);
    lip_optim_free(b);
  }
}

/* The first step of Adam is lr * sign(g) whatever the size of g, and bias correction fades to 1 for huge t. */
static void first_and_last_step_of_adam(void **state) {
  (void)state;
  const options o = {0.5, 0, 0, 0, 0.9, 0.999, 1e-30};
  const float sizes[] = {1e-6f, 1, 1e6f};
  for (size_t k = 0; k < 3; k++) {
    lip_optim *opt = make(lip_optim_kind_find("adam"), &o);
    float w[N] = {0}, g[N];
    for (size_t j = 0; j < N; j++) g[j] = j % 2 ? sizes[k] : -sizes[k];
    update(opt, w, g, NULL, whole, 2);
    for (size_t j = 0; j < N; j++) assert_true(fabs((double)w[j] - (j % 2 ? -0.5 : 0.5)) < 1e-6);
    lip_optim_free(opt);
  }
  lip_optim *opt = make(lip_optim_kind_find("adam"), &o);
  float w[N] = {0}, g[N];
  for (size_t j = 0; j < N; j++) g[j] = 1;
  opt->t = UINT64_C(1) << 40;
  update(opt, w, g, NULL, whole, 2);
  assert_true(fabs((double)w[0] + 0.5 * 0.1 / sqrt(0.001)) < 1e-5);
  lip_optim_free(opt);
}

static void reserve_keeps_state_and_refuses_another_size(void **state) {
  (void)state;
  lip_err err;
  for (size_t i = 0; lip_optim_kind_at(i); i++) {
    lip_optim *opt = make(lip_optim_kind_at(i), &settings[0]);
    assert_int_equal(lip_optim_reserve(opt, 10, &err), LIP_OK);
    opt->state[3] = 7;
    assert_int_equal(lip_optim_reserve(opt, 10, &err), LIP_OK);
    assert_true(opt->state[3] == 7);
    assert_int_equal(lip_optim_reserve(opt, 11, &err), LIP_STATE);
    assert_non_null(strstr(err.msg, "10"));
    assert_non_null(strstr(err.msg, "11"));
    assert_true(opt->state[3] == 7);
    lip_optim_free(opt);
    opt = make(lip_optim_kind_at(i), &settings[0]);
    assert_int_equal(lip_optim_reserve(opt, SIZE_MAX / 2, &err), LIP_MEMORY);
    assert_int_equal(lip_optim_reserve(opt, 10, &err), LIP_OK);
    lip_optim_free(opt);
  }
  lip_optim_free(NULL);
}

static void failed_allocations_leave_nothing_behind(void **state) {
  (void)state;
  lip_err err;
  for (size_t i = 0; lip_optim_kind_at(i); i++) {
    size_t before = lip_mem_used(), failures = 0;
    for (size_t n = 1;; n++) {
      lip_optim *opt = NULL;
      lip_mem_fail_nth(n);
      lip_status s = lip_optim_new(lip_optim_kind_at(i), NULL, &opt, &err);
      if (s == LIP_OK) s = lip_optim_reserve(opt, N, &err);
      bool failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      lip_optim_free(opt);
      assert_int_equal(s, failed ? LIP_MEMORY : LIP_OK);
      assert_int_equal(lip_mem_used(), before);
      if (!failed) break;
      failures++;
    }
    assert_int_equal(failures, 3);
  }
}

static void options_are_checked_and_copied(void **state) {
  (void)state;
  static const struct {
    const char *name;
    double v;
  } wrong[] = {{"lr", -1},         {"lr", INFINITY},  {"lr", NAN},     {"weight_decay", -1}, {"clip_norm", 0},
               {"clip_norm", NAN}, {"clip_norm", -1}, {"beta1", 1},    {"beta2", 1},         {"beta1", -0.1},
               {"eps", 0},         {"momentum", 1},   {"nesterov", 1}, {"no such option", 1}};
  lip_err err;
  assert_null(lip_optim_kind_find("no such optimiser"));
  for (size_t i = 0; lip_optim_kind_at(i); i++) {
    const lip_optim_kind *kind = lip_optim_kind_at(i);
    assert_ptr_equal(lip_optim_kind_find(kind->desc.name), kind);
    assert_true(lip_opt_find(&kind->desc, "lr")->offset == 0);
    void *conf = lip_conf_new(&kind->desc);
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
      assert_int_equal(lip_conf_set_number(&kind->desc, conf, wrong[k].name, wrong[k].v, &err), LIP_OPTION);
    lip_optim *opt = NULL;
    assert_int_equal(lip_optim_new(kind, conf, &opt, &err), LIP_OK);
    assert_true(isinf(opt->clip_norm) && opt->lr == lip_opt_find(&kind->desc, "lr")->def);
    lip_optim_free(opt);
    assert_int_equal(lip_conf_set_number(&kind->desc, conf, "clip_norm", 2.5, &err), LIP_OK);
    assert_int_equal(lip_conf_set_number(&kind->desc, conf, "lr", 0.125, &err), LIP_OK);
    assert_int_equal(lip_optim_new(kind, conf, &opt, &err), LIP_OK);
    lip_conf_free(&kind->desc, conf);
    assert_true(opt->clip_norm == 2.5 && opt->lr == 0.125 && opt->t == 0 && opt->state == NULL);
    lip_optim_free(opt);
  }
}

/* ---- schedules ---- */

static double factor(const char *kind, const char *const *name, const double *value, double step,
                     double total, double per_epoch) {
  const lip_schedule_kind *k = lip_schedule_kind_find(kind);
  lip_err err;
  assert_non_null(k);
  void *conf = lip_conf_new(&k->desc);
  for (size_t i = 0; name[i]; i++)
    if (strcmp(name[i], "epoch") == 0)
      assert_int_equal(lip_conf_set_text(&k->desc, conf, "unit", "epoch", &err), LIP_OK);
    else
      assert_int_equal(lip_conf_set_number(&k->desc, conf, name[i], value[i], &err), LIP_OK);
  double f = k->factor(conf, step, total, per_epoch);
  lip_conf_free(&k->desc, conf);
  return f;
}

#define FACTOR(kind, step, total, per_epoch, names, ...)                                                     \
  factor(kind, (const char *const[])names, (const double[])__VA_ARGS__, step, total, per_epoch)
#define NAMES(...)                                                                                           \
  { __VA_ARGS__, NULL }
#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-12)

static void schedules_follow_their_formulas(void **state) {
  (void)state;
  NEAR(FACTOR("constant", 7, 10, 2, NAMES(NULL), {0}), 1);
  NEAR(FACTOR("time_decay", 0, 100, 10, NAMES("d"), {0.5}), 1);
  NEAR(FACTOR("time_decay", 35, 100, 10, NAMES("d"), {0.5}), 1 / 18.5);
  NEAR(FACTOR("time_decay", 35, 100, 10, NAMES("d", "epoch"), {0.5, 0}), 1 / 2.5);
  NEAR(FACTOR("step", 29, 100, 10, NAMES("every", "factor"), {30, 0.5}), 1);
  NEAR(FACTOR("step", 30, 100, 10, NAMES("every", "factor"), {30, 0.5}), 0.5);
  NEAR(FACTOR("step", 60, 100, 10, NAMES("every", "factor", "epoch"), {3, 0.5, 0}), 0.25);
  NEAR(FACTOR("exponential", 3, 100, 10, NAMES("factor"), {0.9}), 0.729);
  NEAR(FACTOR("exponential", 39, 100, 10, NAMES("factor", "epoch"), {0.9, 0}), 0.729);
  NEAR(FACTOR("cosine", 0, 100, 10, NAMES("final"), {0.2}), 1);
  NEAR(FACTOR("cosine", 50, 100, 10, NAMES("final"), {0.2}), 0.6);
  NEAR(FACTOR("cosine", 100, 100, 10, NAMES("final"), {0.2}), 0.2);
  NEAR(FACTOR("cosine", 1000, 100, 10, NAMES("final"), {0.2}), 0.2);
  NEAR(FACTOR("one_cycle", 0, 100, 10, NAMES("start", "peak", "final"), {0.1, 0.4, 0.01}), 0.1);
  NEAR(FACTOR("one_cycle", 20, 100, 10, NAMES("start", "peak", "final"), {0.1, 0.4, 0.01}), 0.55);
  NEAR(FACTOR("one_cycle", 40, 100, 10, NAMES("start", "peak", "final"), {0.1, 0.4, 0.01}), 1);
  NEAR(FACTOR("one_cycle", 70, 100, 10, NAMES("start", "peak", "final"), {0.1, 0.4, 0.01}), 0.505);
  NEAR(FACTOR("one_cycle", 100, 100, 10, NAMES("start", "peak", "final"), {0.1, 0.4, 0.01}), 0.01);
  NEAR(FACTOR("one_cycle", 50, 100, 10, NAMES("peak"), {1}), 0.52);
  NEAR(FACTOR("one_cycle", 0, 100, 10, NAMES("peak"), {0}), 1);
}

static void warmup_comes_before_every_schedule(void **state) {
  (void)state;
  NEAR(FACTOR("constant", 0, 100, 10, NAMES("warmup"), {4}), 0.25);
  NEAR(FACTOR("constant", 3, 100, 10, NAMES("warmup"), {4}), 1);
  NEAR(FACTOR("constant", 4, 100, 10, NAMES("warmup"), {4}), 1);
  NEAR(FACTOR("constant", 4, 100, 10, NAMES("warmup", "epoch"), {1, 0}), 0.5);
  NEAR(FACTOR("constant", 0, 100, 10, NAMES("warmup"), {0.5}), 1); /* never above the schedule's start */
  NEAR(FACTOR("cosine", 60, 100, 10, NAMES("warmup"), {20}), 0.5);
  NEAR(FACTOR("cosine", 100, 100, 10, NAMES("warmup"), {200}), 101 / 200.0);
  NEAR(FACTOR("time_decay", 35, 100, 10, NAMES("d", "warmup", "epoch"), {0.5, 1, 0}), 0.5);
  NEAR(FACTOR("step", 29, 100, 10, NAMES("every", "warmup"), {20, 10}), 1);
  NEAR(FACTOR("step", 30, 100, 10, NAMES("every", "warmup"), {20, 10}), 0.1);
  NEAR(FACTOR("exponential", 12, 100, 10, NAMES("factor", "warmup"), {0.9, 10}), 0.81);
  NEAR(FACTOR("one_cycle", 0, 100, 10, NAMES("warmup", "start"), {2, 0.1}), 0.05);
}

/* Every row: finite, in [0, 1], for any progress and any accepted setting at the ends of its ranges. */
static void factors_stay_in_the_unit_interval(void **state) {
  (void)state;
  static const double steps[] = {0, 1, 2, 49, 99, 100, 101, 1e12};
  lip_err err;
  assert_null(lip_schedule_kind_find("no such schedule"));
  size_t i = 0;
  for (const lip_schedule_kind *kind; (kind = lip_schedule_kind_at(i)); i++) {
    assert_ptr_equal(lip_schedule_kind_find(kind->desc.name), kind);
    for (const lip_opt *o = kind->desc.opts; o->name; o++) {
      if (o->type != LIP_OPT_REAL) continue;
      for (int high = 0; high < 2; high++) {
        void *conf = lip_conf_new(&kind->desc);
        /* required options have no default of their own: the lowest accepted value stands for it */
        for (const lip_opt *r = kind->desc.opts; r->name; r++)
          if (r->required)
            assert_int_equal(lip_conf_set_number(&kind->desc, conf, r->name, r->low, &err), LIP_OK);
        assert_int_equal(lip_conf_set_number(&kind->desc, conf, o->name, high ? o->high : o->low, &err),
                         LIP_OK);
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
          double f = kind->factor(conf, steps[k], 100, 10), g = kind->factor(conf, steps[k], 1, 1);
          assert_true(f >= 0 && f <= 1 && g >= 0 && g <= 1);
        }
        lip_conf_free(&kind->desc, conf);
      }
    }
  }
  assert_true(i >= 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_optimiser_follows_its_formula),
      cmocka_unit_test(ranges_give_the_same_bits),
      cmocka_unit_test(biases_do_not_decay),
      cmocka_unit_test(nan_stays_in_its_place),
      cmocka_unit_test(first_and_last_step_of_adam),
      cmocka_unit_test(reserve_keeps_state_and_refuses_another_size),
      cmocka_unit_test(failed_allocations_leave_nothing_behind),
      cmocka_unit_test(options_are_checked_and_copied),
      cmocka_unit_test(schedules_follow_their_formulas),
      cmocka_unit_test(warmup_comes_before_every_schedule),
      cmocka_unit_test(factors_stay_in_the_unit_interval),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
