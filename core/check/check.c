/* The claims of a certificate one by one: norms, pair constants, radii. README.md states what each of them means and
 * why the inequalities tested here imply it. */
#include "core/check/check.h"

#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/check/parts.h"

#define UNIT 0x1p-24 /* rounding to nearest in float32 */

double lip_check_up(double v) {
  return v * (1 + 0x1p-48) + FLOOR;
}

double lip_check_add(double sum, double v, int p) {
  v = fabs(v);
  return p == 1 ? sum + v : p == 2 ? sum + v * v : v > sum ? v : sum;
}

double lip_check_norm_of(double sum, size_t n, int p) {
  return (p == 2 ? sqrt(sum) : sum) * (1 + GAMMA(n + 16) * (p == 0 ? 0 : 1));
}

static int dual(int p) {
  return p == 1 ? 0 : p == 2 ? 2 : 1;
}

/* ||a - b||_p of float32 numbers `step` apart; b NULL: of a. */
static double distance(const float *a, const float *b, size_t n, size_t step, int p) {
  double sum = 0;
  for (size_t k = 0; k < n; k++)
    sum = lip_check_add(sum, b ? (double)a[k * step] - (double)b[k * step] : (double)a[k * step], p);
  return lip_check_norm_of(sum, n, p);
}

static double size_of(const double *v, size_t n, int p) {
  double sum = 0;
  for (size_t k = 0; k < n; k++) sum = lip_check_add(sum, v[k], p);
  return lip_check_norm_of(sum, n, p) + FLOOR;
}

/* Norms p -> q other than 2 -> 2: the largest column in norm q for p = 1, the largest row in the dual norm for q = inf. */
static double plain_norm(const block *b) {
  double top = 0;
  size_t m = b->p == 1 ? b->N : b->M;
  for (size_t k = 0; k < m; k++) {
    double v = b->p == 1 ? distance(b->W + k, NULL, b->M, b->N, b->q)
                         : distance(b->W + k * b->N, NULL, b->N, 1, dual(b->p));
    top = v > top ? v : top;
  }
  return top;
}

/* || |W| ||_{2->2}^2 <= max_k (|W|'|W| v)_k / v_k for every v > 0 (Horn, Johnson 2013, theorem 8.1.26). */
static lip_status absolute_norm(block *b) {
  double *v = lip_alloc(2 * b->N, sizeof *v), *s = v + b->N, best = INFINITY;
  if (!v) return LIP_MEMORY;
  for (size_t k = 0; k < b->N; k++) v[k] = 1;
  for (int it = 0; it < 24; it++) {
    double ratio = 0, top = 0;
    memset(s, 0, b->N * sizeof *s);
    for (size_t i = 0; i < b->M; i++) {
      const float *w = b->W + i * b->N;
      double t = 0;
      for (size_t k = 0; k < b->N; k++) t += fabs((double)w[k]) * v[k];
      for (size_t k = 0; k < b->N; k++) s[k] += fabs((double)w[k]) * t;
    }
    for (size_t k = 0; k < b->N; k++) {
      ratio = s[k] / v[k] > ratio ? s[k] / v[k] : ratio;
      top = s[k] > top ? s[k] : top;
    }
    best = ratio < best ? ratio : best;
    if (!(top > 0)) break;
    for (size_t k = 0; k < b->N; k++) v[k] = s[k] / top + 1e-9;
  }
  b->abs = lip_check_up(sqrt(best * (1 + GAMMA(b->M + b->N + 16))));
  lip_free(v);
  return LIP_OK;
}

/* ---- opening ---- */

void lip_check_close(lip_check *c) {
  if (!c) return;
  for (size_t l = 0; c->block && l < c->n; l++) {
    lip_free(c->block[l].own);
    lip_free(c->block[l].across);
  }
  lip_check_forms_free(&c->quadratic);
  lip_check_forms_free(&c->input);
  lip_free(c->block);
  lip_free(c->row);
  lip_free(c->spread);
  lip_free(c->h);
  lip_free(c);
}

static lip_status refuse(lip_err *err, const char *what) {
  return lip_fail(err, LIP_FORMAT, "%s", what);
}

/* A new block; W NULL: the identity. */
static lip_status add_block(lip_check *c, size_t M, size_t N, const float *W, const float *b) {
  block *k = &c->block[c->n++];
  *k = (block){.M = M, .N = N, .W = W, .b = b, .lip = 1, .dense = SIZE_MAX};
  if (W) return LIP_OK;
  k->own = lip_alloc(M * N, sizeof *k->own);
  if (!k->own) return LIP_MEMORY;
  for (size_t i = 0; i < M; i++) k->own[i * N + i] = 1;
  k->W = k->own;
  return LIP_OK;
}

/* Layers to blocks: a matrix and the nonlinearity that follows it; identities where one of the two is missing. */
static lip_status read_layers(lip_check *c, lip_err *err) {
  const lip_check_net *net = c->net;
  size_t width = net->n_in, dense = 0;
  lip_status status = LIP_OK;
  for (size_t i = 0; !status && i < net->n; i++) {
    const lip_check_layer *l = &net->layer[i];
    if (l->kind == LIP_CHECK_DENSE) {
      if (l->N != width || l->M == 0 || dense >= c->claims->dense)
        return refuse(err, "net: shapes of layers");
      status = add_block(c, l->M, l->N, l->W, l->b);
      c->block[c->n - 1].dense = dense++;
      width = l->M;
      continue;
    }
    if (l->kind == LIP_CHECK_LEAKY && l->slope == 1) continue;
    if (c->n == 0 || c->block[c->n - 1].follows) status = add_block(c, width, width, NULL, NULL);
    block *b = &c->block[c->n - 1];
    b->follows = true;
    b->maxmin = l->kind == LIP_CHECK_MAXMIN;
    b->slope = l->slope;
    b->lip = b->maxmin ? 1 : fmax(1, fabs(l->slope));
    if ((b->maxmin && width % 2) || !(b->lip <= 0x1p20))
      return refuse(err, "net: a nonlinearity does not fit");
  }
  if (!status && (c->n == 0 || c->block[c->n - 1].follows)) status = add_block(c, width, width, NULL, NULL);
  if (!status && (dense != c->claims->dense || width != net->n_out))
    return refuse(err, "net: shapes of layers");
  return status;
}

static lip_status measure(lip_check *c, lip_err *err) {
  int p = c->claims->path[0];
  for (size_t l = 0; l < c->n; l++) {
    block *b = &c->block[l];
    for (size_t k = 0; k < b->M * b->N; k++)
      if (!isfinite(b->W[k])) return refuse(err, "weights: not all are finite");
    for (size_t k = 0; b->b && k < b->M; k++)
      if (!isfinite(b->b[k])) return refuse(err, "weights: not all are finite");
    b->p = p;
    if (b->dense != SIZE_MAX) p = c->claims->path[b->dense + 1];
    b->q = p;
    if (l + 1 < c->n) c->units += b->M;
    c->widest = b->M > c->widest ? b->M : c->widest;
    c->widest = b->N > c->widest ? b->N : c->widest;
    b->bias = b->b ? distance(b->b, NULL, b->M, 1, b->q) : 0;
    b->across = lip_alloc(b->M * b->N, sizeof *b->across);
    if (!b->across) return LIP_MEMORY;
    for (size_t i = 0; i < b->M; i++)
      for (size_t k = 0; k < b->N; k++) b->across[k * b->M + i] = b->W[i * b->N + k];
    if (b->p == 2 && b->q == 2 && absolute_norm(b)) return LIP_MEMORY;
    if (b->p != 2 || b->q != 2) b->abs = lip_check_up(plain_norm(b));
  }
  return LIP_OK;
}

static lip_status reserve(lip_check *c) {
  const block *last = &c->block[c->n - 1];
  size_t all;
  if (!lip_mul_fits(c->C, c->C + 1, &all)) return LIP_MEMORY;
  c->row = lip_alloc(all, sizeof(double));
  c->h = lip_alloc(3 * c->widest + 4 * c->n, sizeof(double));
  if (!c->row || !c->h) return LIP_MEMORY;
  c->difference = c->row + c->C;
  c->z = c->h + c->widest;
  c->t = c->z + c->widest;
  c->scalar = c->t + c->widest;
  for (size_t i = 0; i < c->C; i++) {
    c->row[i] = distance(last->W + i * last->N, NULL, last->N, 1, dual(last->p));
    for (size_t j = 0; j < c->C; j++)
      c->difference[i * c->C + j] =
          distance(last->W + i * last->N, last->W + j * last->N, last->N, 1, dual(last->p));
  }
  return LIP_OK;
}

static lip_status check_shapes(const lip_check *c, lip_err *err) {
  const lip_check_claims *a = c->claims;
  for (size_t l = 0; l <= a->dense; l++) {
    int p = a->path[l], before = l ? a->path[l - 1] : p;
    if (p != 0 && p != 1 && p != 2) return refuse(err, "path: a norm other than 1, 2, inf");
    if (p != before && p != 0 && (before == 0 || p < before)) return refuse(err, "path: a step down");
  }
  if (c->C < 2) return refuse(err, "net: fewer than 2 classes");
  if (a->targets > 0 && (!(a->evidence & LIP_CHECK_QUADRATIC) || a->targets > c->C * (c->C - 1) / 2))
    return refuse(err, "proofs: more than the method has");
  if (a->targets > 0 && a->units != c->units)
    return lip_fail(err, LIP_FORMAT, "multipliers: %zu for each pair, the net has %zu hidden units", a->units,
                    c->units);
  for (size_t t = 0; t < 2 * a->targets; t++) {
    double v = a->target[t];
    if (!(v >= 0 && v < (double)c->C && v == floor(v))) return refuse(err, "proof.target: not a class");
  }
  return LIP_OK;
}

/* Rounding to nearest, no excess precision, gradual underflow: what all error bounds rest on. */
static bool arithmetic_is_sound(void) {
  volatile double one = 1, u = 0x1p-53, least = DBL_MIN;
  volatile double a = one + u, b = one + 3 * u, half = least / 2, big = 0x1p53;
  volatile double sum = big + one;
  volatile float small = FLT_MIN;
  volatile float half_small = small / 2;
  return a == 1 && b == 1 + 0x1p-51 && half > 0 && sum == big && half_small > 0;
}

lip_status lip_check_open(const lip_check_net *net, const lip_check_claims *claims, lip_check **out,
                          lip_err *err) {
  fenv_t saved;
  *out = NULL;
  fegetenv(&saved);
  fesetenv(FE_DFL_ENV);
  lip_status status = LIP_OK;
  lip_check *c = lip_alloc(1, sizeof *c);
  if (c) {
    *c = (lip_check){.net = net, .claims = claims, .C = net->n_out};
    c->block = lip_alloc(2 * net->n + 2, sizeof *c->block);
  }
  if (!c || !c->block) status = LIP_MEMORY;
  if (!status && !arithmetic_is_sound())
    status = refuse(err, "arithmetic: this processor's mode is not IEEE 754");
  if (!status) status = read_layers(c, err);
  if (!status) status = measure(c, err);
  if (!status) status = check_shapes(c, err);
  if (!status) status = reserve(c);
  if (status == LIP_MEMORY) lip_fail(err, LIP_MEMORY, "out of memory for checking a certificate");
  if (status) lip_check_close(c);
  if (!status) *out = c;
  fesetenv(&saved);
  return status;
}

/* ---- norms and pairs ---- */

static lip_status norm_claim(lip_check *c, size_t l, lip_err *err) {
  double claim = c->claims->norm[l];
  const block *b = c->block;
  while (b->dense != l) b++;
  bool proved = false;
  if (!(claim >= 0)) return lip_fail(err, LIP_FORMAT, "norm %zu: %g is not a norm", l + 1, claim);
  if (claim == INFINITY) return LIP_OK;
  if (b->p == 2 && b->q == 2) {
    if (lip_check_spectral(b->W, b->M, b->N, claim, &proved))
      return lip_fail(err, LIP_MEMORY, "out of memory for the norm of a matrix");
    proved = proved || claim >= distance(b->W, NULL, b->M * b->N, 1, 2);
  } else {
    proved = claim >= plain_norm(b);
  }
  if (proved) return LIP_OK;
  return lip_fail(err, LIP_FORMAT, "norm %zu: %.17g is not proved for this matrix", l + 1, claim);
}

static double norm_of(const lip_check *c, const block *b) {
  return b->dense == SIZE_MAX ? 1 : c->claims->norm[b->dense];
}

static double product_constant(const lip_check *c, size_t i, size_t j) {
  double v = c->difference[i * c->C + j];
  for (size_t l = 0; l + 1 < c->n; l++)
    v = lip_check_up(v * lip_check_up(norm_of(c, &c->block[l]) * c->block[l].lip));
  return v;
}

/* pair^2 >= rho times the largest x'diag(d)x of the unit ball. */
static bool follows_from(const lip_check *c, size_t t, double pair, double *rho) {
  const lip_check_claims *a = c->claims;
  double weight = a->weight || a->path[0] == 0 ? 0 : 1;
  for (size_t k = 0; k < c->net->n_in; k++) {
    double d = a->weight ? a->weight[t * c->net->n_in + k] : 1;
    if (!(d > 0) || !(d < INFINITY)) return false;
    weight = a->path[0] == 0 ? weight + d : d > weight ? d : weight;
  }
  *rho = a->rho[t];
  return *rho > 0 && pair * pair * (1 - 0x1p-50) >= *rho * weight * (1 + GAMMA(c->net->n_in + 8));
}

static lip_status pair_claim(lip_check *c, size_t i, size_t j, lip_err *err) {
  const lip_check_claims *a = c->claims;
  double claim = a->pair[i * c->C + j], rho, constant = INFINITY;
  bool proved = false;
  lip_status status = LIP_OK;
  if (!(claim >= 0) || claim != a->pair[j * c->C + i] || (i == j && claim != 0))
    return lip_fail(err, LIP_FORMAT, "pair %zu, %zu: %g is not a constant", i, j, claim);
  if (i == j || claim == INFINITY || claim >= product_constant(c, i, j)) return LIP_OK;
  for (size_t t = 0; !proved && (a->evidence & LIP_CHECK_QUADRATIC) && t < a->targets; t++) {
    size_t y = (size_t)a->target[2 * t], z = (size_t)a->target[2 * t + 1];
    if (!((y == i && z == j) || (y == j && z == i)) || !follows_from(c, t, claim, &rho)) continue;
    status = lip_check_quadratic_pair(c, t, rho, &proved);
    if (status) break;
  }
  if (!status && !proved && (a->evidence & LIP_CHECK_ABS)) {
    status = lip_check_abs_pair(c, i, j, &constant);
    proved = claim >= constant;
  }
  if (status) return lip_fail(err, status, "out of memory for the constant of pair %zu, %zu", i, j);
  if (proved) return LIP_OK;
  return lip_fail(err, LIP_FORMAT, "pair %zu, %zu: the constant %.17g is not proved", i, j, claim);
}

/* ---- one row ---- */

/* z = b + sum_k h_k (column k), t = the same of absolute values. */
LIP_HOT static void columns(const block *b, const double *h, double *restrict z, double *restrict t) {
  size_t M = b->M, k = 0;
  for (size_t i = 0; i < M; i++) z[i] = b->b ? (double)b->b[i] : 0;
  for (size_t i = 0; i < M; i++) t[i] = fabs(z[i]);
  while (k < b->N) {
    const float *w[4];
    double v[4];
    size_t m = 0;
    for (; k < b->N && m < 4; k++)
      if (h[k] != 0) w[m] = b->across + k * M, v[m++] = h[k];
    if (m == 0) break;
    for (; m < 4; m++) w[m] = w[0], v[m] = 0;
    const float *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];
    double v0 = v[0], v1 = v[1], v2 = v[2], v3 = v[3];
    for (size_t i = 0; i < M; i++) {
      double p = v0 * (double)w0[i], q = v1 * (double)w1[i], r = v2 * (double)w2[i], s = v3 * (double)w3[i];
      z[i] += (p + q) + (r + s);
      t[i] += (fabs(p) + fabs(q)) + (fabs(r) + fabs(s));
    }
  }
}

static double error64(const block *b) {
  return 2 * GAMMA(b->N + 8);
}

/* The forward pass in double. Leaves z and t of the last block, and for every block at scalar[4 l]: e, the distance of
 * the computed input from the exact one; S, its norm; T and Z, the norms of t and z. */
static void centre(lip_check *c, const float *x) {
  double e = 0, *s = c->scalar;
  for (size_t k = 0; k < c->net->n_in; k++) c->h[k] = (double)x[k];
  for (size_t l = 0; l < c->n; l++, s += 4) {
    const block *b = &c->block[l];
    columns(b, c->h, c->z, c->t);
    s[0] = e;
    s[1] = size_of(c->h, b->N, b->p);
    s[2] = size_of(c->t, b->M, b->q);
    s[3] = size_of(c->z, b->M, b->q);
    e = b->lip * lip_check_up(norm_of(c, b) * e + error64(b) * s[2]) + 0x1p-50 * b->lip * s[3];
    e = lip_check_up(e);
    if (!b->follows) memcpy(c->h, c->z, b->M * sizeof *c->h);
    for (size_t i = 0; b->follows && i < b->M; i += b->maxmin ? 2 : 1) {
      double z = c->z[i], other = b->maxmin ? c->z[i + 1] : 0;
      c->h[i] = b->maxmin ? (z > other ? z : other) : z >= 0 ? z : b->slope * z;
      if (b->maxmin) c->h[i + 1] = z > other ? other : z;
    }
  }
}

/* Error of one inner product with bias in float32, any order of summation: README.md, "float32". */
static double error32(size_t n, double terms, double result, double size, double entry) {
  double nu = (double)n * UNIT, larger = (terms + (result < terms ? result : terms)) / 2;
  if (!(nu < 0.25) || !(terms < FLT_MAX / 4)) return INFINITY;
  return (nu * larger + UNIT * terms) / (1 - nu) + 0x1p-122 * ((double)n + 1) * (1 + size + entry);
}

/* What any float32 input within R of the row can be off by: `off` at the input of the last block, `away` how far its
 * executed input is from the computed one of the centre. */
static void ball(const lip_check *c, double R, double *off, double *away) {
  double d = 0, reach = R;
  for (size_t l = 0; l + 1 < c->n; l++) {
    const block *b = &c->block[l];
    const double *s = c->scalar + 4 * l;
    double K = norm_of(c, b), far = lip_check_up(s[0] + reach + d), units = b->q == 0 ? 1 : (double)b->M;
    double T = lip_check_up(s[2] + b->abs * far), Z = lip_check_up(s[3] + error64(b) * s[2] + K * far);
    double local = 0;
    if (b->dense != SIZE_MAX)
      local = error32(b->N, T, Z, 0, 0) + units * error32(b->N, 0, 0, s[1] + far, b->abs);
    d = lip_check_up(b->lip * (K * d + local));
    if (b->follows) d += units * 0x1p-124; /* subnormal numbers taken for 0 */
    if (b->follows && !b->maxmin && b->slope != 0 && b->slope != -1)
      d += UNIT * fabs(b->slope) * lip_check_up(Z + local);
    if (!(b->lip * T < FLT_MAX / 4)) d = INFINITY;
    d = lip_check_up(d);
    reach = lip_check_up(lip_check_up(K * b->lip) * reach);
  }
  *off = d;
  *away = lip_check_up(c->scalar[4 * (c->n - 1)] + reach + d);
}

/* Error of logit i as executed there, apart from what its input brings. */
static double logit_error(const lip_check *c, size_t i, double away) {
  const block *b = &c->block[c->n - 1];
  if (b->dense == SIZE_MAX) return 0;
  double size = c->scalar[4 * (c->n - 1) + 1] + away;
  double T = lip_check_up(c->t[i] + c->row[i] * away);
  double Z = lip_check_up(fabs(c->z[i]) + error64(b) * c->t[i] + c->row[i] * away);
  return lip_check_up(error32(b->N, T, Z, size, c->row[i]));
}

/* >= what float32 takes from z_y - z_j within R; 0 in exact arithmetic. */
static double allowance(const lip_check *c, size_t y, size_t j, double off, double away) {
  if (!c->claims->float32) return 0;
  return lip_check_up(c->difference[y * c->C + j] * off + logit_error(c, y, away) + logit_error(c, j, away));
}

/* The exact z_y - z_j at the row, rounded down. */
static double margin(const lip_check *c, size_t y, size_t j) {
  const block *b = &c->block[c->n - 1];
  double e = c->scalar[4 * (c->n - 1)], own = error64(b) * (c->t[y] + c->t[j]);
  double error = lip_check_up(c->difference[y * c->C + j] * e + own);
  double m = c->z[y] - c->z[j];
  return m - lip_check_up(error + 0x1p-52 * fabs(m));
}

static lip_status row_claim(lip_check *c, size_t r, const float *x, lip_err *err) {
  double R = c->claims->radius[r], off, away;
  double label = (double)c->claims->label[r];
  bool finite = true;
  for (size_t k = 0; k < c->net->n_in; k++) finite = finite && isfinite(x[k]);
  if (!(R >= 0) || !(R <= 0x1p120)) return lip_fail(err, LIP_FORMAT, "radius of row %zu: %g", r + 1, R);
  if (!(label >= -1 && label < (double)c->C && label == floor(label)))
    return lip_fail(err, LIP_FORMAT, "label of row %zu: %g is not a class", r + 1, label);
  if (R > 0 && (label < 0 || !finite))
    return lip_fail(err, LIP_FORMAT, "radius of row %zu: %.9g for a row without a label", r + 1, R);
  if (!finite) return LIP_OK;
  centre(c, x);
  ball(c, R, &off, &away);
  if (label < 0) { /* not finite as executed: only where an overflow is possible */
    double most = 0;
    for (size_t i = 0; i < c->C; i++) most += off + logit_error(c, i, away) + c->t[i];
    return most < FLT_MAX / 4 ? lip_fail(err, LIP_FORMAT, "label of row %zu: its logits are finite", r + 1)
                              : LIP_OK;
  }
  size_t y = (size_t)label;
  for (size_t j = 0; j < c->C; j++) {
    if (j == y) continue;
    double there = allowance(c, y, j, off, away);
    if (R > 0 && !(margin(c, y, j) - there > lip_check_up(R * c->claims->pair[y * c->C + j])))
      return lip_fail(err, LIP_FORMAT, "radius of row %zu: %.17g is not proved against class %zu", r + 1, R,
                      j);
    if (R == 0) { /* nothing is claimed but the label: refused when another one is certain */
      double e = c->claims->float32 ? there : 0;
      if (margin(c, j, y) > e && c->claims->float32)
        return lip_fail(err, LIP_FORMAT, "label of row %zu: class %zu is above class %zu", r + 1, j, y);
    }
  }
  return LIP_OK;
}

/* ---- in the default environment of floating point ---- */

lip_status lip_check_norm(lip_check *c, size_t l, lip_err *err) {
  fenv_t saved;
  fegetenv(&saved);
  fesetenv(FE_DFL_ENV);
  lip_status status = norm_claim(c, l, err);
  fesetenv(&saved);
  return status;
}

lip_status lip_check_pair(lip_check *c, size_t i, size_t j, lip_err *err) {
  fenv_t saved;
  fegetenv(&saved);
  fesetenv(FE_DFL_ENV);
  lip_status status = pair_claim(c, i, j, err);
  fesetenv(&saved);
  return status;
}

lip_status lip_check_row(lip_check *c, size_t r, const float *x, lip_err *err) {
  fenv_t saved;
  fegetenv(&saved);
  fesetenv(FE_DFL_ENV);
  lip_status status = row_claim(c, r, x, err);
  fesetenv(&saved);
  return status;
}
