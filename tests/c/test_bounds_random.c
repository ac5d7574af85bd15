/* A thousand small nets: what every method of the table says of them is at least the largest norm over all patterns of
 * slopes, and that is at least every quotient that two points attain; the same for every pair of outputs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/bound/bound.h"
#include "core/bound/method.h"
#include "support_cert.h"
#include "support_layer.h"

enum { NETS = 1000, MOST = 8, QUOTIENTS = 24 };

static const char *const paths[] = {"1", "2", "inf", "1->inf", "2->inf", "1->2"};
static const char *const activations[] = {"relu",
                                          "leaky_relu slope=0.2",
                                          "abs",
                                          "maxmin",
                                          "groupsort size=3",
                                          "tanh",
                                          "groupsort size=2",
                                          "relu",
                                          "sigmoid",
                                          "softplus",
                                          "maxmin",
                                          "relu;abs"};
enum { PATHS = sizeof paths / sizeof *paths, ACTIVATIONS = sizeof activations / sizeof *activations };

static size_t between(lip_rng *rng, size_t low, size_t high) {
  return low + (size_t)lip_rng_below(rng, high - low + 1);
}

/* Layers that differ by powers of ten, some with a row of zeros. Biases move along, so that quotients in double keep
 * their digits (sigmoid and softplus have no origin to move along with). */
static void scale_badly(lip_net *net, size_t seed, lip_rng *rng) {
  float all = 1;
  for (size_t l = 0; l < lip_net_weighted(net); l++) {
    lip_layer *k = lip_net_weighted_layer(net, l);
    float s = ldexpf(1, (int)between(rng, 0, 60) - 30);
    all *= s;
    for (size_t i = 0; i < k->n_in * k->n_out; i++) k->param[0].value[i] *= s;
    for (size_t i = 0; i < k->n_out; i++) k->param[1].value[i] *= all;
    if (seed % 10 == 0) memset(k->param[0].value, 0, k->n_in * sizeof(float));
  }
}

/* Depth 2 to 4 and at most 14 units of unknown slope. */
static lip_net *random_net(size_t seed, const char **path) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 11);
  const char *act = activations[seed % ACTIVATIONS];
  char text[400] = "";
  size_t at = 0, depth = between(&rng, 2, 4);
  *path = paths[seed / ACTIVATIONS % PATHS];
  for (size_t l = 0; l + 1 < depth; l++) {
    size_t width = between(&rng, 2, depth == 2 ? 8 : depth == 3 ? 6 : 4);
    if (strchr(act, ';')) width = width > 4 ? 3 : 2; /* two activations in a row */
    if (strstr(act, "maxmin") || strstr(act, "size=2")) width = 2 * ((width + 1) / 2);
    if (strstr(act, "size=3")) width = 3;
    at += (size_t)snprintf(text + at, sizeof text - at, "dense out=%zu;%s;", width, act);
  }
  snprintf(text + at, sizeof text - at, "dense out=%zu", between(&rng, 1, 4));
  lip_net *net = cert_build(*path, (lip_shape){1, {between(&rng, 1, 6)}}, text, 1.5, seed);
  if (seed % 5 == 0 && strcmp(act, "sigmoid") != 0 && strcmp(act, "softplus") != 0)
    scale_badly(net, seed, &rng);
  return net;
}

static double norm_of(const double *v, size_t n, lip_p p) {
  double s = 0;
  for (size_t i = 0; i < n; i++)
    s = p == LIP_P1 ? s + fabs(v[i]) : p == LIP_P2 ? s + v[i] * v[i] : fmax(s, fabs(v[i]));
  return p == LIP_P2 ? sqrt(s) : s;
}

/* Pairs of points, mostly close together, far from and near to the kinks; in double. */
static void sample(const lip_net *net, lip_pq pq, size_t seed, double *best, double *pair) {
  size_t n = net->root->n_in, C = net->root->n_out;
  double x[MOST], other[MOST], step[MOST], z[MOST], u[MOST];
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 12);
  *best = 0;
  memset(pair, 0, C * C * sizeof *pair);
  for (int t = 0; t < QUOTIENTS; t++) {
    size_t axis = (size_t)lip_rng_below(&rng, n);
    double length = t % 2 ? 1e-3 : 0.5;
    for (size_t i = 0; i < n; i++) {
      double v = lip_rng_normal(&rng);
      step[i] = length * (pq.p == LIP_P1 ? (i == axis ? 1 : 0) : pq.p == LIP_PINF ? (v < 0 ? -1 : 1) : v);
      x[i] = lip_rng_normal(&rng);
      other[i] = x[i] + step[i];
      step[i] = other[i] - x[i];
    }
    assert_true(layer_in_double(net->root, x, z) && layer_in_double(net->root, other, u));
    double size = norm_of(step, n, pq.p), d[MOST];
    for (size_t i = 0; i < C; i++) d[i] = z[i] - u[i];
    *best = fmax(*best, norm_of(d, C, pq.q) / size);
    for (size_t i = 0; i < C; i++)
      for (size_t j = 0; j < C; j++) pair[i * C + j] = fmax(pair[i * C + j], fabs(d[i] - d[j]) / size);
  }
}

typedef struct tally {
  size_t exact, finite[16], counted[16];
  double ratio[16], reached;
} tally;

static lip_found ask(const char *method, const lip_net *net, const lip_affine *a, const lip_path *path) {
  lip_err err;
  lip_found f;
  lip_ask q = {.net = net,
               .affine = a,
               .path = *path,
               .p = lip_path_at(path, 0),
               .q = lip_path_at(path, lip_net_weighted(net)),
               .pairs = true,
               .seconds = INFINITY};
  if (lip_method_run(method, &q, &f, &err)) fail_msg("%s: %s", method, err.msg);
  return f;
}

/* a >= b up to rounding in b. */
static void at_least(double a, double b, double slip, const char *what, size_t seed) {
  if (!(a >= b * (1 - slip))) fail_msg("net %zu, %s: %.17g < %.17g", seed, what, a, b);
}

/* From a few points only: a thousand nets are waiting. */
static void attained_by_search(lip_net *net, size_t seed, double *lower, double *pair) {
  enum { POINTS = 4 };
  lip_err err;
  float x[POINTS * MOST];
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 13);
  lip_rng_fill_normal(&rng, x, POINTS * net->root->n_in, 0, 1);
  assert_int_equal(lip_bound_lower(net, NULL, x, POINTS, lower, pair, &err), LIP_OK);
}

static void check_net(size_t seed, tally *sum) {
  lip_err err;
  lip_affine a;
  const char *path;
  lip_net *net = random_net(seed, &path);
  size_t C = net->root->n_out;
  double attained, pair[MOST * MOST];
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_null(a.unknown);
  lip_pq pq = {lip_path_at(&net->conf.path, 0), lip_path_at(&net->conf.path, lip_net_weighted(net))};
  sample(net, pq, seed, &attained, pair);
  lip_found exact = ask("exact", net, &a, &net->conf.path);
  if (isfinite(exact.upper)) {
    sum->exact++;
    at_least(exact.upper, attained, 1e-9, "attained", seed);
  }
  double least = INFINITY, lower, low[MOST * MOST];
  attained_by_search(net, seed, &lower, low);
  sum->reached += attained > 0 ? lower / attained : 1;
  for (size_t m = 0; lip_method_at(m); m++) {
    const char *name = lip_method_at(m)->name;
    lip_found f = ask(name, net, &a, &net->conf.path);
    if (strcmp(f.method, name) != 0) { /* nothing could be proved, and it says so */
      lip_found product = ask("product", net, &a, &net->conf.path);
      assert_string_equal(f.method, "product");
      assert_true(strstr(f.reason, "no multipliers could be proved") == f.reason);
      assert_null(f.proof);
      assert_true(f.upper == product.upper);
      lip_found_free(&product);
    }
    assert_non_null(f.pair);
    at_least(f.upper, attained, 1e-9, name, seed);
    at_least(f.upper, lower, 0, name, seed); /* both are proved: not a bit more */
    if (isfinite(exact.upper)) at_least(f.upper, exact.upper, 1e-11, name, seed);
    for (size_t i = 0; i < C; i++)
      for (size_t j = 0; j < C; j++) {
        double d = f.pair[i * C + j];
        assert_true(d == f.pair[j * C + i]);
        assert_true(i != j || d == 0);
        at_least(d, pair[i * C + j], 1e-9, name, seed);
        at_least(d, low[i * C + j], 0, name, seed);
        assert_true(low[i * C + j] == low[j * C + i] && low[i * C + j] >= 0);
        if (isfinite(exact.upper)) at_least(d, exact.pair[i * C + j], 1e-11, name, seed);
      }
    least = fmin(least, f.upper);
    sum->finite[m] += f.upper < INFINITY;
    if (isfinite(f.upper) && exact.upper > 0) {
      sum->ratio[m] += f.upper / exact.upper;
      sum->counted[m]++;
    }
    lip_found_free(&f);
  }
  lip_found best = ask("best", net, &a, &net->conf.path);
  assert_true(best.upper <= least);
  lip_found_free(&best);
  lip_found_free(&exact);
  lip_affine_free(&a);
  lip_net_free(net);
}

static void every_method_is_above_all_patterns(void **state) {
  (void)state;
  tally sum = {0};
  size_t held = lip_mem_used();
  for (size_t seed = 0; seed < NETS; seed++) check_net(seed, &sum);
  assert_true(sum.exact > NETS * 9 / 10);
  assert_int_equal(lip_mem_used(), held);
  print_message("attained by search / by sampling: %.4f\n", sum.reached / NETS);
  assert_true(sum.reached > NETS);
  for (size_t m = 0; lip_method_at(m) && m < 16; m++) { /* INFINITY everywhere would pass, and say nothing */
    print_message("%-12s finite %4zu  mean upper/exact %.4f\n", lip_method_at(m)->name, sum.finite[m],
                  sum.ratio[m] / (double)sum.counted[m]);
    assert_true(sum.finite[m] > NETS / 4);
  }
}

/* ---- the oracle against another one: layers and patterns written out ---- */

static double gap_norm(const double *J, size_t m, size_t n, lip_pq pq) {
  double best = 0, column[MOST];
  if (pq.p == LIP_P1) {
    for (size_t k = 0; k < n; k++) {
      for (size_t i = 0; i < m; i++) column[i] = J[i * n + k];
      best = fmax(best, norm_of(column, m, pq.q));
    }
  } else if (pq.q == LIP_PINF) {
    for (size_t i = 0; i < m; i++)
      best = fmax(best, norm_of(J + i * n, n, pq.p == LIP_PINF ? LIP_P1 : LIP_P2));
  } else {
    double v[MOST] = {1, 0.7, -0.4, 0.3, 0.9, -0.2};
    for (int it = 0; it < 3000; it++) {
      double t[MOST] = {0}, s[MOST] = {0};
      for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < n; k++) t[i] += J[i * n + k] * v[k];
      for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < n; k++) s[k] += J[i * n + k] * t[i];
      double size = norm_of(s, n, LIP_P2);
      best = norm_of(t, m, LIP_P2) / norm_of(v, n, LIP_P2);
      for (size_t k = 0; k < n; k++) v[k] = size > 0 ? s[k] / size : v[k];
    }
  }
  return best;
}

/* Depth first over the layers of the net; J (rows of the layer's input, n_in). */
static void over_patterns(const lip_net *net, size_t layer, const double *J, lip_pq pq, double *best,
                          double *pair) {
  const lip_layer *chain = net->root;
  size_t n = chain->n_in;
  double to[MOST * MOST] = {0}, d[MOST];
  if (layer == chain->n_child) {
    *best = fmax(*best, gap_norm(J, chain->n_out, n, pq));
    for (size_t i = 0; i < chain->n_out; i++)
      for (size_t j = 0; j < chain->n_out; j++) {
        for (size_t k = 0; k < n; k++) d[k] = J[i * n + k] - J[j * n + k];
        double *p = &pair[i * chain->n_out + j];
        *p = fmax(*p, norm_of(d, n, pq.p == LIP_P1 ? LIP_PINF : pq.p == LIP_P2 ? LIP_P2 : LIP_P1));
      }
    return;
  }
  const lip_layer *l = chain->child[layer];
  if (l->kind->flags & LIP_LAYER_WEIGHTED) {
    for (size_t i = 0; i < l->n_out; i++)
      for (size_t j = 0; j < l->n_in; j++)
        for (size_t k = 0; k < n; k++)
          to[i * n + k] += (double)l->param[0].value[i * l->n_in + j] * J[j * n + k];
    over_patterns(net, layer + 1, to, pq, best, pair);
    return;
  }
  bool swap = strcmp(l->kind->desc.name, "maxmin") == 0, fold = strcmp(l->kind->desc.name, "abs") == 0;
  size_t bits = swap ? l->n_in / 2 : l->n_in;
  for (unsigned pattern = 0; pattern < 1u << bits; pattern++) {
    for (size_t i = 0; i < l->n_in; i++) {
      bool on = pattern >> (swap ? i / 2 : i) & 1;
      for (size_t k = 0; k < n; k++)
        to[i * n + k] = swap ? J[(on ? i ^ 1 : i) * n + k] : J[i * n + k] * (on ? 1 : fold ? -1 : 0);
    }
    over_patterns(net, layer + 1, to, pq, best, pair);
  }
}

static void exact_is_what_enumeration_finds(void **state) {
  (void)state;
  static const char *const layers[] = {"dense out=4;%s;dense out=3",
                                       "dense out=4;%s;dense out=4;%s;dense out=3"};
  static const char *const kinds[] = {"relu", "abs", "maxmin"};
  for (size_t i = 0; i < 2; i++)
    for (size_t a = 0; a < 3; a++)
      for (size_t p = 0; p < PATHS; p++) {
        char text[200];
        lip_err err;
        lip_affine form;
        double best = 0, pair[9] = {0}, one[MOST * MOST] = {0};
        snprintf(text, sizeof text, layers[i], kinds[a], kinds[a]);
        lip_net *net = cert_build(paths[p], (lip_shape){1, {5}}, text, 1.3, 7 * a + p);
        assert_int_equal(lip_affine_init(&form, net, &err), LIP_OK);
        lip_found f = ask("exact", net, &form, &net->conf.path);
        for (size_t k = 0; k < 5; k++) one[k * 5 + k] = 1;
        lip_pq pq = {lip_path_at(&net->conf.path, 0), lip_path_at(&net->conf.path, lip_net_weighted(net))};
        over_patterns(net, 0, one, pq, &best, pair);
        assert_true(f.upper >= best * (1 - 1e-14) && f.upper <= best * (1 + 1e-10));
        for (size_t k = 0; k < 9; k++)
          assert_true(f.pair[k] >= pair[k] * (1 - 1e-14) && f.pair[k] <= pair[k] * (1 + 1e-12));
        lip_found_free(&f);
        lip_affine_free(&form);
        lip_net_free(net);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_method_is_above_all_patterns),
      cmocka_unit_test(exact_is_what_enumeration_finds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
