#include "support_exact.h"

#ifdef LIP_MPFR

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_layer.h"

/* ---- a net as a list of steps ---- */

/* A new step that writes a register of its own, or NULL. */
static exact_op *push(exact_net *e, exact_kind kind, int from, size_t n, size_t m) {
  if (e->n == EXACT_OPS || e->registers == EXACT_REGISTERS || n > EXACT_WIDEST || m > EXACT_WIDEST)
    return NULL;
  exact_op *o = &e->op[e->n++];
  *o = (exact_op){.kind = kind, .from = from, .to = e->registers++, .n = n, .m = m, .a = 1, .b = 1};
  if (kind == EXACT_LINEAR) {
    o->matrix = calloc(n * m, sizeof(double));
    o->bias = calloc(m, sizeof(double));
  } else if (kind == EXACT_BEND) {
    o->steps = n;
  } else if (kind != EXACT_ADD) {
    o->list = calloc((size_t)EXACT_WIDEST * EXACT_WIDEST, sizeof *o->list);
  }
  return o;
}

/* Columns of a linear layer are its values at unit vectors once its bias is away, without rounding. */
static int linear(exact_net *e, const lip_layer *l, int from) {
  exact_op *o = push(e, EXACT_LINEAR, from, l->n_in, l->n_out);
  if (!o) return -1;
  double *x = calloc(l->n_in + l->n_out, sizeof *x), *y = x + l->n_in;
  float bias[EXACT_WIDEST];
  size_t n_bias = l->n_param > 1 ? lip_param_size(&l->param[1]) : 0;
  bool known = layer_in_double(l, x, o->bias) && n_bias <= EXACT_WIDEST;
  for (size_t i = 0; known && i < n_bias; i++) bias[i] = l->param[1].value[i], l->param[1].value[i] = 0;
  for (size_t k = 0; known && k < l->n_in; k++) {
    x[k] = 1;
    layer_in_double(l, x, y);
    x[k] = 0;
    for (size_t i = 0; i < l->n_out; i++) o->matrix[i * l->n_in + k] = y[i];
  }
  for (size_t i = 0; known && i < n_bias; i++) l->param[1].value[i] = bias[i];
  free(x);
  return known ? o->to : -1;
}

static int scaled(exact_net *e, const lip_layer *l, int from) {
  size_t n = l->n_in, S = n / l->in.dim[0];
  exact_op *o = push(e, EXACT_LINEAR, from, n, n), *q = push(e, EXACT_LINEAR, e->registers - 1, n, n);
  if (!o || !q) return -1;
  for (size_t i = 0; i < n; i++) {
    o->matrix[i * n + i] = 1;
    o->bias[i] = -(double)(float)layer_listed(l, "mean", i / S, 0);
    q->matrix[i * n + i] = (double)(float)(layer_number(l, "factor") / layer_listed(l, "std", i / S, 1));
  }
  return q->to;
}

/* Groups of `size` channels by exchanges of neighbours. */
static int sorted(exact_net *e, const lip_layer *l, int from, size_t size, bool descending) {
  size_t C = l->in.dim[0], S = l->n_in / C;
  exact_op *o = push(e, EXACT_ORDER, from, l->n_in, l->n_out);
  if (!o) return -1;
  for (size_t g = 0; g < C / size; g++)
    for (size_t s = 0; s < S; s++)
      for (size_t round = 0; round + 1 < size; round++)
        for (size_t k = 0; k + 1 < size - round; k++) {
          size_t i = (g * size + k) * S + s, j = i + S;
          o->list[o->steps][0] = descending ? i : j;
          o->list[o->steps++][1] = descending ? j : i;
        }
  return o->to;
}

static int pooled(exact_net *e, const lip_layer *l, int from) {
  long k = (long)layer_number(l, "kernel"), pad = (long)layer_number(l, "padding");
  long s = layer_number(l, "stride") > 0 ? (long)layer_number(l, "stride") : k;
  long H = (long)l->in.dim[1], W = (long)l->in.dim[2], OH = (long)l->out.dim[1], OW = (long)l->out.dim[2];
  exact_op *o = push(e, EXACT_MAX, from, l->n_in, l->n_out);
  if (!o) return -1;
  for (long q = 0; q < (long)l->n_out; q++)
    for (long t = 0; t < k * k; t++) {
      long iy = q / OW % OH * s + t / k - pad, ix = q % OW * s + t % k - pad;
      if (iy < 0 || ix < 0 || iy >= H || ix >= W) continue;
      o->list[o->steps][0] = (size_t)q;
      o->list[o->steps++][1] = (size_t)(q / (OH * OW) * H * W + iy * W + ix);
    }
  return o->to;
}

static int layer(exact_net *e, const lip_layer *l, int from);

static int chained(exact_net *e, const lip_layer *l, int from) {
  for (size_t i = 0; i < l->n_child && from >= 0; i++) from = layer(e, l->child[i], from);
  return from;
}

static int add(exact_net *e, int from, double a, int other, double b, size_t n) {
  if (from < 0 || other < 0) return -1;
  exact_op *o = push(e, EXACT_ADD, from, n, n);
  if (!o) return -1;
  o->other = other;
  o->a = a;
  o->b = b;
  return o->to;
}

static int residual(exact_net *e, const lip_layer *l, int from) {
  float alpha = (float)layer_number(l, "alpha");
  bool mix = layer_number(l, "mode") == 0;
  return add(e, from, mix ? (double)alpha : 1, chained(e, l, from), mix ? (double)(1 - alpha) : 1, l->n_in);
}

/* concat: each branch at its place among zeros; sum: with its weight. */
static int branches(exact_net *e, const lip_layer *l, int from, bool join) {
  int sum = -1;
  size_t at = 0;
  for (size_t i = 0; i < l->n_child; i++) {
    size_t m = l->child[i]->n_out;
    int one = layer(e, l->child[i], from);
    exact_op *o = one < 0 ? NULL : push(e, EXACT_LINEAR, one, m, l->n_out);
    if (!o) return -1;
    double w = join ? 1 : (double)(float)layer_listed(l, "weights", i, 1);
    for (size_t k = 0; k < m; k++) o->matrix[(at + k) * m + k] = w;
    at += join ? m : 0;
    sum = i == 0 ? o->to : add(e, sum, 1, o->to, 1, l->n_out);
  }
  return sum;
}

static int bent(exact_net *e, const lip_layer *l, int from, double slope) {
  exact_op *o = push(e, EXACT_BEND, from, l->n_in, l->n_out);
  if (!o) return -1;
  o->a = slope;
  return o->to;
}

static int layer(exact_net *e, const lip_layer *l, int from) {
  static const char *const matrices[] = {
      "dense", "conv2d", "conv1d", "avg_pool2d", "global_avg_pool", "space_to_depth", "depth_to_space",
      "shift", "pad",    "select", NULL};
  const char *kind = l->kind->desc.name;
  if (strcmp(kind, "flatten") == 0 || strcmp(kind, "dropout") == 0) return from;
  if (strcmp(kind, "chain") == 0) return chained(e, l, from);
  if (strcmp(kind, "residual") == 0) return residual(e, l, from);
  if (strcmp(kind, "concat") == 0 || strcmp(kind, "sum") == 0) return branches(e, l, from, kind[0] == 'c');
  if (strcmp(kind, "relu") == 0) return bent(e, l, from, 0);
  if (strcmp(kind, "abs") == 0) return bent(e, l, from, -1);
  if (strcmp(kind, "leaky_relu") == 0) return bent(e, l, from, (double)(float)layer_number(l, "slope"));
  if (strcmp(kind, "maxmin") == 0) return sorted(e, l, from, 2, true);
  if (strcmp(kind, "groupsort") == 0) return sorted(e, l, from, (size_t)layer_number(l, "size"), false);
  if (strcmp(kind, "fullsort") == 0) return sorted(e, l, from, l->in.dim[0], false);
  if (strcmp(kind, "max_pool2d") == 0) return pooled(e, l, from);
  if (strcmp(kind, "scale") == 0 || strcmp(kind, "standardise") == 0) return scaled(e, l, from);
  for (int i = 0; matrices[i]; i++)
    if (strcmp(kind, matrices[i]) == 0) return linear(e, l, from);
  return -1;
}

bool exact_init(exact_net *e, const lip_net *net) {
  *e = (exact_net){.registers = 1, .n_in = net->root->n_in, .n_out = net->root->n_out};
  if (e->n_in > EXACT_WIDEST) return false;
  e->last = chained(e, net->root, 0);
  return e->last >= 0;
}

void exact_free(exact_net *e) {
  for (int i = 0; i < e->n; i++) {
    free(e->op[i].matrix);
    free(e->op[i].bias);
    free(e->op[i].list);
  }
}

/* ---- values ---- */

static void add_product(mpq_t sum, double w, mpq_t v, mpq_t scratch) {
  if (w == 0) return;
  mpq_set_d(scratch, w);
  mpq_mul(scratch, scratch, v);
  mpq_add(sum, sum, scratch);
}

static void op_at(const exact_op *o, mpq_t (*reg)[EXACT_WIDEST], mpq_t t) {
  mpq_t *from = reg[o->from], *to = reg[o->to];
  for (size_t i = 0; i < o->m && o->kind == EXACT_LINEAR; i++) {
    mpq_set_d(to[i], o->bias[i]);
    for (size_t k = 0; k < o->n; k++) add_product(to[i], o->matrix[i * o->n + k], from[k], t);
  }
  for (size_t i = 0; i < o->m && o->kind == EXACT_ADD; i++) {
    mpq_set_ui(to[i], 0, 1);
    add_product(to[i], o->a, from[i], t);
    add_product(to[i], o->b, reg[o->other][i], t);
  }
  for (size_t i = 0; i < o->m && (o->kind == EXACT_BEND || o->kind == EXACT_ORDER); i++)
    mpq_set(to[i], from[i]);
  for (size_t i = 0; i < o->m && o->kind == EXACT_BEND; i++) {
    mpq_set_d(t, o->a);
    if (mpq_sgn(to[i]) < 0) mpq_mul(to[i], to[i], t);
  }
  for (size_t s = 0; s < o->steps && o->kind == EXACT_ORDER; s++)
    if (mpq_cmp(to[o->list[s][0]], to[o->list[s][1]]) < 0) mpq_swap(to[o->list[s][0]], to[o->list[s][1]]);
  for (size_t s = 0; s < o->steps && o->kind == EXACT_MAX; s++) {
    bool first = s == 0 || o->list[s - 1][0] != o->list[s][0];
    if (first || mpq_cmp(from[o->list[s][1]], to[o->list[s][0]]) > 0)
      mpq_set(to[o->list[s][0]], from[o->list[s][1]]);
  }
}

void exact_at(const exact_net *e, const double *x, mpq_t *z) {
  static mpq_t reg[EXACT_REGISTERS][EXACT_WIDEST], t;
  static bool made = false;
  for (int r = 0; r < EXACT_REGISTERS && !made; r++)
    for (int i = 0; i < EXACT_WIDEST; i++) mpq_init(reg[r][i]);
  if (!made) mpq_init(t);
  made = true;
  for (size_t k = 0; k < e->n_in; k++) mpq_set_d(reg[0][k], x[k]);
  for (int i = 0; i < e->n; i++) op_at(&e->op[i], reg, t);
  for (size_t j = 0; j < e->n_out; j++) mpq_set(z[j], reg[e->last][j]);
}

/* ---- regions ---- */

bool exact_inside(const exact_region *r, const double *x) {
  mpq_t d, s, sum;
  mpq_inits(d, s, sum, NULL);
  bool inside = true;
  for (size_t k = 0; k < r->n; k++) {
    if (!(x[k] >= r->from[k] && x[k] <= r->to[k])) inside = false;
    if (r->scale[k] == 0 && x[k] != r->centre[k]) inside = false;
    if (r->scale[k] == 0) continue;
    mpq_set_d(d, x[k]);
    mpq_set_d(s, r->centre[k]);
    mpq_sub(d, d, s);
    mpq_set_d(s, r->scale[k]);
    mpq_div(d, d, s);
    mpq_abs(d, d);
    if (r->p == LIP_P2) mpq_mul(d, d, d);
    if (r->p != LIP_PINF)
      mpq_add(sum, sum, d);
    else if (mpq_cmp(d, sum) > 0)
      mpq_set(sum, d);
  }
  mpq_set_d(s, r->eps);
  if (r->p == LIP_P2) mpq_mul(s, s, s);
  inside = inside && mpq_cmp(sum, s) <= 0;
  mpq_clears(d, s, sum, NULL);
  return inside;
}

static void free_coordinates(const exact_region *r, size_t at[2]) {
  size_t n = 0;
  at[0] = at[1] = 0;
  for (size_t k = 0; k < r->n && n < 2; k++)
    if (r->scale[k] > 0) at[n++] = k;
}

bool exact_point(const exact_region *r, const double u[2], double *x) {
  size_t at[2];
  free_coordinates(r, at);
  for (int e = -60; e <= 0; e++) {
    double t = e == -60 ? 1 : 1 - ldexp(1, e);
    memcpy(x, r->centre, r->n * sizeof *x);
    for (int i = 0; i < 2; i++) {
      size_t k = at[i];
      x[k] = fmin(fmax(r->centre[k] + t * u[i] * r->scale[k], r->from[k]), r->to[k]);
    }
    if (exact_inside(r, x)) return true;
  }
  return false;
}

/* ---- pieces ---- */

typedef struct cell {
  double u[EXACT_CORNERS][2];
  size_t n;
  double form[EXACT_REGISTERS][EXACT_WIDEST][3];
} cell;

typedef struct walk {
  const exact_net *e;
  exact_seen *seen;
  void *arg;
  size_t count, most;
} walk;

static double form_at(const double *h, const double *u) {
  return h[0] + h[1] * u[0] + h[2] * u[1];
}

/* 1: h >= 0 on the whole cell, -1: h <= 0, 0: neither. */
static int side(const cell *c, const double *h) {
  double least = INFINITY, most = -INFINITY;
  for (size_t i = 0; i < c->n; i++) {
    double v = form_at(h, c->u[i]);
    least = fmin(least, v);
    most = fmax(most, v);
  }
  double tiny = 1e-13 * (fabs(h[0]) + fabs(h[1]) + fabs(h[2]));
  return least >= -tiny ? 1 : most <= tiny ? -1 : 0;
}

/* Keeps the part of the polygon where sign h >= 0. */
static void clip(cell *c, const double *h, double sign) {
  double out[EXACT_CORNERS][2];
  size_t n = 0;
  for (size_t i = 0; i < c->n && n + 2 <= EXACT_CORNERS; i++) {
    const double *a = c->u[i], *b = c->u[(i + 1) % c->n];
    double va = sign * form_at(h, a), vb = sign * form_at(h, b);
    if (va >= 0) memcpy(out[n++], a, sizeof out[0]);
    if ((va >= 0) == (vb >= 0)) continue;
    double t = va / (va - vb);
    out[n][0] = a[0] + t * (b[0] - a[0]);
    out[n++][1] = a[1] + t * (b[1] - a[1]);
  }
  memcpy(c->u, out, n * sizeof *out);
  c->n = n;
}

static void whole_op(const exact_op *o, cell *c) {
  for (size_t i = 0; i < o->m; i++)
    for (int q = 0; q < 3; q++) {
      double *to = &c->form[o->to][i][q];
      if (o->kind == EXACT_LINEAR) {
        *to = q == 0 ? o->bias[i] : 0;
        for (size_t k = 0; k < o->n; k++) *to += o->matrix[i * o->n + k] * c->form[o->from][k][q];
      } else if (o->kind == EXACT_ADD) {
        *to = o->a * c->form[o->from][i][q] + o->b * c->form[o->other][i][q];
      } else if (o->kind == EXACT_ORDER) {
        *to = c->form[o->from][i][q];
      }
    }
}

/* What decision `step` of a step looks at; false: there is nothing to decide. */
static bool question(const exact_op *o, const cell *c, size_t step, double *h) {
  if (o->kind == EXACT_BEND) {
    memcpy(h, c->form[o->from][step], 3 * sizeof *h);
    return true;
  }
  const size_t *list = o->list[step];
  if (o->kind == EXACT_MAX && (step == 0 || o->list[step - 1][0] != list[0])) return false;
  const double *a = c->form[o->to][list[0]], *b = c->form[o->kind == EXACT_MAX ? o->from : o->to][list[1]];
  for (int q = 0; q < 3; q++) h[q] = a[q] - b[q];
  return true;
}

static void decide(const exact_op *o, cell *c, size_t step, int sign) {
  double(*from)[3] = c->form[o->from], (*to)[3] = c->form[o->to], keep[3];
  if (o->kind == EXACT_BEND) {
    for (int q = 0; q < 3; q++) to[step][q] = (sign < 0 ? o->a : 1) * from[step][q];
    return;
  }
  size_t i = o->list[step][0], j = o->list[step][1];
  if (sign > 0) return;
  memcpy(keep, to[i], sizeof keep);
  memcpy(to[i], o->kind == EXACT_MAX ? from[j] : to[j], sizeof keep);
  if (o->kind == EXACT_ORDER) memcpy(to[j], keep, sizeof keep);
}

static void go(walk *w, cell *c, int at, size_t step) {
  for (; at < w->e->n; at++, step = 0) {
    const exact_op *o = &w->e->op[at];
    if (step == 0) whole_op(o, c);
    for (; step < o->steps; step++) {
      double h[3];
      int sign = question(o, c, step, h) ? side(c, h) : -1;
      for (int s = 1; sign == 0 && s >= -1; s -= 2) {
        cell *part = malloc(sizeof *part);
        *part = *c;
        clip(part, h, s);
        decide(o, part, step, s);
        if (part->n > 2 && w->count < w->most) go(w, part, at, step + 1);
        free(part);
      }
      if (sign == 0) return;
      decide(o, c, step, sign);
    }
  }
  w->count++;
  w->seen(w->arg, (const double(*)[2])c->u, c->n, c->form[w->e->last]);
}

size_t exact_pieces(const exact_net *e, const exact_region *r, size_t most, exact_seen *seen, void *arg) {
  walk w = {e, seen, arg, 0, most};
  cell *c = calloc(1, sizeof *c);
  size_t at[2];
  free_coordinates(r, at);
  c->n = 4;
  for (size_t i = 0; i < 4; i++) {
    static const double square[4][2] = {{-1, -1}, {1, -1}, {1, 1}, {-1, 1}};
    static const double diamond[4][2] = {{-1, 0}, {0, -1}, {1, 0}, {0, 1}};
    for (int q = 0; q < 2; q++) c->u[i][q] = r->eps * (r->p == LIP_P1 ? diamond : square)[i][q];
  }
  for (int q = 0; q < 2; q++) {
    size_t k = at[q];
    double low[3] = {-(r->from[k] - r->centre[k]) / r->scale[k], q == 0, q == 1};
    double high[3] = {(r->to[k] - r->centre[k]) / r->scale[k], q == 0 ? -1 : 0, q == 1 ? -1 : 0};
    if (isfinite(low[0])) clip(c, low, 1);
    if (isfinite(high[0])) clip(c, high, 1);
  }
  for (size_t k = 0; k < r->n; k++) {
    c->form[0][k][0] = r->centre[k];
    for (int q = 0; q < 2; q++) c->form[0][k][q + 1] = at[q] == k ? r->scale[k] : 0;
  }
  if (c->n > 2) go(&w, c, 0, 0);
  free(c);
  return w.count;
}

#endif
