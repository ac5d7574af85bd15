/* Certificates for float32, double and real arithmetic, along the net's path of norms and along others: who promises
 * more, what rounding takes, and that nothing inside the radius has another label in the arithmetic it was made for. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/net/wide.h"
#include "support_cert.h"
#include "support_layer.h"

static const char *const norms[] = {"1", "2", "inf"};

static lip_net *three_layers(const char *path, const char *activation, size_t n_in, size_t h, uint64_t seed,
                             const lip_engine *engine) {
  const piece p[] = {{"dense", h}, {activation, 0}, {"dense", h}, {activation, 0}, {"dense", 5}};
  return cert_net(path, n_in, p, 5, 1.2, seed, engine);
}

static int32_t wide_label(lip_net *net, const float *x) {
  double z[16];
  lip_err err;
  int32_t best = 0;
  assert_int_equal(lip_wide_forward(net, x, 1, z, &err), LIP_OK);
  for (int32_t j = 1; j < (int32_t)net->root->n_out; j++)
    if (z[j] > z[best]) best = j;
  return best;
}

/* Random points of the ball, pulled in until their exact distance is at most the radius. */
static size_t wide_flips(lip_net *net, const float *x, const lip_radius *r, lip_p p, lip_rng *rng) {
  size_t n = net->root->n_in, flips = 0;
  float to[64];
  double gap[64];
  assert_true(n <= 64);
  for (int t = 0; t < 20 && r->radius > 0; t++) {
    double shrink = 1, size;
    for (size_t k = 0; k < n; k++) gap[k] = lip_rng_normal(rng);
    size = lip_norm_upper_d(gap, n, p);
    do {
      double real[64];
      for (size_t k = 0; k < n; k++) {
        to[k] = (float)((double)x[k] + gap[k] / size * r->radius * shrink);
        real[k] = (double)to[k] - (double)x[k];
      }
      if (lip_norm_upper_d(real, n, p) <= r->radius) break;
      shrink -= 1e-6;
    } while (shrink > 0.9);
    flips += shrink > 0.9 && wide_label(net, to) != r->label;
  }
  return flips;
}

static void less_rounding_promises_more(void **state) {
  (void)state;
  enum { N = 12 };
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 20);
  for (uint64_t seed = 1; seed <= 40; seed++)
    for (lip_p p = LIP_P1; p <= LIP_PINF; p++) {
      lip_net *net = three_layers(norms[p], seed % 2 ? "maxmin" : "leaky_relu", N, 16, seed, NULL);
      float x[N];
      lip_rng_fill_normal(&rng, x, N, 0, 1);
      lip_radius plain = cert_one(net, x), tight = cert_with(net, x, &(lip_certify_conf){.tight = true});
      lip_radius wide = cert_with(net, x, &(lip_certify_conf){.arithmetic = LIP_ARITHMETIC_DOUBLE});
      lip_radius real = cert_with(net, x, &(lip_certify_conf){.arithmetic = LIP_ARITHMETIC_REAL});
      assert_true(plain.label == tight.label && plain.margin == tight.margin);
      assert_int_equal(wide.label, wide_label(net, x));
      assert_true(plain.radius <= tight.radius && real.label == wide.label);
      if (plain.label == wide.label) assert_true(tight.radius <= real.radius && wide.radius <= real.radius);
      assert_true(wide.radius >= real.radius * (1 - 1e-9) - 1e-12); /* float32 loses 1e-6 */
      assert_int_equal(wide_flips(net, x, &wide, p, &rng), 0);
      assert_int_equal(cert_attack(net, x, &tight, p, 20, seed), 0);
      lip_net_free(net);
    }
}

/* Radii in any norm for a net made for another; the largest logits are what they are. */
static void certificates_along_other_paths(void **state) {
  (void)state;
  enum { N = 6 };
  static const char *const paths[] = {"1", "2", "inf", "1->2", "1->inf", "2->inf"};
  size_t certified = 0;
  lip_rng rng = lip_rng_new(2, LIP_RNG_USER, 21);
  for (uint64_t seed = 1; seed <= 10; seed++)
    for (size_t own = 0; own < 3; own++) {
      lip_net *net = three_layers(norms[own], "maxmin", N, 8, seed, NULL);
      float x[N];
      lip_rng_fill_normal(&rng, x, N, 0, 1);
      for (size_t k = 0; k < 6; k++) {
        lip_path path;
        lip_err err;
        assert_int_equal(lip_path_parse(paths[k], &path, &err), LIP_OK);
        lip_net *born = three_layers(paths[k], "maxmin", N, 8, seed, NULL); /* the same weights */
        lip_radius r = cert_with(net, x, &(lip_certify_conf){.path = &path}), want = cert_one(born, x);
        assert_true(r.label == want.label && r.radius == want.radius);
        assert_int_equal(cert_attack(net, x, &r, path.p[0], 20, seed), 0);
        certified += r.radius > 0;
        lip_net_free(born);
      }
      lip_net_free(net);
    }
  assert_true(certified > 150);
}

/* What rounding takes from the radius, on 784-128-128-10 nets of constant 1 and inputs like digits: at most 0.001 in l_2
 * looked at twice, 1.6e-5 in l_inf. */
static void rounding_takes_little(void **state) {
  (void)state;
  enum { N = 784, ROWS = 24 };
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 22);
  for (lip_p p = LIP_P2; p <= LIP_PINF; p++) {
    const piece parts[] = {{"dense", 128}, {"maxmin", 0}, {"dense", 128}, {"maxmin", 0}, {"dense", 10}};
    lip_net *net = cert_net(norms[p], N, parts, 5, 1, 1, NULL);
    lip_err err;
    float *x = calloc(N, sizeof *x);
    double lost = 0, plain = 0;
    size_t n = 0;
    assert_non_null(x);
    for (size_t i = 0; i < 3; i++) lip_layer_set_budget(lip_net_weighted_layer(net, i), 1, &err);
    assert_int_equal(lip_net_project_exact(net, &err), LIP_OK);
    for (size_t r = 0; r < ROWS; r++) {
      for (size_t k = 0; k < N; k++) x[k] = lip_rng_below(&rng, 5) ? 0 : (float)lip_rng_uniform(&rng);
      lip_radius seen = cert_with(net, x, &(lip_certify_conf){.tight = true}), once = cert_one(net, x);
      lip_radius real = cert_with(net, x, &(lip_certify_conf){.arithmetic = LIP_ARITHMETIC_REAL});
      if (!(once.radius > 0)) continue;
      lost += real.radius - seen.radius;
      plain += real.radius - once.radius;
      n++;
    }
    print_message("p = %s: rounding takes %.3g of radius, %.3g when looked at once\n", norms[p],
                  lost / (double)n, plain / (double)n);
    assert_true(n > ROWS / 2);
    assert_true(lost / (double)n <= (p == LIP_P2 ? 0.001 : 1.6e-5));
    assert_true(plain / (double)n <= (p == LIP_P2 ? 0.0015 : 1.6e-5));
    lip_net_free(net);
    free(x);
  }
}

static void layers_without_a_double_mode(void **state) {
  (void)state;
  lip_net *net = three_layers("2", "tanh", 4, 6, 1, NULL);
  const float x[] = {1, 2, -1, 0};
  double z[5];
  lip_certifier *c;
  lip_err err;
  assert_string_equal(lip_wide_missing(net), "tanh");
  assert_int_equal(lip_wide_forward(net, x, 1, z, &err), LIP_UNSUPPORTED);
  assert_non_null(strstr(err.msg, "tanh"));
  assert_int_equal(lip_certifier_new(net, &(lip_certify_conf){.arithmetic = LIP_ARITHMETIC_DOUBLE}, &c, &err),
                   LIP_UNSUPPORTED);
  assert_null(c);
  lip_radius plain = cert_with(net, x, &(lip_certify_conf){.tight = true});
  lip_radius real = cert_with(net, x, &(lip_certify_conf){.arithmetic = LIP_ARITHMETIC_REAL});
  assert_true(plain.label == real.label && plain.radius <= real.radius);
  lip_net_free(net);
}

/* Float32 and double agree to rounding, for every kind that has both. */
static void double_mode_of_every_kind(void **state) {
  (void)state;
  static test_case cases[LAYER_CASES];
  size_t seen = 0, n = layer_cases(cases, LAYER_CASES);
  assert_true(n > 0);
  for (size_t i = 0; i < n; i++) {
    const lip_layer_kind *kind = cases[i].spec->kind;
    lip_net_conf conf = {.input = cases[i].in, .path = {1, {LIP_P2}}, .budget = INFINITY, .seed = 3};
    lip_net *net;
    lip_err err;
    if (!kind->wide) continue;
    seen++;
    if (lip_net_new(&conf, &cases[i].spec, 1, NULL, &net, &err)) fail_msg("%s: %s", kind->desc.name, err.msg);
    const size_t n_in = net->root->n_in, n_out = net->root->n_out;
    float *x = calloc(n_in, sizeof *x);
    double *z = calloc(n_out, sizeof *z), size = 1;
    assert_true(x && z);
    lip_rng rng = lip_rng_new(i, LIP_RNG_USER, 23);
    lip_rng_fill_normal(&rng, x, n_in, 0, 1);
    lip_net_forward(net, x, 1, false);
    assert_int_equal(lip_wide_forward(net, x, 1, z, &err), LIP_OK);
    for (size_t k = 0; k < n_out; k++) size = fmax(size, fabs(z[k]));
    for (size_t k = 0; k < n_out; k++)
      if (!(fabs(z[k] - (double)net->logits[k]) <= 2e-6 * size))
        fail_msg("%s: %g, %g", kind->desc.name, z[k], (double)net->logits[k]);
    free(x);
    free(z);
    lip_net_free(net);
  }
  for (size_t i = 0; i < n; i++) lip_spec_free(cases[i].spec);
  assert_true(seen >= 20);
}

/* One row at a time on one thread, or all on three: the same bits. */
static void threads_do_not_matter(void **state) {
  (void)state;
  enum { N = 12, ROWS = 70 };
  lip_err err;
  lip_pool *pool = lip_pool_new(3, &err);
  assert_non_null(pool);
  lip_net *net = three_layers("2", "maxmin", N, 16, 4, &(lip_engine){.pool = pool});
  float x[ROWS * N];
  double all[ROWS * 5], single[5];
  lip_radius radius[ROWS];
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 24);
  lip_rng_fill_normal(&rng, x, ROWS * N, 0, 1);
  assert_int_equal(lip_net_reserve(net, ROWS, &err), LIP_OK);
  assert_int_equal(lip_wide_forward(net, x, ROWS, all, &err), LIP_OK);
  for (int k = 0; k <= LIP_ARITHMETIC_REAL; k++) {
    lip_certify_conf conf = {.arithmetic = (lip_arithmetic)k, .tight = true};
    lip_certifier *c;
    assert_int_equal(lip_certifier_new(net, &conf, &c, &err), LIP_OK);
    assert_int_equal(lip_certify(c, x, ROWS, radius, &err), LIP_OK);
    lip_certifier_free(c);
    for (size_t r = 0; r < ROWS; r++) {
      lip_radius one = cert_with(net, x + r * N, &conf);
      assert_true(one.label == radius[r].label && one.radius == radius[r].radius &&
                  one.margin == radius[r].margin);
      assert_int_equal(lip_wide_forward(net, x + r * N, 1, single, &err), LIP_OK);
      assert_memory_equal(single, all + r * 5, sizeof single);
    }
  }
  lip_net_free(net);
  lip_pool_free(pool);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_net *net = three_layers("2", "relu", 4, 6, 1, NULL);
  const float x[] = {1, 2, -1, 0};
  double z[5];
  lip_err err;
  lip_status status = LIP_MEMORY;
  for (size_t n = 1; status == LIP_MEMORY; n++) {
    lip_certifier *c = NULL;
    lip_mem_fail_nth(n);
    status = lip_certifier_new(net, &(lip_certify_conf){.arithmetic = LIP_ARITHMETIC_DOUBLE}, &c, &err);
    if (!status) status = lip_wide_forward(net, x, 1, z, &err);
    lip_mem_fail_nth(0);
    lip_certifier_free(c);
    assert_true(status == LIP_OK || status == LIP_MEMORY);
    assert_true(n < 100);
  }
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(less_rounding_promises_more), cmocka_unit_test(certificates_along_other_paths),
      cmocka_unit_test(rounding_takes_little),       cmocka_unit_test(layers_without_a_double_mode),
      cmocka_unit_test(double_mode_of_every_kind),   cmocka_unit_test(threads_do_not_matter),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
