/* Bounds and certificates against brute force: every activation pattern of small nets, sampled quotients, attacks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/affine/rounding.h"
#include "core/affine/walk.h"
#include "core/base/mem.h"
#include "core/bound/bound.h"
#include "support_cert.h"
#include "support_layer.h"

enum { IN = 4, H = 6, OUT = 3 };

static const char *const paths[] = {"1", "2", "inf", "1->inf", "1->2", "2->inf"};
static const char *const activations[] = {"relu", "abs", "maxmin"};
enum { PATHS = sizeof paths / sizeof *paths, ACTIVATIONS = sizeof activations / sizeof *activations };

/* Small nets: IN - H - activation - OUT. NULL when the activation is not built in. */
static lip_net *small_net(const char *path, const char *activation, uint64_t seed) {
  if (!lip_layer_kind_find(activation)) fail_msg("no layer %s", activation);
  const piece p[] = {{"dense", H}, {activation, 0}, {"dense", OUT}};
  return cert_net(path, IN, p, 3, 1.5, seed, NULL);
}

/* ---- the oracle, written out for itself ---- */

static double vector_norm(const double *v, size_t n, lip_p p) {
  double s = 0;
  for (size_t i = 0; i < n; i++)
    s = p == LIP_P1 ? s + fabs(v[i]) : p == LIP_P2 ? s + v[i] * v[i] : fmax(s, fabs(v[i]));
  return p == LIP_P2 ? sqrt(s) : s;
}

/* ||A||_{p->q} of A (m, IN): columns, rows, or the power method. */
static double matrix_norm(const double *A, size_t m, lip_pq pq) {
  double best = 0, col[OUT];
  if (pq.p == LIP_P1) {
    for (size_t k = 0; k < IN; k++) {
      for (size_t i = 0; i < m; i++) col[i] = A[i * IN + k];
      best = fmax(best, vector_norm(col, m, pq.q));
    }
    return best;
  }
  if (pq.q == LIP_PINF) {
    for (size_t i = 0; i < m; i++) best = fmax(best, vector_norm(A + i * IN, IN, lip_p_dual(pq.p)));
    return best;
  }
  double v[IN] = {1, 0.7, -0.4, 0.3};
  for (int it = 0; it < 500; it++) {
    double t[OUT] = {0}, s[IN] = {0};
    for (size_t i = 0; i < m; i++)
      for (size_t k = 0; k < IN; k++) t[i] += A[i * IN + k] * v[k];
    for (size_t i = 0; i < m; i++)
      for (size_t k = 0; k < IN; k++) s[k] += A[i * IN + k] * t[i];
    double size = vector_norm(s, IN, LIP_P2);
    best = vector_norm(t, m, LIP_P2) / vector_norm(v, IN, LIP_P2);
    for (size_t k = 0; k < IN; k++) v[k] = size > 0 ? s[k] / size : v[k];
  }
  return best;
}

/* h = D W1 for one activation pattern. */
static void apply_pattern(const char *activation, unsigned bits, const float *W1, double *h) {
  for (size_t o = 0; o < H; o++) {
    size_t from = o;
    double slope = 1;
    if (strcmp(activation, "relu") == 0)
      slope = bits >> o & 1;
    else if (strcmp(activation, "abs") == 0)
      slope = bits >> o & 1 ? 1 : -1;
    else if (bits >> (o / 2) & 1)
      from = o ^ 1;
    for (size_t k = 0; k < IN; k++) h[o * IN + k] = slope * (double)W1[from * IN + k];
  }
}

/* Largest norm over all patterns of rows V (m, H) times D W1. */
static double over_patterns(const lip_net *net, const char *activation, const double *V, size_t m,
                            lip_pq pq) {
  const float *W1 = lip_net_weighted_layer(net, 0)->param[0].value;
  double best = 0, h[H * IN], J[OUT * IN];
  for (unsigned bits = 0; bits < 1u << H; bits++) {
    apply_pattern(activation, bits, W1, h);
    memset(J, 0, sizeof J);
    for (size_t i = 0; i < m; i++)
      for (size_t o = 0; o < H; o++)
        for (size_t k = 0; k < IN; k++) J[i * IN + k] += V[i * H + o] * h[o * IN + k];
    best = fmax(best, matrix_norm(J, m, pq));
  }
  return best;
}

static double true_constant(const lip_net *net, const char *activation, lip_pq pq) {
  const float *W2 = lip_net_weighted_layer(net, 1)->param[0].value;
  double V[OUT * H];
  for (size_t i = 0; i < (size_t)OUT * H; i++) V[i] = (double)W2[i];
  return over_patterns(net, activation, V, OUT, pq);
}

/* ---- bounds ---- */

static void product_is_above_every_pattern(void **state) {
  (void)state;
  for (size_t a = 0; a < ACTIVATIONS; a++)
    for (size_t p = 0; p < PATHS; p++)
      for (uint64_t seed = 0; seed < 4; seed++) {
        lip_net *net = small_net(paths[p], activations[a], seed);
        lip_err err;
        lip_bound b;
        double lower;
        float x[8 * IN];
        lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 1);
        lip_rng_fill_normal(&rng, x, 8 * IN, 0, 1);
        assert_int_equal(lip_bound_product(net, &b, &err), LIP_OK);
        assert_int_equal(lip_bound_lower(net, NULL, x, 8, &lower, NULL, &err), LIP_OK);
        double exact = true_constant(net, activations[a], b.pq);
        assert_true(b.upper >= exact * (1 - 1e-12));
        assert_true(b.upper <= exact * 40); /* and is not infinity in disguise */
        assert_true(lower <= exact * (1 + 1e-12));
        assert_true(lower >= exact * 0.5); /* the search finds most of it on nets this small */
        assert_null(b.unknown);
        assert_int_equal(b.n, 3);
        assert_true(isnan(b.slack));
        lip_bound_free(&b);
        lip_net_free(net);
      }
}

static void pairs_are_above_every_pattern(void **state) {
  (void)state;
  for (size_t a = 0; a < ACTIVATIONS; a++)
    for (size_t p = 0; p < PATHS; p++) {
      lip_net *net = small_net(paths[p], activations[a], 11 + p);
      lip_err err;
      lip_certifier *c;
      assert_int_equal(lip_certifier_new(net, NULL, &c, &err), LIP_OK);
      assert_int_equal(lip_certifier_classes(c), OUT);
      const double *pairs = lip_certifier_pairs(c);
      const float *W2 = lip_net_weighted_layer(net, 1)->param[0].value;
      lip_pq pq = {lip_path_at(&net->conf.path, 0), LIP_PINF};
      for (size_t i = 0; i < OUT; i++)
        for (size_t j = 0; j < OUT; j++) {
          double v[H];
          for (size_t o = 0; o < H; o++) v[o] = (double)W2[i * H + o] - (double)W2[j * H + o];
          double exact = over_patterns(net, activations[a], v, 1, pq);
          assert_true(pairs[i * OUT + j] >= exact * (1 - 1e-12));
          assert_true(i == j ? pairs[i * OUT + j] == 0 : pairs[i * OUT + j] <= 40 * exact);
        }
      lip_certifier_free(c);
      lip_net_free(net);
    }
}

/* Powers of two move between layers without changing a bit (relu is positively homogeneous). */
static void scaling_by_powers_of_two_changes_nothing(void **state) {
  (void)state;
  for (size_t p = 0; p < PATHS; p++) {
    lip_net *net = small_net(paths[p], "relu", 3);
    lip_err err;
    lip_bound before, after;
    assert_int_equal(lip_bound_product(net, &before, &err), LIP_OK);
    lip_layer *l0 = lip_net_weighted_layer(net, 0), *l1 = lip_net_weighted_layer(net, 1);
    for (size_t i = 0; i < (size_t)IN * H; i++) l0->param[0].value[i] *= 64;
    for (size_t i = 0; i < (size_t)OUT * H; i++) l1->param[0].value[i] /= 64;
    assert_int_equal(lip_bound_product(net, &after, &err), LIP_OK);
    assert_true(fabs(before.upper - after.upper) <= 1e-10 * before.upper);
    lip_bound_free(&before);
    lip_bound_free(&after);
    lip_net_free(net);
  }
}

static void bound_along_another_path(void **state) {
  (void)state;
  lip_net *net = small_net("inf", "relu", 5);
  lip_err err;
  lip_path path;
  lip_bound b;
  for (size_t p = 0; p < PATHS; p++) {
    assert_int_equal(lip_path_parse(paths[p], &path, &err), LIP_OK);
    assert_int_equal(lip_bound_along(net, &path, &b, &err), LIP_OK);
    assert_int_equal(b.pq.p, lip_path_at(&path, 0));
    assert_int_equal(b.pq.q, lip_path_at(&path, 2));
    assert_true(b.upper >= true_constant(net, "relu", b.pq) * (1 - 1e-12));
    assert_true(isfinite(b.upper));
    lip_bound_free(&b);
  }
  path = (lip_path){2, {LIP_PINF, LIP_P2}}; /* a step down is unknown, never a number */
  assert_int_equal(lip_bound_along(net, &path, &b, &err), LIP_OK);
  assert_true(isinf(b.upper));
  assert_string_equal(b.unknown, "dense");
  lip_bound_free(&b);
  lip_net_free(net);
}

/* ---- a layer nobody knows anything about ---- */

static lip_status mystery_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  (void)l, (void)spec, (void)plan, (void)err;
  return LIP_OK;
}
static void mystery_forward(const lip_layer *l, const lip_pass *pass) {
  memcpy(l->y + pass->r0 * l->n_in, l->x + pass->r0 * l->n_in,
         (pass->r1 - pass->r0) * l->n_in * sizeof(float));
}
static void mystery_backward(const lip_layer *l, const lip_pass *pass) {
  memcpy(l->dx + pass->r0 * l->n_in, l->dy + pass->r0 * l->n_in,
         (pass->r1 - pass->r0) * l->n_in * sizeof(float));
}
static const lip_layer_kind mystery = {.desc = {"mystery", "states no constant", NULL, 0},
                                       .plan = mystery_plan,
                                       .forward = mystery_forward,
                                       .backward = mystery_backward};

static void unknown_layers_are_infinity_and_named(void **state) {
  (void)state;
  lip_err err;
  const lip_layer_kind *dense = lip_layer_kind_find("dense");
  lip_spec *spec[3] = {lip_spec_new(&mystery), lip_spec_new(dense), NULL};
  assert_true(spec[0] && spec[1]);
  assert_int_equal(lip_conf_set_number(&dense->desc, spec[1]->conf, "out", 3, &err), LIP_OK);
  lip_net_conf conf = {.input = {1, {2, 0, 0}}, .path = {1, {LIP_P2}}, .budget = INFINITY};
  lip_net *net;
  assert_int_equal(lip_net_new(&conf, spec, 2, NULL, &net, &err), LIP_OK);
  lip_bound b;
  assert_int_equal(lip_bound_product(net, &b, &err), LIP_OK);
  assert_true(isinf(b.upper));
  assert_string_equal(b.unknown, "mystery");
  lip_bound_free(&b);
  const float x[] = {3, -1}, zero[6] = {0};
  assert_true(cert_one(net, x).radius == 0);
  cert_set_weights(net, 0, zero); /* zero times unknown stays unknown */
  cert_set_bias(net, 0, (float[]){1, 0, 0});
  assert_int_equal(lip_bound_product(net, &b, &err), LIP_OK);
  assert_true(isinf(b.upper));
  lip_bound_free(&b);
  assert_true(cert_one(net, x).radius == 0);
  double lower = -1;
  assert_int_equal(lip_bound_lower(net, NULL, x, 1, &lower, NULL, &err), LIP_OK);
  assert_true(lower == 0);
  lip_net_free(net);
  lip_spec_free(spec[0]);
  lip_spec_free(spec[1]);
}

/* ---- certificates ---- */

static void attack_rows(lip_net *net, size_t rows, uint64_t seed, size_t *certified, size_t *flips) {
  lip_err err;
  lip_certifier *c;
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 2);
  size_t n = net->root->n_in;
  float *x = malloc(rows * n * sizeof *x);
  lip_radius *r = malloc(rows * sizeof *r);
  assert_true(x && r);
  lip_rng_fill_normal(&rng, x, rows * n, 0, 1);
  assert_int_equal(lip_net_reserve(net, rows, &err), LIP_OK);
  assert_int_equal(lip_certifier_new(net, NULL, &c, &err), LIP_OK);
  assert_int_equal(lip_certify(c, x, rows, r, &err), LIP_OK);
  for (size_t i = 0; i < rows; i++) {
    assert_int_equal(r[i].label, cert_label(net, x + i * n));
    *certified += r[i].radius > 0;
    *flips += cert_attack(net, x + i * n, &r[i], lip_path_at(&net->conf.path, 0), 60, seed + i);
  }
  lip_certifier_free(c);
  free(x);
  free(r);
}

static void no_certified_label_can_be_flipped(void **state) {
  (void)state;
  for (size_t p = 0; p < PATHS; p++)
    for (size_t a = 0; a < ACTIVATIONS; a++) {
      size_t certified = 0, flips = 0;
      lip_net *net = small_net(paths[p], activations[a], 21 + a);
      attack_rows(net, 12, 5, &certified, &flips);
      assert_int_equal(flips, 0);
      assert_int_equal(certified, 12);
      lip_net_free(net);
      const piece deep[] = {
          {"dense", 16}, {activations[a], 0}, {"dense", 12}, {activations[a], 0}, {"dense", 5}};
      net = cert_net(paths[p], 10, deep, 5, 1.5, a, NULL);
      attack_rows(net, 6, 6, &certified, &flips);
      assert_int_equal(flips, 0);
      lip_net_free(net);
    }
}

/* Between two dense layers, or in front of one where it wants an image (of IN values). */
static lip_net *net_around(const char *path, const lip_layer_kind *kind, uint64_t seed) {
  static const lip_shape images[] = {{3, {IN / 4, 2, 2}}, {3, {IN, 1, 1}}};
  lip_spec *spec = lip_spec_new(kind);
  char text[100];
  bool flat = layer_plans(spec, (lip_shape){1, {H, 0, 0}}), first = layer_plans(spec, images[0]);
  lip_spec_free(spec);
  if (flat) return small_net(path, kind->desc.name, seed);
  snprintf(text, sizeof text, "%s;flatten;dense out=%d;maxmin;dense out=%d", kind->desc.name, H, OUT);
  return cert_build(path, images[first ? 0 : 1], text, 1.5, seed);
}

/* Every built-in kind that works without being told more: what has a constant is certified, and no certificate is
 * broken; what has none is refused. */
static void every_kind_is_certified_or_refused(void **state) {
  (void)state;
  size_t certified = 0, refused = 0;
  for (size_t k = 0; lip_layer_kind_at(k); k++) {
    const lip_layer_kind *kind = lip_layer_kind_at(k);
    bool asks = kind->flags & (LIP_LAYER_CONTAINER | LIP_LAYER_WEIGHTED);
    for (const lip_opt *o = kind->desc.opts; o && o->name; o++)
      asks = asks || o->required || o->type == LIP_OPT_REALS;
    if (asks) continue;
    for (size_t p = 0; p < PATHS; p++) {
      size_t some = 0, flips = 0;
      lip_err err;
      lip_bound b;
      lip_net *net = net_around(paths[p], kind, 31);
      attack_rows(net, 6, 7, &some, &flips);
      assert_int_equal(flips, 0);
      assert_int_equal(lip_bound_product(net, &b, &err), LIP_OK);
      if (isinf(b.upper)) assert_int_equal(some, 0);
      certified += some;
      if (isinf(b.upper)) refused++;
      lip_bound_free(&b);
      lip_net_free(net);
    }
  }
  assert_true(certified > 200);
  assert_true(refused < 10);
}

/* A net that is one dense layer: the radius is the exact distance to the boundary, less the rounding. */
static void radius_of_a_linear_net_is_tight(void **state) {
  (void)state;
  const piece p[] = {{"dense", 2}};
  const float w[] = {1, 2, -2, -1, 0, 2},
              x[] = {1, 0.5f, 0.25f}; /* difference 2 2 -4; margin 2 + 1 - 1 = 2 */
  const struct {
    const char *path;
    double exact;
  } want[] = {{"1", 2.0 / 4}, {"2", 2 / 4.898979485566356}, {"inf", 2.0 / 8}};
  for (size_t i = 0; i < 3; i++) {
    lip_net *net = cert_net(want[i].path, 3, p, 1, 0, 1, NULL);
    cert_set_weights(net, 0, w);
    lip_radius r = cert_one(net, x);
    assert_int_equal(r.label, 0);
    assert_true(r.margin == 2);
    assert_true(r.radius < want[i].exact);
    assert_true(r.radius > want[i].exact * (1 - 1e-5));
    lip_net_free(net);
  }
}

/* Without a dense layer at the end the pairs use the constant of the logits. */
static void last_layer_may_be_an_activation(void **state) {
  (void)state;
  const double unit[] = {1, sqrt(2), 2};
  for (size_t p = 0; p < 3; p++) {
    const piece parts[] = {{"dense", 4}, {"relu", 0}};
    size_t certified = 0, flips = 0;
    lip_net *net = cert_net(paths[p], 3, parts, 2, 2, 8, NULL);
    lip_err err;
    lip_certifier *c;
    lip_bound b;
    assert_int_equal(lip_certifier_new(net, NULL, &c, &err), LIP_OK);
    assert_int_equal(lip_bound_product(net, &b, &err), LIP_OK);
    double ratio = lip_certifier_pairs(c)[1] / (b.upper * unit[p]);
    assert_true(ratio >= 1 && ratio < 1 + 1e-14);
    attack_rows(net, 10, 3, &certified, &flips);
    assert_int_equal(flips, 0);
    assert_true(certified > 3);
    lip_certifier_free(c);
    lip_bound_free(&b);
    lip_net_free(net);
  }
}

/* Layers inside a container are asked for their deviation once per size; the radius is a little smaller. */
static void containers_certify_too(void **state) {
  (void)state;
  lip_err err;
  const lip_layer_kind *dense = lip_layer_kind_find("dense"), *chain = lip_layer_kind_find("chain");
  lip_spec *inner = lip_spec_new(dense), *box = lip_spec_new(chain), *head = lip_spec_new(dense);
  assert_true(inner && box && head);
  assert_int_equal(lip_conf_set_number(&dense->desc, inner->conf, "out", 6, &err), LIP_OK);
  assert_int_equal(lip_conf_set_number(&dense->desc, head->conf, "out", 3, &err), LIP_OK);
  assert_int_equal(lip_spec_add(box, inner, &err), LIP_OK);
  lip_spec *both[] = {box, head};
  const piece flat[] = {{"dense", 6}, {"dense", 3}};
  for (size_t p = 0; p < 3; p++) {
    lip_net *plain = cert_net(paths[p], 4, flat, 2, 1, 4, NULL), *boxed;
    assert_int_equal(lip_net_new(&plain->conf, both, 2, NULL, &boxed, &err), LIP_OK);
    assert_int_equal(boxed->n_params, plain->n_params);
    memcpy(boxed->weights, plain->weights, plain->n_params * sizeof(float));
    const float x[] = {0.5f, -1, 2, 0.25f};
    lip_radius a = cert_one(plain, x), b = cert_one(boxed, x);
    assert_int_equal(a.label, b.label);
    assert_true(b.radius > 0);
    assert_true(b.radius <= a.radius);
    assert_true(b.radius >= 0.999 * a.radius);
    assert_int_equal(cert_attack(boxed, x, &b, (lip_p)p, 50, 1), 0);
    lip_net_free(plain);
    lip_net_free(boxed);
  }
  lip_spec_free(box);
  lip_spec_free(head);
}

/* Puts every row where the net reads it. */
typedef struct supply {
  const float *x;
  const lip_net *net;
} supply;

static void supply_rows(void *arg, size_t r0, size_t r1) {
  const supply *s = arg;
  size_t n = s->net->root->n_in;
  memcpy(s->net->input + r0 * n, s->x + r0 * n, (r1 - r0) * n * sizeof *s->x);
}

static void threads_and_batches_do_not_matter(void **state) {
  (void)state;
  lip_err err;
  enum { ROWS = 150 };
  lip_pool *pool = lip_pool_new(3, &err);
  assert_non_null(pool);
  const piece parts[] = {{"dense", 32}, {"maxmin", 0}, {"dense", 10}};
  lip_engine engine = {.pool = pool};
  lip_net *one = cert_net("2", 40, parts, 3, 1, 4, NULL), *many = cert_net("2", 40, parts, 3, 1, 4, &engine);
  float x[ROWS * 40];
  lip_radius r[ROWS];
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  lip_rng_fill_uniform(&rng, x, ROWS * 40, 0, 1);
  assert_int_equal(lip_net_reserve(many, ROWS, &err), LIP_OK);
  lip_certifier *c;
  assert_int_equal(lip_certifier_new(many, NULL, &c, &err), LIP_OK);
  assert_int_equal(lip_certify(c, x, many->capacity + 1, r, &err), LIP_STATE);
  assert_int_equal(lip_certify(c, x, ROWS, r, &err), LIP_OK);
  for (size_t i = 0; i < ROWS; i++) {
    lip_radius single = cert_one(one, x + i * 40);
    assert_true(single.label == r[i].label && single.radius == r[i].radius && single.margin == r[i].margin);
  }
  lip_radius again[ROWS];
  supply from = {x, many};
  lip_stream stream = {supply_rows, NULL, &from};
  assert_int_equal(lip_certify_stream(c, &stream, ROWS, again, &err), LIP_OK);
  for (size_t i = 0; i < ROWS; i++)
    assert_true(again[i].label == r[i].label && again[i].radius == r[i].radius &&
                again[i].margin == r[i].margin);
  lip_certifier_free(c);
  lip_net_free(one);
  lip_net_free(many);
  lip_pool_free(pool);
}

/* A raised flag stops the pass between blocks of rows: stale rows must never be certified. */
static void a_cancelled_pass_certifies_nothing(void **state) {
  (void)state;
  lip_err err;
  lip_cancel flag = {0};
  lip_engine engine = {.cancel = &flag};
  const piece parts[] = {{"dense", 3}};
  lip_net *net = cert_net("2", 2, parts, 1, 1, 4, &engine);
  const float x[] = {1, 2};
  lip_radius r;
  lip_certifier *c;
  double lower;
  assert_int_equal(lip_certifier_new(net, NULL, &c, &err), LIP_OK);
  lip_cancel_raise(&flag);
  assert_int_equal(lip_certify(c, x, 1, &r, &err), LIP_CANCELLED);
  assert_int_equal(lip_bound_lower(net, NULL, x, 1, &lower, NULL, &err), LIP_CANCELLED);
  lip_certifier_free(c);
  lip_net_free(net);
}

/* Gradients that a script holds between backward and update are not disturbed by looking at the bound. */
static void lower_bound_keeps_the_gradients(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = small_net("2", "relu", 1);
  const float x[] = {1, 2, 3, 4};
  double lower;
  for (size_t i = 0; i < net->n_params; i++) net->grads[i] = (float)i;
  assert_int_equal(lip_bound_lower(net, NULL, x, 1, &lower, NULL, &err), LIP_OK);
  for (size_t i = 0; i < net->n_params; i++) assert_true(net->grads[i] == (float)i);
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (size_t p = 1; p < 3; p++) {
    lip_net *net = small_net(paths[p], "relu", 2);
    const float x[] = {1, 2, 3, 4, 5, 6, 7, 8};
    lip_err err;
    size_t held = 0;
    for (size_t n = 1, failed = 1; failed; n++) {
      assert_true(n < 1000);
      lip_bound b = {0};
      lip_certifier *c = NULL;
      double lower;
      if (n == 1) { /* the net's buffers have grown before */
        assert_int_equal(lip_net_reserve(net, 2, &err), LIP_OK);
        held = lip_mem_used();
      }
      lip_mem_fail_nth(n);
      lip_status s = lip_bound_product(net, &b, &err);
      if (!s) s = lip_certifier_new(net, NULL, &c, &err);
      if (!s) s = lip_bound_lower(net, NULL, x, 2, &lower, NULL, &err);
      failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      if (failed) assert_int_equal(s, LIP_MEMORY);
      if (!failed) assert_int_equal(s, LIP_OK);
      lip_bound_free(&b);
      lip_certifier_free(c);
      assert_int_equal(lip_mem_used(), held);
    }
    lip_net_free(net);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(product_is_above_every_pattern),
      cmocka_unit_test(pairs_are_above_every_pattern),
      cmocka_unit_test(scaling_by_powers_of_two_changes_nothing),
      cmocka_unit_test(bound_along_another_path),
      cmocka_unit_test(unknown_layers_are_infinity_and_named),
      cmocka_unit_test(no_certified_label_can_be_flipped),
      cmocka_unit_test(every_kind_is_certified_or_refused),
      cmocka_unit_test(radius_of_a_linear_net_is_tight),
      cmocka_unit_test(last_layer_may_be_an_activation),
      cmocka_unit_test(containers_certify_too),
      cmocka_unit_test(threads_and_batches_do_not_matter),
      cmocka_unit_test(a_cancelled_pass_certifies_nothing),
      cmocka_unit_test(lower_bound_keeps_the_gradients),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
