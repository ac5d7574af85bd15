#include "core/tensor/along.h"

#include <math.h>

#include "core/base/simd.h"
#include "core/tensor/ops.h"
#include "core/tensor/vmath.h"

/* ---- rows: what lies along one dimension ---- */

/* The rows of t along `dim`, one after the other in row-major order of the other dimensions. */
typedef struct rows {
  size_t n[LIP_MAX_DIMS], stride[LIP_MAX_DIMS]; /* the others first, `dim` last */
  size_t count;
} rows;

static rows rows_of(const lip_tensor *t, int dim) {
  size_t n[LIP_MAX_DIMS], s[LIP_MAX_DIMS];
  int at = dim + LIP_MAX_DIMS - t->ndim, to = 0;
  rows r = {.count = 1};
  lip_tensor_expand(t, n, s);
  for (int d = 0; d < LIP_MAX_DIMS; d++) {
    int place = d == at ? LIP_MAX_DIMS - 1 : to++;
    r.n[place] = n[d];
    r.stride[place] = s[d];
    if (d != at) r.count *= n[d];
  }
  return r;
}

/* Where row i begins. */
static size_t row_at(const rows *r, size_t i) {
  size_t at = i % r->n[2] * r->stride[2];
  i /= r->n[2];
  return at + i % r->n[1] * r->stride[1] + i / r->n[1] * r->stride[0];
}

/* ---- sums of exponentials ---- */

/* Largest of the row, NaN when there is one. */
static float largest(const float *x, size_t step, size_t n) {
  float m = -INFINITY;
  bool nan = false;
  for (size_t i = 0; i < n; i++) {
    const float v = x[i * step];
    m = v > m ? v : m;
    nan |= v != v;
  }
  return nan ? NAN : m;
}

enum { BLOCK = 256 };

/* e = exp(x - m); their sum, added in order. */
LIP_HOT static double exponentials(const float *restrict x, size_t step, size_t n, float m, float *restrict e,
                                   size_t to) {
  double sum = 0;
  float part[BLOCK];
  for (size_t i = 0; i < n; i += BLOCK) {
    const size_t k = n - i < BLOCK ? n - i : BLOCK;
    if (step == 1)
      for (size_t j = 0; j < k; j++) part[j] = x[i + j];
    else
      for (size_t j = 0; j < k; j++) part[j] = x[(i + j) * step];
    for (size_t j = 0; j < k; j++) part[j] = lip_expf(part[j] - m);
    for (size_t j = 0; j < k; j++) sum += (double)part[j];
    for (size_t j = 0; e && j < k; j++) e[(i + j) * to] = part[j];
  }
  return sum;
}

void lip_tensor_logsumexp(lip_tensor *out, const lip_tensor *t, int dim) {
  const rows r = rows_of(t, dim);
  const size_t n = r.n[LIP_MAX_DIMS - 1], step = r.stride[LIP_MAX_DIMS - 1];
  for (size_t i = 0; i < r.count; i++) {
    const float *x = t->data + row_at(&r, i);
    const float m = largest(x, step, n);
    out->data[i] = m;
    if (isfinite(m)) out->data[i] = (float)((double)m + log(exponentials(x, step, n, m, NULL, 0)));
  }
}

void lip_tensor_softmax(lip_tensor *out, const lip_tensor *t, int dim) {
  const rows r = rows_of(t, dim), o = rows_of(out, dim);
  const size_t n = r.n[LIP_MAX_DIMS - 1], step = r.stride[LIP_MAX_DIMS - 1], to = o.stride[LIP_MAX_DIMS - 1];
  for (size_t i = 0; i < r.count && n > 0; i++) {
    const float *x = t->data + row_at(&r, i);
    float *e = out->data + row_at(&o, i);
    const float m = largest(x, step, n);
    const float scale = isfinite(m) ? (float)(1 / exponentials(x, step, n, m, e, to)) : NAN;
    for (size_t j = 0; j < n; j++) e[j * to] = isfinite(m) ? e[j * to] * scale : NAN;
  }
}

/* ---- choosing by a mask ---- */

LIP_HOT static void choose(float *restrict o, const float *m, size_t sm, const float *a, size_t sa,
                           const float *b, size_t sb, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const float mask = m[i * sm], x = a[i * sa], y = b[i * sb];
    o[i] = mask != mask ? mask : mask != 0 ? x : y;
  }
}

/* The steps that occur most often get loops of their own, which vectorise. */
LIP_HOT static void choose_flat(float *restrict o, const float *restrict m, const float *restrict a,
                                const float *restrict b, size_t sb, size_t n) {
  const float y0 = b[0];
  if (sb == 0)
    for (size_t i = 0; i < n; i++) o[i] = m[i] != m[i] ? m[i] : m[i] != 0 ? a[i] : y0;
  else
    for (size_t i = 0; i < n; i++) o[i] = m[i] != m[i] ? m[i] : m[i] != 0 ? a[i] : b[i];
}

void lip_tensor_where(lip_tensor *out, const lip_tensor *mask, const lip_tensor *a, const lip_tensor *b) {
  size_t n[LIP_MAX_DIMS], so[LIP_MAX_DIMS], sm[LIP_MAX_DIMS], sa[LIP_MAX_DIMS], sb[LIP_MAX_DIMS];
  if (lip_tensor_size(out) == 0) return;
  lip_tensor_expand(out, n, so);
  lip_tensor_spread(mask, sm);
  lip_tensor_spread(a, sa);
  lip_tensor_spread(b, sb);
  float *o = out->data;
  for (size_t i = 0; i < n[0]; i++)
    for (size_t j = 0; j < n[1]; j++)
      for (size_t k = 0; k < n[2]; k++, o += n[3]) {
        const float *m = mask->data + i * sm[0] + j * sm[1] + k * sm[2];
        const float *x = a->data + i * sa[0] + j * sa[1] + k * sa[2];
        const float *y = b->data + i * sb[0] + j * sb[1] + k * sb[2];
        if (sm[3] == 1 && sa[3] == 1 && sb[3] <= 1)
          choose_flat(o, m, x, y, sb[3], n[3]);
        else
          choose(o, m, sm[3], x, sa[3], y, sb[3], n[3]);
      }
}

/* ---- choosing by index ---- */

/* The entry that v means, or n. */
static size_t entry(float v, int base, size_t n) {
  const double i = (double)v - base;
  return i >= 0 && i < (double)n && i == floor(i) ? (size_t)i : n;
}

static lip_status check_choice(const char *what, const lip_tensor *t, const lip_choice *c, lip_err *err) {
  const rows r = rows_of(c->index, c->dim);
  const size_t n = t->shape[c->dim], m = r.n[LIP_MAX_DIMS - 1], step = r.stride[LIP_MAX_DIMS - 1];
  for (size_t i = 0; i < r.count; i++)
    for (size_t j = 0; j < m; j++) {
      const float v = c->index->data[row_at(&r, i) + j * step];
      if (entry(v, c->base, n) < n) continue;
      return lip_fail(err, LIP_ARGUMENT,
                      "lip.tensor %s: entry %zu of the index: a whole number in %d..%lld expected, got %g",
                      what, i * m + j + 1, c->base, (long long)n - 1 + c->base, lip_plain((double)v));
    }
  return LIP_OK;
}

lip_status lip_tensor_gather(lip_tensor *out, const lip_tensor *t, const lip_choice *c, lip_err *err) {
  const rows from = rows_of(t, c->dim), at = rows_of(c->index, c->dim), to = rows_of(out, c->dim);
  const int last = LIP_MAX_DIMS - 1;
  lip_status status = check_choice("gather", t, c, err);
  for (size_t i = 0; !status && i < at.count; i++) {
    const float *index = c->index->data + row_at(&at, i), *x = t->data + row_at(&from, i);
    float *o = out->data + row_at(&to, i);
    for (size_t j = 0; j < at.n[last]; j++)
      o[j * to.stride[last]] =
          x[entry(index[j * at.stride[last]], c->base, from.n[last]) * from.stride[last]];
  }
  return status;
}

lip_status lip_tensor_scatter_add(lip_tensor *to, const lip_tensor *from, const lip_choice *c, lip_err *err) {
  const rows x = rows_of(from, c->dim), at = rows_of(c->index, c->dim), o = rows_of(to, c->dim);
  const int last = LIP_MAX_DIMS - 1;
  lip_status status = check_choice("scatter_add_", to, c, err);
  for (size_t i = 0; !status && i < at.count; i++) {
    const float *index = c->index->data + row_at(&at, i), *value = from->data + row_at(&x, i);
    float *sum = to->data + row_at(&o, i);
    for (size_t j = 0; j < at.n[last]; j++)
      sum[entry(index[j * at.stride[last]], c->base, o.n[last]) * o.stride[last]] +=
          value[j * x.stride[last]];
  }
  return status;
}
