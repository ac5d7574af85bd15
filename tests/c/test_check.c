/* The checker of certificates against oracles of its own: every activation pattern of small nets, forward passes in
 * float32 in several orders of summation, and claims that are false. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "support_check.h"

static const act acts[] = {{LIP_CHECK_LEAKY, 0},   {LIP_CHECK_LEAKY, -1},   {LIP_CHECK_LEAKY, 0.125},
                           {LIP_CHECK_LEAKY, 1.5}, {LIP_CHECK_LEAKY, -2.0}, {LIP_CHECK_MAXMIN, 0}};
enum { ACTS = sizeof acts / sizeof *acts };
static const int norms[] = {1, 2, 0};

/* ---- oracles ---- */

static double norm_p(const double *v, size_t n, int p) {
  double s = 0;
  for (size_t k = 0; k < n; k++) s = p == 1 ? s + fabs(v[k]) : p == 2 ? s + v[k] * v[k] : fmax(s, fabs(v[k]));
  return p == 2 ? sqrt(s) : s;
}

/* J := D W J for the pattern's slopes; rows of J have IN entries. */
static void through(const float *W, size_t M, size_t N, act a, bool last, unsigned bits, const double *J,
                    double *out) {
  double Z[4 * IN] = {0};
  for (size_t i = 0; i < M; i++)
    for (size_t k = 0; k < N; k++)
      for (size_t j = 0; j < IN; j++) Z[i * IN + j] += (double)W[i * N + k] * J[k * IN + j];
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < IN; j++) {
      size_t from = !last && a.kind == LIP_CHECK_MAXMIN && (bits >> (i / 2) & 1) ? i ^ 1u : i;
      double s = !last && a.kind == LIP_CHECK_LEAKY && (bits >> i & 1) ? a.slope : 1;
      out[i * IN + j] = s * Z[from * IN + j];
    }
}

/* The largest dual norm of the gradient of z_0 - z_1 over all patterns: the constant of a net with such slopes. */
static double largest_slope(const fixture *f, act a, int p) {
  double top = 0, eye[IN * IN] = {0}, J1[H1 * IN], J2[H2 * IN], J3[C * IN], d[IN];
  for (int i = 0; i < IN; i++) eye[i * IN + i] = 1;
  for (unsigned u = 0; u < 1u << H1; u++)
    for (unsigned v = 0; v < 1u << H2; v++) {
      through(f->W1, H1, IN, a, false, u, eye, J1);
      through(f->W2, H2, H1, a, false, v, J1, J2);
      through(f->W3, C, H2, a, true, 0, J2, J3);
      for (int k = 0; k < IN; k++) d[k] = J3[k] - J3[IN + k];
      top = fmax(top, norm_p(d, IN, p == 1 ? 0 : p == 2 ? 2 : 1));
    }
  return top;
}

/* One layer in float32, terms added from the front, from the back, or in two halves; optionally fused. */
static void layer32(const float *W, const float *b, size_t M, size_t N, act a, bool last, int order,
                    const float *h, float *y) {
  for (size_t i = 0; i < M; i++) {
    float s = order % 2 ? b[i] : 0, t = 0;
    for (size_t k = 0; k < N; k++) {
      size_t at = order / 2 % 2 ? N - 1 - k : k;
      float *to = order >= 8 && k % 2 ? &t : &s;
      *to = order / 4 % 2 ? fmaf(W[i * N + at], h[at], *to) : *to + W[i * N + at] * h[at];
    }
    s += t;
    y[i] = order % 2 ? s : s + b[i];
  }
  if (last) return;
  for (size_t i = 0; i < M; i += a.kind == LIP_CHECK_MAXMIN ? 2 : 1) {
    float z = y[i];
    if (a.kind == LIP_CHECK_LEAKY) {
      y[i] = z >= 0 ? z : (float)a.slope * z;
    } else {
      float o = y[i + 1];
      y[i] = z >= o ? z : o;
      y[i + 1] = z >= o ? o : z;
    }
  }
}

static int label32(const fixture *f, act a, int order, const float *x, float *z) {
  float h1[H1], h2[H2];
  layer32(f->W1, f->b1, H1, IN, a, false, order, x, h1);
  layer32(f->W2, f->b2, H2, H1, a, false, order, h1, h2);
  layer32(f->W3, f->b3, C, H2, a, true, order, h2, z);
  int y = 0;
  for (int j = 1; j < C; j++)
    if (z[j] > z[y]) y = j;
  return y;
}

/* ---- smallest and largest claims that are confirmed, by bisection ---- */

static double least_norm(fixture *f, lip_check *c, size_t l) {
  double low = 0, high = 1;
  for (f->norm[l] = high; lip_check_claim(c, LIP_CHECK_NORM, l, 0, NULL, NULL); f->norm[l] = high) high *= 2;
  for (int k = 0; k < 60; k++) {
    f->norm[l] = low + (high - low) / 2;
    *(lip_check_claim(c, LIP_CHECK_NORM, l, 0, NULL, NULL) ? &low : &high) = f->norm[l];
  }
  return f->norm[l] = high;
}

static bool pair_holds(fixture *f, lip_check *c, double v) {
  f->pair[1] = f->pair[C] = v;
  return lip_check_claim(c, LIP_CHECK_PAIR, 0, 1, NULL, NULL) == LIP_OK;
}

static double least_pair(fixture *f, lip_check *c) {
  double low = 0, high = 1;
  while (!pair_holds(f, c, high))
    if ((high *= 2) > 1e9) return INFINITY;
  for (int k = 0; k < 60; k++) {
    double mid = low + (high - low) / 2;
    *(pair_holds(f, c, mid) ? &high : &low) = mid;
  }
  assert_true(pair_holds(f, c, high));
  return high;
}

static double largest_radius(fixture *f, lip_check *c, size_t r) {
  double low = 0, high = 64;
  for (int k = 0; k < 60; k++) {
    f->radius[r] = low + (high - low) / 2;
    *(lip_check_claim(c, LIP_CHECK_ROW, r, 0, f->x + r * IN, NULL) ? &high : &low) = f->radius[r];
  }
  return f->radius[r] = low;
}

/* ---- norms ---- */

/* Largest singular value of a 4 x 3 matrix by power iteration in long double. */
static double sigma(const float *W, size_t M, size_t N) {
  long double v[4] = {1, 0.7L, -0.3L, 0.2L}, top = 0;
  for (int it = 0; it < 20000; it++) {
    long double s[4] = {0}, norm = 0;
    for (size_t i = 0; i < M; i++) {
      long double t = 0;
      for (size_t k = 0; k < N; k++) t += (long double)W[i * N + k] * v[k];
      for (size_t k = 0; k < N; k++) s[k] += (long double)W[i * N + k] * t;
    }
    for (size_t k = 0; k < N; k++) norm += s[k] * s[k];
    top = sqrtl(norm);
    for (size_t k = 0; k < N; k++) v[k] = s[k] / top;
  }
  return (double)sqrtl(top);
}

static void norms_are_exact(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 20; seed++)
    for (int p = 0; p < 3; p++)
      for (int q = p; q < 3; q++) {
        fixture f;
        check_fixture_init(&f, acts[0], norms[p], seed);
        f.path[1] = f.path[2] = f.path[3] = norms[q];
        lip_check *c = check_opened(&f);
        double want = 0, v[H1];
        if (norms[p] == 1) {
          for (int k = 0; k < IN; k++) {
            for (int i = 0; i < H1; i++) v[i] = (double)f.W1[i * IN + k];
            want = fmax(want, norm_p(v, H1, norms[q]));
          }
        } else if (norms[q] == 0) {
          for (int i = 0; i < H1; i++) {
            for (int k = 0; k < IN; k++) v[k] = (double)f.W1[i * IN + k];
            want = fmax(want, norm_p(v, IN, norms[p] == 2 ? 2 : 1));
          }
        } else {
          want = sigma(f.W1, H1, IN);
        }
        double least = least_norm(&f, c, 0);
        assert_true(least >= want * (1 - 1e-15));
        assert_true(least <= want * (1 + 1e-12));
        f.norm[0] = NAN;
        assert_int_equal(lip_check_claim(c, LIP_CHECK_NORM, 0, 0, NULL, NULL), LIP_FORMAT);
        f.norm[0] = -1;
        assert_int_equal(lip_check_claim(c, LIP_CHECK_NORM, 0, 0, NULL, NULL), LIP_FORMAT);
        lip_check_close(c);
      }
}

/* ---- constants of pairs ---- */

/* Multipliers that make the inequality hold: M is diagonally dominant for any lambda of a layer that is large against the
 * next one, so such a choice is feasible for some rho; a random factor makes every case another. */
static void make_proof(fixture *f, uint64_t seed) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 7);
  for (int k = 0; k < UNITS; k++)
    f->lambda[k] = (k < (int)f->claims.units / 2 ? 4000 : 20) * (1 + lip_rng_uniform(&rng));
  f->target[0] = 0;
  f->target[1] = 1;
  f->claims.targets = 1;
  f->claims.evidence = LIP_CHECK_QUADRATIC;
}

/* The smallest rho for these multipliers, as a constant of the pair. */
static double least_rho(fixture *f, lip_check *c, double weight) {
  double low = 1e-9, high = 1e9, pair;
  for (int k = 0; k < 80; k++) {
    f->rho[0] = sqrt(low * high);
    *(pair_holds(f, c, sqrt(f->rho[0] * weight) * (1 + 1e-12)) ? &high : &low) = f->rho[0];
  }
  f->rho[0] = high;
  pair = sqrt(high * weight) * (1 + 1e-12);
  assert_true(pair_holds(f, c, pair));
  return pair;
}

static void pairs_are_never_below_the_truth(void **state) {
  (void)state;
  size_t quadratic = 0;
  for (uint64_t seed = 1; seed <= 12; seed++)
    for (int k = 0; k < ACTS; k++)
      for (int p = 0; p < 3; p++) {
        fixture f;
        check_fixture_init(&f, acts[k], norms[p], seed);
        lip_check *c = check_opened(&f);
        for (size_t l = 0; l < 3; l++) least_norm(&f, c, l);
        double truth = largest_slope(&f, acts[k], norms[p]), product = least_pair(&f, c);
        assert_true(product >= truth * (1 - 1e-12));
        f.claims.evidence = LIP_CHECK_ABS;
        double abs = least_pair(&f, c);
        assert_true(abs >= truth * (1 - 1e-12));
        assert_true(abs <= product);
        make_proof(&f, seed);
        lip_check_close(c);
        for (int weighted = 0; weighted < 2; weighted++) {
          for (int i = 0; i < IN; i++) f.weight[i] = 0.5 + 0.25 * i;
          f.claims.weight = weighted ? f.weight : NULL;
          for (size_t l = 0; l < 3; l++) f.norm[l] = INFINITY; /* nothing by the product */
          c = check_opened(&f);
          double total = norms[p] != 0 ? 1 : weighted ? 2.25 : 3;
          double found = least_rho(&f, c, total);
          assert_true(found >= truth * (1 - 1e-9));
          quadratic += found < 1e3 * truth;
          /* below the truth no multipliers may convince */
          double scale[] = {1e-3, 0.1, 0.5, 1, 2, 10, 1e3};
          for (size_t s = 0; s < sizeof scale / sizeof *scale; s++) {
            double old[UNITS];
            memcpy(old, f.lambda, sizeof old);
            for (int u = 0; u < UNITS; u++) f.lambda[u] *= scale[s];
            f.rho[0] = 0.999 * truth * truth / total;
            assert_false(pair_holds(&f, c, truth * 0.9999));
            memcpy(f.lambda, old, sizeof old);
          }
          lip_check_close(c);
        }
      }
  assert_true(quadratic > 100);
}

static void hostile_proofs_are_refused(void **state) {
  (void)state;
  fixture f;
  check_fixture_init(&f, acts[0], 2, 3);
  make_proof(&f, 3);
  lip_check *c = check_opened(&f);
  double pair = least_rho(&f, c, 1);
  assert_true(pair_holds(&f, c, pair));
  const double wrong[] = {NAN, INFINITY, -INFINITY, -1, 0, 1e300, 1e-300, -0.0};
  for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
    for (int u = 0; u < UNITS; u++) {
      double old = f.lambda[u];
      f.lambda[u] = wrong[k];
      assert_false(pair_holds(&f, c, pair));
      f.lambda[u] = old;
    }
    double old = f.rho[0];
    f.rho[0] = wrong[k];
    assert_false(pair_holds(&f, c, pair));
    f.rho[0] = old;
  }
  for (int u = 0; u < UNITS; u++) { /* of another sign or far too small */
    double old = f.lambda[u];
    f.lambda[u] = old * 1e-6;
    bool held = pair_holds(&f, c, pair);
    if (held) assert_true(pair >= largest_slope(&f, acts[0], 2));
    f.lambda[u] = old;
  }
  f.pair[1] = pair;
  f.pair[C] = pair * (1 + 1e-15);
  assert_int_equal(lip_check_claim(c, LIP_CHECK_PAIR, 0, 1, NULL, NULL), LIP_FORMAT);
  f.pair[0] = 1e-3;
  assert_int_equal(lip_check_claim(c, LIP_CHECK_PAIR, 0, 0, NULL, NULL), LIP_FORMAT);
  assert_false(pair_holds(&f, c, NAN));
  assert_false(pair_holds(&f, c, -1));
  lip_check_close(c);
  f.claims.weight = f.weight;
  for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
    f.weight[1] = wrong[k];
    lip_status status = lip_check_open(&f.net, &f.claims, &c, NULL);
    assert_int_equal(status, wrong[k] >= 0 && wrong[k] < INFINITY ? LIP_OK : LIP_FORMAT);
    if (!status) assert_false(pair_holds(&f, c, pair));
    lip_check_close(c);
  }
}

/* ---- radii ---- */

static void radii_hold_in_float32(void **state) {
  (void)state;
  size_t certified = 0;
  for (uint64_t seed = 1; seed <= 12; seed++)
    for (int k = 0; k < ACTS; k++)
      for (int p = 0; p < 3; p++) {
        fixture f;
        check_fixture_init(&f, acts[k], norms[p], seed);
        lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 3);
        lip_check *c = check_opened(&f);
        for (size_t l = 0; l < 3; l++) least_norm(&f, c, l);
        for (size_t r = 0; r < ROWS; r++) {
          float z[C], other[C];
          int y = label32(&f, acts[k], 0, f.x + r * IN, z);
          f.label[r] = (float)y;
          for (size_t i = 0; i < C * C; i++) f.pair[i] = i % (C + 1) ? 1e3 : 0; /* others are far away */
          double truth = largest_slope(&f, acts[k], norms[p]);
          if (y < 2) f.pair[1] = f.pair[C] = truth * (1 + 1e-9);
          double R = largest_radius(&f, c, r);
          certified += R > 0;
          double margin = (double)z[y] - fmax((double)z[(y + 1) % C], (double)z[(y + 2) % C]);
          if (margin > 1e-3) assert_true(R > 0);
          for (int t = 0; t < 200 && R > 0;
               t++) { /* points of the ball, on its rim, in every order of summation */
            double d[IN];
            float x[IN];
            for (int i = 0; i < IN; i++) d[i] = lip_rng_normal(&rng);
            double s = R * (t % 4 ? 1 : lip_rng_uniform(&rng)) / norm_p(d, IN, norms[p]) * (1 - 1e-6);
            for (int i = 0; i < IN; i++) x[i] = (float)((double)f.x[r * IN + (size_t)i] + s * d[i]);
            for (int i = 0; i < IN; i++) d[i] = (double)x[i] - (double)f.x[r * IN + (size_t)i];
            if (!(norm_p(d, IN, norms[p]) <= R)) continue;
            assert_int_equal(label32(&f, acts[k], t % 16, x, other), y);
          }
          f.label[r] = (float)((y + 1) % C);
          assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, r, 0, f.x + r * IN, NULL), LIP_FORMAT);
          f.label[r] = (float)y;
          const double wrong[] = {NAN, INFINITY, -1, R * (1 + 1e-9) + 1e-9};
          for (size_t i = 0; i < 4; i++) {
            f.radius[r] = wrong[i];
            assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, r, 0, f.x + r * IN, NULL), LIP_FORMAT);
          }
        }
        lip_check_close(c);
      }
  assert_true(certified > 500);
}

/* |w x| by an absolute value or as max - min: the inequality is tight, whatever the norm, and so are radii. */
static void one_unit_is_exact(void **state) {
  (void)state;
  float w[6] = {3, -1, 0.5f}, v[4] = {1, 0, 0, 0}, x[3] = {1, 0, 0}, label = 0;
  for (int maxmin = 0; maxmin < 2; maxmin++)
    for (int p = 0; p < 2; p++) {
      size_t M = maxmin ? 2 : 1;
      if (maxmin) v[1] = -1;
      lip_check_layer layer[] = {{.kind = LIP_CHECK_DENSE, .M = M, .N = 3, .W = w},
                                 {.kind = maxmin ? LIP_CHECK_MAXMIN : LIP_CHECK_LEAKY, .slope = -1},
                                 {.kind = LIP_CHECK_DENSE, .M = 2, .N = M, .W = v}};
      lip_check_net net = {3, 2, 3, layer};
      int path[] = {p ? 0 : 2, p ? 0 : 2, p ? 0 : 2};
      double norm[] = {10, 10}, pair[4] = {0}, target[] = {0, 1}, rho, lambda[] = {1 + 1e-7, 1 + 1e-7},
             weight[] = {3, 1, 0.5}, radius, exact = p ? 4.5 : sqrt(10.25), low = 0, high = 8;
      lip_check_claims claims = {.dense = 2,
                                 .path = path,
                                 .evidence = LIP_CHECK_QUADRATIC,
                                 .norm = norm,
                                 .pair = pair,
                                 .targets = 1,
                                 .units = 1,
                                 .target = target,
                                 .rho = &rho,
                                 .lambda = lambda,
                                 .weight = p ? weight : NULL,
                                 .rows = 1,
                                 .label = &label,
                                 .radius = &radius};
      lip_check *c;
      assert_int_equal(lip_check_open(&net, &claims, &c, NULL), LIP_OK);
      for (int k = 0; k < 60; k++) {
        pair[1] = pair[2] = low + (high - low) / 2;
        rho = pair[1] * pair[1] / (p ? 4.5 : 1) * (1 - 1e-12);
        *(lip_check_claim(c, LIP_CHECK_PAIR, 0, 1, NULL, NULL) ? &low : &high) = pair[1];
      }
      assert_true(high >= exact);
      assert_true(high <= exact * (1 + 1e-6));
      pair[1] = pair[2] = high;
      rho = high * high / (p ? 4.5 : 1) * (1 - 1e-12);
      pair[1] = pair[2] = high * (1 - 1e-6); /* less than follows from a rho that is right */
      assert_int_equal(lip_check_claim(c, LIP_CHECK_PAIR, 0, 1, NULL, NULL), LIP_FORMAT);
      pair[1] = pair[2] = high;
      assert_int_equal(lip_check_claim(c, LIP_CHECK_PAIR, 0, 1, NULL, NULL), LIP_OK);
      radius = 0;
      claims.float32 = true; /* in exact arithmetic a label says nothing of what is executed */
      label = 1;
      assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, x, NULL), LIP_FORMAT);
      label = 0;
      assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, x, NULL), LIP_OK);
      claims.float32 = false;
      for (low = 0, high = 8; high - low > 1e-12;) {
        radius = low + (high - low) / 2;
        *(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, x, NULL) ? &high : &low) = radius;
      }
      assert_true(low <= 3 / exact);
      assert_true(low >= 3 / exact * (1 - 1e-6));
      lip_check_close(c);
    }
}

/* Two logits that float32 cannot tell apart everywhere: exact arithmetic grants a radius that executed labels break. */
static void a_tie_has_no_radius(void **state) {
  (void)state;
  float W[] = {0x1.8ffb3ep-1f, 0x1.8ffb4p-1f}, x = 0x1.955f56p-1f, label = 1;
  lip_check_layer layer = {.kind = LIP_CHECK_DENSE, .M = 2, .N = 1, .W = W};
  lip_check_net net = {1, 2, 1, &layer};
  int path[] = {2, 2};
  double norm = INFINITY, L = 0x1.000001p-24, pair[] = {0, L, L, 0}, radius = 0.5;
  lip_check_claims claims = {
      .dense = 1, .path = path, .norm = &norm, .pair = pair, .rows = 1, .label = &label, .radius = &radius};
  for (int f = 0; f < 2; f++) {
    lip_check *c;
    claims.float32 = f;
    assert_int_equal(lip_check_open(&net, &claims, &c, NULL), LIP_OK);
    assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, &x, NULL), f ? LIP_FORMAT : LIP_OK);
    radius = 1e-9;
    assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, &x, NULL), f ? LIP_FORMAT : LIP_OK);
    radius = 0.5;
    lip_check_close(c);
  }
}

/* A hidden bias of 1e6, taken away again afterwards: float32 loses what exact arithmetic keeps. */
static void large_biases_have_no_radius(void **state) {
  (void)state;
  float W1[] = {1, -1}, b1[] = {1e6f, 1e6f}, W2[] = {1, 0, 0, 1}, b2[] = {-1e6f, -1e6f}, x = 0.01f, label = 0;
  lip_check_layer layer[] = {{.kind = LIP_CHECK_DENSE, .M = 2, .N = 1, .W = W1, .b = b1},
                             {.kind = LIP_CHECK_LEAKY},
                             {.kind = LIP_CHECK_DENSE, .M = 2, .N = 2, .W = W2, .b = b2}};
  lip_check_net net = {1, 2, 3, layer};
  int path[] = {0, 0, 0};
  double norm[] = {1 + 1e-12, 1 + 1e-12}, pair[] = {0, 2 + 1e-9, 2 + 1e-9, 0}, radius = 0.009;
  lip_check_claims claims = {
      .dense = 2, .path = path, .norm = norm, .pair = pair, .rows = 1, .label = &label, .radius = &radius};
  for (int f = 0; f < 2; f++) {
    lip_check *c;
    claims.float32 = f;
    assert_int_equal(lip_check_open(&net, &claims, &c, NULL), LIP_OK);
    assert_int_equal(lip_check_claim(c, LIP_CHECK_NORM, 0, 0, NULL, NULL), LIP_OK);
    assert_int_equal(lip_check_claim(c, LIP_CHECK_NORM, 1, 0, NULL, NULL), LIP_OK);
    assert_int_equal(lip_check_claim(c, LIP_CHECK_PAIR, 0, 1, NULL, NULL), LIP_OK);
    assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, &x, NULL), f ? LIP_FORMAT : LIP_OK);
    lip_check_close(c);
  }
}

/* ---- what does not fit, and no memory ---- */

static void shapes_are_proved(void **state) {
  (void)state;
  lip_check *c;
  fixture f;
#define REFUSED(change)                                                                                      \
  do {                                                                                                       \
    check_fixture_init(&f, acts[5], 2, 1);                                                                   \
    make_proof(&f, 1);                                                                                       \
    change;                                                                                                  \
    assert_int_equal(lip_check_open(&f.net, &f.claims, &c, NULL), LIP_FORMAT);                               \
    assert_null(c);                                                                                          \
  } while (0)
  REFUSED(f.claims.dense = 2);
  REFUSED(f.claims.units = UNITS / 2 - 1);
  REFUSED(f.path[2] = 1);
  REFUSED(f.path[2] = 3);
  REFUSED(f.path[0] = f.path[1] = f.path[2] = 0);
  REFUSED(f.target[1] = C);
  REFUSED(f.target[1] = 0.5);
  REFUSED(f.target[0] = NAN);
  REFUSED(f.claims.evidence = 0);
  REFUSED(f.claims.targets = C * C);
  REFUSED(f.rho[0] = NAN);
  REFUSED(f.radius[ROWS - 1] = NAN);
  REFUSED(f.radius[1] = -1);
  REFUSED(f.label[2] = NAN);
  REFUSED(f.label[2] = C);
  for (size_t u = 0; u < f.claims.units; u++) {
    REFUSED(f.lambda[u] = NAN);
    REFUSED(f.lambda[u] = -1);
    REFUSED(f.lambda[u] = INFINITY);
  }
  REFUSED(f.W2[3] = NAN);
  REFUSED(f.W2[3] = INFINITY);
  REFUSED(f.b3[1] = -INFINITY);
  REFUSED(f.layer[2].N = H1 + 1);
  REFUSED(f.layer[1].kind = LIP_CHECK_LEAKY; f.layer[1].slope = NAN);
  REFUSED(f.layer[1].kind = LIP_CHECK_LEAKY; f.layer[1].slope = INFINITY);
  REFUSED(f.net.n_out = C + 1);
#undef REFUSED
}

static void memory_may_fail_anywhere(void **state) {
  (void)state;
  size_t before = lip_mem_used();
  for (size_t nth = 1, failed = 1; failed; nth++) {
    fixture f;
    lip_check *c;
    check_fixture_init(&f, acts[5], 2, 1);
    make_proof(&f, 1);
    f.claims.evidence |= LIP_CHECK_ABS;
    f.norm[0] = 100;
    f.rho[0] = 1e8;
    f.pair[1] = f.pair[C] = 1.1e4;   /* by the proof */
    f.pair[2] = f.pair[2 * C] = 500; /* by absolute values */
    lip_mem_fail_nth(nth);
    lip_status status = lip_check_open(&f.net, &f.claims, &c, NULL);
    lip_status rest[4] = {LIP_OK, LIP_OK, LIP_OK, LIP_OK};
    if (!status) {
      rest[0] = lip_check_claim(c, LIP_CHECK_NORM, 0, 0, NULL, NULL);
      rest[1] = lip_check_claim(c, LIP_CHECK_PAIR, 0, 1, NULL, NULL);
      rest[2] = lip_check_claim(c, LIP_CHECK_PAIR, 0, 2, NULL, NULL);
      rest[3] = lip_check_claim(c, LIP_CHECK_ROW, 0, 0, f.x, NULL);
    }
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    size_t seen = status == LIP_MEMORY;
    for (int i = 0; i < 4; i++) {
      assert_true(rest[i] == LIP_OK || rest[i] == LIP_MEMORY);
      seen += rest[i] == LIP_MEMORY;
    }
    assert_int_equal(seen, failed);
    if (!status) { /* with memory again all of it is confirmed */
      assert_int_equal(lip_check_claim(c, LIP_CHECK_PAIR, 1, 0, NULL, NULL), LIP_OK);
      assert_int_equal(lip_check_claim(c, LIP_CHECK_PAIR, 0, 2, NULL, NULL), LIP_OK);
    }
    lip_check_close(c);
    assert_int_equal(lip_mem_used(), before);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(norms_are_exact),
      cmocka_unit_test(pairs_are_never_below_the_truth),
      cmocka_unit_test(hostile_proofs_are_refused),
      cmocka_unit_test(radii_hold_in_float32),
      cmocka_unit_test(one_unit_is_exact),
      cmocka_unit_test(a_tie_has_no_radius),
      cmocka_unit_test(large_biases_have_no_radius),
      cmocka_unit_test(shapes_are_proved),
      cmocka_unit_test(memory_may_fail_anywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
