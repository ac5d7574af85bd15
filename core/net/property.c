/* Properties of outputs. The sign of a row is exact: sums in double with a bound of their error, and where that does not
 * tell, an expansion of numbers that do not overlap (Shewchuk 1997, theorem 10), whose largest part has the sign. */
#include "core/net/property.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/norm/round.h"

/* ---- life ---- */

lip_status lip_property_label(lip_property *p, lip_asked asked, size_t C, size_t number, lip_err *err) {
  *p = (lip_property){.asked = asked, .C = C, .m = C};
  if (C < 2)
    return lip_fail(
        err, LIP_OPTION,
        "a property of labels needs at least 2 outputs, the net has %zu (the sign of one output is what "
        "is asked without a spec; rows C z + d > 0 may ask more of it)",
        C);
  if (asked == LIP_ASK_TARGET && number >= C)
    return lip_fail(err, LIP_OPTION, "target is a class from 0 to %zu, got %zu", C - 1, number);
  if (asked == LIP_ASK_TOP && !(number >= 1 && number < C))
    return lip_fail(err, LIP_OPTION, "top is a whole number from 1 to %zu, got %zu", C - 1, number);
  p->target = p->top = number;
  return LIP_OK;
}

/* A larger copy of an array of n elements, the old one freed; NULL: no memory, and nothing has changed. */
static void *grown(void *old, size_t n, size_t more, size_t size) {
  void *p = lip_alloc(n + more, size);
  if (p && n > 0) memcpy(p, old, n * size);
  if (p) lip_free(old);
  return p;
}

lip_status lip_property_add(lip_property *p, const double *weight, const double *constant, size_t n,
                            size_t need, lip_err *err) {
  if (n == 0 || need == 0 || need > n)
    return lip_fail(err, LIP_OPTION, "a clause needs from 1 to all of its rows, got %zu of %zu", need, n);
  size_t total;
  if (!lip_mul_fits(p->m + n, p->C, &total))
    return lip_fail(err, LIP_MEMORY, "out of memory for %zu rows", n);
  double *w = grown(p->weight, p->m * p->C, n * p->C, sizeof *w);
  if (w) p->weight = w;
  double *d = w ? grown(p->constant, p->m, n, sizeof *d) : NULL;
  if (d) p->constant = d;
  lip_clause *c = d ? grown(p->clause, p->n, 1, sizeof *c) : NULL;
  if (!c) return lip_fail(err, LIP_MEMORY, "out of memory for %zu rows", n);
  p->clause = c;
  memcpy(w + p->m * p->C, weight, n * p->C * sizeof *w);
  memcpy(d + p->m, constant, n * sizeof *d);
  c[p->n++] = (lip_clause){p->m, n, need, SIZE_MAX};
  p->m += n;
  return LIP_OK;
}

void lip_property_free(lip_property *p) {
  lip_free(p->weight);
  lip_free(p->constant);
  lip_free(p->clause);
  *p = (lip_property){0};
}

lip_status lip_property_rows(const lip_property *p, size_t y, size_t n_out, lip_property *rows,
                             lip_err *err) {
  *rows = (lip_property){.asked = LIP_ASK_ROWS, .C = n_out};
  if (n_out == 1) return lip_property_add(rows, &(double){y ? 1 : -1}, &(double){0}, 1, 1, err);
  const lip_clause c = lip_property_clause(p, y, 0);
  double *w = lip_alloc(c.n * n_out + c.n, sizeof *w), *d = w ? w + c.n * n_out : NULL;
  if (!w) return lip_fail(err, LIP_MEMORY, "out of memory for %zu rows", c.n);
  memset(w, 0, (c.n * n_out + c.n) * sizeof *w);
  size_t n = 0;
  for (size_t r = c.first; r < c.first + c.n; r++) {
    if (r == c.skip) continue;
    w[n * n_out + y] = 1;
    w[n++ * n_out + r] = -1;
  }
  lip_status status = lip_property_add(rows, w, d, n, c.need, err);
  lip_free(w);
  return status;
}

/* ---- clauses ---- */

size_t lip_property_clauses(const lip_property *p, size_t y) {
  (void)y;
  return p->asked == LIP_ASK_ROWS ? p->n : 1;
}

lip_clause lip_property_clause(const lip_property *p, size_t y, size_t i) {
  if (p->asked == LIP_ASK_ROWS) return p->clause[i];
  if (p->asked == LIP_ASK_TARGET && p->target != y) return (lip_clause){p->target, 1, 1, SIZE_MAX};
  return (lip_clause){0, p->C, p->asked == LIP_ASK_TOP ? p->C - p->top : p->C - 1, y};
}

static bool is_row(const lip_clause *c, size_t r) {
  return r >= c->first && r < c->first + c->n && r != c->skip;
}

bool lip_property_proved(const lip_property *p, size_t y, const double *low) {
  size_t n = lip_property_clauses(p, y);
  for (size_t i = 0; i < n; i++) {
    lip_clause c = lip_property_clause(p, y, i);
    size_t above = 0;
    for (size_t r = c.first; r < c.first + c.n; r++) above += r != c.skip && low[r] > 0;
    if (above < c.need) return false;
  }
  return n > 0;
}

int32_t lip_outputs_answer(const float *z, size_t C) {
  size_t y = 0;
  for (size_t j = 0; j < C; j++) {
    if (isnan(z[j])) return -1;
    if (z[j] > z[y]) y = j;
  }
  return C == 1 ? z[0] > 0 : (int32_t)y;
}

/* ---- rows ---- */

double lip_property_row(const lip_property *p, size_t y, size_t r, const float *z) {
  if (p->asked != LIP_ASK_ROWS) return (double)z[y] - (double)z[r];
  const double *w = p->weight + r * p->C;
  double sum = p->constant[r];
  for (size_t k = 0; k < p->C; k++)
    if (w[k] != 0) sum += w[k] * (double)z[k];
  return sum;
}

void lip_property_gradient(const lip_property *p, size_t y, size_t r, float sign, float *to) {
  if (p->asked == LIP_ASK_ROWS) {
    for (size_t k = 0; k < p->C; k++) to[k] = sign * (float)p->weight[r * p->C + k];
    return;
  }
  memset(to, 0, p->C * sizeof *to);
  to[y] = sign;
  to[r] = -sign;
}

/* The signs of a number: -1, 0, 1, or one of these. */
enum { NOT_A_NUMBER = 2, UNKNOWN = 3 };

/* e (n parts, not overlapping, in order of size) += b; returns n + 1. Knuth's sum of two numbers with its error. */
static size_t grow(double *e, size_t n, double b) {
  for (size_t i = 0; i < n; i++) {
    double s = b + e[i], t = s - b;
    e[i] = (b - (s - t)) + (e[i] - t);
    b = s;
  }
  e[n] = b;
  return n + 1;
}

static int sign_of(double v) {
  return v > 0 ? 1 : v < 0 ? -1 : 0;
}

enum { EXPANSION = 512 };

/* Parts that are 0 need no place. */
static size_t drop_zeros(double *e, size_t n) {
  size_t left = 0;
  for (size_t i = 0; i < n; i++)
    if (e[i] != 0) e[left++] = e[i];
  return left;
}

/* Exact sign of w . z + d, all finite and no product between 0 and 2^-900. An expansion of doubles from 2^-1022 to
 * 2^1023 has at most 2100 / 53 parts that are not 0, so that there is room. */
static int exact_sign(const double *w, double d, const float *z, size_t C) {
  double e[EXPANSION];
  size_t n = d != 0 ? grow(e, 0, d) : 0;
  for (size_t k = 0; k < C; k++) {
    if (w[k] == 0 || z[k] == 0) continue;
    double p = w[k] * (double)z[k], rest = fma(w[k], (double)z[k], -p);
    n = drop_zeros(e, grow(e, n, rest));
    n = drop_zeros(e, grow(e, n, p));
    if (n + 2 >= EXPANSION) return UNKNOWN;
  }
  return n > 0 ? sign_of(e[n - 1]) : 0;
}

/* Of a row with an output that is no finite number: infinities of one sign have it. */
static int infinite_sign(const double *w, const float *z, size_t C) {
  double sum = 0;
  for (size_t k = 0; k < C; k++)
    if (w[k] != 0 && !isfinite(z[k])) sum += w[k] * (double)z[k];
  return isnan(sum) ? NOT_A_NUMBER : sign_of(sum);
}

static int row_sign(const lip_property *p, size_t y, size_t r, const float *z) {
  if (p->asked != LIP_ASK_ROWS) {
    if (isnan(z[y]) || isnan(z[r])) return NOT_A_NUMBER;
    return z[y] > z[r] ? 1 : z[y] < z[r] ? -1 : 0;
  }
  const double *w = p->weight + r * p->C;
  double sum = p->constant[r], size = fabs(sum);
  bool small = false, finite = true, known = isfinite(sum);
  for (size_t k = 0; k < p->C; k++) {
    if (w[k] == 0) continue;
    double t = w[k] * (double)z[k];
    known = known && isfinite(w[k]);
    finite = finite && isfinite(z[k]);
    small = small || (z[k] != 0 && fabs(t) < 0x1p-900);
    sum += t;
    size += fabs(t);
  }
  if (!known) return UNKNOWN;
  if (!finite) return infinite_sign(w, z, p->C);
  if (!(size < 0x1p1000)) return UNKNOWN;
  double off = lip_gamma(p->C + 8) * size * (1 + 0x1p-40) + (small ? 0x1p-900 * (double)p->C : 0);
  if (fabs(sum) > off) return sign_of(sum);
  return small ? UNKNOWN : exact_sign(w, p->constant[r], z, p->C);
}

static lip_state state_of(const lip_property *p, size_t y, const float *z) {
  lip_state state = LIP_HOLDS;
  size_t n = lip_property_clauses(p, y);
  for (size_t i = 0; i < n; i++) {
    lip_clause c = lip_property_clause(p, y, i);
    size_t above = 0, perhaps = 0;
    for (size_t r = c.first; r < c.first + c.n; r++) {
      int sign = is_row(&c, r) ? row_sign(p, y, r, z) : 0;
      above += sign == 1;
      perhaps += sign == UNKNOWN;
    }
    if (above + perhaps < c.need) return LIP_BROKEN;
    if (above < c.need) state = LIP_UNDECIDED;
  }
  return n > 0 ? state : LIP_UNDECIDED;
}

lip_state lip_property_state(const lip_property *p, size_t y, const float *z) {
  fenv_t saved; /* denormal numbers count */
  lip_ieee_enter(&saved);
  lip_state state = state_of(p, y, z);
  lip_ieee_leave(&saved);
  return state;
}

/* ---- values ---- */

/* Whether row r, of value v, comes before the row (w, s) among values from the smallest up, or from the largest down. */
static bool before(double v, size_t r, double w, size_t s, bool up) {
  return v != w ? (up ? v < w : v > w) : r < s;
}

double lip_clause_value(const lip_property *p, const lip_clause *c, size_t y, const float *z, size_t *row) {
  size_t n = c->n - (c->skip >= c->first && c->skip < c->first + c->n);
  bool up = n - c->need + 1 <= c->need; /* as many passes as its place from the nearer end */
  size_t passes = up ? n - c->need + 1 : c->need;
  double last = up ? -INFINITY : INFINITY;
  size_t at = SIZE_MAX;
  for (size_t i = 0; i < passes; i++) {
    double best = NAN;
    size_t found = SIZE_MAX;
    for (size_t r = c->first; r < c->first + c->n; r++) {
      if (r == c->skip) continue;
      double v = lip_property_row(p, y, r, z);
      if (isnan(v)) {
        *row = SIZE_MAX;
        return NAN;
      }
      bool later = at == SIZE_MAX || before(last, at, v, r, up);
      if (later && (found == SIZE_MAX || before(v, r, best, found, up))) best = v, found = r;
    }
    last = best;
    at = found;
  }
  *row = at;
  return last;
}

double lip_property_value(const lip_property *p, size_t y, const float *z) {
  double least = INFINITY;
  size_t row, n = lip_property_clauses(p, y);
  for (size_t i = 0; i < n; i++) {
    lip_clause c = lip_property_clause(p, y, i);
    double v = lip_clause_value(p, &c, y, z, &row);
    if (isnan(v)) return NAN;
    least = v < least ? v : least;
  }
  return least;
}
