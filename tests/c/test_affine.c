/* The form in which bounds see a net: matrices, slopes and pairs give what the layers compute. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/affine/affine.h"
#include "core/affine/wide.h"
#include "core/base/mem.h"
#include "support_cert.h"
#include "support_layer.h"

static double *room(size_t n) {
  double *v = calloc(n ? n : 1, sizeof *v);
  assert_non_null(v);
  return v;
}

/* y = phi(z) of one block: the layer's own definition in double, or pairs put in order. */
static void respond(const lip_block *k, const double *z, double *y) {
  memcpy(y, z, k->M * sizeof *y);
  if (k->phi) assert_true(layer_in_double(k->phi, z, y));
  for (size_t i = 0; k->bend && i < k->n_phi; i++)
    y[i] = (z[i] < 0 ? k->bend[i].below : k->bend[i].above) * z[i];
  for (size_t a = 0; k->mate && a < k->M; a++) {
    size_t b = k->mate[a];
    if (b <= a) continue;
    double more = fmax(z[a], z[b]), less = fmin(z[a], z[b]);
    y[a] = k->descending ? more : less;
    y[b] = k->descending ? less : more;
  }
}

static double *through(const lip_block *k, const double *x) {
  double *z = room(k->M);
  for (size_t i = 0; i < k->M; i++) {
    z[i] = k->fold ? k->fold->c[i] : (double)k->b[i];
    for (size_t j = 0; j < k->N; j++) z[i] += lip_block_weight(k, i * k->N + j) * x[j];
  }
  return z;
}

/* Logits of x by the form; with another input beside it, every unit's quotient lies between its slopes. */
static double *evaluate(const lip_affine *a, const double *x, const double *other) {
  double *y = room(a->n_in), *v = room(a->n_in);
  memcpy(y, x, a->n_in * sizeof *y);
  memcpy(v, other, a->n_in * sizeof *v);
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *k = &a->block[l];
    double *z = through(k, y), *u = through(k, v), *before = room(k->M), *after = room(k->M);
    free(y), free(v);
    y = room(k->M), v = room(k->M);
    if (l + 1 == a->n) {
      memcpy(y, z, k->M * sizeof *y);
    } else {
      respond(k, z, y);
      respond(k, u, v);
      for (size_t i = 0; i < k->M; i++) before[i] = z[i] - u[i], after[i] = y[i] - v[i];
      lip_block_turn(k, before, 1, false);
      lip_block_turn(k, after, 1, false);
      for (size_t i = 0; i < k->M; i++) {
        double s = k->low[i] * before[i], t = k->high[i] * before[i];
        double noise = 1e-13 * (1 + fabs(z[i]) + fabs(u[i]) + fabs(y[i]) + fabs(v[i]) + fabs(s) + fabs(t));
        if (k->mate) noise *= 10;
        assert_true(after[i] >= fmin(s, t) - noise && after[i] <= fmax(s, t) + noise);
      }
    }
    free(z), free(u), free(before), free(after);
  }
  free(v);
  return y;
}

static void check_shape(const lip_affine *a, const lip_net *net) {
  assert_null(a->unknown);
  assert_true(a->n >= 1);
  assert_int_equal(a->n_in, net->root->n_in);
  assert_int_equal(a->n_out, net->root->n_out);
  assert_int_equal(a->block[0].N, a->n_in);
  assert_int_equal(a->block[a->n - 1].M, a->n_out);
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *k = &a->block[l];
    if (l > 0) assert_int_equal(k->N, a->block[l - 1].M);
    for (size_t i = 0; i < k->M; i++) {
      assert_true(k->low[i] <= k->high[i]);
      if (i >= k->n_phi && !k->mate) assert_true(k->low[i] == 1 && k->high[i] == 1);
      if (k->mate) {
        assert_true(k->mate[i] < k->M);
        assert_int_equal(k->mate[k->mate[i]], i);
      }
      if (l + 1 == a->n) assert_true(k->low[i] == 1 && k->high[i] == 1 && !k->mate && k->n_phi == 0);
    }
  }
}

/* The form, the layers in double and the executed net say the same of some inputs. */
static void check_net(lip_net *net) {
  lip_err err;
  lip_affine a;
  size_t n = net->root->n_in, C = net->root->n_out;
  double *x = room(n), *other = room(n), *z = room(C);
  float *f = malloc(n * sizeof *f);
  assert_non_null(f);
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  check_shape(&a, net);
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 3);
  for (int t = 0; t < 12; t++) {
    double step = t % 3 == 0 ? 1 : t % 3 == 1 ? 1e-2 : 1e-5;
    for (size_t i = 0; i < n; i++) {
      f[i] = (float)(1.5 * lip_rng_normal(&rng));
      x[i] = (double)f[i];
      other[i] = x[i] + step * lip_rng_normal(&rng);
    }
    double *y = evaluate(&a, x, other);
    assert_true(layer_in_double(net->root, x, z));
    lip_net_forward(net, f, 1, false);
    for (size_t i = 0; i < C; i++) {
      double size = 1;
      for (size_t j = 0; j < C; j++) size = fmax(size, fabs(z[j]));
      assert_true(fabs(y[i] - z[i]) <= 1e-12 * size);
      assert_true(fabs(y[i] - (double)net->logits[i]) <= 1e-4 * size);
    }
    free(y);
  }
  lip_affine_free(&a);
  assert_int_equal(a.n, 0);
  free(x), free(other), free(z), free(f);
}

/* ---- every kind ---- */

static lip_net *net_of(lip_spec *const *specs, size_t n, lip_shape in) {
  lip_err err;
  lip_net *net;
  lip_net_conf conf = {.input = in, .path = {1, {LIP_P2}}, .budget = INFINITY, .seed = 4};
  return lip_net_new(&conf, specs, n, NULL, &net, &err) ? NULL : net;
}

/* A kind that offers a form agrees with itself, one that does not is named. */
static void every_kind_alone_and_in_a_chain(void **state) {
  (void)state;
  lip_err err;
  lip_affine a;
  test_case cases[LAYER_CASES];
  size_t n = layer_cases(cases, LAYER_CASES), known = 0, unknown = 0, longer = 0;
  assert_true(n > 20);
  for (size_t i = 0; i < n; i++) {
    const lip_layer_kind *kind = cases[i].spec->kind;
    bool offers =
        kind->matrix || kind->slopes || kind->exchange || kind->form || kind->flags & LIP_LAYER_ALIAS;
    lip_net *net = net_of(&cases[i].spec, 1, cases[i].in);
    if (net) {
      assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
      if (!a.unknown) {
        assert_true(offers);
        check_net(net);
        known++;
        lip_spec *twice[] = {cases[i].spec, cases[i].spec, cases[i].spec};
        lip_net *chain = net_of(twice, 3, cases[i].in);
        if (chain) check_net(chain), longer++;
        lip_net_free(chain);
      } else {
        assert_string_equal(a.unknown, kind->desc.name);
        assert_null(a.inside);
        assert_int_equal(a.n, 0);
        assert_null(a.block);
        /* groups of more than 64 values alone have an entry and no form */
        if (offers) assert_non_null(kind->exchange);
        unknown++;
      }
      lip_affine_free(&a);
    }
    lip_net_free(net);
  }
  for (size_t i = 0; i < n; i++) lip_spec_free(cases[i].spec);
  assert_true(known > 20);
  assert_true(unknown > 3);
  assert_true(longer > 10);
}

/* ---- unusual nets ---- */

static void unusual_chains(void **state) {
  (void)state;
  static const struct {
    lip_shape in;
    const char *layers;
    size_t blocks;
  } nets[] = {
      {{1, {5}}, "dense out=4", 1},
      {{1, {5}}, "dense out=4;dense out=3", 2},
      {{1, {5}}, "dense out=4;dense out=6;relu;dense out=3", 3},
      {{1, {5}}, "relu", 2},
      {{1, {5}}, "relu;abs", 3},
      {{1, {6}}, "dense out=4;maxmin", 2},
      {{1, {6}}, "maxmin", 2},
      {{1, {6}}, "dense out=4;scale factor=-3;relu;dense out=2", 2},
      {{1, {6}}, "dense out=4;scale factor=1;relu;dense out=2", 2},
      {{1, {6}}, "dense out=4;scale factor=0;dense out=2", 1},
      {{1, {6}}, "standardise mean=0.3 std=0.5;dense out=4;leaky_relu slope=0.1;dense out=2", 2},
      {{1, {6}}, "dense out=4;leaky_relu slope=1;maxmin;dense out=2", 3},
      {{1, {6}}, "dropout rate=0.5;dense out=4;dropout rate=0.5;relu;dropout rate=0.1;dense out=2", 2},
      {{1, {6}}, "dense out=8;maxmin;dense out=4;maxmin;dense out=2", 3},
      {{1, {1}}, "dense out=1;tanh;dense out=1", 2},
      {{1, {6}}, "dense out=6;groupsort size=3;sigmoid;dense out=2", 5},
      {{1, {65}}, "fullsort", 0},
      {{1, {9}}, "fullsort", 11},
      {{1, {8}}, "fullsort", 7},
      {{3, {2, 7, 6}}, "conv2d channels=4 kernel=3 stride=2 padding=1;maxmin;flatten;dense out=3", 2},
      {{3, {4, 6, 5}},
       "conv2d channels=6 kernel=3 groups=2 padding=2;relu;conv2d channels=2 kernel=2 stride=3;abs",
       3},
      {{3, {4, 5, 5}},
       "conv2d channels=4 kernel=5 stride=1 padding=4 groups=4 bias=0;groupsort size=4;flatten;dense out=2",
       4},
      {{3, {3, 4, 4}}, "flatten;dense out=6;softplus beta=3;dense out=2", 2},
      {{3, {2, 3, 3}}, "maxmin;conv2d channels=2 kernel=1;maxmin", 3},
  };
  for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
    lip_err err;
    lip_affine a;
    lip_net *net = cert_build("2", nets[i].in, nets[i].layers, 1.2, i);
    assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
    if (a.n != nets[i].blocks) fail_msg("%s: %zu blocks", nets[i].layers, a.n);
    lip_affine_free(&a);
    if (nets[i].blocks) check_net(net);
    lip_net_free(net);
  }
}

static void groups_of_every_size(void **state) {
  (void)state;
  for (size_t size = 1; size <= 65; size += size < 20 ? 1 : 15)
    for (size_t image = 0; image < 2; image++) {
      char text[100];
      lip_err err;
      lip_affine a;
      snprintf(text, sizeof text, "groupsort size=%zu;flatten;dense out=3", size);
      lip_shape in = image ? (lip_shape){3, {2 * size, 2, 1}} : (lip_shape){1, {3 * size}};
      lip_net *net = cert_build("inf", in, text, 1, size);
      assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
      if (size > 64)
        assert_string_equal(a.unknown, "groupsort");
      else
        check_net(net);
      lip_affine_free(&a);
      lip_net_free(net);
    }
}

/* A matrix that nobody could hold is unknown, not an error. */
static void too_large_is_unknown(void **state) {
  (void)state;
  lip_err err;
  lip_affine a;
  lip_net *net =
      cert_build("inf", (lip_shape){3, {1, 128, 128}}, "conv2d channels=8 kernel=3 padding=1;relu", 1, 1);
  size_t before = lip_mem_used();
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_string_equal(a.unknown, "conv2d");
  assert_int_equal(a.n_out, 8 * 128 * 128);
  assert_int_equal(lip_mem_used(), before);
  lip_affine_free(&a);
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = cert_build("2", (lip_shape){1, {6}},
                            "maxmin;dense out=6;groupsort size=3;relu;scale factor=2;abs", 1, 1);
  size_t held = lip_mem_used(), failed = 1;
  for (size_t n = 1; failed; n++) {
    lip_affine a;
    assert_true(n < 1000);
    lip_mem_fail_nth(n);
    lip_status status = lip_affine_init(&a, net, &err);
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
    if (!failed) assert_int_equal(a.n, 7);
    lip_affine_free(&a);
    assert_int_equal(lip_mem_used(), held);
  }
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_alone_and_in_a_chain),
      cmocka_unit_test(unusual_chains),
      cmocka_unit_test(groups_of_every_size),
      cmocka_unit_test(too_large_is_unknown),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
