/* What activations do on intervals, and intervals and linear bounds over balls, against sampled points evaluated in long
 * double by loops of this file. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/cert/relax.h"
#include "support_cert.h"
#include "support_layer.h"

/* ---- the functions alone, with the default options of the kinds ---- */

/* The first unit. *error as in support_layer.h; a kind that has nothing to compare with says so. */
static bool value(const lip_layer *l, long double x, long double *y, double *error) {
  if (layer_unit(l, 0, x, y, error)) return true;
  print_message("%s: neither written out nor with a double mode, its range is not compared\n",
                l->kind->desc.name);
  return false;
}

/* Its parameters, if it has any, live until the next call. */
static lip_layer *alone(const lip_layer_kind *kind, size_t n, lip_spec **spec, lip_plan *plan) {
  lip_err err;
  lip_layer *l;
  *plan = (lip_plan){.seed = 1};
  *spec = lip_spec_new(kind);
  assert_non_null(*spec);
  if (lip_layer_new(*spec, &(lip_shape){1, {n, 0, 0}}, (lip_pq){LIP_P2, LIP_P2}, plan, &l, &err))
    fail_msg("%s", err.msg);
  static float numbers[LIP_LAYER_MAX_PARAMS][64];
  for (size_t i = 0; i < l->n_param; i++) {
    assert_true(lip_param_size(&l->param[i]) <= 64);
    l->param[i].value = numbers[i];
  }
  assert_int_equal(lip_layer_reset(l, 1, &err), LIP_OK);
  return l;
}

static double draw(lip_rng *rng, double spread) {
  float v;
  lip_rng_fill_normal(rng, &v, 1, 0, 1);
  return (double)v * spread;
}

/* Quotients of rounded values: right to what long double gives. */
static void check_range(const lip_layer *l, double from, double to, lip_rng *rng) {
  lip_range r;
  l->kind->range(l, 0, from, to, &r);
  assert_true(r.low <= r.high && r.least <= r.most);
  assert_true(r.curve >= -1 && r.curve <= 1);
  for (int i = 0; i < 20; i++) {
    float t[2];
    lip_rng_fill_uniform(rng, t, 2, 0, 1);
    long double a = (long double)from + ((long double)to - (long double)from) * (long double)t[0];
    long double b = (long double)from + ((long double)to - (long double)from) * (long double)t[1];
    long double fa, fb, middle;
    double error;
    if (!value(l, a, &fa, &error) || !value(l, b, &fb, &error) || !value(l, (a + b) / 2, &middle, &error))
      return;
    long double off = (long double)error * (fabsl(fa) + fabsl(fb));
    if (error > 1e-17) { /* arguments in double, too */
      long double steep = fmaxl(fabsl((long double)r.low), fabsl((long double)r.high));
      off += (long double)error * steep * (fabsl(a) + fabsl(b));
    }
    assert_true((long double)r.least <= fa + off && fa - off <= (long double)r.most);
    if (fabsl(a - b) > 1e-9L * (fabsl(a) + fabsl(b))) {
      long double slope = (fa - fb) / (a - b), loose = 4 * off / fabsl(a - b);
      assert_true((long double)r.low <= slope + loose && slope - loose <= (long double)r.high);
    }
    long double bend = (fa + fb) / 2 - middle;
    if (r.curve > 0) assert_true(bend >= -2 * off);
    if (r.curve < 0) assert_true(bend <= 2 * off);
  }
  /* a tangent at one point stays below or above */
  double c = from + 0.3 * (to - from);
  lip_range t;
  l->kind->range(l, 0, c, c, &t);
  long double ends[] = {from, to};
  for (int i = 0; i < 2; i++) {
    long double f, d = ends[i] - (long double)c;
    double error;
    if (!value(l, ends[i], &f, &error)) return;
    long double off = 1e-15L * fabsl(f) + 1e-300L;
    long double one = (long double)t.low * d, two = (long double)t.high * d;
    if (r.curve > 0) assert_true(f + off >= (long double)t.least + fminl(one, two));
    if (r.curve < 0) assert_true(f - off <= (long double)t.most + fmaxl(one, two));
  }
}

static void functions_stay_in_their_ranges(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  size_t kinds = 0;
  for (size_t i = 0; lip_layer_kind_at(i); i++) {
    const lip_layer_kind *kind = lip_layer_kind_at(i);
    assert_true(!kind->slopes == !kind->range);
    if (!kind->range) continue;
    lip_spec *spec;
    lip_plan plan;
    lip_layer *l = alone(kind, 4, &spec, &plan);
    static const double spreads[] = {1e-30, 1e-6, 0.1, 1, 10, 300};
    for (size_t s = 0; s < sizeof spreads / sizeof *spreads; s++)
      for (int n = 0; n < 200; n++) {
        double a = draw(&rng, spreads[s]), b = n % 10 == 0 ? 0 : draw(&rng, spreads[s]);
        check_range(l, fmin(a, b), fmax(a, b), &rng);
        check_range(l, a, a, &rng);
      }
    check_range(l, 0, 0, &rng);
    lip_layer_free(l);
    lip_spec_free(spec);
    kinds++;
  }
  assert_true(kinds >= 7);
}

/* ---- nets ---- */

enum { IN = 7, WIDE = 8, OUT = 4 };

typedef struct shape {
  const char *activation;
  size_t depth; /* hidden layers */
} shape;

static const shape shapes[] = {{"relu", 1},
                               {"relu", 3},
                               {"leaky_relu", 2},
                               {"abs", 2},
                               {"tanh", 2},
                               {"sigmoid", 3},
                               {"softplus", 2},
                               {"maxmin", 1},
                               {"maxmin", 3},
                               {"groupsort", 2},
                               {"fullsort", 1},
                               {"relu", 0},
                               {"dropout", 1},
                               {"standardise", 1},
                               {"residual {dense out=8;relu}", 2},
                               {"residual alpha=0.3 {dense out=8;relu;dense out=8}", 2},
                               {"residual mode=add {dense out=8;maxmin}", 1},
                               {"residual {residual mode=add {tanh};dense out=8};relu", 1},
                               {"residual alpha=0.25 {dense out=8};residual mode=add {leaky_relu}", 1},
                               {"sum weights=0.3 {chain {dense out=8;relu};chain {};dense out=8}", 2},
                               {"anchor at=0.7 value=-2 {dense out=8;relu;dense out=8}", 2},
                               {"centre;batch_norm;relu", 2},
                               {"standardise mean=0.1 std=0.3;maxmin", 2},
                               {"scale factor=-0.7;relu", 2},
                               {"sum {chain {dense out=8;relu;dense out=8};abs}", 2},
                               {"concat {chain {dense out=4;tanh};chain {dense out=4;maxmin}}", 2}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static lip_net *make_net(shape s, uint64_t seed, double spread) {
  piece p[16];
  if (strpbrk(s.activation, "{;")) {
    char text[400] = "";
    for (size_t i = 0; i < s.depth; i++) strcat(strcat(strcat(text, "dense out=8;"), s.activation), ";");
    return cert_build("2", (lip_shape){1, {IN}}, strcat(text, "dense out=4"), spread, seed);
  }
  size_t n = 0;
  for (size_t i = 0; i < s.depth; i++) {
    p[n++] = (piece){"dense", WIDE};
    p[n++] = (piece){s.activation, 0};
  }
  p[n++] = (piece){"dense", OUT};
  return cert_net("2", IN, p, n, spread, seed, NULL);
}

/* u of each block (units of affine.h) and the logits, for one input. */
static void walk(const lip_affine *a, const long double *x, long double u[][64], long double *z) {
  assert_true(a->n <= 16);
  long double y[64];
  memcpy(y, x, a->n_in * sizeof *y);
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *b = &a->block[l];
    for (size_t i = 0; i < b->M; i++) {
      z[i] = b->fold ? (long double)b->fold->c[i] : (long double)b->b[i];
      for (size_t k = 0; k < b->N; k++) z[i] += (long double)lip_block_weight(b, i * b->N + k) * y[k];
    }
    for (size_t i = 0; i < b->M; i++) {
      size_t m = b->mate ? b->mate[i] : i;
      u[l][i] = m == i ? z[i] : m > i ? z[i] + z[m] : z[m] - z[i];
      bool first = m > i ? b->descending : !b->descending; /* i gets the larger */
      double error;
      y[i] = m != i ? (first ? fmaxl(z[i], z[m]) : fminl(z[i], z[m])) : z[i];
      if (m == i && b->phi && i < b->n_phi) assert_true(layer_unit(b->phi, i, z[i], &y[i], &error));
    }
  }
}

static double norm_of(const double *d, size_t n, lip_p p) {
  double s = 0;
  for (size_t i = 0; i < n; i++)
    s = p == LIP_P1 ? s + fabs(d[i]) : p == LIP_P2 ? s + d[i] * d[i] : fmax(s, fabs(d[i]));
  return p == LIP_P2 ? sqrt(s) : s;
}

static const double zeros[IN] = {0}, ones[IN] = {1, 1, 1, 1, 1, 1, 1};

/* A point of the ball, mostly on its edge; corners for inf, single coordinates for 1. */
static void point(const lip_region *g, size_t n, lip_rng *rng, long double *x) {
  double d[IN];
  float t;
  lip_rng_fill_uniform(rng, &t, 1, 0, 1);
  for (size_t i = 0; i < n; i++) d[i] = draw(rng, 1);
  if (g->p == LIP_PINF && t < 0.7f)
    for (size_t i = 0; i < n; i++) d[i] = d[i] > 0 ? 1 : -1;
  if (g->p == LIP_P1 && t < 0.7f)
    for (size_t i = 0, k = (size_t)(t * 10) % n; i < n; i++) d[i] = i == k ? d[i] : 0;
  double size = norm_of(d, n, g->p), scale = (t > 0.95f ? 0.5 : 1) * g->eps / size * (1 - 1e-12);
  for (size_t i = 0; i < n; i++) {
    x[i] = (long double)g->x[i] + (long double)(d[i] * scale);
    if (g->boxed) x[i] = fminl(fmaxl(x[i], (long double)g->from[i]), (long double)g->to[i]);
  }
}

static void samples_are_inside(const lip_ranges *g, const lip_affine *a, const lip_region *region,
                               const double *low, lip_rng *rng) {
  for (int i = 0; i < 60; i++) {
    long double x[IN], u[16][64], z[64];
    point(region, a->n_in, rng, x);
    walk(a, x, u, z);
    for (size_t l = 0; l < a->n; l++) {
      const double *from, *to;
      lip_ranges_at(g, l, &from, &to);
      for (size_t k = 0; k < a->block[l].M; k++) {
        assert_true((long double)from[k] <= u[l][k] + 1e-17L * fabsl(u[l][k]));
        assert_true(u[l][k] - 1e-17L * fabsl(u[l][k]) <= (long double)to[k]);
      }
    }
    for (size_t j = 1; j < a->n_out; j++)
      assert_true((long double)low[j] <= z[0] - z[j] + 1e-17L * (fabsl(z[0]) + fabsl(z[j])));
  }
}

static double total_width(const lip_ranges *g, const lip_affine *a) {
  double sum = 0;
  for (size_t l = 0; l + 1 < a->n; l++) {
    const double *from, *to;
    lip_ranges_at(g, l, &from, &to);
    for (size_t k = 0; k < a->block[l].M; k++) sum += to[k] - from[k];
  }
  return sum;
}

static void check_region(const lip_affine *a, lip_ranges *g, const lip_region *region, lip_rng *rng) {
  double low[OUT], better[OUT];
  lip_ranges_start(g, region);
  lip_ranges_margins(g, 0, false, low);
  samples_are_inside(g, a, region, low, rng);
  double before = total_width(g, a);
  lip_ranges_margins(g, 0, true, better);
  samples_are_inside(g, a, region, better, rng);
  for (size_t j = 0; j < OUT; j++) assert_true(better[j] >= low[j]);
  lip_ranges_tighten(g);
  lip_ranges_margins(g, 0, true, better);
  samples_are_inside(g, a, region, better, rng);
  assert_true(total_width(g, a) <= before * (1 + 1e-12));
  assert_true(better[0] == 0);
  for (size_t j = 1; j < OUT; j++) assert_true(isfinite(better[j]));
}

static void every_sampled_point_is_inside(void **state) {
  (void)state;
  static const double sizes[] = {0, 1e-9, 1e-3, 0.05, 0.5, 5};
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 0);
  for (size_t s = 0; s < SHAPES; s++)
    for (int p = 0; p < 3; p++)
      for (uint64_t seed = 0; seed < 6; seed++) {
        lip_net *net = make_net(shapes[s], seed, seed == 5 ? 30 : 1.5);
        lip_err err;
        lip_affine a;
        lip_relax *r;
        lip_ranges *g;
        float x[IN];
        assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
        assert_null(a.unknown);
        assert_int_equal(lip_relax_new(&a, (lip_p)p, &r, &err), LIP_OK);
        assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
        lip_rng_fill_uniform(&rng, x, IN, 0, 1);
        for (size_t e = 0; e < sizeof sizes / sizeof *sizes; e++)
          for (int boxed = 0; boxed < 2; boxed++)
            check_region(
                &a, g,
                &(lip_region){x, (lip_p)p, sizes[e], boxed, zeros, ones, LIP_EXECUTED_EXACT, NULL, NULL},
                &rng);
        lip_ranges_free(g);
        lip_relax_free(r);
        lip_affine_free(&a);
        lip_net_free(net);
      }
}

/* ---- the net as executed ---- */

/* Float32 inputs of the ball: the distance is computed outwards. */
static void float_point(const lip_region *g, size_t n, lip_rng *rng, float *y) {
  long double x[IN];
  double d[IN];
  point(g, n, rng, x);
  for (size_t i = 0; i < n; i++) y[i] = (float)x[i];
  for (size_t i = 0; i < n; i++) d[i] = (double)y[i] - (double)g->x[i];
  if (norm_of(d, n, g->p) * (1 + 1e-14) > g->eps) memcpy(y, g->x, n * sizeof *y);
}

static void executed_margins_stay_above(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(8, LIP_RNG_USER, 0);
  enum { POINTS = 64 };
  for (size_t s = 0; s < SHAPES; s++)
    for (int p = 0; p < 3; p++)
      for (uint64_t seed = 0; seed < 4; seed++) {
        /* large weights and inputs: rounding errors are as large as the ball */
        lip_net *net = make_net(shapes[s], seed, 40);
        lip_err err;
        lip_affine a;
        lip_relax *r;
        lip_ranges *g;
        float x[IN], y[POINTS * IN];
        double low[OUT];
        assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
        assert_int_equal(lip_relax_new(&a, (lip_p)p, &r, &err), LIP_OK);
        assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
        assert_int_equal(lip_net_reserve(net, POINTS, &err), LIP_OK);
        lip_rng_fill_uniform(&rng, x, IN, 0, 1e4f);
        for (double eps = 0; eps < 1; eps = eps * 10 + 1e-4) {
          lip_region region = {x, (lip_p)p, eps, false, 0, 0, LIP_EXECUTED_FLOAT32, NULL, NULL};
          lip_ranges_start(g, &region);
          lip_ranges_tighten(g);
          lip_ranges_margins(g, 0, true, low);
          for (size_t i = 0; i < POINTS; i++) float_point(&region, IN, &rng, y + i * IN);
          lip_net_forward(net, y, POINTS, false);
          for (size_t i = 0; i < POINTS; i++)
            for (size_t j = 1; j < OUT; j++) {
              const float *z = net->logits + i * OUT;
              assert_true(low[j] <= (double)z[0] - (double)z[j]);
            }
        }
        lip_ranges_free(g);
        lip_relax_free(r);
        lip_affine_free(&a);
        lip_net_free(net);
      }
}

/* A linear net at one point: the executed difference of logits can be anywhere in the allowance, so the bound must be
 * below the exact one by about that much, and not by much more. */
static void allowance_is_there_and_small(void **state) {
  (void)state;
  lip_net *net = cert_net("2", IN, (piece[]){{"dense", OUT}}, 1, 1, 1, NULL);
  lip_err err;
  lip_affine a;
  lip_relax *r;
  lip_ranges *g;
  float x[IN] = {1, 2, 3, -4, 5, 6, 7};
  double exact[OUT], executed[OUT], size = 0;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_int_equal(lip_relax_new(&a, LIP_P2, &r, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
  lip_region region = {x, LIP_P2, 0, false, 0, 0, LIP_EXECUTED_EXACT, NULL, NULL};
  lip_ranges_start(g, &region);
  lip_ranges_margins(g, 0, true, exact);
  region.executed = LIP_EXECUTED_FLOAT32;
  lip_ranges_start(g, &region);
  lip_ranges_margins(g, 0, true, executed);
  for (size_t i = 0; i < 2; i++) {
    size += fabs((double)a.block[0].b[i]);
    for (size_t k = 0; k < IN; k++) size += fabs((double)a.block[0].W[i * IN + k] * (double)x[k]);
  }
  assert_true(exact[1] - executed[1] >= 0x1p-24 * size);
  assert_true(exact[1] - executed[1] <= (IN + 3) * 0x1p-24 * size);
  lip_ranges_free(g);
  lip_relax_free(r);
  lip_affine_free(&a);
  lip_net_free(net);
}

/* ---- how good the bounds are ---- */

/* Where every unit is stable the net is linear, and the bound is what the ball's edge attains. */
static void small_balls_are_tight(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(9, LIP_RNG_USER, 0);
  for (size_t s = 0; s < SHAPES; s++)
    for (int p = 0; p < 3; p++) {
      lip_net *net = make_net(shapes[s], 3, 1.5);
      lip_err err;
      lip_affine a;
      lip_relax *r;
      lip_ranges *g;
      float x[IN];
      double low[OUT], eps = 1e-6;
      assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
      assert_int_equal(lip_relax_new(&a, (lip_p)p, &r, &err), LIP_OK);
      assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
      lip_rng_fill_uniform(&rng, x, IN, 0, 1);
      lip_region region = {x, (lip_p)p, eps, false, 0, 0, LIP_EXECUTED_EXACT, NULL, NULL};
      lip_ranges_start(g, &region);
      lip_ranges_tighten(g);
      lip_ranges_margins(g, 0, true, low);
      long double at[IN], u[16][64], z[64], gradient[IN];
      for (size_t i = 0; i < IN; i++) at[i] = (long double)x[i];
      walk(&a, at, u, z);
      long double middle = z[0] - z[1];
      for (size_t i = 0; i < IN; i++) {
        at[i] += 1e-9L;
        walk(&a, at, u, z);
        gradient[i] = (z[0] - z[1] - middle) / 1e-9L;
        at[i] -= 1e-9L;
      }
      double v[IN];
      for (size_t i = 0; i < IN; i++) v[i] = (double)gradient[i];
      double expected = (double)middle - eps * norm_of(v, IN, lip_p_dual((lip_p)p));
      assert_true(fabs(low[1] - expected) <= 1e-5 * eps * norm_of(v, IN, lip_p_dual((lip_p)p)) + 1e-13);
      lip_ranges_free(g);
      lip_relax_free(r);
      lip_affine_free(&a);
      lip_net_free(net);
    }
}

/* relu(x) - relu(-x) = x and |x| <= 1 over the ball: y_1 - y_2 is x, which intervals do not see and lines do. */
static void lines_see_what_intervals_do_not(void **state) {
  (void)state;
  lip_net *net = cert_net("2", 1, (piece[]){{"dense", 2}, {"relu", 0}, {"dense", 2}}, 3, 0, 1, NULL);
  lip_err err;
  lip_affine a;
  lip_relax *r;
  lip_ranges *g;
  double low[2];
  cert_set_weights(net, 0, (float[]){1, -1});
  cert_set_weights(net, 1, (float[]){1, -1, 0, 0});
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_int_equal(lip_relax_new(&a, LIP_P2, &r, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
  lip_region region = {(float[]){0.5f}, LIP_P2, 1, false, 0, 0, LIP_EXECUTED_EXACT, NULL, NULL};
  lip_ranges_start(g, &region);
  lip_ranges_margins(g, 0, false, low);
  assert_true(fabs(low[1] + 0.5) < 1e-12); /* 0 - 0.5 */
  lip_ranges_margins(g, 0, true, low);
  assert_true(low[1] >= -0.5 - 1e-12); /* attained at -0.5 */
  /* the same over [0, 1.5] only: there it is exact by either */
  region.boxed = true, region.from = (double[]){0}, region.to = (double[]){2};
  lip_ranges_start(g, &region);
  lip_ranges_margins(g, 0, true, low);
  assert_true(fabs(low[1]) < 1e-12);
  lip_ranges_free(g);
  lip_relax_free(r);
  lip_affine_free(&a);
  lip_net_free(net);
}

/* ---- hostile ---- */

static void hostile_regions_are_unknown(void **state) {
  (void)state;
  static const double sizes[] = {NAN, INFINITY, -1, 1e308, 1e200};
  static const float values[] = {NAN, INFINITY, -INFINITY};
  for (size_t s = 0; s < SHAPES; s++) {
    lip_net *net = make_net(shapes[s], 1, 1);
    lip_err err;
    lip_affine a;
    lip_relax *r;
    lip_ranges *g;
    float x[IN] = {0};
    double low[OUT];
    assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
    assert_int_equal(lip_relax_new(&a, LIP_P2, &r, &err), LIP_OK);
    assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
    for (int executed = 0; executed < 2; executed++) {
      for (size_t i = 0; i < 5 + 3; i++) {
        for (size_t k = 0; k < IN; k++) x[k] = 0.25f;
        if (i >= 5) x[2] = values[i - 5];
        lip_region region = {x,    LIP_P2, i < 5 ? sizes[i] : 0.1, false, 0, 0, (lip_executed)executed,
                             NULL, NULL};
        lip_ranges_start(g, &region);
        lip_ranges_tighten(g);
        lip_ranges_margins(g, 0, true, low);
        for (size_t j = 1; j < OUT; j++)
          assert_true(i < 3 || i >= 5 ? low[j] == -INFINITY : low[j] < INFINITY);
      }
      /* a weight that is not a number, and one that overflows */
      for (int i = 0; i < 2; i++) {
        lip_layer *l = lip_net_weighted_layer(net, 0);
        float kept = l->param[0].value[1];
        l->param[0].value[1] = i ? 3e38f : NAN;
        lip_affine b;
        lip_relax *rb;
        lip_ranges *gb;
        assert_int_equal(lip_affine_init(&b, net, &err), LIP_OK);
        assert_int_equal(lip_relax_new(&b, LIP_PINF, &rb, &err), LIP_OK);
        assert_int_equal(lip_ranges_new(rb, &gb, &err), LIP_OK);
        for (size_t k = 0; k < IN; k++) x[k] = 3;
        lip_region region = {x, LIP_PINF, 0.1, false, 0, 0, (lip_executed)executed, NULL, NULL};
        lip_ranges_start(gb, &region);
        lip_ranges_tighten(gb);
        lip_ranges_margins(gb, 0, true, low);
        bool bounded = i && !executed; /* in exact arithmetic it is a number like others */
        for (size_t j = 1; j < OUT && !bounded; j++) assert_true(low[j] == -INFINITY);
        lip_ranges_free(gb);
        lip_relax_free(rb);
        lip_affine_free(&b);
        l->param[0].value[1] = kept;
      }
    }
    lip_ranges_free(g);
    lip_relax_free(r);
    lip_affine_free(&a);
    lip_net_free(net);
  }
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_net *net = make_net((shape){"maxmin", 2}, 1, 1);
  float x[IN] = {0};
  bool done = false;
  for (size_t n = 1; !done; n++) {
    assert_true(n < 500);
    lip_err err;
    lip_affine a, narrow = {0};
    lip_relax *r = NULL;
    lip_ranges *g = NULL;
    lip_mem_fail_nth(n);
    lip_status status = lip_affine_init(&a, net, &err);
    if (!status) status = lip_relax_new(&a, LIP_P2, &r, &err);
    if (!status) status = lip_ranges_new(r, &g, &err);
    if (!status) {
      lip_ranges_start(g, &(lip_region){x, LIP_P2, 0.1, false, 0, 0, LIP_EXECUTED_EXACT, NULL, NULL});
      status = lip_ranges_affine(g, &narrow, &err);
    }
    lip_mem_fail_nth(0);
    done = status == LIP_OK;
    assert_true(done || status == LIP_MEMORY);
    lip_ranges_free(g);
    lip_relax_free(r);
    lip_affine_free(&a);
    lip_affine_free(&narrow);
  }
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(functions_stay_in_their_ranges), cmocka_unit_test(every_sampled_point_is_inside),
      cmocka_unit_test(executed_margins_stay_above),    cmocka_unit_test(allowance_is_there_and_small),
      cmocka_unit_test(small_balls_are_tight),          cmocka_unit_test(lines_see_what_intervals_do_not),
      cmocka_unit_test(hostile_regions_are_unknown),    cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
