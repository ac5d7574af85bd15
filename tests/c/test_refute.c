/* Proofs by contradiction: rows over the part of a region that lies in a half space, beside the dual worked out by loops of
 * this file and beside points; rows of nets that are proved this way, attacked as executed; and that nothing of it stays. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/cert/refute.h"
#include "core/cert/relax_parts.h"
#include "support_cert.h"

enum { IN = 11, OUT = 3 };

typedef struct rig {
  lip_net *net;
  lip_affine a;
  lip_relax *r;
  lip_ranges *g;
} rig;

static void rig_open(rig *t, const char *layers, double spread, uint64_t seed, lip_p p) {
  lip_err err;
  t->net = cert_build("2", (lip_shape){1, {IN}}, layers, spread, seed);
  assert_int_equal(lip_affine_init(&t->a, t->net, &err), LIP_OK);
  assert_int_equal(lip_relax_new(&t->a, p, &t->r, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(t->r, &t->g, &err), LIP_OK);
}

static void rig_close(rig *t) {
  lip_ranges_free(t->g);
  lip_relax_free(t->r);
  lip_affine_free(&t->a);
  lip_net_free(t->net);
}

static double draw(lip_rng *rng, double size) {
  return (2 * lip_rng_uniform(rng) - 1) * size;
}

/* A region and the numbers that it borrows. */
typedef struct place {
  float x[IN];
  double from[IN], to[IN], scale[IN];
  lip_region region;
} place;

static void random_place(place *w, lip_p p, double eps, lip_executed executed, lip_rng *rng) {
  bool boxed = lip_rng_below(rng, 2), scaled = lip_rng_below(rng, 3) == 0;
  for (size_t i = 0; i < IN; i++) {
    w->x[i] = (float)draw(rng, 1);
    w->from[i] = (double)w->x[i] - eps * (lip_rng_below(rng, 3) ? lip_rng_uniform(rng) : 0);
    w->to[i] = (double)w->x[i] + eps * (lip_rng_below(rng, 3) ? lip_rng_uniform(rng) : 0);
    w->scale[i] = lip_rng_below(rng, 4) ? 0.2 + lip_rng_uniform(rng) : 0;
  }
  w->region = (lip_region){.x = w->x, .p = p, .eps = eps, .executed = executed};
  if (boxed) w->region.boxed = true, w->region.from = w->from, w->region.to = w->to;
  if (scaled) w->region.scale = w->scale;
}

/* x + s e, cut by the box, ||e||_p <= eps (1 - 2^-40). */
static void point_of(const place *w, const double *e, long double *x) {
  const lip_region *r = &w->region;
  long double norm = 0;
  for (size_t i = 0; i < IN; i++) {
    long double v = fabsl((long double)e[i]);
    norm = r->p == LIP_P1 ? norm + v : r->p == LIP_P2 ? norm + v * v : fmaxl(norm, v);
  }
  if (r->p == LIP_P2) norm = sqrtl(norm);
  for (size_t i = 0; i < IN; i++) {
    long double d = norm > 0 ? (long double)e[i] / norm * (long double)(r->eps * (1 - 0x1p-40)) : 0;
    x[i] = (long double)w->x[i] + d * (long double)(r->scale ? r->scale[i] : 1);
    if (r->boxed) x[i] = fminl(fmaxl(x[i], (long double)r->from[i]), (long double)r->to[i]);
  }
}

/* ---- a row and a half space ---- */

static long double dot(const double *v, const long double *x) {
  long double s = 0;
  for (size_t i = 0; i < IN; i++) s += (long double)v[i] * x[i];
  return s;
}

/* Least r . x over the region where that is easy: norm inf, or a ball of norm 1 or 2 that nothing cuts. */
static bool least(const place *w, const double *r, long double *out) {
  const lip_region *g = &w->region;
  long double s = 0, two = 0, top = 0;
  if (g->p != LIP_PINF && g->boxed) return false;
  for (size_t i = 0; i < IN; i++) {
    long double eps = (long double)g->eps, size = g->scale ? (long double)g->scale[i] : 1,
                x = (long double)w->x[i];
    long double from = x - eps * size, to = x + eps * size, v = (long double)r[i];
    if (g->boxed) from = fmaxl(from, (long double)g->from[i]), to = fminl(to, (long double)g->to[i]);
    s += g->p == LIP_PINF ? fminl(v * from, v * to) : v * x;
    two += v * size * v * size;
    top = fmaxl(top, fabsl(v * size));
  }
  if (g->p == LIP_P2) s -= (long double)g->eps * sqrtl(two);
  if (g->p == LIP_P1) s -= (long double)g->eps * top;
  *out = s;
  return true;
}

static long double dual(const place *w, const double *b, const double *a, double rest, double gamma) {
  double r[IN];
  long double v = 0;
  for (size_t i = 0; i < IN; i++) r[i] = b[i] + gamma * a[i];
  least(w, r, &v);
  return v + (long double)(gamma * rest);
}

/* max over gamma >= 0 of a concave function. */
static bool best_dual(const place *w, const double *b, const double *a, double rest, long double *none,
                      long double *best) {
  if (!least(w, b, none)) return false;
  double low = 1e-6, high = 1e6;
  for (int i = 0; i < 150; i++) {
    double one = low * cbrt(high / low), two = high / cbrt(high / low);
    if (dual(w, b, a, rest, one) < dual(w, b, a, rest, two))
      low = one;
    else
      high = two;
  }
  *best = fmaxl(*none, dual(w, b, a, rest, low));
  return true;
}

static void half_spaces_are_kept(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(31, LIP_RNG_USER, 0);
  size_t compared = 0, inside = 0, cut = 0;
  double share = 0;
  for (int p = 0; p < 3; p++) {
    rig t;
    rig_open(&t, "dense out=3", 1, 1, (lip_p)p);
    for (int n = 0; n < 600; n++) {
      place w;
      double row[2][IN], rest[2];
      random_place(&w, (lip_p)p, 0.3, LIP_EXECUTED_EXACT, &rng);
      lip_ranges_start(t.g, &w.region);
      assert_true(t.g->known);
      long double x[IN], low = INFINITY, high = -INFINITY;
      for (size_t i = 0; i < IN; i++) {
        row[0][i] = draw(&rng, 1);
        row[1][i] = 0.5 * (double)lip_rng_below(&rng, 2) * row[0][i] + draw(&rng, 1);
        x[i] = (long double)w.x[i];
      }
      static double e[400][IN]; /* directions, also those of the rows and of single coordinates */
      for (int k = 0; k < 400; k++) {
        double share0 = lip_rng_uniform(&rng);
        for (size_t i = 0; i < IN; i++) {
          double mixed = share0 * row[0][i] + (1 - share0) * row[1][i];
          e[k][i] = k % 4 == 0 ? draw(&rng, 1) : k % 4 == 1 ? -mixed : k % 4 == 2 ? (mixed > 0 ? -1 : 1) : 0;
        }
        if (k % 4 == 3) e[k][lip_rng_below(&rng, IN)] = k % 8 == 3 ? 1 : -1;
        point_of(&w, e[k], x);
        low = fminl(low, dot(row[0], x));
        high = fmaxl(high, dot(row[0], x));
      }
      /* somewhere between the least and the largest value */
      rest[0] = -(double)(low + 0.4L * (long double)lip_rng_uniform(&rng) * (high - low));
      rest[1] = draw(&rng, 3);
      double slack =
          n % 2 ? 0.1 * lip_rng_uniform(&rng) : 0; /* what the row may be off by: the half space is larger */
      t.g->lanes = 16;
      t.g->now.all = true;
      t.g->now.n = IN;
      memset(t.g->now.v, 0, IN * 16 * sizeof *t.g->now.v);
      for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < IN; i++) t.g->now.v[i * 16 + k] = row[k][i];
        t.g->rest[k] = rest[k];
        t.g->slack[k] = k == 0 ? slack : 0;
        t.g->found[k] = -INFINITY;
      }
      assert_true(lip_cut_suppose(t.g, 0));
      lip_cut_rows(t.g);
      t.g->cut.on = false;
      for (int k = 0; k < 400; k++) {
        point_of(&w, e[k], x);
        if (!(dot(row[0], x) + (long double)(rest[0] - slack) <= 0)) continue;
        inside++;
        assert_true((long double)t.g->found[1] <= dot(row[1], x) + (long double)rest[1]);
        assert_true(t.g->found[0] <= 0);
      }
      long double none, best;
      if (!best_dual(&w, row[1], row[0], rest[0] - slack, &none, &best)) continue;
      compared++;
      long double found = (long double)t.g->found[1] - (long double)rest[1];
      if (!(found <= best + 1e-9L * (1 + fabsl(best)) && found >= none - 1e-9L))
        fail_msg("norm %d: %Lg found, %Lg without, %Lg at best", p, found, none, best);
      if (!(best > none + 0.01L)) continue;
      cut++;
      share += (double)((found - none) / (best - none));
    }
    rig_close(&t);
  }
  assert_true(compared > 800 && inside > 10000 && cut > 300);
  if (!(share / (double)cut > 0.9)) fail_msg("%g of what the half space gives", share / (double)cut);
}

/* ---- nets ---- */

static const char *const layers[] = {
    "dense out=12;relu;dense out=3",
    "dense out=10;relu;dense out=10;relu;dense out=3",
    "dense out=10;maxmin;dense out=10;maxmin;dense out=3",
    "dense out=8;tanh;dense out=8;tanh;dense out=3",
    "dense out=8;abs;dense out=8;leaky_relu;dense out=3",
    "dense out=8;residual alpha=0.3 {dense out=8;relu};abs;dense out=3",
    "dense out=8;sigmoid;dense out=8;softplus;dense out=8;relu;dense out=3",
    "concat {chain {dense out=4;relu;dense out=2};dense out=3};relu;dense out=3",
    "dense out=3",
};
enum { NETS = sizeof layers / sizeof *layers };

static bool by_relaxation(rig *t, const lip_region *region) {
  double low[OUT];
  lip_ranges_start(t->g, region);
  lip_ranges_tighten(t->g);
  lip_ranges_margins(t->g, 0, true, low);
  return low[1] > 0;
}

static const double margin[OUT] = {1, -1, 0};

static bool by_refuting(rig *t, const lip_region *region) {
  return by_relaxation(t, region) || lip_ranges_refute(t->g, margin, 0);
}

static double largest(rig *t, place *w, bool (*proves)(rig *, const lip_region *)) {
  double low = 0, high = 4;
  for (int i = 0; i < 14; i++) {
    w->region.eps = 0.5 * (low + high);
    if (proves(t, &w->region))
      low = w->region.eps;
    else
      high = w->region.eps;
  }
  return low;
}

static double value_at(rig *t, const float *x) {
  lip_net_forward(t->net, x, 1, false);
  return (double)t->net->logits[0] - (double)t->net->logits[1];
}

/* A float32 input of the region in direction e; false: rounding has moved it out. */
static bool float_point(const place *w, const double *e, float *y) {
  const lip_region *r = &w->region;
  long double x[IN], norm = 0;
  point_of(w, e, x);
  for (size_t i = 0; i < IN; i++) {
    double s = r->scale ? r->scale[i] : 1;
    y[i] = (float)x[i];
    long double d = (long double)y[i] - (long double)w->x[i];
    if (r->boxed && !((double)y[i] >= r->from[i] && (double)y[i] <= r->to[i])) return false;
    if (s == 0 && d != 0) return false;
    d = s == 0 ? 0 : fabsl(d / (long double)s);
    norm = r->p == LIP_P1 ? norm + d : r->p == LIP_P2 ? norm + d * d : fmaxl(norm, d);
  }
  return (r->p == LIP_P2 ? sqrtl(norm) : norm) <= (long double)r->eps * (1 - 1e-15L);
}

/* Climbs down from many starts, one coordinate's sign at a time: least executed value found. */
static double attacked(rig *t, const place *w, lip_rng *rng) {
  float y[IN];
  double best = INFINITY;
  for (int start = 0; start < 12; start++) {
    double e[IN], now = INFINITY;
    for (size_t i = 0; i < IN; i++) e[i] = start % 2 ? draw(rng, 1) : lip_rng_below(rng, 2) ? 1 : -1;
    for (int k = 0; k < 60; k++) {
      size_t i = (size_t)lip_rng_below(rng, IN);
      double kept = e[i];
      e[i] = k % 3 == 0 ? -e[i] : k % 3 == 1 ? draw(rng, 1) : e[i] * 4;
      if (!float_point(w, e, y)) {
        e[i] = kept;
        continue;
      }
      double v = value_at(t, y);
      if (v < now)
        now = v;
      else
        e[i] = kept;
    }
    best = fmin(best, now);
  }
  return best;
}

static void what_is_proved_holds(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(32, LIP_RNG_USER, 0);
  double gain = 0;
  size_t count = 0, more = 0;
  for (size_t n = 0; n < NETS; n++)
    for (int p = 0; p < 3; p++)
      for (uint64_t seed = 0; seed < 8; seed++) {
        rig t;
        place w;
        rig_open(&t, layers[n], 1.5, seed, (lip_p)p);
        random_place(&w, (lip_p)p, 1, LIP_EXECUTED_FLOAT32, &rng);
        if (value_at(&t, w.x) > 0.01) {
          double before = largest(&t, &w, by_relaxation), after = largest(&t, &w, by_refuting);
          assert_true(after >= before);
          w.region.eps = after;
          if (after > 0) assert_true(attacked(&t, &w, &rng) > 0);
          if (n + 1 < NETS && before > 0 && before < 3.9) gain += after / before, count++;
          more += after > before;
        }
        rig_close(&t);
      }
  if (!(count > 50 && more > count / 2 && gain / (double)count > 1.05))
    fail_msg("%zu of %zu larger, %g times", more, count, gain / (double)count);
}

/* ---- what is left behind ---- */

static void intervals_stay(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(33, LIP_RNG_USER, 0);
  for (size_t n = 0; n < NETS; n++)
    for (int p = 0; p < 3; p++) {
      rig t;
      place w;
      double kept[8][2][32], low[2][OUT];
      rig_open(&t, layers[n], 1.5, 1, (lip_p)p);
      random_place(&w, (lip_p)p, 0.2, LIP_EXECUTED_FLOAT32, &rng);
      by_relaxation(&t, &w.region);
      lip_ranges_margins(t.g, 0, true, low[0]);
      for (size_t l = 0; l < t.a.n; l++) {
        const double *from, *to;
        lip_ranges_at(t.g, l, &from, &to);
        assert_true(l < 8 && t.a.block[l].M <= 32);
        memcpy(kept[l][0], from, t.a.block[l].M * sizeof *from);
        memcpy(kept[l][1], to, t.a.block[l].M * sizeof *to);
      }
      /* just below 0, and without hope */
      lip_ranges_refute(t.g, margin, -low[0][1] - 0.01);
      assert_false(lip_ranges_refute(t.g, margin, -1e6));
      for (size_t l = 0; l < t.a.n; l++) {
        const double *from, *to;
        lip_ranges_at(t.g, l, &from, &to);
        assert_memory_equal(kept[l][0], from, t.a.block[l].M * sizeof *from);
        assert_memory_equal(kept[l][1], to, t.a.block[l].M * sizeof *to);
      }
      lip_ranges_margins(t.g, 0, true, low[1]);
      assert_memory_equal(low[0], low[1], sizeof low[0]);
      rig_close(&t);
    }
}

static void nothing_known_refutes_nothing(void **state) {
  (void)state;
  lip_cancel cancel = {0};
  for (int p = 0; p < 3; p++) {
    rig t;
    float x[IN] = {0};
    rig_open(&t, layers[1], 1.5, 1, (lip_p)p);
    lip_region region = {.x = x, .p = (lip_p)p, .eps = NAN, .executed = LIP_EXECUTED_FLOAT32};
    assert_false(by_refuting(&t, &region));
    region.eps = 0.01;
    double w[OUT] = {1, NAN, 0}, zero[OUT] = {0};
    lip_ranges_start(t.g, &region);
    assert_false(lip_ranges_refute(t.g, w, 0));
    assert_false(lip_ranges_refute(t.g, margin, NAN));
    assert_false(lip_ranges_refute(t.g, margin, -INFINITY));
    assert_false(lip_ranges_refute(t.g, zero, 0)); /* 0 is not above 0 */
    region.cancel = &cancel;
    lip_ranges_start(t.g, &region);
    lip_cancel_raise(&cancel);
    assert_false(lip_ranges_refute(t.g, zero, -1e-3));
    lip_cancel_clear(&cancel);
    x[3] = NAN;
    assert_false(by_refuting(&t, &region));
    rig_close(&t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(half_spaces_are_kept),
      cmocka_unit_test(what_is_proved_holds),
      cmocka_unit_test(intervals_stay),
      cmocka_unit_test(nothing_known_refutes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
