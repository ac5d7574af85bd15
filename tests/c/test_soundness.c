/* Sixteen ways to fool a certificate (the fifteenth is in test_soundness_nan.c): each is refused, or certified only below a distance at which
 * the executed label is known to change. After Tobler, Syeda, Murray 2025; Murray 2026; Szasz, Banhelyi, Jelasity 2025;
 * Zombori et al. 2021; Leino et al. 2021. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "core/bound/bound.h"
#include "core/bound/method.h"
#include "core/norm/opnorm.h"
#include "support_cert.h"

static const char *const norms[] = {"1", "2", "inf"};

static lip_net *linear(const char *path, size_t n_in, size_t n_out, const float *w, const float *b) {
  const piece p[] = {{"dense", n_out}};
  lip_net *net = cert_net(path, n_in, p, 1, 0, 1, NULL);
  cert_set_weights(net, 0, w);
  if (b) cert_set_bias(net, 0, b);
  return net;
}

static lip_net *two_layers(const char *path, size_t n_in, size_t h, const char *activation, size_t out) {
  const piece p[] = {{"dense", h}, {activation, 0}, {"dense", out}};
  return cert_net(path, n_in, p, 3, 0, 1, NULL);
}

/* ---- ties ---- */

/* The logits differ by one unit in the last place at x and are equal one float below: in real arithmetic the radius
 * is 0.79 (the sign of x), as executed it is 2^-24. */
static void case_01_a_neighbour_ties(void **state) {
  (void)state;
  const float w[] = {0x1.8ffb3ep-1f, 0x1.8ffb4p-1f}, x = 0x1.955f56p-1f, below = 0x1.955f54p-1f;
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = linear(norms[p], 1, 2, w, NULL);
    assert_int_equal(cert_label(net, &x), 1);
    assert_int_equal(cert_label(net, &below), 0);
    assert_true(cert_one(net, &x).radius < (double)x - (double)below);
    assert_true(cert_one(net, &below).radius == 0); /* a tie */
    /* in exact arithmetic and in double the boundary is where x changes its sign, and no farther */
    for (int k = LIP_ARITHMETIC_DOUBLE; k <= LIP_ARITHMETIC_REAL; k++) {
      lip_certify_conf conf = {.arithmetic = (lip_arithmetic)k};
      lip_radius r = cert_with(net, &x, &conf);
      assert_int_equal(r.label, 1);
      assert_true(r.radius < (double)x && r.radius > 0.999 * (double)x);
    }
    lip_net_free(net);
  }
}

static void case_04_equal_logits(void **state) {
  (void)state;
  lip_net *net = two_layers("2", 1, 1, "relu", 2);
  cert_set_weights(net, 0, (float[]){0.9f});
  cert_set_weights(net, 1, (float[]){1, -1});
  cert_set_bias(net, 1, (float[]){0.1f, 0.1f});
  const float x = 0;
  lip_radius r = cert_one(net, &x);
  assert_int_equal(r.label, 0);
  assert_true(r.radius == 0 && r.margin == 0);
  lip_net_free(net);
  const float w[] = {1, 2, 3, 1, 2, 3}, v[] = {1, 1, 1}; /* the same row twice: L = 0, but never a margin */
  net = linear("inf", 3, 2, w, NULL);
  assert_true(cert_one(net, v).radius == 0);
  lip_net_free(net);
}

/* ---- underflow and small weights ---- */

/* Squares of the weights underflow in float32, so a careless norm is 0 and every radius infinite. */
static void case_02_smallest_normal_weights(void **state) {
  (void)state;
  const float w[] = {FLT_MIN, -FLT_MIN};
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = linear(norms[p], 1, 2, w, NULL);
    lip_err err;
    lip_bound b;
    assert_int_equal(lip_bound_product(net, &b, &err), LIP_OK);
    assert_true(b.upper >= (double)FLT_MIN && b.upper < 3 * (double)FLT_MIN);
    lip_bound_free(&b);
    for (int i = -20; i <= 20; i++) {
      float x = (float)i / 10;
      assert_true(cert_one(net, &x).radius <= fabs((double)x));
    }
    lip_net_free(net);
  }
}

/* The boundary is at x = 0 exactly; a normalisation with an epsilon would see a smaller slope. */
static void case_03_small_first_layer(void **state) {
  (void)state;
  for (size_t p = 0; p < 3; p++) {
    const piece parts[] = {{"dense", 1}, {"dense", 2}};
    lip_net *net = cert_net(norms[p], 1, parts, 2, 0, 1, NULL);
    cert_set_weights(net, 0, (float[]){1e-5f});
    cert_set_weights(net, 1, (float[]){1, -1});
    const float xs[] = {0.5f, 1e-3f, 0.999999f, -0.7f};
    for (size_t i = 0; i < 4; i++) {
      lip_radius r = cert_one(net, &xs[i]);
      assert_true(r.radius < fabs((double)xs[i]));
      assert_true(r.radius > 0.999 * fabs((double)xs[i]));
    }
    lip_net_free(net);
  }
}

/* A constant classifier: nothing can change its label, the radius is large but finite. */
static void zero_weights_certify_the_bias(void **state) {
  (void)state;
  const float w[6] = {0}, b[] = {1, 2}, x[] = {1, 2, 3};
  lip_net *net = linear("2", 3, 2, w, b);
  lip_radius r = cert_one(net, x);
  assert_int_equal(r.label, 1);
  assert_true(r.radius > 1000 && isfinite(r.radius));
  assert_int_equal(cert_attack(net, x, &r, LIP_P2, 50, 1), 0);
  lip_net_free(net);
}

/* At x = 0 almost nothing is rounded, but half a unit away products and sums are: the logits x + 1 and -x have terms
 * of 1.5 and 0.5 there, each rounded once as a product and once in a sum (2 u in all for each, at least). */
static void rounding_over_the_ball_counts(void **state) {
  (void)state;
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = linear(norms[p], 1, 2, (float[]){1, -1}, (float[]){1, 0});
    const float x = 0;
    lip_radius r = cert_one(net, &x);
    assert_true(r.margin == 1);
    assert_true(r.radius <= (1 - 2 * 0x1p-24 * 2) / 2);
    assert_true(r.radius >= (1 - 20 * 0x1p-24) / 2);
    lip_net_free(net);
  }
}

/* ---- order and precision of sums ---- */

/* One hidden unit whose exact value is 1 and whose float32 value is 0 or 1, depending on the order of the sum; it
 * decides between two classes. */
static void check_detector(size_t n, const float *w) {
  float *x = malloc(n * sizeof *x);
  assert_non_null(x);
  for (size_t k = 0; k < n; k++) x[k] = 1;
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = two_layers(norms[p], n, 1, "relu", 2);
    cert_set_weights(net, 0, w);
    cert_set_weights(net, 1, (float[]){1, 0});
    cert_set_bias(net, 1, (float[]){0, 0.5f});
    lip_radius r = cert_one(net, x);
    assert_true(r.label == 0 || r.label == 1);
    assert_true(r.radius == 0);
    lip_net_free(net);
    /* the same with the error made two layers before the end */
    const piece parts[] = {{"dense", 1}, {"relu", 0}, {"dense", 1}, {"relu", 0}, {"dense", 2}};
    net = cert_net(norms[p], n, parts, 5, 0, 1, NULL);
    cert_set_weights(net, 0, w);
    cert_set_weights(net, 1, (float[]){1});
    cert_set_weights(net, 2, (float[]){1, 0});
    cert_set_bias(net, 2, (float[]){0, 0.5f});
    assert_true(cert_one(net, x).radius == 0);
    lip_net_free(net);
  }
  free(x);
}

static void case_06_order_detectors(void **state) {
  (void)state;
  float w[514];
  check_detector(3, (const float[]){0x1p24f, 1, -0x1p24f});
  for (size_t i = 0; i < 15; i++) {
    w[3 * i] = 256.0f * 256 * 256 * 256;
    w[3 * i + 1] = 1.0f / 15;
    w[3 * i + 2] = -w[3 * i];
  }
  check_detector(45, w);
  for (size_t i = 0; i < 512; i++) w[i] = 1.0f / 512;
  w[512] = 0x1p24f;
  w[513] = -0x1p24f;
  check_detector(514, w);
}

/* A backdoor: two huge weights that cancel in real arithmetic hide a bias of 1e-3 (Zombori et al. 2021). */
static void case_07_huge_cancelling_weights(void **state) {
  (void)state;
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = two_layers(norms[p], 2, 2, "relu", 2);
    cert_set_weights(net, 0, (float[]){1e17f, -1e17f, 1, 0});
    cert_set_bias(net, 0, (float[]){1e-3f, 0});
    cert_set_weights(net, 1, (float[]){1000, 0, 0, 0.5f});
    assert_true(cert_one(net, (float[]){1, 1}).radius == 0);
    lip_net_free(net);
  }
}

/* A bias of 1e6 before the last layer, taken back after it: the exact logits are those of a small net, the executed
 * ones carry an error of about 1e6 u times the fan-in (Murray 2026). */
static void case_08_large_biases(void **state) {
  (void)state;
  enum { H = 32, N = 8, C = 3 };
  for (size_t p = 0; p < 3; p++) {
    const piece parts[] = {{"dense", H}, {"relu", 0}, {"dense", C}};
    lip_net *net = cert_net(norms[p], N, parts, 3, 1, 3, NULL);
    float *w1 = lip_net_weighted_layer(net, 1)->param[0].value, b0[H], b1[C], x[N];
    lip_rng rng = lip_rng_new(9, LIP_RNG_USER, 0);
    lip_rng_fill_uniform(&rng, x, N, 0, 1);
    lip_radius small = cert_one(net, x);
    assert_true(small.radius > 0);
    for (size_t o = 0; o < H; o++) b0[o] = 1e6f;
    for (size_t c = 0; c < C; c++) {
      double sum = 0;
      for (size_t o = 0; o < H; o++) sum += (double)w1[c * H + o];
      b1[c] = (float)(-1e6 * sum);
    }
    cert_set_bias(net, 0, b0);
    cert_set_bias(net, 1, b1);
    lip_radius r = cert_one(net, x);
    /* a unit in the last place of 1e6 is 1/16: no margin below that can be told from rounding */
    if (r.margin < 0.0625) assert_true(r.radius == 0);
    assert_true(r.radius == 0 || r.radius < small.radius + 1);
    assert_int_equal(cert_attack(net, x, &r, (lip_p)p, 200, 2), 0);
    lip_net_free(net);
  }
}

/* ---- overflow and NaN ---- */

static void case_09_overflow(void **state) {
  (void)state;
  const float x[] = {1, 1};
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = two_layers(norms[p], 2, 2, "relu", 2);
    cert_set_weights(net, 0, (float[]){1e30f, 0, 0, 1e30f});
    cert_set_weights(net, 1, (float[]){1e30f, 0, 0, 1});
    lip_radius r = cert_one(net, x); /* infinite logit */
    assert_true(r.label == -1 && r.radius == 0);
    cert_set_weights(net, 1, (float[]){2e8f, 0, 0, 1}); /* 2e38 at x, infinite soon after */
    r = cert_one(net, x);
    assert_int_equal(r.label, 0);
    assert_true(r.radius < 0.8);
    lip_net_free(net);
  }
  lip_net *net = linear("inf", 2, 2, (float[]){1, 0, 0, 1}, NULL);
  assert_true(cert_one(net, (float[]){3e38f, 1}).radius == 0); /* too near to the largest number */
  assert_int_equal(cert_one(net, (float[]){INFINITY, 1}).label, -1);
  lip_net_free(net);
}

static void case_09_nan_and_infinity(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -INFINITY};
  for (size_t p = 0; p < 3; p++)
    for (size_t k = 0; k < 3; k++) {
      const piece parts[] = {{"dense", 4}, {"relu", 0}, {"dense", 4}, {"maxmin", 0}, {"dense", 3}};
      lip_net *net = cert_net(norms[p], 3, parts, 5, 1, 2, NULL);
      float x[] = {1, -2, 0.5f};
      assert_true(cert_one(net, x).radius > 0);
      for (size_t i = 0; i < net->n_leaf; i++)
        for (size_t q = 0; q < net->leaf[i]->n_param; q++) {
          size_t n = net->leaf[i]->n_out * (q == 0 ? net->leaf[i]->n_in : 1);
          for (size_t e = 0; e < n; e++) {
            float *at = &net->leaf[i]->param[q].value[e], kept = *at;
            *at = bad[k];
            assert_true(cert_one(net, x).radius == 0);
            *at = kept;
          }
        }
      for (size_t e = 0; e < 3; e++) {
        float kept = x[e];
        x[e] = bad[k];
        lip_radius r = cert_one(net, x);
        assert_true(r.radius == 0);
        x[e] = kept;
      }
      assert_true(cert_one(net, x).radius > 0);
      lip_net_free(net);
    }
}

static void case_10_flushed_denormals(void **state) {
  (void)state;
#if defined(__SSE__)
  const piece parts[] = {{"dense", 8}, {"relu", 0}, {"dense", 3}};
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = cert_net(norms[p], 4, parts, 3, 1, 12, NULL);
    const float x[] = {1, 1e-30f, -0.5f, 3}, denormal[] = {1, 1e-40f, -0.5f, 3};
    lip_radius a = cert_one(net, x), c = cert_one(net, denormal);
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040u);
    lip_radius b = cert_one(net, x), d = cert_one(net, denormal);
    _mm_setcsr(mode);
    assert_true(a.radius > 0);
    assert_true(a.label == b.label && a.radius == b.radius);
    assert_true(c.label == d.label && fabs(c.radius - d.radius) <= 1e-6 * c.radius);
    lip_net_free(net);
  }
#endif
}

/* ---- norms ---- */

/* Starts that power iteration cannot leave, close leading values, no rank at all, single rows and columns. */
static void case_05_power_iteration_traps(void **state) {
  (void)state;
  enum { BIG = 256 };
  const lip_pq two = {LIP_P2, LIP_P2};
  double upper, lower, v[2] = {1, 0}, scratch[2 * BIG];
  const float diagonal[] = {1, 0, 0, 1.001f};
  assert_true(lip_opnorm_estimate(diagonal, 2, 2, two, 10, v, scratch) < 1.0005);
  assert_int_equal(lip_opnorm_upper(diagonal, 2, 2, two, &upper, NULL), LIP_OK);
  assert_true(upper >= (double)1.001f && upper < 1.0011);
  const float zero[6] = {0}, row[] = {3, 4};
  assert_int_equal(lip_opnorm_upper(zero, 2, 3, two, &upper, NULL), LIP_OK);
  assert_true(upper == 0);
  for (size_t m = 1; m <= 2; m++) {
    assert_int_equal(lip_opnorm_upper(row, m, 3 - m, two, &upper, NULL), LIP_OK);
    assert_true(upper >= 5 && upper < 5 * (1 + 1e-12));
  }
  float *W = malloc(BIG * BIG * sizeof *W);
  assert_non_null(W);
  lip_rng rng = lip_rng_new(2, LIP_RNG_USER, 5);
  lip_rng_fill_normal(&rng, W, BIG * BIG, 0, 1);
  double ten = lip_opnorm_estimate(W, BIG, BIG, two, 10, NULL, scratch);
  assert_int_equal(lip_opnorm_lower(W, BIG, BIG, two, &lower, NULL), LIP_OK);
  assert_int_equal(lip_opnorm_upper(W, BIG, BIG, two, &upper, NULL), LIP_OK);
  assert_true(ten < lower && lower <= upper && upper < lower * 1.001);
  free(W);
}

/* After the cheap projection of a step a layer may exceed its budget: what is reported is the verified norm. */
static void case_16_projected_nets(void **state) {
  (void)state;
  const piece p[] = {{"dense", 24}, {"maxmin", 0}, {"dense", 4}};
  for (uint64_t seed = 1; seed <= 10; seed++) {
    lip_net *net = cert_net("2", 30, p, 3, 1.5, seed, NULL);
    lip_bound b;
    lip_err err;
    float x[30];
    lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 6);
    lip_rng_fill_normal(&rng, x, 30, 0, 1);
    for (size_t i = 0; i < 2; i++) lip_layer_set_budget(lip_net_weighted_layer(net, i), 1, &err);
    for (int i = 0; i < 3; i++) lip_net_project(net);
    assert_int_equal(lip_bound_product(net, &b, &err), LIP_OK);
    double product = 1, lower;
    for (size_t i = 0; i < 2; i++) {
      const lip_layer *l = lip_net_weighted_layer(net, i);
      assert_int_equal(lip_opnorm_lower(l->param[0].value, l->n_out, l->n_in, l->pq, &lower, &err), LIP_OK);
      product *= lower;
    }
    assert_true(b.upper >= product);
    lip_bound_free(&b);
    lip_radius r = cert_one(net, x);
    assert_int_equal(cert_attack(net, x, &r, LIP_P2, 50, seed), 0);
    assert_int_equal(lip_net_project_exact(net, &err), LIP_OK);
    assert_int_equal(lip_bound_product(net, &b, &err), LIP_OK);
    assert_true(b.upper <= 1 + 1e-12);
    lip_bound_free(&b);
    lip_net_free(net);
  }
}

/* ---- oracles ---- */

/* The largest norm over every activation pattern of 2 - 6 - 2 nets bounds the slope from above, quotients from below. */
static void case_11_every_pattern(void **state) {
  (void)state;
  enum { H = 6 };
  for (uint64_t seed = 1; seed <= 30; seed++)
    for (size_t p = 0; p < 3; p++) {
      lip_net *net =
          cert_net(norms[p], 2, (piece[]){{"dense", H}, {seed % 2 ? "relu" : "maxmin", 0}, {"dense", 2}}, 3,
                   1, seed, NULL);
      const float *w0 = lip_net_weighted_layer(net, 0)->param[0].value;
      const float *w1 = lip_net_weighted_layer(net, 1)->param[0].value;
      double worst = 0;
      for (unsigned bits = 0; bits < 1u << H; bits++) {
        double g[2] = {0};
        for (size_t o = 0; o < H; o++) {
          double v = (double)w1[o] - (double)w1[H + o];
          size_t from = seed % 2 == 0 && bits >> (o / 2) & 1 ? o ^ 1 : o;
          if (seed % 2 && !(bits >> o & 1)) continue;
          for (size_t k = 0; k < 2; k++) g[k] += v * (double)w0[from * 2 + k];
        }
        double n = p == 0   ? fmax(fabs(g[0]), fabs(g[1])) /* the dual norm */
                   : p == 1 ? sqrt(g[0] * g[0] + g[1] * g[1])
                            : fabs(g[0]) + fabs(g[1]);
        worst = fmax(worst, n);
      }
      lip_certifier *c;
      lip_err err;
      assert_int_equal(lip_certifier_new(net, NULL, &c, &err), LIP_OK);
      assert_true(lip_certifier_pairs(c)[1] >= worst * (1 - 1e-12));
      lip_certifier_free(c);
      lip_net_free(net);
    }
}

/* A net that has learnt something: no attack succeeds within a certified radius, in either arithmetic. */
static void case_12_attacks_on_a_trained_net(void **state) {
  (void)state;
  enum { N = 6, ROWS = 64 };
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  lip_loss loss = {kind, lip_conf_new(&kind->desc)};
  lip_err err;
  float x[ROWS * N];
  int32_t y[ROWS];
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 8);
  lip_rng_fill_normal(&rng, x, ROWS * N, 0, 1);
  for (size_t r = 0; r < ROWS; r++) y[r] = x[r * N] * x[r * N + 1] > 0 ? 0 : x[r * N + 2] > 0 ? 1 : 2;
  for (size_t p = 0; p < 3; p++) {
    lip_net *net =
        cert_net(norms[p], N, (piece[]){{"dense", 16}, {"maxmin", 0}, {"dense", 3}}, 3, 1, 3, NULL);
    lip_optim *opt;
    double value = 0, first = 0;
    assert_int_equal(lip_optim_new(lip_optim_kind_find("adam"), NULL, &opt, &err), LIP_OK);
    opt->lr = 0.02;
    lip_targets t = {.kind = LIP_TARGET_LABELS, .labels = y};
    for (int i = 0; i < 150; i++) {
      assert_int_equal(lip_net_step(net, x, &t, ROWS, &loss, opt, &value, &err), LIP_OK);
      if (i == 0) first = value;
    }
    assert_true(value < 0.5 * first);
    size_t certified = 0, flips = 0;
    for (size_t r = 0; r < ROWS; r++) {
      lip_radius tight = cert_with(net, x + r * N, &(lip_certify_conf){.tight = true});
      certified += tight.radius > 0;
      flips += cert_attack(net, x + r * N, &tight, (lip_p)p, 10, r);
    }
    assert_true(certified > ROWS / 2);
    assert_int_equal(flips, 0);
    lip_optim_free(opt);
    lip_net_free(net);
  }
  lip_conf_free(&loss.kind->desc, loss.conf);
}

/* The nets of the authors of LipSDP: what their solvers found for neurons, 36.482, must be met from above. */
static void case_13_reference_values(void **state) {
  (void)state;
  const char *folder = getenv("LIPWB_DATA");
  char path[4096];
  if (!folder || (size_t)snprintf(path, sizeof path, "%s/lipsdp/random_weights.txt", folder) >= sizeof path)
    skip();
  FILE *f = fopen(path, "r");
  if (!f) skip();
  size_t n, rows, columns;
  piece p[8];
  float *W[8] = {0};
  lip_err err;
  assert_int_equal(fscanf(f, "%zu", &n), 1);
  assert_int_equal(n, 4);
  size_t n_in = 0;
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(fscanf(f, "%zu %zu", &rows, &columns), 2);
    if (i == 0) n_in = columns;
    W[i] = malloc(rows * columns * sizeof(float));
    assert_non_null(W[i]);
    for (size_t k = 0; k < rows * columns; k++) assert_int_equal(fscanf(f, "%f", &W[i][k]), 1);
    p[2 * i] = (piece){"dense", rows};
    if (i + 1 < n) p[2 * i + 1] = (piece){"relu", 0};
  }
  fclose(f);
  lip_net *net = cert_net("2", n_in, p, 2 * n - 1, 1, 1, NULL);
  lip_affine affine;
  for (size_t i = 0; i < n; i++) cert_set_weights(net, i, W[i]), free(W[i]);
  assert_int_equal(lip_affine_init(&affine, net, &err), LIP_OK);
  lip_ask ask = {
      .net = net, .affine = &affine, .path = net->conf.path, .p = LIP_P2, .q = LIP_P2, .seconds = 20};
  const struct {
    const char *method;
    double low, high;
  } known[] = {{"product", 43.30, 43.32}, {"recursion", 36.48, 39.91}, {"multiplier", 36.48, 36.52}};
  for (size_t i = 0; i < 3; i++) {
    lip_found found = {0};
    if (lip_method_run(known[i].method, &ask, &found, &err)) fail_msg("%s", err.msg);
    if (!(found.upper >= known[i].low && found.upper <= known[i].high))
      fail_msg("%s: %.9g", known[i].method, found.upper);
    lip_found_free(&found);
  }
  lip_affine_free(&affine);
  lip_net_free(net);
}

/* ---- what must not matter ---- */

/* Powers of two between layers of relu leave every bit; the order of neurons and a copy of the weights next to nothing. */
static void case_14_metamorphic(void **state) {
  (void)state;
  enum { N = 5, H = 8, C = 3 };
  for (uint64_t seed = 1; seed <= 20; seed++)
    for (size_t p = 0; p < 3; p++) {
      const piece parts[] = {{"dense", H}, {"relu", 0}, {"dense", C}};
      lip_net *a = cert_net(norms[p], N, parts, 3, 1, seed, NULL),
              *b = cert_net(norms[p], N, parts, 3, 1, seed, NULL);
      float x[N], *w0 = lip_net_weighted_layer(b, 0)->param[0].value,
                  *b0 = lip_net_weighted_layer(b, 0)->param[1].value;
      float *w1 = lip_net_weighted_layer(b, 1)->param[0].value;
      lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 9);
      lip_rng_fill_normal(&rng, x, N, 0, 1);
      lip_radius want = cert_one(a, x), same = cert_one(b, x);
      assert_true(want.radius == same.radius && want.margin == same.margin);
      for (size_t i = 0; i < (size_t)H * N; i++) w0[i] *= 32;
      for (size_t i = 0; i < H; i++) b0[i] *= 32;
      for (size_t i = 0; i < (size_t)C * H; i++) w1[i] /= 32;
      lip_radius scaled = cert_one(b, x);
      assert_true(scaled.label == want.label && scaled.margin == want.margin);
      assert_true(fabs(scaled.radius - want.radius) <= 1e-9 * want.radius);
      for (size_t k = 0; k < N; k++) { /* exchange the first two neurons */
        float t = w0[k];
        w0[k] = w0[N + k];
        w0[N + k] = t;
      }
      for (size_t c = 0; c < C; c++) {
        float t = w1[c * H];
        w1[c * H] = w1[c * H + 1];
        w1[c * H + 1] = t;
      }
      float t = b0[0];
      b0[0] = b0[1];
      b0[1] = t;
      lip_radius turned = cert_one(b, x);
      assert_true(turned.label == want.label);
      assert_true(fabs(turned.radius - want.radius) <= 1e-5 * want.radius);
      lip_net_free(a);
      lip_net_free(b);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(case_01_a_neighbour_ties),
      cmocka_unit_test(case_02_smallest_normal_weights),
      cmocka_unit_test(case_03_small_first_layer),
      cmocka_unit_test(case_04_equal_logits),
      cmocka_unit_test(case_05_power_iteration_traps),
      cmocka_unit_test(case_06_order_detectors),
      cmocka_unit_test(case_07_huge_cancelling_weights),
      cmocka_unit_test(case_08_large_biases),
      cmocka_unit_test(case_09_overflow),
      cmocka_unit_test(case_09_nan_and_infinity),
      cmocka_unit_test(case_10_flushed_denormals),
      cmocka_unit_test(case_11_every_pattern),
      cmocka_unit_test(case_12_attacks_on_a_trained_net),
      cmocka_unit_test(case_13_reference_values),
      cmocka_unit_test(case_14_metamorphic),
      cmocka_unit_test(case_16_projected_nets),
      cmocka_unit_test(zero_weights_certify_the_bias),
      cmocka_unit_test(rounding_over_the_ball_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
