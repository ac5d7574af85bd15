/* Memory, layers as steps over a stack of values, and what all claims need to know of them. README.md, "Steps". */
#include <float.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/check/parts.h"
#define UNIT 0x1p-24              /* rounding to nearest in float32 */
#define LARGEST ((size_t)1 << 28) /* entries of a matrix, values of a segment */

typedef struct held {
  struct held *next;
  double numbers[7]; /* what follows starts aligned */
} held;

void *lip_check_take(lip_check *c, size_t a, size_t b) {
  size_t n;
  held *h = lip_mul_fits(a, b, &n) && n < SIZE_MAX / 16 ? lip_alloc(sizeof *h + n * 8, 1) : NULL;
  c->failed = c->failed || !h;
  if (!h) return NULL;
  h->next = c->held;
  c->held = h;
  return h + 1;
}

void lip_check_drop(lip_check *c, held *until) {
  while (c->held != until) {
    held *h = c->held;
    c->held = h->next;
    lip_free(h);
  }
}

/* ---- matrices ---- */

LIP_HOT void lip_check_columns(const step *s, const double *v, double *restrict z, double *restrict t) {
  for (size_t k = 0; s->full && k < s->N; k++) {
    const double *w = s->val + k * s->M, x = v[k];
    for (size_t i = 0; x != 0 && i < s->M; i++) z[i] += w[i] * x, t[i] += fabs(w[i] * x);
  }
  for (size_t e = 0; !s->full && e < s->entries; e++) {
    double term = s->val[e] * v[s->column[e]];
    z[s->row[e]] += term, t[s->row[e]] += fabs(term);
  }
}

/* || |W| ||_{p->q}, and so >= ||W||_{p->q}: p = 1 the largest column in norm q, q = inf the largest row in the dual norm. */
static double plain_norm(lip_check *c, const step *s, int p, int q) {
  size_t n = s->N + s->M;
  double top = 0, *sum = lip_check_take(c, n, 1);
  const int r = p == 1 ? q : DUAL(p);
  for (size_t e = 0; sum && e < s->entries; e++) {
    double *at = sum + (p == 1 ? s->column[e] : s->row[e]);
    *at = lip_check_add(*at, s->val[e], r);
  }
  for (size_t k = 0; sum && k < n; k++) top = fmax(top, lip_check_norm_of(sum[k], n, r));
  return top;
}

/* Norm 2: at most the geometric mean of those of 1 and inf (Schur 1911). */
static double absolute_norm(lip_check *c, const step *s) {
  const bool both = s->p == 2 && s->q == 2;
  return lip_check_up(both ? sqrt(plain_norm(c, s, 1, 1)) * sqrt(plain_norm(c, s, 0, 0))
                           : plain_norm(c, s, s->p, s->q));
}

/* ---- the stack ---- */

typedef struct segment { /* every layer adds one at most */
  size_t at, size;       /* first value, how many */
  int p;                 /* the norm it is measured in */
} segment;

/* A new last step over the k segments on top, which leaves M values, or for M = 0 as many as they have. */
static step *add_step(lip_check *c, kind op, size_t k, size_t M) {
  const segment *end = c->segment + c->depth - 1; /* there is always one */
  segment *to = c->segment + c->depth - k;
  step *s = &c->step[c->n++];
  *s = (step){.op = op, .k = k, .slot = c->depth - k, .claim = SIZE_MAX, .low = 1, .high = 1, .p = end->p};
  s->at = k > 0 ? to->at : end->at + end->size;
  for (const segment *g = to; g <= end; g++) {
    s->N += g->size; /* norms fall as exponents grow, 0 being the largest */
    s->p = s->p == 0 || g->p == 0 ? 0 : g->p > s->p ? g->p : s->p;
  }
  s->q = s->p;
  s->M = M = M > 0 ? M : s->N;
  *to = (segment){s->at, M, s->p};
  c->depth = s->slot + 1;
  c->stack = s->at + M > c->stack ? s->at + M : c->stack;
  return s;
}

/* Segment `from` takes the place of the k on top. */
static lip_status add_move(lip_check *c, size_t from, size_t k) {
  const segment g = c->segment[from];
  step *s = add_step(c, MOVE, k, g.size);
  s->k = 0, s->N = g.size, s->from = from, s->from_at = g.at, s->exact = true;
  s->p = s->q = c->segment[s->slot].p = g.p;
  return LIP_OK;
}

static lip_status no_shape(lip_err *err) {
  return lip_fail(err, LIP_FORMAT, "net: shapes of layers");
}

/* Entries, bias and what is known of a matrix. */
static lip_status add_matrix(lip_check *c, const lip_check_layer *l, size_t M, lip_err *err) {
  const bool sums = l->kind == LIP_CHECK_SUM;
  step *s = add_step(c, LINEAR, sums ? l->M : 1, M);
  s->weight = sums ? l->W : NULL;
  s->full = l->kind == LIP_CHECK_DENSE;
  size_t n = s->entries = s->full ? M * s->N : sums ? s->N : l->start[M];
  s->row = lip_check_take(c, n, 1);
  s->val = lip_check_take(c, n, 1);
  s->bias = lip_check_take(c, M, 1);
  double sum = 0, *terms = lip_check_take(c, M, 1);
  if (c->failed) return LIP_OK;
  s->column = s->row + n;
  s->exact = l->more == 0;
  for (size_t e = 0, i = 0; e < n; e++) {
    while (!s->full && !sums && e >= l->start[i + 1]) i++;
    if (s->full || sums) i = e % M;
    size_t k = s->full ? e / M : sums ? e : l->column[e];
    double v = s->val[e] = s->full ? (double)l->W[i * s->N + k] : sums ? (double)l->W[e / M] : l->value[e];
    s->row[e] = (uint32_t)i, s->column[e] = (uint32_t)k;
    sum += fabs(v);
    s->exact = s->exact && (v == 0 || (v == 1 && terms[i] == 0));
    terms[i] += v != 0;
  }
  for (size_t i = 0; i < M; i++) {
    sum += fabs(s->bias[i] = l->bias ? l->bias[i] : l->b ? (double)l->b[i] : 0);
    s->exact = s->exact && s->bias[i] == 0;
    s->most = terms[i] > (double)s->most ? (size_t)terms[i] : s->most;
  }
  s->most += l->more;
  if (!(sum < INFINITY)) return lip_fail(err, LIP_FORMAT, "weights: not all are finite");
  if (s->full || l->claimed) {
    if (c->claimed >= c->claims->dense) return no_shape(err);
    s->claim = c->claimed++;
    s->q = c->segment[s->slot].p = c->claims->path[s->claim + 1];
    if ((s->q != 0 && s->q != 1 && s->q != 2) || (s->q != s->p && s->q != 0 && (s->q != 2 || s->p != 1)))
      return lip_fail(err, LIP_FORMAT, "path: not a path of norms 1, 2, inf upwards");
  }
  s->abs = absolute_norm(c, s);
  return LIP_OK;
}

/* ---- layers ---- */

static lip_status add_units(lip_check *c, const lip_check_layer *l, lip_err *err) {
  const bool pairs = l->kind == LIP_CHECK_MAXMIN || l->kind == LIP_CHECK_MINMAX;
  const bool leaky = pairs || l->kind == LIP_CHECK_LEAKY, plus = l->kind == LIP_CHECK_SOFTPLUS;
  const double a = pairs ? -1 : l->slope;
  size_t M = c->segment[c->depth - 1].size, *mate = pairs ? lip_check_take(c, M, 1) : NULL;
  bool fits = leaky ? fabs(a) <= 0x1p20 : !plus || (a >= 0x1p-20 && a <= 0x1p20);
  if (c->failed) return LIP_OK;
  for (size_t i = 0; pairs && i < M; i++) fits = fits && (mate[i] = l->mate ? l->mate[i] : i ^ 1) < M;
  for (size_t i = 0; pairs && fits && i < M; i++) fits = mate[mate[i]] == i;
  if (!fits) return lip_fail(err, LIP_FORMAT, "net: a nonlinearity");
  if (a == 1 && leaky) return LIP_OK;
  step *s = add_step(c, UNITS, 1, 0);
  s->mate = mate, s->descending = l->kind == LIP_CHECK_MAXMIN;
  s->unit = pairs ? LIP_CHECK_LEAKY : l->kind, s->slope = a;
  s->low = leaky ? fmin(a, 1) : 0;
  s->high = leaky ? fmax(a, 1) : l->kind == LIP_CHECK_SIGMOID ? 0.25 : 1;
  for (size_t i = 0, m; i < M; i++) c->units += lip_check_is_unit(s, i, &m);
  return LIP_OK;
}

/* Rows in order, columns that there are, none twice in a row. */
static bool is_sparse(const lip_check_layer *l, size_t width) {
  bool fits = l->N == width && l->M > 0 && l->M < LARGEST && l->start[0] == 0;
  for (size_t i = 0; fits && i < l->M; i++) {
    fits = l->start[i] <= l->start[i + 1];
    for (size_t e = l->start[i]; fits && e < l->start[i + 1]; e++)
      fits = l->column[e] < width && (e == l->start[i] || l->column[e] > l->column[e - 1]);
  }
  return fits;
}

static lip_status read_layer(lip_check *c, const lip_check_layer *l, lip_err *err) {
  const segment *top = c->segment + c->depth - 1;
  size_t width = top->size, k = l->M, M = 0; /* rows of a matrix that fits */
  if (width == 0 || width >= LARGEST) return no_shape(err);
  switch (l->kind) {
  case LIP_CHECK_DENSE: M = l->N == width && k < LARGEST / width ? k : 0; break;
  case LIP_CHECK_SPARSE: M = is_sparse(l, width) ? k : 0; break;
  case LIP_CHECK_COPY: return k < c->depth ? add_move(c, c->depth - 1 - k, 0) : no_shape(err);
  case LIP_CHECK_DROP: return c->depth > 1 ? add_move(c, c->depth - 1, 2) : no_shape(err);
  case LIP_CHECK_JOIN:
  case LIP_CHECK_SUM:
    if (k == 0 || k > c->depth) return no_shape(err);
    if (l->kind == LIP_CHECK_JOIN) return (void)add_step(c, JOIN, k, 0), LIP_OK;
    M = width;
    for (const segment *g = top - k + 1; g < top; g++) M = g->size == width ? M : 0;
    break;
  default: return add_units(c, l, err);
  }
  return M > 0 ? add_matrix(c, l, M, err) : no_shape(err);
}

lip_status lip_check_lower(lip_check *c, lip_err *err) {
  const lip_check_net *net = c->net;
  const int p = c->claims->path[0];
  c->step = lip_check_take(c, net->n + 1, (sizeof *c->step + 7) / 8);
  c->segment = lip_check_take(c, net->n + 2, sizeof(segment) / 8);
  if (c->failed) return LIP_OK;
  c->segment[0] = (segment){0, c->stack = net->n_in, p};
  c->depth = 1;
  lip_status status = p == 0 || p == 1 || p == 2
                          ? LIP_OK
                          : lip_fail(err, LIP_FORMAT, "path: not a path of norms 1, 2, inf upwards");
  for (size_t i = 0; i < net->n && !status && !c->failed; i++) status = read_layer(c, &net->layer[i], err);
  if (status || c->failed) return status;
  if (c->claimed != c->claims->dense || c->depth != 1 || c->segment[0].size != net->n_out)
    return no_shape(err);
  if (c->n > 0 && c->step[c->n - 1].op == LINEAR && !c->step[c->n - 1].weight) return LIP_OK;
  float one = 1; /* what all claims end with is a matrix: the sum of one segment */
  status = add_matrix(c, &(lip_check_layer){.kind = LIP_CHECK_SUM, .M = 1, .W = &one}, net->n_out, err);
  c->step[c->n - 1].weight = NULL;
  return status;
}

/* ---- values and float32 ---- */

void lip_check_apply(const lip_check *c, const step *s) {
  double *h = c->h + s->at, *z = c->z, *t = c->t;
  for (size_t i = 0; s->op == LINEAR && i < s->M; i++) t[i] = fabs(z[i] = s->bias[i]);
  if (s->op == LINEAR) lip_check_columns(s, h, z, t), memcpy(h, z, s->M * sizeof *h);
  if (s->op == MOVE) memmove(h, c->h + s->from_at, s->M * sizeof *h);
  for (size_t i = 0, m; s->op == UNITS && i < s->M; i++) {
    if (!lip_check_is_unit(s, i, &m)) continue;
    double a = h[i], b = h[m];
    if (!s->mate) h[i] = lip_check_unit(s, a);
    if (s->mate && (s->descending ? a > b : a < b)) h[i] = b, h[m] = a;
  }
}

double lip_check_unit(const step *s, double z) {
  double e = exp(-fabs(z));
  switch (s->unit) {
  case LIP_CHECK_TANH: return tanh(z);
  case LIP_CHECK_SIGMOID: return z >= 0 ? 1 / (1 + e) : e / (1 + e);
  case LIP_CHECK_SOFTPLUS: return fmax(z, 0) + log1p(exp(-fabs(s->slope * z))) / s->slope;
  default: return z >= 0 ? z : s->slope * z;
  }
}

double lip_check_error32(const step *s, double terms, double result, double size, double ones) {
  double n = (double)s->most * UNIT, larger = (terms + (result < terms ? result : terms)) / 2;
  if (s->exact) return 0;
  if (!(n < 0.25) || !(terms < FLT_MAX / 4)) return INFINITY;
  return (n * larger + UNIT * terms) / (1 - n) + ones * 0x1p-122 * ((double)s->N + 1) * (1 + size + s->abs);
}

double lip_check_unit_error(const step *s, bool executed, double size, double ones) {
  const double top = fmax(fabs(s->low), s->high) * size, beta = s->unit == LIP_CHECK_SOFTPLUS ? s->slope : 1;
  double own = ones * 0x1p-120; /* subnormal numbers taken for 0 */
  if (s->mate) return 0;
  if (!executed && s->unit == LIP_CHECK_LEAKY) return lip_check_up(0x1p-50 * top);
  if (!executed) return lip_check_up(0x1p-46 * (top + ones * (1 + 1 / beta)));
  if (!(top < FLT_MAX / 4)) return INFINITY;
  switch (s->unit) {
  case LIP_CHECK_TANH: own += 3 * UNIT * fmin(size, ones); break;
  case LIP_CHECK_SIGMOID: own += 3.5 * UNIT * ones; break;
  case LIP_CHECK_SOFTPLUS: own += 5 * UNIT * (size + ones * 0.7 / beta) + UNIT * size + own / beta; break;
  default: own += s->slope == 0 || s->slope == -1 ? 0 : UNIT * fabs(s->slope) * size;
  }
  return lip_check_up(own);
}
