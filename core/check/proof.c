/* Positive definiteness by Cholesky, the quadratic inequality and that of absolute values; README.md derives them. */
#include "core/check/proof.h"

#include <math.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/check/parts.h"
#define LARGEST ((size_t)1 << 26) /* numbers in one matrix */
#define IN_RANGE(v) ((v) >= 0x1p-200 && (v) <= 0x1p200)

/* row[i..n) += sum_q w_q g_q[i..n) over four rows k..k+3 of G, those from m on left out; w_q = c_q g_q[i]. */
LIP_INLINE void add_four(double *row, size_t i, size_t n, const double *G, size_t ld, size_t k, size_t m,
                         const double *c, double sign) {
  double w[4];
  const double *g[4];
  for (size_t q = 0; q < 4; q++) {
    g[q] = G + (k + q < m ? k + q : k) * ld;
    w[q] = k + q < m ? sign * (c ? c[k + q] : 1) * g[q][i] : 0;
  }
  const double *a = g[0], *b = g[1], *d = g[2], *e = g[3];
  if (w[0] == 0 && w[1] == 0 && w[2] == 0 && w[3] == 0) return;
  for (size_t j = i; j < n; j++) row[j] += (w[0] * a[j] + w[1] * b[j]) + (w[2] * d[j] + w[3] * e[j]);
}

/* A[i][j] += sign sum_k c_k g_k[i] g_k[j] for i <= j < n, over m rows g_k of G. */
LIP_HOT static void add_gram(double *A, size_t lda, size_t n, const double *G, size_t ldg, size_t m,
                             const double *c, double sign) {
  for (size_t k = 0; k < m; k += 4)
    for (size_t i = 0; i < n; i++) add_four(A + i * lda, i, n, G, ldg, k, m, c, sign);
}

/* A = U'U in place, upper triangle; false as soon as a pivot is not positive. */
LIP_HOT static bool cholesky(const lip_check *c, double *A, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double *row = A + i * n;
    for (size_t k = 0; k < i; k += 4) add_four(row, i, n, A, n, k, i, NULL, -1);
    if (!(row[i] > 0) || !(row[i] < INFINITY) || lip_check_stopped(c)) return false;
    double root = sqrt(row[i]);
    for (size_t j = i; j < n; j++) row[j] /= root;
  }
  return true;
}

/* out += w a, outa += |w| b: one term of a form and of its twin. */
LIP_HOT static void add_form(double *restrict out, double *restrict outa, double w, const double *a,
                             const double *b, size_t n) {
  double u = fabs(w);
  for (size_t j = 0; w != 0 && j < n; j++) {
    out[j] += w * a[j];
    outa[j] += u * b[j];
  }
}

/* m rows of G and of its twin, of which the first `reach` entries may be nonzero. */
typedef struct rows {
  const double *g, *ga, *c;
  size_t m, ld, reach;
} rows;

/* *s = 2^k with s^2 a in [1/2, 2): false when a is not positive or out of all proportion. */
static bool scale(double a, double *s) {
  int e;
  if (!(a > 0) || !(a < INFINITY)) return false;
  (void)frexp(a, &e);
  *s = ldexp(1, -(e >= 0 ? e / 2 : -((1 - e) / 2)));
  return e >= -400 && e <= 400;
}

/* Proves that diag(D) minus the rows' sum is positive semidefinite; entries of the rows have up to `ops` roundings. */
static bool below(lip_check *c, const double *D, size_t n, const rows *part, size_t parts, size_t ops) {
  double *A = lip_check_take(c, n, n), *s = lip_check_take(c, n, 1), *error = lip_check_take(c, n, 1);
  double most = 0, trace = 0, top = 0, phi = GAMMA(n + 1) / (1 - GAMMA(n + 1));
  size_t total = 2 * ops + 16;
  if (c->failed) return false;
  for (size_t i = 0; i < n; i++) A[i * n + i] = D[i];
  for (size_t k = 0; k < parts; k++) {
    add_gram(A, n, part[k].reach, part[k].g, part[k].ld, part[k].m, part[k].c, -1);
    total += part[k].m;
  }
  for (size_t i = 0; i < n; i++)
    if (!scale(A[i * n + i], &s[i])) return false;
  for (size_t i = 0; i < n; i++) error[i] = s[i] * D[i]; /* row sums of S (D + sum c |g||g|') S but for s_i */
  for (const rows *b = part; b < part + parts; b++)
    for (size_t r = 0; r < b->m; r++) {
      const double *g = b->ga + r * b->ld;
      double sum = 0;
      for (size_t i = 0; i < b->reach; i++) sum += g[i] * s[i];
      for (size_t i = 0; i < b->reach; i++) error[i] += g[i] * (b->c[r] * sum);
    }
  for (size_t i = 0; i < n; i++) {
    if (!(s[i] * error[i] < INFINITY)) return false;
    most = s[i] * error[i] > most ? s[i] * error[i] : most;
    for (size_t j = i; j < n; j++) A[i * n + j] *= s[i] * s[j];
    trace += A[i * n + i];
    top = A[i * n + i] > top ? A[i * n + i] : top;
  }
  /* twins and sums are below their exact values by far less than the factor 2 */
  double shift = 2 * (GAMMA(total) * most + phi * trace + 0x1p-53 * top) + 0x1p-250;
  for (size_t i = 0; i < n; i++) A[i * n + i] -= shift;
  return cholesky(c, A, n);
}

bool lip_check_spectral(lip_check *c, const step *S, double claim) {
  size_t n = S->M < S->N ? S->M : S->N, m = S->M < S->N ? S->N : S->M;
  if (m > LARGEST / n) return false;
  double *G = lip_check_take(c, m, n), *Ga = lip_check_take(c, m, n), *one = lip_check_take(c, m, 1),
         *D = lip_check_take(c, n, 1), top = 0, *w = S->val;
  int exponent;
  if (c->failed) return false;
  for (size_t k = 0; k < S->N; k++)
    for (const run *r = S->run + S->first[k]; r < S->run + S->first[k + 1]; w += r++->n)
      for (size_t i = r->row; i < r->row + r->n; i++) {
        double v = G[S->M < S->N ? k * n + i : i * n + k] = w[i - r->row];
        top = fabs(v) > top ? fabs(v) : top;
      }
  if (top == 0) return true;
  (void)frexp(top, &exponent); /* exact scaling: entries below 1, no square underflows that matters */
  double s = ldexp(1, -exponent);
  for (size_t k = 0; k < m * n; k++) Ga[k] = fabs(G[k] *= s), one[k / n] = 1;
  for (size_t k = 0; k < n; k++) D[k] = claim * s * (claim * s) * (1 - 0x1p-51);
  return below(c, D, n, &(rows){G, Ga, one, m, n, n}, 1, 0);
}

/* ---- forms ---- */

/* The entries of a form that may be nonzero. */
typedef struct span {
  size_t from, to;
} span;

static void add_unit(forms *f, const step *s, size_t v) {
  f->reach[v] = f->base + v;
  f->C[v] = s->op == PAIRS ? 0 : (s->low + s->high) / 2;
  f->r[v] = s->op == PAIRS ? 1 : (s->high - s->low) / 2;
  if (s->low + s->high - s->high != s->low) f->r[v] *= 1 + 0x1p-50; /* one is tiny, and both were rounded */
}

/* Units take the forms of their inputs and leave those of their outputs in their place: y = C z + w with |w| <= r |z|; of a
 * pair (s + w)/2 and (s - w)/2, the larger one first, with s = z_0 + z_1 and |w| <= |z_0 - z_1|. */
static void follow(const step *s, forms *f, span *sp, size_t *var) {
  size_t K = f->K;
  for (size_t i = 0; i < s->M; i++) {
    size_t m = s->op == PAIRS ? s->mate[i] : i, own = f->base + *var;
    if (s->op == PAIRS && m >= i) continue;
    double *z = f->A + (s->at + i) * K, *za = f->Aa + (s->at + i) * K, *h = f->H + *var * K,
           *ha = f->Ha + *var * K;
    double *y = f->A + (s->at + m) * K, *ya = f->Aa + (s->at + m) * K;
    add_unit(f, s, *var);
    span *a = &sp[s->at + i], *b = &sp[s->at + m];
    *a = *b = (span){a->from < b->from ? a->from : b->from, own + 1};
    for (size_t j = a->from; j < own; j++)
      if (s->op == UNITS) {
        h[j] = z[j], ha[j] = za[j];
        z[j] *= f->C[*var], za[j] *= fabs(f->C[*var]);
      } else {
        double sum = z[j] + y[j];
        h[j] = y[j] - z[j], ha[j] = ya[j] + za[j];
        z[j] = y[j] = sum / 2, za[j] = ya[j] = ha[j] / 2;
      }
    y[own] = s->op == UNITS ? 1 : s->descending ? 0.5 : -0.5;
    z[own] = s->op == UNITS ? 1 : -y[own];
    za[own] = ya[own] = fabs(z[own]);
    ++*var;
  }
}

/* The forms of a step's outputs from those of its inputs; `root` in place of the first matrix. */
static bool through(lip_check *c, const step *s, const double *root, forms *f, span *sp) {
  size_t K = f->K, M = s->M;
  struct held *before = c->held;
  double *Z = lip_check_take(c, M, K), *Za = lip_check_take(c, M, K), *w = s->val;
  span *out = lip_check_take(c, M, 2);
  if (c->failed) return false;
  for (size_t i = 0; i < M; i++) out[i] = (span){root ? 0 : K, root ? f->base : 0};
  for (size_t i = 0; root && i < M; i++)
    for (size_t k = 0; k < f->base; k++)
      Z[i * K + k] = root[i * f->base + k], Za[i * K + k] = fabs(Z[i * K + k]);
  for (size_t k = 0; !root && k < s->N; k++) {
    const span *in = &sp[s->at + k];
    const double *a = f->A + (s->at + k) * K, *b = f->Aa + (s->at + k) * K;
    for (const run *r = s->run + s->first[k]; r < s->run + s->first[k + 1]; w += r++->n)
      for (size_t i = r->row; i < r->row + r->n && in->from < in->to; i++) {
        add_form(Z + i * K + in->from, Za + i * K + in->from, w[i - r->row], a + in->from, b + in->from,
                 in->to - in->from);
        out[i] =
            (span){in->from < out[i].from ? in->from : out[i].from, in->to > out[i].to ? in->to : out[i].to};
      }
  }
  for (size_t i = 0; i < M; i++)
    for (size_t k = out[i].from; k < out[i].to && !s->exact; k++)
      Za[i * K + k] += 0x1p-1000; /* times u: more than underflow takes */
  memcpy(f->A + s->at * K, Z, M * K * sizeof *Z);
  memcpy(f->Aa + s->at * K, Za, M * K * sizeof *Za);
  memcpy(sp + s->at, out, M * sizeof *out);
  lip_check_drop(c, before);
  f->ops += s->N + 8;
  return true;
}

/* All forms; `root` (n, n) stands for the first matrix (n = its rows), or NULL: the input itself. */
static bool forms_make(lip_check *c, const double *root, forms *f) {
  size_t var = 0, n = c->stack, vars = c->units;
  *f = (forms){.base = root ? c->step->M : c->net->n_in, .vars = vars};
  size_t K = f->base + vars;
  if (K > LARGEST / (n + vars + 1)) return false;
  f->H = lip_check_take(c, vars, K);
  f->Ha = lip_check_take(c, vars, K);
  f->r = lip_check_take(c, vars, 2);
  f->reach = lip_check_take(c, vars, 1);
  f->A = lip_check_take(c, n, K);
  f->Aa = lip_check_take(c, n, K);
  span *sp = lip_check_take(c, n, 2);
  if (c->failed) return false;
  f->C = f->r + vars;
  f->K = K;
  for (size_t k = 0; k < f->base && k < n; k++)
    f->A[k * K + k] = f->Aa[k * K + k] = 1, sp[k] = (span){k, k + 1};
  for (const step *s = c->step; s + 1 < c->step + c->n; s++) {
    if (s->op == LINEAR && !through(c, s, s == c->step ? root : NULL, f, sp)) return f->K = 0, false;
    if (s->op == UNITS || s->op == PAIRS) follow(s, f, sp, &var);
    if (s->op != MOVE) continue;
    memmove(f->A + s->at * K, f->A + s->from_at * K, s->M * K * sizeof *f->A);
    memmove(f->Aa + s->at * K, f->Aa + s->from_at * K, s->M * K * sizeof *f->Aa);
    memmove(sp + s->at, sp + s->from_at, s->M * sizeof *sp);
  }
  f->ops += c->step[c->n - 1].N + 8; /* of lip_check_last_form */
  for (size_t k = 0; k < vars * K; k++) f->top = fmax(f->top, f->Ha[k]);
  for (size_t k = 0; k < c->step[c->n - 1].N * K; k++) f->top = fmax(f->top, f->Aa[k]);
  return true;
}

double *lip_check_last_form(lip_check *c, const forms *f, size_t i, size_t j) {
  size_t N = c->step[c->n - 1].N;
  double *g = lip_check_take(c, f->K, 2);
  for (size_t k = 0; g && k < N; k++)
    add_form(g, g + f->K, c->last[i * N + k] - c->last[j * N + k], f->A + k * f->K, f->Aa + k * f->K, f->K);
  for (size_t v = 0; g && v < f->K; v++) g[f->K + v] += 0x1p-1000;
  return g;
}

/* R (n, n) with R R' - W diag(d)^-1 W' positive semidefinite, lower triangular; NULL: none found. Rows are scaled by
 * powers of two, s_i^2 w_i D^-1 w_i' in [1/2, 2), while Cholesky works. */
static double *square_root(lip_check *c, const step *b, const double *d) {
  size_t n = b->M, N = b->N;
  double *G = lip_check_take(c, N, n), *w = lip_check_take(c, N, 1), *s = lip_check_take(c, n, 1),
         *sums = lip_check_take(c, n, 1), *U = lip_check_take(c, n, n), *R = lip_check_take(c, n, n),
         *v = b->val, most = 0, trace = 0;
  if (c->failed) return NULL;
  for (size_t k = 0; k < N; k++)
    for (const run *r = b->run + b->first[k]; r < b->run + b->first[k + 1]; v += r++->n)
      for (size_t i = 0; i < r->n; i++) G[k * n + r->row + i] = v[i];
  for (size_t k = 0; k < N; k++) w[k] = d ? 1 / d[k] : 1;
  for (size_t i = 0; i < n; i++) {
    double a = 0;
    for (size_t k = 0; k < N; k++) a += G[k * n + i] * G[k * n + i] * w[k];
    if (!scale(a, &s[i])) s[i] = 1; /* a row of zeros */
  }
  for (size_t k = 0; k < N; k++) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += fabs(G[k * n + i] *= s[i]);
    for (size_t i = 0; i < n; i++) sums[i] += fabs(G[k * n + i]) * w[k] * sum;
  }
  add_gram(U, n, n, G, n, N, w, 1);
  for (size_t i = 0; i < n; i++) {
    most = sums[i] > most ? sums[i] : most;
    trace += U[i * n + i];
  }
  double shift = 8 * (GAMMA(N + 8) * most + GAMMA(n + 4) * trace) + 0x1p-250;
  for (size_t i = 0; i < n; i++) U[i * n + i] += shift;
  if (!(GAMMA(n + 4) * (double)n < 0.25) || !cholesky(c, U, n)) return NULL;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k <= i; k++) R[i * n + k] = U[k * n + i] / s[i];
  return R;
}

/* The inequality of one target over forms that are there. */
static bool inequality(lip_check *c, const forms *f, size_t target, const double *d) {
  const lip_check_claims *a = c->claims;
  const double *lambda = a->lambda + target * a->units, one = 1;
  double *D = lip_check_take(c, f->K, 1), *t = lip_check_take(c, f->vars, 1), rho = a->rho[target];
  double *g = lip_check_last_form(c, f, (size_t)a->target[2 * target], (size_t)a->target[2 * target + 1]);
  rows *part = lip_check_take(c, c->units + 1, sizeof *part / 8);
  size_t parts = 1;
  if (c->failed || !(f->top <= 0x1p150) || !IN_RANGE(rho)) return false;
  for (size_t k = 0; k < f->K; k++)
    if (!(g[f->K + k] <= 0x1p150)) return false;
  part[0] = (rows){g, g + f->K, &one, 1, f->K, f->K};
  for (size_t k = 0; k < f->base; k++) D[k] = d ? rho * d[k] : rho;
  for (size_t v = 0; v < f->vars; v++) {
    double l = D[f->base + v] = lambda[v];
    if (!IN_RANGE(l)) return false;
    t[v] = l * f->r[v] * f->r[v];
    if (v % 8 == 0) part[parts++] = (rows){f->H + v * f->K, f->Ha + v * f->K, t + v, 0, f->K, f->reach[v]};
    part[parts - 1].m++;
    part[parts - 1].reach = f->reach[v];
  }
  return below(c, D, f->K, part, parts, f->ops);
}

bool lip_check_quadratic(lip_check *c, size_t target) {
  const double *d = c->claims->weight ? c->claims->weight + target * c->net->n_in : NULL;
  bool shorter = c->n > 1 && c->step->op == LINEAR && c->step->M < c->step->N;
  forms own = {0}, *f = shorter ? &c->shorter : &c->input;
  struct held *before = c->held;
  if (shorter && d) f = &own; /* weights make another u for every target */
  double *root = f->K == 0 && shorter ? square_root(c, c->step, d) : NULL;
  bool made = f->K > 0 || ((root || !shorter) && forms_make(c, root, f));
  if (f != &own && made) before = c->held; /* these forms stay */
  bool proved = made && inequality(c, f, target, shorter ? NULL : d);
  lip_check_drop(c, before);
  return proved;
}

const forms *lip_check_forms(lip_check *c) {
  return c->input.K > 0 || forms_make(c, NULL, &c->input) ? &c->input : NULL;
}

/* out (n_in) = |g_x| + sum_v |g_v| r_v spread_v, rounded up together with g's own error. */
LIP_HOT static void spread(const forms *f, const double *all, const double *g, const double *ga, size_t reach,
                           double *restrict out) {
  size_t n = f->base;
  double error = 2 * GAMMA(f->ops), factor = 1 + 2 * GAMMA(reach - n + 8);
  for (size_t k = 0; k < n; k++) out[k] = fabs(g[k]) + error * ga[k];
  for (size_t v = 0; n + v < reach; v++) {
    double w = (fabs(g[n + v]) + error * ga[n + v]) * f->r[v];
    const double *s = all + v * n;
    for (size_t k = 0; w != 0 && k < n; k++) out[k] += w * s[k];
  }
  for (size_t k = 0; k < n; k++) out[k] = out[k] * factor + FLOOR;
}

double lip_check_abs(lip_check *c, size_t i, size_t j) {
  forms *f = &c->input;
  int dual = DUAL(c->claims->path[0]);
  double total = 0;
  if (!lip_check_forms(c)) return INFINITY;
  if (!c->spread && (c->spread = lip_check_take(c, f->vars, f->base)))
    for (size_t v = 0; v < f->vars; v++)
      spread(f, c->spread, f->H + v * f->K, f->Ha + v * f->K, f->reach[v], c->spread + v * f->base);
  struct held *before = c->held;
  double *g = lip_check_last_form(c, f, i, j), *sum = lip_check_take(c, f->base, 1);
  if (c->failed) return INFINITY;
  spread(f, c->spread, g, g + f->K, f->K, sum);
  bool finite = true;
  for (size_t k = 0; k < f->base; k++) {
    total = lip_check_add(total, sum[k], dual);
    finite = finite && sum[k] < INFINITY; /* a maximum overlooks NaN */
  }
  lip_check_drop(c, before);
  return finite ? lip_check_up(lip_check_norm_of(total, f->base, dual)) : (double)INFINITY;
}
