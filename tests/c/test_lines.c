/* The lines below and above an activation on an interval, against the function in long double on dense points: every kind
 * that maps single values, intervals of all sizes; that they touch where they can; and the slopes that are free. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/cert/relax_parts.h"
#include "support_layer.h"

/* A block with one unit, what is known of it, and the layer whose function it is. */
typedef struct unit {
  lip_block block;
  lip_layer *layer;
  lip_spec *spec;
  lip_plan plan;
  reach q;
  double numbers[14];
} unit;

static void lay_out(unit *t) {
  double **part[] = {&t->q.from,        &t->q.to,     &t->q.size, &t->q.off,         &t->q.after,
                     &t->q.after_off,   &t->q.y_from, &t->q.y_to, &t->q.below_slope, &t->q.below,
                     &t->q.above_slope, &t->q.above,  &t->q.low,  &t->q.high};
  for (size_t i = 0; i < 14; i++) *part[i] = &t->numbers[i];
}

/* Its parameters, if it has any, live until the next call. */
static void open_unit(unit *t, const lip_layer_kind *kind) {
  lip_err err;
  *t = (unit){.plan = {.seed = 1}, .spec = lip_spec_new(kind)};
  assert_non_null(t->spec);
  if (lip_layer_new(t->spec, &(lip_shape){1, {4, 0, 0}}, (lip_pq){LIP_P2, LIP_P2}, &t->plan, &t->layer, &err))
    fail_msg("%s", err.msg);
  static float numbers[LIP_LAYER_MAX_PARAMS][64];
  for (size_t i = 0; i < t->layer->n_param; i++) t->layer->param[i].value = numbers[i];
  assert_int_equal(lip_layer_reset(t->layer, 1, &err), LIP_OK);
  t->block = (lip_block){.M = 1, .N = 1, .phi = t->layer, .n_phi = 1};
  lay_out(t);
}

static void close_unit(unit *t) {
  lip_layer_free(t->layer);
  lip_spec_free(t->spec);
}

static void set(unit *t, double from, double to) {
  lay_out(t);
  t->q.from[0] = from;
  t->q.to[0] = to;
  lip_set_lines(&t->q, &t->block, 0, LIP_EXECUTED_EXACT);
  assert_true(isfinite(t->q.below_slope[0]) && isfinite(t->q.above_slope[0]));
}

/* Points dense everywhere: even, and crowded towards both ends, 0 and what lies between. */
enum { POINTS = 96 };
static void points(double from, double to, lip_rng *rng, long double *u) {
  size_t n = 0;
  u[n++] = (long double)from;
  u[n++] = (long double)to;
  if (from <= 0 && to >= 0) u[n++] = 0;
  while (n < POINTS) {
    long double t = (long double)lip_rng_uniform(rng), w = (long double)to - (long double)from;
    long double crowded = powl(2, -60 * t), v = (long double)from + t * w;
    if (n % 4 == 1) v = (long double)from + crowded * w;
    if (n % 4 == 2) v = (long double)to - crowded * w;
    if (n % 4 == 3) v = (t < 0.5L ? (long double)from : (long double)to) * crowded;
    u[n++] = fminl(fmaxl(v, (long double)from), (long double)to);
  }
}

/* Smallest distances of the lines to the function, relative to how far its values go. */
typedef struct distance {
  long double below, above;
} distance;

static distance check_lines(unit *t, double from, double to, lip_rng *rng) {
  long double u[POINTS], y, least = INFINITY, most = -INFINITY;
  distance d = {INFINITY, INFINITY};
  set(t, from, to);
  points(from, to, rng, u);
  for (int i = 0; i < POINTS; i++) {
    double error;
    if (!layer_unit(t->layer, 0, u[i], &y, &error)) return (distance){0, 0};
    long double b = (long double)t->q.below_slope[0] * u[i], a = (long double)t->q.above_slope[0] * u[i];
    long double off = (long double)error * (fabsl(y) + fabsl(u[i])) +
                      1e-18L * (fabsl(a) + fabsl(b) + fabsl((long double)t->q.above[0]) +
                                fabsl((long double)t->q.below[0]));
    long double under = y - (b + (long double)t->q.below[0]), over = a + (long double)t->q.above[0] - y;
    if (!(under >= -off && over >= -off))
      fail_msg("%s on [%.17g, %.17g] at %.17Lg: %Lg below, %Lg above", t->layer->kind->desc.name, from, to,
               u[i], under, over);
    d = (distance){fminl(d.below, under), fminl(d.above, over)};
    least = fminl(least, y);
    most = fmaxl(most, y);
  }
  long double span = most > least ? most - least : 1;
  return (distance){d.below / span, d.above / span};
}

static const double sizes[] = {DBL_TRUE_MIN, 1e-310, 1e-100, 1e-30, 1e-9, 1e-3, 0.1, 1, 3,
                               10,           40,     300,    1e6,   1e30};
enum { SIZES = sizeof sizes / sizeof *sizes };

static double draw(lip_rng *rng) {
  return (2 * lip_rng_uniform(rng) - 1) * sizes[lip_rng_below(rng, SIZES)];
}

static void lines_hold_everywhere(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(21, LIP_RNG_USER, 0);
  size_t kinds = 0;
  for (size_t i = 0; lip_layer_kind_at(i); i++) {
    if (!lip_layer_kind_at(i)->range) continue;
    unit t;
    open_unit(&t, lip_layer_kind_at(i));
    for (int n = 0; n < 4000; n++) {
      double a = draw(&rng), b = n % 8 == 0 ? 0 : n % 8 == 1 ? -a : draw(&rng);
      if (n % 8 == 2) b = nextafter(a, INFINITY);
      if (n % 8 == 3) a = 30 * lip_rng_uniform(&rng), b = -30 * lip_rng_uniform(&rng) * lip_rng_uniform(&rng);
      check_lines(&t, fmin(a, b), fmax(a, b), &rng);
      if (n % 8 == 4) check_lines(&t, a, a, &rng);
    }
    close_unit(&t);
    kinds++;
  }
  assert_true(kinds >= 7);
}

/* Both lines meet the function, whatever way it bends: 96 points see the place to 2 % of the values' span. */
static void lines_touch(void **state) {
  (void)state;
  static const char *const names[] = {"tanh", "sigmoid", "softplus", "relu", "leaky_relu", "abs"};
  lip_rng rng = lip_rng_new(22, LIP_RNG_USER, 0);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    unit t;
    open_unit(&t, lip_layer_kind_find(names[i]));
    for (int n = 0; n < 500; n++) {
      double a = 0.01 + 5 * lip_rng_uniform(&rng), b = -0.01 - 5 * lip_rng_uniform(&rng);
      if (n % 4 == 0) b = a + 0.1;
      if (n % 4 == 1) a = b - 0.1;
      distance d = check_lines(&t, fmin(a, b), fmax(a, b), &rng);
      if (!(d.below < 0.02L && d.above < 0.02L))
        fail_msg("%s [%g, %g]: %Lg below, %Lg above", names[i], fmin(a, b), fmax(a, b), d.below, d.above);
    }
    close_unit(&t);
  }
}

/* tanh on [-a, a]: the tangents through the other ends, worked out by hand. At a small they are nearly parallel to the
 * function; the lines with the smallest slope on both sides were 1.5 times as far apart, at a large by far more. */
static void bent_lines_are_the_tangents(void **state) {
  (void)state;
  unit t;
  open_unit(&t, lip_layer_kind_find("tanh"));
  for (double a = 0.01; a < 30; a *= 1.7) {
    set(&t, -a, a);
    long double low = 0, high = (long double)a; /* of d with tanh d + tanh a = (1 - tanh^2 d) (d + a) */
    for (int i = 0; i < 200; i++) {
      long double d = (low + high) / 2, y = tanhl(d);
      if (y + tanhl((long double)a) > (1 - y * y) * (d + (long double)a))
        high = d;
      else
        low = d;
    }
    long double slope = 1 - tanhl(low) * tanhl(low), line = slope * (long double)a - tanhl((long double)a);
    assert_true(fabsl((long double)t.q.above[0] - line) < 1e-5L * line + 1e-12L);
    assert_true(fabsl((long double)t.q.above_slope[0] - slope) < 1e-4L * slope + 1e-12L);
    assert_true(t.q.below_slope[0] == t.q.above_slope[0] && t.q.below[0] == -t.q.above[0]);
    assert_true(line < tanhl((long double)a) - (1 - powl(tanhl((long double)a), 2)) * (long double)a);
  }
  close_unit(&t);
}

/* Two slopes that are known to 2^-50 only: lines hold for all that they may be, and the chord is
 * one in spite of it. */
static void bends_are_convex_or_concave(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(23, LIP_RNG_USER, 0);
  for (int n = 0; n < 3000; n++) {
    lip_bend bend = {4 * lip_rng_uniform(&rng) - 2, 4 * lip_rng_uniform(&rng) - 2, 0, 0};
    if (n % 5 == 0) bend.above = bend.below * (1 + 0x1p-48);
    unit t = {.block = {.M = 1, .N = 1, .bend = &bend, .n_phi = 1}};
    double a = draw(&rng), b = n % 3 == 0 ? -a : draw(&rng), from = fmin(a, b), to = fmax(a, b);
    set(&t, from, to);
    long double u[POINTS], span = fmaxl(fabsl((long double)from), fabsl((long double)to));
    points(from, to, &rng, u);
    for (int i = 0; i < POINTS; i++)
      for (int e = -1; e <= 1; e++) {
        long double y = (long double)(u[i] < 0 ? bend.below : bend.above) * (1 + e * 0x1p-51L) * u[i];
        long double under = y - ((long double)t.q.below_slope[0] * u[i] + (long double)t.q.below[0]);
        long double over = (long double)t.q.above_slope[0] * u[i] + (long double)t.q.above[0] - y;
        long double off =
            1e-18L * (fabsl(y) + fabsl((long double)t.q.above[0]) + fabsl((long double)t.q.below[0]));
        assert_true(under >= -off && over >= -off);
        if (i < 2 && n % 5 != 0) /* the ends */
          assert_true((bend.above > bend.below ? over : under) <= 1e-12L * span + 1e-290L);
      }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_hold_everywhere),
      cmocka_unit_test(lines_touch),
      cmocka_unit_test(bends_are_convex_or_concave),
      cmocka_unit_test(bent_lines_are_the_tangents),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
