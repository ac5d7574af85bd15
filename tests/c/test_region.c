/* Balls cut by boxes, with a scale: how far rows fall over them, against the optimality conditions in long double, and
 * nets of all kinds at the extreme points. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/cert/local.h"
#include "core/cert/relax_parts.h"
#include "support_cert.h"

enum { MOST = 41, OUT = 4, WIDE = 8 };

/* Numbers of one region, of different kinds by `rng`. */
typedef struct scene {
  size_t n;
  float x[MOST];
  double from[MOST], to[MOST], scale[MOST];
  lip_region region;
} scene;

static double uniform(lip_rng *rng) {
  return lip_rng_uniform(rng);
}

static double power(lip_rng *rng, double bits) {
  return exp2(bits * (2 * uniform(rng) - 1));
}

/* Limits of a coordinate: a point, one side or none, x on the border or well inside. */
static void make_limits(double x, double size, lip_rng *rng, double *from, double *to) {
  uint64_t kind = lip_rng_below(rng, 8);
  *from = x - size * uniform(rng);
  *to = x + size * uniform(rng);
  if (kind == 0) *from = *to = x;
  if (kind == 1 || kind == 2) *from = -INFINITY;
  if (kind == 2 || kind == 3) *to = INFINITY;
  if (kind == 4) *from = x;
  if (kind == 5) *to = x;
}

static void make_scene(scene *s, size_t n, lip_p p, bool scaled, bool boxed, lip_rng *rng) {
  double eps = power(rng, 8), wide = power(rng, 6);
  s->n = n;
  for (size_t k = 0; k < n; k++) {
    s->scale[k] = lip_rng_below(rng, 5) ? power(rng, 3) : 0;
    s->x[k] = (float)(lip_rng_below(rng, 3) ? lip_rng_normal(rng) : 0);
    double size = 2 * wide * eps * (scaled ? s->scale[k] : 1) * pow((double)n, p == LIP_P2 ? -0.5 : -0.8);
    make_limits((double)s->x[k], size, rng, &s->from[k], &s->to[k]);
  }
  s->region = (lip_region){.x = s->x,
                           .p = p,
                           .eps = eps,
                           .boxed = boxed,
                           .from = s->from,
                           .to = s->to,
                           .executed = LIP_EXECUTED_EXACT,
                           .scale = scaled ? s->scale : NULL};
}

/* How far coordinate k may go against the sign of g, in the ball's units. */
static long double cap_of(const lip_region *r, size_t k, double g) {
  long double x = (long double)r->x[k], s = r->scale ? (long double)r->scale[k] : 1,
              eps = (long double)r->eps;
  if (s == 0 || g == 0) return 0;
  if (!r->boxed) return eps;
  long double way = g > 0 ? x - (long double)r->from[k] : (long double)r->to[k] - x;
  return fminl(eps, way / s);
}

static int falling(const void *a, const void *b) {
  long double u = **(const long double *const *)a, v = **(const long double *const *)b;
  return u < v ? 1 : u > v ? -1 : 0;
}

static long double length(const long double *m, const long double *c, size_t n, long double t) {
  long double sum = 0;
  for (size_t k = 0; k < n; k++) {
    long double v = fminl(t * m[k], c[k]);
    sum += v * v;
  }
  return sqrtl(sum);
}

/* d (n) where g . d is least over the region, and that value without its sign. */
static long double extreme(const lip_region *r, size_t n, const double *g, long double *d) {
  long double m[MOST], c[MOST], e[MOST] = {0}, left = (long double)r->eps, value = 0;
  const long double *order[MOST];
  for (size_t k = 0; k < n; k++) {
    m[k] = fabsl((long double)g[k]) * (r->scale ? (long double)r->scale[k] : 1);
    c[k] = cap_of(r, k, g[k]);
    order[k] = &m[k];
  }
  qsort(order, n, sizeof *order, falling);
  long double low = 0, high = 1;
  for (size_t k = 0; k < n; k++) high = m[k] > 0 && c[k] > 0 ? fmaxl(high, c[k] / m[k]) : high;
  for (int i = 0; i < 200 && r->p == LIP_P2; i++) {
    long double t = (low + high) / 2;
    *(length(m, c, n, t) > left ? &high : &low) = t;
  }
  for (size_t i = 0; i < n; i++) {
    size_t k = (size_t)(order[i] - m);
    e[k] = r->p == LIP_PINF ? c[k] : r->p == LIP_P2 ? fminl(low * m[k], c[k]) : fminl(left, c[k]);
    if (r->p == LIP_P1) left -= e[k];
  }
  for (size_t k = 0; k < n; k++) {
    value += m[k] * e[k];
    d[k] = (g[k] > 0 ? -e[k] : e[k]) * (r->scale ? (long double)r->scale[k] : 1);
  }
  return value;
}

static void draw_row(double *g, size_t n, lip_rng *rng) {
  double size = power(rng, 100);
  for (size_t k = 0; k < n; k++)
    g[k] =
        lip_rng_below(rng, 6) ? size * lip_rng_normal(rng) * (lip_rng_below(rng, 3) ? 1 : power(rng, 20)) : 0;
}

/* Relaxation of a net, and room for one region. */
typedef struct sight {
  lip_net *net;
  lip_affine a;
  lip_relax *r;
  lip_ranges *g;
} sight;

/* *s stays where it is: the relaxation looks into it. */
static void look(sight *s, lip_net *net, lip_p p) {
  lip_err err;
  s->net = net;
  assert_int_equal(lip_affine_init(&s->a, net, &err), LIP_OK);
  assert_null(s->a.unknown);
  assert_int_equal(lip_relax_new(&s->a, p, &s->r, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(s->r, &s->g, &err), LIP_OK);
}

static void look_away(sight *s) {
  lip_ranges_free(s->g);
  lip_relax_free(s->r);
  lip_affine_free(&s->a);
  lip_net_free(s->net);
}

/* How far a row falls, the same with its zeros left out. */
static double away_of(lip_ranges *g, const double *row, size_t n, bool rise) {
  double v[MOST], whole = lip_region_away(g, (lip_row){row, NULL, n}, rise);
  uint32_t at[MOST];
  size_t m = 0;
  for (size_t k = 0; k < n; k++)
    if (row[k] != 0) v[m] = row[k], at[m++] = (uint32_t)k;
  double part = lip_region_away(g, (lip_row){v, at, m}, rise);
  assert_true(!(fabs(part - whole) > 1e-6 * whole));
  return rise ? whole : part;
}

static void rows_fall_as_far_as_they_can(void **state) {
  (void)state;
  static const size_t lengths[] = {1, 2, 7, 8, 9, 16, MOST};
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  size_t between = 0, all = 0;
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
    for (int p = 0; p < 2; p++) {
      size_t n = lengths[i];
      sight v;
      look(&v, cert_net("2", n, (piece[]){{"dense", OUT}}, 1, 1, 1, NULL), (lip_p)p);
      for (int t = 0; t < 3000; t++) {
        scene s;
        double g[MOST];
        long double d[MOST], fall, rise;
        make_scene(&s, n, (lip_p)p, t % 3 == 0, t % 5 != 0, &rng);
        draw_row(g, n, &rng);
        lip_ranges_start(v.g, &s.region);
        fall = extreme(&s.region, n, g, d);
        long double away = (long double)away_of(v.g, g, n, false);
        assert_true(away >= fall * (1 - 0x1p-60L));
        assert_true(away <= fall * (1 + 1e-5L) + 1e-80L);
        for (size_t k = 0; k < n; k++) g[k] = -g[k];
        rise = extreme(&s.region, n, g, d);
        for (size_t k = 0; k < n; k++) g[k] = -g[k];
        away = (long double)away_of(v.g, g, n, true);
        assert_true(away >= rise * (1 - 0x1p-60L) && away <= rise * (1 + 1e-5L) + 1e-80L);
        /* neither the ball alone nor the box alone */
        scene ball = s, box = s;
        ball.region.boxed = false;
        box.region.p = LIP_PINF;
        long double alone = fminl(extreme(&ball.region, n, g, d), extreme(&box.region, n, g, d));
        between += fall < 0.95L * alone;
        all++;
      }
      look_away(&v);
    }
  assert_true(between > all / 10);
}

/* Every unit of the first matrix attains its interval, but for a few parts in a million. */
static void first_units_are_exact(void **state) {
  (void)state;
  static const char *const kinds[] = {"relu", "maxmin", "fullsort"};
  lip_rng rng = lip_rng_new(2, LIP_RNG_USER, 0);
  for (int t = 0; t < 300; t++) {
    lip_p p = (lip_p)(t % 3);
    size_t n = 1 + lip_rng_below(&rng, MOST);
    sight v;
    look(&v,
         cert_net("2", n, (piece[]){{"dense", WIDE}, {kinds[t % 3], 0}, {"dense", OUT}}, 3, 1, (uint64_t)t,
                  NULL),
         p);
    scene s;
    make_scene(&s, n, p, t % 2, t % 5 != 0, &rng);
    lip_ranges_start(v.g, &s.region);
    const double *from, *to;
    lip_ranges_at(v.g, 0, &from, &to);
    const lip_block *b = &v.a.block[0];
    for (size_t k = 0; k < b->M; k++) {
      size_t m = b->mate ? b->mate[k] : k;
      if (m < k) continue; /* a difference is known more closely: from the two values */
      double row[MOST], less[MOST], at = (double)b->b[k] + (m == k ? 0 : (double)b->b[m]), size = fabs(at);
      long double d[MOST];
      for (size_t i = 0; i < n; i++) {
        row[i] = (double)b->W[k * n + i] + (m == k ? 0 : (double)b->W[m * n + i]);
        less[i] = -row[i];
        at += row[i] * (double)s.x[i];
        size += fabs(row[i] * (double)s.x[i]);
      }
      double fall = (double)extreme(&s.region, n, row, d), rise = (double)extreme(&s.region, n, less, d);
      double off = 1e-5 * (fall + rise) + 1e-9 * size, few = 1e-15 * (double)n * (size + fall + rise);
      assert_true(from[k] <= at - fall + few && from[k] >= at - fall - off);
      assert_true(to[k] >= at + rise - few && to[k] <= at + rise + off);
    }
    look_away(&v);
  }
}

/* ---- whole nets at extreme points ---- */

static const char *const nets[] = {"dense out=8;relu;dense out=8;relu;dense out=4",
                                   "dense out=8;maxmin;dense out=8;maxmin;dense out=4",
                                   "dense out=8;tanh;residual {dense out=8;relu};dense out=4",
                                   "relu;dense out=8;abs;dense out=4",
                                   "groupsort size=4;dense out=4",
                                   "dense out=4",
                                   "concat {chain {dense out=4;maxmin};chain {leaky_relu}};dense out=4"};
enum { NETS = sizeof nets / sizeof *nets, N = 8, POINTS = 48 };

/* Float32 points of the region: extreme ones for rows at random, rounded towards x. */
static void float_points(const lip_region *r, lip_rng *rng, float *y) {
  for (size_t i = 0; i < POINTS; i++) {
    double g[N];
    long double d[N];
    for (size_t k = 0; k < N; k++) g[k] = lip_rng_normal(rng);
    extreme(r, N, g, d);
    for (size_t k = 0; k < N; k++) {
      float x = r->x[k], f = (float)((long double)x + d[k]);
      while (f != x && fabsl((long double)f - (long double)x) > fabsl(d[k]) * (1 - 1e-12L))
        f = nextafterf(f, x);
      y[i * N + k] = f;
    }
  }
}

static void executed_nets_stay_above(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  for (size_t i = 0; i < NETS; i++)
    for (int t = 0; t < 120; t++) {
      lip_p p = (lip_p)(t % 3);
      lip_net *net = cert_build("2", (lip_shape){1, {N}}, nets[i], t % 2 ? 1.5 : 30, (uint64_t)t);
      sight v;
      look(&v, net, p);
      lip_err err;
      float y[POINTS * N];
      double low[OUT];
      scene s;
      make_scene(&s, N, p, t % 4 < 2, t % 5 != 0, &rng);
      s.region.executed = LIP_EXECUTED_FLOAT32;
      if (t % 7 == 0) s.region.eps *= 1e-6; /* rounding errors beside the ball */
      assert_int_equal(lip_net_reserve(net, POINTS, &err), LIP_OK);
      lip_ranges_start(v.g, &s.region);
      lip_ranges_tighten(v.g);
      lip_ranges_margins(v.g, 0, true, low);
      float_points(&s.region, &rng, y);
      lip_net_forward(net, y, POINTS, false);
      for (size_t r = 0; r < POINTS; r++)
        for (size_t j = 1; j < OUT; j++) {
          const float *z = net->logits + r * OUT;
          assert_true(isfinite(low[j]) && low[j] <= (double)z[0] - (double)z[j]);
        }
      look_away(&v);
    }
}

/* ---- regions that say little ---- */

static void hostile_scales_and_boxes(void **state) {
  (void)state;
  enum { n = 9 };
  static const double bad[] = {NAN, INFINITY, -INFINITY, -1};
  double g[n], scale[n], from[n], to[n];
  float x[n];
  for (size_t p = 0; p < 3; p++) {
    sight v;
    look(&v, cert_net("2", n, (piece[]){{"dense", WIDE}, {"relu", 0}, {"dense", OUT}}, 3, 1, 1, NULL),
         (lip_p)p);
    for (size_t k = 0; k < n; k++) g[k] = 1, scale[k] = 1, x[k] = 0.5f, from[k] = 0, to[k] = 1;
    lip_region r = {.x = x, .p = (lip_p)p, .eps = 0.3, .boxed = true, .from = from, .to = to, .scale = scale};
    double low[OUT], cut[OUT], whole[OUT];
    for (size_t i = 0; i < 4; i++) { /* scales that are none: unknown */
      scale[n - 1] = bad[i];
      lip_ranges_start(v.g, &r);
      lip_ranges_margins(v.g, 0, true, low);
      for (size_t j = 1; j < OUT; j++) assert_true(low[j] == -INFINITY);
    }
    scale[n - 1] = 1;
    lip_ranges_start(v.g, &r);
    lip_ranges_margins(v.g, 0, true, cut);
    r.boxed = false;
    lip_ranges_start(v.g, &r);
    lip_ranges_margins(v.g, 0, true, whole);
    r.boxed = true;
    /* limits that are no numbers, or that leave x outside, cut nothing */
    for (size_t i = 0; i < 3; i++) {
      double *at[] = {&from[n - 1], &to[n - 1], &to[0]}, kept = *at[i];
      *at[i] = i < 2 ? (double)NAN : 0.25;
      lip_ranges_start(v.g, &r);
      lip_ranges_margins(v.g, 0, true, low);
      for (size_t j = 1; j < OUT; j++) assert_true(low[j] == whole[j] && low[j] <= cut[j]);
      *at[i] = kept;
    }
    /* NaN and infinity in a row */
    for (size_t i = 0; i < 3 && p < 2; i++) {
      g[3] = bad[i];
      lip_ranges_start(v.g, &r);
      assert_true(!(lip_region_away(v.g, (lip_row){g, NULL, n}, false) < INFINITY));
      assert_true(!(lip_region_away(v.g, (lip_row){g, NULL, n}, true) < INFINITY));
      g[3] = 1;
    }
    look_away(&v);
  }
}

/* A scale of one number is a ball of another size, for verdicts, too. */
static void equal_scales_are_sizes(void **state) {
  (void)state;
  enum { ROWS = 12 };
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = cert_build("2", (lip_shape){1, {N}}, nets[0], 1.5, 7);
    double scale[N], eps[2][3] = {{0.05, 0.25, 1}, {0.1, 0.5, 2}};
    float x[ROWS * N];
    lip_radius r[2][ROWS];
    lip_err err;
    for (size_t k = 0; k < N; k++) scale[k] = 2;
    lip_rng_fill_normal(&rng, x, ROWS * N, 0, 1);
    assert_int_equal(lip_net_reserve(net, ROWS, &err), LIP_OK);
    for (size_t i = 0; i < 2; i++) {
      lip_certifier *global;
      lip_local *local;
      lip_local_conf conf = {.p = (lip_p)p, .eps = eps[i], .n_eps = 3, .executed = LIP_EXECUTED_FLOAT32};
      if (i == 0) conf.scale = scale;
      assert_int_equal(lip_certifier_new(net, NULL, &global, &err), LIP_OK);
      assert_int_equal(lip_certify(global, x, ROWS, r[i], &err), LIP_OK);
      if (p != LIP_P2) /* the certifier speaks of norm 2 */
        for (size_t k = 0; k < ROWS; k++) r[i][k].radius = 0;
      assert_int_equal(lip_local_new(net, &conf, &local, &err), LIP_OK);
      assert_int_equal(lip_local_certify(local, x, ROWS, r[i], &err), LIP_OK);
      lip_local_free(local);
      lip_certifier_free(global);
    }
    for (size_t k = 0; k < ROWS; k++) {
      assert_true(2 * r[0][k].radius <= r[1][k].radius);
      assert_true(2 * r[0][k].radius >= r[1][k].radius * (1 - 1e-12));
    }
    lip_net_free(net);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_fall_as_far_as_they_can), cmocka_unit_test(first_units_are_exact),
      cmocka_unit_test(executed_nets_stay_above),     cmocka_unit_test(hostile_scales_and_boxes),
      cmocka_unit_test(equal_scales_are_sizes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
