/* Images between layers in pixels: the same numbers as in planes, forward and back, and the zeros around them stay. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/lip.h"
#include "support_layer.h"

enum { B = 21, H = 13, W = 12, CLASSES = 3 };

static lip_spec *make(const char *name, size_t n, const char *const *keys, const double *values) {
  lip_spec *spec = lip_spec_new(lip_layer_kind_find(name));
  assert_non_null(spec);
  for (size_t i = 0; i < n; i++)
    assert_int_equal(lip_conf_set_number(&spec->kind->desc, spec->conf, keys[i], values[i], NULL), LIP_OK);
  return spec;
}

static lip_spec *conv(size_t channels, size_t kernel, size_t stride, size_t padding, size_t groups) {
  return make("conv2d", 5, (const char *const[]){"channels", "kernel", "stride", "padding", "groups"},
              (double[]){(double)channels, (double)kernel, (double)stride, (double)padding, (double)groups});
}

static lip_spec *dilated(size_t channels, size_t stride, size_t padding, size_t dilation) {
  return make("conv2d", 4, (const char *const[]){"channels", "stride", "padding", "dilation"},
              (double[]){(double)channels, (double)stride, (double)padding, (double)dilation});
}

static lip_spec *plain(const char *name) {
  return make(name, 0, NULL, NULL);
}

/* Passes everything on, but minds planes only. */
static lip_spec *dropout(void) {
  return make("dropout", 1, (const char *const[]){"rate"}, (double[]){0});
}

static lip_spec *sorted(size_t size) {
  return make("groupsort", 1, (const char *const[]){"size"}, (double[]){(double)size});
}

/* Windows of 3 x 3, 2 apart. */
static lip_spec *pool(const char *what) {
  char name[32];
  snprintf(name, sizeof name, "%s_pool2d", what);
  return make(name, 3, (const char *const[]){"kernel", "stride", "padding"}, (double[]){3, 2, 1});
}

/* ---- nets ---- */

enum { MOST = 24 };

/* With `planes` something that takes them alone, and passes everything on, stands behind every layer. */
typedef struct layers {
  lip_spec *spec[MOST];
  size_t n;
  bool planes;
} layers;

static void add(layers *l, lip_spec *spec) {
  assert_true(l->n + 2 <= MOST);
  l->spec[l->n++] = spec;
  if (l->planes) l->spec[l->n++] = dropout();
}

static void add_residual(layers *l) {
  lip_spec *outer = plain("residual");
  layers inside = {.planes = l->planes};
  add(&inside, conv(6, 3, 1, 1, 1));
  add(&inside, plain("relu"));
  add(&inside, conv(6, 3, 1, 1, 1));
  for (size_t k = 0; k < inside.n; k++) assert_int_equal(lip_spec_add(outer, inside.spec[k], NULL), LIP_OK);
  add(l, outer);
}

/* What may stand between two convolutions, by name. */
static const char *const middles[] = {"relu", "leaky_relu", "abs", "maxmin", "fullsort"};
enum { MIDDLES = sizeof middles / sizeof *middles };

/* Kernels, strides, paddings, groups and channels that fit no tile, with and without a layer between. */
static bool odd_case(size_t i, layers *l) {
  switch (i) {
  case 0: add(l, conv(48, 3, 1, 1, 1)), add(l, conv(33, 3, 1, 1, 1)), add(l, conv(16, 1, 1, 0, 1)); break;
  case 1: add(l, conv(5, 3, 1, 0, 1)), add(l, plain("relu")), add(l, conv(7, 2, 3, 3, 1)); break;
  case 2: add(l, conv(12, 3, 2, 2, 2)), add(l, plain("relu")), add(l, conv(36, 3, 1, 1, 3)); break;
  case 3:
    add(l, conv(8, 1, 1, 0, 1)), add(l, sorted(4)), add(l, plain("relu")), add(l, conv(8, 2, 5, 1, 1));
    break;
  case 4:
    add(l, conv(6, 3, 1, 1, 1)), add(l, plain("relu")), add(l, conv(6, 3, 1, 1, 1)), add(l, dropout());
    add(l, conv(6, 3, 1, 1, 1)), add(l, plain("relu")), add(l, conv(6, 3, 1, 1, 1));
    break;
  case 5: add(l, conv(6, 3, 1, 1, 6)), add(l, plain("relu")), add(l, conv(6, 3, 1, 1, 1)); break;
  case 6: add(l, conv(6, 3, 1, 1, 1)), add(l, plain("relu")), add_residual(l); break;
  case 7: add(l, conv(20, 4, 2, 1, 1)), add(l, plain("relu")), add(l, conv(9, 4, 1, 0, 1)); break;
  case 8: add(l, conv(64, 3, 1, 1, 2)), add(l, plain("relu")), add(l, conv(64, 3, 2, 1, 4)); break;
  case 9: add(l, dilated(17, 1, 2, 2)), add(l, plain("relu")), add(l, dilated(9, 2, 3, 3)); break;
  case 10: add(l, dilated(8, 1, 1, 2)), add(l, plain("relu")), add(l, dilated(9, 2, 2, 2)); break;
  case 11:
    add(l, conv(7, 1, 1, 0, 1)), add(l, plain("relu")), add(l, conv(8, 1, 1, 0, 1)), add(l, plain("relu")),
        add(l, conv(5, 3, 1, 1, 1));
    break;
  case 12:
    add(l, conv(6, 3, 1, 1, 6)), add(l, plain("relu")), add(l, conv(6, 3, 1, 0, 6)), add(l, plain("relu")),
        add(l, conv(9, 1, 1, 0, 1)), add(l, plain("relu")), add(l, conv(7, 1, 1, 0, 1));
    break;
  case 13:
    add(l, conv(20, 3, 1, 1, 1)), add(l, plain("relu")), add(l, pool("avg")), add(l, conv(9, 3, 1, 1, 1));
    break;
  case 14:
    add(l, conv(20, 3, 1, 1, 1)), add(l, pool("max")), add(l, plain("relu")), add(l, conv(9, 3, 1, 1, 1));
    break;
  case 15:
    add(l, conv(20, 3, 1, 1, 1)), add(l, plain("relu")), add(l, pool("l2")), add(l, conv(9, 3, 2, 1, 1));
    break;
  case 16: /* too large to take turns */
    add(l, conv(1024, 1, 12, 0, 1)), add(l, conv(1024, 1, 1, 0, 1)), add(l, plain("relu"));
    add(l, conv(1100, 1, 1, 0, 1));
    break;
  default: return false;
  }
  return true;
}

static bool case_at(size_t i, layers *l) {
  if (i >= MIDDLES) return odd_case(i - MIDDLES, l);
  add(l, conv(16, 3, 1, 1, 1)), add(l, plain(middles[i])), add(l, conv(32, 4, 2, 1, 1));
  add(l, plain(middles[i])), add(l, conv(6, 3, 1, 1, 1)), add(l, plain(middles[i]));
  return true;
}

/* NULL past the last case. */
static lip_net *build(size_t i, bool planes, const lip_engine *engine) {
  layers l = {.planes = planes};
  if (!case_at(i, &l)) return NULL;
  add(&l, plain("flatten"));
  add(&l, make("dense", 1, (const char *const[]){"out"}, (double[]){CLASSES}));
  lip_net_conf conf = {.input = {3, {6, H, W}}, .budget = INFINITY, .init = LIP_INIT_HE, .seed = 3};
  lip_net *net;
  lip_err err;
  assert_int_equal(lip_path_parse("inf", &conf.path, NULL), LIP_OK);
  if (lip_net_new(&conf, l.spec, l.n, engine, &net, &err)) fail_msg("%s", err.msg);
  assert_int_equal(lip_net_reserve(net, B, NULL), LIP_OK);
  for (size_t k = 0; k < l.n; k++) lip_spec_free(l.spec[k]);
  return net;
}

static void fill(float *x, size_t n, uint64_t seed) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_DATA, 0);
  lip_rng_fill_normal(&rng, x, n, 0, 1);
}

/* Values of the tree that stand in pixels. */
static size_t count_pixels(const lip_layer *l) {
  size_t n = l->y_order.pixels;
  for (size_t i = 0; i < l->n_child; i++) n += count_pixels(l->child[i]);
  return n;
}

static bool direct(void) {
  return strcmp(lip_gemm_backend(), "plain loops") != 0;
}

static void run(lip_net *net, const float *x, const float *dlogits) {
  memset(net->scratch, 0xff, net->scratch_each); /* NaN: nothing may be taken for what it was */
  lip_net_forward(net, x, B, true);
  memset(net->scratch, 0xff, net->scratch_each);
  assert_int_equal(lip_net_backward(net, dlogits, false, true, NULL), LIP_OK);
}

/* Gradients of parameters are summed in another order. */
static void same_gradients(const lip_net *a, const lip_net *b) {
  assert_int_equal(a->n_leaf, b->n_leaf);
  for (size_t i = 0; i < a->n_leaf; i++)
    for (size_t k = 0; k < a->leaf[i]->n_param; k++) {
      const lip_param *p = &a->leaf[i]->param[k], *q = &b->leaf[i]->param[k];
      const size_t n = lip_param_size(p);
      const float off = 0x1p-19f * lip_vec_abs_max(q->grad, n);
      assert_true(off > 0);
      for (size_t j = 0; j < n; j++) assert_true(fabsf(p->grad[j] - q->grad[j]) <= off);
    }
}

static void pixels_give_the_numbers_of_planes(void **state) {
  (void)state;
  static float x[B * 6 * H * W], dlogits[B * CLASSES];
  fill(x, sizeof x / sizeof *x, 1);
  fill(dlogits, B * CLASSES, 2);
  size_t i = 0;
  for (lip_net *net, *other; (net = build(i, false, NULL)); i++) {
    other = build(i, true, NULL);
    assert_true(count_pixels(net->root) > 0 || !direct() || i == MIDDLES + 5 || i == MIDDLES + 12);
    assert_int_equal(count_pixels(other->root), 0);
    assert_int_equal(net->n_params, other->n_params);
    fill(net->weights, net->n_params, 4);
    memcpy(other->weights, net->weights, net->n_params * sizeof(float));
    for (int again = 0; again < 2; again++) { /* what the first pass leaves does not matter */
      run(net, x, dlogits);
      run(other, x, dlogits);
      assert_memory_equal(net->logits, other->logits, B * CLASSES * sizeof(float));
      assert_memory_equal(net->dinput, other->dinput, B * net->root->n_in * sizeof(float));
      same_gradients(net, other);
    }
    lip_net_free(net);
    lip_net_free(other);
  }
  assert_int_equal(i, MIDDLES + 17);
}

/* ---- borders ---- */

static void only_zeros_around(const float *x, const lip_shape *s, lip_order order, size_t capacity) {
  const size_t b = order.border, high = s->dim[1] + 2 * b, wide = s->dim[2] + 2 * b, C = s->dim[0];
  for (size_t i = 0; i < capacity * high * wide; i++) {
    const size_t y = i / wide % high, c = i % wide;
    const bool inside = y >= b && y < high - b && c >= b && c < wide - b && i / (high * wide) < B;
    for (size_t k = 0; k < C && !inside; k++) assert_true(x[i * C + k] == 0);
  }
}

static size_t check_borders(const lip_layer *l) {
  size_t checked = l->y_order.pixels;
  if (l->y_order.pixels) {
    only_zeros_around(l->y, &l->out, l->y_order, l->capacity);
    if (!l->dy_passes) only_zeros_around(l->dy, &l->out, l->y_order, l->capacity);
  }
  for (size_t i = 0; i < l->n_child; i++) checked += check_borders(l->child[i]);
  return checked;
}

static void borders_are_zero_after_steps(void **state) {
  (void)state;
  static float x[B * 6 * H * W];
  int32_t labels[B];
  fill(x, sizeof x / sizeof *x, 1);
  for (int32_t i = 0; i < B; i++) labels[i] = i % CLASSES;
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  lip_loss loss = {kind, lip_conf_new(&kind->desc)};
  lip_pool *pool = lip_pool_new(2, NULL);
  assert_non_null(pool);
  const lip_engine engine = {.pool = pool};
  size_t checked = 0;
  for (size_t i = 0;; i++) {
    lip_net *net = build(i, false, &engine);
    if (!net) break;
    lip_optim *opt;
    double value;
    assert_int_equal(lip_optim_new(lip_optim_kind_find("adam"), NULL, &opt, NULL), LIP_OK);
    for (int step = 0; step < 3; step++)
      assert_int_equal(
          lip_net_step(net, x, &(lip_targets){LIP_TARGET_LABELS, labels, NULL}, B, &loss, opt, &value, NULL),
          LIP_OK);
    checked += check_borders(net->root);
    lip_optim_free(opt);
    lip_net_free(net);
  }
  assert_true(checked > 20 || !direct());
  lip_conf_free(&kind->desc, loss.conf);
  lip_pool_free(pool);
}

/* A gradient that is too large between two layers, and nowhere else, ends the step before anything is learned. */
static void large_gradients_on_their_way_are_noticed(void **state) {
  (void)state;
  lip_spec *spec[] = {conv(6, 3, 1, 1, 1), conv(6, 3, 1, 1, 1), plain("flatten"),
                      make("dense", 1, (const char *const[]){"out"}, (double[]){CLASSES})};
  lip_net_conf conf = {.input = {3, {6, H, W}}, .budget = INFINITY, .init = LIP_INIT_HE, .seed = 3};
  static float x[B * 6 * H * W];
  int32_t labels[B] = {0};
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  lip_loss loss = {kind, lip_conf_new(&kind->desc)};
  lip_optim *opt;
  lip_net *net;
  double value;
  assert_int_equal(lip_path_parse("inf", &conf.path, NULL), LIP_OK);
  assert_int_equal(lip_net_new(&conf, spec, 4, NULL, &net, NULL), LIP_OK);
  assert_int_equal(lip_optim_new(lip_optim_kind_find("adam"), NULL, &opt, NULL), LIP_OK);
  fill(x, sizeof x / sizeof *x, 1);
  const lip_targets targets = {LIP_TARGET_LABELS, labels, NULL};
  for (float w = 1; w < 1e30f; w *= 1e25f) {
    const lip_param *first = net->leaf[0]->param, *second = net->leaf[1]->param;
    memset(first[0].value, 0, lip_param_size(&first[0]) * sizeof(float)); /* so that what follows is 0 */
    memset(first[1].value, 0, lip_param_size(&first[1]) * sizeof(float));
    memset(second[1].value, 0, lip_param_size(&second[1]) * sizeof(float));
    for (size_t k = 0; k < lip_param_size(&second[0]); k++) second[0].value[k] = w;
    assert_int_equal(lip_net_step(net, x, &targets, B, &loss, opt, &value, NULL),
                     w < 2 ? LIP_OK : LIP_NOT_FINITE);
    assert_true(isfinite(value) && lip_gradient_fits(net->dlogits, B * CLASSES));
  }
  for (size_t k = 0; k < 4; k++) lip_spec_free(spec[k]);
  lip_conf_free(&kind->desc, loss.conf);
  lip_optim_free(opt);
  lip_net_free(net);
}

/* ---- kinds ---- */

/* Whoever says that it is one is y = max(x, 0), NaN and infinities included: others do its work. */
static void rectifiers_are_what_they_say(void **state) {
  (void)state;
  const float x[] = {-INFINITY, -2, -0x1p-149f, -0.0f, 0, 0x1p-149f, 3, INFINITY, NAN};
  enum { N = sizeof x / sizeof *x };
  size_t found = 0;
  for (size_t i = 0; lip_layer_kind_at(i); i++) {
    const lip_layer_kind *kind = lip_layer_kind_at(i);
    if (!(kind->flags & LIP_LAYER_RECTIFIER)) continue;
    found++;
    assert_true(kind->flags & LIP_LAYER_EITHER_ORDER);
    rig r;
    lip_spec *spec = plain(kind->desc.name);
    const lip_shape in = {1, {N, 0, 0}};
    assert_int_equal(
        rig_open(&r, spec, &in, (lip_pq){LIP_PINF, LIP_PINF}, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1, NULL),
        LIP_OK);
    memcpy(r.x, x, sizeof x);
    for (size_t k = 0; k < N; k++) r.dy[k] = (float)k + 1;
    rig_forward(&r);
    rig_backward(&r);
    for (size_t k = 0; k < N; k++) {
      const bool y = x[k] <= 0 ? r.y[k] == 0 : r.y[k] == x[k] || (isnan(x[k]) && isnan(r.y[k]));
      if (!y || r.dx[k] != (x[k] <= 0 ? 0 : r.dy[k]))
        fail_msg("%s has LIP_LAYER_RECTIFIER but gives %g for %g: drop the flag", kind->desc.name,
                 (double)r.y[k], (double)x[k]);
    }
    rig_close(&r);
    lip_spec_free(spec);
  }
  assert_true(found > 0);
}

/* n images in planes into the order, or back. */
static void turn(float *pixels, float *planes, const lip_shape *s, lip_order order, size_t n, bool back) {
  const size_t C = s->dim[0], P = s->dim[1] * s->dim[2], b = order.border, wide = s->dim[2] + 2 * b;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < C * P; k++) {
      const size_t y = k % P / s->dim[2] + b, x = k % s->dim[2] + b;
      float *one = &planes[i * C * P + k];
      float *other = &pixels[i * lip_shape_row(s, order) + (y * wide + x) * C + k / P];
      *(back ? one : other) = *(back ? other : one);
    }
}

static float *room(size_t n) {
  float *x = lip_alloc(n, sizeof *x);
  assert_non_null(x);
  return x;
}

/* The layer of `a`, planned again as `b`, on the same numbers in pixels. */
static void in_pixels(const rig *a, rig *b, lip_order order) {
  lip_layer *l = b->l;
  l->x_order = l->y_order = order;
  l->x_row = lip_shape_row(&l->in, order);
  l->y_row = lip_shape_row(&l->out, order);
  if (l->kind->ordered) l->kind->ordered(l);
  float *x = room(3 * l->x_row), *dx = room(3 * l->x_row), *y = room(3 * l->y_row), *dy = room(3 * l->y_row);
  float *kept = room(16 * l->cache), *scratch = room(l->scratch / sizeof(float) + 1);
  turn(x, a->x, &l->in, order, 3, false);
  turn(dy, a->dy, &l->out, order, 3, false);
  lip_layer_bind(l, x, y, dy, dx, kept, 16);
  lip_pass pass = {.r1 = 3, .training = true, .scratch = scratch, .rows = 3};
  l->kind->forward(l, &pass);
  l->kind->backward(l, &pass);
  turn(y, b->y, &l->out, order, 3, true);
  turn(dx, b->dx, &l->in, order, 3, true);
  only_zeros_around(y, &l->out, order, 3);
  only_zeros_around(dx, &l->in, order, 3);
  lip_free(x), lip_free(dx), lip_free(y), lip_free(dy), lip_free(kept), lip_free(scratch);
}

/* Every kind that minds either order gives the same numbers in both, and leaves borders as they are. */
static void kinds_mind_the_order(void **state) {
  (void)state;
  static test_case cases[LAYER_CASES];
  size_t n = layer_cases(cases, LAYER_CASES), tried = 0;
  assert_true(n > 0);
  for (size_t i = 0; i < n; i++)
    for (size_t border = 0; border < 2; border++) {
      const lip_spec *spec = cases[i].spec;
      const lip_pq pq = {LIP_PINF, LIP_PINF};
      rig r[2];
      if (!(spec->kind->flags & LIP_LAYER_EITHER_ORDER) || cases[i].in.ndim != 3) continue;
      for (size_t k = 0; k < 2; k++)
        assert_int_equal(
            rig_open(&r[k], spec, &cases[i].in, pq, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 3, NULL), LIP_OK);
      const size_t nx = 3 * r->l->n_in, ny = 3 * r->l->n_out;
      fill(r->x, nx, 5);
      fill(r->dy, ny, 6);
      rig_forward(r);
      rig_backward(r);
      in_pixels(r, &r[1], (lip_order){true, border});
      assert_memory_equal(r[0].y, r[1].y, ny * sizeof(float));
      assert_memory_equal(r[0].dx, r[1].dx, nx * sizeof(float));
      rig_close(&r[0]), rig_close(&r[1]);
      tried++;
    }
  for (size_t i = 0; i < n; i++) lip_spec_free(cases[i].spec);
  assert_true(tried >= 16);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pixels_give_the_numbers_of_planes),
      cmocka_unit_test(borders_are_zero_after_steps),
      cmocka_unit_test(large_gradients_on_their_way_are_noticed),
      cmocka_unit_test(rectifiers_are_what_they_say),
      cmocka_unit_test(kinds_mind_the_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
