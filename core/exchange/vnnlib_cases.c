/* The unsafe set as a union of cases, and what a verifier takes of one: its box, and what it asks of the outputs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/vnnlib_parts.h"
#include "core/norm/round.h"

/* ---- a disjunction of conjunctions ---- */

/* Conjunction i is rows row[end[i - 1]] .. row[end[i] - 1], the first from 0 on. */
typedef struct conjunctions {
  size_t n, end_room, n_row, row_room;
  size_t *end;
  uint32_t *row;
} conjunctions;

typedef struct expanding {
  const lip_vnnlib *v;
  lip_status status;
  lip_err *err;
} expanding;

static void free_list(conjunctions *a) {
  lip_free(a->end);
  lip_free(a->row);
  *a = (conjunctions){0};
}

static void begin_one(expanding *e, conjunctions *a) {
  if (e->status) return;
  if (a->n == LIP_VNNLIB_CASES) {
    e->status =
        lip_fail(e->err, LIP_UNSUPPORTED,
                 "the unsafe set is a union of more than %d cases: split the query into several files",
                 LIP_VNNLIB_CASES);
    return;
  }
  if (!lip_vnnlib_room((void **)&a->end, &a->end_room, a->n, 1, sizeof *a->end)) {
    e->status = lip_fail(e->err, LIP_MEMORY, "out of memory for the cases of a query");
    return;
  }
  a->end[a->n++] = a->n_row;
}

/* Adds n rows to the last conjunction. */
static void extend(expanding *e, conjunctions *a, const uint32_t *row, size_t n) {
  if (e->status || n == 0) return;
  if (n > LIP_VNNLIB_REFERENCES - a->n_row) {
    e->status = lip_fail(
        e->err, LIP_UNSUPPORTED,
        "the cases of the unsafe set have more than %d inequalities: split the query into several files",
        LIP_VNNLIB_REFERENCES);
    return;
  }
  if (!lip_vnnlib_room((void **)&a->row, &a->row_room, a->n_row, n, sizeof *a->row)) {
    e->status = lip_fail(e->err, LIP_MEMORY, "out of memory for the cases of a query");
    return;
  }
  memcpy(a->row + a->n_row, row, n * sizeof *row);
  a->n_row += n;
  a->end[a->n - 1] = a->n_row;
}

static const uint32_t *rows_of(const conjunctions *a, size_t i, size_t *n) {
  size_t first = i > 0 ? a->end[i - 1] : 0;
  *n = a->end[i] - first;
  return *n > 0 ? a->row + first : NULL;
}

/* *a = every conjunction of *a with every one of *b, which is freed. */
static void multiply(expanding *e, conjunctions *a, conjunctions *b) {
  conjunctions c = {0};
  size_t n;
  for (size_t i = 0; i < a->n && !e->status; i++)
    for (size_t j = 0; j < b->n && !e->status; j++) {
      begin_one(e, &c);
      const uint32_t *row = rows_of(a, i, &n);
      extend(e, &c, row, n);
      row = rows_of(b, j, &n);
      extend(e, &c, row, n);
    }
  free_list(a);
  free_list(b);
  *a = c;
}

static void expand_or(expanding *e, size_t at, size_t end, conjunctions *out);

/* The trees at .. end - 1 together. Rows go into *common. */
static void expand_and(expanding *e, size_t at, size_t end, conjunctions *out) {
  conjunctions rows = {0};
  begin_one(e, &rows);
  begin_one(e, out);
  while (at < end && !e->status) {
    const lip_vnnlib_node *node = &e->v->node[at++];
    if (node->kind == LIP_VNNLIB_ROW) {
      extend(e, &rows, &node->n, 1);
      continue;
    }
    conjunctions inner = {0};
    expand_or(e, at, at + node->n, &inner);
    at += node->n;
    multiply(e, out, &inner);
  }
  if (!e->status) multiply(e, &rows, out);
  if (e->status)
    free_list(out);
  else
    *out = rows;
  if (e->status) free_list(&rows);
}

static void expand_or(expanding *e, size_t at, size_t end, conjunctions *out) {
  size_t n;
  while (at < end && !e->status) {
    const lip_vnnlib_node *node = &e->v->node[at++];
    if (node->kind == LIP_VNNLIB_ROW) {
      begin_one(e, out);
      extend(e, out, &node->n, 1);
      continue;
    }
    conjunctions inner = {0};
    expand_and(e, at, at + node->n, &inner);
    at += node->n;
    for (size_t i = 0; i < inner.n && !e->status; i++) {
      begin_one(e, out);
      const uint32_t *row = rows_of(&inner, i, &n);
      extend(e, out, row, n);
    }
    free_list(&inner);
  }
}

lip_status lip_vnnlib_expand(const lip_vnnlib *v, lip_vnnlib_cases *out, lip_err *err) {
  expanding e = {v, LIP_OK, err};
  conjunctions all = {0};
  *out = (lip_vnnlib_cases){0};
  size_t room = 0;
  begin_one(&e, &all);
  for (size_t at = 0; at < v->n_node && !e.status;) {
    const lip_vnnlib_node *node = &v->node[at++];
    if (node->kind == LIP_VNNLIB_ROW) {
      if (!lip_vnnlib_room((void **)&out->common, &room, out->n_common, 1, sizeof *out->common))
        e.status = lip_fail(err, LIP_MEMORY, "out of memory for the cases of a query");
      else
        out->common[out->n_common++] = node->n;
      continue;
    }
    conjunctions inner = {0};
    expand_or(&e, at, at + node->n, &inner);
    at += node->n;
    multiply(&e, &all, &inner);
  }
  out->n = all.n;
  out->own = all.row;
  out->first = e.status ? NULL : lip_alloc(all.n + 1, sizeof *out->first);
  if (!e.status && !out->first)
    e.status = lip_fail(err, LIP_MEMORY, "out of memory for the cases of a query");
  for (size_t i = 0; i < all.n && !e.status; i++) out->first[i + 1] = all.end[i];
  lip_free(all.end);
  if (e.status) lip_vnnlib_cases_free(out);
  return e.status;
}

void lip_vnnlib_cases_free(lip_vnnlib_cases *c) {
  lip_free(c->common);
  lip_free(c->first);
  lip_free(c->own);
  *c = (lip_vnnlib_cases){0};
}

/* ---- rows of a case ---- */

lip_vnnlib_about lip_vnnlib_row_about(const lip_vnnlib *v, const lip_vnnlib_row *r) {
  if (r->n == 0) return LIP_VNNLIB_CONSTANT;
  /* inputs come first */
  bool input = !(v->term[r->first].variable & LIP_VNNLIB_OUTPUT);
  bool output = (v->term[r->first + r->n - 1].variable & LIP_VNNLIB_OUTPUT) != 0;
  if (input && output) return LIP_VNNLIB_BOTH;
  if (output) return LIP_VNNLIB_OUTPUTS;
  return r->n == 1 ? LIP_VNNLIB_BOX : LIP_VNNLIB_INPUTS;
}

static size_t count_rows(const lip_vnnlib_cases *c, size_t i) {
  return c->n_common + c->first[i + 1] - c->first[i];
}

static const lip_vnnlib_row *row_at(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, size_t k) {
  return &v->row[k < c->n_common ? c->common[k] : c->own[c->first[i] + k - c->n_common]];
}

void lip_vnnlib_count(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, size_t count[5]) {
  memset(count, 0, 5 * sizeof *count);
  for (size_t k = 0; k < count_rows(c, i); k++) count[lip_vnnlib_row_about(v, row_at(v, c, i, k))]++;
}

/* ---- boxes ---- */

/* a x <= b for the decimals a, b: x <= *side, or (a < 0) x >= *side, rounded outwards; `inside`: inwards, `strict` included. */
static void side_of(const lip_vnnlib_number *a, const lip_vnnlib_number *b, bool inside, bool strict,
                    double *side) {
  const bool above = a->negative; /* x >= b / a */
  if (a->down == a->up && fabs(a->down) == 1) {
    const double bound = inside ? b->down : b->up;
    *side = above ? -bound : bound;
    if (inside && strict && b->down == b->up) *side = nextafter(*side, above ? INFINITY : -INFINITY);
    return;
  }
  double ends[2] = {a->down, a->up}, least = INFINITY, most = -INFINITY;
  for (int k = 0; k < 4; k++) {
    double q = (k < 2 ? b->down : b->up) / ends[k & 1];
    if (isnan(q)) q = above != inside ? -INFINITY : INFINITY;
    least = fmin(least, q);
    most = fmax(most, q);
  }
  *side = above != inside ? nextafter(least, -INFINITY) : nextafter(most, INFINITY);
}

/* A row that is a side of the box: low <= input `variable` <= high, one of the two infinite. */
typedef struct side {
  uint32_t variable;
  double low, high;
} side;

/* What row r says of the box, in *s; false: nothing. *some becomes false where it has no solution at all. */
static bool read_side(const lip_vnnlib *v, const lip_vnnlib_row *r, bool inside, side *s, bool *some) {
  const lip_vnnlib_number *bound = &v->number[r->bound];
  lip_vnnlib_about about = lip_vnnlib_row_about(v, r);
  if (about == LIP_VNNLIB_CONSTANT && (bound->negative || (r->strict && bound->n == 0))) *some = false;
  if (about != LIP_VNNLIB_BOX) return false;
  const lip_vnnlib_term *t = &v->term[r->first];
  const lip_vnnlib_number *a = &v->number[t->number];
  *s = (side){t->variable, -INFINITY, INFINITY};
  side_of(a, bound, inside, r->strict, a->negative ? &s->low : &s->high);
  return true;
}

static bool find_box(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, bool inside, double *low,
                     double *high) {
  bool some = true;
  fenv_t saved;
  side s;
  for (size_t k = 0; k < v->n_x; k++) low[k] = -INFINITY, high[k] = INFINITY;
  lip_ieee_enter(&saved);
  for (size_t k = 0; k < count_rows(c, i); k++) {
    if (!read_side(v, row_at(v, c, i, k), inside, &s, &some)) continue;
    low[s.variable] = fmax(low[s.variable], s.low);
    high[s.variable] = fmin(high[s.variable], s.high);
  }
  for (size_t k = 0; k < v->n_x && some; k++) some = low[k] <= high[k];
  lip_ieee_leave(&saved);
  return some;
}

bool lip_vnnlib_box(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, double *low, double *high) {
  return find_box(v, c, i, false, low, high);
}

bool lip_vnnlib_inner_box(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, double *low,
                          double *high) {
  return find_box(v, c, i, true, low, high);
}

static int by_input(const void *a, const void *b) {
  const side *x = a, *y = b;
  return x->variable != y->variable ? (x->variable > y->variable ? 1 : -1) : 0;
}

/* The sides of n rows, sorted, one for each input; how many. */
static size_t gather(const lip_vnnlib *v, const uint32_t *row, size_t n, side *to, bool *some) {
  size_t found = 0, left = 0;
  for (size_t k = 0; k < n; k++) found += read_side(v, &v->row[row[k]], false, &to[found], some);
  qsort(to, found, sizeof *to, by_input);
  for (size_t k = 0; k < found; k++) {
    if (left > 0 && to[left - 1].variable == to[k].variable) {
      to[left - 1].low = fmax(to[left - 1].low, to[k].low);
      to[left - 1].high = fmin(to[left - 1].high, to[k].high);
    } else {
      to[left++] = to[k];
    }
    *some = *some && to[left - 1].low <= to[left - 1].high;
  }
  return left;
}

lip_status lip_vnnlib_empty(const lip_vnnlib *v, const lip_vnnlib_cases *c, bool *empty, lip_err *err) {
  size_t most = 0, own = c->first[c->n];
  for (size_t i = 0; i < c->n; i++)
    if (c->first[i + 1] - c->first[i] > most) most = c->first[i + 1] - c->first[i];
  side *common = lip_alloc(c->n_common + most + 1, sizeof *common), *mine = common + c->n_common;
  if (!common) return lip_fail(err, LIP_MEMORY, "out of memory for the cases of a query");
  fenv_t saved;
  lip_ieee_enter(&saved);
  bool any = true;
  size_t n = gather(v, c->common, c->n_common, common, &any);
  for (size_t i = 0; i < c->n; i++) {
    bool some = any;
    size_t first = c->first[i],
           m = gather(v, own > 0 ? c->own + first : NULL, c->first[i + 1] - first, mine, &some);
    for (size_t k = 0; k < m && some && n > 0; k++) {
      const side *s = bsearch(&mine[k], common, n, sizeof *common, by_input);
      some = !s || (fmax(s->low, mine[k].low) <= fmin(s->high, mine[k].high));
    }
    empty[i] = !some;
  }
  lip_ieee_leave(&saved);
  lip_free(common);
  return LIP_OK;
}

/* ---- outputs ---- */

/* sum of weights times y - bound > 0 where the row does not hold. False: the coefficients are no doubles. */
static bool opposite(const lip_vnnlib *v, const lip_vnnlib_row *r, double *weight, double *constant) {
  int least = 0;
  lip_decimal d;
  double up;
  for (uint32_t k = 0; k < r->n; k++) {
    const lip_vnnlib_number *a = &v->number[v->term[r->first + k].number];
    if (a->down != a->up && a->exponent < least) least = a->exponent;
  }
  for (uint32_t k = 0; k < r->n; k++) {
    const lip_vnnlib_term *t = &v->term[r->first + k];
    lip_vnnlib_decimal(v, t->number, &d);
    d.exponent -= least;
    double *w = &weight[t->variable & ~LIP_VNNLIB_OUTPUT];
    lip_decimal_enclose(&d, w, &up);
    if (*w != up || !isfinite(up)) return false;
  }
  lip_vnnlib_decimal(v, r->bound, &d);
  if (d.n > 0) d.exponent -= least;
  double down;
  lip_decimal_enclose(&d, &down, &up);
  *constant = -up;
  return isfinite(up);
}

static lip_status refuse(lip_err *err, size_t i, const char *why) {
  return lip_fail(err, LIP_UNSUPPORTED, "case %zu of the query %s: no condition on outputs says that", i + 1,
                  why);
}

lip_status lip_vnnlib_spec(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, lip_property *p,
                           lip_err *err) {
  size_t count[5], n = 0, C = v->n_y, total;
  lip_vnnlib_count(v, c, i, count);
  if (count[LIP_VNNLIB_BOTH] > 0) return refuse(err, i, "compares inputs with outputs");
  if (count[LIP_VNNLIB_INPUTS] > 0)
    return refuse(err, i, "has inequalities between inputs, which are no box");
  if (count[LIP_VNNLIB_OUTPUTS] == 0) return refuse(err, i, "asks nothing of the outputs");
  size_t m = count[LIP_VNNLIB_OUTPUTS];
  /* a dense matrix: no more than the query itself could have said */
  double *weight =
      lip_mul_fits(m, C, &total) && total <= (size_t)1 << 24 ? lip_alloc(total, sizeof *weight) : NULL;
  double *constant = weight ? lip_alloc(m, sizeof *constant) : NULL;
  lip_status status = LIP_OK;
  if (!constant) status = lip_fail(err, LIP_MEMORY, "out of memory for %zu rows of %zu outputs", m, C);
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t k = 0; k < count_rows(c, i) && status == LIP_OK; k++) {
    const lip_vnnlib_row *r = row_at(v, c, i, k);
    if (lip_vnnlib_row_about(v, r) != LIP_VNNLIB_OUTPUTS) continue;
    if (!opposite(v, r, weight + n * C, constant + n))
      status = refuse(err, i, "has coefficients with more digits than doubles hold");
    n++;
  }
  lip_ieee_leave(&saved);
  if (status == LIP_OK) status = lip_property_add(p, weight, constant, m, 1, err);
  lip_free(weight);
  lip_free(constant);
  return status;
}
