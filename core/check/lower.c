/* Layers as steps over a stack of values, and what all claims need to know of a step. README.md, "Steps". */
#include <float.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/check/parts.h"
#define UNIT 0x1p-24              /* rounding to nearest in float32 */
#define LARGEST ((size_t)1 << 28) /* entries of a matrix, values of a segment */

static lip_status refuse(lip_err *err, const char *what) {
  return lip_fail(err, LIP_FORMAT, "%s", what);
}

/* ---- matrices: entries row by row, sorted into columns ---- */

typedef struct sink {
  step *s;
  size_t *next, *row; /* (N + 1) entries of the columns, then where the next one goes; (entries) */
  bool fill;
} sink;

static void put(sink *m, size_t i, size_t k, double v) {
  size_t at = m->next[m->fill ? k : k + 1]++;
  if (m->fill) m->row[at] = i, m->s->val[at] = v;
}

static void put_rows(sink *m, const lip_check_layer *l) {
  step *s = m->s;
  for (size_t i = 0; i < s->M; i++)
    if (l->kind == LIP_CHECK_DENSE)
      for (size_t k = 0; k < s->N; k++) put(m, i, k, (double)l->W[i * s->N + k]);
    else if (l->kind == LIP_CHECK_SUM)
      for (size_t k = 0; k < s->k; k++) put(m, i, k * s->M + i, (double)l->W[k]);
    else
      for (size_t e = l->start[i]; e < l->start[i + 1]; e++) put(m, i, l->column[e], l->value[e]);
}

/* The columns of step s, runs of neighbouring rows together. */
static void fill(lip_check *c, step *s, const lip_check_layer *l) {
  sink m = {s, lip_check_take(c, s->N + 1, 1), NULL, false};
  s->first = lip_check_take(c, s->N + 1, 1);
  if (c->failed) return;
  put_rows(&m, l);
  for (size_t k = 0; k < s->N; k++) m.next[k + 1] += m.next[k];
  size_t entries = m.next[s->N];
  s->val = lip_check_take(c, entries, 1);
  m.row = lip_alloc(entries, sizeof *m.row);
  m.fill = true;
  c->failed = c->failed || !m.row;
  if (!c->failed) put_rows(&m, l);
  for (int pass = 0; pass < 2 && !c->failed; pass++) {
    size_t n = 0;
    for (size_t k = 0, e = 0; k < s->N; s->first[++k] = n)
      for (size_t start = e; e < m.next[k]; e++) {
        bool more = e > start && m.row[e] == m.row[e - 1] + 1;
        if (pass && !more) s->run[n] = (run){m.row[e], 0};
        n += !more;
        if (pass) s->run[n - 1].n++;
      }
    if (!pass) s->run = lip_check_take(c, n, 2);
  }
  lip_free(m.row);
}

LIP_HOT void lip_check_columns(const step *s, const double *v, bool absolute, double *restrict out) {
  const double *w = s->val;
  for (size_t k = 0; k < s->N; k++)
    for (const run *r = s->run + s->first[k]; r < s->run + s->first[k + 1]; w += r++->n) {
      double *restrict to = out + r->row;
      if (v[k] == 0) continue;
      if (absolute)
        for (size_t i = 0; i < r->n; i++) to[i] += fabs(w[i] * v[k]);
      else
        for (size_t i = 0; i < r->n; i++) to[i] += w[i] * v[k];
    }
}

/* || |W| ||_{p->q}, and so >= ||W||_{p->q}: p = 1 the largest column in norm q, q = inf the largest row in the dual norm. */
static double plain_norm(lip_check *c, const step *s, int p, int q) {
  struct held *before = c->held;
  double top = 0, *sum = lip_check_take(c, s->N + s->M, 1);
  const double *w = s->val;
  for (size_t k = 0; sum && k < s->N; k++)
    for (const run *r = s->run + s->first[k]; r < s->run + s->first[k + 1]; w += r++->n)
      for (size_t i = 0; i < r->n; i++) {
        double *at = p == 1 ? sum + k : sum + r->row + i;
        *at = lip_check_add(*at, w[i], p == 1 ? q : DUAL(p));
      }
  for (size_t k = 0; sum && k < s->N + s->M; k++)
    top = fmax(top, lip_check_norm_of(sum[k], s->N + s->M, p == 1 ? q : DUAL(p)));
  lip_check_drop(c, before);
  return top;
}

/* Norm 2: at most the geometric mean of those of 1 and inf (Schur 1911). */
static double absolute_norm(lip_check *c, const step *s) {
  if (s->p != 2 || s->q != 2) return lip_check_up(plain_norm(c, s, s->p, s->q));
  return lip_check_up(sqrt(plain_norm(c, s, 1, 1)) * sqrt(plain_norm(c, s, 0, 0)));
}

/* ---- the stack ---- */

/* Segments while layers are read: their sizes and norms, of which every layer adds one at most. */
typedef struct stack {
  lip_check *c;
  size_t n, top, *size; /* segments; values in them */
  size_t *p;
} stack;

/* A new last step over the k segments on top, which leaves M values; NULL: no memory. */
static step *add_step(stack *t, kind op, size_t k, size_t M) {
  lip_check *c = t->c;
  if (c->n == c->entries && (c->entries = 2 * c->n + 16)) {
    step *more = lip_check_take(c, c->entries, (sizeof *more + 7) / 8);
    if (!more) return NULL;
    if (c->n > 0) memcpy(more, c->step, c->n * sizeof *more);
    c->step = more;
  }
  step *s = &c->step[c->n++];
  *s = (step){.op = op,
              .k = k,
              .M = M,
              .claim = SIZE_MAX,
              .low = 1,
              .high = 1,
              .p = t->n > 0 ? (int)t->p[t->n - 1] : 0};
  for (size_t i = 0; i < k; i++, t->n--) {
    s->N += t->size[t->n - 1];
    int p = (int)t->p[t->n - 1]; /* norms fall as exponents grow, 0 being the largest */
    s->p = s->p == 0 || p == 0 ? 0 : p > s->p ? p : s->p;
  }
  t->top += M - s->N;
  s->slot = t->n;
  s->at = t->top - M;
  s->q = s->p;
  t->size[t->n] = M;
  t->p[t->n++] = (size_t)s->p;
  c->stack = t->top > c->stack ? t->top : c->stack;
  return s;
}

/* Segment `from`, its first value at from_at, to slot `to`, those above it gone. */
static void move(stack *t, size_t from, size_t to) {
  size_t at = 0, from_at = 0, M = t->size[from];
  for (size_t i = 0; i < from; i++) from_at += t->size[i], at += i < to ? t->size[i] : 0;
  if (to > from) at = t->top;
  int p = (int)t->p[from];
  while (t->n > to) t->top -= t->size[--t->n];
  step *s = add_step(t, MOVE, 0, 0);
  if (!s) return;
  s->from = from, s->from_at = from_at, s->at = at, s->M = s->N = M, s->exact = true;
  s->p = s->q = p;
  t->n = to + 1, t->size[to] = M, t->p[to] = (size_t)p, t->top = at + M;
  s->slot = to;
  t->c->stack = t->top > t->c->stack ? t->top : t->c->stack;
}

/* Columns, bias and what is known of a matrix. */
static lip_status finish(lip_check *c, step *s, const lip_check_layer *l, lip_err *err) {
  fill(c, s, l);
  s->bias = l->b || l->bias ? lip_check_take(c, s->M, 1) : NULL;
  struct held *before = c->held;
  double *terms = lip_check_take(c, s->M, 1), sum = 0, *w = s->val;
  if (c->failed) return LIP_OK;
  for (size_t i = 0; s->bias && i < s->M; i++)
    sum += fabs(s->bias[i] = l->bias ? l->bias[i] : (double)l->b[i]);
  s->exact = l->more == 0;
  for (const run *r = s->run; r < s->run + s->first[s->N]; r++)
    for (size_t i = 0; i < r->n; i++, w++) {
      sum += fabs(*w);
      s->exact = s->exact && (*w == 0 || (*w == 1 && terms[r->row + i] == 0));
      terms[r->row + i] += *w != 0;
    }
  for (size_t i = 0; i < s->M; i++) {
    s->exact = s->exact && (!s->bias || s->bias[i] == 0);
    s->most = terms[i] > (double)s->most ? (size_t)terms[i] : s->most;
  }
  s->most += l->more;
  lip_check_drop(c, before);
  return sum < INFINITY ? LIP_OK : refuse(err, "weights: not all are finite");
}

static lip_status add_matrix(stack *t, const lip_check_layer *l, size_t M, lip_err *err) {
  lip_check *c = t->c;
  bool sums = l->kind == LIP_CHECK_SUM;
  step *s = add_step(t, LINEAR, sums ? l->M : 1, M);
  if (!s) return LIP_OK;
  lip_status status = finish(c, s, l, err);
  if (status || c->failed) return status;
  if (l->kind == LIP_CHECK_DENSE || l->claimed) {
    if (c->claimed >= c->claims->dense) return refuse(err, "net: shapes of layers");
    s->claim = c->claimed++;
    s->q = c->claims->path[s->claim + 1];
    if ((s->q != 0 && s->q != 1 && s->q != 2) || (s->q != s->p && s->q != 0 && (s->q != 2 || s->p != 1)))
      return refuse(err, "path: not a path of norms 1, 2, inf upwards");
    t->p[t->n - 1] = (size_t)s->q;
  }
  s->weight = sums ? l->W : NULL;
  s->abs = absolute_norm(c, s);
  return LIP_OK;
}

/* ---- layers ---- */

static lip_status add_units(stack *t, const lip_check_layer *l, lip_err *err) {
  double a = l->slope;
  bool leaky = l->kind == LIP_CHECK_LEAKY, plus = l->kind == LIP_CHECK_SOFTPLUS;
  if ((leaky && !(fabs(a) <= 0x1p20)) || (plus && !(a >= 0x1p-20 && a <= 0x1p20)))
    return refuse(err, "net: a nonlinearity");
  step *s = leaky && a == 1 ? NULL : add_step(t, UNITS, 1, t->size[t->n - 1]);
  if (!s) return LIP_OK;
  s->unit = l->kind, s->slope = a;
  s->low = leaky ? fmin(a, 1) : 0;
  s->high = leaky ? fmax(a, 1) : l->kind == LIP_CHECK_SIGMOID ? 0.25 : 1;
  t->c->units += s->M;
  return LIP_OK;
}

static lip_status add_pairs(stack *t, const lip_check_layer *l, lip_err *err) {
  size_t M = t->size[t->n - 1], *own = NULL;
  if (!l->mate && M % 2) return refuse(err, "net: a nonlinearity");
  for (size_t i = 0; l->mate && i < M; i++)
    if (l->mate[i] >= M || l->mate[l->mate[i]] != i) return refuse(err, "net: a nonlinearity");
  step *s = add_step(t, PAIRS, 1, M);
  if (!s || (!l->mate && !(own = lip_check_take(t->c, M, 1)))) return LIP_OK;
  for (size_t i = 0; own && i < M; i++) own[i] = i ^ 1;
  s->mate = l->mate ? l->mate : own;
  s->descending = l->kind == LIP_CHECK_MAXMIN;
  for (size_t i = 0; i < M; i++) t->c->units += s->mate[i] < i;
  return LIP_OK;
}

/* Rows in order, columns that there are. */
static bool is_sparse(const lip_check_layer *l, size_t width) {
  bool fits = l->N == width && l->M > 0 && l->start[0] == 0;
  for (size_t i = 0; fits && i < l->M; i++) fits = l->start[i] <= l->start[i + 1];
  for (size_t e = 0; fits && e < l->start[l->M]; e++) fits = l->column[e] < width;
  return fits;
}

static lip_status read_layer(stack *t, const lip_check_layer *l, lip_err *err) {
  size_t width = t->size[t->n - 1], k = l->M, M = 0;
  bool fits = true;
  switch (l->kind) {
  case LIP_CHECK_DENSE: fits = l->N == width && l->M > 0 && l->M < LARGEST / width; break;
  case LIP_CHECK_SPARSE: fits = is_sparse(l, width); break;
  case LIP_CHECK_COPY: fits = k < t->n; break;
  case LIP_CHECK_DROP: fits = t->n > 1; break;
  case LIP_CHECK_JOIN:
  case LIP_CHECK_SUM:
    fits = k > 0 && k <= t->n;
    for (size_t i = 0; fits && i < k; M += t->size[t->n - 1 - i++])
      fits = l->kind == LIP_CHECK_JOIN || t->size[t->n - 1 - i] == width;
    break;
  case LIP_CHECK_MAXMIN:
  case LIP_CHECK_MINMAX: return add_pairs(t, l, err);
  default: return add_units(t, l, err);
  }
  if (!fits) return refuse(err, "net: shapes of layers");
  if (l->kind == LIP_CHECK_COPY) return move(t, t->n - 1 - k, t->n), LIP_OK;
  if (l->kind == LIP_CHECK_DROP) return move(t, t->n - 1, t->n - 2), LIP_OK;
  if (l->kind == LIP_CHECK_JOIN) return (void)add_step(t, JOIN, k, M), LIP_OK;
  return add_matrix(t, l, l->kind == LIP_CHECK_SUM ? width : l->M, err);
}

lip_status lip_check_lower(lip_check *c, lip_err *err) {
  const lip_check_net *net = c->net;
  int p = c->claims->path[0];
  c->slots = net->n + 2;
  stack t = {c, 1, net->n_in, lip_check_take(c, c->slots, 1), lip_check_take(c, c->slots, 1)};
  lip_status status =
      p == 0 || p == 1 || p == 2 ? LIP_OK : refuse(err, "path: not a path of norms 1, 2, inf upwards");
  if (c->failed) return LIP_OK;
  t.size[0] = c->stack = net->n_in;
  t.p[0] = (size_t)p;
  for (size_t i = 0; i < net->n && !status && !c->failed; i++) status = read_layer(&t, &net->layer[i], err);
  if (status || c->failed) return status;
  if (c->claimed != c->claims->dense || t.n != 1 || t.size[0] != net->n_out)
    return refuse(err, "net: shapes of layers");
  if (c->n > 0 && c->step[c->n - 1].op == LINEAR && !c->step[c->n - 1].weight) return LIP_OK;
  size_t n = net->n_out, *same = lip_check_take(c, n + 1, 1); /* what all claims end with is a matrix */
  double *ones = lip_check_take(c, n, 1);
  if (c->failed) return LIP_OK;
  for (size_t i = 0; i <= n; i++) same[i] = i, ones[i < n ? i : 0] = 1;
  lip_check_layer identity = {
      .kind = LIP_CHECK_SPARSE, .M = n, .N = n, .start = same, .column = same, .value = ones};
  return add_matrix(&t, &identity, n, err);
}

/* ---- values and float32 ---- */

void lip_check_linear(const step *s, const double *h, double *z, double *t) {
  for (size_t i = 0; i < s->M; i++) z[i] = s->bias ? s->bias[i] : 0, t[i] = fabs(z[i]);
  lip_check_columns(s, h, false, z);
  lip_check_columns(s, h, true, t);
}

void lip_check_apply(const step *s, double *h) {
  double *v = h + s->at;
  if (s->op == MOVE) memmove(v, h + s->from_at, s->M * sizeof *v);
  for (size_t i = 0; s->op == UNITS && i < s->M; i++) v[i] = lip_check_unit(s, v[i]);
  for (size_t i = 0; s->op == PAIRS && i < s->M; i++) {
    size_t j = s->mate[i]; /* j < i: seen once */
    if (j < i && (s->descending ? v[i] > v[j] : v[i] < v[j])) {
      double other = v[i];
      v[i] = v[j], v[j] = other;
    }
  }
}

double lip_check_ones(const step *s) {
  return s->q == 0 ? 1 : s->q == 2 ? lip_check_up(sqrt((double)s->M)) : (double)s->M;
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

double lip_check_unit64(const step *s, double size, double ones) {
  double top = fmax(fabs(s->low), s->high) * size;
  if (s->unit == LIP_CHECK_LEAKY) return lip_check_up(0x1p-50 * top);
  return lip_check_up(0x1p-46 * (top + ones * (1 + (s->unit == LIP_CHECK_SOFTPLUS ? 1 / s->slope : 0))));
}

double lip_check_error32(size_t n, double terms, double result, double size, double entry) {
  double nu = (double)n * UNIT, larger = (terms + (result < terms ? result : terms)) / 2;
  if (!(nu < 0.25) || !(terms < FLT_MAX / 4)) return INFINITY;
  return (nu * larger + UNIT * terms) / (1 - nu) + 0x1p-122 * ((double)n + 1) * (1 + size + entry);
}

double lip_check_unit32(const step *s, double size, double ones) {
  double own = ones * 0x1p-120; /* subnormal numbers taken for 0 */
  if (!(fmax(fabs(s->low), s->high) * size < FLT_MAX / 4)) return INFINITY;
  switch (s->unit) {
  case LIP_CHECK_TANH: own += 3 * UNIT * fmin(size, ones); break;
  case LIP_CHECK_SIGMOID: own += 3.5 * UNIT * ones; break;
  case LIP_CHECK_SOFTPLUS:
    own += 5 * UNIT * (size + ones * 0.7 / s->slope) + UNIT * size + own / s->slope;
    break;
  default: own += s->slope == 0 || s->slope == -1 ? 0 : UNIT * fabs(s->slope) * size;
  }
  return lip_check_up(own);
}
