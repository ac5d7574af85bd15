#include "core/tensor/ops.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/tensor/vmath.h"

/* The loops below may write where they read (out = a): no element depends on an earlier one. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#pragma clang diagnostic ignored "-Wpass-failed" /* exp, log and the like have no vector form */
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

/* ---- element by element ---- */

/* n results with steps so, sa, sb; the steps that occur most often get loops of their own, which vectorise */
typedef void kernel(float *o, size_t so, const float *a, size_t sa, const float *b, size_t sb, size_t n,
                    float p, float q);

#define X(id, name, tensors, numbers, result)                                                                \
  LIP_HOT static void kernel_##id(float *o, size_t so, const float *a, size_t sa, const float *b, size_t sb, \
                                  size_t n, float p, float q) {                                              \
    (void)p, (void)q;                                                                                        \
    if (so == 1 && sa == 1 && sb == 1) {                                                                     \
      INDEPENDENT for (size_t i = 0; i < n; i++) {                                                           \
        const float x = a[i], y = b[i];                                                                      \
        (void)y;                                                                                             \
        o[i] = result;                                                                                       \
      }                                                                                                      \
    } else if (so == 1 && sa == 1 && sb == 0 && n > 0) {                                                     \
      const float y = b[0];                                                                                  \
      (void)y;                                                                                               \
      INDEPENDENT for (size_t i = 0; i < n; i++) {                                                           \
        const float x = a[i];                                                                                \
        o[i] = result;                                                                                       \
      }                                                                                                      \
    } else {                                                                                                 \
      for (size_t i = 0; i < n; i++) {                                                                       \
        const float x = a[i * sa], y = b[i * sb];                                                            \
        (void)y;                                                                                             \
        o[i * so] = result;                                                                                  \
      }                                                                                                      \
    }                                                                                                        \
  }
LIP_OP_MAP(X)
#undef X

static const struct op_row {
  const char *name;
  int tensors, numbers;
  kernel *run;
} ops[] = {
#define X(id, name, tensors, numbers, result) {name, tensors, numbers, kernel_##id},
    LIP_OP_MAP(X)
#undef X
};

const char *lip_op_name(lip_op op) {
  return ops[op].name;
}

int lip_op_tensors(lip_op op) {
  return ops[op].tensors;
}

int lip_op_numbers(lip_op op) {
  return ops[op].numbers;
}

/* b is a scalar or a vector that fits the rows of a */
static bool is_row_of(const lip_tensor *b, const lip_tensor *a) {
  if (b->ndim == 0) return true;
  return b->ndim == 1 && a->ndim > 1 && a->shape[a->ndim - 1] == b->shape[0];
}

static bool sides_fit(const lip_tensor *a, const lip_tensor *b) {
  if (a->ndim != b->ndim) return false;
  for (int d = 0; d < a->ndim; d++)
    if (a->shape[d] != b->shape[d] && a->shape[d] != 1 && b->shape[d] != 1) return false;
  return true;
}

lip_status lip_op_shape(const char *what, const lip_tensor *a, const lip_tensor *b, int *ndim,
                        size_t shape[LIP_MAX_DIMS], lip_err *err) {
  const lip_tensor *big = a->ndim >= b->ndim ? a : b, *small = big == a ? b : a;
  if (!sides_fit(a, b) && !is_row_of(small, big)) {
    char ta[100], tb[100];
    return lip_fail(err, LIP_SHAPE, "lip.tensor %s: shapes do not match: a %s, b %s", what,
                    lip_shape_text(a->ndim, a->shape, ta, sizeof ta),
                    lip_shape_text(b->ndim, b->shape, tb, sizeof tb));
  }
  *ndim = big->ndim;
  for (int d = 0; d < big->ndim; d++)
    shape[d] = big->shape[d] == 1 && small->ndim == big->ndim ? small->shape[d] : big->shape[d];
  return LIP_OK;
}

void lip_tensor_spread(const lip_tensor *t, size_t stride[LIP_MAX_DIMS]) {
  size_t shape[LIP_MAX_DIMS];
  lip_tensor_expand(t, shape, stride);
  for (int d = 0; d < LIP_MAX_DIMS; d++)
    if (shape[d] == 1) stride[d] = 0;
}

void lip_tensor_apply(lip_op op, lip_tensor *out, const lip_tensor *a, const lip_tensor *b, float p,
                      float q) {
  size_t n[LIP_MAX_DIMS], so[LIP_MAX_DIMS], sa[LIP_MAX_DIMS], sb[LIP_MAX_DIMS];
  size_t size = lip_tensor_size(out);
  kernel *run = ops[op].run;
  if (ops[op].tensors == 1) b = a;
  if (size == 0) return;
  bool flat = lip_tensor_is_contiguous(out) && lip_tensor_is_contiguous(a) && lip_tensor_same_shape(a, out);
  if (flat && (b->ndim == 0 || (lip_tensor_same_shape(b, out) && lip_tensor_is_contiguous(b)))) {
    run(out->data, 1, a->data, 1, b->data, b->ndim == 0 && out->ndim > 0 ? 0 : 1, size, p, q);
    return;
  }
  lip_tensor_expand(out, n, so);
  lip_tensor_spread(a, sa);
  lip_tensor_spread(b, sb);
  for (size_t i = 0; i < n[0]; i++)
    for (size_t j = 0; j < n[1]; j++)
      for (size_t k = 0; k < n[2]; k++)
        run(out->data + i * so[0] + j * so[1] + k * so[2], so[3], a->data + i * sa[0] + j * sa[1] + k * sa[2],
            sa[3], b->data + i * sb[0] + j * sb[1] + k * sb[2], sb[3], n[3], p, q);
}

/* One past the highest element, as an address. */
static uintptr_t end_of(const lip_tensor *t) {
  size_t last = 0;
  for (int d = 0; d < t->ndim; d++) last += (t->shape[d] - 1) * t->stride[d];
  return (uintptr_t)t->data + (last + 1) * sizeof(float);
}

bool lip_tensor_overlaps(const lip_tensor *to, const lip_tensor *from) {
  if (lip_tensor_size(to) == 0 || lip_tensor_size(from) == 0) return false;
  if (end_of(to) <= (uintptr_t)from->data || end_of(from) <= (uintptr_t)to->data) return false;
  if (to->data != from->data || !lip_tensor_same_shape(to, from)) return true;
  for (int d = 0; d < to->ndim; d++)
    if (to->shape[d] > 1 && to->stride[d] != from->stride[d]) return true;
  return false;
}

/* ---- reductions ---- */

/* Results are made LANES at a time: acc[j] takes in x[j*sj + k*sk] for k = 0, 1, ... Each result has its own order of
 * additions, and the inner loop runs over independent results, so it vectorises without reordering a sum. */
enum { LANES = 64 };

typedef void reducer(double *acc, const float *x, size_t sj, size_t nj, size_t sk, size_t nk);

#define REDUCER(name, expression)                                                                            \
  LIP_HOT static void name(double *acc, const float *x, size_t sj, size_t nj, size_t sk, size_t nk) {        \
    for (size_t k = 0; k < nk; k++, x += sk) {                                                               \
      if (sj == 1) {                                                                                         \
        for (size_t j = 0; j < nj; j++) {                                                                    \
          const double v = x[j], r = acc[j];                                                                 \
          acc[j] = expression;                                                                               \
        }                                                                                                    \
      } else {                                                                                               \
        for (size_t j = 0; j < nj; j++) {                                                                    \
          const double v = x[j * sj], r = acc[j];                                                            \
          acc[j] = expression;                                                                               \
        }                                                                                                    \
      }                                                                                                      \
    }                                                                                                        \
  }
REDUCER(add_values, r + v)
REDUCER(add_magnitudes, r + fabs(v))
REDUCER(add_squares, r + v * v)
/* once r is NaN no comparison is true and it stays */
REDUCER(take_largest, v > r || v != v ? v : r)
REDUCER(take_smallest, v < r || v != v ? v : r)
REDUCER(take_largest_magnitude, fabs(v) > r || v != v ? fabs(v) : r)

static const struct reduction_row {
  reducer *run;
  double start;
} reductions[LIP_REDUCE_COUNT] = {
    [LIP_REDUCE_SUM] = {add_values, 0},
    [LIP_REDUCE_MEAN] = {add_values, 0},
    [LIP_REDUCE_MAX] = {take_largest, -INFINITY},
    [LIP_REDUCE_MIN] = {take_smallest, INFINITY},
    [LIP_REDUCE_NORM_1] = {add_magnitudes, 0},
    [LIP_REDUCE_NORM_2] = {add_squares, 0},
    [LIP_REDUCE_NORM_INF] = {take_largest_magnitude, 0},
};

static double join(lip_reduction how, double a, double b) {
  switch (how) {
  case LIP_REDUCE_MAX:
  case LIP_REDUCE_NORM_INF: return b > a || b != b ? b : a;
  case LIP_REDUCE_MIN: return b < a || b != b ? b : a;
  default: return a + b;
  }
}

static double finish(lip_reduction how, double acc, size_t n) {
  if (how == LIP_REDUCE_MEAN) return acc / (double)n;
  if (how == LIP_REDUCE_NORM_2) return sqrt(acc);
  return acc;
}

/* A row is dealt out over the lanes like cards. */
static void reduce_row(reducer *run, double acc[LANES], const float *x, size_t step, size_t n) {
  size_t whole = n / LANES;
  run(acc, x, step, LANES, step * LANES, whole);
  if (n % LANES) run(acc, x + whole * LANES * step, step, n % LANES, 0, 1);
}

double lip_tensor_reduce(lip_reduction how, const lip_tensor *t) {
  const struct reduction_row *row = &reductions[how];
  size_t size = lip_tensor_size(t);
  double acc[LANES], r = row->start;
  for (int j = 0; j < LANES; j++) acc[j] = row->start;
  if (size > 0 && lip_tensor_is_contiguous(t)) {
    reduce_row(row->run, acc, t->data, 1, size);
  } else if (size > 0) {
    size_t n[LIP_MAX_DIMS], s[LIP_MAX_DIMS];
    lip_tensor_expand(t, n, s);
    for (size_t i = 0; i < n[0]; i++)
      for (size_t j = 0; j < n[1]; j++)
        for (size_t k = 0; k < n[2]; k++)
          reduce_row(row->run, acc, t->data + i * s[0] + j * s[1] + k * s[2], s[3], n[3]);
  }
  for (int j = 0; j < LANES; j++) r = join(how, r, acc[j]);
  return finish(how, r, size);
}

/* Dimension `dim` of t put in front (index 0), the others after it in order, 4 in all. */
static void front(const lip_tensor *t, int dim, size_t n[LIP_MAX_DIMS], size_t s[LIP_MAX_DIMS]) {
  size_t en[LIP_MAX_DIMS], es[LIP_MAX_DIMS];
  int at = dim + LIP_MAX_DIMS - t->ndim, to = 1;
  lip_tensor_expand(t, en, es);
  n[0] = en[at];
  s[0] = es[at];
  for (int d = 0; d < LIP_MAX_DIMS; d++) {
    if (d == at) continue;
    n[to] = en[d];
    s[to++] = es[d];
  }
}

void lip_tensor_reduce_dim(lip_reduction how, lip_tensor *out, const lip_tensor *t, int dim) {
  const struct reduction_row *row = &reductions[how];
  size_t n[LIP_MAX_DIMS], s[LIP_MAX_DIMS];
  float *o = out->data;
  if (lip_tensor_size(out) == 0) return;
  front(t, dim, n, s);
  bool empty = n[0] == 0; /* then t may have no data at all */
  for (size_t i = 0; i < n[1]; i++)
    for (size_t j = 0; j < n[2]; j++)
      for (size_t k = 0; k < n[3]; k += LANES) {
        size_t lanes = n[3] - k < LANES ? n[3] - k : LANES;
        double acc[LANES];
        for (size_t l = 0; l < lanes; l++) acc[l] = row->start;
        if (!empty) row->run(acc, t->data + i * s[1] + j * s[2] + k * s[3], s[3], lanes, s[0], n[0]);
        for (size_t l = 0; l < lanes; l++) *o++ = (float)finish(how, acc[l], n[0]);
      }
}

static bool better(float x, float best, bool largest) {
  if (isnan(best)) return false;
  return isnan(x) || (largest ? x > best : x < best);
}

static size_t arg_of_row(const float *x, size_t step, size_t n, bool largest) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++)
    if (better(x[i * step], x[best * step], largest)) best = i;
  return best;
}

size_t lip_tensor_arg(const lip_tensor *t, bool largest) {
  size_t n[LIP_MAX_DIMS], s[LIP_MAX_DIMS], best = 0, at = 0;
  float value = t->data[0];
  lip_tensor_expand(t, n, s);
  for (size_t i = 0; i < n[0]; i++)
    for (size_t j = 0; j < n[1]; j++)
      for (size_t k = 0; k < n[2]; k++, at += n[3]) {
        const float *row = t->data + i * s[0] + j * s[1] + k * s[2];
        size_t l = arg_of_row(row, s[3], n[3], largest);
        if (!better(row[l * s[3]], value, largest)) continue;
        value = row[l * s[3]];
        best = at + l;
      }
  return best;
}

void lip_tensor_arg_dim(lip_tensor *out, const lip_tensor *t, int dim, bool largest) {
  size_t n[LIP_MAX_DIMS], s[LIP_MAX_DIMS];
  float *o = out->data;
  if (lip_tensor_size(out) == 0) return;
  front(t, dim, n, s);
  for (size_t i = 0; i < n[1]; i++)
    for (size_t j = 0; j < n[2]; j++)
      for (size_t k = 0; k < n[3]; k++)
        *o++ = (float)arg_of_row(t->data + i * s[1] + j * s[2] + k * s[3], s[0], n[0], largest);
}

/* ---- comparing ---- */

static bool near_rows(const float *a, size_t sa, const float *b, size_t sb, size_t n, double tolerance) {
  for (size_t i = 0; i < n; i++) {
    double x = a[i * sa], y = b[i * sb];
    if (!(x == y || fabs(x - y) <= tolerance)) return false; /* equal infinities have no difference */
  }
  return true;
}

bool lip_tensor_equal(const lip_tensor *a, const lip_tensor *b, double tolerance) {
  size_t n[LIP_MAX_DIMS], sa[LIP_MAX_DIMS], sb[LIP_MAX_DIMS];
  if (!lip_tensor_same_shape(a, b)) return false;
  if (lip_tensor_size(a) == 0) return true;
  lip_tensor_expand(a, n, sa);
  lip_tensor_expand(b, n, sb);
  for (size_t i = 0; i < n[0]; i++)
    for (size_t j = 0; j < n[1]; j++)
      for (size_t k = 0; k < n[2]; k++)
        if (!near_rows(a->data + i * sa[0] + j * sa[1] + k * sa[2], sa[3],
                       b->data + i * sb[0] + j * sb[1] + k * sb[2], sb[3], n[3], tolerance))
          return false;
  return true;
}

bool lip_tensor_all_finite(const lip_tensor *t) {
  double largest = lip_tensor_reduce(LIP_REDUCE_NORM_INF, t);
  return largest <= FLT_MAX; /* false for NaN too */
}

/* ---- sorting ---- */

typedef struct item {
  float value;
  uint32_t at;
} item;

/* NaN after everything else; equal values keep their order, so qsort's result is the stable one */
static int by_position(const item *x, const item *y) {
  return x->at < y->at ? -1 : x->at > y->at;
}

static int compare(const item *x, const item *y, bool descending) {
  bool nx = isnan(x->value), ny = isnan(y->value);
  if (nx != ny) return nx ? 1 : -1;
  if (nx || x->value == y->value) return by_position(x, y);
  return (x->value < y->value) != descending ? -1 : 1;
}

static int rising(const void *a, const void *b) {
  return compare(a, b, false);
}

static int falling(const void *a, const void *b) {
  return compare(a, b, true);
}

lip_status lip_tensor_sort(lip_tensor *sorted, lip_tensor *index, const lip_tensor *t, int dim,
                           bool descending, lip_err *err) {
  size_t n[LIP_MAX_DIMS], s[LIP_MAX_DIMS], so[LIP_MAX_DIMS];
  front(t, dim, n, s);
  front(sorted, dim, n, so);
  if (n[0] > (size_t)1 << FLT_MANT_DIG)
    return lip_fail(err, LIP_ARGUMENT, "lip.tensor sort: %zu elements in a row, at most 2^24 can be indexed",
                    n[0]);
  item *row = lip_alloc(n[0], sizeof *row);
  if (!row) return lip_fail(err, LIP_MEMORY, "lip.tensor sort: no memory for %zu elements", n[0]);
  if (lip_tensor_size(t) == 0) n[1] = 0;
  for (size_t i = 0; i < n[1]; i++)
    for (size_t j = 0; j < n[2]; j++)
      for (size_t k = 0; k < n[3]; k++) {
        const float *x = t->data + i * s[1] + j * s[2] + k * s[3];
        size_t at = i * so[1] + j * so[2] + k * so[3];
        for (size_t l = 0; l < n[0]; l++) row[l] = (item){x[l * s[0]], (uint32_t)l};
        qsort(row, n[0], sizeof *row, descending ? falling : rising);
        for (size_t l = 0; l < n[0]; l++) {
          sorted->data[at + l * so[0]] = row[l].value;
          index->data[at + l * so[0]] = (float)row[l].at;
        }
      }
  lip_free(row);
  return LIP_OK;
}
