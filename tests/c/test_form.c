/* Nets with branches and pools as chains of wider matrices: what they compute, what methods say of them beside patterns
 * written out by hand and beside nets of the same matrices, and what holds when numbers are not finite. */
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
#include "core/base/mem.h"
#include "core/bound/bound.h"
#include "core/bound/method.h"
#include "core/cert/local.h"
#include "support_cert.h"
#include "support_layer.h"

enum { MOST = 64 };

static const char *const paths[] = {"1", "2", "inf"};

static lip_affine form_of(const lip_net *net) {
  lip_err err;
  lip_affine a;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
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

/* ---- the same net by hand ---- */

static lip_block *new_block(lip_affine *a, size_t M, size_t N) {
  lip_block *k = &a->block[a->n++];
  *k = (lip_block){.M = M, .N = N};
  k->W = lip_alloc(M * N, sizeof(float));
  k->b = lip_alloc(M, sizeof(float));
  k->low = lip_alloc(M, sizeof(double));
  k->high = lip_alloc(M, sizeof(double));
  assert_true(k->W && k->b && k->low && k->high);
  for (size_t i = 0; i < M; i++) k->low[i] = k->high[i] = 1;
  return k;
}

/* Rows of a dense layer times f at columns from `at` on. */
static void put(lip_block *k, size_t row, const lip_layer *l, size_t at, float f) {
  for (size_t i = 0; i < l->n_out; i++) {
    for (size_t j = 0; j < l->n_in; j++)
      k->W[(row + i) * k->N + at + j] = f * l->param[0].value[i * l->n_in + j];
    k->b[row + i] = f * l->param[1].value[i];
  }
}

static void identity(lip_block *k, size_t row, size_t n, size_t at, float f) {
  for (size_t i = 0; i < n; i++) k->W[(row + i) * k->N + at + i] = f;
}

static void relu(lip_block *k, size_t n) {
  for (size_t i = 0; i < n; i++) k->low[i] = 0;
}

/* y = a x + b f(x), f = dense, relu, dense of width 5, after a dense layer and relu, before a dense one. With `folded` the
 * sum stands in the matrix of the last layer inside, else behind it. */
static lip_affine by_hand(const lip_net *net, float a, float b, bool folded) {
  lip_layer *const *c = net->root->child;
  const lip_layer *first = c[0], *r = c[2], *head = c[3], *in = r->child[0], *out = r->child[2];
  lip_affine f = {.n_in = first->n_in, .n_out = head->n_out, .block = lip_alloc(6, sizeof(lip_block))};
  size_t w = 5;
  assert_non_null(f.block);
  lip_block *k = new_block(&f, w, first->n_in);
  put(k, 0, first, 0, 1);
  relu(k, w);
  k = new_block(&f, 2 * w, w); /* f beside x */
  put(k, 0, in, 0, 1);
  identity(k, w, w, 0, 1);
  relu(k, w);
  if (!folded) {
    k = new_block(&f, 2 * w, 2 * w);
    put(k, 0, out, 0, 1);
    identity(k, w, w, w, 1);
  }
  k = new_block(&f, w, 2 * w);
  if (folded)
    put(k, 0, out, 0, b);
  else
    identity(k, 0, w, 0, b);
  identity(k, 0, w, w, a);
  k = new_block(&f, head->n_out, w);
  put(k, 0, head, 0, 1);
  return f;
}

static void residuals_are_the_nets_they_stand_for(void **state) {
  (void)state;
  static const struct {
    const char *options;
    float a, b;
    bool folded;
  } how[] = {{"mode=add", 1, 1, true},
             {"alpha=0.5", 0.5f, 0.5f, true},
             {"alpha=0.75", 0.75f, 0.25f, false},
             {"alpha=0.3", 0.3f, 1 - 0.3f, false}};
  for (size_t i = 0; i < 4; i++)
    for (size_t p = 0; p < 3; p++) {
      char text[200];
      snprintf(text, sizeof text, "dense out=5;relu;residual %s {dense out=5;relu;dense out=5};dense out=3",
               how[i].options);
      lip_net *net = cert_build(paths[p], (lip_shape){1, {4}}, text, 1.5, i);
      lip_affine mine = by_hand(net, how[i].a, how[i].b, how[i].folded), form = form_of(net);
      assert_int_equal(form.n, mine.n);
      for (size_t l = 0; l < form.n; l++) {
        const lip_block *k = &form.block[l], *h = &mine.block[l];
        assert_true(k->M == h->M && k->N == h->N);
        assert_memory_equal(k->W, h->W, k->M * k->N * sizeof *k->W);
        assert_memory_equal(k->b, h->b, k->M * sizeof *k->b);
        assert_memory_equal(k->low, h->low, k->M * sizeof *k->low);
        assert_memory_equal(k->high, h->high, k->M * sizeof *k->high);
      }
      for (size_t m = 1; lip_method_at(m); m++) {
        lip_found f = ask(lip_method_at(m)->name, net, &form), g = ask(lip_method_at(m)->name, net, &mine);
        assert_true(f.upper == g.upper);
        assert_true(f.pair[1] == g.pair[1]);
        lip_found_free(&f);
        lip_found_free(&g);
      }
      lip_affine_free(&mine);
      lip_affine_free(&form);
      lip_net_free(net);
    }
}

/* ---- patterns written out ---- */

/* Slopes and winners of one pattern are taken from its bits, lowest first. Every residual is a x + b f, every sum b (f + g + ...). */
typedef struct pattern {
  unsigned bits;
  size_t used;
  double a, b;
} pattern;

static unsigned next_bit(pattern *s) {
  return s->bits >> s->used++ & 1;
}

/* J (n_in, n) -> (n_out, n): the Jacobian of the layer on one piece, in the order in which it computes. */
static void jacobian(const lip_layer *l, double *J, size_t n, pattern *s) {
  const char *kind = l->kind->desc.name;
  double x[MOST * MOST];
  memcpy(x, J, l->n_in * n * sizeof *x);
  if (l->kind->matrix && !l->kind->form) {
    float W[MOST * MOST], b[MOST];
    l->kind->matrix(l, W, b);
    memset(J, 0, l->n_out * n * sizeof *J);
    for (size_t i = 0; i < l->n_out; i++)
      for (size_t j = 0; j < l->n_in; j++)
        for (size_t c = 0; c < n; c++) J[i * n + c] += (double)W[i * l->n_in + j] * x[j * n + c];
  } else if (strcmp(kind, "relu") == 0) {
    for (size_t i = 0; i < l->n_in; i++) {
      double slope = next_bit(s);
      for (size_t c = 0; c < n; c++) J[i * n + c] *= slope;
    }
  } else if (strcmp(kind, "maxmin") == 0) {
    for (size_t i = 0; i < l->n_in; i += 2)
      if (next_bit(s)) {
        memcpy(J + i * n, x + (i + 1) * n, n * sizeof *J);
        memcpy(J + (i + 1) * n, x + i * n, n * sizeof *J);
      }
  } else if (strcmp(kind, "householder") == 0) {
    for (size_t i = 0; i < l->n_in; i += 2) {
      double angle = (double)l->param[0].value[i / 2], C = cos(angle), S = sin(angle);
      bool turned = next_bit(s);
      for (size_t c = 0; turned && c < n; c++) {
        J[i * n + c] = C * x[i * n + c] + S * x[(i + 1) * n + c];
        J[(i + 1) * n + c] = S * x[i * n + c] - C * x[(i + 1) * n + c];
      }
    }
  } else if (strcmp(kind, "max_pool2d") == 0) { /* 1xHxW, windows 2x2 side by side: two matches and a final */
    size_t W = l->in.dim[2], OW = l->out.dim[2];
    for (size_t o = 0; o < l->n_out; o++) {
      size_t at = o / OW * 2 * W + o % OW * 2, a = at + next_bit(s), b = at + W + next_bit(s);
      memcpy(J + o * n, x + (next_bit(s) ? a : b) * n, n * sizeof *J);
    }
  } else if (strcmp(kind, "concat") == 0 || strcmp(kind, "sum") == 0) {
    bool add = kind[0] == 's';
    double y[MOST * MOST] = {0};
    size_t row = 0;
    for (size_t i = 0; i < l->n_child; i++) {
      memcpy(J, x, l->n_in * n * sizeof *J);
      jacobian(l->child[i], J, n, s);
      for (size_t k = 0; k < l->child[i]->n_out * n; k++) y[row * n + k] += (add ? s->b : 1) * J[k];
      row += add ? 0 : l->child[i]->n_out;
    }
    memcpy(J, y, l->n_out * n * sizeof *J);
  } else if (l->n_child > 0) {
    for (size_t i = 0; i < l->n_child; i++) jacobian(l->child[i], J, n, s);
    if (strcmp(kind, "residual") != 0) return;
    for (size_t i = 0; i < l->n_out * n; i++) J[i] = s->a * x[i] + s->b * J[i];
  } else {
    assert_true(l->kind->flags & LIP_LAYER_ALIAS);
  }
}

static double norm_of(const double *v, size_t n, size_t stride, lip_p p) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    double t = fabs(v[i * stride]);
    sum = p == LIP_P1 ? sum + t : p == LIP_P2 ? sum + t * t : fmax(sum, t);
  }
  return p == LIP_P2 ? sqrt(sum) : sum;
}

/* ||J||_{p->p}, J (m, n). */
static double norm_of_matrix(const double *J, size_t m, size_t n, lip_p p) {
  double best = 0, v[MOST], t[MOST];
  for (size_t c = 0; p == LIP_P1 && c < n; c++) best = fmax(best, norm_of(J + c, m, n, LIP_P1));
  for (size_t i = 0; p == LIP_PINF && i < m; i++) best = fmax(best, norm_of(J + i * n, n, 1, LIP_P1));
  for (size_t c = 0; c < n; c++) v[c] = 1 + 0.1 * (double)c;
  for (int it = 0; p == LIP_P2 && it < 500; it++) {
    memset(t, 0, sizeof t);
    for (size_t i = 0; i < m; i++)
      for (size_t c = 0; c < n; c++) t[i] += J[i * n + c] * v[c];
    best = fmax(best, norm_of(t, m, 1, LIP_P2) / fmax(norm_of(v, n, 1, LIP_P2), 1e-300));
    memset(v, 0, sizeof v);
    for (size_t i = 0; i < m; i++)
      for (size_t c = 0; c < n; c++) v[c] += J[i * n + c] * t[i];
    double size = norm_of(v, n, 1, LIP_P2);
    for (size_t c = 0; c < n && size > 0; c++) v[c] /= size;
  }
  return best;
}

/* The largest over all patterns; how many bits one takes into *bits. */
static double over_patterns(const lip_net *net, lip_p p, double a, double b, size_t *bits) {
  double best = 0, J[MOST * MOST];
  size_t n = net->root->n_in;
  *bits = 0;
  for (unsigned k = 0; k >> *bits == 0; k++) {
    pattern s = {k, 0, a, b};
    memset(J, 0, sizeof J);
    for (size_t i = 0; i < n; i++) J[i * n + i] = 1;
    jacobian(net->root, J, n, &s);
    *bits = s.used;
    best = fmax(best, norm_of_matrix(J, net->root->n_out, n, p));
  }
  return best;
}

/* Radii in every norm, the one that the net was made for or another. Returns how many are not 0. */
static size_t holds(lip_net *net, const float *x, size_t seed) {
  size_t certified = 0;
  for (size_t p = 0; p < 3; p++) {
    lip_err err;
    lip_path path;
    assert_int_equal(lip_path_parse(paths[p], &path, &err), LIP_OK);
    lip_radius r = cert_with(net, x, &(lip_certify_conf){.path = &path});
    assert_int_equal(cert_attack(net, x, &r, (lip_p)p, 40, seed), 0);
    certified += r.radius > 0;
  }
  return certified;
}

static void attacked_and_attained(lip_net *net, const lip_affine *a, const char *text, double exact,
                                  size_t *certified) {
  enum { POINTS = 6 };
  lip_err err;
  float x[POINTS * MOST];
  double lower, pair[MOST];
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 1);
  lip_rng_fill_normal(&rng, x, POINTS * net->root->n_in, 0, 1);
  assert_int_equal(lip_bound_lower(net, NULL, x, POINTS, &lower, pair, &err), LIP_OK);
  assert_true(lower > 0 && lower <= exact * (1 + 1e-10));
  for (size_t m = 0; lip_method_at(m); m++) {
    lip_found f = ask(lip_method_at(m)->name, net, a);
    if (!(f.upper >= exact * (1 - 1e-10) && f.upper >= lower))
      fail_msg("%s: %s says %.17g, exact is %.17g, attained %.17g", text, lip_method_at(m)->name, f.upper,
               exact, lower);
    for (size_t k = 0; k < a->n_out * a->n_out; k++) assert_true(f.pair[k] >= pair[k]);
    lip_found_free(&f);
  }
  for (size_t i = 0; i < POINTS; i++) *certified += holds(net, x + i * net->root->n_in, i);
}

/* All residuals of these nets have the same a and b. Widths keep the number of patterns below 2^16. */
static const struct {
  lip_shape in;
  const char *layers;
  double a, b;
} small[] = {
    {{1, {4}}, "dense out=4;relu;residual {dense out=4;relu};dense out=3", 0.5, 0.5},
    {{1, {3}}, "residual mode=add {dense out=5;relu;dense out=3};dense out=2", 1, 1},
    {{1, {3}},
     "residual alpha=0.25 {dense out=3;relu};residual alpha=0.25 {dense out=3;relu};dense out=2",
     0.25,
     0.75},
    {{1, {4}},
     "dense out=3;residual mode=add {residual mode=add {dense out=3;relu};dense out=3;relu};dense out=2",
     1,
     1},
    {{1, {4}}, "dense out=4;residual {maxmin;dense out=4;maxmin};dense out=3", 0.5, 0.5},
    {{1, {4}}, "dense out=4;residual mode=add {relu};dense out=2", 1, 1},
    {{1, {3}},
     "residual mode=add {residual mode=add {residual mode=add {dense out=3}}};relu;dense out=2",
     1,
     1},
    {{1, {4}}, "residual mode=add {chain {dense out=4};chain {relu}};chain {dense out=2}", 1, 1},
    {{1, {4}}, "anchor at=0.7 value=-2 {dense out=4;relu;dense out=3}", 0, 0},
    {{1, {4}},
     "dense out=4;anchor at=-1 {maxmin;dense out=4;relu};residual {anchor value=1 {dense out=4}};dense out=2",
     0.5,
     0.5},
    {{3, {1, 2, 4}},
     "conv2d channels=1 kernel=3 padding=1;max_pool2d;flatten;dense out=2;relu;dense out=2",
     0,
     0},
    {{3, {1, 4, 2}},
     "residual {conv2d channels=1 kernel=3 padding=1;relu};max_pool2d kernel=2;flatten;dense out=2",
     0.5,
     0.5},
    {{1, {4}}, "dense out=4;householder;dense out=6;householder;dense out=3", 0, 0},
    {{1, {4}}, "dense out=4;residual {householder;dense out=4;householder};relu;dense out=3", 0.5, 0.5},
};

static void methods_agree_with_patterns(void **state) {
  (void)state;
  size_t held = lip_mem_used(), certified = 0;
  for (size_t i = 0; i < sizeof small / sizeof *small; i++)
    for (size_t p = 0; p < 3; p++) {
      lip_net *net = cert_build(paths[p], small[i].in, small[i].layers, 1.5, 10 * i + p);
      lip_affine a = form_of(net);
      size_t bits;
      double best = over_patterns(net, lip_path_at(&net->conf.path, 0), small[i].a, small[i].b, &bits);
      lip_found f = ask("exact", net, &a);
      if (!(f.upper >= best * (1 - 1e-10) && f.upper <= best * (1 + 1e-9)))
        fail_msg("%s (%zu bits): exact %.17g, patterns %.17g: %s", small[i].layers, bits, f.upper, best,
                 f.reason);
      attacked_and_attained(net, &a, small[i].layers, best, &certified);
      lip_found_free(&f);
      lip_affine_free(&a);
      lip_net_free(net);
    }
  assert_int_equal(lip_mem_used(), held);
  assert_true(certified > sizeof small / sizeof *small * 3 * 3 * 6 * 9 / 10);
}

/* ---- convolutions beside dense layers of the same matrices ---- */

static void convolutions_are_their_matrices(void **state) {
  (void)state;
  static const char *const layers[] = {"conv2d channels=3 kernel=3 padding=1;relu;conv2d channels=2 kernel=2 "
                                       "stride=2;relu;flatten;dense out=3",
                                       "flatten;dense out=48;relu;dense out=8;relu;dense out=3"};
  for (size_t p = 1; p < 3; p++) {
    lip_net *conv = cert_build(paths[p], (lip_shape){3, {1, 4, 4}}, layers[0], 1.5, p);
    lip_net *dense = cert_build(paths[p], (lip_shape){3, {1, 4, 4}}, layers[1], 1.5, p);
    for (size_t i = 0; i < 3; i++) {
      const lip_layer *l = lip_net_weighted_layer(conv, i);
      lip_layer *d = lip_net_weighted_layer(dense, i);
      assert_true(l->n_in == d->n_in && l->n_out == d->n_out);
      l->kind->matrix(l, d->param[0].value, d->param[1].value);
    }
    lip_affine a = form_of(conv), b = form_of(dense);
    double product = INFINITY;
    for (size_t m = 0; lip_method_at(m); m++) {
      const char *name = lip_method_at(m)->name;
      lip_found f = ask(name, conv, &a), g = ask(name, dense, &b);
      double slip = strcmp(name, "multiplier") == 0 ? 0.01 : 1e-9;
      bool both = strcmp(name, "exact") != 0;
      if (both && !(fabs(f.upper - g.upper) <= slip * g.upper))
        fail_msg("%s, norm %s: %.17g for convolutions, %.17g for their matrices", name, paths[p], f.upper,
                 g.upper);
      if (m == 0) product = f.upper; /* the first row of the table */
      if (strcmp(name, "multiplier") == 0) assert_true(f.upper < 0.9 * product);
      lip_found_free(&f);
      lip_found_free(&g);
    }
    lip_affine_free(&a);
    lip_affine_free(&b);
    lip_net_free(conv);
    lip_net_free(dense);
  }
}

/* ---- verdicts ---- */

static void local_radii_hold(void **state) {
  (void)state;
  enum { ROWS = 12 };
  static const double sizes[] = {0.01, 0.05, 0.2, 0.6};
  static const struct {
    lip_shape in;
    const char *layers;
  } nets[] = {
      {{1, {6}}, "dense out=8;relu;residual {dense out=8;relu;dense out=8};relu;dense out=3"},
      {{1, {6}}, "dense out=8;residual mode=add {maxmin;dense out=8};abs;dense out=3"},
      {{3, {2, 4, 4}}, "max_pool2d kernel=2;conv2d channels=4 kernel=2;relu;flatten;dense out=3"},
      {{3, {1, 6, 6}},
       "conv2d channels=2 kernel=3 padding=1;max_pool2d kernel=3 stride=2 padding=1;relu;flatten;dense "
       "out=3"},
      {{1, {12}}, "dense out=12;groupsort size=12;dense out=3"},
      {{1, {6}}, "dense out=6;anchor at=0.5 value=0.3 {relu;dense out=6;maxmin;dense out=6};dense out=3"},
      {{1, {6}}, "dense out=6;centre;relu;batch_norm;dense out=3"},
      {{1, {6}}, "dense out=6;householder;residual {dense out=6;householder};relu;dense out=3"},
      {{3, {2, 4, 4}},
       "conv2d channels=4 kernel=2;householder;conv2d channels=2 kernel=2;flatten;dense out=3"},
      {{1, {6}}, "concat {chain {dense out=4;relu};chain {dense out=4;maxmin}};dense out=6;relu;dense out=3"},
      {{1, {6}},
       "sum weights=0.3 {chain {dense out=6;relu;dense out=6};chain {}};sum {relu;dense out=6};dense out=3"},
  };
  size_t raised = 0;
  for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
    for (size_t p = 0; p < 3; p++) {
      lip_err err;
      lip_net *net = cert_build(paths[p], nets[i].in, nets[i].layers, 1.5, i);
      size_t n = net->root->n_in;
      float x[ROWS * MOST];
      lip_radius r[ROWS], before[ROWS];
      lip_certifier *global;
      lip_local *local;
      lip_p norm = lip_path_at(&net->conf.path, 0);
      lip_local_conf conf = {
          .p = norm, .eps = sizes, .n_eps = 4, .halvings = 4, .executed = LIP_EXECUTED_FLOAT32};
      lip_rng rng = lip_rng_new(i, LIP_RNG_USER, 2);
      lip_rng_fill_normal(&rng, x, ROWS * n, 0, 1);
      assert_int_equal(lip_net_reserve(net, ROWS, &err), LIP_OK);
      assert_int_equal(lip_certifier_new(net, NULL, &global, &err), LIP_OK);
      assert_int_equal(lip_certify(global, x, ROWS, before, &err), LIP_OK);
      memcpy(r, before, sizeof r);
      assert_int_equal(lip_local_new(net, &conf, &local, &err), LIP_OK);
      assert_null(lip_local_unknown(local));
      assert_int_equal(lip_local_certify(local, x, ROWS, r, &err), LIP_OK);
      for (size_t k = 0; k < ROWS; k++) {
        assert_true(r[k].radius >= before[k].radius);
        raised += r[k].radius > before[k].radius;
        assert_int_equal(cert_attack(net, x + k * n, &r[k], norm, 60, k), 0);
      }
      lip_local_free(local);
      lip_certifier_free(global);
      lip_net_free(net);
    }
  assert_true(raised > 60);
}

/* ---- hostile ---- */

/* A weight that is not a number, wherever it stands, leaves no method a finite bound. */
static void numbers_that_are_none_bound_nothing(void **state) {
  (void)state;
  static const char *const layers[] = {
      "dense out=4;relu;residual {dense out=4;relu;dense out=4};dense out=3",
      "residual mode=add {dense out=4};dense out=4;relu;dense out=3",
      "dense out=4;residual alpha=0 {dense out=4;relu};dense out=3",
      "residual alpha=1 {dense out=4};dense out=3",
      "pad channels=2;dense out=4;relu;dense out=3",
      "concat {chain {dense out=4;relu};dense out=2};dense out=3",
      "anchor at=0.5 {dense out=4;relu};dense out=3",
      "sum weights=0.5 {chain {dense out=4;relu;dense out=3};dense out=3}",
      "dense out=4;householder;dense out=4;residual {householder};dense out=3",
  };
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
    for (int k = 0; k < 3; k++) {
      static const float bad[] = {NAN, INFINITY, -INFINITY};
      lip_net *net = cert_build("2", (lip_shape){1, {4}}, layers[i], 1, i);
      lip_layer *leaf[8];
      size_t n = lip_layer_leaves(net->root, leaf, 8);
      for (size_t at = 0; at < n; at++) {
        float *w = &leaf[at]->param[0].value[lip_param_size(&leaf[at]->param[0]) - 1], old = *w;
        *w = bad[k];
        lip_affine a = form_of(net);
        for (size_t m = 0; lip_method_at(m); m++) {
          lip_found f = ask(lip_method_at(m)->name, net, &a);
          if (f.upper < INFINITY) fail_msg("%s: %s is %g", layers[i], lip_method_at(m)->name, f.upper);
          lip_found_free(&f);
        }
        lip_affine_free(&a);
        *w = old;
      }
      lip_net_free(net);
    }
}

static void nets_of_nothing_much(void **state) {
  (void)state;
  static const char *const layers[] = {
      "chain {};dense out=2",
      "residual {chain {}};dense out=2",
      "residual mode=add {flatten};dense out=2",
      "residual {dropout};relu",
      "chain {chain {chain {relu}}}",
      "residual {residual {residual {residual {abs}}}}",
      "concat {chain {}};sum {chain {}};dense out=2",
      "sum weights=3 {relu};concat {chain {};chain {}}",
      "select channels=2;pad channels=3;dense out=2",
  };
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
    lip_net *net = cert_build("inf", (lip_shape){1, {4}}, layers[i], 1, i);
    lip_affine a = form_of(net);
    assert_null(a.unknown);
    lip_found exact = ask("exact", net, &a), best = ask("best", net, &a);
    assert_true(exact.upper < INFINITY && exact.upper <= best.upper * (1 + 1e-9));
    lip_found_free(&exact);
    lip_found_free(&best);
    lip_affine_free(&a);
    lip_net_free(net);
  }
}

static void what_is_unknown_is_named(void **state) {
  (void)state;
  lip_net *net = cert_build(
      "2", (lip_shape){3, {1, 2, 2}},
      "conv2d channels=1 kernel=1;residual {chain {relu;l2_pool2d kernel=1}};flatten;dense out=2", 1, 1);
  lip_affine a = form_of(net);
  assert_string_equal(a.unknown, "l2_pool2d");
  assert_string_equal(a.inside, "residual");
  assert_int_equal(a.unknown_at, 1);
  lip_found f = ask("abs", net, &a);
  assert_non_null(strstr(f.reason, "layer 2 (residual: its l2_pool2d)"));
  lip_found_free(&f);
  lip_affine_free(&a);
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = cert_build("2", (lip_shape){3, {2, 4, 4}},
                            "residual alpha=0.3 {relu;anchor at=1 {conv2d channels=2 "
                            "kernel=1;maxmin;householder}};max_pool2d kernel=3 stride=1;space_to_depth "
                            "block=2;flatten;dense out=3",
                            1, 1);
  size_t held = lip_mem_used(), failed = 1;
  for (size_t n = 1; failed; n++) {
    lip_affine a;
    assert_true(n < 1000);
    lip_mem_fail_nth(n);
    lip_status status = lip_affine_init(&a, net, &err);
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
    if (!failed) assert_null(a.unknown);
    lip_affine_free(&a);
    assert_int_equal(lip_mem_used(), held);
  }
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(residuals_are_the_nets_they_stand_for),
      cmocka_unit_test(methods_agree_with_patterns),
      cmocka_unit_test(convolutions_are_their_matrices),
      cmocka_unit_test(local_radii_hold),
      cmocka_unit_test(numbers_that_are_none_bound_nothing),
      cmocka_unit_test(nets_of_nothing_much),
      cmocka_unit_test(what_is_unknown_is_named),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
