/* Certificates of networks made to fool certificates: ties, underflow, cancellation, large biases, overflow, NaN.
 * Every case is refused, or certified only below a distance at which the executed label is known to change. Cases
 * after Tobler, Syeda, Murray 2025; Murray 2026; Szasz, Banhelyi, Jelasity 2025; Zombori et al. 2021. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "core/cert/bound.h"
#include "core/cert/rounding.h"
#include "core/cert/walk.h"
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
static void a_neighbour_ties(void **state) {
  (void)state;
  const float w[] = {0x1.8ffb3ep-1f, 0x1.8ffb4p-1f}, x = 0x1.955f56p-1f, below = 0x1.955f54p-1f;
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = linear(norms[p], 1, 2, w, NULL);
    assert_int_equal(cert_label(net, &x), 1);
    assert_int_equal(cert_label(net, &below), 0);
    assert_true(cert_one(net, &x).radius < (double)x - (double)below);
    assert_true(cert_one(net, &below).radius == 0); /* a tie */
    lip_net_free(net);
  }
}

static void equal_logits_have_radius_zero(void **state) {
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
static void smallest_normal_weights(void **state) {
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
static void small_first_layer(void **state) {
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

static void order_detectors_are_refused(void **state) {
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
static void huge_cancelling_weights_are_refused(void **state) {
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
static void large_biases_shrink_the_radius(void **state) {
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

static void overflow_is_refused(void **state) {
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

static void nan_never_certifies(void **state) {
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

/* NaN in a quantity of the walk itself ends as an infinite error or as NaN, and both fail every test. */
static void nan_in_the_error_stays_visible(void **state) {
  (void)state;
  const float w[] = {1, 2, 3, 4};
  lip_dense_error d = {.M = 2, .N = 2, .pq = {LIP_P2, LIP_P2}, .W = w, .norm = 6, .abs_norm = 6, .bias = 0};
  assert_true(lip_dense_error_local(&d, 2, 1, 6, 6) < 1e-5);
  assert_true(isinf(lip_dense_error_local(&d, 2, NAN, 6, 6)));
  assert_true(isinf(lip_dense_error_local(&d, 2, 1, NAN, 6)));
  assert_true(isinf(lip_dense_error_local(&d, 2, INFINITY, 6, 6)));
  double known = lip_dense_error_local(&d, 2, 1, 6, 6);
  /* the exact result is then bounded by its terms alone */
  assert_true(lip_dense_error_local(&d, 2, 1, 6, NAN) >= known);
  assert_true(isinf(lip_dot_error(3, 1, NAN, 1, 1)));
  assert_true(isinf(lip_dot_error((size_t)1 << 23, 1, 1, 1, 1))); /* too long a sum for float32 */
  assert_true(isinf(lip_up_mul(0, INFINITY)));
  assert_true(lip_up_mul(0.1, 0.1) > 0.1 * 0.1 && lip_up_add(0.1, 0.2) > 0.1 + 0.2);
  assert_true(lip_up_mul(0, 3) == 0 && lip_up_mul(1, 3) == 3 && lip_up_add(0, 3) == 3);
  assert_true(lip_below_div(1, 3) < 1.0 / 3 && lip_below_div(0, 3) == 0);
}

static void flushing_denormals_changes_no_verdict(void **state) {
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

/* ---- the error model itself ---- */

/* Sum of terms in a random binary tree, every operation in float32. */
static float tree_sum(const float *t, size_t n, lip_rng *rng) {
  if (n == 1) return t[0];
  size_t cut = lip_rng_below(rng, 2) ? 1 : 1 + (size_t)lip_rng_below(rng, n - 1);
  float a = tree_sum(t, cut, rng), b = tree_sum(t + cut, n - cut, rng);
  return a + b;
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Worst orders first: sorted by sign, so that partial sums are as large as they can be. */
static void any_order_of_summation_is_covered(void **state) {
  (void)state;
  enum { N = 200 };
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  double largest = 0;
  for (int trial = 0; trial < 2000; trial++) {
    float w[N], h[N], t[N + 1], beta = (float)lip_rng_normal(&rng);
    size_t n = 1 + (size_t)lip_rng_below(&rng, N);
    double T = fabs((double)beta), exact = (double)beta, sumw = 0, sumh = 0;
    for (size_t k = 0; k < n; k++) {
      w[k] = (float)lip_rng_normal(&rng);
      h[k] = (float)lip_rng_normal(&rng);
      if (trial % 2 && k > 0) w[k] = -w[k - 1], h[k] = h[k - 1]; /* cancellation */
      t[k] = w[k] * h[k];
      T += fabs((double)w[k] * (double)h[k]);
      exact += (double)w[k] * (double)h[k];
      sumw += (double)w[k] * (double)w[k];
      sumh += (double)h[k] * (double)h[k];
    }
    t[n] = beta;
    if (trial % 4 < 2) qsort(t, n + 1, sizeof *t, by_value);
    lip_dense_error d = {.M = 1, .N = n, .pq = {LIP_P2, LIP_P2}, .W = w, .bias = fabs((double)beta)};
    d.norm = d.abs_norm = sqrt(sumw) * (1 + 1e-12);
    double off = fabs((double)tree_sum(t, n + 1, &rng) - exact), size = sqrt(sumh) * (1 + 1e-12);
    double local = lip_dense_error_local(&d, n, size, T, fabs(exact) + 1e-12 * T);
    assert_true(off <= local + 1e-12 * T);
    assert_true(off <= lip_dot_error(n, size, T, T, d.abs_norm) + 1e-12 * T);
    if (off / local > largest) largest = off / local;
  }
  assert_true(largest > 0.02); /* the bound is about what happens, not a number out of reach */
}

/* || |W| ||_2 by Collatz and Wielandt, against the power method and against the cheap bounds around it. */
static void norm_of_absolute_values(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  for (int trial = 0; trial < 40; trial++) {
    size_t M = 1 + (size_t)lip_rng_below(&rng, 12), N = 1 + (size_t)lip_rng_below(&rng, 12);
    float W[144];
    double v[12], upper, estimate = 0, frobenius = 0;
    lip_err err;
    lip_rng_fill_normal(&rng, W, M * N, 0, 1);
    if (trial % 5 == 0)
      for (size_t k = 0; k < N; k++) W[k] = 0; /* an empty row */
    assert_int_equal(lip_abs_opnorm_upper(W, M, N, (lip_pq){LIP_P2, LIP_P2}, &upper, &err), LIP_OK);
    for (size_t k = 0; k < N; k++) v[k] = 1;
    for (int it = 0; it < 300; it++) {
      double s[12] = {0}, tt = 0, vv = 0, top = 0;
      for (size_t i = 0; i < M; i++) {
        double t = 0;
        for (size_t k = 0; k < N; k++) t += fabs((double)W[i * N + k]) * v[k];
        for (size_t k = 0; k < N; k++) s[k] += fabs((double)W[i * N + k]) * t;
        tt += t * t;
      }
      for (size_t k = 0; k < N; k++) vv += v[k] * v[k], top = fmax(top, s[k]);
      if (vv > 0) estimate = sqrt(tt / vv);
      for (size_t k = 0; k < N; k++) v[k] = top > 0 ? s[k] / top : 0;
    }
    for (size_t i = 0; i < M * N; i++) frobenius += (double)W[i] * (double)W[i];
    assert_true(upper >= estimate * (1 - 1e-13));
    assert_true(upper <= estimate * 1.01 + 1e-300);
    assert_true(upper <= sqrt(frobenius) * 1.01);
  }
}

/* What the walk reads as the executed input of a layer is the executed input of that layer. */
static void activations_are_read_where_they_are(void **state) {
  (void)state;
  const piece parts[] = {{"dense", 9}, {"relu", 0}, {"dense", 8}, {"maxmin", 0}, {"dense", 3}};
  lip_net *net = cert_net("2", 5, parts, 5, 1, 6, NULL);
  enum { ROWS = 130 };
  float x[ROWS * 5];
  lip_err err;
  lip_walk w;
  double size[6], off[6];
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, x, ROWS * 5, 0, 1);
  assert_int_equal(lip_net_reserve(net, ROWS, &err), LIP_OK);
  assert_int_equal(lip_walk_init(&w, net, NULL, &err), LIP_OK);
  lip_net_forward(net, x, ROWS, false);
  for (size_t r = 0; r < ROWS; r++) {
    lip_centre at = {.size = size, .off = off};
    double h[16], y[16];
    lip_walk_centre(&w, x, r, &at);
    for (size_t k = 0; k < 5; k++) h[k] = (double)x[r * 5 + k];
    for (size_t i = 0; i < 5; i += 2) {
      const lip_layer *l = net->root->child[i];
      double norm = 0, gap = 0;
      for (size_t k = 0; k < l->n_in; k++) norm += h[k] * h[k];
      assert_true(size[i] >= sqrt(norm) - off[i]);
      assert_true(size[i] <= sqrt(norm) * (1 + 1e-5));
      for (size_t o = 0; o < l->n_out; o++) {
        y[o] = (double)l->param[1].value[o];
        for (size_t k = 0; k < l->n_in; k++) y[o] += (double)l->param[0].value[o * l->n_in + k] * h[k];
      }
      memcpy(h, y, sizeof h);
      for (size_t o = 0; i == 0 && o < l->n_out; o++) h[o] = fmax(y[o], 0);
      for (size_t o = 0; i == 2 && o + 1 < l->n_out; o += 2) {
        h[o] = fmax(y[o], y[o + 1]);
        h[o + 1] = fmin(y[o], y[o + 1]);
      }
      for (size_t o = 0; i == 4 && o < 3; o++) gap += pow((double)net->logits[r * 3 + o] - h[o], 2);
      if (i == 4) assert_true(sqrt(gap) <= off[5] && off[5] < 1e-4);
    }
  }
  lip_walk_free(&w);
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_neighbour_ties),
      cmocka_unit_test(equal_logits_have_radius_zero),
      cmocka_unit_test(smallest_normal_weights),
      cmocka_unit_test(small_first_layer),
      cmocka_unit_test(zero_weights_certify_the_bias),
      cmocka_unit_test(rounding_over_the_ball_counts),
      cmocka_unit_test(order_detectors_are_refused),
      cmocka_unit_test(huge_cancelling_weights_are_refused),
      cmocka_unit_test(large_biases_shrink_the_radius),
      cmocka_unit_test(overflow_is_refused),
      cmocka_unit_test(nan_never_certifies),
      cmocka_unit_test(nan_in_the_error_stays_visible),
      cmocka_unit_test(flushing_denormals_changes_no_verdict),
      cmocka_unit_test(any_order_of_summation_is_covered),
      cmocka_unit_test(norm_of_absolute_values),
      cmocka_unit_test(activations_are_read_where_they_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
