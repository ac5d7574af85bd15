/* VNN-LIB queries as text again, and at a point. */
#include "core/exchange/vnnlib.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/vnnlib_parts.h"
#include "core/norm/round.h"

/* ---- text ---- */

typedef struct writing {
  const lip_vnnlib *v;
  int version;
  lip_str *to;
} writing;

static void write_number(const writing *w, uint32_t number) {
  lip_decimal d;
  lip_vnnlib_decimal(w->v, number, &d);
  lip_decimal_write(&d, w->to);
}

static void write_variable(const writing *w, uint32_t variable) {
  const lip_vnnlib *v = w->v;
  bool output = (variable & LIP_VNNLIB_OUTPUT) != 0;
  uint32_t i = variable & ~LIP_VNNLIB_OUTPUT, rest;
  if (w->version == 1) {
    lip_str_printf(w->to, "%c_%u", output ? 'Y' : 'X', i);
    return;
  }
  const lip_vnnlib_tensor *t = v->tensor;
  while (t->output != output || i < t->first || i - t->first >= t->n) t++;
  lip_str_puts(w->to, t->name);
  rest = t->n;
  i -= t->first;
  for (int k = 0; k < t->ndim; k++) {
    rest /= t->dim[k];
    lip_str_printf(w->to, "%s%u", k == 0 ? "[" : ",", i / rest);
    i %= rest;
  }
  if (t->ndim > 0) lip_str_puts(w->to, "]");
}

static bool is_one(const lip_vnnlib *v, const lip_vnnlib_term *t, double value) {
  return v->number[t->number].down == value && v->number[t->number].up == value;
}

static void write_term(const writing *w, const lip_vnnlib_term *t) {
  bool plain = is_one(w->v, t, 1);
  if (!plain) {
    lip_str_puts(w->to, "(* ");
    write_number(w, t->number);
    lip_str_puts(w->to, " ");
  }
  write_variable(w, t->variable);
  if (!plain) lip_str_puts(w->to, ")");
}

/* X <= c, X >= c and Y <= Z as people write them, everything else as a sum <= c. */
static void write_row(const writing *w, const lip_vnnlib_row *r) {
  const lip_vnnlib *v = w->v;
  const lip_vnnlib_term *t = v->term + r->first;
  const char *equal = r->strict ? "" : "=";
  lip_decimal bound;
  lip_vnnlib_decimal(v, r->bound, &bound);
  if (r->n == 2 && bound.n == 0 &&
      ((is_one(v, t, 1) && is_one(v, t + 1, -1)) || (is_one(v, t, -1) && is_one(v, t + 1, 1)))) {
    bool first = is_one(v, t, 1);
    lip_str_printf(w->to, "(<%s ", equal);
    write_variable(w, t[!first].variable);
    lip_str_puts(w->to, " ");
    write_variable(w, t[first].variable);
    lip_str_puts(w->to, ")");
    return;
  }
  bool below = r->n == 1 && is_one(v, t, -1);
  lip_str_printf(w->to, "(%s%s ", below ? ">" : "<", equal);
  if (below) {
    write_variable(w, t->variable);
    bound.negative = bound.n > 0 && !bound.negative;
  } else if (r->n == 0) {
    lip_str_puts(w->to, "0.0");
  } else {
    if (r->n > 1) lip_str_puts(w->to, "(+ ");
    for (uint32_t i = 0; i < r->n; i++) {
      if (i > 0) lip_str_puts(w->to, " ");
      write_term(w, t + i);
    }
    if (r->n > 1) lip_str_puts(w->to, ")");
  }
  lip_str_puts(w->to, " ");
  lip_decimal_write(&bound, w->to);
  lip_str_puts(w->to, ")");
}

/* The tree at node `at`; the node behind it. `top`: parts of it have a line each. */
static size_t write_node(const writing *w, size_t at, bool top) {
  const lip_vnnlib_node *node = &w->v->node[at++];
  if (node->kind == LIP_VNNLIB_ROW) {
    write_row(w, &w->v->row[node->n]);
    return at;
  }
  lip_str_puts(w->to, node->kind == LIP_VNNLIB_AND ? "(and" : "(or");
  for (size_t end = at + node->n; at < end;) {
    lip_str_puts(w->to, top ? "\n    " : " ");
    at = write_node(w, at, false);
  }
  lip_str_puts(w->to, ")");
  return at;
}

static const char *network_name(const lip_vnnlib *v, size_t i) {
  return v->network[i].name ? v->network[i].name : "N";
}

static void write_network(const writing *w, size_t i) {
  const lip_vnnlib *v = w->v;
  const lip_vnnlib_network *net = &v->network[i];
  lip_str_printf(w->to, "(declare-network %s\n", network_name(v, i));
  if (net->equal_to != LIP_VNNLIB_NONE)
    lip_str_printf(w->to, "  (equal-to %s)\n", network_name(v, net->equal_to));
  if (net->isomorphic_to != LIP_VNNLIB_NONE)
    lip_str_printf(w->to, "  (isomorphic-to %s)\n", network_name(v, net->isomorphic_to));
  for (size_t k = 0; k < v->n_tensor; k++) {
    const lip_vnnlib_tensor *t = &v->tensor[k];
    if (t->network != i) continue;
    lip_str_printf(w->to, "  (declare-%s %s %s [", t->output ? "output" : "input", t->name, t->type);
    for (int j = 0; j < t->ndim; j++) lip_str_printf(w->to, "%s%u", j > 0 ? "," : "", t->dim[j]);
    lip_str_puts(w->to, "]");
    if (t->onnx) {
      lip_str_puts(w->to, " \"");
      lip_str_puts(w->to, t->onnx);
      lip_str_puts(w->to, "\"");
    }
    lip_str_puts(w->to, ")\n");
  }
  lip_str_puts(w->to, ")\n");
}

lip_status lip_vnnlib_text(const lip_vnnlib *v, int version, lip_str *to, lip_err *err) {
  writing w = {v, version, to};
  if (version != 1 && version != 2)
    return lip_fail(err, LIP_OPTION, "version expects 1 or 2, got %d", version);
  if (version == 1 && v->n_network > 1)
    return lip_fail(err, LIP_UNSUPPORTED, "version 1 knows one network, this query has %zu: write version 2",
                    v->n_network);
  if (version == 2) {
    lip_str_puts(to, "(vnnlib-version <2.0>)\n");
    for (size_t i = 0; i < v->n_network; i++) write_network(&w, i);
  } else {
    for (size_t i = 0; i < v->n_x; i++) lip_str_printf(to, "(declare-const X_%zu Real)\n", i);
    for (size_t i = 0; i < v->n_y; i++) lip_str_printf(to, "(declare-const Y_%zu Real)\n", i);
  }
  for (size_t at = 0; at < v->n_node && !to->failed;) {
    lip_str_puts(to, "(assert ");
    at = write_node(&w, at, true);
    lip_str_puts(to, ")\n");
  }
  return to->failed ? lip_fail(err, LIP_MEMORY, "out of memory for the text of a query") : LIP_OK;
}

/* ---- at a point ---- */

typedef struct judging {
  const lip_vnnlib *v;
  const float *x, *y;
  size_t n, room, z_room; /* the sum of a row: doubles times float32 */
  double *weight;
  float *z;
  bool no_memory;
} judging;

static float value_of(const judging *j, uint32_t variable) {
  return variable & LIP_VNNLIB_OUTPUT ? j->y[variable & ~LIP_VNNLIB_OUTPUT] : j->x[variable];
}

/* Adds sign d z to the sum, d a whole number or a double, in as many doubles as it takes. False: beyond the doubles. */
static bool add_exactly(judging *j, const lip_decimal *d, double sign, float z) {
  lip_decimal rest = *d, part;
  while (rest.n > 0) {
    double v = lip_decimal_nearest(&rest);
    if (!isfinite(v)) return false;
    if (!lip_vnnlib_room((void **)&j->weight, &j->room, j->n, 1, sizeof *j->weight) ||
        !lip_vnnlib_room((void **)&j->z, &j->z_room, j->n, 1, sizeof *j->z)) {
      j->no_memory = true;
      return false;
    }
    j->weight[j->n] = sign * v;
    j->z[j->n++] = z;
    lip_decimal_of(&part, -v);
    if (!lip_decimal_add(&rest, &rest, &part)) return false;
  }
  return true;
}

/* The sign of sum - bound (or of bound - sum, sign -1) as an answer of lip_property_state. Every number is a double as
 * it is, or a whole number after a product with a power of ten, which changes no sign. */
static lip_state sign_of_row(judging *j, const lip_vnnlib_row *r, double sign) {
  const lip_vnnlib *v = j->v;
  const lip_vnnlib_number *bound = &v->number[r->bound];
  bool exact = bound->down == bound->up;
  int least = bound->exponent;
  for (uint32_t i = 0; i < r->n; i++) {
    const lip_vnnlib_number *a = &v->number[v->term[r->first + i].number];
    exact = exact && a->down == a->up;
    if (a->exponent < least) least = a->exponent;
  }
  int shift = exact || least > 0 ? 0 : -least;
  lip_decimal d;
  j->n = 0;
  for (uint32_t i = 0; i <= r->n; i++) {
    const lip_vnnlib_term *t = &v->term[r->first + i]; /* of the bound, behind the last, not read */
    bool last = i == r->n;
    float z = last ? -1 : value_of(j, t->variable);
    if (!isfinite(z)) return LIP_UNDECIDED;
    lip_vnnlib_decimal(v, last ? r->bound : t->number, &d);
    if (d.n > 0) d.exponent += shift;
    if (!add_exactly(j, &d, sign, z)) return LIP_UNDECIDED;
  }
  if (j->n == 0) return LIP_BROKEN; /* 0 is not above 0 */
  double constant = 0;
  lip_clause clause = {0, 1, 1, SIZE_MAX};
  lip_property p = {.asked = LIP_ASK_ROWS, .C = j->n, .m = 1, .weight = j->weight, .constant = &constant};
  p.n = 1;
  p.clause = &clause;
  return lip_property_state(&p, 0, j->z);
}

static lip_vnnlib_state judge_row(judging *j, const lip_vnnlib_row *r) {
  const lip_vnnlib *v = j->v;
  const lip_vnnlib_term *t = v->term + r->first;
  const lip_vnnlib_number *c = &v->number[r->bound];
  bool up = r->n == 1 && is_one(v, t, 1), down = r->n == 1 && is_one(v, t, -1);
  if (up || down) { /* no double lies between down and up: those below the decimal are those up to down */
    double z = (double)value_of(j, t->variable) * (up ? 1 : -1);
    if (!isfinite(z)) return LIP_VNNLIB_UNDECIDED;
    bool in = r->strict && c->down == c->up ? z < c->down : z <= c->down;
    return in ? LIP_VNNLIB_UNSAFE : LIP_VNNLIB_SAFE;
  }
  lip_state s = sign_of_row(j, r, r->strict ? -1 : 1);
  if (s == LIP_UNDECIDED) return LIP_VNNLIB_UNDECIDED;
  return (s == LIP_HOLDS) == r->strict ? LIP_VNNLIB_UNSAFE : LIP_VNNLIB_SAFE;
}

/* Of the trees at nodes at .. end - 1: whether all of them hold (`both`), or any. */
static lip_vnnlib_state judge(judging *j, size_t at, size_t end, bool both) {
  lip_vnnlib_state decides = both ? LIP_VNNLIB_SAFE : LIP_VNNLIB_UNSAFE;
  lip_vnnlib_state state = both ? LIP_VNNLIB_UNSAFE : LIP_VNNLIB_SAFE;
  while (at < end) {
    const lip_vnnlib_node *node = &j->v->node[at++];
    bool row = node->kind == LIP_VNNLIB_ROW;
    lip_vnnlib_state s =
        row ? judge_row(j, &j->v->row[node->n]) : judge(j, at, at + node->n, node->kind == LIP_VNNLIB_AND);
    if (!row) at += node->n;
    if (s == decides) return s;
    if (s == LIP_VNNLIB_UNDECIDED) state = s;
  }
  return state;
}

lip_status lip_vnnlib_point(const lip_vnnlib *v, const float *x, const float *y, lip_vnnlib_state *state,
                            lip_err *err) {
  judging j = {.v = v, .x = x, .y = y};
  fenv_t saved; /* denormal numbers count */
  lip_ieee_enter(&saved);
  *state = judge(&j, 0, v->n_node, true);
  lip_ieee_leave(&saved);
  lip_free(j.weight);
  lip_free(j.z);
  return j.no_memory ? lip_fail(err, LIP_MEMORY, "out of memory for a row of a query") : LIP_OK;
}
