/* The claims of a certificate one by one: norms, pair constants, radii. README.md states and proves the inequalities. */
#include "core/check/check.h"

#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdint.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/check/parts.h"
#include "core/check/proof.h"
#define UNIT 0x1p-24                       /* rounding to nearest in float32 */
#define ERROR64(b) (2 * GAMMA((b)->N + 8)) /* of one inner product with bias in double, times t */

void lip_check_close(lip_check *c) {
  if (c) lip_check_drop(c, NULL), lip_free(c);
}

/* ||a - b||_p of float32 numbers `step` apart; b NULL: of a. */
static double distance(const float *a, const float *b, size_t n, size_t step, int p) {
  double sum = 0;
  for (size_t k = 0; k < n; k++)
    sum = lip_check_add(sum, (double)a[k * step] - (b ? (double)b[k * step] : 0), p);
  return lip_check_norm_of(sum, n, p);
}

static double size_of(const double *v, size_t n, int p) {
  double sum = 0;
  for (size_t k = 0; k < n; k++) sum = lip_check_add(sum, v[k], p);
  return lip_check_up(lip_check_norm_of(sum, n, p));
}

/* Norms p -> q other than 2 -> 2: the largest column in norm q for p = 1, the largest row in the dual norm for q = inf. */
static double plain_norm(const block *b) {
  double top = 0;
  for (size_t k = 0; k < (b->p == 1 ? b->N : b->M); k++)
    top = fmax(top, b->p == 1 ? distance(b->W + k, NULL, b->M, b->N, b->q)
                              : distance(b->W + k * b->N, NULL, b->N, 1, DUAL(b->p)));
  return top;
}

/* || |W| ||_{p->q}; for 2 -> 2, ||A||^2 <= max_k (A'A v)_k / v_k for every v > 0 (Horn, Johnson 2013, 8.1.26). */
static double absolute_norm(lip_check *c, const block *b) {
  double *v = lip_check_take(c, b->N, 1), *s = lip_check_take(c, b->N, 1), best = INFINITY, top = 1;
  if (b->p != 2 || b->q != 2 || c->failed) return lip_check_up(plain_norm(b));
  for (int it = 0; it < 24 && top > 0; it++) {
    double ratio = 0;
    for (size_t k = 0; k < b->N; k++) v[k] = s[k] / top + (it ? 1e-9 : 1), s[k] = 0;
    for (size_t i = 0; i < b->M; i++) {
      const float *w = b->W + i * b->N;
      double t = 0;
      for (size_t k = 0; k < b->N; k++) t += fabs((double)w[k]) * v[k];
      for (size_t k = 0; k < b->N; k++) s[k] += fabs((double)w[k]) * t;
    }
    top = 0;
    for (size_t k = 0; k < b->N; k++) ratio = fmax(ratio, s[k] / v[k]), top = fmax(top, s[k]);
    best = fmin(best, ratio);
  }
  return lip_check_up(sqrt(best * (1 + GAMMA(b->M + b->N + 16))));
}

static lip_status refuse(lip_err *err, const char *what) {
  return lip_fail(err, LIP_FORMAT, "%s", what);
}

/* A new last block; W NULL: the identity. */
static block *add_block(lip_check *c, size_t M, size_t N, const float *W, const float *b) {
  block *k = &c->block[c->n++];
  float *own = W ? NULL : lip_check_take(c, M, N);
  for (size_t i = 0; own && i < M; i++) own[i * N + i] = 1;
  *k = (block){.M = M, .N = N, .W = W ? W : own, .b = b, .lip = 1, .dense = SIZE_MAX};
  return k;
}

/* Layers to blocks: a matrix and the nonlinearity that follows it; identities where one of the two is missing. */
static lip_status read_layers(lip_check *c, lip_err *err) {
  const lip_check_net *net = c->net;
  size_t width = net->n_in, dense = 0;
  for (size_t i = 0; i < net->n; i++) {
    const lip_check_layer *l = &net->layer[i];
    if (l->kind == LIP_CHECK_DENSE) {
      if (l->N != width || l->M == 0) return refuse(err, "net: shapes of layers");
      add_block(c, l->M, l->N, l->W, l->b)->dense = dense++;
      width = l->M;
    } else if (l->kind == LIP_CHECK_MAXMIN || l->slope != 1) {
      if (c->n == 0 || c->block[c->n - 1].follows) add_block(c, width, width, NULL, NULL);
      block *b = &c->block[c->n - 1];
      b->follows = true;
      b->maxmin = l->kind == LIP_CHECK_MAXMIN;
      b->slope = b->maxmin ? 0 : l->slope;
      b->lip = fmax(1, fabs(b->slope));
      if ((b->maxmin && width % 2) || !(fabs(b->slope) <= 0x1p20)) return refuse(err, "net: a nonlinearity");
    }
  }
  if (c->n == 0 || c->block[c->n - 1].follows) add_block(c, width, width, NULL, NULL);
  return dense != c->claims->dense || width != net->n_out ? refuse(err, "net: shapes of layers") : LIP_OK;
}

static lip_status measure(lip_check *c, lip_err *err) {
  int p = c->claims->path[0];
  for (size_t l = 0; l < c->n; l++) {
    block *b = &c->block[l];
    b->p = p;
    if (b->dense != SIZE_MAX) p = c->claims->path[b->dense + 1];
    b->q = p;
    if ((b->p != 0 && b->p != 1 && b->p != 2) || (p != b->p && p != 0 && (p != 2 || b->p != 1)))
      return refuse(err, "path: not a path of norms 1, 2, inf upwards");
    if (!(distance(b->W, NULL, b->M * b->N, 1, 1) + (b->b ? distance(b->b, NULL, b->M, 1, 1) : 0) < INFINITY))
      return refuse(err, "weights: not all are finite");
    c->units += l + 1 < c->n ? b->M : 0;
    c->widest = b->M > c->widest ? b->M : c->widest;
    c->widest = b->N > c->widest ? b->N : c->widest;
    b->across = lip_check_take(c, b->M, b->N);
    for (size_t i = 0; b->across && i < b->M; i++) {
      size_t terms = 0;
      for (size_t k = 0; k < b->N; k++) terms += (b->across[k * b->M + i] = b->W[i * b->N + k]) != 0;
      b->most = terms > b->most ? terms : b->most;
    }
    b->abs = absolute_norm(c, b);
  }
  const block *last = &c->block[c->n - 1];
  c->row = lip_check_take(c, c->C, 1);
  c->difference = lip_check_take(c, c->C, c->C);
  c->h = lip_check_take(c, c->widest, 1);
  c->z = lip_check_take(c, c->widest, 1);
  c->t = lip_check_take(c, c->widest, 1);
  c->scalar = lip_check_take(c, c->n, 4);
  for (size_t i = 0; !c->failed && i < c->C; i++) {
    const float *w = last->W + i * last->N;
    c->row[i] = distance(w, NULL, last->N, 1, DUAL(last->p));
    for (size_t j = 0; j < c->C; j++)
      c->difference[i * c->C + j] = distance(w, last->W + j * last->N, last->N, 1, DUAL(last->p));
  }
  return LIP_OK;
}

static lip_status check_proofs(const lip_check *c, lip_err *err) {
  const lip_check_claims *a = c->claims;
  if (c->C < 2) return refuse(err, "net: fewer than 2 classes");
  if (a->targets > 0 &&
      (!(a->evidence & LIP_CHECK_QUADRATIC) || a->targets > c->C * (c->C - 1) / 2 || a->units != c->units))
    return refuse(err, "proofs: more than the method has, or not one multiplier for every hidden unit");
  for (size_t t = 0; t < 2 * a->targets; t++)
    if (!(a->target[t] >= 0 && a->target[t] < (double)c->C && a->target[t] == floor(a->target[t])) ||
        a->target[t] == a->target[t ^ 1])
      return refuse(err, "proofs: a target is not a pair of classes");
  for (size_t k = 0; k < a->targets * (1 + a->units + (a->weight ? c->net->n_in : 0)); k++) {
    size_t m = k - a->targets, all = a->targets * a->units; /* rho, then lambda, then weight */
    double v = k < a->targets ? a->rho[k] : m < all ? a->lambda[m] : a->weight[m - all];
    if (!(v >= 0 && v < INFINITY)) return refuse(err, "proofs: a number is negative, infinite or none");
  }
  return LIP_OK;
}

static bool is_label(const lip_check *c, double label) {
  return label >= -1 && label < (double)c->C && label == floor(label);
}

static bool is_radius(double R) {
  return R >= 0 && R <= 0x1p120;
}

/* Every number of the rows is one, whether data are at hand or not. */
static lip_status check_rows(const lip_check *c, lip_err *err) {
  const lip_check_claims *a = c->claims;
  for (size_t r = 0; r < a->rows; r++)
    if (!is_label(c, (double)a->label[r]) || !is_radius(a->radius[r]))
      return lip_fail(err, LIP_FORMAT, "row %zu: label %g and radius %.17g are not possible", r + 1,
                      lip_plain((double)a->label[r]), lip_plain(a->radius[r]));
  return LIP_OK;
}

/* Rounding to nearest, no excess precision, gradual underflow: what all error bounds rest on. */
static bool arithmetic_is_sound(void) {
  volatile double one = 1, u = 0x1p-53, least = DBL_MIN, big = 0x1p53;
  volatile double a = one + u, b = one + 3 * u, half = least / 2, sum = big + one;
  volatile float small = FLT_MIN, tiny = small / 2;
  return a == 1 && b == 1 + 0x1p-51 && half > 0 && sum == big && tiny > 0;
}

lip_status lip_check_open(const lip_check_net *net, const lip_check_claims *claims, lip_check **out,
                          lip_err *err) {
  fenv_t saved;
  lip_check *c = *out = lip_alloc(1, sizeof *c);
  if (!c) return lip_fail(err, LIP_MEMORY, "out of memory for checking a certificate");
  *c = (lip_check){.net = net, .claims = claims, .C = net->n_out};
  fegetenv(&saved);
  fesetenv(FE_DFL_ENV);
  c->block = lip_check_take(c, 2 * net->n + 2, (sizeof *c->block + 7) / 8);
  lip_status status =
      arithmetic_is_sound() ? LIP_OK : refuse(err, "arithmetic: this processor's mode is not IEEE 754");
  if (!status && !c->failed) status = read_layers(c, err);
  if (!status && !c->failed) status = measure(c, err);
  if (!status && !c->failed) status = check_proofs(c, err);
  if (!status && !c->failed) status = check_rows(c, err);
  if (c->failed) status = lip_fail(err, LIP_MEMORY, "out of memory for checking a certificate");
  fesetenv(&saved);
  if (!status) return LIP_OK;
  lip_check_close(c);
  *out = NULL;
  return status;
}

static lip_status norm_claim(lip_check *c, size_t l, lip_err *err) {
  double claim = c->claims->norm[l];
  const block *b = c->block;
  while (b->dense != l) b++;
  if (claim == INFINITY ||
      (b->p == 2 && b->q == 2 ? claim >= 0 && lip_check_spectral(c, b, claim) : claim >= plain_norm(b)))
    return LIP_OK;
  return lip_fail(err, LIP_FORMAT, "norm %zu: %.17g is not proved for this matrix", l + 1, lip_plain(claim));
}

static double norm_of(const lip_check *c, const block *b) {
  return b->dense == SIZE_MAX ? 1 : c->claims->norm[b->dense];
}

/* pair^2 >= rho times the largest x'diag(d)x of the unit ball, and the inequality of proof t holds. */
static bool follows_from(lip_check *c, size_t t, double pair) {
  const lip_check_claims *a = c->claims;
  size_t n = c->net->n_in;
  double weight = 0;
  for (size_t k = 0; k < n; k++) {
    double d = a->weight ? a->weight[t * n + k] : 1;
    if (!(d > 0) || !(d < INFINITY)) return false;
    weight = a->path[0] == 0 ? weight + d : d > weight ? d : weight;
  }
  return a->rho[t] > 0 && pair * pair * (1 - 0x1p-50) >= a->rho[t] * weight * (1 + GAMMA(n + 8)) &&
         lip_check_quadratic(c, t);
}

/* A pair that has a proof rests on it, so that no number of the file goes unseen. */
static lip_status pair_claim(lip_check *c, size_t i, size_t j, lip_err *err) {
  const lip_check_claims *a = c->claims;
  double claim = a->pair[i * c->C + j], y = (double)i, z = (double)j;
  bool own = false, proved = true;
  if (!(claim >= 0) || claim != a->pair[j * c->C + i] || (i == j && claim != 0))
    return lip_fail(err, LIP_FORMAT, "pair %zu, %zu: %.17g is not a constant", i, j, lip_plain(claim));
  for (size_t t = 0; t < a->targets; t++) {
    double u = a->target[2 * t], v = a->target[2 * t + 1];
    if (!(u == y && v == z) && !(u == z && v == y)) continue;
    own = true;
    proved = proved && follows_from(c, t, claim);
  }
  double product = c->difference[i * c->C + j];
  for (const block *b = c->block; b + 1 < c->block + c->n; b++)
    product = lip_check_up(product * lip_check_up(norm_of(c, b) * b->lip));
  if (!own && i != j && claim < INFINITY && !(claim >= product))
    proved = (a->evidence & LIP_CHECK_ABS) && claim >= lip_check_abs(c, i, j);
  if (proved) return LIP_OK;
  return lip_fail(err, LIP_FORMAT, "pair %zu, %zu: the constant %.17g is not proved", i, j, lip_plain(claim));
}

/* z = b + sum_k h_k (column k), t = the same of absolute values. */
LIP_HOT static void columns(const block *b, const double *h, double *restrict z, double *restrict t) {
  size_t M = b->M, k = 0;
  for (size_t i = 0; i < M; i++) z[i] = b->b ? (double)b->b[i] : 0, t[i] = fabs(z[i]);
  while (k < b->N) {
    const float *w[4] = {b->across, b->across, b->across, b->across};
    double v[4] = {0};
    for (size_t m = 0; k < b->N && m < 4; k++)
      if (h[k] != 0) w[m] = b->across + k * M, v[m++] = h[k];
    const float *a = w[0], *d = w[1], *e = w[2], *f = w[3];
    for (size_t i = 0; i < M; i++) {
      double p = v[0] * (double)a[i], q = v[1] * (double)d[i], r = v[2] * (double)e[i],
             s = v[3] * (double)f[i];
      z[i] += (p + q) + (r + s);
      t[i] += (fabs(p) + fabs(q)) + (fabs(r) + fabs(s));
    }
  }
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
    e = lip_check_up(b->lip * lip_check_up(norm_of(c, b) * e + ERROR64(b) * s[2] + 0x1p-50 * s[3]));
    for (size_t i = 0; i < b->M; i++) {
      double z = c->z[i], other = b->maxmin ? c->z[i ^ 1] : z;
      bool swap = b->maxmin && (i % 2 ? z > other : z < other);
      c->h[i] = swap ? other : !b->follows || b->maxmin || z >= 0 ? z : b->slope * z;
    }
  }
}

/* Error of one inner product with bias in float32, any order of summation: README.md, "label, radius". */
static double error32(size_t n, double terms, double result, double size, double entry) {
  double nu = (double)n * UNIT, larger = (terms + (result < terms ? result : terms)) / 2;
  if (!(nu < 0.25) || !(terms < FLT_MAX / 4)) return INFINITY;
  return (nu * larger + UNIT * terms) / (1 - nu) + 0x1p-122 * ((double)n + 1) * (1 + size + entry);
}

/* What any float32 input within R of the row can be off by at the input of the last block; *away: how far its executed
 * input there is from the computed one of the centre. */
static double ball(const lip_check *c, double R, double *away) {
  double d = 0, reach = R;
  for (size_t l = 0; l + 1 < c->n; l++) {
    const block *b = &c->block[l];
    const double *s = c->scalar + 4 * l;
    double K = norm_of(c, b), far = lip_check_up(s[0] + reach + d), units = b->q == 0 ? 1 : (double)b->M;
    double T = lip_check_up(s[2] + b->abs * far), Z = lip_check_up(s[3] + ERROR64(b) * s[2] + K * far),
           local = 0;
    if (b->dense != SIZE_MAX)
      local = error32(b->most, T, Z, 0, 0) + units * error32(b->N, 0, 0, s[1] + far, b->abs);
    d = b->lip * (K * d + local) + units * 0x1p-124; /* subnormal numbers taken for 0 */
    if (b->slope != 0 && b->slope != -1) d += UNIT * fabs(b->slope) * (Z + local);
    d = b->lip * T < FLT_MAX / 4 ? lip_check_up(d) : (double)INFINITY;
    reach = lip_check_up(lip_check_up(K * b->lip) * reach);
  }
  *away = lip_check_up(c->scalar[4 * (c->n - 1)] + reach + d);
  return d;
}

/* Error of logit i as executed there, apart from what its input brings. */
static double logit_error(const lip_check *c, size_t i, double away) {
  const block *b = &c->block[c->n - 1];
  double T = lip_check_up(c->t[i] + c->row[i] * away), size = c->scalar[4 * (c->n - 1) + 1] + away;
  double Z = lip_check_up(fabs(c->z[i]) + ERROR64(b) * c->t[i] + c->row[i] * away);
  double own = error32(b->most, T, Z, 0, 0) + error32(b->N, 0, 0, size, c->row[i]);
  return b->dense == SIZE_MAX ? 0 : lip_check_up(own);
}

/* The exact z_y - z_j at the row, rounded down. */
static double margin(const lip_check *c, size_t y, size_t j) {
  double m = c->z[y] - c->z[j], own = ERROR64(&c->block[c->n - 1]) * (c->t[y] + c->t[j]);
  return m - lip_check_up(c->difference[y * c->C + j] * c->scalar[4 * (c->n - 1)] + own + 0x1p-52 * fabs(m));
}

static lip_status row_claim(lip_check *c, size_t r, const float *x, lip_err *err) {
  double R = c->claims->radius[r], label = (double)c->claims->label[r], off, away;
  bool finite = distance(x, NULL, c->net->n_in, 1, 1) < INFINITY;
  if (!is_label(c, label) || !is_radius(R) || (R > 0 && (label < 0 || !finite)))
    return lip_fail(err, LIP_FORMAT, "row %zu: label %g and radius %.17g are not possible", r + 1,
                    lip_plain(label), lip_plain(R));
  if (!finite) return LIP_OK;
  centre(c, x);
  off = ball(c, R, &away);
  size_t y = label < 0 ? 0 : (size_t)label;
  for (size_t j = 0; j < c->C; j++) {
    double own = label < 0 ? 0 : logit_error(c, y, away), there = logit_error(c, j, away) + own;
    if (label < 0 && off + there + c->t[j] < FLT_MAX / 4)
      continue; /* this logit is finite; any other may not be */
    if (label < 0) return LIP_OK;
    there = c->claims->float32 ? lip_check_up(c->difference[y * c->C + j] * off + there) : 0;
    if (j != y && R > 0 && !(margin(c, y, j) - there > lip_check_up(R * c->claims->pair[y * c->C + j])))
      return lip_fail(err, LIP_FORMAT, "radius of row %zu: %.17g is not proved against class %zu", r + 1, R,
                      j);
    if (j != y && R == 0 && c->claims->float32 && margin(c, j, y) > there)
      return lip_fail(err, LIP_FORMAT, "label of row %zu: class %zu is above class %zu", r + 1, j, y);
  }
  return label < 0 ? lip_fail(err, LIP_FORMAT, "label of row %zu: its logits are finite", r + 1) : LIP_OK;
}

lip_status lip_check_claim(lip_check *c, lip_check_what what, size_t i, size_t j, const float *x,
                           lip_err *err) {
  fenv_t saved;
  fegetenv(&saved);
  fesetenv(FE_DFL_ENV); /* gradual underflow, rounding to nearest */
  struct held *before = c->held;
  c->failed = false;
  lip_status status = what == LIP_CHECK_NORM   ? norm_claim(c, i, err)
                      : what == LIP_CHECK_PAIR ? pair_claim(c, i, j, err)
                                               : row_claim(c, i, x, err);
  if (what == LIP_CHECK_NORM) lip_check_drop(c, before);
  fesetenv(&saved);
  return c->failed ? lip_fail(err, LIP_MEMORY, "out of memory for checking a certificate") : status;
}
