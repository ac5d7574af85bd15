/* What is proved of balls around a point, beside the exact answer: nets with two free inputs, all of whose linear pieces
 * over the region are looked at, one after the other. Where a piece says that a bound is tightest, the net is worked out in
 * rational numbers at a point of doubles (or executed at one of floats) that lies in the region for sure. No tolerance
 * anywhere. Needs GMP; without it the test says so. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef LIP_MPFR
int main(void) {
  puts("skipped: built without MPFR and GMP (Debian: libmpfr-dev)");
  return 77;
}
#else

#include "core/base/mem.h"
#include "core/cert/local.h"
#include "support_cert.h"
#include "support_exact.h"

enum { NETS = 2000, MOST = 12, PIECES = 400, KEPT = 12 };

static const char *const shapes[] = {
    "dense out=5;relu;dense out=4;relu;dense out=3",
    "dense out=6;maxmin;dense out=4;maxmin;dense out=3",
    "dense out=4;abs;dense out=4;leaky_relu slope=0.2;dense out=4",
    "dense out=6;groupsort size=3;dense out=4;relu;dense out=2",
    "standardise mean=0.3 std=0.7;dense out=5;relu;dense out=5;relu;dense out=3",
    "dense out=4;residual alpha=0.3 {dense out=4;relu};abs;dense out=3",
    "dense out=4;residual mode=add {dense out=4;maxmin};relu;dense out=3",
    "concat {chain {dense out=4;relu;dense out=2};dense out=3};relu;dense out=3",
    "sum weights=0.7 {chain {dense out=4;relu};chain {dense out=4;abs}};dense out=3",
    "dense out=4;fullsort;dense out=3;scale factor=-2;relu;dense out=3",
    "dense out=3;relu;dense out=3;relu;dense out=3;relu;dense out=3;relu;dense out=3",
    "dense out=3",
};
static const char *const images[] = {
    "conv2d channels=2 kernel=2;relu;flatten;dense out=3",
    "conv2d channels=2 kernel=2;max_pool2d kernel=2;flatten;dense out=4;relu;dense out=3",
    "avg_pool2d kernel=2 stride=1;conv2d channels=2 kernel=2;abs;flatten;dense out=3",
};
enum { SHAPES = sizeof shapes / sizeof *shapes, IMAGES = sizeof images / sizeof *images };

typedef struct rig {
  size_t seed, C;
  lip_net *net;
  exact_net exact;
  double centre[MOST], scale[MOST], from[MOST], to[MOST];
  float x[MOST];
  exact_region region;
  /* candidates for the least row . z + constant, by value in double */
  double row[MOST], constant;
  double value[KEPT], u[KEPT][2];
  size_t kept;
} rig;

static double uniform(lip_rng *rng, double low, double high) {
  return low + (high - low) * lip_rng_uniform(rng);
}

/* Two coordinates are free, the others have scale 0; with and without a box, which may cut at the centre itself. */
static void random_region(rig *r, lip_rng *rng) {
  size_t n = r->net->root->n_in, a = (size_t)lip_rng_below(rng, n),
         b = (a + 1 + lip_rng_below(rng, n - 1)) % n;
  bool boxed = lip_rng_below(rng, 3) > 0, scaled = lip_rng_below(rng, 2) > 0;
  for (size_t k = 0; k < n; k++) {
    r->x[k] = (float)uniform(rng, -1, 1);
    if (lip_rng_below(rng, 8) == 0) r->x[k] = 0;
    r->centre[k] = (double)r->x[k];
    r->scale[k] = k != a && k != b ? 0 : scaled ? uniform(rng, 0.2, 3) : 1;
    r->from[k] = boxed ? r->centre[k] - (lip_rng_below(rng, 4) ? uniform(rng, 0, 0.5) : 0) : -INFINITY;
    r->to[k] = boxed ? r->centre[k] + (lip_rng_below(rng, 4) ? uniform(rng, 0, 0.5) : 0) : INFINITY;
  }
  static const lip_p p[] = {LIP_P1, LIP_P2, LIP_PINF};
  r->region = (exact_region){
      r->centre, r->scale, r->from, r->to, n, p[lip_rng_below(rng, 3)], exp(uniform(rng, -4, 0.3))};
}

static void rig_open(rig *r, size_t seed, lip_rng *rng) {
  size_t kind = seed % (SHAPES + IMAGES);
  const char *text = kind < SHAPES ? shapes[kind] : images[kind - SHAPES];
  lip_shape in = kind < SHAPES ? (lip_shape){1, {2 + lip_rng_below(rng, 3)}} : (lip_shape){3, {1, 3, 3}};
  *r = (rig){.seed = seed};
  r->net = cert_build("2", in, text, 1.5, seed);
  r->C = r->net->root->n_out;
  if (!exact_init(&r->exact, r->net)) fail_msg("'%s' is not written out", text);
  random_region(r, rng);
}

static void rig_close(rig *r) {
  exact_free(&r->exact);
  lip_net_free(r->net);
}

/* ---- where a bound would break ---- */

static void keep(rig *r, double value, const double u[2]) {
  size_t at = r->kept;
  if (at == KEPT) {
    at = 0;
    for (size_t i = 1; i < KEPT; i++)
      if (r->value[i] > r->value[at]) at = i;
    if (!(value < r->value[at])) return;
  } else {
    r->kept++;
  }
  r->value[at] = value;
  memcpy(r->u[at], u, sizeof r->u[at]);
}

static void consider(rig *r, const double *h, const double *u) {
  keep(r, h[0] + h[1] * u[0] + h[2] * u[1], u);
}

/* Points of the edge a b on the circle. */
static void on_circle(rig *r, const double *h, const double *a, const double *b) {
  double d[2] = {b[0] - a[0], b[1] - a[1]}, eps = r->region.eps;
  double A = d[0] * d[0] + d[1] * d[1], B = a[0] * d[0] + a[1] * d[1],
         C = a[0] * a[0] + a[1] * a[1] - eps * eps;
  double root = B * B - A * C;
  if (!(root >= 0) || !(A > 0)) return;
  for (int s = -1; s <= 1; s += 2) {
    double t = (-B + s * sqrt(root)) / A, u[2] = {a[0] + t * d[0], a[1] + t * d[1]};
    if (t >= 0 && t <= 1) consider(r, h, u);
  }
}

static bool within(const double (*u)[2], size_t n, const double *v) {
  for (size_t i = 0; i < n; i++) {
    const double *a = u[i], *b = u[(i + 1) % n];
    if ((b[0] - a[0]) * (v[1] - a[1]) - (b[1] - a[1]) * (v[0] - a[0]) < -1e-12) return false;
  }
  return true;
}

/* The least value of a linear form over a piece, cut with the disc for p = 2: at a corner, on an edge, or on the arc. */
static void piece_seen(void *arg, const double (*u)[2], size_t n, double (*form)[3]) {
  rig *r = arg;
  double h[3] = {r->constant}, eps = r->region.eps;
  for (int q = 0; q < 3; q++)
    for (size_t j = 0; j < r->C; j++) h[q] += r->row[j] * form[j][q];
  for (size_t i = 0; i < n; i++) {
    bool in = r->region.p != LIP_P2 || u[i][0] * u[i][0] + u[i][1] * u[i][1] <= eps * eps;
    if (in) consider(r, h, u[i]);
    if (r->region.p == LIP_P2) on_circle(r, h, u[i], u[(i + 1) % n]);
  }
  double g = sqrt(h[1] * h[1] + h[2] * h[2]), v[2] = {-eps * h[1] / g, -eps * h[2] / g};
  if (r->region.p == LIP_P2 && g > 0 && within(u, n, v)) consider(r, h, v);
}

static void search(rig *r, const double *row, double constant) {
  memcpy(r->row, row, r->C * sizeof *row);
  r->constant = constant;
  r->kept = 0;
  exact_pieces(&r->exact, &r->region, PIECES, piece_seen, r);
}

/* ---- claims ---- */

static int32_t label_of(const float *z, size_t C) {
  size_t top = 0;
  for (size_t j = 1; j < C; j++)
    if (z[j] > z[top]) top = j;
  return (int32_t)top;
}

/* The floats next to x on the centre's side; they lie in the region when x does. */
static bool to_floats(const rig *r, const double *x, float *out) {
  double back[MOST];
  for (size_t k = 0; k < r->region.n; k++) {
    float f = (float)x[k];
    if (fabs((double)f - r->centre[k]) > fabs(x[k] - r->centre[k])) f = nextafterf(f, r->x[k]);
    out[k] = f;
    back[k] = (double)f;
  }
  return exact_inside(&r->region, back);
}

static const float *executed(const rig *r, const float *x) {
  lip_net_forward(r->net, x, 1, false);
  return r->net->logits;
}

typedef struct tally {
  size_t claims, points, tight; /* bounds looked at; points tried; bounds within 1 % of what is attained */
} tally;

/* row . z + constant in rational numbers, into `sum`. */
static void value_of(const rig *r, mpq_t *z, mpq_t sum) {
  mpq_t t;
  mpq_init(t);
  mpq_set_d(sum, r->constant);
  for (size_t j = 0; j < r->C; j++) {
    mpq_set_d(t, r->row[j]);
    mpq_mul(t, t, z[j]);
    mpq_add(sum, sum, t);
  }
  mpq_clear(t);
}

/* low <= row . z + constant at all that was kept, z exact or as executed. Returns the least value that was met. */
static double check_low(rig *r, double low, lip_executed how, tally *t) {
  mpq_t z[MOST], bound, value;
  double x[MOST], least = INFINITY;
  float f[MOST];
  mpq_inits(bound, value, NULL);
  for (size_t j = 0; j < MOST; j++) mpq_init(z[j]);
  mpq_set_d(bound, low);
  for (size_t i = 0; i < r->kept; i++) {
    if (!exact_point(&r->region, r->u[i], x)) continue;
    if (how == LIP_EXECUTED_FLOAT32 && !to_floats(r, x, f)) continue;
    if (how == LIP_EXECUTED_FLOAT32)
      for (size_t j = 0; j < r->C; j++) mpq_set_d(z[j], (double)executed(r, f)[j]);
    else
      exact_at(&r->exact, x, z);
    t->points++;
    value_of(r, z, value);
    least = fmin(least, mpq_get_d(value));
    if (mpq_cmp(value, bound) < 0)
      fail_msg("net %zu: %.17g is claimed of the %s net, and %.17g attained", r->seed, low,
               how == LIP_EXECUTED_FLOAT32 ? "executed" : "exact", mpq_get_d(value));
  }
  for (size_t j = 0; j < MOST; j++) mpq_clear(z[j]);
  mpq_clears(bound, value, NULL);
  return least;
}

/* The differences to one class, and two rows of a specification. */
static size_t make_rows(const rig *r, double *rows, double *constants) {
  size_t y = r->seed % r->C, m = 0;
  lip_rng rng = lip_rng_new(r->seed, LIP_RNG_USER, 22);
  for (size_t j = 0; j < r->C + 2; j++) {
    double *row = rows + m * r->C;
    if (j == y) continue;
    for (size_t k = 0; k < r->C; k++)
      row[k] = j >= r->C ? uniform(&rng, -2, 2) : (double)(k == y) - (double)(k == j);
    constants[m++] = j >= r->C ? uniform(&rng, -1, 1) : 0;
  }
  return m;
}

static void check_rows(rig *r, lip_executed how, tally *t) {
  lip_err err;
  lip_affine a;
  lip_relax *relax = NULL;
  lip_ranges *g = NULL;
  double rows[MOST * MOST], constants[MOST], low[MOST], tight[MOST];
  lip_region region = {.x = r->x,
                       .p = r->region.p,
                       .eps = r->region.eps,
                       .scale = r->scale,
                       .boxed = true,
                       .from = r->from,
                       .to = r->to,
                       .executed = how};
  assert_int_equal(lip_affine_init(&a, r->net, &err), LIP_OK);
  assert_int_equal(lip_relax_new(&a, r->region.p, &relax, &err), LIP_OK);
  assert_non_null(relax);
  assert_int_equal(lip_ranges_new(relax, &g, &err), LIP_OK);
  lip_ranges_start(g, &region);
  size_t m = make_rows(r, rows, constants);
  lip_ranges_rows(g, lip_ranges_last(g), rows, constants, m, true, low);
  lip_ranges_tighten(g);
  lip_ranges_rows(g, lip_ranges_last(g), rows, constants, m, true, tight);
  for (size_t i = 0; i < m; i++) {
    double most = fmax(low[i], tight[i]);
    search(r, rows + i * r->C, constants[i]);
    double least = check_low(r, most, how, t);
    t->claims++;
    t->tight += least - most <= 0.01 * (fabs(least) + fabs(most));
  }
  lip_ranges_free(g);
  lip_relax_free(relax);
  lip_affine_free(&a);
}

/* No float input within a radius that is certified has another label. */
static void check_radius(rig *r, tally *t) {
  lip_err err;
  double eps[] = {0.3 * r->region.eps, r->region.eps}, x[MOST];
  float f[MOST];
  lip_local_conf conf = {.p = r->region.p,
                         .eps = eps,
                         .n_eps = 2,
                         .scale = r->scale,
                         .boxed = true,
                         .from = r->from,
                         .to = r->to,
                         .halvings = 12,
                         .executed = LIP_EXECUTED_FLOAT32};
  lip_local *c;
  const float *z = executed(r, r->x);
  lip_radius one = {.label = label_of(z, r->C), .margin = INFINITY};
  for (size_t j = 0; j < r->C; j++)
    if ((int32_t)j != one.label) one.margin = fmin(one.margin, (double)z[one.label] - (double)z[j]);
  assert_int_equal(lip_local_new(r->net, &conf, &c, &err), LIP_OK);
  assert_int_equal(lip_local_certify(c, r->x, 1, &one, &err), LIP_OK);
  lip_local_free(c);
  if (!(one.radius > 0)) return;
  t->claims++;
  r->region.eps = one.radius;
  for (size_t j = 0; j < r->C; j++) {
    if ((int32_t)j == one.label) continue;
    double row[MOST] = {0};
    row[one.label] = 1;
    row[j] = -1;
    search(r, row, 0);
    for (size_t i = 0; i < r->kept; i++) {
      if (!exact_point(&r->region, r->u[i], x) || !to_floats(r, x, f)) continue;
      t->points++;
      if (label_of(executed(r, f), r->C) != one.label)
        fail_msg("net %zu: the radius %.17g is certified, and an input within it has another label", r->seed,
                 one.radius);
    }
  }
}

static void bounds_hold_on_all_pieces(void **state) {
  (void)state;
  tally exact = {0}, floats = {0}, radii = {0};
  const char *text = getenv("LIPWB_TEST_NETS");
  size_t nets = text ? strtoul(text, NULL, 10) : NETS;
  for (size_t seed = 0; seed < nets; seed++) {
    rig r;
    lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 21);
    rig_open(&r, seed, &rng);
    check_rows(&r, LIP_EXECUTED_EXACT, &exact);
    check_rows(&r, LIP_EXECUTED_FLOAT32, &floats);
    check_radius(&r, &radii);
    rig_close(&r);
  }
  print_message("%zu nets: %zu exact bounds at %zu points (%zu within 1 %% of the least value), %zu of the "
                "executed net "
                "at %zu, %zu radii at %zu\n",
                nets, exact.claims, exact.points, exact.tight, floats.claims, floats.points, radii.claims,
                radii.points);
  assert_true(exact.tight > 0 && radii.claims > nets / 8 && exact.points > exact.claims);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bounds_hold_on_all_pieces)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
