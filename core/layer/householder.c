/* householder: neighbouring channels in pairs x = (x1, x2), an angle t for each pair, trained (Singla, Singla, Feizi
 * 2022, "Improved deterministic l2 robustness", section 5). With v = (sin t/2, -cos t/2):
 *
 *   y = x where v.x > 0, else x reflected at the line orthogonal to v:
 *       y1 = x1 cos t + x2 sin t,  y2 = x1 sin t - x2 cos t          (t = pi/2 is maxmin)
 *   dx = dy or the same reflection of dy (it is symmetric); dt = sum over rows reflected of y1 dy2 - y2 dy1
 *   constant  1 for p <= 2 <= q: continuous, and orthogonal on either side of the line. For 1->1 and inf->inf the
 *             norm |cos t| + |sin t| of a reflection is at most sqrt 2, the constant taken for every angle
 *   float32   cosines are rounded once; with the wrong side taken near the line, where both agree, the error of a
 *             pair is below 16 u |x| (3 roundings in each product, 2 * 3 sqrt 2 u |x| from the choice)
 *   form      turned, bent, turned back: with w = v.x, o = v'.x, v' = (-v2, v1), y = v |w| + v' o
 *
 * float32 of the form: the products v |w| and v' o err by 24 u of themselves, nothing else does. For y1, with
 *   |x1| <= |v1 w| + |v2 o| = r   and   |x2 sin t| = 2 |v1 v2 x2| <= 2 |v1 v2| (|v2 w| + |v1 o|) <= 2 r
 * a reflection errs by 3.1 u (|x1 cos t| + |x2 sin t|) <= 9.3 u r. On the wrong side |w| <= 3.1 u (|v1 x1| + |v2 x2|), and y1
 * is off by 2 |v1 w| <= 3.1 u (2 |x1| + |x2 sin t|) <= 12.4 u r on top of that; y2 alike. Underflow: 5 operations or
 * operands in y1 and, doubled, in the choice lose FLT_MIN each: below 32 FLT_MIN, half of it for each product. Sines and
 * cosines that come near to underflow themselves are refused. */
#include <float.h>
#include <math.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/form.h"
#include "core/layer/same_shape.h"

enum { TABLES = 4 }; /* cos t, sin t, sin t/2, cos t/2 */

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)spec, (void)p;
  size_t C = l->in.dim[0];
  char shape[64];
  if (C % 2 != 0)
    return lip_fail(err, LIP_SHAPE,
                    "householder: expects an even number of channels, got %zu of the input %s", C,
                    lip_shape_describe(&l->in, shape, sizeof shape));
  lip_layer_add_param(l, "angle", 1, (size_t[]){C / 2}, false);
  l->units = C / 2;
  l->scratch = TABLES * (C / 2) * sizeof(float);
  return LIP_OK;
}

/* Near maxmin, and not all alike. */
static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  (void)err;
  const float right = 1.57079633f, spread = 0.5f;
  lip_rng_fill_uniform(rng, l->param[0].value, l->in.dim[0] / 2, right - spread, right + spread);
  return LIP_OK;
}

/* Tables of the angles of pairs [k0, k1), each of k1 - k0 entries. */
static void fill_tables(const lip_layer *l, float *table, size_t k0, size_t k1) {
  size_t n = k1 - k0;
  for (size_t k = 0; k < n; k++) {
    double t = (double)l->param[0].value[k0 + k];
    table[k] = (float)cos(t);
    table[n + k] = (float)sin(t);
    table[2 * n + k] = (float)sin(t / 2);
    table[3 * n + k] = (float)cos(t / 2);
  }
}

/* One row: `in` turned as the side of x says; forward has in = x. Element i of pair k is at 2kS + i and (2k+1)S + i. */
LIP_HOT static void turn(float *restrict out, const float *in, const float *x, const float *restrict table,
                         size_t pairs, size_t S) {
  for (size_t k = 0; k < pairs; k++) {
    float c = table[k], s = table[pairs + k], sh = table[2 * pairs + k], ch = table[3 * pairs + k];
    for (size_t i = 2 * k * S; i < (2 * k + 1) * S; i++) {
      float a = in[i], b = in[i + S];
      float ra = a * c + b * s, rb = a * s - b * c;
      float side = sh * x[i] - ch * x[i + S];
      out[i] = side > 0 ? a : ra;
      out[i + S] = side > 0 ? b : rb;
    }
  }
}

/* The same for S = 1, where the loop over pairs is the one to become vectors. */
LIP_HOT static void turn_pairs(float *restrict out, const float *in, const float *x,
                               const float *restrict table, size_t pairs) {
  for (size_t k = 0; k < pairs; k++) {
    float c = table[k], s = table[pairs + k], sh = table[2 * pairs + k], ch = table[3 * pairs + k];
    float a = in[2 * k], b = in[2 * k + 1];
    float ra = a * c + b * s, rb = a * s - b * c;
    float side = sh * x[2 * k] - ch * x[2 * k + 1];
    out[2 * k] = side > 0 ? a : ra;
    out[2 * k + 1] = side > 0 ? b : rb;
  }
}

static void turn_rows(const lip_layer *l, const lip_pass *pass, float *out, const float *in) {
  size_t C, S, n = l->n_in;
  lip_shape_channels(&l->in, &C, &S);
  fill_tables(l, pass->scratch, 0, C / 2);
  for (size_t r = pass->r0; r < pass->r1; r++)
    if (S == 1)
      turn_pairs(out + r * n, in + r * n, l->x + r * n, pass->scratch, C / 2);
    else
      turn(out + r * n, in + r * n, l->x + r * n, pass->scratch, C / 2, S);
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  turn_rows(l, pass, l->y, l->x);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  turn_rows(l, pass, l->dx, l->dy);
}

static void grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  size_t C, S, n = l->n_in, pairs = u1 - u0;
  lip_shape_channels(&l->in, &C, &S);
  float *table = pass->scratch, *g = l->param[0].grad;
  fill_tables(l, table, u0, u1);
  for (size_t k = 0; k < pairs; k++) {
    double sum = pass->accumulate != 0 ? (double)g[u0 + k] : 0;
    float sh = table[2 * pairs + k], ch = table[3 * pairs + k];
    for (size_t r = 0; r < pass->rows; r++)
      for (size_t i = r * n + 2 * (u0 + k) * S; i < r * n + (2 * (u0 + k) + 1) * S; i++) {
        float side = sh * l->x[i] - ch * l->x[i + S];
        double d = (double)l->y[i] * (double)l->dy[i + S] - (double)l->y[i + S] * (double)l->dy[i];
        sum += side > 0 ? 0 : d;
      }
    g[u0 + k] = (float)sum;
  }
  if (pass->done) pass->done(pass->done_arg, u0, u1);
}

/* Infinite where an angle is no number: then no output is. Asked before there are angles, it says what holds for all. */
static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  const float *angle = l->param[0].value;
  for (size_t k = 0; angle && k < l->in.dim[0] / 2; k++)
    if (!isfinite(angle[k])) return lip_constant_bound(pq, INFINITY, upper);
  const double root2 = 0x1.6a09e667f3bcdp+0; /* the double next above sqrt 2 */
  bool through_two = pq.p != LIP_PINF && pq.q != LIP_P1;
  return lip_constant_bound(pq, through_two ? 1 : root2, upper);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  double K;
  bound(l, pq, &K, NULL);
  /* ||.||_q of the pairs' l2 errors is at most sqrt 2 times as large in q = 1, no larger in 2 and inf */
  double u16 = 16 * 0x1p-24, ones = lip_ones_norm(l->n_out, pq.q);
  double rounding = 2 * u16 * (d->size + d->off) + 8 * (double)FLT_MIN * ones;
  d->off = lip_round_up(K * d->off + rounding);
  d->size = lip_round_up(K * d->size);
  lip_check_overflow(d);
}

/* Far above underflow, or exactly 0. NaN is neither. */
static bool is_clear(double v) {
  return v == 0 || fabs(v) >= 0x1p-60;
}

/* v, if all that is made of the angle is clear. */
static bool direction(double t, double v[2]) {
  v[0] = sin(t / 2);
  v[1] = -cos(t / 2);
  return is_clear(v[0]) && is_clear(v[1]) && is_clear(sin(t)) && is_clear(cos(t));
}

/* Working memory of `form`. */
typedef struct turned {
  size_t n, pixels; /* n_in; of one channel */
  uint32_t *from;   /* (2 n) */
  lip_bend *by;     /* (2 n) products of every value by v, then by v' */
  lip_bend *middle; /* (n) what is done to all w, then to all o */
} turned;

/* Value i is this one of its pair, 0 or 1. */
static size_t side_of(const turned *t, size_t i) {
  return i / t->pixels % 2;
}

static size_t pair_of(const turned *t, size_t i) {
  return i / t->pixels / 2 * t->pixels + i % t->pixels;
}

static bool set_bends(const lip_layer *l, const turned *t) {
  for (size_t i = 0; i < t->n; i++) {
    double v[2];
    if (!direction((double)l->param[0].value[i / t->pixels / 2], v)) return false;
    double along = v[side_of(t, i)], across = side_of(t, i) ? v[0] : -v[1];
    t->by[i] = (lip_bend){.below = along, .above = along};
    t->by[t->n + i] = (lip_bend){.below = across, .above = across};
    t->middle[i] = (lip_bend){.below = i < t->n / 2 ? -1 : 1, .above = 1};
  }
  return true;
}

/* The top segment becomes y_i = x[from[i]] + x[from[n + i]]. */
static bool add_up(const turned *t, lip_form *f) {
  return f->copy(f, 0) && f->gather(f, t->from, t->n) && f->lift(f, 1) &&
         f->gather(f, t->from + t->n, t->n) && f->sum(f, NULL, 2);
}

/* x -> all w, all o */
static bool turn_in(const turned *t, lip_form *f) {
  size_t n = t->n;
  for (size_t i = 0; i < 2 * n; i++) t->from[i] = (uint32_t)(i % n);
  if (!f->gather(f, t->from, 2 * n) || !f->bend(f, t->by)) return false;
  for (size_t i = 0; i < n; i++) {
    uint32_t *at = t->from + side_of(t, i) * n + pair_of(t, i);
    at[0] = (uint32_t)i;
    at[n / 2] = (uint32_t)(n + i);
  }
  return add_up(t, f);
}

static bool turn_back(const turned *t, lip_form *f) {
  size_t n = t->n;
  for (size_t i = 0; i < n; i++) {
    t->from[i] = (uint32_t)pair_of(t, i);
    t->from[n + i] = (uint32_t)(n / 2 + pair_of(t, i));
  }
  for (size_t i = 0; i < 2 * n; i++) {
    t->by[i].off = 24 * 0x1p-24 * fabs(t->by[i].below);
    t->by[i].tiny = 16 * (double)FLT_MIN;
  }
  if (!f->gather(f, t->from, 2 * n) || !f->bend(f, t->by)) return false;
  for (size_t i = 0; i < 2 * n; i++) t->from[i] = (uint32_t)i;
  return add_up(t, f);
}

static bool form(const lip_layer *l, lip_form *f) {
  turned t = {.n = l->n_in, .pixels = l->n_in / l->in.dim[0]};
  if (t.n > LIP_FORM_MOST / 2) return f->too_large(f);
  t.from = lip_alloc(2 * t.n, sizeof *t.from);
  t.by = lip_alloc(2 * t.n, sizeof *t.by);
  t.middle = lip_alloc(t.n, sizeof *t.middle);
  bool known = t.from && t.by && t.middle;
  if (known)
    known = set_bends(l, &t) && turn_in(&t, f) && f->bend(f, t.middle) && turn_back(&t, f);
  else
    (void)f->no_memory(f);
  lip_free(t.from);
  lip_free(t.by);
  lip_free(t.middle);
  return known;
}

const lip_layer_kind lip_layer_householder = {
    .desc = {"householder", "reflects pairs of channels on one side of a trained line; keeps l2 norms", NULL,
             0},
    .plan = plan,
    .reset = reset,
    .forward = forward,
    .backward = backward,
    .grad = grad,
    .bound = bound,
    .form = form,
    .deviate = deviate,
};
