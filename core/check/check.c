/* The claims of a certificate one by one: norms, pair constants, radii. README.md states and proves the inequalities. */
#include "core/check/check.h"

#include <fenv.h>
#include <float.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/check/parts.h"

void lip_check_close(lip_check *c) {
  if (c) lip_check_drop(c, NULL), lip_free(c);
}

size_t lip_check_units(const lip_check *c) {
  return c->units;
}

static double size_of(const double *v, size_t n, int p) {
  double sum = 0;
  for (size_t k = 0; k < n; k++) sum = lip_check_add(sum, v[k], p);
  return lip_check_up(lip_check_norm_of(sum, n, p));
}

static lip_status check_proofs(const lip_check *c, lip_err *err) {
  const lip_check_claims *a = c->claims;
  if (a->targets > 0 &&
      (!(a->evidence & LIP_CHECK_QUADRATIC) || a->targets > c->C * (c->C - 1) / 2 || a->units != c->units))
    return lip_fail(err, LIP_FORMAT,
                    "proofs: more than the method has, or not one multiplier for every unit");
  for (size_t t = 0; t < 2 * a->targets; t++)
    if (!(a->target[t] >= 0 && a->target[t] < (double)c->C && a->target[t] == floor(a->target[t])) ||
        a->target[t] == a->target[t ^ 1])
      return lip_fail(err, LIP_FORMAT, "proofs: a target is not a pair of classes");
  for (size_t k = 0; k < a->targets * (1 + a->units + (a->weight ? c->net->n_in : 0)); k++) {
    size_t m = k - a->targets, all = a->targets * a->units; /* rho, then lambda, then weight */
    double v = k < a->targets ? a->rho[k] : m < all ? a->lambda[m] : a->weight[m - all];
    if (!(v >= 0 && v < INFINITY))
      return lip_fail(err, LIP_FORMAT, "proofs: a number is negative, infinite or none");
  }
  return LIP_OK;
}

static lip_status check_row(const lip_check *c, size_t r, bool finite, lip_err *err) {
  const double label = (double)c->claims->label[r], R = c->claims->radius[r];
  if (label >= -1 && label < (double)c->C && label == floor(label) && R >= 0 && R <= 0x1p120 &&
      (R == 0 || (label >= 0 && finite)))
    return LIP_OK;
  return lip_fail(err, LIP_FORMAT, "row %zu: label %g and radius %.17g are not possible", r + 1,
                  lip_plain(label), lip_plain(R));
}

/* Every number of the rows is one, whether data are at hand or not. */
static lip_status check_rows(lip_check *c, lip_err *err) {
  const lip_check_claims *a = c->claims;
  lip_status status = LIP_OK;
  for (size_t r = 0; r < a->rows && !status; r++) status = check_row(c, r, true, err);
  if (status || !a->local) return status;
  if (!(a->float32 && a->from <= a->to && (!a->slope || a->units == c->units)))
    return lip_fail(err, LIP_FORMAT, "local: not of float32, an empty box, or not one slope for every unit");
  for (size_t k = 0; a->slope && k < a->rows * c->units; k++)
    if (!(fabs(a->slope[k]) <= 0x1p20))
      return lip_fail(err, LIP_FORMAT, "local: a slope is infinite or none");
  return lip_check_forms(c) ? LIP_OK : lip_fail(err, LIP_FORMAT, "local: the net is too large");
}

/* Rounding to nearest, no excess precision, gradual underflow: what all error bounds rest on. */
static bool arithmetic_is_sound(void) {
  volatile double one = 1, u = 0x1p-53, least = DBL_MIN, big = 0x1p53;
  volatile double a = one + u, b = one + 3 * u, half = least / 2, sum = big + one;
  volatile float small = FLT_MIN, tiny = small / 2;
  return a == 1 && b == 1 + 0x1p-51 && half > 0 && sum == big && tiny > 0;
}

/* What all claims share: the last matrix row by row, the norms of its rows and of their differences, room for a pass. */
static lip_status prepare(lip_check *c, lip_err *err) {
  if (!arithmetic_is_sound())
    return lip_fail(err, LIP_FORMAT, "arithmetic: this processor's mode is not IEEE 754");
  if (c->net->n_out < 2) return lip_fail(err, LIP_FORMAT, "net: fewer than 2 classes");
  lip_status status = lip_check_lower(c, err);
  if (status || c->failed) return status;
  const step *last = &c->step[c->n - 1];
  const size_t N = last->N, C = c->C = last->M;
  double *w = lip_check_take(c, C + 1, N); /* row by row, and zeros */
  c->difference = lip_check_take(c, C, C + 1);
  c->h = lip_check_take(c, c->stack, 3);
  c->e = lip_check_take(c, c->net->n + 2, 3);
  if (c->failed) return LIP_OK;
  c->t = (c->z = c->h + c->stack) + c->stack;
  c->d = (c->reach = c->e + c->net->n + 2) + c->net->n + 2;
  for (size_t e = 0; e < last->entries; e++) w[last->row[e] * N + last->column[e]] = last->val[e];
  for (size_t i = 0; i < C; i++)
    for (size_t j = 0; j <= C; j++) {
      double sum = 0;
      for (size_t k = 0; k < N; k++) sum = lip_check_add(sum, w[i * N + k] - w[j * N + k], DUAL(last->p));
      c->difference[i * (C + 1) + j] = lip_check_norm_of(sum, N, DUAL(last->p));
    }
  status = check_proofs(c, err);
  return status ? status : check_rows(c, err);
}

lip_status lip_check_open(const lip_check_net *net, const lip_check_claims *claims, lip_check **out,
                          lip_err *err) {
  fenv_t saved;
  lip_check *c = *out = lip_alloc(1, sizeof *c);
  if (!c) return lip_fail(err, LIP_MEMORY, "out of memory for checking a certificate");
  *c = (lip_check){.net = net, .claims = claims};
  fegetenv(&saved);
  fesetenv(FE_DFL_ENV);
  lip_status status = prepare(c, err);
  if (c->failed) status = lip_fail(err, LIP_MEMORY, "out of memory for checking a certificate");
  fesetenv(&saved);
  if (!status) return LIP_OK;
  lip_check_close(c);
  *out = NULL;
  return status;
}

static lip_status norm_claim(lip_check *c, size_t l, lip_err *err) {
  double claim = c->claims->norm[l];
  const step *s = c->step;
  while (s->claim != l) s++;
  if (claim == INFINITY || claim >= s->abs ||
      (s->p == 2 && s->q == 2 && claim >= 0 && lip_check_spectral(c, s, claim)))
    return LIP_OK;
  return lip_fail(err, LIP_FORMAT, "norm %zu: %.17g is not proved for this matrix", l + 1, lip_plain(claim));
}

/* The Lipschitz constant of a step in what segment i brings, or that of its absolute values. */
static double factor(const lip_check *c, const step *s, size_t i, bool absolute) {
  if (s->op == LINEAR && s->weight) return fabs((double)s->weight[i]);
  if (s->op == LINEAR) return absolute || s->claim == SIZE_MAX ? s->abs : c->claims->norm[s->claim];
  return fmax(fabs(s->low), fabs(s->high));
}

/* v (slots): numbers that grow like distances, and what the step adds. What is not a number becomes INFINITY. */
static void carry(const lip_check *c, const step *s, double *v, double own) {
  double sum = s->op == MOVE ? v[s->from] : 0;
  for (size_t i = 0; i < s->k; i++) {
    double w = s->op == JOIN ? v[s->slot + i] : factor(c, s, i, false) * v[s->slot + i];
    sum = w >= 0 ? lip_check_add(sum, w, s->op == JOIN ? s->q : 1) : (double)INFINITY;
  }
  if (s->op == JOIN) sum = lip_check_norm_of(sum, s->k, s->q);
  v[s->slot] = sum >= 0 && own >= 0 ? lip_check_up(lip_check_up(sum) + own) : (double)INFINITY;
}

/* A pair that has a proof rests on it, so that no number of the file goes unseen. */
static lip_status pair_claim(lip_check *c, size_t i, size_t j, lip_err *err) {
  const lip_check_claims *a = c->claims;
  double claim = a->pair[i * c->C + j], y = (double)i, z = (double)j;
  bool own = false, proved = true;
  if (!(claim >= 0) || claim != a->pair[j * c->C + i] || (i == j && claim != 0))
    return lip_fail(err, LIP_FORMAT, "pair %zu, %zu: %.17g is not a constant", i, j, lip_plain(claim));
  for (size_t t = 0; t < a->targets; t++) {
    double u = a->target[2 * t], v = a->target[2 * t + 1];
    if (!(u == y && v == z) && !(u == z && v == y)) continue;
    own = true;
    proved = proved && lip_check_quadratic(c, t, claim);
  }
  c->reach[0] = 1;
  for (const step *s = c->step; s + 1 < c->step + c->n; s++) carry(c, s, c->reach, 0);
  double product = lip_check_up(c->difference[i * (c->C + 1) + j] * c->reach[0]);
  if (!own && i != j && claim < INFINITY && !(claim >= product))
    proved = (a->evidence & LIP_CHECK_ABS) && claim >= lip_check_abs(c, i, j);
  return proved ? LIP_OK
                : lip_fail(err, LIP_FORMAT, "pair %zu, %zu: %.17g is not proved", i, j, lip_plain(claim));
}

/* The forward pass in double, and how far any float32 input within R of the row can be off at the input of the last step:
 * e of the pass itself, d of what is executed, size and away of the checker. Leaves z and t of the last step. */
static void pass(lip_check *c, const float *x, double R) {
  for (size_t k = 0; k < c->net->n_in; k++) c->h[k] = (double)x[k];
  c->e[0] = c->d[0] = 0;
  c->reach[0] = R;
  for (const step *s = c->step;; s++) {
    double far = 0, T = 0, Z = 0, own = 0, executed = 0;
    double ones = s->q == 0   ? 1
                  : s->q == 2 ? lip_check_up(sqrt((double)s->M))
                              : (double)s->M; /* ||(1, ..., 1)|| */
    for (size_t i = 0, at = s->slot; i < s->k; i++, at++) {
      double there = c->e[at] + c->reach[at] + c->d[at];
      far += there;
      T += factor(c, s, i, true) * there;
      Z += factor(c, s, i, false) * there;
    }
    c->size = size_of(c->h + s->at, s->N, s->p);
    c->away = lip_check_up(far);
    lip_check_apply(c, s);
    if (s == c->step + c->n - 1) return;
    if (s->op == LINEAR) {
      double t = size_of(c->t, s->M, s->q), z = size_of(c->z, s->M, s->q);
      own = s->exact ? 0 : lip_check_up(ERROR64(s) * t + 0x1p-50 * z);
      executed = lip_check_error32(s, lip_check_up(T + t), lip_check_up(Z + z + own), c->size + far, ones);
    } else if (s->op == UNITS) {
      own = lip_check_unit_error(s, false, c->size, ones);
      executed = lip_check_unit_error(s, true, lip_check_up(c->size + far), ones);
    }
    carry(c, s, c->e, own);
    carry(c, s, c->d, executed);
    carry(c, s, c->reach, 0);
  }
}

/* Error of logit i as executed there, apart from what its input brings. */
static double logit_error(const lip_check *c, size_t i) {
  const step *s = &c->step[c->n - 1];
  double moved = c->difference[i * (c->C + 1) + c->C] * c->away, T = lip_check_up(c->t[i] + moved);
  double Z = lip_check_up(fabs(c->z[i]) + ERROR64(s) * c->t[i] + moved);
  return lip_check_up(lip_check_error32(s, T, Z, c->size + c->away, 1));
}

/* A lower bound of z_i - z_j, executed or exact, everywhere within R of the row: after `pass`, by the pair's constant. */
static double least(const lip_check *c, double R, size_t i, size_t j) {
  double m = c->z[i] - c->z[j], apart = c->difference[i * (c->C + 1) + j];
  double own = apart * c->e[0] + ERROR64(&c->step[c->n - 1]) * (c->t[i] + c->t[j]) + 0x1p-50 * fabs(m);
  double executed = c->claims->float32 ? apart * c->d[0] + logit_error(c, i) + logit_error(c, j) : 0;
  double moved = R > 0 ? R * c->claims->pair[i * c->C + j] : 0;
  return m - lip_check_up(own) - lip_check_up(executed) - lip_check_up(moved);
}

/* Row r by the constants of pairs, or by what holds in the ball around it: a radius, a label that no other class is certainly
 * above, or a label -1, which has no radius, where not all logits are certainly finite. */
static lip_status rests_on(lip_check *c, bool ball, size_t r, const float *x, double R, lip_err *err) {
  const double label = (double)c->claims->label[r];
  const size_t y = label < 0 ? 0 : (size_t)label;
  bool finite = true;
  if (!ball) pass(c, x, R);
  if (ball && !lip_check_around(c, r, x, R))
    return R == 0 ? LIP_OK : lip_fail(err, LIP_FORMAT, "radius of row %zu: not known in the box", r + 1);
  for (size_t j = 0; j < c->C; j++) {
    const size_t high = R > 0 ? y : j, low = R > 0 ? j : y;
    const double top = ball ? fabs(c->h[j]) + c->wide[j] : c->d[0] + logit_error(c, j) + c->t[j];
    finite = finite && top < FLT_MAX / 4;
    if (label < 0 || j == y || (R == 0 && !c->claims->float32)) continue;
    const bool above = (ball ? lip_check_least(c, high, low) : least(c, R, high, low)) > 0;
    if (above != (R > 0))
      return lip_fail(err, LIP_FORMAT, "%s of row %zu: fails against class %zu", R > 0 ? "radius" : "label",
                      r + 1, j);
  }
  return label < 0 && finite ? lip_fail(err, LIP_FORMAT, "label of row %zu: its logits are finite", r + 1)
                             : LIP_OK;
}

static lip_status row_claim(lip_check *c, size_t r, const float *x, lip_err *err) {
  double R = c->claims->radius[r];
  bool finite = true;
  for (size_t k = 0; k < c->net->n_in; k++) finite = finite && fabsf(x[k]) < INFINITY;
  lip_status status = check_row(c, r, finite, err);
  if (status || !finite) return status;
  status = c->claims->pair ? rests_on(c, false, r, x, R, err) : LIP_FORMAT;
  return status == LIP_FORMAT && c->claims->local ? rests_on(c, true, r, x, R, err) : status;
}

lip_status lip_check_claim(lip_check *c, lip_check_what what, size_t i, size_t j, const float *x,
                           lip_err *err) {
  fenv_t saved;
  fegetenv(&saved);
  fesetenv(FE_DFL_ENV); /* gradual underflow, rounding to nearest */
  struct held *before = c->held;
  c->failed = false;
  lip_status status = what == LIP_CHECK_NORM   ? norm_claim(c, i, err)
                      : what == LIP_CHECK_PAIR ? pair_claim(c, i, j, err)
                                               : row_claim(c, i, x, err);
  if (what != LIP_CHECK_PAIR) lip_check_drop(c, before); /* of pairs the forms stay */
  fesetenv(&saved);
  return c->failed ? lip_fail(err, LIP_MEMORY, "out of memory for checking a certificate") : status;
}
