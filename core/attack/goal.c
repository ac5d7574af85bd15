#include "core/attack/goal.h"

#include <math.h>
#include <string.h>

lip_status lip_goal_ways(const lip_property *p, size_t *ways, lip_err *err) {
  *ways = 0;
  if (p->m + p->n > INT32_MAX / 2)
    return lip_fail(err, LIP_OPTION, "attack: a property of %zu rows is too large", p->m);
  if (p->asked == LIP_ASK_TARGET) {
    *ways = 1; /* and of inputs labelled so whichever is nearest */
    return LIP_OK;
  }
  for (size_t i = 0; i < lip_property_clauses(p, 0); i++) {
    lip_clause c = lip_property_clause(p, 0, i);
    size_t n = c.n - (c.skip != SIZE_MAX);
    *ways += c.need == n ? n : 1;
  }
  return LIP_OK;
}

/* Keeps the n smallest, `left` of them so far. */
static size_t insert(double *value, int32_t *ranked, size_t left, size_t n, double v, size_t way) {
  size_t i = left;
  if (left == n && !(n > 0 && v < value[n - 1])) return left;
  if (left == n) i--;
  for (; i > 0 && v < value[i - 1]; i--) {
    value[i] = value[i - 1];
    ranked[i] = ranked[i - 1];
  }
  value[i] = v;
  ranked[i] = (int32_t)way;
  return left < n ? left + 1 : n;
}

void lip_goal_rank(const lip_property *p, size_t y, const float *z, size_t n, int32_t *ranked,
                   double *value) {
  size_t left = 0, row;
  for (size_t i = 0; i < lip_property_clauses(p, y); i++) {
    lip_clause c = lip_property_clause(p, y, i);
    if (c.need < c.n - (c.skip != SIZE_MAX)) {
      left = insert(value, ranked, left, n, lip_clause_value(p, &c, y, z, &row), p->m + i);
      continue;
    }
    for (size_t r = c.first; r < c.first + c.n; r++)
      if (r != c.skip) left = insert(value, ranked, left, n, lip_property_row(p, y, r, z), r);
  }
  for (; left < n; left++) ranked[left] = -1;
}

/* The row that decides the clause which is nearest to being broken. */
static double nearest(const lip_property *p, size_t y, const float *z, size_t *row) {
  double least = INFINITY;
  *row = SIZE_MAX;
  for (size_t i = 0; i < lip_property_clauses(p, y); i++) {
    size_t r;
    lip_clause c = lip_property_clause(p, y, i);
    double v = lip_clause_value(p, &c, y, z, &r);
    if (v < least) least = v, *row = r;
  }
  return least;
}

double lip_goal_rise(const lip_property *p, size_t y, int32_t way, const float *z, float *dz) {
  size_t row = SIZE_MAX;
  double v;
  if (way < 0) {
    v = nearest(p, y, z, &row);
  } else if ((size_t)way < p->m) {
    row = (size_t)way;
    v = lip_property_row(p, y, row, z);
  } else {
    lip_clause c = lip_property_clause(p, y, (size_t)way - p->m);
    v = lip_clause_value(p, &c, y, z, &row);
  }
  if (row == SIZE_MAX)
    memset(dz, 0, p->C * sizeof *dz);
  else
    lip_property_gradient(p, y, row, -1, dz);
  return -v;
}
