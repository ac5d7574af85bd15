/* Positive definiteness by Cholesky, the quadratic inequality and that of absolute values; README.md derives them. */
#include "core/check/proof.h"

#include <math.h>

#include "core/base/simd.h"
#include "core/check/parts.h"
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
LIP_HOT static bool cholesky(double *A, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double *row = A + i * n;
    for (size_t k = 0; k < i; k += 4) add_four(row, i, n, A, n, k, i, NULL, -1);
    if (!(row[i] > 0) || !(row[i] < INFINITY)) return false;
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
  return cholesky(A, n);
}

bool lip_check_spectral(lip_check *c, const block *b, double claim) {
  size_t n = b->M < b->N ? b->M : b->N, m = b->M < b->N ? b->N : b->M;
  double *G = lip_check_take(c, m, n), *Ga = lip_check_take(c, m, n), *one = lip_check_take(c, m, 1),
         *D = lip_check_take(c, n, 1);
  int exponent;
  float top = 0;
  if (c->failed) return false;
  for (size_t k = 0; k < m * n; k++) top = fabsf(b->W[k]) > top ? fabsf(b->W[k]) : top;
  if (top == 0) return true;
  (void)frexpf(top, &exponent); /* exact scaling: entries below 1, no square underflows that matters */
  double s = ldexp(1, -exponent);
  for (size_t i = 0; i < b->M; i++)
    for (size_t k = 0; k < b->N; k++) G[b->M < b->N ? k * n + i : i * n + k] = (double)b->W[i * b->N + k] * s;
  for (size_t k = 0; k < m * n; k++) Ga[k] = fabs(G[k]), one[k / n] = 1;
  for (size_t k = 0; k < n; k++) D[k] = claim * s * (claim * s) * (1 - 0x1p-51);
  return below(c, D, n, &(rows){G, Ga, one, m, n, n}, 1, 0);
}

/* The nonlinearity behind block b takes the forms Z (M, K) and leaves those of its outputs in their place: leaky
 * y = C z + w with |w| <= r |z|, maxmin (s + w)/2 and (s - w)/2 with s = z_0 + z_1 and |w| <= |z_0 - z_1|. */
static void follow(const block *b, forms *f, double *Z, double *Za, size_t *var, size_t units) {
  size_t K = f->K, reach = f->base + *var;
  double C = b->maxmin ? 0.5 : (1 + b->slope) / 2;
  for (size_t i = 0; i < b->M; i += b->maxmin ? 2 : 1, ++*var) {
    double *z = Z + i * K, *za = Za + i * K, *h = f->H + *var * K, *ha = f->Ha + *var * K;
    size_t own = f->base + *var;
    f->reach[*var] = reach;
    f->unit[*var] = units + i + b->maxmin;
    f->r[*var] = b->maxmin ? 1 : fabs(1 - b->slope) / 2;
    for (size_t j = 0; j < reach; j++) {
      double other = b->maxmin ? z[K + j] : 0, s = z[j] + other;
      h[j] = z[j] - other;
      ha[j] = za[j] + (b->maxmin ? za[K + j] : 0);
      z[j] = C * s;
      za[j] = fabs(C) * ha[j];
      if (b->maxmin) z[K + j] = z[j], za[K + j] = za[j];
    }
    z[own] = za[own] = b->maxmin ? 0.5 : 1;
    if (b->maxmin) z[K + own] = -0.5, za[K + own] = 0.5;
  }
}

/* All forms; `root` (n, n) stands for the first matrix (n = its rows), or NULL: the input itself. */
static bool forms_make(lip_check *c, const double *root, forms *f) {
  const block *b = c->block;
  size_t units = 0, var = 0;
  *f = (forms){.base = root ? b->M : c->net->n_in};
  for (size_t l = 0; l + 1 < c->n; l++) f->vars += !b[l].follows ? 0 : b[l].maxmin ? b[l].M / 2 : b[l].M;
  size_t K = f->base + f->vars;
  f->H = lip_check_take(c, f->vars, K);
  f->Ha = lip_check_take(c, f->vars, K);
  f->r = lip_check_take(c, f->vars, 1);
  f->reach = lip_check_take(c, f->vars, 2);
  f->A = lip_check_take(c, f->base, K);
  f->Aa = lip_check_take(c, f->base, K);
  if (c->failed) return false;
  f->unit = f->reach + f->vars;
  f->K = K;
  for (size_t k = 0; k < f->base; k++) f->A[k * K + k] = f->Aa[k * K + k] = 1;
  for (size_t l = 0; l + 1 < c->n; units += b->M, b++, l++) {
    double *Z = lip_check_take(c, b->M, K), *Za = lip_check_take(c, b->M, K);
    for (size_t i = 0; !c->failed && i < b->M; i++)
      for (size_t k = 0; k < (l == 0 ? f->base : b->N); k++) {
        double w = l == 0 && root ? root[i * f->base + k] : (double)b->W[i * b->N + k];
        if (l == 0) /* the forms before are the input */
          Z[i * K + k] = w, Za[i * K + k] = fabs(w);
        else
          add_form(Z + i * K, Za + i * K, w, f->A + k * K, f->Aa + k * K, f->base + var);
      }
    if (c->failed) return f->K = 0, false;
    for (size_t k = 0; l > 0 && k < b->M * K; k++) /* times u: more than underflow takes */
      Za[k] += k % K < f->base + var ? 0x1p-1000 : 0;
    if (b->follows) follow(b, f, Z, Za, &var, units);
    f->ops += b->N + 8;
    f->A = Z;
    f->Aa = Za;
  }
  f->ops += b->N + 8; /* of last_form */
  for (size_t k = 0; k < f->vars * K; k++) f->top = fmax(f->top, f->Ha[k]);
  for (size_t k = 0; k < b->N * K; k++) f->top = fmax(f->top, f->Aa[k]);
  return true;
}

/* The form of z_i - z_j, its twin behind it. */
static double *last_form(lip_check *c, const forms *f, size_t i, size_t j) {
  const block *b = &c->block[c->n - 1];
  double *g = lip_check_take(c, f->K, 2);
  for (size_t k = 0; g && k < b->N; k++)
    add_form(g, g + f->K, (double)b->W[i * b->N + k] - (double)b->W[j * b->N + k], f->A + k * f->K,
             f->Aa + k * f->K, f->K);
  for (size_t v = 0; g && v < f->K; v++) g[f->K + v] += 0x1p-1000;
  return g;
}

/* R (n, n) with R R' - W diag(d)^-1 W' positive semidefinite, lower triangular; NULL: none found. Rows are scaled by
 * powers of two, s_i^2 w_i D^-1 w_i' in [1/2, 2), while Cholesky works. */
static double *square_root(lip_check *c, const block *b, const double *d) {
  size_t n = b->M, N = b->N;
  double *G = lip_check_take(c, N, n), *w = lip_check_take(c, N, 1), *s = lip_check_take(c, n, 1),
         *sums = lip_check_take(c, n, 1), *U = lip_check_take(c, n, n), *R = lip_check_take(c, n, n),
         most = 0, trace = 0;
  if (c->failed) return NULL;
  for (size_t k = 0; k < N; k++) w[k] = d ? 1 / d[k] : 1;
  for (size_t i = 0; i < n; i++) {
    double a = 0;
    for (size_t k = 0; k < N; k++) a += (double)b->W[i * N + k] * (double)b->W[i * N + k] * w[k];
    if (!scale(a, &s[i])) s[i] = 1; /* a row of zeros */
  }
  for (size_t k = 0; k < N; k++) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += fabs(G[k * n + i] = s[i] * (double)b->W[i * N + k]);
    for (size_t i = 0; i < n; i++) sums[i] += fabs(G[k * n + i]) * w[k] * sum;
  }
  add_gram(U, n, n, G, n, N, w, 1);
  for (size_t i = 0; i < n; i++) {
    most = sums[i] > most ? sums[i] : most;
    trace += U[i * n + i];
  }
  double shift = 8 * (GAMMA(N + 8) * most + GAMMA(n + 4) * trace) + 0x1p-250;
  for (size_t i = 0; i < n; i++) U[i * n + i] += shift;
  if (!(GAMMA(n + 4) * (double)n < 0.25) || !cholesky(U, n)) return NULL;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k <= i; k++) R[i * n + k] = U[k * n + i] / s[i];
  return R;
}

/* The inequality of one target over forms that are there. */
static bool inequality(lip_check *c, const forms *f, size_t target, const double *d) {
  const lip_check_claims *a = c->claims;
  const double *lambda = a->lambda + target * a->units, one = 1;
  double *D = lip_check_take(c, f->K, 1), *t = lip_check_take(c, f->vars, 1), rho = a->rho[target];
  double *g = last_form(c, f, (size_t)a->target[2 * target], (size_t)a->target[2 * target + 1]);
  rows *part = lip_check_take(c, c->n, sizeof *part / 8);
  size_t parts = 1;
  if (c->failed || !(f->top <= 0x1p150) || !IN_RANGE(rho)) return false;
  for (size_t k = 0; k < f->K; k++)
    if (!(g[f->K + k] <= 0x1p150)) return false;
  part[0] = (rows){g, g + f->K, &one, 1, f->K, f->K};
  for (size_t k = 0; k < f->base; k++) D[k] = d ? rho * d[k] : rho;
  for (size_t v = 0; v < f->vars; v++) {
    double l = D[f->base + v] = lambda[f->unit[v]];
    if (!IN_RANGE(l)) return false;
    t[v] = l * f->r[v] * f->r[v];
    if (v == 0 || f->reach[v] != f->reach[v - 1])
      part[parts++] = (rows){f->H + v * f->K, f->Ha + v * f->K, t + v, 0, f->K, f->reach[v]};
    part[parts - 1].m++;
  }
  return below(c, D, f->K, part, parts, f->ops);
}

bool lip_check_quadratic(lip_check *c, size_t target) {
  const double *d = c->claims->weight ? c->claims->weight + target * c->net->n_in : NULL;
  bool shorter = c->n > 1 && c->block->M < c->block->N;
  forms own = {0}, *f = shorter ? &c->shorter : &c->input;
  struct held *before = c->held;
  if (shorter && d) f = &own; /* weights make another u for every target */
  double *root = f->K == 0 && shorter ? square_root(c, c->block, d) : NULL;
  bool made = f->K > 0 || ((root || !shorter) && forms_make(c, root, f));
  if (f != &own && made) before = c->held; /* these forms stay */
  bool proved = made && inequality(c, f, target, shorter ? NULL : d);
  lip_check_drop(c, before);
  return proved;
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
  if (f->K == 0 && !forms_make(c, NULL, f)) return INFINITY;
  if (!c->spread && (c->spread = lip_check_take(c, f->vars, f->base)))
    for (size_t v = 0; v < f->vars; v++)
      spread(f, c->spread, f->H + v * f->K, f->Ha + v * f->K, f->reach[v], c->spread + v * f->base);
  struct held *before = c->held;
  double *g = last_form(c, f, i, j), *sum = lip_check_take(c, f->base, 1);
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
