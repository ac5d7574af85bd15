/* tensor and ops: shapes, views and every operation against index arithmetic written out a second time. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/tensor/ops.h"
#include "core/tensor/tensor.h"

/* ---- the oracle: elements by their position in row-major order ---- */

static void unravel(const lip_tensor *t, size_t flat, size_t index[LIP_MAX_DIMS]) {
  for (int d = t->ndim - 1; d >= 0; d--) {
    index[d] = flat % t->shape[d];
    flat /= t->shape[d];
  }
}

static float *element(const lip_tensor *t, const size_t *index) {
  float *p = t->data;
  for (int d = 0; d < t->ndim; d++) p += index[d] * t->stride[d];
  return p;
}

static float *nth(const lip_tensor *t, size_t flat) {
  size_t index[LIP_MAX_DIMS] = {0};
  unravel(t, flat, index);
  return element(t, index);
}

static lip_tensor make(int ndim, const size_t *shape) {
  lip_tensor t;
  lip_err err;
  assert_int_equal(lip_tensor_init(&t, ndim, shape, &err), LIP_OK);
  return t;
}

enum { LONG = 400 }; /* longest dimension */

/* A random owner of up to 4 dimensions, and a random view of it made by slicing and turning. */
static lip_tensor random_owner(lip_rng *rng) {
  size_t shape[LIP_MAX_DIMS];
  int ndim = (int)lip_rng_below(rng, 5);
  for (int d = 0; d < ndim; d++) shape[d] = 1 + lip_rng_below(rng, d == ndim - 1 ? LONG : 5);
  lip_tensor t = make(ndim, shape);
  lip_rng_fill_normal(rng, t.data, lip_tensor_size(&t), 0, 1);
  return t;
}

static lip_tensor random_view(lip_rng *rng, const lip_tensor *t) {
  lip_tensor v = *t;
  v.owner = false;
  for (int round = 0; t->ndim > 0 && round < 3; round++) {
    int a = (int)lip_rng_below(rng, (uint64_t)t->ndim), b = (int)lip_rng_below(rng, (uint64_t)t->ndim);
    if (lip_rng_below(rng, 2)) v = lip_tensor_transpose(&v, a, b);
    if (lip_rng_below(rng, 2)) {
      size_t first = lip_rng_below(rng, v.shape[a]),
             last = first + 1 + lip_rng_below(rng, v.shape[a] - first);
      v = lip_tensor_slice(&v, a, first, last, 1 + lip_rng_below(rng, 3));
    }
  }
  return v;
}

static bool same_float(float a, float b) {
  return (isnan(a) && isnan(b)) || a == b;
}

/* ---- shapes ---- */

static void owners_are_zeroed_and_freed_once(void **state) {
  (void)state;
  size_t before = lip_mem_used(), shape[] = {2, 3, 4};
  lip_tensor t = make(3, shape);
  assert_true(t.owner && lip_tensor_is_contiguous(&t));
  assert_int_equal(lip_tensor_size(&t), 24);
  for (size_t i = 0; i < 24; i++) assert_true(t.data[i] == 0);
  lip_tensor view = lip_tensor_wrap(t.data, 3, shape);
  lip_tensor_free(&view);
  assert_ptr_equal(view.data, t.data);
  lip_tensor_free(&t);
  lip_tensor_free(&t);
  assert_null(t.data);
  assert_int_equal(lip_tensor_size(&t), 0);
  assert_int_equal(lip_mem_used(), before);
}

static void bad_shapes_and_no_memory_are_reported(void **state) {
  (void)state;
  lip_tensor t;
  lip_err err;
  size_t huge[] = {SIZE_MAX / 2, 3}, empty[] = {0, SIZE_MAX}, ok[] = {2, 2};
  assert_int_equal(lip_tensor_init(&t, 2, huge, &err), LIP_SHAPE);
  assert_int_equal(lip_tensor_init(&t, 2, empty, &err), LIP_SHAPE);
  assert_int_equal(lip_tensor_init(&t, 5, huge, &err), LIP_SHAPE);
  assert_int_equal(lip_tensor_init(&t, -1, huge, &err), LIP_SHAPE);
  assert_non_null(strstr(err.msg, "got -1"));
  assert_int_equal(lip_tensor_size(&t), 0);
  lip_mem_fail_nth(1);
  assert_int_equal(lip_tensor_init(&t, 2, ok, &err), LIP_MEMORY);
  lip_mem_fail_nth(0);
  assert_null(t.data);
  assert_false(t.owner);
  lip_tensor_free(&t);
  size_t none[] = {0, 3};
  t = make(2, none);
  assert_int_equal(lip_tensor_size(&t), 0);
  lip_tensor_fill(&t, 1);
  lip_tensor_free(&t);
}

static void shape_text_names_every_dimension(void **state) {
  (void)state;
  char buf[40];
  size_t shape[] = {2, 3, 40, 0};
  assert_string_equal(lip_shape_text(4, shape, buf, sizeof buf), "2x3x40x0");
  assert_string_equal(lip_shape_text(1, shape, buf, sizeof buf), "2");
  assert_string_equal(lip_shape_text(0, shape, buf, sizeof buf), "scalar");
  assert_string_equal(lip_shape_text(4, shape, buf, 4), "2x3");
}

static void views_show_the_right_elements(void **state) {
  (void)state;
  size_t shape[] = {4, 5, 6};
  lip_tensor t = make(3, shape);
  for (size_t i = 0; i < 120; i++) t.data[i] = (float)i;
  lip_tensor s = lip_tensor_slice(&t, 1, 1, 5, 2), e = lip_tensor_select(&t, 1, 3);
  lip_tensor r = lip_tensor_transpose(&t, 0, 2);
  assert_int_equal(s.shape[1], 2);
  assert_int_equal(e.ndim, 2);
  assert_false(lip_tensor_is_contiguous(&s) || lip_tensor_is_contiguous(&e) || lip_tensor_is_contiguous(&r));
  for (size_t i = 0; i < 4; i++)
    for (size_t k = 0; k < 6; k++) {
      for (size_t j = 0; j < 5; j++) {
        size_t turned[] = {k, j, i};
        assert_true(*element(&r, turned) == (float)(i * 30 + j * 6 + k));
      }
      for (size_t j = 0; j < 2; j++) {
        size_t index[] = {i, j, k};
        assert_true(*element(&s, index) == (float)(i * 30 + (1 + 2 * j) * 6 + k));
      }
      size_t pair[] = {i, k};
      assert_true(*element(&e, pair) == (float)(i * 30 + 3 * 6 + k));
    }
  lip_tensor none = lip_tensor_slice(&t, 0, 4, 4, 7), column = lip_tensor_slice(&t, 0, 2, 3, 1);
  assert_int_equal(lip_tensor_size(&none), 0);
  assert_true(lip_tensor_is_contiguous(&none) && lip_tensor_is_contiguous(&column));
  lip_tensor_free(&t);
}

static void copy_and_fill_respect_strides(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  for (int round = 0; round < 300; round++) {
    lip_tensor a = random_owner(&rng), v = random_view(&rng, &a), b = make(v.ndim, v.shape);
    lip_tensor_copy(&b, &v);
    for (size_t i = 0; i < lip_tensor_size(&v); i++) assert_true(b.data[i] == *nth(&v, i));
    size_t outside = 0, filled = 0;
    lip_tensor_fill(&v, 77);
    for (size_t i = 0; i < lip_tensor_size(&a); i++) a.data[i] == 77 ? filled++ : outside++;
    assert_int_equal(filled, lip_tensor_size(&v));
    assert_int_equal(filled + outside, lip_tensor_size(&a));
    lip_tensor_copy(&v, &b); /* back into the view */
    for (size_t i = 0; i < lip_tensor_size(&v); i++) assert_true(b.data[i] == *nth(&v, i));
    lip_tensor_free(&a);
    lip_tensor_free(&b);
  }
}

/* ---- element by element ---- */

/* The meaning of every operation, once more. */
static float expected(lip_op op, float x, float y, float p, float q) {
  switch (op) {
  case LIP_OP_ADD: return x + y;
  case LIP_OP_SUB: return x - y;
  case LIP_OP_MUL: return x * y;
  case LIP_OP_DIV: return x / y;
  case LIP_OP_MAXIMUM: return isnan(x) || isnan(y) ? NAN : fmaxf(x, y);
  case LIP_OP_MINIMUM: return isnan(x) || isnan(y) ? NAN : fminf(x, y);
  case LIP_OP_EQ: return (float)(x == y);
  case LIP_OP_NE: return (float)!(x == y);
  case LIP_OP_LT: return (float)isless(x, y);
  case LIP_OP_LE: return (float)islessequal(x, y);
  case LIP_OP_GT: return (float)isgreater(x, y);
  case LIP_OP_GE: return (float)isgreaterequal(x, y);
  case LIP_OP_AXPY: return (float)(p * y) + x;
  case LIP_OP_NEG: return 0 - x;
  case LIP_OP_ABS: return isnan(x) ? NAN : fmaxf(x, -x);
  case LIP_OP_SQRT: return (float)sqrt((double)x);
  case LIP_OP_EXP: return (float)exp((double)x);
  case LIP_OP_LOG: return (float)log((double)x);
  case LIP_OP_TANH: return (float)tanh((double)x);
  case LIP_OP_SIGN: return isnan(x) ? NAN : (float)((x > 0) - (x < 0));
  case LIP_OP_RELU: return isnan(x) ? NAN : fmaxf(x, 0);
  case LIP_OP_POW: return (float)pow((double)x, (double)y);
  case LIP_OP_SQUARE: return x * x;
  case LIP_OP_SIGMOID: return (float)(1 / (1 + exp(-(double)x)));
  case LIP_OP_SOFTPLUS: return isnan(x) ? NAN : (float)(fmax((double)x, 0) + log1p(exp(-fabs((double)x))));
  case LIP_OP_CLAMP: return isnan(x) ? NAN : fminf(fmaxf(x, p), q);
  default: fail_msg("operation %d has no oracle", op); return 0;
  }
}

/* libm's float functions may be off by an ulp or so from the rounded double result */
static void assert_result(lip_op op, float got, float want) {
  bool libm = op == LIP_OP_EXP || op == LIP_OP_LOG || op == LIP_OP_TANH || op == LIP_OP_POW;
  if (libm && isfinite(want)) {
    assert_true(fabsf(got - want) <= 2 * FLT_EPSILON * fabsf(want) + FLT_MIN);
  } else if ((op == LIP_OP_SIGMOID || op == LIP_OP_SOFTPLUS) && isfinite(want)) {
    assert_true(fabsf(got - want) <= 4 * FLT_EPSILON * fabsf(want) + FLT_MIN);
  } else if (!same_float(got, want)) {
    fail_msg("%s: got %g, want %g", lip_op_name(op), (double)got, (double)want);
  }
}

/* Value of t at the place of a result that t may be spread over. */
static float spread(const lip_tensor *t, const lip_tensor *out, const size_t *index) {
  if (t->ndim == 0) return t->data[0];
  if (t->ndim < out->ndim) return *element(t, index + out->ndim - 1);
  size_t own[LIP_MAX_DIMS];
  for (int d = 0; d < t->ndim; d++) own[d] = t->shape[d] == 1 ? 0 : index[d];
  return *element(t, own);
}

static void check_apply(lip_op op, const lip_tensor *a, const lip_tensor *b) {
  const float p = 0.5f, q = 1.5f;
  lip_tensor out;
  lip_err err;
  size_t shape[LIP_MAX_DIMS], index[LIP_MAX_DIMS];
  int ndim;
  const lip_tensor *other = lip_op_tensors(op) == 2 ? b : a;
  assert_int_equal(lip_op_shape("test", a, other, &ndim, shape, &err), LIP_OK);
  out = make(ndim, shape);
  lip_tensor_apply(op, &out, a, lip_op_tensors(op) == 2 ? b : NULL, p, q);
  for (size_t i = 0; i < lip_tensor_size(&out); i++) {
    unravel(&out, i, index);
    assert_result(op, out.data[i], expected(op, spread(a, &out, index), spread(other, &out, index), p, q));
  }
  lip_tensor_free(&out);
}

static void sprinkle(lip_rng *rng, const lip_tensor *t) {
  static const float special[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1.0f, -1.0f, FLT_MAX};
  for (int i = 0; i < 8; i++) *nth(t, lip_rng_below(rng, lip_tensor_size(t))) = special[i];
}

static void every_operation_agrees_with_its_formula(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(2, LIP_RNG_USER, 0);
  for (int round = 0; round < 60; round++) {
    lip_tensor oa = random_owner(&rng), a = random_view(&rng, &oa), ob = make(a.ndim, a.shape), b = ob;
    lip_rng_fill_normal(&rng, ob.data, lip_tensor_size(&ob), 0, 1);
    sprinkle(&rng, &a);
    sprinkle(&rng, &b);
    size_t width = a.ndim ? a.shape[a.ndim - 1] : 1;
    lip_tensor row = lip_tensor_wrap(ob.data, a.ndim ? 1 : 0, &width),
               scalar = lip_tensor_wrap(ob.data, 0, NULL), column = b, across = b;
    if (a.ndim > 0) { /* repeated along the last dimension, and along the first */
      column = lip_tensor_slice(&b, a.ndim - 1, 0, 1, 1);
      across = lip_tensor_slice(&b, 0, 0, 1, 1);
    }
    for (int op = 0; op < LIP_OP_COUNT; op++) {
      check_apply((lip_op)op, &a, &b);
      check_apply((lip_op)op, &b, &a);
      check_apply((lip_op)op, &a, &row);
      check_apply((lip_op)op, &row, &a);
      check_apply((lip_op)op, &a, &column);
      check_apply((lip_op)op, &column, &a);
      check_apply((lip_op)op, &column, &across);
      check_apply((lip_op)op, &b, &scalar);
      check_apply((lip_op)op, &scalar, &b);
      check_apply((lip_op)op, &a, &a);
    }
    lip_tensor_free(&oa);
    lip_tensor_free(&ob);
  }
}

static void in_place_gives_the_same_as_out_of_place(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  for (int round = 0; round < 40; round++)
    for (int op = 0; op < LIP_OP_COUNT; op++) {
      lip_tensor o = random_owner(&rng), a = random_view(&rng, &o), out = make(a.ndim, a.shape);
      lip_tensor_apply((lip_op)op, &out, &a, &a, 0.25f, 0.75f);
      assert_false(lip_tensor_overlaps(&a, &a));
      lip_tensor_apply((lip_op)op, &a, &a, &a, 0.25f, 0.75f);
      for (size_t i = 0; i < lip_tensor_size(&a); i++) assert_true(same_float(*nth(&a, i), out.data[i]));
      lip_tensor_free(&o);
      lip_tensor_free(&out);
    }
}

static void shapes_that_do_not_match_are_named(void **state) {
  (void)state;
  size_t s23[] = {2, 3}, s32[] = {3, 2}, s3[] = {3}, s2[] = {2}, shape[LIP_MAX_DIMS];
  lip_tensor a = make(2, s23), b = make(2, s32), row = make(1, s3), bad = make(1, s2);
  int ndim;
  lip_err err;
  assert_int_equal(lip_op_shape("add", &a, &b, &ndim, shape, &err), LIP_SHAPE);
  assert_string_equal(err.msg, "lip.tensor add: shapes do not match: a 2x3, b 3x2");
  assert_int_equal(lip_op_shape("add", &a, &bad, &ndim, shape, &err), LIP_SHAPE);
  assert_int_equal(lip_op_shape("add", &bad, &row, &ndim, shape, &err), LIP_SHAPE);
  /* values in a column beside as many labels: (2, 1) and (2), no row of two */
  lip_tensor column = lip_tensor_slice(&a, 1, 0, 1, 1);
  assert_int_equal(lip_op_shape("sub", &column, &bad, &ndim, shape, &err), LIP_SHAPE);
  assert_string_equal(err.msg, "lip.tensor sub: shapes do not match: a 2x1, b 2");
  assert_int_equal(lip_op_shape("add", &column, &a, &ndim, shape, &err), LIP_OK);
  assert_int_equal(shape[1], 3);
  assert_int_equal(lip_op_shape("add", &row, &a, &ndim, shape, &err), LIP_OK);
  assert_int_equal(ndim, 2);
  assert_int_equal(shape[0], 2);
  lip_tensor_free(&a);
  lip_tensor_free(&b);
  lip_tensor_free(&row);
  lip_tensor_free(&bad);
}

static void overlap_is_seen(void **state) {
  (void)state;
  size_t shape[] = {4, 4}, one[] = {4, 4};
  lip_tensor t = make(2, shape), turned = lip_tensor_transpose(&t, 0, 1), other = make(2, one);
  lip_tensor top = lip_tensor_slice(&t, 0, 0, 2, 1), low = lip_tensor_slice(&t, 0, 2, 4, 1);
  lip_tensor mid = lip_tensor_slice(&t, 0, 1, 3, 1), row = lip_tensor_select(&t, 0, 1);
  assert_true(lip_tensor_overlaps(&t, &turned));
  assert_true(lip_tensor_overlaps(&top, &mid));
  assert_true(lip_tensor_overlaps(&t, &row));
  assert_false(lip_tensor_overlaps(&top, &low));
  assert_false(lip_tensor_overlaps(&low, &top));
  assert_false(lip_tensor_overlaps(&t, &other));
  lip_tensor_free(&t);
  lip_tensor_free(&other);
}

/* ---- reductions ---- */

static double brute_reduce(lip_reduction how, const double *x, size_t n) {
  double sum = 0, sum1 = 0, sum2 = 0, high = -INFINITY, low = INFINITY, top = 0;
  for (size_t i = 0; i < n; i++) {
    sum += x[i];
    sum1 += fabs(x[i]);
    sum2 += x[i] * x[i];
    high = fmax(high, x[i]);
    low = fmin(low, x[i]);
    top = fmax(top, fabs(x[i]));
  }
  switch (how) {
  case LIP_REDUCE_SUM: return sum;
  case LIP_REDUCE_MEAN: return sum / (double)n;
  case LIP_REDUCE_MAX: return high;
  case LIP_REDUCE_MIN: return low;
  case LIP_REDUCE_NORM_1: return sum1;
  case LIP_REDUCE_NORM_2: return sqrt(sum2);
  default: return top;
  }
}

/* The elements along `dim` that belong to result number `flat`. */
static size_t line(const lip_tensor *t, int dim, size_t flat, double x[LONG]) {
  lip_tensor rest = lip_tensor_select(t, dim, 0);
  size_t index[LIP_MAX_DIMS] = {0};
  unravel(&rest, flat, index);
  for (size_t i = 0; i < t->shape[dim]; i++) x[i] = (double)element(&rest, index)[i * t->stride[dim]];
  return t->shape[dim];
}

static void reductions_agree_with_plain_loops(void **state) {
  (void)state;
  static double all[200000], x[LONG];
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  for (int round = 0; round < 150; round++) {
    lip_tensor o = random_owner(&rng), t = random_view(&rng, &o);
    size_t n = lip_tensor_size(&t);
    for (size_t i = 0; i < n; i++) all[i] = (double)*nth(&t, i);
    for (int how = 0; how < LIP_REDUCE_COUNT; how++) {
      double got = lip_tensor_reduce((lip_reduction)how, &t), want = brute_reduce((lip_reduction)how, all, n);
      assert_true(fabs(got - want) <= 1e-12 * (double)n);
      for (int dim = 0; dim < t.ndim; dim++) {
        lip_tensor rest = lip_tensor_select(&t, dim, 0), out = make(rest.ndim, rest.shape);
        lip_tensor_reduce_dim((lip_reduction)how, &out, &t, dim);
        for (size_t i = 0; i < lip_tensor_size(&out); i++) {
          want = brute_reduce((lip_reduction)how, x, line(&t, dim, i, x));
          assert_true(fabs((double)out.data[i] - want) <= 1e-7 * (1 + fabs(want)));
        }
        lip_tensor_free(&out);
      }
    }
    lip_tensor_free(&o);
  }
}

static void sums_are_made_in_double(void **state) {
  (void)state;
  size_t n = 100001;
  lip_tensor t = make(1, &n);
  lip_tensor_fill(&t, 1);
  t.data[0] = 0x1p30f; /* in float32, adding 1 to it changes nothing */
  assert_true(lip_tensor_reduce(LIP_REDUCE_SUM, &t) == 0x1p30 + 100000);
  lip_tensor_free(&t);
}

static void nan_goes_through_reductions(void **state) {
  (void)state;
  for (size_t n = 1; n < 200; n += 13)
    for (size_t at = 0; at < n; at += 5) {
      lip_tensor t = make(1, &n);
      lip_rng rng = lip_rng_new(n, LIP_RNG_USER, at);
      lip_rng_fill_normal(&rng, t.data, n, 0, 1);
      assert_true(lip_tensor_all_finite(&t));
      t.data[at] = NAN;
      for (int how = 0; how < LIP_REDUCE_COUNT; how++) {
        float along;
        lip_tensor out = lip_tensor_wrap(&along, 0, NULL);
        assert_true(isnan(lip_tensor_reduce((lip_reduction)how, &t)));
        lip_tensor_reduce_dim((lip_reduction)how, &out, &t, 0);
        assert_true(isnan(along));
      }
      assert_int_equal(lip_tensor_arg(&t, true), at);
      assert_int_equal(lip_tensor_arg(&t, false), at);
      assert_false(lip_tensor_all_finite(&t));
      assert_false(lip_tensor_equal(&t, &t, INFINITY));
      t.data[at] = -INFINITY;
      assert_false(lip_tensor_all_finite(&t));
      assert_true(lip_tensor_equal(&t, &t, 0));
      lip_tensor_free(&t);
    }
}

static void arg_finds_the_first_extreme(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 0);
  for (int round = 0; round < 200; round++) {
    lip_tensor o = random_owner(&rng), t = random_view(&rng, &o);
    size_t high = 0, low = 0, n = lip_tensor_size(&t);
    for (size_t i = 0; i < n; i++) *nth(&t, i) = (float)lip_rng_below(&rng, 9); /* many ties */
    for (size_t i = 0; i < n; i++) {
      if (*nth(&t, i) > *nth(&t, high)) high = i;
      if (*nth(&t, i) < *nth(&t, low)) low = i;
    }
    assert_int_equal(lip_tensor_arg(&t, true), high);
    assert_int_equal(lip_tensor_arg(&t, false), low);
    for (int dim = 0; dim < t.ndim; dim++) {
      double x[LONG];
      lip_tensor rest = lip_tensor_select(&t, dim, 0), out = make(rest.ndim, rest.shape);
      lip_tensor_arg_dim(&out, &t, dim, true);
      for (size_t i = 0; i < lip_tensor_size(&out); i++) {
        size_t len = line(&t, dim, i, x), best = 0;
        for (size_t k = 0; k < len; k++)
          if (x[k] > x[best]) best = k;
        assert_true(out.data[i] == (float)best);
      }
      lip_tensor_free(&out);
    }
    lip_tensor_free(&o);
  }
}

static void equal_looks_at_every_element(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(6, LIP_RNG_USER, 0);
  for (int round = 0; round < 200; round++) {
    lip_tensor o = random_owner(&rng), t = random_view(&rng, &o), copy = make(t.ndim, t.shape);
    lip_tensor_copy(&copy, &t);
    assert_true(lip_tensor_equal(&copy, &t, 0));
    copy.data[lip_rng_below(&rng, lip_tensor_size(&t))] += 0.5f;
    assert_false(lip_tensor_equal(&copy, &t, 0.49));
    assert_true(lip_tensor_equal(&copy, &t, 0.51));
    lip_tensor_free(&o);
    lip_tensor_free(&copy);
  }
}

/* ---- sorting ---- */

static bool comes_before(float a, float b, bool descending) {
  if (isnan(a)) return false;
  return isnan(b) || (descending ? a > b : a < b);
}

static void check_sort(const lip_tensor *t, int dim, bool descending) {
  lip_tensor sorted = make(t->ndim, t->shape), index = make(t->ndim, t->shape);
  lip_err err;
  assert_int_equal(lip_tensor_sort(&sorted, &index, t, dim, descending, &err), LIP_OK);
  lip_tensor rest = lip_tensor_select(&sorted, dim, 0);
  for (size_t i = 0; i < lip_tensor_size(&rest); i++) {
    double value[LONG], at[LONG], from[LONG];
    size_t n = line(&sorted, dim, i, value);
    bool seen[LONG] = {false};
    line(&index, dim, i, at);
    line(t, dim, i, from);
    for (size_t k = 0; k < n; k++) {
      size_t source = (size_t)at[k];
      assert_false(seen[source]); /* a permutation ... */
      seen[source] = true;
      assert_true(same_float((float)value[k], (float)from[source])); /* ... of the input ... */
      if (k == 0) continue;
      float last = (float)value[k - 1], now = (float)value[k];
      assert_false(comes_before(now, last, descending)); /* ... in order, ties as they stood */
      if (!comes_before(last, now, descending)) assert_true(at[k - 1] < at[k]);
    }
  }
  lip_tensor_free(&sorted);
  lip_tensor_free(&index);
}

static void sort_is_ordered_stable_and_puts_nan_last(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(7, LIP_RNG_USER, 0);
  for (int round = 0; round < 100; round++) {
    lip_tensor o = random_owner(&rng), t = random_view(&rng, &o);
    for (size_t i = 0; i < lip_tensor_size(&t); i++) *nth(&t, i) = (float)lip_rng_below(&rng, 20);
    sprinkle(&rng, &t);
    for (int dim = 0; dim < t.ndim; dim++) {
      check_sort(&t, dim, false);
      check_sort(&t, dim, true);
    }
    lip_tensor_free(&o);
  }
}

static void sort_survives_no_memory_and_nothing_to_sort(void **state) {
  (void)state;
  size_t shape[] = {3, 4}, none[] = {0, 4};
  lip_tensor t = make(2, shape), s = make(2, shape), i = make(2, shape), e = make(2, none);
  lip_err err;
  lip_mem_fail_nth(1);
  assert_int_equal(lip_tensor_sort(&s, &i, &t, 1, false, &err), LIP_MEMORY);
  lip_mem_fail_nth(0);
  assert_int_equal(lip_tensor_sort(&e, &e, &e, 0, false, &err), LIP_OK);
  assert_int_equal(lip_tensor_sort(&e, &e, &e, 1, false, &err), LIP_OK);
  assert_true(lip_tensor_reduce(LIP_REDUCE_SUM, &e) == 0);
  size_t four = 4;
  lip_tensor out = make(1, &four);
  lip_tensor_fill(&out, 5);
  lip_tensor_reduce_dim(LIP_REDUCE_SUM, &out, &e, 0);
  assert_true(out.data[3] == 0);
  lip_tensor_free(&t);
  lip_tensor_free(&s);
  lip_tensor_free(&i);
  lip_tensor_free(&e);
  lip_tensor_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(owners_are_zeroed_and_freed_once),
      cmocka_unit_test(bad_shapes_and_no_memory_are_reported),
      cmocka_unit_test(shape_text_names_every_dimension),
      cmocka_unit_test(views_show_the_right_elements),
      cmocka_unit_test(copy_and_fill_respect_strides),
      cmocka_unit_test(every_operation_agrees_with_its_formula),
      cmocka_unit_test(in_place_gives_the_same_as_out_of_place),
      cmocka_unit_test(shapes_that_do_not_match_are_named),
      cmocka_unit_test(overlap_is_seen),
      cmocka_unit_test(reductions_agree_with_plain_loops),
      cmocka_unit_test(sums_are_made_in_double),
      cmocka_unit_test(nan_goes_through_reductions),
      cmocka_unit_test(arg_finds_the_first_extreme),
      cmocka_unit_test(equal_looks_at_every_element),
      cmocka_unit_test(sort_is_ordered_stable_and_puts_nan_last),
      cmocka_unit_test(sort_survives_no_memory_and_nothing_to_sort),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
