#include "core/exchange/vnnlib_question.h"

#include <math.h>

#include "core/base/mem.h"
#include "core/norm/round.h"

static float float_above(double v) {
  const float f = (float)v;
  return (double)f < v ? nextafterf(f, INFINITY) : f;
}

static size_t place_of(const lip_vnnlib_question *q, size_t k) {
  return q->order ? q->order[k] : k;
}

static lip_status set_sides(lip_vnnlib_question *q, size_t i, lip_err *err) {
  const size_t n = q->v->n_x;
  const bool some = lip_vnnlib_box(q->v, q->cases, i, q->side, q->side + n);
  for (size_t k = 0; k < n; k++) {
    const size_t p = place_of(q, k);
    const double low = some ? q->side[p] : 1, high = some ? q->side[n + p] : 0; /* no input is inside */
    if (!isfinite(low) || !isfinite(high))
      return lip_fail(err, LIP_UNSUPPORTED,
                      "case %zu of the query: X_%zu is bounded on %s: give every input two sides", i + 1, p,
                      isfinite(low)    ? "its lower side only"
                      : isfinite(high) ? "its upper side only"
                                       : "no side");
    q->sorted[k] = low;
    q->sorted[n + k] = high;
  }
  lip_vnnlib_inner_box(q->v, q->cases, i, q->side, q->side + n);
  for (size_t k = 0; k < n; k++) {
    const size_t p = place_of(q, k);
    q->point[k] = some ? float_above(q->side[p]) : 1;
    q->point[n + k] = some ? -float_above(-q->side[n + p]) : 0;
  }
  return LIP_OK;
}

static lip_status case_at(void *arg, size_t i, lip_case *out, lip_err *err) {
  lip_vnnlib_question *q = arg;
  const size_t n = q->v->n_x;
  lip_property_free(&q->spec);
  q->spec = (lip_property){.asked = LIP_ASK_ROWS, .C = q->v->n_y};
  fenv_t saved; /* denormal numbers count */
  lip_ieee_enter(&saved);
  lip_status status = set_sides(q, i, err);
  lip_ieee_leave(&saved);
  if (!status) status = lip_vnnlib_spec(q->v, q->cases, i, &q->spec, err);
  *out = (lip_case){.from = q->sorted, .to = q->sorted + n, .least = q->point, .most = q->point + n, .property = &q->spec};
  return status;
}

static bool counts(void *arg, size_t i, const float *x, const float *z) {
  const lip_vnnlib_question *q = arg;
  lip_vnnlib_state state;
  (void)i;
  for (size_t k = 0; k < q->v->n_x; k++) q->asked[place_of(q, k)] = x[k];
  return lip_vnnlib_point(q->v, q->asked, z, &state, NULL) == LIP_OK && state == LIP_VNNLIB_UNSAFE;
}

lip_status lip_vnnlib_question_init(lip_vnnlib_question *q, const lip_vnnlib *v,
                                    const lip_vnnlib_cases *cases, const uint32_t *order, size_t n_x,
                                    size_t n_y, lip_err *err) {
  *q = (lip_vnnlib_question){.v = v, .cases = cases, .order = order};
  q->ask = (lip_question){.n = cases->n, .p = LIP_PINF, .at = case_at, .counts = counts, .arg = q};
  if (v->n_network != 1)
    return lip_fail(err, LIP_SHAPE, "the query is about %zu networks, it can be asked of one", v->n_network);
  if (v->n_x != n_x || v->n_y != n_y)
    return lip_fail(err, LIP_SHAPE, "the query has %zu inputs and %zu outputs, the net %zu and %zu", v->n_x,
                    v->n_y, n_x, n_y);
  q->side = lip_alloc(4 * n_x + 1, sizeof *q->side);
  q->point = lip_alloc(3 * n_x + 1, sizeof *q->point);
  if (!q->side || !q->point) return lip_fail(err, LIP_MEMORY, "out of memory for a box of %zu inputs", n_x);
  q->sorted = q->side + 2 * n_x;
  q->asked = q->point + 2 * n_x;
  return LIP_OK;
}

void lip_vnnlib_question_free(lip_vnnlib_question *q) {
  lip_free(q->side);
  lip_free(q->point);
  lip_property_free(&q->spec);
}
