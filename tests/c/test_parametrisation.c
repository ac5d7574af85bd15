/* Every row of parametrisations.def, on matrices of several shapes and on convolutions, for every step of norms that it takes:
 * g against its plain form in double, its gradient against central differences of that, the norm it promises, what it does to
 * zeros, huge numbers and NaN, the same bits for any number of threads. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/layer/conv_norm.h"
#include "core/layer/parametrisation.h"
#include "core/net/net.h"
#include "core/norm/opnorm.h"
#include "core/tensor/gemm.h"

enum { THREADS = 3, MOST = 40 };

static lip_pool *pools[THREADS];
static lip_team teams[THREADS]; /* of one thread, two and three */
static lip_rng rng;
static lip_spec *spec[2]; /* a dense and a conv2d layer with every default */

typedef struct geometry {
  size_t C, OUT, groups, kernel, stride, padding, dilation, H, W;
} geometry;

/* A weight as a layer would plan it, and arrays for it. */
typedef struct rig {
  char name[160];
  lip_weight w;
  lip_conv conv;
  size_t n;
  float *V, *G, *dG, *dV;
} rig;

static const size_t shapes[][2] = {{5, 9}, {9, 5}, {7, 7}, {1, 6}, {6, 1}, {1, 1}, {24, 17}, {17, 40}};
static const geometry images[] = {
    {3, 4, 1, 3, 1, 1, 1, 6, 7}, {4, 2, 1, 3, 1, 0, 1, 5, 5}, {4, 6, 2, 3, 2, 1, 1, 8, 7},
    {2, 5, 1, 2, 2, 0, 1, 6, 6}, {2, 3, 1, 3, 1, 2, 2, 7, 7}, {3, 3, 3, 3, 1, 1, 1, 5, 6},
    {1, 4, 1, 5, 3, 2, 1, 9, 8}, {4, 4, 1, 1, 1, 0, 1, 4, 4},
};
static const lip_pq steps[] = {{LIP_P2, LIP_P2}, {LIP_P2, LIP_PINF}, {LIP_PINF, LIP_PINF},
                               {LIP_P1, LIP_P1}, {LIP_P1, LIP_PINF}, {LIP_P1, LIP_P2}};
enum {
  SHAPES = sizeof shapes / sizeof *shapes,
  IMAGES = sizeof images / sizeof *images,
  STEPS = sizeof steps / sizeof *steps
};

/* REQUIRE with the name of what is tested. */
#define REQUIRE(r, condition, ...)                                                                           \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      fprintf(stderr, "%s: ", (r)->name);                                                                    \
      fprintf(stderr, __VA_ARGS__);                                                                          \
      fprintf(stderr, "\n");                                                                                 \
      fail();                                                                                                \
    }                                                                                                        \
  } while (0)

static float *zeros(size_t n) {
  float *x = lip_alloc(n, sizeof *x);
  assert_non_null(x);
  return x;
}

/* ---- making ---- */

static const lip_weight_conf *defaults(bool conv) {
  const lip_opt *o = lip_opt_find(&spec[conv]->kind->desc, "weight");
  assert_non_null(o);
  return (const lip_weight_conf *)(const void *)((const char *)spec[conv]->conf + o->offset);
}

static void rig_close(rig *r) {
  lip_weight_release(&r->w);
  lip_conv_release(&r->conv);
  lip_free(r->V);
  lip_free(r->G);
  lip_free(r->dG);
  lip_free(r->dV);
}

/* False: the kind has said that it is not for this. */
static bool plan(rig *r, const lip_parametrisation *kind, const size_t shape[4], int ndim, lip_pq pq) {
  lip_err err = {0};
  r->w.kind = kind;
  r->w.conf = defaults(r->w.conv != NULL);
  r->w.pq = pq;
  r->w.M = shape[0];
  r->w.free_ndim = ndim;
  memcpy(r->w.free_shape, shape, sizeof r->w.free_shape);
  r->w.N = 1;
  for (int i = 1; i < ndim; i++) r->w.N *= shape[i];
  const lip_status status = kind->plan(&r->w, &err);
  if (status) {
    REQUIRE(r, status == LIP_UNSUPPORTED && strlen(err.msg) > 20, "refused by status %d, \"%s\"", status,
            err.msg);
    rig_close(r);
    return false;
  }
  r->w.n_free = 1;
  for (int i = 0; i < r->w.free_ndim; i++) r->w.n_free *= r->w.free_shape[i];
  r->n = r->w.M * r->w.N;
  r->w.keep = zeros(r->w.kept);
  r->w.tmp = zeros(r->w.work);
  r->V = zeros(r->w.n_free);
  r->dV = zeros(r->w.n_free);
  r->G = zeros(r->n);
  r->dG = zeros(r->n);
  return true;
}

static bool open_dense(rig *r, const lip_parametrisation *kind, size_t i, lip_pq pq) {
  *r = (rig){.n = 0};
  snprintf(r->name, sizeof r->name, "%s %zux%zu %s", kind->desc.name, shapes[i][0], shapes[i][1],
           lip_pq_name(pq));
  return plan(r, kind, (size_t[4]){shapes[i][0], shapes[i][1], 0, 0}, 2, pq);
}

static bool open_conv(rig *r, const lip_parametrisation *kind, size_t i, lip_pq pq) {
  const geometry g = images[i];
  const size_t span = (g.kernel - 1) * g.dilation + 1;
  *r = (rig){.n = 0};
  r->conv = (lip_conv){.C = g.C, .OUT = g.OUT, .groups = g.groups};
  r->conv.at = (lip_patches){g.H,
                             g.W,
                             g.kernel,
                             g.stride,
                             g.padding,
                             g.dilation,
                             (g.H + 2 * g.padding - span) / g.stride + 1,
                             (g.W + 2 * g.padding - span) / g.stride + 1,
                             false};
  assert_int_equal(lip_conv_init(&r->conv, pq, LIP_EUCLIDEAN, NULL), LIP_OK);
  r->w.conv = &r->conv;
  snprintf(r->name, sizeof r->name, "%s of convolution %zu (%zux%zu, %zu -> %zu) %s", kind->desc.name, i, g.H,
           g.W, g.C, g.OUT, lip_pq_name(pq));
  return plan(r, kind, (size_t[4]){g.OUT, g.C / g.groups, g.kernel, g.kernel}, 4, pq);
}

static bool listed(const char *const *names, const lip_parametrisation *kind) {
  for (size_t i = 0; names[i]; i++)
    if (strcmp(names[i], kind->desc.name) == 0) return true;
  return false;
}

/* Calls `check` with every row, shape and step that go together; each row goes together with something. */
static void for_all(void (*check)(rig *r)) {
  const lip_parametrisation *kind;
  rig r;
  for (size_t i = 0; (kind = lip_weight_at(i)); i++) {
    size_t dense = 0, conv = 0;
    if (!kind->g) continue;
    for (size_t s = 0; s < STEPS; s++) {
      for (size_t k = 0; listed(lip_weight_dense_names, kind) && k < SHAPES; k++)
        if (open_dense(&r, kind, k, steps[s])) dense++, check(&r), rig_close(&r);
      for (size_t k = 0; listed(lip_weight_conv_names, kind) && k < IMAGES; k++)
        if (open_conv(&r, kind, k, steps[s])) conv++, check(&r), rig_close(&r);
    }
    assert_true((dense > 0) == listed(lip_weight_dense_names, kind));
    assert_true((conv > 0) == listed(lip_weight_conv_names, kind));
  }
}

static void normal(float *x, size_t n, float size) {
  lip_rng_fill_normal(&rng, x, n, 0, size);
}

static double norm_of(rig *r, const float *G) {
  double upper;
  if (r->w.conv)
    assert_int_equal(lip_conv_norm_upper(r->w.conv, G, r->w.pq, &upper, NULL), LIP_OK);
  else
    assert_int_equal(lip_opnorm_upper(G, r->w.M, r->w.N, r->w.pq, &upper, NULL), LIP_OK);
  return upper;
}

/* ---- g and its gradient ---- */

static double *wide_of(rig *r, const double *V) {
  double *G = lip_alloc(r->n, sizeof *G);
  assert_non_null(G);
  assert_int_equal(r->w.kind->wide(&r->w, V, G), LIP_OK);
  return G;
}

static double *doubles(const float *x, size_t n) {
  double *d = lip_alloc(n, sizeof *d);
  assert_non_null(d);
  for (size_t i = 0; i < n; i++) d[i] = (double)x[i];
  return d;
}

static void values_of(rig *r) {
  for (size_t t = 0; t < 6; t++) {
    normal(r->V, r->w.n_free, (const float[]){1, 0.2f, 3}[t % 3]);
    r->w.kind->g(&r->w, &teams[0], r->V, r->G);
    double *V = doubles(r->V, r->w.n_free), *G = wide_of(r, V), most = 0;
    for (size_t i = 0; i < r->n; i++) most = fmax(most, fabs(G[i]));
    for (size_t i = 0; i < r->n; i++)
      REQUIRE(r, fabs((double)r->G[i] - G[i]) <= 3e-5 * most, "g is %g at %zu, in double %g", (double)r->G[i],
              i, G[i]);
    lip_free(V);
    lip_free(G);
  }
}

static void values_are_those_in_double(void **state) {
  (void)state;
  for_all(values_of);
}

/* Difference quotient of <c, g> along entry i. */
static double quotient(rig *r, double *V, size_t i, const float *c) {
  const double at = V[i], h = 1e-6;
  double sum = 0;
  V[i] = at + h;
  double *above = wide_of(r, V);
  V[i] = at - h;
  double *below = wide_of(r, V);
  V[i] = at;
  for (size_t k = 0; k < r->n; k++) sum += (double)c[k] * (above[k] - below[k]);
  lip_free(above);
  lip_free(below);
  return sum / (2 * h);
}

/* Where a retraction leaves V. */
static void settle(rig *r) {
  for (size_t t = 0; (r->w.kind->flags & LIP_WEIGHT_RETRACTS) && t < 30; t++) {
    r->w.kind->g(&r->w, &teams[0], r->V, r->G);
    memcpy(r->V, r->G, r->n * sizeof *r->V);
  }
}

static void gradient_of(rig *r) {
  float *c = zeros(r->n), *first = zeros(r->w.n_free);
  for (size_t t = 0; t < 2; t++) {
    normal(r->V, r->w.n_free, t ? 0.3f : 1);
    settle(r);
    normal(c, r->n, 1);
    memcpy(r->dG, c, r->n * sizeof *c);
    for (size_t i = 0; i < r->w.n_free; i++) r->dV[i] = NAN; /* not read */
    r->w.kind->g(&r->w, &teams[0], r->V, r->G);
    r->w.kind->pull(&r->w, &teams[0], r->V, r->G, r->dG, r->dV, 0);
    double *V = doubles(r->V, r->w.n_free), most = 0;
    for (size_t i = 0; i < r->w.n_free; i++) most = fmax(most, fabs((double)r->dV[i]));
    for (size_t i = 0; i < r->w.n_free; i += 1 + r->w.n_free / MOST) {
      const double d = quotient(r, V, i, c);
      REQUIRE(r, fabs((double)r->dV[i] - d) <= 2e-4 * fmax(most, 0.02), "gradient %zu is %g, quotient %g", i,
              (double)r->dV[i], d);
    }
    lip_free(V);
    memcpy(first, r->dV, r->w.n_free * sizeof *first);
    memcpy(r->dG, c, r->n * sizeof *c);
    r->w.kind->pull(&r->w, &teams[0], r->V, r->G, r->dG, r->dV, 1);
    for (size_t i = 0; i < r->w.n_free; i++)
      REQUIRE(r, fabs((double)r->dV[i] - 2 * (double)first[i]) <= 1e-5 * fmax(most, 1e-30),
              "gradient %zu is not added", i);
  }
  lip_free(c);
  lip_free(first);
}

static void gradients_are_those_of_g(void **state) {
  (void)state;
  for_all(gradient_of);
}

/* ---- what is promised ---- */

/* Matrices of every kind that training may come to. */
static void fill(rig *r, size_t t) {
  float *V = r->V;
  const size_t n = r->w.n_free;
  normal(V, n, (const float[]){1, 1e-3f, 1e3f, 1e-12f, 1e12f, 0.05f, 1, 1}[t % 8]);
  for (size_t i = 0; t == 5 && i < n; i++) V[i] = 1; /* of rank one */
  for (size_t i = 0; t == 6 && i < n; i++) V[i] = i % 3 ? 0 : V[i];
  for (size_t i = 0; t == 7 && i < n; i++) V[i] = i == n / 2 ? 100 : 0.01f * V[i];
}

static void norm_is_one(rig *r) {
  if (!(r->w.kind->flags & LIP_WEIGHT_BOUNDED)) return;
  for (size_t t = 0; t < 16; t++) {
    fill(r, t);
    r->w.kind->g(&r->w, &teams[0], r->V, r->G);
    const double norm = norm_of(r, r->G);
    REQUIRE(r, norm <= 1 + 1e-5, "its norm is %.9g (matrix %zu)", norm, t);
  }
}

static void norms_are_at_most_one(void **state) {
  (void)state;
  for_all(norm_is_one);
}

static void is_idempotent(rig *r) {
  if (!(r->w.kind->flags & LIP_WEIGHT_IDEMPOTENT)) return;
  REQUIRE(r, r->w.n_free == r->n, "V has another size than W");
  for (size_t t = 0; t < 4; t++) {
    fill(r, t);
    r->w.kind->g(&r->w, &teams[0], r->V, r->G);
    memcpy(r->V, r->G, r->n * sizeof *r->V);
    r->w.kind->g(&r->w, &teams[0], r->V, r->dG);
    for (size_t i = 0; i < r->n; i++)
      REQUIRE(r, fabs((double)(r->dG[i] - r->G[i])) <= 2e-5, "g(g(V)) is %g at %zu, g(V) %g",
              (double)r->dG[i], i, (double)r->G[i]);
  }
}

static void projections_are_idempotent(void **state) {
  (void)state;
  for_all(is_idempotent);
}

static void begins_well(rig *r) {
  float *W0 = zeros(r->n);
  for (size_t t = 0; t < 3; t++) {
    normal(W0, r->n, t == 1 ? 0.1f : 1);
    if (t == 2) memset(W0, 0, r->n * sizeof *W0);
    memcpy(r->V, W0, r->w.n_free == r->n ? r->n * sizeof *W0 : 0);
    if (r->w.kind->start)
      assert_int_equal(r->w.kind->start(&r->w, r->V, W0, &rng, NULL), LIP_OK);
    else
      REQUIRE(r, r->w.n_free == r->n, "has no start, and V has another size than W");
    r->w.kind->g(&r->w, &teams[0], r->V, r->G);
    double sum = 0;
    for (size_t i = 0; i < r->n; i++) sum += (double)r->G[i] * (double)r->G[i];
    REQUIRE(r, isfinite(sum) && (t == 2 || sum > 0), "the first weights are of length %g", sqrt(sum));
  }
  lip_free(W0);
}

static void first_weights_are_something(void **state) {
  (void)state;
  for_all(begins_well);
}

/* ---- what nobody should train ---- */

static void survives(rig *r) {
  const float sizes[] = {0, -0.0f, 1e-30f, FLT_MIN, 1e-45f, 1e15f};
  float *V = r->V;
  const size_t n = r->w.n_free;
  for (size_t t = 0; t < sizeof sizes / sizeof *sizes; t++)
    for (int alike = 0; alike < 2; alike++) {
      normal(V, n, 1);
      for (size_t i = 0; i < n; i++) V[i] = alike ? sizes[t] : V[i] * sizes[t];
      r->w.kind->g(&r->w, &teams[0], V, r->G);
      for (size_t i = 0; i < r->n; i++)
        REQUIRE(r, isfinite(r->G[i]), "g is %g for finite numbers around %g", (double)r->G[i],
                (double)sizes[t]);
      normal(r->dG, r->n, 1);
      r->w.kind->pull(&r->w, &teams[0], V, r->G, r->dG, r->dV, 0);
      for (size_t i = 0; sizes[t] == 0 && i < n; i++)
        REQUIRE(r, isfinite(r->dV[i]), "the gradient at 0 is %g", (double)r->dV[i]);
    }
  for (int t = 0; t < 2; t++) { /* anything but a crash */
    for (size_t i = 0; i < n; i++) V[i] = (i % 2 ? -1 : 1) * (t ? FLT_MAX : INFINITY);
    r->w.kind->g(&r->w, &teams[0], V, r->G);
    r->w.kind->pull(&r->w, &teams[0], V, r->G, r->dG, r->dV, 0);
  }
}

static void extremes_are_survived(void **state) {
  (void)state;
  for_all(survives);
}

static void shows_nan(rig *r) {
  for (size_t i = 0; i < r->w.n_free; i += 1 + r->w.n_free / 5) {
    bool seen = false;
    normal(r->V, r->w.n_free, 1);
    r->V[i] = NAN;
    r->w.kind->g(&r->w, &teams[0], r->V, r->G);
    for (size_t k = 0; k < r->n; k++) seen = seen || isnan(r->G[k]);
    REQUIRE(r, seen, "NaN at %zu is hidden", i);
    normal(r->dG, r->n, 1);
    r->w.kind->pull(&r->w, &teams[0], r->V, r->G, r->dG, r->dV, 0);
  }
  normal(r->V, r->w.n_free, 1); /* and does not stay */
  r->w.kind->g(&r->w, &teams[0], r->V, r->G);
  for (size_t k = 0; k < r->n; k++) REQUIRE(r, isfinite(r->G[k]), "NaN is there for ever");
}

static void nan_stays_visible(void **state) {
  (void)state;
  for_all(shows_nan);
}

/* ---- threads ---- */

static void same_bits(rig *r) {
  float *G = zeros(r->n), *dG = zeros(r->n), *dV = zeros(r->w.n_free);
  normal(r->V, r->w.n_free, 1);
  normal(dG, r->n, 1);
  for (size_t t = 0; t < THREADS; t++) {
    memset(r->w.keep, 0, r->w.kept * sizeof *r->w.keep);
    memset(r->w.tmp, 0xff, r->w.work * sizeof *r->w.tmp); /* nobody reads what nobody wrote */
    memcpy(r->dG, dG, r->n * sizeof *dG);
    r->w.kind->g(&r->w, &teams[t], r->V, r->G);
    r->w.kind->pull(&r->w, &teams[t], r->V, r->G, r->dG, r->dV, 0);
    if (t == 0) {
      memcpy(G, r->G, r->n * sizeof *G);
      memcpy(dV, r->dV, r->w.n_free * sizeof *dV);
    }
    REQUIRE(r, memcmp(G, r->G, r->n * sizeof *G) == 0, "g depends on the number of threads");
    REQUIRE(r, memcmp(dV, r->dV, r->w.n_free * sizeof *dV) == 0, "pull depends on the number of threads");
  }
  const size_t before = lip_mem_count();
  r->w.kind->g(&r->w, &teams[1], r->V, r->G);
  r->w.kind->pull(&r->w, &teams[1], r->V, r->G, r->dG, r->dV, 0);
  REQUIRE(r, lip_mem_count() == before, "g or pull allocates");
  lip_free(G);
  lip_free(dG);
  lip_free(dV);
}

static void bits_do_not_depend_on_threads(void **state) {
  const lip_parametrisation *kind;
  rig r;
  (void)state;
  for_all(same_bits);
  for (size_t i = 0; (kind = lip_weight_at(i)); i++) { /* enough work to be shared out */
    for (size_t s = 0; kind->g && s < STEPS; s++)
      for (int tall = 0; tall < 2; tall++) {
        r = (rig){.n = 0};
        snprintf(r.name, sizeof r.name, "large %s", kind->desc.name);
        if (!listed(lip_weight_dense_names, kind)) continue;
        if (!plan(&r, kind, tall ? (size_t[4]){300, 170} : (size_t[4]){170, 300}, 2, steps[s])) continue;
        same_bits(&r);
        rig_close(&r);
      }
  }
}

/* ---- nets ---- */

/* A net of one layer of that kind with such a weight, and the first step of norms that it takes. */
static lip_status open_net(const char *layer, const char *weight, lip_net **net, lip_err *err) {
  const bool conv = strcmp(layer, "dense") != 0;
  lip_status status = LIP_UNSUPPORTED;
  for (size_t i = 0; status == LIP_UNSUPPORTED && i < STEPS; i++) {
    lip_net_conf conf = {.path = {2, {steps[i].p, steps[i].q}}, .budget = 2, .seed = 1};
    conf.input = conv ? (lip_shape){3, {2, 5, 5}} : (lip_shape){1, {6}};
    lip_spec *one = lip_spec_new(lip_layer_kind_find(layer));
    if (!one) return lip_fail(err, LIP_MEMORY, "no memory");
    status = lip_conf_set_number(&one->kind->desc, one->conf, conv ? "channels" : "out", 3, err);
    if (!status) status = lip_conf_set_text(&one->kind->desc, one->conf, "weight", weight, err);
    if (!status) status = lip_net_new(&conf, &one, 1, NULL, net, err);
    lip_spec_free(one);
  }
  return status;
}

/* Making a net, its projection, and what follows a file, with the n-th allocation failing until none does. */
static void run_short(const char *layer, const char *weight) {
  for (size_t n = 1;; n++) {
    lip_net *net = NULL;
    lip_err err = {0};
    const size_t before = lip_mem_used();
    lip_mem_fail_nth(n);
    lip_status status = open_net(layer, weight, &net, &err);
    for (size_t i = 0; !status && i < net->n_params; i++) net->weights[i] *= 3;
    if (!status) status = lip_net_project_exact(net, &err);
    if (!status) status = lip_net_recall(net, &err);
    const bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    if (status) assert_int_equal(status, LIP_MEMORY);
    lip_net_free(net);
    assert_int_equal(lip_mem_used(), before);
    if (!failed) {
      assert_int_equal(status, LIP_OK);
      return;
    }
    assert_true(n < 10000);
  }
}

static void failing_allocations_are_told(void **state) {
  (void)state;
  for (size_t i = 0; lip_weight_dense_names[i]; i++) run_short("dense", lip_weight_dense_names[i]);
  for (size_t i = 0; lip_weight_conv_names[i]; i++) {
    run_short("conv2d", lip_weight_conv_names[i]);
    run_short("conv1d", lip_weight_conv_names[i]);
  }
}

/* ---- tables ---- */

static void rows_carry_their_names(void **state) {
  const lip_parametrisation *kind;
  size_t rows = 0;
  (void)state;
  assert_string_equal(lip_weight_dense_names[0], "projected");
  assert_string_equal(lip_weight_conv_names[0], "projected");
  for (size_t i = 0; (kind = lip_weight_at(i)); i++, rows++) {
    assert_true(listed(lip_weight_dense_names, kind) || listed(lip_weight_conv_names, kind));
    assert_true(strlen(kind->desc.help) > 10);
    for (size_t k = 0; k < i; k++) assert_string_not_equal(kind->desc.name, lip_weight_at(k)->desc.name);
  }
  assert_true(rows >= 2);
  for (size_t i = 0; lip_weight_dense_names[i]; i++) rows = i;
  assert_null(lip_weight_at(1000));
}

/* ---- set-up ---- */

static int open_all(void **state) {
  (void)state;
  rng = lip_rng_new(11, 0, 0);
  for (size_t t = 0; t < THREADS; t++) {
    if (t > 0) pools[t] = lip_pool_new(t + 1, NULL);
    if (t > 0 && !pools[t]) return -1;
    teams[t] = (lip_team){pools[t], lip_alloc(t + 1, lip_gemm_scratch()), lip_gemm_scratch()};
    if (!teams[t].scratch) return -1;
  }
  spec[0] = lip_spec_new(lip_layer_kind_find("dense"));
  spec[1] = lip_spec_new(lip_layer_kind_find("conv2d"));
  return spec[0] && spec[1] ? 0 : -1;
}

static int close_all(void **state) {
  (void)state;
  for (size_t t = 0; t < THREADS; t++) {
    lip_free(teams[t].scratch);
    lip_pool_free(pools[t]);
  }
  lip_spec_free(spec[0]);
  lip_spec_free(spec[1]);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_carry_their_names),        cmocka_unit_test(values_are_those_in_double),
      cmocka_unit_test(gradients_are_those_of_g),      cmocka_unit_test(norms_are_at_most_one),
      cmocka_unit_test(projections_are_idempotent),    cmocka_unit_test(first_weights_are_something),
      cmocka_unit_test(extremes_are_survived),         cmocka_unit_test(nan_stays_visible),
      cmocka_unit_test(bits_do_not_depend_on_threads), cmocka_unit_test(failing_allocations_are_told),
  };
  return cmocka_run_group_tests(tests, open_all, close_all);
}
