/* Sorting activations along the channels (features, or the channels at each pixel):
 *
 *   maxmin           y = (max(a, b), min(a, b)) for each pair (a, b) of neighbouring channels
 *   groupsort{size}  each group of `size` neighbouring channels in ascending order
 *   fullsort         all channels in ascending order
 *
 * (Anil, Lucas, Grosse 2019, "Sorting out Lipschitz function approximation"; Chernodub, Nowicki 2016.)
 * dx = dy put back where the values came from; equal values keep their order, by (value, index), so the permutation
 * is unique. Constant: 1 for every p -> p, since sorting never moves two vectors apart in any p-norm (rearrangement
 * inequality), hence for every p -> q with q >= p. Executed without rounding.
 *
 * NaN is moved, never lost: maxmin exchanges nothing with it, the others sort by the bits, where a NaN stands
 * beyond the infinity of its sign; -0 is returned as +0 by groupsort and fullsort. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"
#include "core/tensor/lanesort.h"

/* ---- maxmin ---- */

static lip_status maxmin_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  if (C % 2 != 0)
    return lip_fail(err, LIP_SHAPE,
                    "maxmin: expects an even number of channels (2, 4, ...), got %zu of %zu values", C,
                    l->n_in);
  return lip_same_shape_plan(l, spec, plan, err);
}

/* Pairs lie side by side: (a, b), (a, b), ... */
LIP_HOT static void pairs_forward(float *restrict y, const float *restrict x, size_t pairs) {
  for (size_t i = 0; i < pairs; i++) {
    float a = x[2 * i], b = x[2 * i + 1];
    y[2 * i] = a >= b ? a : b;
    y[2 * i + 1] = a >= b ? b : a;
  }
}

LIP_HOT static void pairs_backward(float *restrict dx, const float *restrict dy, const float *restrict x,
                                   size_t pairs) {
  for (size_t i = 0; i < pairs; i++) {
    float a = x[2 * i], b = x[2 * i + 1], da = dy[2 * i], db = dy[2 * i + 1];
    dx[2 * i] = a >= b ? da : db;
    dx[2 * i + 1] = a >= b ? db : da;
  }
}

/* Pairs of planes of S values: a a a ... b b b ... */
LIP_HOT static void planes_forward(float *restrict y, const float *restrict x, size_t pairs, size_t S) {
  for (size_t k = 0; k < pairs; k++)
    for (size_t i = 2 * k * S; i < (2 * k + 1) * S; i++) {
      float a = x[i], b = x[i + S];
      y[i] = a >= b ? a : b;
      y[i + S] = a >= b ? b : a;
    }
}

LIP_HOT static void planes_backward(float *restrict dx, const float *restrict dy, const float *restrict x,
                                    size_t pairs, size_t S) {
  for (size_t k = 0; k < pairs; k++)
    for (size_t i = 2 * k * S; i < (2 * k + 1) * S; i++) {
      float da = dy[i], db = dy[i + S];
      dx[i] = x[i] >= x[i + S] ? da : db;
      dx[i + S] = x[i] >= x[i + S] ? db : da;
    }
}

static void maxmin_forward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row, n = (pass->r1 - pass->r0) * l->x_row, C, S;
  lip_layer_channels(l, &C, &S);
  if (S == 1)
    pairs_forward(l->y + at, l->x + at, n / 2);
  else
    planes_forward(l->y + at, l->x + at, n / (2 * S), S);
}

static void maxmin_backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row, n = (pass->r1 - pass->r0) * l->x_row, C, S;
  lip_layer_channels(l, &C, &S);
  if (S == 1)
    pairs_backward(lip_layer_dx(l, pass), lip_layer_dy(l, pass), l->x + at, n / 2);
  else
    planes_backward(lip_layer_dx(l, pass), lip_layer_dy(l, pass), l->x + at, n / (2 * S), S);
}

/* One pair at a and a + step. */
LIP_INLINE void exchange_wide(double *a, size_t step) {
  double first = a[0], second = a[step];
  a[0] = first >= second ? first : second;
  a[step] = first >= second ? second : first;
}

LIP_HOT static void maxmin_wide(const lip_layer *l, size_t B, const double *x, double *y) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  memcpy(y, x, B * l->n_in * sizeof *y);
  for (size_t k = 0; k < B * C / 2; k++)
    for (size_t i = 0; i < S; i++) exchange_wide(y + 2 * k * S + i, S);
}

/* ---- groupsort and fullsort ---- */

typedef struct conf {
  size_t size;
} conf;

static const lip_opt options[] = {{.name = "size",
                                   .type = LIP_OPT_SIZE,
                                   .offset = offsetof(conf, size),
                                   .def = 2,
                                   .low = 1,
                                   .high = 1048576,
                                   .help = "channels in a group; must divide their number"},
                                  {0}};

static size_t group_size(const lip_layer *l) {
  return l->kind->desc.opts ? ((const conf *)l->conf)->size : l->in.dim[0];
}

static lip_status sort_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  size_t C, S, size = group_size(l);
  lip_shape_channels(&l->in, &C, &S);
  if (size == 0 || C % size != 0)
    return lip_fail(err, LIP_SHAPE, "%s: groups of size %zu do not divide the %zu channels of its input",
                    l->kind->desc.name, size, C);
  l->cache = l->n_in; /* where each value came from */
  l->scratch = lip_lanesort_scratch(size);
  return lip_same_shape_plan(l, spec, plan, err);
}

static void sort_ordered(lip_layer *l) {
  l->cache = l->x_row;
}

static void sort_forward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row, n = (pass->r1 - pass->r0) * l->x_row, C, S;
  lip_layer_channels(l, &C, &S);
  lip_lanesort(l->y + at, l->kept + at, l->x + at, n, group_size(l), S, pass->scratch);
}

static void sort_backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row, n = (pass->r1 - pass->r0) * l->x_row, C, S;
  lip_layer_channels(l, &C, &S);
  lip_lanesort_back(lip_layer_dx(l, pass), lip_layer_dy(l, pass), l->kept + at, n, group_size(l), S);
}

/* Shell's method in the steps of Ciura 2001, continued by 9/4. */
static void sort_strided(double *a, size_t n, size_t stride) {
  static const size_t first[] = {1, 4, 10, 23, 57, 132, 301, 701};
  size_t steps[48], n_steps = 0;
  for (size_t h = 1; h < n && n_steps < 48; n_steps++) {
    steps[n_steps] = h;
    h = n_steps + 1 < 8 ? first[n_steps + 1] : h / 4 * 9;
  }
  while (n_steps-- > 0) {
    size_t h = steps[n_steps];
    for (size_t i = h; i < n; i++) {
      double v = a[i * stride];
      size_t j = i;
      for (; j >= h && a[(j - h) * stride] > v; j -= h) a[j * stride] = a[(j - h) * stride];
      a[j * stride] = v;
    }
  }
}

static void sort_wide(const lip_layer *l, size_t B, const double *x, double *y) {
  size_t C, S, size = group_size(l);
  lip_shape_channels(&l->in, &C, &S);
  memcpy(y, x, B * l->n_in * sizeof *y);
  for (size_t g = 0; g < B * C / size; g++)
    for (size_t i = 0; i < S; i++) sort_strided(y + g * size * S + i, size, S);
}

/* The k-th smallest value lies between the k-th smallest low and high ends. */
static void sort_interval(const lip_layer *l, const double *low, const double *high, double *out_low,
                          double *out_high) {
  sort_wide(l, 1, low, out_low);
  sort_wide(l, 1, high, out_high);
}

/* Merge exchange (Batcher 1968; Knuth 1998, section 5.2.2, algorithm M) puts `size` values in order in t (t + 1) / 2 rounds,
 * t = log2 size rounded up. In a round every i with i & p = r, i + d < size, meets i + d. */
typedef struct merge {
  size_t p, r, d;
} merge;

/* False past the last round; one value alone has one in which nothing meets. */
static bool merge_round(size_t size, size_t round, merge *m) {
  size_t most = 1;
  while (2 * most < size) most *= 2;
  for (size_t p = most; p > 0; p /= 2) {
    *m = (merge){p, 0, p};
    for (size_t q = most;; q /= 2) {
      if (round-- == 0) return true;
      if (q == p) break;
      m->d = q - p;
      m->r = p;
    }
  }
  return false;
}

static bool exchange(size_t size, size_t C, size_t S, size_t round, uint32_t *mate) {
  enum {
    MOST = 64
  }; /* 21 rounds; from there on a bound that follows them has nothing left to gain in norm 2 */
  merge m;
  if (size > MOST || !merge_round(size, round, &m)) return false;
  for (size_t c = 0; c < C; c++) {
    size_t at = c % size, partner = c;
    if ((at & m.p) == m.r && at + m.d < size) partner = c + m.d;
    if (at >= m.d && ((at - m.d) & m.p) == m.r) partner = c - m.d;
    for (size_t i = 0; i < S; i++) mate[c * S + i] = (uint32_t)(partner * S + i);
  }
  return true;
}

static bool maxmin_exchange(const lip_layer *l, size_t round, uint32_t *mate) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  return exchange(2, C, S, round, mate);
}

static bool sort_exchange(const lip_layer *l, size_t round, uint32_t *mate) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  return exchange(group_size(l), C, S, round, mate);
}

static size_t sort_steps(const lip_layer *l, lip_emit *e, size_t x, size_t size, bool descending) {
  return lip_emit_add(e,
                      &(lip_emit_step){.op = LIP_EMIT_SORT,
                                       .out = l->out,
                                       .u.sort = {.size = size, .descending = descending}},
                      &x, 1);
}

static size_t maxmin_emit(const lip_layer *l, lip_emit *e, size_t x) {
  return sort_steps(l, e, x, 2, true);
}

static size_t sort_emit(const lip_layer *l, lip_emit *e, size_t x) {
  return sort_steps(l, e, x, group_size(l), false);
}

const lip_layer_kind lip_layer_maxmin = {
    .desc = {"maxmin", "sorts pairs of channels: larger first", NULL, 0},
    .flags = LIP_LAYER_DESCENDING | LIP_LAYER_EITHER_ORDER,
    .plan = maxmin_plan,
    .forward = maxmin_forward,
    .backward = maxmin_backward,
    .wide = maxmin_wide,
    .bound = lip_unit_bound,
    .exchange = maxmin_exchange,
    .emit = maxmin_emit,
    .deviate = lip_exact_deviate,
};

const lip_layer_kind lip_layer_groupsort = {
    .desc = {"groupsort", "sorts groups of neighbouring channels", options, sizeof(conf)},
    .flags = LIP_LAYER_EITHER_ORDER,
    .plan = sort_plan,
    .ordered = sort_ordered,
    .forward = sort_forward,
    .backward = sort_backward,
    .wide = sort_wide,
    .bound = lip_unit_bound,
    .exchange = sort_exchange,
    .interval = sort_interval,
    .emit = sort_emit,
    .deviate = lip_exact_deviate,
};

const lip_layer_kind lip_layer_fullsort = {
    .desc = {"fullsort", "sorts all channels", NULL, 0},
    .flags = LIP_LAYER_EITHER_ORDER,
    .plan = sort_plan,
    .ordered = sort_ordered,
    .forward = sort_forward,
    .backward = sort_backward,
    .wide = sort_wide,
    .bound = lip_unit_bound,
    .exchange = sort_exchange,
    .interval = sort_interval,
    .emit = sort_emit,
    .deviate = lip_exact_deviate,
};
