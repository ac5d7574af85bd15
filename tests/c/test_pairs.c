/* net/pairs.c and the losses that take bounds: gradients against central differences, bounds against plain formulas and
 * against slopes that occur, and steps: the same bits for any number of threads, nothing allocated. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/lip.h"

enum { N = 5, H = 6, C = 4 };

static lip_spec *spec(const char *kind, double out) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  if (out > 0) assert_int_equal(lip_conf_set_number(&s->kind->desc, s->conf, "out", out, NULL), LIP_OK);
  return s;
}

/* dense, act, dense, act, dense without a budget. */
static lip_net *make(const char *path, const char *act, double width, lip_pool *pool) {
  enum { LAYERS = 5 };
  lip_spec *layers[LAYERS] = {spec("dense", width), spec(act, 0), spec("dense", width), spec(act, 0),
                              spec("dense", C)};
  lip_net_conf conf = {
      .input = {1, {N, 0, 0}}, .budget = INFINITY, .project_every = 1, .seed = 5, .init = LIP_INIT_HE};
  lip_engine engine = {.pool = pool};
  lip_net *net;
  assert_int_equal(lip_path_parse(path, &conf.path, NULL), LIP_OK);
  assert_int_equal(lip_net_new(&conf, layers, LAYERS, &engine, &net, NULL), LIP_OK);
  for (size_t i = 0; i < LAYERS; i++) lip_spec_free(layers[i]);
  return net;
}

static lip_pairs *pairs_of(const lip_net *net, lip_pair_method method) {
  lip_pairs *p;
  lip_pair_conf conf = {(int)method, 0};
  assert_int_equal(lip_pairs_new(net->root, &conf, 1, &p, NULL), LIP_OK);
  assert_int_equal(lip_pairs_reserve(p, C, NULL), LIP_OK);
  return p;
}

/* ---- what a later estimate depends on, put aside and put back ---- */

typedef struct saved {
  void *data[4];
} saved;

static size_t bytes_of(const lip_warm *w) {
  return w->n * (w->wide ? sizeof(double) : sizeof(float));
}
static saved save(lip_pairs *p) {
  saved s = {{NULL}};
  lip_warm w;
  for (size_t i = 0; lip_pairs_warm(p, i, &w); i++) {
    assert_true(i < 4);
    s.data[i] = malloc(bytes_of(&w) + 1);
    memcpy(s.data[i], w.data, bytes_of(&w));
  }
  return s;
}
static void restore(lip_pairs *p, const saved *s) {
  lip_warm w;
  for (size_t i = 0; lip_pairs_warm(p, i, &w); i++) memcpy(w.data, s->data[i], bytes_of(&w));
}
static void forget(saved *s) {
  for (size_t i = 0; i < 4; i++) free(s->data[i]);
}

/* ---- the gradient of sum c_ij K_ij ---- */

static const double weight[C][C] = {
    {0, 0.3, -0.2, 1}, {0.5, 0, 0.1, -0.4}, {0.2, 0.7, 0, 0.6}, {-1.1, 0.2, 0.4, 0}};

static double weighted(lip_pairs *p) {
  const float *K = lip_pairs_terms(p)->K;
  double sum = 0;
  for (size_t i = 0; i < C; i++)
    for (size_t j = 0; j < C; j++) sum += weight[i][j] * (double)K[i * C + j];
  return sum;
}

static double after(lip_pairs *p, const saved *s, float *w, float value) {
  const float was = *w;
  restore(p, s);
  *w = value;
  lip_pairs_update(p, 1, NULL);
  *w = was;
  return weighted(p);
}

static void check_gradient(const char *path, const char *act, lip_pair_method method, double tolerance) {
  lip_net *net = make(path, act, H, NULL);
  lip_pairs *p = pairs_of(net, method);
  for (int i = 0; i < 300; i++) lip_pairs_update(p, 0, NULL);
  saved s = save(p);
  lip_pairs_update(p, 0, NULL);
  const lip_pair_terms *terms = lip_pairs_terms(p);
  for (size_t i = 0; i < C; i++) {
    terms->from[i] = (uint32_t)i;
    for (size_t j = 0; j < C; j++) terms->dK[i * C + j] = (float)weight[i][j];
  }
  assert_true(lip_pairs_gather(p, C));
  memset(net->grads, 0, net->n_params * sizeof *net->grads);
  for (size_t i = 0; i < net->n_leaf; i++) { /* in two ranges */
    lip_pairs_add(p, net->leaf[i], 0, 2, net->scratch);
    lip_pairs_add(p, net->leaf[i], 2, net->leaf[i]->units, net->scratch);
  }
  const double scale = weighted(p);
  for (size_t i = 0; i < net->n_params; i++) {
    /* nearer where K bends more; its float32 noise is 2^-25 / h */
    const float w = net->weights[i], h = method == LIP_PAIR_PRODUCT ? 0x1p-9f : 0x1p-12f;
    double want =
        (after(p, &s, &net->weights[i], w + h) - after(p, &s, &net->weights[i], w - h)) / (2 * (double)h);
    if (!(fabs((double)net->grads[i] - want) <= tolerance * fabs(scale)))
      fail_msg("%s %s %s, weight %zu: %g, not %g", path, act, lip_pair_method_names[method], i,
               (double)net->grads[i], want);
  }
  forget(&s);
  lip_pairs_free(p);
  lip_net_free(net);
}

/* Not for LIP_PAIR_MULTIPLIER, whose minimum is where the largest eigenvalues meet, so that it has no gradient there;
 * what it does beside has the same code, and test_signal.c tries it with multipliers that differ. */
static void gradients_are_differences(void **state) {
  (void)state;
  static const char *const acts[] = {"relu", "maxmin", "abs", "leaky_relu"};
  for (size_t a = 0; a < 4; a++) {
    check_gradient("2", acts[a], LIP_PAIR_PRODUCT, 1e-4);
    check_gradient("inf", acts[a], LIP_PAIR_PRODUCT, 1e-4);
    check_gradient("1", acts[a], LIP_PAIR_PRODUCT, 1e-4);
    check_gradient("1->inf", acts[a], LIP_PAIR_PRODUCT, 1e-4);
    check_gradient("2", acts[a], LIP_PAIR_RECURSION, 2e-3);
  }
}

/* ---- bounds ---- */

/* || W ||_{p->p} of a small matrix by a plain formula. */
static double norm(const float *W, size_t rows, size_t cols, const char *p) {
  double best = 0;
  if (strcmp(p, "2") == 0) {
    double v[H + N] = {1, 0.5, 0.25}, y[H + N];
    for (int it = 0; it < 5000; it++) {
      double sum = 0, next[H + N] = {0};
      for (size_t i = 0; i < rows; i++) {
        y[i] = 0;
        for (size_t j = 0; j < cols; j++) y[i] += (double)W[i * cols + j] * v[j];
        for (size_t j = 0; j < cols; j++) next[j] += (double)W[i * cols + j] * y[i];
      }
      for (size_t j = 0; j < cols; j++) sum += next[j] * next[j];
      for (size_t j = 0; j < cols; j++) v[j] = next[j] / sqrt(sum);
      best = sqrt(sqrt(sum));
    }
    return best;
  }
  bool by_rows = strcmp(p, "inf") == 0;
  for (size_t i = 0; i < (by_rows ? rows : cols); i++) {
    double sum = 0;
    for (size_t j = 0; j < (by_rows ? cols : rows); j++)
      sum += fabs((double)(by_rows ? W[i * cols + j] : W[j * cols + i]));
    best = fmax(best, sum);
  }
  return best;
}

static const float *matrix(const lip_net *net, size_t i) {
  return lip_net_weighted_layer(net, i)->param[0].value;
}

static double product(const lip_net *net, const char *p, size_t i, size_t j) {
  double before = norm(matrix(net, 0), H, N, p) * norm(matrix(net, 1), H, H, p), last = 0;
  for (size_t k = 0; k < H; k++) {
    double d = fabs((double)matrix(net, 2)[i * H + k] - (double)matrix(net, 2)[j * H + k]);
    last = strcmp(p, "2") == 0 ? hypot(last, d) : strcmp(p, "1") == 0 ? fmax(last, d) : last + d;
  }
  return before * last;
}

static void products_by_plain_formulas(void **state) {
  (void)state;
  static const char *const paths[] = {"1", "2", "inf"};
  for (size_t k = 0; k < 3; k++) {
    lip_net *net = make(paths[k], "maxmin", H, NULL);
    lip_pairs *p = pairs_of(net, LIP_PAIR_PRODUCT);
    for (int turn = 0; turn < 300; turn++) lip_pairs_update(p, 0, NULL);
    for (size_t i = 0; i < C; i++)
      for (size_t j = 0; j < C; j++) {
        double want = i == j ? 0 : product(net, paths[k], i, j);
        assert_true(fabs((double)lip_pairs_terms(p)->K[i * C + j] - want) <= 1e-5 * want);
      }
    lip_pairs_free(p);
    lip_net_free(net);
  }
}

/* Between the slopes that are found and the product, and with more multipliers not larger. */
static void quadratic_bounds_lie_where_they_must(void **state) {
  (void)state;
  static const char *const acts[] = {"relu", "maxmin", "abs", "leaky_relu"};
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  enum { PROBES = 2000 };
  for (size_t a = 0; a < 4; a++) {
    lip_net *net = make("2", acts[a], H, NULL);
    lip_pairs *layer = pairs_of(net, LIP_PAIR_RECURSION), *unit = pairs_of(net, LIP_PAIR_MULTIPLIER);
    double steepest[C][C] = {{0}};
    for (int turn = 0; turn < 400; turn++) lip_pairs_update(layer, 0, NULL), lip_pairs_update(unit, 0, NULL);
    assert_int_equal(lip_net_reserve(net, 2, NULL), LIP_OK);
    for (int probe = 0; probe < PROBES; probe++) {
      float x[2 * N], length = 0;
      lip_rng_fill_normal(&rng, x, 2 * N, 0, 1);
      for (size_t j = 0; j < N; j++) x[N + j] = x[j] + 0.01f * x[N + j];
      for (size_t j = 0; j < N; j++) length = hypotf(length, x[N + j] - x[j]);
      lip_net_forward(net, x, 2, false);
      for (size_t i = 0; i < C; i++)
        for (size_t j = 0; j < C; j++) {
          const float *z = net->logits;
          double moved = (double)(z[C + i] - z[C + j]) - (double)(z[i] - z[j]);
          steepest[i][j] = fmax(steepest[i][j], fabs(moved) / (double)length);
        }
    }
    for (size_t i = 0; i < C; i++)
      for (size_t j = i + 1; j < C; j++) {
        double l = (double)lip_pairs_terms(layer)->K[i * C + j],
               u = (double)lip_pairs_terms(unit)->K[i * C + j];
        /* the slack that forms keep, and steps of multipliers, cost some per cent in each of two layers */
        if (!(l <= product(net, "2", i, j) * 1.06 && u <= l * 1.02 && steepest[i][j] <= u * 1.001))
          fail_msg("%s: product %g, layer %g, unit %g, found %g", acts[a], product(net, "2", i, j), l, u,
                   steepest[i][j]);
      }
    lip_pairs_free(layer);
    lip_pairs_free(unit);
    lip_net_free(net);
  }
}

/* ---- losses ---- */

static double slack(const char *name, const double *z, const double *K, size_t y, size_t j, double eps) {
  double full = eps * K[y * C + j];
  if (strcmp(name, "emma") != 0) return full;
  return fmin(fmax(z[y] - z[j], full / 100), full);
}

/* emma holds what it adds, seen at z0 and K0 as a share of K, fixed. */
static double by_formula(const char *name, bool margins, const double *z, const double *K, const double *z0,
                         const double *K0, size_t y, double eps, double T) {
  double s[C + 1], sum = 0, hinge = 0;
  size_t p = 0, n = C;
  for (size_t j = 0; j < C; j++) {
    p = z[j] > z[p] ? j : p;
    s[j] = z[j];
    if (strcmp(name, "gloro") != 0 && j != y)
      s[j] += slack(name, z0, K0, y, j, eps) * K[y * C + j] / K0[y * C + j];
    hinge += j == y ? 0 : fmax(0, s[j] - z[y]) / (C - 1);
  }
  if (margins) return hinge;
  if (strcmp(name, "gloro") == 0) {
    s[n] = -INFINITY;
    for (size_t j = 0; j < C; j++)
      if (j != p) s[n] = fmax(s[n], z[j] + eps * K[p * C + j]);
    n++;
  }
  for (size_t j = 0; j < n; j++) sum += exp((s[j] - z[y]) / T);
  return T * log(sum);
}

static void check_loss(const char *name, bool margins, double T) {
  enum { ROWS = 40 };
  const lip_loss_kind *kind = lip_loss_kind_find(name);
  void *conf = lip_conf_new(&kind->desc);
  static float z[ROWS * C], K[C * C], dz[ROWS * C], dK[ROWS * C];
  static double value[ROWS], zd[C], Kd[C * C], z0[C], K0[C * C];
  static int32_t y[ROWS];
  static uint32_t from[ROWS];
  const double eps = 0.4, h = 1e-6;
  lip_rng rng = lip_rng_new(9, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, z, ROWS * C, 0, 1);
  lip_rng_fill_uniform(&rng, K, C * C, 0.5f, 2);
  for (size_t i = 0; i < C; i++) K[i * C + i] = 0;
  for (size_t r = 0; r < ROWS; r++) y[r] = (int32_t)lip_rng_below(&rng, C);
  assert_int_equal(lip_conf_set_number(&kind->desc, conf, "eps", eps, NULL), LIP_OK);
  assert_int_equal(lip_conf_set_number(&kind->desc, conf, "temperature", T, NULL), LIP_OK);
  if (margins) assert_int_equal(lip_conf_set_text(&kind->desc, conf, "base", "multi_margin", NULL), LIP_OK);
  lip_targets t = {LIP_TARGET_LABELS, y, NULL};
  lip_pair_terms terms = {K, from, dK};
  kind->bounded(conf, z, ROWS, C, &t, &terms, 0, ROWS, value, dz);
  for (size_t r = 0; r < ROWS; r++) {
    const size_t own = (size_t)y[r];
    for (size_t j = 0; j < C; j++) z0[j] = zd[j] = (double)z[r * C + j];
    for (size_t j = 0; j < C * C; j++) K0[j] = Kd[j] = (double)K[j];
    double want = by_formula(name, margins, zd, Kd, z0, K0, own, eps, T);
    assert_true(fabs(value[r] - want) < 1e-6);
    for (size_t j = 0; j < 2 * C; j++) {
      double *at = j < C ? &zd[j] : &Kd[from[r] * C + j - C], was = *at;
      if (j >= C && j - C == from[r]) continue;
      *at = was + h;
      double up = by_formula(name, margins, zd, Kd, z0, K0, own, eps, T);
      *at = was - h;
      double down = by_formula(name, margins, zd, Kd, z0, K0, own, eps, T);
      *at = was;
      double got = (double)(j < C ? dz[r * C + j] : dK[r * C + j - C]) * ROWS;
      if (!(fabs(got - (up - down) / (2 * h)) < 3e-6))
        fail_msg("%s row %zu, %zu: %g, not %g", name, r, j, got, (up - down) / (2 * h));
    }
  }
  K[1] = NAN; /* of pair (0, 1) */
  kind->bounded(conf, z, ROWS, C, &t, &terms, 0, ROWS, value, dz);
  for (size_t r = 0; r < ROWS; r++)
    assert_true((from[r] == 0) == (isnan(value[r]) && isnan(dz[r * C]) && isnan(dK[r * C])));
  lip_conf_free(&kind->desc, conf);
}

static void losses_by_plain_formulas(void **state) {
  (void)state;
  static const double temperatures[] = {1, 0.25};
  for (size_t k = 0; k < 2; k++) {
    check_loss("certified", false, temperatures[k]);
    check_loss("certified", true, temperatures[k]);
    check_loss("gloro", false, temperatures[k]);
    check_loss("emma", false, temperatures[k]);
  }
}

/* ---- steps ---- */

enum { ROWS = 300, WIDE = 160 };

static lip_loss new_loss(const char *name, const char *method, double refresh) {
  lip_loss loss = {lip_loss_kind_find(name), NULL};
  loss.conf = lip_conf_new(&loss.kind->desc);
  assert_int_equal(lip_conf_set_number(&loss.kind->desc, loss.conf, "eps", 0.1, NULL), LIP_OK);
  assert_int_equal(lip_conf_set_text(&loss.kind->desc, loss.conf, "method", method, NULL), LIP_OK);
  assert_int_equal(lip_conf_set_number(&loss.kind->desc, loss.conf, "refresh", refresh, NULL), LIP_OK);
  return loss;
}

/* Weights after a few steps; the caller frees them. */
static float *train(const char *name, const char *method, double refresh, double clip, size_t threads) {
  static float x[ROWS * N];
  static int32_t y[ROWS];
  lip_rng rng = lip_rng_new(11, LIP_RNG_USER, 0);
  lip_pool *pool = lip_pool_new(threads, NULL);
  lip_net *net = make("2", "maxmin", WIDE, pool);
  lip_loss loss = new_loss(name, method, refresh);
  const lip_optim_kind *kind = lip_optim_kind_find("sgd");
  void *conf = lip_conf_new(&kind->desc);
  lip_optim *opt;
  double value;
  assert_int_equal(lip_conf_set_number(&kind->desc, conf, "clip_norm", clip, NULL), LIP_OK);
  assert_int_equal(lip_optim_new(kind, conf, &opt, NULL), LIP_OK);
  lip_rng_fill_uniform(&rng, x, ROWS * N, 0, 1);
  for (size_t r = 0; r < ROWS; r++) y[r] = (int32_t)lip_rng_below(&rng, C);
  lip_targets t = {LIP_TARGET_LABELS, y, NULL};
  assert_int_equal(lip_net_step(net, x, &t, ROWS, &loss, opt, &value, NULL), LIP_OK);
  size_t before = lip_mem_count();
  for (int i = 0; i < 4; i++)
    assert_int_equal(lip_net_step(net, x, &t, ROWS, &loss, opt, &value, NULL), LIP_OK);
  assert_int_equal(lip_mem_count(), before);
  float *w = malloc(net->n_params * sizeof *w);
  memcpy(w, net->weights, net->n_params * sizeof *w);
  lip_optim_free(opt);
  lip_conf_free(&kind->desc, conf);
  lip_conf_free(&loss.kind->desc, loss.conf);
  lip_net_free(net);
  lip_pool_free(pool);
  return w;
}

static void steps_have_the_same_bits(void **state) {
  (void)state;
  static const struct {
    const char *loss, *method;
    double refresh;
  } cases[] = {{"certified", "product", 0},
               {"gloro", "product", 0},
               {"emma", "recursion", 2},
               {"certified", "multiplier", 0}};
  for (size_t k = 0; k < 4; k++) {
    float *one = train(cases[k].loss, cases[k].method, cases[k].refresh, INFINITY, 1);
    float *other = train(cases[k].loss, cases[k].method, cases[k].refresh, 1e30, 1); /* no fused update */
    float *many = train(cases[k].loss, cases[k].method, cases[k].refresh, INFINITY, 3);
    size_t bytes = (size_t)WIDE * WIDE * sizeof *one; /* well inside the block */
    assert_memory_equal(one, other, bytes);
    assert_memory_equal(one, many, bytes);
    free(one), free(other), free(many);
  }
}

/* ---- what can go wrong ---- */

static void layers_that_cannot_be_learned_through_are_named(void **state) {
  (void)state;
  lip_net *net = make("2", "fullsort", 8, NULL);
  lip_pair_conf conf = {LIP_PAIR_RECURSION, 0};
  lip_pairs *p;
  lip_err err;
  assert_int_equal(lip_pairs_new(net->root, &conf, 1, &p, &err), LIP_UNSUPPORTED);
  assert_non_null(strstr(err.msg, "recursion"));
  assert_null(p);
  conf.method = LIP_PAIR_PRODUCT;
  assert_int_equal(lip_pairs_new(net->root, &conf, 1, &p, &err), LIP_OK);
  lip_pairs_free(p);
  lip_net_free(net);
  net = make("inf", "relu", 8, NULL);
  conf.method = LIP_PAIR_MULTIPLIER;
  assert_int_equal(lip_pairs_new(net->root, &conf, 1, &p, &err), LIP_UNSUPPORTED);
  assert_non_null(strstr(err.msg, "norm 2"));
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (int method = 0; method < LIP_PAIR_METHODS; method++) {
    lip_net *net = make("2", "maxmin", 8, NULL);
    lip_pair_conf conf = {method, 0};
    for (size_t n = 1;; n++) {
      lip_pairs *p;
      size_t used = lip_mem_used();
      lip_mem_fail_nth(n);
      lip_status status = lip_pairs_new(net->root, &conf, 2, &p, NULL);
      if (!status) status = lip_pairs_reserve(p, 20, NULL);
      bool failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
      lip_pairs_free(p);
      assert_int_equal(lip_mem_used(), used);
      if (!failed) break;
    }
    lip_net_free(net);
  }
}

static void weights_that_are_not_finite_stay_visible(void **state) {
  (void)state;
  static const float bad[] = {NAN, INFINITY};
  for (int method = 0; method < LIP_PAIR_METHODS; method++)
    for (size_t k = 0; k < 2; k++)
      for (size_t layer = 0; layer < 3; layer++) {
        lip_net *net = make("2", "maxmin", 8, NULL);
        lip_pairs *p = pairs_of(net, (lip_pair_method)method);
        lip_net_weighted_layer(net, layer)->param[0].value[3] = bad[k];
        lip_pairs_update(p, 0, NULL);
        assert_true(!isfinite(lip_pairs_terms(p)->K[1])); /* w_0 is part of it */
        lip_pairs_free(p);
        lip_net_free(net);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_are_differences),
      cmocka_unit_test(products_by_plain_formulas),
      cmocka_unit_test(quadratic_bounds_lie_where_they_must),
      cmocka_unit_test(losses_by_plain_formulas),
      cmocka_unit_test(steps_have_the_same_bits),
      cmocka_unit_test(layers_that_cannot_be_learned_through_are_named),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(weights_that_are_not_finite_stay_visible),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
