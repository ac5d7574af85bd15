/* Convolutions against their definition in double, on odd shapes; that the two passes are transposes of each other; and
 * that nothing depends on how rows, units and threads are cut. Runs with every family of kernels (CMakeLists.txt). */
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
#include "core/tensor/conv.h"
#include "support_layer.h"

typedef struct shape {
  size_t C, H, W, OUT, kernel, stride, padding, groups, dilation;
} shape;

static size_t span(const shape *s) {
  return (s->kernel - 1) * s->dilation + 1;
}

static size_t outputs(size_t n, const shape *s) {
  return (n + 2 * s->padding - span(s)) / s->stride + 1;
}

/* Channels below, at and above the width of every tile, with groups that fit none of them. */
static const size_t channels[][3] = {{1, 1, 1},  {3, 5, 1},   {4, 6, 2},   {6, 6, 6},
                                     {8, 40, 1}, {33, 17, 1}, {36, 70, 2}, {20, 20, 20},
                                     {1, 32, 1}, {32, 16, 1}, {18, 36, 9}};

/* Rows of outputs below, at and above the width of every vector, with borders that reach over one and more. */
static const shape depthwise[] = {{3, 6, 5, 3, 3, 1, 1, 3, 1},     {5, 6, 19, 5, 3, 1, 1, 5, 1},
                                  {2, 1, 8, 2, 3, 1, 1, 2, 1},     {5, 4, 34, 5, 3, 1, 0, 5, 1},
                                  {17, 3, 16, 17, 3, 1, 1, 17, 1}, {3, 2, 40, 3, 3, 1, 5, 3, 1},
                                  {18, 9, 9, 18, 3, 1, 2, 18, 1},  {3, 3, 7, 3, 3, 1, 0, 3, 1}};

/* Planes that fill whole vectors of every family, and some that do not. */
static const shape point[] = {{5, 6, 6, 9, 1, 1, 0, 1, 1},    {17, 8, 8, 3, 1, 1, 0, 1, 1},
                              {40, 5, 13, 33, 1, 1, 0, 1, 1}, {1, 4, 8, 1, 1, 1, 0, 1, 1},
                              {9, 10, 10, 70, 1, 1, 0, 1, 1}, {3, 1, 130, 8, 1, 1, 0, 1, 1}};

/* Calls `test` on every image, kernel, stride and padding that fit, with two of the channels each, and on these. */
static size_t each_shape(void (*test)(const shape *s)) {
  static const size_t images[][2] = {{1, 1}, {1, 7}, {5, 8}, {9, 2}}, strides[] = {1, 2, 3, 5},
                      paddings[] = {0, 1, 2, 5};
  size_t tested = 0;
  for (size_t i = 0; i < sizeof depthwise / sizeof *depthwise; i++) test(&depthwise[i]);
  for (size_t i = 0; i < sizeof point / sizeof *point; i++) test(&point[i]);
  for (size_t i = 0; i < 4; i++)
    for (size_t k = 1; k <= 4; k++)
      for (size_t n = 0; n < 4 * 4 * 3; n++) {
        shape s = {0, images[i][0], images[i][1], 0, k, strides[n % 4], paddings[n / 4 % 4], 0, n / 16 + 1};
        if (s.H + 2 * s.padding < span(&s) || s.W + 2 * s.padding < span(&s) || (k == 1 && s.dilation > 1))
          continue;
        for (size_t j = 0; j < (s.dilation > 1 ? 1 : 2); j++, tested++) {
          const size_t *c = channels[(tested * 7 + j) % (sizeof channels / sizeof *channels)];
          s.C = c[0], s.OUT = c[1], s.groups = c[2];
          test(&s);
        }
      }
  return tested;
}

static void set(lip_spec *spec, const char *name, size_t v) {
  assert_int_equal(lip_conf_set_number(&spec->kind->desc, spec->conf, name, (double)v, NULL), LIP_OK);
}

static lip_spec *conv_spec(const shape *s) {
  lip_spec *spec = lip_spec_new(lip_layer_kind_find("conv2d"));
  assert_non_null(spec);
  set(spec, "channels", s->OUT);
  set(spec, "kernel", s->kernel);
  set(spec, "stride", s->stride);
  set(spec, "padding", s->padding);
  set(spec, "groups", s->groups);
  set(spec, "dilation", s->dilation);
  return spec;
}

static void fill(float *x, size_t n, uint64_t seed) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_DATA, 0);
  lip_rng_fill_normal(&rng, x, n, 0, 1);
}

/* A layer on few rows, or on more than are taken at a time where images are small; random numbers everywhere. */
static void open_rig(rig *r, const shape *s) {
  lip_spec *spec = conv_spec(s);
  const lip_shape in = {3, {s->C, s->H, s->W}};
  const lip_pq pq = {LIP_PINF, LIP_PINF};
  const size_t B = outputs(s->H, s) * outputs(s->W, s) <= 12 ? 35 : 7;
  lip_err err;
  if (rig_open(r, spec, &in, pq, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, B, &err)) fail_msg("%s", err.msg);
  lip_spec_free(spec); /* what the functions below need is in the plan */
  fill(r->weights, r->n_params, 1);
  fill(r->x, B * r->l->n_in, 2);
  fill(r->dy, B * r->l->n_out, 3);
}

static void spoil(float *x, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] = NAN;
}

/* ---- the definition ---- */

typedef struct sums {
  double *y, *y_abs, *dx, *dx_abs, *dw, *dw_abs;
} sums;

static double *zeros(size_t n) {
  double *x = lip_alloc(n, sizeof *x);
  assert_non_null(x);
  return x;
}

static void meet(const rig *r, const sums *e, size_t w, size_t x, size_t y) {
  const double a = (double)r->l->param[0].value[w], b = (double)r->x[x], d = (double)r->dy[y];
  e->y[y] += a * b, e->y_abs[y] += fabs(a * b);
  e->dx[x] += a * d, e->dx_abs[x] += fabs(a * d);
  e->dw[w] += b * d, e->dw_abs[w] += fabs(b * d);
}

static void define(const rig *r, const shape *s, const sums *e) {
  const size_t OH = outputs(s->H, s), OW = outputs(s->W, s), Cg = s->C / s->groups, k = s->kernel;
  for (size_t n = 0; n < r->B; n++)
    for (size_t o = 0; o < s->OUT; o++)
      for (size_t oy = 0; oy < OH; oy++)
        for (size_t ox = 0; ox < OW; ox++) {
          const size_t y = ((n * s->OUT + o) * OH + oy) * OW + ox;
          e->y[y] += (double)r->l->param[1].value[o];
          e->y_abs[y] += fabs((double)r->l->param[1].value[o]);
          for (size_t c = 0; c < Cg; c++)
            for (size_t t = 0; t < k * k; t++) {
              const size_t iy = oy * s->stride + t / k * s->dilation - s->padding,
                           ix = ox * s->stride + t % k * s->dilation - s->padding;
              if (iy >= s->H || ix >= s->W) continue; /* below 0 it is huge */
              const size_t channel = o / (s->OUT / s->groups) * Cg + c;
              meet(r, e, (o * Cg + c) * k * k + t, ((n * s->C + channel) * s->H + iy) * s->W + ix, y);
            }
        }
}

static void compare(const shape *s, const char *what, const float *got, const double *exact,
                    const double *size, size_t n, size_t terms) {
  for (size_t i = 0; i < n; i++)
    if (!(fabs((double)got[i] - exact[i]) <= 0x1p-24 * (double)(terms + 4) * size[i]))
      fail_msg("%zux%zux%zu to %zu, kernel %zu, stride %zu, padding %zu, dilation %zu, %zu groups: %s[%zu] "
               "is %.9g, not %.9g",
               s->C, s->H, s->W, s->OUT, s->kernel, s->stride, s->padding, s->dilation, s->groups, what, i,
               (double)got[i], exact[i]);
}

static double inner(const float *a, const float *b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
  return sum;
}

static void agrees(const shape *s) {
  rig r;
  open_rig(&r, s);
  const size_t nx = r.B * r.l->n_in, ny = r.B * r.l->n_out, nw = lip_param_size(&r.l->param[0]);
  const sums e = {zeros(ny), zeros(ny), zeros(nx), zeros(nx), zeros(nw), zeros(nw)};
  define(&r, s, &e);
  spoil(r.y, ny);
  spoil(r.dx, nx);
  spoil(r.l->param[0].grad, nw);
  spoil((float *)r.scratch, r.l->scratch / sizeof(float));
  rig_forward(&r);
  rig_backward(&r);
  rig_grad(&r, 0);
  compare(s, "y", r.y, e.y, e.y_abs, ny, nw / s->OUT);
  compare(s, "dx", r.dx, e.dx, e.dx_abs, nx, s->OUT * s->kernel * s->kernel);
  compare(s, "dw", r.l->param[0].grad, e.dw, e.dw_abs, nw, r.B * r.l->n_out / s->OUT);
  /* <W x, dy> = <x, W' dy> */
  for (size_t o = 0; o < s->OUT; o++) r.l->param[1].value[o] = 0;
  rig_forward(&r);
  double size = 0;
  for (size_t i = 0; i < nx; i++) size += e.dx_abs[i] * fabs((double)r.x[i]);
  const size_t terms = nw / s->OUT + s->OUT * s->kernel * s->kernel;
  assert_true(fabs(inner(r.y, r.dy, ny) - inner(r.x, r.dx, nx)) <= 0x1p-24 * (double)(terms + 4) * size);
  /* added to what is there */
  rig_grad(&r, 1);
  for (size_t i = 0; i < nw; i++) e.dw[i] *= 2, e.dw_abs[i] *= 2;
  compare(s, "dw, twice", r.l->param[0].grad, e.dw, e.dw_abs, nw, r.B * r.l->n_out / s->OUT);
  double *all[] = {e.y, e.y_abs, e.dx, e.dx_abs, e.dw, e.dw_abs};
  for (size_t i = 0; i < 6; i++) lip_free(all[i]);
  rig_close(&r);
}

static void the_passes_are_those_of_the_definition(void **state) {
  (void)state;
  assert_true(each_shape(agrees) > 500);
}

/* ---- cuts ---- */

static void *copy(const void *x, size_t bytes) {
  void *to = lip_alloc(bytes, 1);
  assert_non_null(to);
  return memcpy(to, x, bytes);
}

/* From the last rows to the first: what a call leaves behind its own would stay. */
static void run_cut(rig *r, size_t rows, size_t units) {
  const lip_layer_kind *kind = r->l->kind;
  spoil(r->y, r->B * r->l->n_out);
  spoil(r->dx, r->B * r->l->n_in);
  spoil(r->grads, r->n_params);
  for (size_t i = (r->B + rows - 1) / rows * rows; i > 0; i -= rows) {
    lip_pass pass = rig_pass(r, i - rows, i < r->B ? i : r->B);
    kind->forward(r->l, &pass);
    kind->backward(r->l, &pass);
  }
  for (size_t u = 0; u < r->l->units; u += units) {
    lip_pass pass = rig_pass(r, 0, r->B);
    kind->grad(r->l, &pass, u, u + units < r->l->units ? u + units : r->l->units);
  }
}

static void any_cut_gives_the_same_bits(const shape *s) {
  static const size_t cuts[][2] = {{1, 1}, {2, 3}, {5, 16}, {3, 17}};
  rig r;
  open_rig(&r, s);
  const size_t nx = r.B * r.l->n_in * sizeof(float), ny = r.B * r.l->n_out * sizeof(float);
  const size_t nw = lip_param_size(&r.l->param[0]) * sizeof(float), nb = s->OUT * sizeof(float);
  run_cut(&r, r.B, s->OUT);
  float *y = copy(r.y, ny), *dx = copy(r.dx, nx), *dw = copy(r.l->param[0].grad, nw),
        *db = copy(r.l->param[1].grad, nb);
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
    spoil((float *)r.scratch, r.l->scratch / sizeof(float));
    run_cut(&r, cuts[i][0], cuts[i][1]);
    assert_memory_equal(r.y, y, ny);
    assert_memory_equal(r.dx, dx, nx);
    assert_memory_equal(r.l->param[0].grad, dw, nw);
    assert_memory_equal(r.l->param[1].grad, db, nb);
  }
  lip_free(y), lip_free(dx), lip_free(dw), lip_free(db);
  rig_close(&r);
}

static void bits_do_not_depend_on_cuts(void **state) {
  (void)state;
  each_shape(any_cut_gives_the_same_bits);
}

/* A NaN reaches every output whose patch holds it, every input that feeds it and every weight that it meets. */
static void nan_stays_visible(void **state) {
  (void)state;
  const shape s = {3, 5, 8, 40, 3, 1, 1, 1, 1};
  rig r;
  open_rig(&r, &s);
  r.x[0] = NAN;
  r.dy[r.l->n_out - 1] = NAN;
  rig_forward(&r);
  rig_backward(&r);
  rig_grad(&r, 0);
  for (size_t o = 0; o < s.OUT; o++) {
    assert_true(isnan(r.y[o * 40]) && isnan(r.y[o * 40 + 9]));
    assert_false(isnan(r.y[o * 40 + 2]) || isnan(r.y[r.l->n_out + o * 40]));
    assert_true(isnan(r.l->param[0].grad[o * 27 + 4]));
  }
  for (size_t c = 0; c < s.C; c++) assert_true(isnan(r.dx[c * 40 + 39]) && !isnan(r.dx[c * 40]));
  rig_close(&r);
}

/* ---- threads ---- */

static lip_net *small_net(const char *norm, lip_project_method method, const lip_engine *engine) {
  const shape conv[] = {{2, 12, 12, 48, 3, 1, 1, 1, 1}, {48, 12, 12, 32, 4, 2, 1, 2, 1}};
  lip_spec *layers[] = {conv_spec(&conv[0]), lip_spec_new(lip_layer_kind_find("relu")), conv_spec(&conv[1]),
                        lip_spec_new(lip_layer_kind_find("flatten")),
                        lip_spec_new(lip_layer_kind_find("dense"))};
  set(layers[4], "out", 4);
  lip_net_conf conf = {
      .input = {3, {2, 12, 12}}, .budget = 2, .method = method, .project_every = 1, .seed = 3};
  lip_net *net;
  assert_int_equal(lip_path_parse(norm, &conf.path, NULL), LIP_OK);
  assert_int_equal(lip_net_new(&conf, layers, 5, engine, &net, NULL), LIP_OK);
  for (size_t i = 0; i < 5; i++) lip_spec_free(layers[i]);
  return net;
}

/* Weights after a few steps; nothing is allocated after the first. */
static float *train(const char *norm, lip_project_method method, size_t threads, size_t *n) {
  enum { B = 50 };
  lip_pool *pool = lip_pool_new(threads, NULL);
  assert_non_null(pool);
  const lip_engine engine = {.pool = pool};
  lip_net *net = small_net(norm, method, &engine);
  float *x = lip_alloc(B * 288, sizeof *x);
  int32_t labels[B];
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  lip_loss loss = {kind, lip_conf_new(&kind->desc)};
  lip_optim *opt;
  double value;
  assert_non_null(x);
  assert_int_equal(lip_optim_new(lip_optim_kind_find("adam"), NULL, &opt, NULL), LIP_OK);
  fill(x, B * 288, 5);
  for (int32_t i = 0; i < B; i++) labels[i] = i % 4;
  size_t before = 0;
  for (int i = 0; i < 4; i++) {
    if (i == 1) before = lip_mem_count();
    assert_int_equal(
        lip_net_step(net, x, &(lip_targets){LIP_TARGET_LABELS, labels, NULL}, B, &loss, opt, &value, NULL),
        LIP_OK);
  }
  assert_int_equal(lip_mem_count(), before);
  *n = net->n_params;
  float *weights = copy(net->weights, *n * sizeof *weights);
  lip_conf_free(&kind->desc, loss.conf);
  lip_optim_free(opt);
  lip_net_free(net);
  lip_pool_free(pool);
  lip_free(x);
  return weights;
}

static void bits_do_not_depend_on_threads(void **state) {
  (void)state;
  static const struct {
    const char *norm;
    lip_project_method method;
  } cases[] = {{"inf", LIP_EUCLIDEAN}, {"2", LIP_EUCLIDEAN}, {"2", LIP_RADIAL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t n;
    float *one = train(cases[i].norm, cases[i].method, 1, &n);
    for (size_t threads = 2; threads <= 3; threads++) {
      float *some = train(cases[i].norm, cases[i].method, threads, &n);
      assert_memory_equal(one, some, n * sizeof *one);
      lip_free(some);
    }
    lip_free(one);
  }
}

/* Nothing is written behind the scratch that is asked for, and an absurd border is refused rather than reserved. */
static void scratch_is_as_large_as_it_says(void **state) {
  (void)state;
  const lip_direct s = {.at = {28, 28, 3, 1, 1, 1, 28, 28, false}, .C = 3, .OUT = 40, .groups = 1};
  const lip_direct absurd = {
      .at = {1 << 20, 1 << 20, 1, 1, 1024, 1, (1 << 20) + 2048, (1 << 20) + 2048, false},
      .C = 1 << 10,
      .OUT = 1 << 10,
      .groups = 1};
  const bool plain = strcmp(lip_gemm_backend(), "plain loops") == 0;
  size_t bytes = lip_direct_scratch(&s, INFINITY);
  assert_int_equal(bytes == 0, plain);
  assert_int_equal(lip_direct_scratch(&absurd, 0x1p40), 0);
  if (plain) return; /* there are no direct kernels then */
  assert_int_equal(lip_direct_scratch(&s, (double)bytes - 1), 0);
  enum { GUARD = 256 };
  unsigned char *scratch = lip_alloc(bytes + GUARD, 1);
  const size_t nx = 2 * 3 * 784, ny = 2 * 40 * 784, nw = 40 * 27;
  float *x = lip_alloc(nx, sizeof *x), *y = lip_alloc(ny, sizeof *y), *w = lip_alloc(nw, sizeof *w);
  assert_true(scratch && x && y && w);
  fill(x, nx, 1);
  fill(w, nw, 2);
  memset(scratch + bytes, 0x5a, GUARD);
  lip_direct_forward(&s, w, NULL, 2, x, y, scratch);
  lip_direct_grad(&s, 2, x, y, 0, 40, 0, w, scratch);
  lip_direct_backward(&s, w, 2, y, NULL, x, scratch);
  for (size_t i = 0; i < GUARD; i++) assert_int_equal(scratch[bytes + i], 0x5a);
  lip_free(scratch), lip_free(x), lip_free(y), lip_free(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_passes_are_those_of_the_definition),
      cmocka_unit_test(bits_do_not_depend_on_cuts),
      cmocka_unit_test(nan_stays_visible),
      cmocka_unit_test(bits_do_not_depend_on_threads),
      cmocka_unit_test(scratch_is_as_large_as_it_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
