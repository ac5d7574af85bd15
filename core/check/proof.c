/* What needs a proof of its own: positive definiteness by Cholesky, the quadratic inequality, that of absolute values, and
 * local claims. README.md derives them. */
#include <string.h>

#include "core/base/simd.h"
#include "core/check/parts.h"
#define IN_RANGE(v) ((v) >= 0x1p-200 && (v) <= 0x1p200)
#define LARGEST ((size_t)1 << 26) /* numbers in one matrix */

/* row[i..n) += sum_q w_q g_q[i..n) over four rows k..k+3 of G, those from m on left out; w_q = c_q g_q[i]. */
LIP_INLINE void add_four(double *row, size_t i, size_t n, const double *G, size_t ld, size_t k, size_t m,
                         const double *c, double sign) {
  double w[4];
  const double *g[4];
  for (size_t q = 0; q < 4; q++) {
    g[q] = G + (k + q < m ? k + q : k) * ld;
    w[q] = k + q < m ? sign * (c ? c[k + q] : 1) * g[q][i] : 0;
  }
  if (w[0] == 0 && w[1] == 0 && w[2] == 0 && w[3] == 0) return;
  for (size_t j = i; j < n; j++)
    row[j] += (w[0] * g[0][j] + w[1] * g[1][j]) + (w[2] * g[2][j] + w[3] * g[3][j]);
}

/* A += sign sum_k c_k g_k g_k', upper triangle, over m rows g_k of G, k of them with base + k entries that may be nonzero. */
LIP_HOT static void add_gram(double *A, size_t n, const double *G, size_t ld, size_t m, size_t base,
                             const double *c, double sign) {
  for (size_t k = 0; k < m; k += 4) {
    size_t end = base + k + 3 < n ? base + k + 3 : n;
    for (size_t i = 0; i < end; i++) add_four(A + i * n, i, end, G, ld, k, m, c, sign);
  }
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

/* A power of two s with s^2 a in [1/2, 2); 0 when a is not positive or out of all proportion. */
static double scale(double a) {
  int e;
  if (!(a > 0) || !(a < INFINITY)) return 0;
  (void)frexp(a, &e);
  return e >= -400 && e <= 400 ? ldexp(1, -(e >= 0 ? e / 2 : -((1 - e) / 2))) : 0;
}

/* U with U'U <= S (diag(D) - sum_k w_k g_k g_k') S for sign -1, >= S (sum_k w_k g_k g_k') S for sign 1, then without D, by
 * a multiple of I above all roundings; S = diag(s), s behind U. Rows of G as in add_gram, entries with up to `ops` roundings,
 * their twins behind them. NULL: there is none, so nothing is proved. */
static double *factor(lip_check *c, const double *D, size_t n, const double *G, size_t m, size_t base,
                      const double *w, double sign, size_t ops) {
  double *A = lip_check_take(c, n + 1, n), *error = lip_check_take(c, n, 1), *s;
  double most = 0, trace = 0, top = 0, phi = GAMMA(n + 1) / (1 - GAMMA(n + 1));
  if (c->failed) return NULL;
  s = A + n * n;
  for (size_t i = 0; D && i < n; i++) A[i * n + i] = D[i];
  add_gram(A, n, G, 2 * n, m, base, w, sign);
  for (size_t i = 0; i < n; i++) {
    s[i] = scale(A[i * n + i]);
    if (s[i] == 0 && D) return NULL;
    if (s[i] == 0) s[i] = 1;        /* a row of zeros, which the multiple of I makes positive */
    error[i] = D ? s[i] * D[i] : 0; /* row sums of S (D + sum w |g||g|') S but for s_i */
  }
  for (size_t r = 0; r < m; r++) {
    const double *g = G + 2 * n * r + n;
    double sum = 0;
    size_t end = base + r < n ? base + r : n;
    for (size_t i = 0; i < end; i++) sum += g[i] * s[i];
    for (size_t i = 0; i < end; i++) error[i] += g[i] * ((w ? w[r] : 1) * sum);
  }
  for (size_t i = 0; i < n; i++) {
    if (!(s[i] * error[i] < INFINITY)) return NULL;
    most = s[i] * error[i] > most ? s[i] * error[i] : most;
    for (size_t j = i; j < n; j++) A[i * n + j] *= s[i] * s[j];
    trace += A[i * n + i];
    top = A[i * n + i] > top ? A[i * n + i] : top;
  }
  /* twins and sums are below their exact values by far less than the factor 2 */
  double shift = 2 * (GAMMA(2 * ops + 16 + m) * most + phi * trace + 0x1p-53 * top) + 0x1p-250;
  for (size_t i = 0; i < n; i++) A[i * n + i] += sign * shift;
  return phi * (double)n < 0.25 && cholesky(c, A, n) ? A : NULL;
}

/* The matrix by rows of its longer side, each with its twin behind it. */
static double *written_out(lip_check *c, const step *s) {
  const bool across = s->M < s->N;
  size_t n = across ? s->M : s->N, m = across ? s->N : s->M;
  double *G = m <= LARGEST / n ? lip_check_take(c, m, 2 * n) : NULL;
  for (size_t e = 0; G && e < s->entries; e++) {
    double *g = G + (across ? 2 * n * s->column[e] + s->row[e] : 2 * n * s->row[e] + s->column[e]);
    g[n] = fabs(g[0] = s->val[e]);
  }
  return G;
}

bool lip_check_spectral(lip_check *c, const step *s, double claim) {
  size_t n = s->M < s->N ? s->M : s->N, m = s->M + s->N - n;
  double *G = written_out(c, s), *D = lip_check_take(c, n, 1);
  for (size_t k = 0; D && k < n; k++) D[k] = claim * claim * (1 - 0x1p-51);
  return G && D && (s->most == 0 || factor(c, D, n, G, m, n, NULL, -1, 0));
}

/* ---- forms ---- */

/* The form at `out` and its twin += w times those at a, over entries from .. to - 1. */
LIP_HOT static void add_form(double *restrict out, double w, const double *a, size_t from, size_t to,
                             size_t K) {
  double u = fabs(w);
  for (size_t j = from; w != 0 && j < to; j++) {
    out[j] += w * a[j];
    out[K + j] += u * a[K + j] + 0x1p-1000; /* times u: more than underflow takes */
  }
}

/* Units take the forms of their inputs and leave those of their outputs in their place: y = C z + w with |w| <= r |z|; of a
 * pair (s + w)/2 and (s - w)/2, the larger one first, with s = z_0 + z_1 and |w| <= |z_0 - z_1|. */
static void follow(const step *s, forms *f, size_t *var) {
  size_t K = f->K;
  for (size_t i = 0, m; i < s->M; i++) {
    if (!lip_check_is_unit(s, i, &m)) continue;
    double *z = f->A + (s->at + i) * 2 * K, *y = f->A + (s->at + m) * 2 * K, *h = f->H + *var * 2 * K;
    size_t own = f->base + *var;
    double C = f->C[*var] = (s->low + s->high) / 2, sign = -1;
    f->r[*var] = (s->high - s->low) / 2 * (1 + 0x1p-50); /* C was rounded, too */
    for (int twin = 0; twin < 2; twin++, z += K, y += K, h += K, C = fabs(C), sign = 1) {
      for (size_t j = 0; j < own; j++) {
        double a = z[j], b = y[j];
        h[j] = s->mate ? b + sign * a : a;
        z[j] = y[j] = s->mate ? (a + b) / 2 : C * a;
      }
      y[own] = !s->mate ? 1 : s->descending || twin ? 0.5 : -0.5;
      z[own] = !s->mate || twin ? y[own] : -y[own];
    }
    ++*var;
  }
}

/* The forms of a matrix's outputs from those of its inputs, of `end` entries. */
static bool through(lip_check *c, const step *s, forms *f, size_t end) {
  size_t K = f->K, from = 0, to = 0;
  struct held *before = c->held;
  double *Z = lip_check_take(c, s->M, 2 * K);
  for (size_t e = 0; Z && e < s->entries; e++) {
    const double *a = f->A + (s->at + s->column[e]) * 2 * K;
    if (e == 0 || s->column[e] != s->column[e - 1]) { /* what is not zero */
      for (from = 0, to = end; from < to && a[K + from] == 0;) from++;
      while (to > from && a[K + to - 1] == 0) to--;
    }
    add_form(Z + s->row[e] * 2 * K, s->val[e], a, from, to, K);
  }
  if (Z) memcpy(f->A + s->at * 2 * K, Z, s->M * 2 * K * sizeof *Z);
  lip_check_drop(c, before);
  f->ops += s->N + 8;
  return Z;
}

/* All forms, from the input itself, or from u in place of what the first matrix brings: R u, with `root` = R' and behind it
 * what its columns are to be divided by. */
static bool forms_make(lip_check *c, const double *root, forms *f) {
  size_t var = 0, vars = c->units, n = root ? c->step->M : c->net->n_in, K = n + vars;
  *f = (forms){.base = n, .vars = vars, .ops = 8};
  if (K > LARGEST / (c->stack + vars + 1)) return false;
  f->H = lip_check_take(c, vars + 1, 2 * K);
  f->r = lip_check_take(c, vars, 2);
  f->A = lip_check_take(c, c->stack, 2 * K);
  if (c->failed) return false;
  f->C = f->r + vars;
  f->K = K;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k <= i; k++)
      f->A[(2 * i + 1) * K + k] =
          fabs(f->A[2 * i * K + k] = root ? root[k * n + i] / root[n * n + i] : i == k);
  for (const step *s = c->step + (root != NULL); s < c->step + c->n; s++) {
    double *to = f->A + s->at * 2 * K;
    if (s->op == LINEAR && !through(c, s, f, n + var)) return f->K = 0, false;
    if (s->op == UNITS) follow(s, f, &var);
    if (s->op == MOVE) memmove(to, f->A + s->from_at * 2 * K, s->M * 2 * K * sizeof *to);
  }
  return true;
}

const forms *lip_check_forms(lip_check *c) {
  return c->input.K > 0 || forms_make(c, NULL, &c->input) ? &c->input : NULL;
}

/* The form of z_i - z_j, into the last row of H. */
static void last_form(const forms *f, size_t i, size_t j) {
  size_t K = f->K;
  double *g = f->H + f->vars * 2 * K, *a = f->A + i * 2 * K, *b = f->A + j * 2 * K;
  for (size_t k = 0; k < K; k++) g[k] = a[k] - b[k], g[K + k] = a[K + k] + b[K + k];
}

/* R' with R R' - W diag(d)^-1 W' positive semidefinite, as forms_make wants it; NULL: none found. */
static double *square_root(lip_check *c, const step *b, const double *d) {
  double *G = written_out(c, b), *w = d ? lip_check_take(c, b->N, 1) : NULL;
  for (size_t k = 0; w && k < b->N; k++) w[k] = 1 / d[k];
  return c->failed || !G ? NULL : factor(c, NULL, b->M, G, b->N, b->M, w, 1, 1);
}

/* The inequality of one target over forms that are there, in the last row that of z_i - z_j. */
static bool inequality(lip_check *c, const forms *f, double rho, const double *lambda, const double *d) {
  double *D = lip_check_take(c, f->K, 1), *t = lip_check_take(c, f->vars + 1, 1);
  bool fits = !c->failed;
  for (size_t v = 0; v <= f->vars && fits; v++) {
    t[v] = v < f->vars ? lambda[v] * f->r[v] * f->r[v] : 1;
    if (v < f->vars) D[f->base + v] = lambda[v], fits = IN_RANGE(lambda[v]);
    for (size_t k = 0; k < f->base + v; k++) fits = fits && f->H[(2 * v + 1) * f->K + k] <= 0x1p150;
  }
  for (size_t k = 0; fits && k < f->base; k++) D[k] = d ? rho * d[k] : rho;
  return fits && factor(c, D, f->K, f->H, f->vars + 1, f->base, t, -1, f->ops);
}

bool lip_check_quadratic(lip_check *c, size_t target, double pair) {
  const size_t n = c->net->n_in;
  const double *d = c->claims->weight ? c->claims->weight + target * n : NULL, rho = c->claims->rho[target];
  const bool shorter = c->n > 1 && c->step->op == LINEAR && c->step->M < c->step->N;
  double most = 0; /* the largest x'diag(d)x of the unit ball */
  for (size_t k = 0; k < n; k++) {
    double v = d ? d[k] : 1;
    if (!(v > 0 && v < INFINITY)) return false;
    most = c->claims->path[0] == 0 ? most + v : fmax(most, v);
  }
  if (!IN_RANGE(rho) || !(pair * pair * (1 - 0x1p-50) >= rho * most * (1 + GAMMA(n + 8)))) return false;
  forms own = {0}, *f = !shorter ? &c->input
                        : d      ? &own
                                 : &c->shorter; /* weights make another u for every target */
  struct held *before = c->held;
  const double *root = f->K == 0 && shorter ? square_root(c, c->step, d) : NULL;
  bool made = f->K > 0 || ((root || !shorter) && forms_make(c, root, f));
  if (made && f != &own) before = c->held; /* these forms stay */
  const double *lambda = c->claims->lambda + target * c->units, *pair_of = c->claims->target + 2 * target;
  if (made) last_form(f, (size_t)pair_of[0], (size_t)pair_of[1]);
  bool proved = made && inequality(c, f, rho, lambda, shorter ? NULL : d);
  lip_check_drop(c, before);
  return proved;
}

/* The spread of z_i - z_j from the last unit on: what stands before w_v is multiplied by r_v and spread over its form. Every
 * sum is rounded up together with the errors of the forms. */
double lip_check_abs(lip_check *c, size_t i, size_t j) {
  const forms *f = lip_check_forms(c);
  struct held *before = c->held;
  double *out = f ? lip_check_take(c, f->K, 1) : NULL, total = 0;
  if (!out) return INFINITY;
  const double error = 2 * GAMMA(f->ops), up = 1 + 2 * GAMMA(f->vars + 16);
  const int dual = DUAL(c->claims->path[0]);
  last_form(f, i, j);
  for (size_t v = f->vars + 1; v-- > 0;) {
    const double *g = f->H + v * 2 * f->K, w = v == f->vars ? 1 : out[f->base + v] * f->r[v] * up + FLOOR;
    for (size_t k = 0; k < f->base + v; k++) out[k] += w * (fabs(g[k]) + error * g[f->K + k]);
  }
  for (size_t k = 0; k < f->base; k++) /* a maximum overlooks NaN */
    total = out[k] < INFINITY ? lip_check_add(total, out[k] * up + FLOOR, dual) : (double)INFINITY;
  lip_check_drop(c, before);
  return lip_check_up(lip_check_norm_of(total, f->base, dual));
}

/* ---- local: lines around every unit, put in from the last one back to the input ---- */

/* What holds for every float32 input of one region. Values (stack): executed ones are within `wide` of the computed centre,
 * and within `off` of it and their form. Variables (K): at most `size`. Units: w >= k0 z + t0 and w <= k1 z + t1, z its form,
 * itself within `slop` of what the computed coefficients say, times a factor; the last slop: of last_form. */
typedef struct around {
  lip_check *c;
  const forms *f;
  double R, *low, *high; /* (n_in) of the input's increments */
  double *wide, *off, *more, *size, *line[4], *slop, *g;
} around;

/* sum_k of the least g d + mu |d| (p = 1) or g d + mu d^2 / 2 (p = 2) over low <= d <= high, minus what mu costs at most: a
 * lower bound of g d over ball and box for every mu >= 0, rounded down. *used: the norm of d, to its power. */
LIP_HOT static double dual(const around *a, const double *g, double mu, double *used) {
  size_t n = a->c->net->n_in;
  int p = a->c->claims->path[0];
  double sum = 0, all = 0, d2 = 0, half = p == 2 ? mu / 2 : 0, one = p == 1 ? mu : 0;
  for (size_t k = 0; k < n; k++) {
    double low = a->low[k], high = a->high[k], d = p == 2 && mu > 0 ? -g[k] / mu : g[k] > 0 ? low : high;
    double still = low > 0 ? low : high < 0 ? high : 0; /* the least |d| */
    d = p == 1 && fabs(g[k]) <= mu ? still : d < low ? low : d > high ? high : d;
    sum += g[k] * d + one * fabs(d) + half * d * d;
    all += fabs(g[k] * d) + one * fabs(d) + half * d * d;
    d2 += p == 1 ? fabs(d) : d * d;
  }
  *used = d2;
  double cost = p == 1 ? mu * a->R : p == 2 ? half * a->R * a->R : 0;
  return sum - cost - (GAMMA(n + 16) * all + 0x1p-50 * cost + FLOOR);
}

/* The best of some mu, halving between 0 and what a ball without a box asks for. */
static double least_input(const around *a, const double *g) {
  size_t n = a->c->net->n_in;
  int p = a->c->claims->path[0];
  double sum = 0, used, low = 0, R = p == 2 ? a->R * a->R : a->R;
  for (size_t k = 0; k < n; k++) sum = lip_check_add(sum, g[k], DUAL(p));
  double high = p == 0 || R == 0 ? 0
                : p == 2         ? sqrt(sum) / a->R
                                 : sum,
         mu = high, best = dual(a, g, mu, &used);
  for (int it = 0; it < 14 && high > 0 && !(used > R * 0.999999 && used < R * 1.000001); it++) {
    *(used > R ? &low : &high) = mu;
    mu = low + (high - low) / 2;
    double value = dual(a, g, mu, &used);
    best = value > best ? value : best;
  }
  return best;
}

/* A lower bound of sign times row `row` of H over the region; leaves the slop of the row. */
LIP_HOT static double least(const around *a, size_t row, double sign) {
  const forms *f = a->f;
  double fixed = 0, all = 0, slack = 0, *restrict g = a->g;
  for (size_t j = 0; j < f->base + row; j++) {
    g[j] = sign * f->H[row * 2 * f->K + j];
    slack += f->H[(row * 2 + 1) * f->K + j] * a->size[j];
  }
  slack = a->slop[row] = lip_check_up(slack * (1 + GAMMA(f->K + 16)));
  for (size_t v = row; v-- > 0;) {
    const double w = g[f->base + v], *h = f->H + v * 2 * f->K;
    const size_t up = w < 0 ? 2 : 0;
    if (w == 0) continue;
    double m = w * a->line[up][v], t = w * a->line[up + 1][v];
    fixed += t;
    all += fabs(t);
    slack += fabs(m) * a->slop[v];
    for (size_t k = 0; k < f->base + v; k++) g[k] += m * h[k];
  }
  double input = least_input(a, g), error = 2 * GAMMA(f->ops) + GAMMA(f->vars + 64);
  return fixed + input - lip_check_up((error * slack + GAMMA(2 * row + 64) * (all + fabs(input))) * 1.0001);
}

/* The slope of a unit, to a relative 2^-40. */
static double slope_at(const step *s, double z) {
  double e = exp(-fabs(s->unit == LIP_CHECK_SOFTPLUS ? s->slope * z : s->unit == LIP_CHECK_TANH ? 2 * z : z));
  if (s->unit == LIP_CHECK_LEAKY) return z >= 0 ? 1 : s->slope;
  if (s->unit == LIP_CHECK_SOFTPLUS) return (z >= 0 ? 1 : e) / (1 + e);
  return (s->unit == LIP_CHECK_TANH ? 4 : 1) * e / ((1 + e) * (1 + e));
}

/* Slopes k[0] below and k[1] above phi(at + d) - phi(at), low <= d <= high; t so that k[i] d + t[i] are bounds. Returns the
 * largest |phi(at + d) - phi(at)|. */
static double lines(const step *s, double at, double low, double high, double open, double k[2],
                    double t[2]) {
  const bool leaky = s->unit == LIP_CHECK_LEAKY, kink = leaky && at + low < 0 && at + high > 0;
  const double y = lip_check_unit(s, at), top = fmax(fabs(s->low), fabs(s->high));
  const double mid = low + (high - low) / 2;
  double point[3] = {low, high, kink ? -at : mid}, tangent = slope_at(s, at + mid), most = 0;
  double chord = high > low ? (lip_check_unit(s, at + high) - lip_check_unit(s, at + low)) / (high - low) : 0;
  const bool convex = leaky ? s->slope <= 1 : s->unit == LIP_CHECK_SOFTPLUS || at + high <= 0;
  const bool curved = leaky ? kink : convex || at + low >= 0;
  if (open == LIP_CHECK_OWN)
    open = at + high >= -(at + low) ? 1 : s->slope; /* Zhang et al. 2018, section 3.3 */
  double flat = leaky ? tangent : fmin(slope_at(s, at + low), slope_at(s, at + high)) * (1 - 0x1p-38);
  k[!convex] = kink ? open : curved ? tangent : flat;
  k[convex] = curved ? chord : flat;
  double steep = curved && !leaky ? 0x1p-38 * tangent + 0x1p-1000 : 0, /* of the tangent's slope; of values */
      error = leaky ? 0 : 2 * lip_check_unit_error(s, false, fabs(at) + fmax(fabs(low), fabs(high)), 1);
  t[0] = INFINITY;
  t[1] = -INFINITY;
  for (int i = 0; i < 3; i++) {
    double d = point[i], f = (kink && i == 2 ? 0 : lip_check_unit(s, at + d)) - y;
    double own = error + 0x1p-48 * (top * (fabs(at) + fabs(d)) + (fabs(k[0]) + fabs(k[1])) * fabs(d)) +
                 steep * (high - low);
    t[0] = fmin(t[0], f - k[0] * d - own);
    t[1] = fmax(t[1], f - k[1] * d + own);
    most = fmax(most, fabs(f) + own);
  }
  return lip_check_up(most);
}

static void values(around *a, const step *s) {
  lip_check *c = a->c;
  double *h = c->h + s->at, *wide = a->wide + s->at, *off = a->off + s->at, size = 0,
         factor = 1 + 2 * GAMMA(s->N + 16), *q = a->more, *g = q + c->stack, *unused = g + c->stack;
  for (size_t k = 0; k < s->N; k++) size = fmax(size, fabs(h[k]) + wide[k]);
  lip_check_apply(c, s);
  memset(q, 0, 2 * c->stack * sizeof *q);
  lip_check_columns(s, wide, unused, q);
  lip_check_columns(s, off, unused, g);
  for (size_t i = 0; i < s->M; i++) {
    double own = ERROR64(s) * c->t[i], moved = q[i] * factor, T = lip_check_up((c->t[i] + q[i]) * factor);
    own += lip_check_error32(s, T, lip_check_up(fabs(h[i]) + own + moved), size, 1);
    wide[i] = lip_check_up(moved + own);
    off[i] = lip_check_up(g[i] * factor + own);
  }
}

/* Unit `var` of step s at value i, whose partner is m. */
static void unit(around *a, const step *s, size_t i, size_t m, size_t var, double open) {
  const bool pair = s->mate;
  double *h = a->c->h + s->at, *wide = a->wide + s->at, *off = a->off + s->at, k[2], t[2], bound[2];
  double at = pair ? h[m] - h[i] : h[i], room = 0x1p-52 * fabs(at),
         reach = lip_check_up(pair ? wide[m] + wide[i] + room : wide[i]),
         own = (pair ? off[m] + off[i] : off[i]) + room;
  for (int side = 0; side < 2; side++) /* of z and of -z */
    bound[side] = fmin(lip_check_up(own - least(a, var, side ? 1 : -1)), reach);
  double e = lip_check_unit_error(s, true, lip_check_up(fabs(at) + reach), 1) +
             lip_check_unit_error(s, false, fabs(at), 1);
  double most = lines(s, at, -bound[1], bound[0], open, k, t), C = a->f->C[var],
         far = fmax(bound[0], bound[1]) + own;
  for (int side = 0; side < 2; side++) {
    a->line[2 * side][var] = k[side] - C;
    double more = lip_check_up(fabs(k[side]) * own + e + 0x1p-50 * (fabs(k[side]) + fabs(C)) * far);
    a->line[2 * side + 1][var] = t[side] + (side ? more : -more);
  }
  a->size[a->f->base + var] = lip_check_up(most + e + fabs(C) * far);
  wide[i] = wide[m] = pair ? fmax(wide[i], wide[m]) : lip_check_up(most + e);
  off[i] = off[m] = pair ? lip_check_up((off[i] + off[m]) / 2) : 0;
}

/* The region and room for what holds in it. False: no memory, too large, or outside of the box. */
static bool start(lip_check *c, const float *x, double R) {
  const lip_check_claims *claims = c->claims;
  const forms *f = lip_check_forms(c);
  around *a = c->around = lip_check_take(c, 1, (sizeof *a + 7) / 8);
  if (!f || !a) return false;
  *a = (around){.c = c, .f = f, .R = R};
  a->low = lip_check_take(c, f->base, 2);
  a->wide = c->wide = lip_check_take(c, c->stack, 5);
  a->size = lip_check_take(c, f->K, 2);
  a->slop = lip_check_take(c, f->vars + 1, 5);
  if (c->failed) return false;
  a->high = a->low + f->base;
  a->more = (a->off = a->wide + c->stack) + c->stack;
  a->g = a->size + f->K;
  for (size_t i = 0; i < 4; i++) a->line[i] = a->slop + (i + 1) * (f->vars + 1);
  for (size_t k = 0; k < f->base; k++) {
    double v = c->h[k] = (double)x[k], room = 0x1p-50 * fabs(v);
    a->low[k] = fmax(-R, claims->from - v - room - 0x1p-50 * fabs(claims->from));
    a->high[k] = fmin(R, claims->to - v + room + 0x1p-50 * fabs(claims->to));
    a->size[k] = a->wide[k] = fmax(fabs(a->low[k]), fabs(a->high[k]));
    if (!(a->low[k] <= a->high[k])) return false;
  }
  return true;
}

bool lip_check_around(lip_check *c, size_t row, const float *x, double R) {
  const double *slope = c->claims->slope ? c->claims->slope + row * c->units : NULL;
  if (!start(c, x, R)) return false;
  around *a = c->around;
  size_t var = 0;
  for (const step *s = c->step; s < c->step + c->n && !lip_check_stopped(c); s++) {
    for (size_t i = 0, m; s->op == UNITS && i < s->M && !lip_check_stopped(c); i++)
      if (lip_check_is_unit(s, i, &m)) unit(a, s, i, m, var, slope ? slope[var] : LIP_CHECK_OWN), var++;
    if (s->op == MOVE) memmove(a->wide + s->at, a->wide + s->from_at, s->M * sizeof *a->wide);
    if (s->op == MOVE) memmove(a->off + s->at, a->off + s->from_at, s->M * sizeof *a->off);
    if (s->op == LINEAR) values(a, s);
    if (s->op != LINEAR) lip_check_apply(c, s);
  }
  return !lip_check_stopped(c);
}

double lip_check_least(lip_check *c, size_t i, size_t j) {
  const around *a = c->around;
  last_form(a->f, i, j);
  double m = c->h[i] - c->h[j], low = least(a, a->f->vars, 1);
  return m + low - lip_check_up(a->off[i] + a->off[j] + 0x1p-50 * (fabs(m) + fabs(low)));
}
