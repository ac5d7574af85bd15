/* Branch and bound: bounds with free slopes and multipliers beside points for which what is supposed holds; verdicts beside
 * executed points, for both ways to split and any number of threads; want of memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/attack/ball.h"
#include "core/base/mem.h"
#include "core/base/thread.h"
#include "core/cert/decide.h"
#include "core/cert/dual.h"
#include "support_cert.h"

enum { IN = 5, OUT = 3 };

static const char *const nets[] = {
    "dense out=7;relu;dense out=6;relu;dense out=3",
    "dense out=8;maxmin;dense out=6;abs;dense out=3",
    "dense out=6;leaky_relu slope=0.25;dense out=6;tanh;dense out=6;maxmin;dense out=3",
    "dense out=6;sigmoid;residual alpha=0.3 {dense out=6;relu};dense out=3",
    "dense out=9;groupsort size=3;dense out=5;relu;dense out=3",
};
enum { NETS = sizeof nets / sizeof *nets };

static double draw(lip_rng *rng, double size) {
  return (2 * lip_rng_uniform(rng) - 1) * size;
}

typedef struct box {
  double from[IN], to[IN];
  float least[IN], most[IN];
} box;

static void random_box(box *b, lip_rng *rng) {
  const double size = pow(2, -(double)lip_rng_below(rng, 6));
  for (size_t k = 0; k < IN; k++) {
    const double x = draw(rng, 1);
    b->least[k] = (float)(x - size * lip_rng_uniform(rng));
    b->most[k] = lip_rng_below(rng, 5) ? (float)(x + size * lip_rng_uniform(rng)) : b->least[k];
    if (b->most[k] < b->least[k]) b->most[k] = b->least[k];
    b->from[k] = b->least[k];
    b->to[k] = b->most[k];
  }
}

static void random_point(const box *b, lip_rng *rng, float *x) {
  for (size_t k = 0; k < IN; k++) {
    const size_t where = lip_rng_below(rng, 3);
    const double m = b->from[k] + (b->to[k] - b->from[k]) * lip_rng_uniform(rng);
    x[k] = where == 0   ? b->least[k]
           : where == 1 ? b->most[k]
                        : fminf(fmaxf((float)m, b->least[k]), b->most[k]);
  }
}

/* ---- slopes and multipliers ---- */

typedef struct relaxed {
  lip_net *net;
  lip_affine a;
  lip_relax *r;
  lip_ranges *g, *point;
  lip_dual *d;
} relaxed;

static void relaxed_open(relaxed *t, const char *layers, uint64_t seed) {
  lip_err err;
  t->net = cert_build("inf", (lip_shape){1, {IN}}, layers, 2, seed);
  assert_int_equal(lip_affine_init(&t->a, t->net, &err), LIP_OK);
  assert_int_equal(lip_relax_new(&t->a, LIP_PINF, &t->r, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(t->r, &t->g, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(t->r, &t->point, &err), LIP_OK);
  assert_int_equal(lip_dual_new(t->r, &t->d, &err), LIP_OK);
}

static void relaxed_close(relaxed *t) {
  lip_dual_free(t->d);
  lip_ranges_free(t->point);
  lip_ranges_free(t->g);
  lip_relax_free(t->r);
  lip_affine_free(&t->a);
  lip_net_free(t->net);
}

static void start(lip_ranges *g, const double *from, const double *to) {
  lip_ranges_start(
      g,
      &(lip_region){.p = LIP_PINF, .boxed = true, .from = from, .to = to, .executed = LIP_EXECUTED_FLOAT32});
}

/* Supposes of a few units what holds at the point, with multipliers; slopes are drawn. */
static size_t suppose(relaxed *t, lip_rng *rng) {
  size_t n = 0;
  lip_dual_prepare(t->d, t->g);
  for (size_t l = 0; l + 1 < t->r->n; l++) {
    const double *from, *to;
    lip_ranges_at(t->point, l, &from, &to);
    for (size_t k = 0; k < t->r->slab[l].M; k++) {
      const size_t i = t->d->first[l] + k;
      t->d->side[i] = t->d->beta[i] = 0;
      if (t->d->least[i] <= t->d->most[i])
        t->d->alpha[i] = t->d->least[i] + (t->d->most[i] - t->d->least[i]) * lip_rng_uniform(rng);
      if (!(from[k] > 0 || to[k] < 0) || lip_rng_below(rng, 3)) continue;
      t->d->side[i] = from[k] > 0 ? -1 : 1;
      t->d->beta[i] = lip_rng_uniform(rng) * pow(2, draw(rng, 4) - 4);
      n++;
    }
  }
  return n;
}

static void bounds_hold_where_they_should(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  size_t close = 0, sides = 0, tries = 0;
  for (size_t i = 0; i < 40 * NETS; i++) {
    relaxed t;
    box b;
    relaxed_open(&t, nets[i % NETS], i + 1);
    random_box(&b, &rng);
    start(t.g, b.from, b.to);
    lip_ranges_tighten(t.g);
    double w[2 * OUT], c[2], share[2] = {0.5, 0.5}, sum[OUT];
    for (size_t k = 0; k < 2 * OUT; k++) w[k] = draw(&rng, 1);
    for (size_t j = 0; j < 2; j++) c[j] = draw(&rng, 1);
    const lip_rows rows = {1 + i % 2, w, c, share, sum};
    if (rows.n == 1) share[0] = 1;
    for (size_t p = 0; p < 20; p++) {
      float x[IN];
      double at[IN], minus[2 * OUT], minus_c[2], low[2], value = 0;
      random_point(&b, &rng, x);
      for (size_t k = 0; k < IN; k++) at[k] = x[k];
      start(t.point, at, at);
      sides += suppose(&t, &rng);
      const double bound = lip_dual_bound(t.d, t.g, &rows);
      for (size_t k = 0; k < 2 * OUT; k++) minus[k] = -w[k];
      for (size_t j = 0; j < 2; j++) minus_c[j] = -c[j];
      lip_ranges_rows(t.point, lip_ranges_last(t.point), minus, minus_c, rows.n, false, low);
      for (size_t j = 0; j < rows.n; j++) value -= share[j] * low[j];
      assert_true(bound <= value);
      close += bound > value - 0.5;
      tries++;
    }
    /* ascent: never below its start, and still a bound */
    suppose(&t, &rng);
    memset(t.d->side, 0, t.d->units * sizeof *t.d->side);
    memset(t.d->beta, 0, t.d->units * sizeof *t.d->beta);
    const double before = lip_dual_bound(t.d, t.g, &rows), after = lip_dual_ascend(t.d, t.g, &rows, 30);
    assert_true(after >= before);
    relaxed_close(&t);
  }
  assert_true(close > tries / 20); /* not vacuous */
  assert_true(sides > tries);
}

/* ---- verdicts ---- */

typedef struct asking {
  box b;
  lip_p norm;
  float x[IN];
  lip_region ball; /* of norm 1 or 2 */
  lip_property p;
} asking;

static lip_status case_at(void *arg, size_t i, lip_case *out, lip_err *err) {
  asking *a = arg;
  (void)i;
  (void)err;
  *out =
      (lip_case){.from = a->b.from, .to = a->b.to, .least = a->b.least, .most = a->b.most, .property = &a->p};
  if (a->norm != LIP_PINF) out->ball = &a->ball;
  return LIP_OK;
}

/* All rows, any of them, or all but one. */
static void random_property(asking *a, lip_rng *rng, double shift) {
  double w[3 * OUT], d[3];
  const size_t n = 1 + lip_rng_below(rng, 3), need = 1 + lip_rng_below(rng, n);
  for (size_t k = 0; k < 3 * OUT; k++) w[k] = draw(rng, 1);
  for (size_t j = 0; j < 3; j++) d[j] = shift + draw(rng, 0.5);
  a->p = (lip_property){.asked = LIP_ASK_ROWS, .C = OUT};
  assert_int_equal(lip_property_add(&a->p, w, d, n, need, NULL), LIP_OK);
}

/* A box, or a ball in it that may be cut by it. */
static void random_region(asking *a, lip_p norm, lip_rng *rng) {
  random_box(&a->b, rng);
  a->norm = norm;
  double widest = 0;
  for (size_t k = 0; k < IN; k++) {
    a->x[k] = (float)(0.5 * (a->b.from[k] + a->b.to[k]));
    if (!(a->x[k] >= a->b.least[k] && a->x[k] <= a->b.most[k])) a->x[k] = a->b.least[k];
    widest = fmax(widest, a->b.to[k] - a->b.from[k]);
  }
  const bool cut = lip_rng_below(rng, 2);
  a->ball =
      (lip_region){.x = a->x, .p = norm, .eps = widest * (0.1 + 0.6 * lip_rng_uniform(rng)), .boxed = cut};
  for (size_t k = 0; k < IN && norm != LIP_PINF; k++) {
    const double low = (double)a->x[k] - a->ball.eps - 1e-6, high = (double)a->x[k] + a->ball.eps + 1e-6;
    if (cut && a->b.from[k] > low && a->b.to[k] < high) continue;
    a->b.from[k] = low, a->b.to[k] = high;
    a->b.least[k] = (float)low, a->b.most[k] = (float)high;
  }
  a->ball.from = a->b.from;
  a->ball.to = a->b.to;
}

static bool is_inside(const asking *a, const float *x) {
  const lip_ball ball = {.p = a->norm, .eps = a->ball.eps};
  double work[IN];
  for (size_t k = 0; k < IN; k++)
    if (!((double)x[k] >= a->b.from[k] && (double)x[k] <= a->b.to[k])) return false;
  return a->norm == LIP_PINF || lip_ball_distance(&ball, x, a->x, IN, work) <= a->ball.eps;
}

/* False: it has fallen outside. */
static bool point_inside(const asking *a, lip_rng *rng, float *x) {
  random_point(&a->b, rng, x);
  if (a->norm != LIP_PINF) {
    double v[IN], norm = 0;
    const bool one = a->norm == LIP_P1;
    for (size_t k = 0; k < IN; k++) {
      v[k] = lip_rng_below(rng, 2) ? draw(rng, 1) : 0;
      norm += one ? fabs(v[k]) : v[k] * v[k];
    }
    norm = one ? norm : sqrt(norm);
    for (size_t k = 0; k < IN && norm > 0; k++)
      x[k] = (float)(a->x[k] + v[k] / norm * a->ball.eps * (1 - 1e-6));
  }
  return is_inside(a, x);
}

static void check_verdict(lip_net *net, const asking *a, const lip_decision *d, lip_rng *rng) {
  float x[IN];
  if (d->verdict == LIP_VIOLATED) {
    assert_non_null(d->x);
    assert_true(is_inside(a, d->x));
    lip_net_forward(net, d->x, 1, false);
    assert_int_equal(lip_property_state(&a->p, 0, net->logits), LIP_BROKEN);
  }
  for (size_t i = 0; d->verdict == LIP_VERIFIED && i < 400; i++) {
    if (!point_inside(a, rng, x)) continue;
    lip_net_forward(net, x, 1, false);
    assert_int_equal(lip_property_state(&a->p, 0, net->logits), LIP_HOLDS);
  }
}

static void verdicts_in(lip_p norm) {
  lip_rng rng = lip_rng_new(2, LIP_RNG_USER, norm);
  size_t count[2][3] = {{0}};
  lip_err err;
  lip_pool *pool = lip_pool_new(3, &err);
  assert_non_null(pool);
  for (size_t i = 0; i < 60 * NETS; i++) {
    lip_net *net = cert_build("inf", (lip_shape){1, {IN}}, nets[i % NETS], 2, i + 1);
    asking a;
    random_region(&a, norm, &rng);
    random_property(&a, &rng, draw(&rng, 4));
    assert_int_equal(lip_net_reserve(net, 1, &err), LIP_OK);
    const lip_question q = {.n = 1, .p = norm, .at = case_at, .arg = &a};
    lip_verdict seen[2] = {LIP_UNKNOWN, LIP_UNKNOWN};
    for (int split = norm == LIP_PINF ? 0 : 1; split < 2; split++) {
      const lip_decide_conf conf = {
          .nodes = 150, .split = split ? LIP_SPLIT_UNIT : LIP_SPLIT_INPUT, .attack = i % 3 > 0};
      lip_decision d, e;
      assert_int_equal(lip_decide(net, &q, &conf, &d, &err), LIP_OK);
      check_verdict(net, &a, &d, &rng);
      seen[split] = d.verdict;
      count[split][d.verdict]++;
      lip_engine one = net->engine; /* the same tree on three threads */
      net->engine.pool = pool;
      assert_int_equal(lip_decide(net, &q, &conf, &e, &err), LIP_OK);
      net->engine = one;
      assert_int_equal(d.verdict, e.verdict);
      assert_int_equal(d.nodes, e.nodes);
      assert_true(d.least == e.least);
      if (d.x) assert_memory_equal(d.x, e.x, sizeof a.b.least);
      lip_decision_free(&d);
      lip_decision_free(&e);
    }
    assert_false(seen[0] != seen[1] && seen[0] != LIP_UNKNOWN && seen[1] != LIP_UNKNOWN);
    lip_property_free(&a.p);
    lip_net_free(net);
  }
  for (int split = norm == LIP_PINF ? 0 : 1; split < 2; split++)
    assert_true(count[split][LIP_VERIFIED] > 60 && count[split][LIP_VIOLATED] > 60 &&
                count[split][LIP_UNKNOWN] < 60);
  lip_pool_free(pool);
}

static void verdicts_beside_points(void **state) {
  (void)state;
  verdicts_in(LIP_PINF);
  verdicts_in(LIP_P2);
  verdicts_in(LIP_P1);
}

/* ---- memory ---- */

static void no_memory_is_said(void **state) {
  (void)state;
  lip_err err;
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  lip_net *net = cert_build("inf", (lip_shape){1, {IN}}, nets[0], 2, 5);
  asking a;
  random_region(&a, LIP_PINF, &rng);
  random_property(&a, &rng, 2);
  const lip_question q = {.n = 1, .p = LIP_PINF, .at = case_at, .arg = &a};
  for (int split = 0; split < 2; split++) {
    const lip_decide_conf conf = {
        .nodes = 300, .split = split ? LIP_SPLIT_UNIT : LIP_SPLIT_INPUT, .attack = true};
    lip_decision whole, d;
    assert_int_equal(lip_decide(net, &q, &conf, &whole, &err), LIP_OK);
    size_t n = 1;
    for (bool failed = true; failed; n++) {
      const size_t used = lip_mem_used();
      lip_mem_fail_nth(n);
      const lip_status status = lip_decide(net, &q, &conf, &d, &err);
      failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      if (!failed) assert_int_equal(d.verdict, whole.verdict);
      assert_true(status == LIP_OK || (failed && status == LIP_MEMORY));
      assert_true(d.verdict == whole.verdict || (failed && d.verdict == LIP_UNKNOWN));
      lip_decision_free(&d);
      assert_int_equal(lip_mem_used(), used);
    }
    assert_true(n > 10);
    lip_decision_free(&whole);
  }
  lip_property_free(&a.p);
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bounds_hold_where_they_should),
      cmocka_unit_test(verdicts_beside_points),
      cmocka_unit_test(no_memory_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
