/* Matrices of the relaxation without their zeros: what is kept, and bounds beside those of the same net with no zeros in
 * it, whose rows are full. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/cert/relax_parts.h"
#include "support_cert.h"

typedef struct example {
  lip_shape in;
  const char *layers;
} example;

static const example examples[] = {
    {{3, {1, 9, 9}},
     "conv2d channels=6 kernel=3 stride=2;relu;conv2d channels=8 kernel=2;relu;flatten;dense "
     "out=9;relu;dense "
     "out=4"},
    {{3, {1, 8, 8}},
     "conv2d channels=6 kernel=3 padding=1;maxmin;conv2d channels=4 kernel=3 stride=2;maxmin;flatten;dense "
     "out=6;maxmin;dense out=3"},
    {{3, {2, 8, 8}}, "conv2d channels=4 kernel=2 stride=2;max_pool2d kernel=2;relu;flatten;dense out=3"},
    {{3, {2, 6, 6}},
     "conv2d channels=40 kernel=2 stride=2;relu;conv2d channels=36 kernel=2;relu;flatten;dense out=3"},
    {{3, {8, 5, 5}},
     "conv2d channels=8 kernel=3 groups=8;relu;conv2d channels=8 kernel=3 groups=8;relu;flatten;dense out=2"},
    {{1, {20, 0, 0}}, "dense out=24;relu;residual {dense out=24;relu;dense out=24};relu;dense out=4"},
    {{1, {20, 0, 0}}, "concat {chain {dense out=12;relu;dense out=10};dense out=8};maxmin;dense out=3"},
    {{3, {1, 6, 6}},
     "max_pool2d kernel=2;conv2d channels=5 kernel=2;relu;flatten;dense out=5;relu;dense out=3"},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

typedef struct scene {
  lip_net *net;
  lip_affine a;
  lip_relax *r;
  lip_ranges *g;
} scene;

/* A scene of the net, or (full) of one with tiny numbers where it has zeros. */
static void look(scene *s, const example *e, uint64_t seed, bool full, lip_p p) {
  lip_err err;
  s->net = cert_build("2", e->in, e->layers, 1.5, seed);
  assert_int_equal(lip_affine_init(&s->a, s->net, &err), LIP_OK);
  assert_null(s->a.unknown);
  for (size_t l = 0; full && l < s->a.n; l++) {
    lip_block *b = &s->a.block[l];
    assert_null(b->fold);
    for (size_t i = 0; i < b->M * b->N; i++)
      if (b->W[i] == 0) b->W[i] = 0x1p-120f;
  }
  assert_int_equal(lip_relax_new(&s->a, p, &s->r, &err), LIP_OK);
  assert_non_null(s->r);
  assert_int_equal(lip_ranges_new(s->r, &s->g, &err), LIP_OK);
}

static void look_away(scene *s) {
  lip_ranges_free(s->g);
  lip_relax_free(s->r);
  lip_affine_free(&s->a);
  lip_net_free(s->net);
}

/* ---- what is kept ---- */

static double entry(const lip_block *b, size_t k, size_t j) {
  size_t m = b->mate ? b->mate[k] : k, lower = m < k ? m : k, upper = m < k ? k : m;
  double sign = m == k ? 0 : m < k ? -1 : 1;
  return (double)b->W[lower * b->N + j] + sign * (double)b->W[upper * b->N + j];
}

static void check_row(const slab *s, size_t k) {
  double *v = lip_alloc(s->N, sizeof *v);
  assert_non_null(v);
  lip_row r = lip_slab_row(s, k);
  assert_true(r.at ? r.n <= s->N / 4 : r.n == s->N);
  for (size_t i = 0; i < r.n; i++) {
    size_t j = r.at ? r.at[i] : i;
    assert_true(j < s->N && (i == 0 || !r.at || r.at[i] > r.at[i - 1]));
    v[j] = r.v[i];
  }
  for (size_t j = 0; j < s->N; j++) assert_true(v[j] == entry(s->block, k, j));
  if (s->block->mate) assert_int_equal(s->pattern[k], s->pattern[s->block->mate[k]]);
  lip_free(v);
}

static void check_slab(const slab *s, size_t *few) {
  bool *seen = lip_alloc(s->M, sizeof *seen);
  assert_non_null(seen);
  size_t numbers = 0;
  for (size_t k = 0; k < s->M; k++) {
    check_row(s, k);
    numbers += lip_slab_row(s, k).n;
    *few += s->pattern[k] != LIP_FULL;
  }
  assert_int_equal(numbers, s->numbers);
  for (size_t p = 0; p < s->patterns; p++) { /* no two the same, every one in use */
    assert_true(s->unit0[p] < s->unit0[p + 1]);
    for (size_t i = s->unit0[p]; i < s->unit0[p + 1]; i++) assert_int_equal(s->pattern[s->unit[i]], p);
    size_t n = s->column0[p + 1] - s->column0[p];
    for (size_t q = 0; q < p; q++)
      assert_true(
          s->column0[q + 1] - s->column0[q] != n ||
          (n > 0 && memcmp(s->column + s->column0[p], s->column + s->column0[q], n * sizeof *s->column)));
  }
  for (size_t i = 0; i < s->M; i++) {
    assert_true(s->unit[i] < s->M && !seen[s->unit[i]]);
    seen[s->unit[i]] = true;
  }
  lip_free(seen);
}

static void rows_are_those_of_the_matrix(void **state) {
  (void)state;
  for (size_t i = 0; i < EXAMPLES; i++)
    for (int full = 0; full < 2; full++) {
      scene s;
      size_t few = 0;
      look(&s, &examples[i], i + 1, full, LIP_P2);
      for (size_t l = 0; l < s.r->n; l++) check_slab(&s.r->slab[l], &few);
      assert_true(full ? few == 0 : few > 0);
      look_away(&s);
    }
}

/* ---- bounds ---- */

static void draw(lip_rng *rng, float *x, double *from, double *to, size_t n) {
  for (size_t k = 0; k < n; k++) {
    x[k] = (float)lip_rng_normal(rng);
    from[k] = (double)x[k] - (lip_rng_below(rng, 3) ? 0.05 : 2);
    to[k] = (double)x[k] + (lip_rng_below(rng, 3) ? 2 : 0.02);
  }
}

static void assert_near(double a, double b, double by) {
  assert_true(isfinite(a) && isfinite(b));
  if (!(fabs(a - b) <= by * (1 + fabs(a)))) fail_msg("%.17g and %.17g", a, b);
}

static void compare(const scene *s, const scene *t, double by) {
  for (size_t l = 0; l < s->r->n; l++) {
    const double *from[2], *to[2];
    lip_ranges_at(s->g, l, &from[0], &to[0]);
    lip_ranges_at(t->g, l, &from[1], &to[1]);
    for (size_t k = 0; k < s->r->slab[l].M; k++) {
      assert_near(from[0][k], from[1][k], by);
      assert_near(to[0][k], to[1][k], by);
    }
  }
  double low[2][8];
  for (int relaxed = 0; relaxed < 2; relaxed++)
    for (size_t y = 0; y < s->a.n_out; y++) {
      lip_ranges_margins(s->g, y, relaxed, low[0]);
      lip_ranges_margins(t->g, y, relaxed, low[1]);
      for (size_t j = 0; j < s->a.n_out; j++) assert_near(low[0][j], low[1][j], by);
    }
}

static void zeros_do_not_matter(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 0);
  size_t loose = 0;
  for (size_t i = 0; i < EXAMPLES; i++)
    for (int p = 0; p < 3; p++) {
      scene few, full;
      float x[200];
      double from[200], to[200];
      look(&few, &examples[i], i + 7, false, (lip_p)p);
      look(&full, &examples[i], i + 7, true, (lip_p)p);
      for (int t = 0; t < 12; t++) {
        draw(&rng, x, from, to, few.a.n_in);
        double eps = exp2(-6 + 7 * lip_rng_uniform(&rng)) * (p == LIP_PINF ? 0.2 : 1);
        lip_region region = {x, (lip_p)p, eps, t % 2, from, to, LIP_EXECUTED_EXACT, NULL, NULL};
        lip_ranges_start(few.g, &region);
        lip_ranges_start(full.g, &region);
        compare(&few, &full, 1e-8);
        lip_ranges_tighten(few.g);
        lip_ranges_tighten(full.g);
        compare(&few, &full, 1e-8);
        const reach *q = &few.g->reach[0];
        for (size_t k = 0; k < few.r->slab[0].M; k++) loose += q->low[k] != q->high[k];
      }
      look_away(&few);
      look_away(&full);
    }
  assert_true(loose > 1000);
}

/* Activations of the net behind block l from those before it. */
static void run_block(const lip_block *b, bool last, const long double *y, long double *z) {
  for (size_t k = 0; k < b->M; k++) {
    z[k] = (long double)b->b[k];
    for (size_t j = 0; j < b->N; j++) z[k] += (long double)b->W[k * b->N + j] * y[j];
  }
  if (last) return;
  for (size_t k = 0; b->mate && k < b->M; k++) {
    size_t m = b->mate[k];
    if (m <= k) continue;
    long double most = fmaxl(z[k], z[m]), least = fminl(z[k], z[m]);
    z[k] = b->descending ? most : least;
    z[m] = b->descending ? least : most;
  }
  for (size_t k = 0; k < b->n_phi; k++) {
    assert_true(b->phi && strcmp(b->phi->kind->desc.name, "relu") == 0);
    z[k] = fmaxl(z[k], 0);
  }
}

/* A point on the border of the region, cut with the box. */
static void place(const lip_region *r, size_t n, lip_rng *rng, long double *y) {
  double size = 0, d[200];
  for (size_t k = 0; k < n; k++) {
    d[k] = lip_rng_normal(rng);
    if (r->p == LIP_P1 && lip_rng_below(rng, 8)) d[k] = 0;
    if (r->p == LIP_PINF) d[k] = lip_rng_below(rng, 9) ? (d[k] > 0 ? 1 : -1) : d[k] / 5;
    size = r->p == LIP_PINF ? fmax(size, fabs(d[k])) : size + (r->p == LIP_P1 ? fabs(d[k]) : d[k] * d[k]);
  }
  if (r->p == LIP_P2) size = sqrt(size);
  for (size_t k = 0; k < n; k++) {
    y[k] = (long double)r->x[k] + (size > 0 ? (long double)(r->eps * (1 - 1e-12) * d[k] / size) : 0);
    if (r->boxed) y[k] = fmaxl((long double)r->from[k], fminl((long double)r->to[k], y[k]));
  }
}

static void check_point(const scene *s, const lip_region *r, lip_rng *rng, const double *low) {
  static long double values[2][2000];
  size_t n = s->a.n_out;
  place(r, s->a.n_in, rng, values[0]);
  for (size_t l = 0; l < s->a.n; l++) {
    const lip_block *b = &s->a.block[l];
    const reach *q = &s->g->reach[l];
    long double *z = values[(l + 1) % 2];
    assert_true(b->M <= 2000);
    run_block(b, l + 1 == s->a.n, values[l % 2], z);
    for (size_t k = 0; l + 1 < s->a.n && k < b->M; k++)
      assert_true((long double)q->y_from[k] <= z[k] && z[k] <= (long double)q->y_to[k]);
  }
  const long double *z = values[s->a.n % 2];
  for (size_t j = 0; j < n; j++) assert_true((long double)low[j] <= z[0] - z[j]);
}

static void sampled_points_are_inside(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(9, LIP_RNG_USER, 0);
  for (size_t i = 0; i < EXAMPLES; i++)
    for (int p = 0; p < 3; p++) {
      scene s;
      float x[200];
      double from[200], to[200], low[8];
      look(&s, &examples[i], i + 20, false, (lip_p)p);
      for (int t = 0; t < 8; t++) {
        draw(&rng, x, from, to, s.a.n_in);
        lip_region region = {
            x,    (lip_p)p, exp2(-4 + 4 * lip_rng_uniform(&rng)), t % 2, from, to, LIP_EXECUTED_EXACT,
            NULL, NULL};
        lip_ranges_start(s.g, &region);
        lip_ranges_tighten(s.g);
        lip_ranges_margins(s.g, 0, true, low);
        for (int n = 0; n < 25; n++) check_point(&s, &region, &rng, low);
      }
      look_away(&s);
    }
}

/* ---- products of rows ---- */

/* Margins with G and without it. */
static void margins_of(scene *s, const lip_region *region, double (*low)[8]) {
  double *gram = s->r->gram;
  assert_non_null(gram);
  for (int i = 0; i < 2; i++) {
    s->r->gram = i ? NULL : gram;
    lip_ranges_start(s->g, region);
    lip_ranges_tighten(s->g);
    lip_ranges_margins(s->g, 0, true, low[i]);
  }
  s->r->gram = gram;
}

static void products_of_rows_say_the_same(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(11, LIP_RNG_USER, 0);
  static const char *const layers[] = {"dense out=24;relu;dense out=17;relu;dense out=4",
                                       "dense out=6;maxmin;dense out=10;maxmin;dense out=4",
                                       "dense out=39;tanh;dense out=4"};
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
    scene s;
    float x[20];
    double low[2][8];
    look(&s, &(example){{1, {20, 0, 0}}, layers[i]}, 3, false, LIP_P2);
    for (int t = 0; t < 40; t++) {
      for (size_t k = 0; k < 20; k++) x[k] = (float)lip_rng_normal(&rng);
      lip_region region = {
          x, LIP_P2, exp2(-8 + 9 * lip_rng_uniform(&rng)), false, NULL, NULL, LIP_EXECUTED_EXACT, NULL, NULL};
      margins_of(&s, &region, low);
      for (size_t j = 1; j < 4; j++) assert_near(low[0][j], low[1][j], 1e-9);
    }
    look_away(&s);
  }
}

/* Two units that cancel: the row over the inputs is zero, and its length is what rounding may take of the products. */
static void cancelled_rows_have_a_length(void **state) {
  (void)state;
  scene s;
  float x[20], w[2 * 20], b[2] = {50, 50}, v[2 * 2] = {1, -1, 0, 0}, none[2] = {0, 0};
  double low[2][8];
  lip_err err;
  s.net = cert_build("2", (lip_shape){1, {20, 0, 0}}, "dense out=2;relu;dense out=2", 1, 1);
  for (size_t k = 0; k < 40; k++) w[k] = 1 + (float)(k % 20) / 3;
  for (size_t k = 0; k < 20; k++) x[k] = 0.1F * (float)k;
  cert_set_weights(s.net, 0, w);
  cert_set_bias(s.net, 0, b);
  cert_set_weights(s.net, 1, v);
  cert_set_bias(s.net, 1, none);
  assert_int_equal(lip_affine_init(&s.a, s.net, &err), LIP_OK);
  assert_int_equal(lip_relax_new(&s.a, LIP_P2, &s.r, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(s.r, &s.g, &err), LIP_OK);
  margins_of(&s, &(lip_region){x, LIP_P2, 1, false, NULL, NULL, LIP_EXECUTED_EXACT, NULL, NULL}, low);
  assert_true(low[0][1] < -1e-7 && low[0][1] > -1e-3); /* the square of the length is known to 1e-13 or so */
  assert_true(low[1][1] <= 0 && low[1][1] > -1e-9);
  look_away(&s);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_net *net = cert_build("2", examples[1].in, examples[1].layers, 1, 1);
  lip_err err;
  lip_affine a;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  bool done = false;
  for (size_t n = 1; !done; n++) {
    assert_true(n < 500);
    lip_relax *r = NULL;
    lip_ranges *g = NULL;
    lip_mem_fail_nth(n);
    lip_status status = lip_relax_new(&a, LIP_P2, &r, &err);
    if (!status) status = lip_ranges_new(r, &g, &err);
    lip_mem_fail_nth(0);
    done = status == LIP_OK;
    assert_true(done || status == LIP_MEMORY);
    lip_ranges_free(g);
    lip_relax_free(r);
  }
  lip_affine_free(&a);
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_those_of_the_matrix), cmocka_unit_test(zeros_do_not_matter),
      cmocka_unit_test(sampled_points_are_inside),    cmocka_unit_test(products_of_rows_say_the_same),
      cmocka_unit_test(cancelled_rows_have_a_length), cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
