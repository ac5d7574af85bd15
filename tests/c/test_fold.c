/* Known slopes taken into the next matrix: the same bounds as of a net whose matrices are multiplied by hand, float32
 * execution within its account, and what is not a number or no double left alone. */
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

#include "core/affine/block.h"
#include "core/base/mem.h"
#include "core/bound/bound.h"
#include "core/bound/method.h"
#include "core/cert/enclose.h"
#include "support_cert.h"
#include "support_layer.h"

static const char *const paths[] = {"1", "2", "inf"};

static lip_affine form_of(const lip_net *net) {
  lip_err err;
  lip_affine a;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_null(a.unknown);
  return a;
}

static lip_found ask(const char *method, const lip_net *net, const lip_affine *a) {
  lip_err err;
  lip_found f;
  lip_ask q = {.net = net,
               .affine = a,
               .path = net->conf.path,
               .p = lip_path_at(&net->conf.path, 0),
               .q = lip_path_at(&net->conf.path, lip_net_weighted(net)),
               .pairs = true,
               .seconds = INFINITY};
  if (lip_method_run(method, &q, &f, &err)) fail_msg("%s: %s", method, err.msg);
  return f;
}

/* Numbers of batch_norm and centre, of every sign, around `size`. */
static void stir(lip_layer *l, lip_rng *rng, double size) {
  const bool norm = strcmp(l->kind->desc.name, "batch_norm") == 0;
  for (size_t i = 0; i < l->n_child; i++) stir(l->child[i], rng, size);
  if (!norm && strcmp(l->kind->desc.name, "centre") != 0) return;
  for (size_t i = 0; i < l->n_param; i++)
    for (size_t c = 0; c < l->param[i].shape[0]; c++)
      l->param[i].value[c] = (float)(norm && i == 3 ? lip_rng_uniform(rng) : size * lip_rng_normal(rng));
}

/* ---- beside the net multiplied by hand ---- */

/* Dense `d` takes in the map in front of it (after: behind it), which becomes y = x. */
static void multiply_in(lip_layer *map, lip_layer *d, bool after) {
  float *W = d->param[0].value, *b = d->param[1].value;
  for (size_t i = 0; i < d->n_out; i++) {
    double sum = (double)b[i];
    for (size_t j = 0; j < d->n_in; j++) {
      float amb[3];
      map->kind->diagonal(map, after ? i : j, amb);
      if (!after) sum += (double)W[i * d->n_in + j] * ((double)amb[2] - (double)amb[0] * (double)amb[1]);
      W[i * d->n_in + j] *= amb[0];
      if (after && j == 0) sum = (double)amb[0] * (sum - (double)amb[1]) + (double)amb[2];
    }
    b[i] = (float)sum;
  }
}

static void close_to(double a, double b, const char *what, const char *text) {
  if (a == b || fabs(a - b) <= 3e-7 * fabs(b)) return;
  fail_msg("%s: %.17g, by hand %.17g: %s", what, a, b, text);
}

static void like_the_net_multiplied_by_hand(void **state) {
  (void)state;
  static const struct {
    const char *map, *front, *back; /* around the map */
    size_t at, dense, blocks;       /* the map; the dense layer it goes to */
  } nets[] = {
      {"standardise mean=0.13 std=0.31", "", "dense out=6;relu;dense out=5;relu;dense out=3", 0, 1, 3},
      {"standardise mean=0.13 std=0.31", "", "dense out=6;maxmin;dense out=3", 0, 1, 2},
      {"batch_norm", "", "dense out=6;relu;dense out=3", 0, 1, 2},
      {"centre", "", "dense out=6;relu;dense out=3", 0, 1, 2},
      {"batch_norm", "dense out=6;", "relu;dense out=3", 1, 0, 2},
      {"batch_norm", "dense out=6;", "maxmin;dense out=4;tanh;dense out=3", 1, 0, 3},
      {"scale factor=-2.7", "dense out=6;relu;", "dense out=5;relu;dense out=3", 2, 3, 3},
      {"scale factor=3.3 mean=2", "dense out=6;abs;dense out=3;", "flatten", 3, 2, 2}};
  for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
    for (size_t p = 0; p < 3; p++) {
      char text[300], plain[300];
      snprintf(text, sizeof text, "%s%s;%s", nets[i].front, nets[i].map, nets[i].back);
      snprintf(plain, sizeof plain, "%sdropout rate=0.1;%s", nets[i].front, nets[i].back);
      lip_net *net = cert_build(paths[p], (lip_shape){1, {9}}, text, 1.5, i);
      lip_net *mine = cert_build(paths[p], (lip_shape){1, {9}}, plain, 1.5, i);
      lip_rng rng = lip_rng_new(i, LIP_RNG_USER, 2);
      stir(net->root, &rng, 1.3);
      for (size_t l = 0; l < net->root->n_child; l++) {
        lip_layer *from = net->root->child[l], *to = mine->root->child[l];
        for (size_t k = 0; l != nets[i].at && k < from->n_param; k++)
          memcpy(to->param[k].value, from->param[k].value, lip_param_size(&from->param[k]) * sizeof(float));
      }
      multiply_in(net->root->child[nets[i].at], mine->root->child[nets[i].dense], nets[i].dense < nets[i].at);
      lip_affine a = form_of(net), b = form_of(mine);
      assert_int_equal(a.n, nets[i].blocks);
      assert_int_equal(b.n, nets[i].blocks);
      for (size_t l = 0; l < a.n; l++) {
        const lip_block *k = &a.block[l], *h = &b.block[l];
        assert_true(k->M == h->M && k->N == h->N && !h->fold);
        for (size_t e = 0; e < k->M * k->N; e++) {
          close_to(lip_block_weight(k, e), (double)h->W[e], "weight", text);
          assert_true(k->W[e] == (float)lip_block_weight(k, e));
        }
        for (size_t e = 0; e < k->M; e++)
          assert_true(fabs((double)k->b[e] - (double)h->b[e]) <= 1e-5 * (1 + fabs((double)h->b[e])));
      }
      for (size_t m = 1; lip_method_at(m); m++) {
        const char *name = lip_method_at(m)->name;
        lip_found f = ask(name, net, &a), g = ask(name, mine, &b);
        close_to(f.upper, g.upper, name, text);
        for (size_t e = 0; e < a.n_out * a.n_out; e++) close_to(f.pair[e], g.pair[e], name, text);
        lip_found_free(&f);
        lip_found_free(&g);
      }
      lip_affine_free(&a);
      lip_affine_free(&b);
      lip_net_free(net);
      lip_net_free(mine);
    }
}

/* One matrix: intervals of derivatives hold the exact products, which are no float32 numbers, and little else. */
static void derivatives_are_the_exact_products(void **state) {
  (void)state;
  enum { IN = 5, OUT = 4 };
  static const char *const texts[] = {"standardise mean=0.13 std=0.31;dense out=4",
                                      "dense out=4;scale factor=0.7"};
  for (size_t i = 0; i < 2; i++)
    for (uint64_t seed = 0; seed < 4; seed++) {
      lip_err err;
      double low[OUT * IN], high[OUT * IN], rounded = 0;
      lip_net *net = cert_build("2", (lip_shape){1, {IN}}, texts[i], 1.5, seed);
      lip_layer *map = net->root->child[i], *dense = net->root->child[1 - i];
      lip_affine a = form_of(net);
      lip_region region = {.x = (const float[IN]){0}, .p = LIP_P2, .eps = 0.5};
      assert_int_equal(lip_enclose_jacobian(&a, &region, low, high, &err), LIP_OK);
      for (size_t k = 0; k < OUT; k++)
        for (size_t j = 0; j < IN; j++) {
          float amb[3];
          map->kind->diagonal(map, i ? k : j, amb);
          double exact = (double)amb[0] * (double)dense->param[0].value[k * IN + j];
          double l = low[k * IN + j], h = high[k * IN + j];
          assert_true(l <= exact && exact <= h && h - l <= 1e-12 * fabs(exact));
          rounded += (double)(float)exact < l || (double)(float)exact > h;
        }
      assert_true(rounded > 10);
      lip_affine_free(&a);
      lip_net_free(net);
    }
}

/* ---- every kind ---- */

/* What `diagonal` says is what `slopes` and `range` say. */
static void every_kind_that_offers_it(void **state) {
  (void)state;
  test_case cases[LAYER_CASES];
  size_t n = layer_cases(cases, LAYER_CASES), seen = 0;
  for (size_t i = 0; i < n; i++) {
    lip_err err;
    rig r;
    const lip_layer_kind *kind = cases[i].spec->kind;
    if (!kind->diagonal || rig_open(&r, cases[i].spec, &cases[i].in, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN,
                                    LIP_INIT_HE, INFINITY, 2, &err))
      continue;
    lip_rng rng = lip_rng_new(i, LIP_RNG_USER, 3);
    double *low = calloc(2 * r.l->n_in, sizeof *low), *high = low + r.l->n_in;
    assert_true(low && kind->slopes && kind->range);
    stir(r.l, &rng, 3);
    kind->slopes(r.l, low, high);
    for (size_t k = 0; k < r.l->n_in; k++) {
      float amb[3];
      kind->diagonal(r.l, k, amb);
      assert_true(low[k] == (double)amb[0] && high[k] == (double)amb[0]);
      for (double x = -3; x < 4; x += 0.7) {
        lip_range at;
        kind->range(r.l, k, x, x, &at);
        long double y = (long double)amb[0] * ((long double)x - (long double)amb[1]) + (long double)amb[2];
        assert_true((long double)at.least <= y && y <= (long double)at.most);
        assert_true(at.most - at.least <= 1e-12 * (1 + fabs(at.least)));
      }
      seen++;
    }
    free(low);
    rig_close(&r);
  }
  for (size_t i = 0; i < n; i++) lip_spec_free(cases[i].spec);
  assert_true(seen > 20);
}

/* ---- as executed ---- */

/* The executed logits of one matrix lie in the interval of a ball of radius 0; returns the largest part of it that was
 * needed. */
static double inside(lip_net *net, const lip_affine *a, bool flush, size_t tries, double size,
                     uint64_t seed) {
  enum { MOST = 64 };
  lip_err err;
  lip_relax *r;
  lip_ranges *g;
  float x[MOST];
  double used = 0;
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 4);
  assert_true(a->n_in <= MOST);
  assert_int_equal(lip_relax_new(a, LIP_PINF, &r, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
  for (size_t t = 0; t < tries; t++) {
    const double *from, *to;
    float one = (float)(size * lip_rng_normal(&rng));
    for (size_t i = 0; i < a->n_in; i++) /* alike: errors add up */
      x[i] = t % 2 ? one : (float)(size * lip_rng_normal(&rng));
    lip_region region = {.x = x, .p = LIP_PINF, .executed = LIP_EXECUTED_FLOAT32};
    lip_ranges_start(g, &region);
    lip_ranges_at(g, a->n - 1, &from, &to);
    lip_net_forward(net, x, 1, flush && t % 4 > 1); /* training flushes denormals */
    for (size_t k = 0; k < a->n_out; k++) {
      double z = (double)net->logits[k], middle = from[k] + (to[k] - from[k]) / 2;
      if (from[k] == -INFINITY && to[k] == INFINITY) continue;
      if (!(from[k] <= z && z <= to[k]))
        fail_msg("seed %zu, size %g: %.9g not in [%.17g, %.17g]", (size_t)seed, size, z, from[k], to[k]);
      if (to[k] > from[k]) used = fmax(used, fabs(z - middle) / (0.5 * (to[k] - from[k])));
    }
  }
  lip_ranges_free(g);
  lip_relax_free(r);
  return used;
}

static const struct {
  const char *layers;
  size_t n_in, blocks;
} single[] = {{"standardise mean=0.13 std=0.31;dense out=3", 1, 1},
              {"standardise mean=0.13 std=0.31;dense out=8 bias=0", 1, 1},
              {"standardise mean=0.13 std=0.31;dense out=3", 7, 1},
              {"standardise mean=0.13 std=0.31;dense out=3", 64, 1},
              {"standardise mean=1e3 std=0.31;dense out=3", 5, 1},
              {"scale factor=1e12 std=1e-12;dense out=3 bias=0", 3, 1},
              {"scale factor=1e-12 std=1e12 mean=1e12;dense out=3", 3, 1},
              {"scale factor=1e-30 std=1e12;dense out=3", 3, 1},
              {"scale factor=0 mean=3;dense out=3", 3, 1},
              {"scale factor=-1;dense out=3", 3, 1},
              {"batch_norm;dense out=3", 5, 1},
              {"dense out=3;batch_norm", 5, 1},
              {"scale factor=2;dense out=3;scale factor=-0.5 mean=0.3", 5, 1},
              {"scale factor=2;scale factor=0.7 mean=0.3;dense out=3", 5, 1},
              {"centre;scale factor=0.7 mean=0.3;dense out=3", 5, 1},
              {"residual alpha=0.3 {standardise std=0.3;dense out=4}", 4, 0},
              {"concat {chain {standardise std=0.3 mean=1;dense out=4};chain {}}", 4, 0},
              {"sum {chain {batch_norm};chain {}}", 4, 0}};

static void executed_logits_are_in_the_allowance(void **state) {
  (void)state;
  double sharp = 0;
  for (size_t i = 0; i < sizeof single / sizeof *single; i++)
    for (uint64_t seed = 0; seed < 20; seed++) {
      lip_net *net = cert_build("inf", (lip_shape){1, {single[i].n_in}}, single[i].layers, 2, seed);
      lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 5);
      stir(net->root, &rng, pow(10, (double)(seed % 5) * 5 - 10));
      lip_affine a = form_of(net);
      const bool flush = !strstr(single[i].layers, "batch_norm") && !strstr(single[i].layers, "centre");
      if (single[i].blocks) assert_int_equal(a.n, single[i].blocks);
      for (int e = -42; e <= 36; e += e < -6 || e > 3 ? 6 : 1) {
        double used = inside(net, &a, flush, e == 0 && single[i].n_in == 1 ? 2000 : 12, pow(10, e), seed);
        if (single[i].n_in == 1 && e == 0) sharp = fmax(sharp, used);
      }
      lip_affine_free(&a);
      lip_net_free(net);
    }
  assert_true(sharp > 0.3 && sharp <= 1);
}

/* Deeper nets: margins over balls. */
static void executed_margins_stay_above(void **state) {
  (void)state;
  enum { IN = 6, OUT = 4, POINTS = 64 };
  static const char *const texts[] = {
      "standardise mean=0.13 std=0.31;dense out=8;relu;dense out=8;relu;dense out=4",
      "standardise mean=0.13 std=0.31;dense out=8;maxmin;dense out=4",
      "dense out=8;batch_norm;relu;dense out=8;batch_norm;maxmin;dense out=4",
      "dense out=8;tanh;scale factor=3.7 mean=0.2;dense out=8;abs;dense out=4",
      "residual mode=add {batch_norm;dense out=6;relu};dense out=4"};
  size_t known = 0;
  lip_rng rng = lip_rng_new(8, LIP_RNG_USER, 0);
  for (size_t s = 0; s < sizeof texts / sizeof *texts; s++)
    for (int p = 0; p < 3; p++)
      for (uint64_t seed = 0; seed < 6; seed++) {
        lip_err err;
        lip_relax *r;
        lip_ranges *g;
        float x[IN], y[POINTS * IN];
        double low[OUT];
        lip_net *net = cert_build(paths[p], (lip_shape){1, {IN}}, texts[s], 20, seed);
        stir(net->root, &rng, seed % 2 ? 1 : 1e3);
        lip_affine a = form_of(net);
        assert_int_equal(lip_relax_new(&a, (lip_p)p, &r, &err), LIP_OK);
        assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
        assert_int_equal(lip_net_reserve(net, POINTS, &err), LIP_OK);
        lip_rng_fill_uniform(&rng, x, IN, 0, seed < 3 ? 1 : 1e4f);
        for (double eps = 0; eps < 1; eps = eps * 10 + 1e-4) {
          lip_region region = {.x = x, .p = (lip_p)p, .eps = eps, .executed = LIP_EXECUTED_FLOAT32};
          lip_ranges_start(g, &region);
          lip_ranges_tighten(g);
          lip_ranges_margins(g, 0, true, low);
          for (size_t i = 0; i < POINTS;
               i++) { /* inside for every p: the l_1 norm of the step is at most eps */
            for (size_t k = 0; k < IN; k++) {
              double reach = p == LIP_PINF ? eps : eps / IN, sign = lip_rng_uniform(&rng) < 0.5 ? -1 : 1;
              float v = (float)((double)x[k] + sign * reach * (1 - 1e-6));
              y[i * IN + k] = fabs((double)v - (double)x[k]) <= reach ? v : x[k];
            }
          }
          lip_net_forward(net, y, POINTS, false);
          for (size_t i = 0; i < POINTS; i++)
            for (size_t j = 1; j < OUT; j++) {
              const float *z = net->logits + i * OUT;
              known += isfinite(low[j]) ? 1 : 0;
              assert_true(low[j] <= (double)z[0] - (double)z[j]);
            }
        }
        lip_ranges_free(g);
        lip_relax_free(r);
        lip_affine_free(&a);
        lip_net_free(net);
      }
  assert_true(known > 10000);
}

/* ---- brutal numbers ---- */

/* What is attained is never above what is proved. */
static void attained_stays_below(void **state) {
  (void)state;
  enum { POINTS = 8, IN = 5 };
  static const char *const texts[] = {"batch_norm;dense out=6;relu;dense out=3",
                                      "dense out=6;batch_norm;relu;dense out=4;batch_norm;relu;dense out=3",
                                      "batch_norm;dense out=6;maxmin;batch_norm;dense out=3",
                                      "residual alpha=0.3 {batch_norm;dense out=5;relu};dense out=3",
                                      "batch_norm;batch_norm;dense out=6;abs;dense out=3",
                                      "concat {chain {batch_norm;dense out=4;relu};batch_norm};dense out=3"};
  static const double sizes[] = {1, 1e-30, 1e30, 1e-42, 1e15, 1e-15, 1e38};
  size_t folded = 0, attained = 0;
  for (size_t s = 0; s < sizeof texts / sizeof *texts; s++)
    for (size_t e = 0; e < sizeof sizes / sizeof *sizes; e++)
      for (uint64_t seed = 0; seed < 3; seed++) {
        lip_err err;
        float x[POINTS * IN];
        double lower, pair[9];
        lip_net *net = cert_build(paths[seed % 3], (lip_shape){1, {IN}}, texts[s], 1.5, seed);
        lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 6);
        stir(net->root, &rng, sizes[e]);
        if (seed == 2 && net->root->child[0]->n_param > 0) net->root->child[0]->param[0].value[1] = 0;
        lip_affine a = form_of(net);
        for (size_t l = 0; l < a.n; l++) folded += a.block[l].fold != NULL;
        lip_rng_fill_normal(&rng, x, POINTS * IN, 0, 1);
        assert_int_equal(lip_bound_lower(net, NULL, x, POINTS, &lower, pair, &err), LIP_OK);
        attained += lower > 0;
        for (size_t m = 0; lip_method_at(m); m++) {
          lip_found f = ask(lip_method_at(m)->name, net, &a);
          if (!(f.upper >= lower))
            fail_msg("%s, size %g, seed %zu: %s %.17g, attained %.17g", texts[s], sizes[e], (size_t)seed,
                     lip_method_at(m)->name, f.upper, lower);
          for (size_t i = 0; i < 9; i++) assert_true(f.pair[i] >= pair[i]);
          lip_found_free(&f);
        }
        lip_affine_free(&a);
        lip_net_free(net);
      }
  assert_true(folded > 100 && attained > 60);
}

/* NaN, infinity, products beyond float32 and products that are no doubles stay where they are. */
static void what_is_not_folded(void **state) {
  (void)state;
  static const struct {
    const char *layers;
    float gamma, beta;
    size_t blocks;
  } nets[] = {{"batch_norm;dense out=4;relu;dense out=3", 1, 1, 2},
              {"batch_norm;dense out=4;relu;dense out=3", NAN, 1, 3},
              {"batch_norm;dense out=4;relu;dense out=3", INFINITY, 1, 3},
              {"batch_norm;dense out=4;relu;dense out=3", 1, NAN, 3},
              {"batch_norm;dense out=4;relu;dense out=3", 3e38f, 1, 3},
              {"batch_norm;dense out=4;relu;dense out=3", 1e-30f, 1, 2},
              {"dense out=4;batch_norm;dense out=3", 0.7f, 1, 2},
              {"residual mode=add {batch_norm};dense out=3", 0.7f, 0, 3}};
  for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
    lip_net *net = cert_build("2", (lip_shape){1, {5}}, nets[i].layers, 3, i);
    lip_layer *leaf[8];
    size_t n = lip_layer_leaves(net->root, leaf, 8);
    for (size_t l = 0; l < n; l++)
      if (leaf[l]->n_param == 4)
        leaf[l]->param[0].value[1] = nets[i].gamma, leaf[l]->param[1].value[2] = nets[i].beta;
    lip_affine a = form_of(net);
    if (a.n != nets[i].blocks) fail_msg("%s, %g: %zu blocks", nets[i].layers, (double)nets[i].gamma, a.n);
    for (size_t m = 1; lip_method_at(m) && !isfinite(nets[i].gamma); m++) {
      lip_found f = ask(lip_method_at(m)->name, net, &a);
      assert_true(f.upper == INFINITY);
      lip_found_free(&f);
    }
    lip_affine_free(&a);
    lip_net_free(net);
  }
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = cert_build("2", (lip_shape){1, {6}},
                            "standardise std=0.3;dense out=6;relu;batch_norm;abs;dense out=2", 1, 1);
  size_t held = lip_mem_used(), failed = 1;
  for (size_t n = 1; failed; n++) {
    lip_affine a;
    assert_true(n < 1000);
    lip_mem_fail_nth(n);
    lip_status status = lip_affine_init(&a, net, &err);
    if (!status) {
      lip_fold *copy = lip_fold_copy(&a.block[0]);
      if (copy) assert_memory_equal(copy->W, a.block[0].fold->W, 36 * sizeof(double));
      if (!copy) status = LIP_MEMORY;
      lip_fold_free(copy);
    }
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
    if (!failed) assert_int_equal(a.n, 3);
    lip_affine_free(&a);
    assert_int_equal(lip_mem_used(), held);
  }
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(like_the_net_multiplied_by_hand),
      cmocka_unit_test(derivatives_are_the_exact_products),
      cmocka_unit_test(every_kind_that_offers_it),
      cmocka_unit_test(executed_logits_are_in_the_allowance),
      cmocka_unit_test(executed_margins_stay_above),
      cmocka_unit_test(attained_stays_below),
      cmocka_unit_test(what_is_not_folded),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
