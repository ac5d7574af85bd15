/* What layers say that they execute (layer/emit.h), carried out by plain loops: exactly that, but for the rounding that
 * `deviate` states, in float32 in an order of their own as well as in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/layer/emit.h"
#include "support_layer_table.h"

enum { ROWS = 3 };

/* ---- the interpreter ---- */

/* Values are doubles; where `single` they are rounded after each operation, which gives float32 operations exactly, as
 * double has more than twice as many digits. */
typedef struct machine {
  const lip_emit *e;
  double **value; /* (e->n) */
  bool single;
} machine;

static double rounded(const machine *m, double v) {
  return m->single ? (double)(float)v : v;
}

static double at(const machine *m, const lip_emit_step *s, size_t k, size_t i) {
  return m->value[s->x[k]][i];
}

static const lip_shape *shape_in(const machine *m, const lip_emit_step *s) {
  return &m->e->step[s->x[0]].out;
}

/* From the last term on, the other way round than layers do. */
static void dense(const machine *m, const lip_emit_step *s, double *y) {
  const size_t n = lip_shape_size(shape_in(m, s));
  for (size_t o = 0; o < s->out.dim[0]; o++) {
    y[o] = 0;
    for (size_t i = n; i-- > 0;)
      y[o] = rounded(m, y[o] + rounded(m, (double)s->u.dense.W[o * n + i] * at(m, s, 0, i)));
    if (s->u.dense.b) y[o] = rounded(m, y[o] + (double)s->u.dense.b[o]);
  }
}

/* Channels, rows and columns of an image or of {C, L}; features are images of one pixel. */
static void sides(const lip_shape *s, size_t side[3]) {
  side[0] = s->dim[0];
  side[1] = s->ndim == 3 ? s->dim[1] : 1;
  side[2] = s->ndim == 1 ? 1 : s->dim[s->ndim - 1];
}

/* Place i * stride + k * dilation - padding of n; false: outside. */
static bool tap(size_t i, size_t stride, size_t k, size_t dilation, size_t padding, size_t n, size_t *place) {
  *place = i * stride + k * dilation - padding;
  return i * stride + k * dilation >= padding && *place < n;
}

static void conv(const machine *m, const lip_emit_step *s, double *y) {
  size_t in[3], out[3], r, c;
  sides(shape_in(m, s), in);
  sides(&s->out, out);
  const size_t *kernel = s->u.conv.kernel, *stride = s->u.conv.stride, *pad = s->u.conv.padding,
               *dilation = s->u.conv.dilation, each = in[0] / s->u.conv.groups,
               K = each * kernel[0] * kernel[1];
  for (size_t i = 0; i < out[0] * out[1] * out[2]; i++) {
    const size_t o = i / (out[1] * out[2]), oy = i / out[2] % out[1], ox = i % out[2];
    const size_t first = o / (out[0] / s->u.conv.groups) * each;
    y[i] = 0;
    for (size_t k = K; k-- > 0;) {
      const size_t ch = first + k / (kernel[0] * kernel[1]), ky = k / kernel[1] % kernel[0],
                   kx = k % kernel[1];
      if (!tap(oy, stride[0], ky, dilation[0], pad[0], in[1], &r) ||
          !tap(ox, stride[1], kx, dilation[1], pad[1], in[2], &c))
        continue;
      const double x = at(m, s, 0, (ch * in[1] + r) * in[2] + c);
      y[i] = rounded(m, y[i] + rounded(m, (double)s->u.conv.W[o * K + k] * x));
    }
    if (s->u.conv.b) y[i] = rounded(m, y[i] + (double)s->u.conv.b[o]);
  }
}

static double function(const lip_emit_step *s, double x) {
  const double p = s->u.map.parameter;
  switch (s->u.map.f) {
  case LIP_EMIT_RELU: return x > 0 ? x : 0;
  case LIP_EMIT_LEAKY_RELU: return x > 0 ? x : p * x;
  case LIP_EMIT_ABS: return fabs(x);
  case LIP_EMIT_TANH: return tanh(x);
  case LIP_EMIT_SIGMOID: return 1 / (1 + exp(-x));
  case LIP_EMIT_SOFTPLUS: return (fmax(p * x, 0) + log1p(exp(-fabs(p * x)))) / p;
  }
  return NAN;
}

static void affine(const machine *m, const lip_emit_step *s, double *y) {
  const size_t n = lip_shape_size(&s->out), S = n / s->out.dim[0];
  for (size_t i = 0; i < n; i++) {
    y[i] = at(m, s, 0, i);
    if (s->u.affine.m) y[i] = rounded(m, y[i] - (double)s->u.affine.m[i / S]);
    if (s->u.affine.a) y[i] = rounded(m, y[i] * (double)s->u.affine.a[i / S]);
    if (s->u.affine.b) y[i] = rounded(m, y[i] + (double)s->u.affine.b[i / S]);
  }
}

/* Means as the sum, divided: the way that is farthest from the product with `factor`, unless numbers are exact. */
static double window(const machine *m, const lip_emit_step *s, const size_t in[3], const size_t at_[3]) {
  const size_t *kernel = s->u.pool.kernel, *stride = s->u.pool.stride, *pad = s->u.pool.padding;
  const lip_emit_pool how = s->u.pool.how;
  double y = how == LIP_EMIT_MAX ? -(double)INFINITY : 0;
  size_t r, c;
  for (size_t k = kernel[0] * kernel[1]; k-- > 0;) {
    if (!tap(at_[1], stride[0], k / kernel[1], 1, pad[0], in[1], &r) ||
        !tap(at_[2], stride[1], k % kernel[1], 1, pad[1], in[2], &c))
      continue;
    const double x = at(m, s, 0, (at_[0] * in[1] + r) * in[2] + c);
    y = how == LIP_EMIT_MAX ? fmax(x, y) : how == LIP_EMIT_MEAN ? rounded(m, y + x) : y + x * x;
  }
  if (how == LIP_EMIT_MEAN)
    return m->single ? rounded(m, y / (double)(kernel[0] * kernel[1])) : y * (double)s->u.pool.factor;
  return how == LIP_EMIT_L2 ? rounded(m, sqrt(y)) : y;
}

static void pool(const machine *m, const lip_emit_step *s, double *y) {
  size_t in[3], out[3];
  sides(shape_in(m, s), in);
  sides(&s->out, out);
  for (size_t i = 0; i < out[0] * out[1] * out[2]; i++)
    y[i] = window(m, s, in, (size_t[]){i / (out[1] * out[2]), i / out[2] % out[1], i % out[2]});
}

static void sort(const machine *m, const lip_emit_step *s, double *y) {
  const size_t n = lip_shape_size(&s->out), S = n / s->out.dim[0], size = s->u.sort.size;
  for (size_t i = 0; i < n; i++) y[i] = at(m, s, 0, i);
  for (size_t i = 0; i < n; i++) { /* selection, for every place of a group */
    const size_t c = i / S, end = (c / size + 1) * size;
    for (size_t k = c + 1; k < end; k++) {
      double *first = &y[i], *other = &y[k * S + i % S];
      if (s->u.sort.descending ? *other > *first : *other < *first) {
        const double keep = *first;
        *first = *other;
        *other = keep;
      }
    }
  }
}

static void sum(const machine *m, const lip_emit_step *s, double *y) {
  for (size_t i = 0; i < lip_shape_size(&s->out); i++)
    for (size_t k = 0; k < s->n_x; k++) {
      const double w = s->u.sum.weight ? (double)s->u.sum.weight[k] : 1,
                   term = rounded(m, w * at(m, s, k, i));
      y[i] = k == 0 ? term : rounded(m, y[i] + term);
    }
}

static void join(const machine *m, const lip_emit_step *s, double *y) {
  for (size_t k = 0; k < s->n_x; k++)
    for (size_t i = 0; i < lip_shape_size(&m->e->step[s->x[k]].out); i++) *y++ = at(m, s, k, i);
}

static void step(const machine *m, const lip_emit_step *s, double *y) {
  const size_t n = lip_shape_size(&s->out);
  switch (s->op) {
  case LIP_EMIT_INPUT: break; /* is there */
  case LIP_EMIT_CONSTANT:
    for (size_t i = 0; i < n; i++) y[i] = (double)s->u.constant.v[i];
    break;
  case LIP_EMIT_DENSE: dense(m, s, y); break;
  case LIP_EMIT_CONV: conv(m, s, y); break;
  case LIP_EMIT_MAP:
    for (size_t i = 0; i < n; i++) y[i] = rounded(m, function(s, at(m, s, 0, i)));
    break;
  case LIP_EMIT_AFFINE: affine(m, s, y); break;
  case LIP_EMIT_POOL: pool(m, s, y); break;
  case LIP_EMIT_SORT: sort(m, s, y); break;
  case LIP_EMIT_MOVE:
    for (size_t i = 0; i < n; i++)
      y[i] = s->u.move.from[i] == LIP_EMIT_ZERO ? 0 : at(m, s, 0, s->u.move.from[i]);
    break;
  case LIP_EMIT_RESHAPE:
    for (size_t i = 0; i < n; i++) y[i] = at(m, s, 0, i);
    break;
  case LIP_EMIT_SUM: sum(m, s, y); break;
  case LIP_EMIT_JOIN: join(m, s, y); break;
  }
}

/* The steps of e for x, into `out`. */
static void carry_out(const lip_emit *e, bool single, const float *x, double *out) {
  machine m = {.e = e, .single = single};
  m.value = calloc(e->n, sizeof *m.value);
  assert_non_null(m.value);
  for (size_t i = 0; i < e->n; i++) {
    m.value[i] = calloc(lip_shape_size(&e->step[i].out), sizeof **m.value);
    assert_non_null(m.value[i]);
    for (size_t k = 0; i == 0 && k < lip_shape_size(&e->step[0].out); k++) m.value[0][k] = (double)x[k];
    step(&m, &e->step[i], m.value[i]);
  }
  memcpy(out, m.value[e->out], lip_shape_size(&e->step[e->out].out) * sizeof *out);
  for (size_t i = 0; i < e->n; i++) free(m.value[i]);
  free(m.value);
}

/* ---- every kind of the registry ---- */

/* Kinds that are in no other format. */
static bool is_refused(const char *name) {
  static const char *const refused[] = {"householder", "linf_dist", "sort_neuron"};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    if (strcmp(refused[i], name) == 0) return true;
  return false;
}

static double norm(const double *v, size_t n, lip_p p) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum = p == LIP_PINF ? fmax(sum, fabs(v[i])) : sum + (p == LIP_P1 ? fabs(v[i]) : v[i] * v[i]);
  return p == LIP_P2 ? sqrt(sum) : sum;
}

static double distance(const double *a, const double *b, size_t n, lip_p p) {
  double *d = malloc(n * sizeof *d);
  assert_non_null(d);
  for (size_t i = 0; i < n; i++) d[i] = a[i] - b[i];
  const double size = norm(d, n, p);
  free(d);
  return size;
}

static void fill(rig *r) {
  case_fill(r->x, r->B * r->l->n_in, 5, 1);
  for (size_t i = 0; i < r->n_leaf; i++)
    for (size_t k = 0; k < r->leaf[i]->n_param; k++) {
      const lip_param *p = &r->leaf[i]->param[k];
      if (strcmp(p->name, "bias") == 0 || strstr(p->name, "mean"))
        case_fill(p->value, lip_param_size(p), i, 0.3F);
    }
}

static void run(rig *r) {
  lip_pass pass = rig_pass(r, 0, r->B);
  pass.training = false;
  if (r->l->kind->flags & LIP_LAYER_ALIAS)
    memcpy(r->y, r->x, r->B * r->l->n_in * sizeof(float));
  else
    r->l->kind->forward(r->l, &pass);
}

/* Row b of the layer as it stands, in norm p -> p. */
static void check_row(const test_case *c, const rig *r, const lip_emit *e, size_t b, lip_p p) {
  const size_t n = r->l->n_out, n_in = r->l->n_in;
  double *ours = malloc((3 * n + n_in) * sizeof *ours);
  assert_non_null(ours);
  double *exact = ours + n, *theirs = exact + n, *x = theirs + n;
  for (size_t i = 0; i < n; i++) ours[i] = (double)r->y[b * n + i];
  for (size_t i = 0; i < n_in; i++) x[i] = (double)r->x[b * n_in + i];
  carry_out(e, false, r->x + b * n_in, exact);
  carry_out(e, true, r->x + b * n_in, theirs);
  lip_deviation d = {norm(x, n_in, p) * (1 + 0x1p-40), 0};
  lip_layer_deviate(r->l, (lip_pq){p, p}, &d);
  REQUIRE(c, d.off < 0.1 * (1 + d.size), "states the deviation %g", d.off);
  const double slack = d.off * (1 + 0x1p-20) + (d.off > 0 ? 0x1p-40 * (1 + d.size) : 0); /* of the doubles */
  const double own = distance(ours, exact, n, p), other = distance(theirs, exact, n, p);
  REQUIRE(c, own <= slack, "norm %d: the layer is %g from its steps, deviation %g", (int)p, own, d.off);
  REQUIRE(c, other <= slack, "norm %d: steps in float32 are off by %g, deviation %g", (int)p, other, d.off);
  free(ours);
}

static void check_steps(const test_case *c, const lip_emit *e, const lip_layer *l) {
  char shape[64];
  for (size_t i = 0; i < e->n; i++) {
    const lip_emit_step *s = &e->step[i];
    REQUIRE(c, (s->op == LIP_EMIT_INPUT) == (i == 0), "step %zu is an input", i);
    REQUIRE(c, (s->layer == NULL) == (i == 0), "step %zu is of no layer", i);
    for (size_t k = 0; k < s->n_x; k++) REQUIRE(c, s->x[k] < i, "step %zu takes value %zu", i, s->x[k]);
  }
  const lip_shape *out = &e->step[e->out].out;
  bool same = out->ndim == l->out.ndim;
  for (int k = 0; same && k < out->ndim; k++) same = out->dim[k] == l->out.dim[k];
  REQUIRE(c, same, "gives %s", lip_shape_describe(out, shape, sizeof shape));
}

static void test_kinds(void **state) {
  (void)state;
  size_t written = 0;
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    const char *name = c->spec->kind->desc.name;
    rig r;
    lip_emit e;
    lip_err err = {LIP_OK, ""};
    if (!case_plans(c, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, ROWS, &r)) continue;
    fill(&r);
    run(&r);
    const lip_status status = lip_emit_init(&e, r.l, &err);
    if (is_refused(name)) {
      REQUIRE(c, status == LIP_UNSUPPORTED && strstr(err.msg, name) == err.msg, "status %d: %s", status,
              err.msg);
    } else {
      REQUIRE(c, status == LIP_OK, "%s", err.msg);
      check_steps(c, &e, r.l);
      for (size_t b = 0; b < ROWS; b++)
        for (lip_p p = LIP_P1; p <= LIP_PINF; p++) check_row(c, &r, &e, b, p);
      written++;
    }
    lip_emit_free(&e);
    rig_close(&r);
  }
  assert_true(written > 60);
}

/* A container is refused for what stands inside, by that layer's name; a failure of memory anywhere is told. */
static void test_failures(void **state) {
  (void)state;
  lip_spec *chain = lip_spec_new(lip_layer_kind_find("chain"));
  assert_int_equal(lip_spec_add(chain, lip_spec_new(lip_layer_kind_find("relu")), NULL), LIP_OK);
  assert_int_equal(lip_spec_add(chain, lip_spec_new(lip_layer_kind_find("householder")), NULL), LIP_OK);
  const lip_shape in = {1, {4, 0, 0}};
  rig r;
  lip_emit e;
  lip_err err;
  assert_int_equal(
      rig_open(&r, chain, &in, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1, &err),
      LIP_OK);
  assert_int_equal(lip_emit_init(&e, r.l, &err), LIP_UNSUPPORTED);
  assert_memory_equal(err.msg, "householder: cannot be written", 30);
  lip_emit_free(&e);
  rig_close(&r);
  lip_spec_free(chain);
}

static void test_memory(void **state) {
  (void)state;
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    rig r;
    lip_emit e;
    lip_err err;
    if (is_refused(c->spec->kind->desc.name) ||
        !case_plans(c, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1, &r))
      continue;
    bool failed = true;
    for (size_t n = 1; failed; n++) {
      lip_mem_fail_nth(n);
      const lip_status status = lip_emit_init(&e, r.l, &err);
      failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      lip_emit_free(&e);
      REQUIRE(c, status == (failed ? LIP_MEMORY : LIP_OK), "status %d", status);
    }
    rig_close(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_kinds), cmocka_unit_test(test_failures),
                                     cmocka_unit_test(test_memory)};
  return cmocka_run_group_tests(tests, make_layer_cases, free_layer_cases);
}
