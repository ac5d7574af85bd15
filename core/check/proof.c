/* Norms of matrices and constants of pairs: positive definiteness by Cholesky, the quadratic inequality, and the
 * inequality of absolute values. README.md derives what is claimed here. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/check/parts.h"

/* ---- loops ---- */

/* A[i][j] += sum_k c_k g_k[i] g_k[j] for i <= j < n, over m rows g_k of G. */
LIP_HOT static void add_gram(double *A, size_t lda, size_t n, const double *G, size_t ldg, size_t m,
                             const double *c) {
  for (size_t k = 0; k < m; k += 4) {
    const double *g[4];
    double w[4];
    for (size_t q = 0; q < 4; q++) {
      bool in = k + q < m;
      g[q] = G + (in ? k + q : k) * ldg;
      w[q] = in ? c[k + q] : 0;
    }
    const double *a = g[0], *b = g[1], *d = g[2], *e = g[3];
    for (size_t i = 0; i < n; i++) {
      double p = w[0] * a[i], q = w[1] * b[i], r = w[2] * d[i], s = w[3] * e[i], *row = A + i * lda;
      if (p == 0 && q == 0 && r == 0 && s == 0) continue;
      for (size_t j = i; j < n; j++) row[j] += (p * a[j] + q * b[j]) + (r * d[j] + s * e[j]);
    }
  }
}

/* out[0..n) += sum_k w[k] A_k[0..n), and the same with absolute values. */
LIP_HOT static void combine(double *restrict out, double *restrict outa, const float *w, size_t m,
                            const double *A, const double *Aa, size_t ld, size_t n) {
  for (size_t k = 0; k < m; k++) {
    double v = (double)w[k], u = fabs(v);
    const double *a = A + k * ld, *b = Aa + k * ld;
    if (v == 0) continue;
    for (size_t j = 0; j < n; j++) {
      out[j] += v * a[j];
      outa[j] += u * b[j];
    }
  }
}

/* A = U'U in place, upper triangle; false as soon as a pivot is not positive. */
LIP_HOT static bool cholesky(double *A, size_t n) {
  enum { BLOCK = 8 };
  for (size_t k = 0; k < n; k += BLOCK) {
    size_t end = k + BLOCK < n ? k + BLOCK : n;
    for (size_t r = k; r < end; r++) {
      double *row = A + r * n;
      for (size_t q = k; q < r; q++) {
        const double *above = A + q * n;
        double f = above[r];
        for (size_t j = r; j < n; j++) row[j] -= f * above[j];
      }
      if (!(row[r] > 0) || !(row[r] < INFINITY)) return false;
      double root = sqrt(row[r]);
      for (size_t j = r; j < n; j++) row[j] /= root;
    }
    if (end - k < BLOCK) break; /* these were the last rows */
    const double *u[BLOCK];
    for (size_t q = 0; q < BLOCK; q++) u[q] = A + (k + q) * n;
    for (size_t i = end; i < n; i++) {
      double *row = A + i * n, f[BLOCK];
      for (size_t q = 0; q < BLOCK; q++) f[q] = u[q][i];
      for (size_t j = i; j < n; j++)
        row[j] -= ((f[0] * u[0][j] + f[1] * u[1][j]) + (f[2] * u[2][j] + f[3] * u[3][j])) +
                  ((f[4] * u[4][j] + f[5] * u[5][j]) + (f[6] * u[6][j] + f[7] * u[7][j]));
    }
  }
  return true;
}

/* ---- diag(D) - sum_k c_k g_k g_k' >= 0 ---- */

/* Rows of one reach, and their absolute twins. */
typedef struct rows {
  const double *g, *ga, *c;
  size_t m, ld, reach;
} rows;

/* s_i = 2^k with s_i^2 a_ii in [1/2, 2): false when it is not positive or out of all proportion. */
static bool scale(const double *A, size_t n, double *s) {
  for (size_t i = 0; i < n; i++) {
    int e;
    if (!(A[i * n + i] > 0) || !(A[i * n + i] < INFINITY)) return false;
    (void)frexp(A[i * n + i], &e);
    if (e < -400 || e > 400) return false;
    s[i] = ldexp(1, -(e >= 0 ? e / 2 : -((1 - e) / 2)));
  }
  return true;
}

/* Proves that diag(D) minus the rows' sum is positive semidefinite when the entries of the rows have up to `ops`
 * roundings each. LIP_MEMORY. */
static lip_status below(const double *D, size_t n, const rows *part, size_t parts, size_t ops, bool *proved) {
  size_t cells, total = 0;
  *proved = false;
  if (!lip_mul_fits(n, n, &cells)) return LIP_MEMORY;
  double *A = lip_alloc(cells, sizeof *A), *s = lip_alloc(3 * n, sizeof *s), *error = s + n, *minus = NULL;
  if (!A || !s) goto memory;
  for (size_t i = 0; i < n; i++) A[i * n + i] = D[i];
  for (size_t k = 0; k < parts; k++) {
    const rows *b = &part[k];
    minus = lip_alloc(b->m, sizeof *minus);
    if (!minus) goto memory;
    for (size_t r = 0; r < b->m; r++) minus[r] = -b->c[r];
    add_gram(A, n, b->reach, b->g, b->ld, b->m, minus);
    lip_free(minus);
    total += b->m;
  }
  if (!scale(A, n, s)) goto done;
  for (size_t i = 0; i < n; i++) error[i] = s[i] * D[i];
  for (size_t k = 0; k < parts; k++) {
    const rows *b = &part[k];
    for (size_t r = 0; r < b->m; r++) {
      const double *g = b->ga + r * b->ld;
      double sum = 0;
      for (size_t i = 0; i < b->reach; i++) sum += g[i] * s[i];
      sum *= b->c[r];
      for (size_t i = 0; i < b->reach; i++) error[i] += g[i] * sum;
    }
  }
  double most = 0, trace = 0, top = 0, phi = GAMMA(n + 1) / (1 - GAMMA(n + 1));
  for (size_t i = 0; i < n; i++) {
    double e = s[i] * error[i];
    if (!(e < INFINITY)) goto done;
    most = e > most ? e : most;
    for (size_t j = i; j < n; j++) A[i * n + j] *= s[i] * s[j];
    trace += A[i * n + i];
    top = A[i * n + i] > top ? A[i * n + i] : top;
  }
  /* twins and sums are below their exact values by far less than the factor 2 */
  double shift = 2 * (GAMMA(2 * ops + total + 16) * most + phi * trace + 0x1p-53 * top) + 0x1p-250;
  for (size_t i = 0; i < n; i++) A[i * n + i] -= shift;
  *proved = cholesky(A, n);
done:
  lip_free(A);
  lip_free(s);
  return LIP_OK;
memory:
  lip_free(A);
  lip_free(s);
  return LIP_MEMORY;
}

lip_status lip_check_spectral(const float *W, size_t M, size_t N, double claim, bool *proved) {
  size_t n = M < N ? M : N, m = M < N ? N : M, cells;
  int exponent;
  float top = 0;
  *proved = false;
  if (!lip_mul_fits(M, N, &cells)) return LIP_MEMORY;
  for (size_t k = 0; k < cells; k++) top = fabsf(W[k]) > top ? fabsf(W[k]) : top;
  if (top == 0) return *proved = claim >= 0, LIP_OK;
  (void)frexpf(top, &exponent); /* exact scaling: entries below 1, no square underflows that matters */
  double s = ldexp(1, -exponent), a = claim * s;
  double *G = lip_alloc(cells, sizeof *G), *Ga = lip_alloc(cells, sizeof *Ga), *c = lip_alloc(m, sizeof *c),
         *D = lip_alloc(n, sizeof *D);
  lip_status status = LIP_MEMORY;
  if (G && Ga && c && D) {
    for (size_t i = 0; i < M; i++)
      for (size_t k = 0; k < N; k++) G[M < N ? k * n + i : i * n + k] = (double)W[i * N + k] * s;
    for (size_t k = 0; k < cells; k++) Ga[k] = fabs(G[k]);
    for (size_t k = 0; k < m; k++) c[k] = 1;
    for (size_t k = 0; k < n; k++) D[k] = a * a * (1 - 0x1p-51);
    status = below(D, n, &(rows){G, Ga, c, m, n, n}, 1, 0, proved);
  }
  lip_free(G);
  lip_free(Ga);
  lip_free(c);
  lip_free(D);
  return status;
}

/* ---- forms ---- */

void lip_check_forms_free(forms *f) {
  lip_free(f->H);
  lip_free(f->Ha);
  lip_free(f->A);
  lip_free(f->Aa);
  lip_free(f->reach);
  lip_free(f->unit);
  lip_free(f->r);
  *f = (forms){0};
}

static size_t vars_of(const block *b) {
  return !b->follows ? 0 : b->maxmin ? b->M / 2 : b->M;
}

/* The nonlinearity behind block b takes the forms Z (M, K) and leaves A in their place: leaky y = C z + w with
 * |w| <= r |z|, maxmin (s + w)/2 and (s - w)/2 with s = z_0 + z_1 and |w| <= |z_0 - z_1|. */
static void follow(const block *b, forms *f, double *Z, double *Za, size_t *var, size_t units) {
  size_t K = f->K, reach = f->base + *var, first = *var;
  double C = b->maxmin ? 0.5 : (1 + b->slope) / 2, r = b->maxmin ? 1 : fabs(1 - b->slope) / 2;
  for (size_t i = 0; i < b->M; i += b->maxmin ? 2 : 1, ++*var) {
    double *z = Z + i * K, *za = Za + i * K, *h = f->H + *var * K, *ha = f->Ha + *var * K;
    f->reach[*var] = reach;
    f->unit[*var] = units + i + (b->maxmin ? 1 : 0);
    f->r[*var] = r;
    for (size_t j = 0; j < reach; j++) {
      double other = b->maxmin ? z[K + j] : 0, othera = b->maxmin ? za[K + j] : 0, s = z[j] + other;
      h[j] = z[j] - other;
      ha[j] = za[j] + othera;
      z[j] = C * s;
      za[j] = fabs(C) * ha[j];
      if (b->maxmin) z[K + j] = z[j], za[K + j] = za[j];
    }
    size_t own = f->base + first + (*var - first);
    z[own] = za[own] = b->maxmin ? 0.5 : 1;
    if (b->maxmin) z[K + own] = -0.5, za[K + own] = 0.5;
  }
}

static lip_status forms_reserve(const lip_check *c, size_t base, forms *f) {
  size_t most = base;
  for (size_t l = 0; l + 1 < c->n; l++) {
    f->vars += vars_of(&c->block[l]);
    most = c->block[l].M > most ? c->block[l].M : most;
  }
  f->base = base;
  f->K = base + f->vars;
  size_t cells, all;
  if (!lip_mul_fits(f->K, f->vars + most, &cells) || !lip_mul_fits(cells, 64, &all)) return LIP_MEMORY;
  f->H = lip_alloc(f->vars * f->K, sizeof(double));
  f->Ha = lip_alloc(f->vars * f->K, sizeof(double));
  f->reach = lip_alloc(f->vars, sizeof(size_t));
  f->unit = lip_alloc(f->vars, sizeof(size_t));
  f->r = lip_alloc(f->vars, sizeof(double));
  return f->H && f->Ha && f->reach && f->unit && f->r ? LIP_OK : LIP_MEMORY;
}

/* All forms; `root` (n, n) stands for the first matrix (n = its rows), or NULL: the input itself. */
static lip_status forms_make(const lip_check *c, const double *root, forms *f) {
  const block *b = c->block;
  size_t var = 0, units = 0;
  lip_status status = forms_reserve(c, root ? b->M : c->net->n_in, f);
  for (size_t l = 0; !status && l + 1 < c->n; l++, b++) {
    double *Z = lip_alloc(b->M * f->K, sizeof *Z), *Za = lip_alloc(b->M * f->K, sizeof *Za);
    size_t reach = f->base + var;
    if (!Z || !Za) status = LIP_MEMORY;
    for (size_t i = 0; !status && i < b->M; i++) {
      double *z = Z + i * f->K, *za = Za + i * f->K;
      if (l > 0) {
        combine(z, za, b->W + i * b->N, b->N, f->A, f->Aa, f->K, reach);
      } else {
        for (size_t k = 0; k < f->base; k++) z[k] = root ? root[i * b->M + k] : (double)b->W[i * b->N + k];
        for (size_t k = 0; k < f->base; k++) za[k] = fabs(z[k]);
      }
      for (size_t k = 0; l > 0 && k < reach; k++) za[k] += 0x1p-1000; /* times u: more than underflow takes */
    }
    if (!status && b->follows) follow(b, f, Z, Za, &var, units);
    units += b->M;
    f->ops += b->N + 8;
    lip_free(f->A);
    lip_free(f->Aa);
    f->A = Z;
    f->Aa = Za;
  }
  if (!status && c->n == 1) { /* no hidden layer: the forms are the input */
    f->A = lip_alloc(f->base * f->K, sizeof *f->A);
    f->Aa = lip_alloc(f->base * f->K, sizeof *f->Aa);
    if (!f->A || !f->Aa) status = LIP_MEMORY;
    for (size_t k = 0; !status && k < f->base; k++) f->A[k * f->K + k] = f->Aa[k * f->K + k] = 1;
  }
  for (size_t k = 0; !status && k < f->vars * f->K; k++) f->top = f->Ha[k] > f->top ? f->Ha[k] : f->top;
  for (size_t k = 0; !status && k < c->block[c->n - 1].N * f->K; k++)
    f->top = f->Aa[k] > f->top ? f->Aa[k] : f->top;
  if (status) lip_check_forms_free(f);
  return status;
}

/* The form of z_i - z_j. */
static lip_status last_form(const lip_check *c, const forms *f, size_t i, size_t j, double **g, double **ga) {
  const block *b = &c->block[c->n - 1];
  *g = lip_alloc(2 * f->K, sizeof **g);
  if (!*g) return LIP_MEMORY;
  *ga = *g + f->K;
  for (size_t k = 0; k < b->N; k++) {
    double w = (double)b->W[i * b->N + k] - (double)b->W[j * b->N + k];
    for (size_t v = 0; w != 0 && v < f->K; v++) {
      (*g)[v] += w * f->A[k * f->K + v];
      (*ga)[v] += fabs(w) * f->Aa[k * f->K + v];
    }
  }
  for (size_t v = 0; v < f->K; v++) (*ga)[v] += 0x1p-1000;
  return LIP_OK;
}

/* ---- the quadratic inequality ---- */

/* Rows of G' = W' (N, n), each column scaled by a power of two: s_i w_i D^-1 w_i' in [1/2, 2). `most` bounds the row sums
 * of |S W| D^-1 |S W|'. */
static void scaled_rows(const block *b, const double *c, double *G, double *s, double *sums, double *most) {
  size_t n = b->M, N = b->N;
  for (size_t i = 0; i < n; i++) {
    double a = 0;
    for (size_t k = 0; k < N; k++) a += (double)b->W[i * N + k] * (double)b->W[i * N + k] * c[k];
    if (!scale(&a, 1, &s[i])) s[i] = 1; /* a row of zeros */
    sums[i] = 0;
  }
  for (size_t k = 0; k < N; k++) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += fabs(G[k * n + i] = s[i] * (double)b->W[i * N + k]);
    for (size_t i = 0; i < n; i++) sums[i] += fabs(G[k * n + i]) * c[k] * sum;
  }
  *most = 0;
  for (size_t i = 0; i < n; i++) *most = sums[i] > *most ? sums[i] : *most;
}

/* R (n, n) with R R' - W diag(d)^-1 W' positive semidefinite, lower triangular; *found tells whether there is one. */
static lip_status square_root(const block *b, const double *d, double **root, bool *found) {
  size_t n = b->M;
  double *G = lip_alloc(b->N * n, sizeof *G), *c = lip_alloc(b->N, sizeof *c),
         *s = lip_alloc(2 * n, sizeof *s), *R = lip_alloc(n * n, sizeof *R), *U = NULL, most = 0;
  lip_status status = G && c && s && R ? LIP_OK : LIP_MEMORY;
  *found = false;
  if (!status) {
    for (size_t k = 0; k < b->N; k++) c[k] = d ? 1 / d[k] : 1;
    scaled_rows(b, c, G, s, s + n, &most);
  }
  for (int tries = 0; !status && !*found && tries < 12; tries++) {
    double trace = 0;
    U = lip_alloc(n * n, sizeof *U);
    if (!U) status = LIP_MEMORY;
    if (!U) break;
    add_gram(U, n, n, G, n, b->N, c);
    for (size_t i = 0; i < n; i++) trace += U[i * n + i];
    double need = 2 * (GAMMA(b->N + 8) * most + GAMMA(n + 2) * trace + 0x1p-53 * trace) + 0x1p-250;
    double shift = 2 * need * (double)(1u << tries);
    for (size_t i = 0; i < n; i++) U[i * n + i] += shift;
    *found = cholesky(U, n) && shift >= need + GAMMA(n + 4) * 2 * shift * (double)n;
    for (size_t i = 0; i < n; i++)
      for (size_t k = 0; k < n; k++) R[i * n + k] = k <= i ? U[k * n + i] / s[i] : 0;
    lip_free(U);
  }
  lip_free(G);
  lip_free(c);
  lip_free(s);
  if (status || !*found) {
    lip_free(R);
    R = NULL;
  }
  *root = R;
  return status;
}

static bool in_range(double v) {
  return v >= 0x1p-200 && v <= 0x1p200;
}

/* Forms for these weights of the input: kept when there are none. */
static lip_status quadratic_forms(lip_check *c, const double *d, bool *found) {
  double *root = NULL;
  const block *b = &c->block[0];
  bool shorter = c->n > 1 && b->M < b->N;
  *found = true;
  if (c->quadratic.K > 0 && (!d || !shorter)) return LIP_OK;
  lip_check_forms_free(&c->quadratic);
  lip_status status = shorter ? square_root(b, d, &root, found) : LIP_OK;
  if (!status && *found) status = forms_make(c, root, &c->quadratic);
  lip_free(root);
  return status;
}

lip_status lip_check_quadratic_pair(lip_check *c, size_t target, double rho, bool *proved) {
  const lip_check_claims *a = c->claims;
  const double *d = a->weight ? a->weight + target * c->net->n_in : NULL;
  const double *lambda = a->lambda + target * a->units;
  double *D = NULL, *t = NULL, *g = NULL, *ga, one = 1;
  rows *part = NULL;
  size_t parts = 1;
  lip_status status = quadratic_forms(c, d, proved);
  if (status || !*proved) return status;
  const forms *f = &c->quadratic;
  bool shorter = c->n > 1 && c->block[0].M < c->block[0].N;
  *proved = false;
  D = lip_alloc(f->K, sizeof *D);
  t = lip_alloc(f->vars, sizeof *t);
  part = lip_alloc(c->n, sizeof *part);
  status = D && t && part ? LIP_OK : LIP_MEMORY;
  if (status) goto done;
  bool sound = f->top <= 0x1p150 && in_range(rho);
  for (size_t k = 0; k < f->base; k++) D[k] = shorter || !d ? rho : rho * d[k];
  for (size_t v = 0; v < f->vars; v++) {
    double l = lambda[f->unit[v]];
    sound = sound && in_range(l);
    D[f->base + v] = l;
    t[v] = l * f->r[v] * f->r[v];
    if (v == 0 || f->reach[v] != f->reach[v - 1]) {
      part[parts] = (rows){f->H + v * f->K, f->Ha + v * f->K, t + v, 0, f->K, f->reach[v]};
      parts++;
    }
    part[parts - 1].m++;
  }
  if (!sound) goto done;
  status = last_form(c, f, (size_t)a->target[2 * target], (size_t)a->target[2 * target + 1], &g, &ga);
  if (status) goto done;
  part[0] = (rows){g, ga, &one, 1, f->K, f->K};
  for (size_t k = 0; k < f->K; k++)
    if (!(ga[k] <= 0x1p150)) goto done;
  status = below(D, f->K, part, parts, f->ops + c->block[c->n - 1].N + 8, proved);
done:
  lip_free(D);
  lip_free(t);
  lip_free(part);
  lip_free(g);
  return status;
}

/* ---- absolute values ---- */

/* out (n_in) = |g_x| + sum_v |g_v| r_v spread_v, rounded up together with g's own error. */
LIP_HOT static void spread(const forms *f, const double *all, const double *g, const double *ga, size_t reach,
                           double error, double *restrict out) {
  size_t n = f->base;
  for (size_t k = 0; k < n; k++) out[k] = fabs(g[k]) + error * ga[k];
  for (size_t v = 0; n + v < reach; v++) {
    double w = (fabs(g[n + v]) + error * ga[n + v]) * f->r[v];
    const double *s = all + v * n;
    if (w == 0) continue;
    for (size_t k = 0; k < n; k++) out[k] += w * s[k];
  }
  double factor = 1 + 2 * GAMMA(reach - n + 8);
  for (size_t k = 0; k < n; k++) out[k] = out[k] * factor + FLOOR;
}

lip_status lip_check_abs_pair(lip_check *c, size_t i, size_t j, double *constant) {
  forms *f = &c->input;
  double *g = NULL, *ga, *sum = NULL;
  int p = c->claims->path[0], dual = p == 1 ? 0 : p == 2 ? 2 : 1;
  *constant = INFINITY;
  lip_status status = f->K > 0 ? LIP_OK : forms_make(c, NULL, f);
  if (status) return status;
  size_t n = f->base, ops = f->ops + c->block[c->n - 1].N + 8;
  if (!c->spread) {
    c->spread = lip_alloc(f->vars * n, sizeof(double));
    if (!c->spread) return LIP_MEMORY;
    for (size_t v = 0; v < f->vars; v++)
      spread(f, c->spread, f->H + v * f->K, f->Ha + v * f->K, f->reach[v], 2 * GAMMA(ops), c->spread + v * n);
  }
  status = last_form(c, f, i, j, &g, &ga);
  if (!status && !(sum = lip_alloc(n, sizeof *sum))) status = LIP_MEMORY;
  if (!status) {
    double total = 0;
    spread(f, c->spread, g, ga, f->K, 2 * GAMMA(ops), sum);
    for (size_t k = 0; k < n; k++) total = lip_check_add(total, sum[k], dual);
    *constant = lip_check_up(lip_check_norm_of(total, n, dual));
  }
  lip_free(g);
  lip_free(sum);
  return status;
}
