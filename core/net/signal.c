#include "core/net/signal.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/norm/lanes.h"
#include "core/norm/symmetric.h"
#include "core/tensor/vec.h"

/* Closed-form multipliers leave at least so much between lambda and Q where h = 0. */
#define LEAST_SLACK 0.035
/* Q_FF stays below so much of lambda. Nearer to it the signal grows like 1 / (1 - NEAR), and rho would jump when the
 * weights move. */
#define NEAR 0.97
#define RAISE 1.02 /* of theta, as long as Q_FF is not */
#define STILL 1e-4 /* gradients of log rho in log theta below this hardly move it */
enum { EIGEN_COLD = 30, EIGEN_WARM = 2, TRIES = 400 };

typedef struct stage {
  size_t M, N, Mp, F, Fp; /* padded sizes; F units with an unknown slope */
  size_t at, index;       /* its first unit; its place among the stages */
  const lip_signal_stage *in;
  uint32_t *order;    /* (M) unit at position k: those with an unknown slope first */
  double *low, *high; /* (Mp) by position */
  double *T;          /* (N, Mp) the matrix by positions on both sides, transposed; NULL in the first stage */
} stage;

/* One thread's room at a stage: what the matrices need, and the signal by position. */
typedef struct local {
  double *Q, *R;  /* (Mp, Mp), and the Cholesky factor (Fp, Fp) of lambda - Q_FF; NULL in the last stage */
  double *lambda; /* (Mp) */
  double *z, *y, *delta;
  double q, pull; /* largest eigenvalue of Q; d rho / d q */
} local;

typedef struct room {
  local *at;          /* (n) */
  double *K, *A;      /* the matrix K of a stage; what Gram matrices are made of */
  double *v, *g, *dv; /* of the last stage: Q = v v', g, d rho / d v */
  double *a, *b;      /* any vector */
  double c;
} room;

struct lip_signals {
  size_t n, units, threads;
  lip_signal_stage *given;
  stage *stage;
  room *room;
  double *row; /* of a matrix, while it is read: as it is, and turned */
};

static size_t padded(size_t n) {
  return (n + LIP_PAD - 1) / LIP_PAD * LIP_PAD;
}

LIP_HOT static double dot(const double *restrict x, const double *restrict y, size_t n) {
  double part[8] = {0};
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (size_t k = 0; k < 8; k++) part[k] += x[i + k] * y[i + k];
  for (size_t k = 0; i + k < n; k++) part[k] += x[i + k] * y[i + k];
  return LIP_SUM8(part);
}
LIP_HOT static void axpy(double *restrict y, double a, const double *restrict x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}
LIP_HOT static void axpy_float(double *restrict y, double a, const float *restrict x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += a * (double)x[i];
}

/* ---- coordinates ---- */

static size_t mate_of(const stage *s, size_t k) {
  return s->in->mate ? s->in->mate[k] : k;
}

/* by position = rotation of `plain`, which is its own inverse. */
static void turn(const stage *s, const double *plain, double *by_position) {
  const double half = sqrt(0.5);
  for (size_t p = 0; p < s->M; p++) {
    size_t k = s->order[p], m = mate_of(s, k);
    by_position[p] = m == k ? plain[k] : (k < m ? plain[k] + plain[m] : plain[m] - plain[k]) * half;
  }
  for (size_t p = s->M; p < s->Mp; p++) by_position[p] = 0;
}
/* `scratch` (M). */
static void turn_back(const stage *s, const double *by_position, float *plain, double *scratch) {
  const double half = sqrt(0.5);
  for (size_t p = 0; p < s->M; p++) scratch[s->order[p]] = by_position[p];
  for (size_t k = 0; k < s->M; k++) {
    size_t m = mate_of(s, k);
    double v = m == k ? scratch[k] : (k < m ? scratch[k] + scratch[m] : scratch[m] - scratch[k]) * half;
    plain[k] = (float)v;
  }
}

void lip_signals_load(lip_signals *s) {
  for (size_t l = 1; l < s->n; l++) {
    const stage *k = &s->stage[l], *below = &s->stage[l - 1];
    const double half = sqrt(0.5);
    double *plain = s->row, *turned = s->row + k->N;
    for (size_t p = 0; p < k->M; p++) {
      size_t i = k->order[p], m = mate_of(k, i), low = i < m ? i : m, high = i < m ? m : i;
      const float *a = k->in->W + low * k->N, *b = k->in->W + high * k->N;
      double scale = m == i ? 1 : half, other = m == i ? 0 : i < m ? half : -half;
      for (size_t j = 0; j < k->N; j++) plain[j] = scale * (double)a[j] + other * (double)b[j];
      turn(below, plain, turned);
      for (size_t j = 0; j < k->N; j++) k->T[j * k->Mp + p] = turned[j];
    }
  }
}

/* ---- matrices, from the output on ---- */

/* R R' = near lambda - Q_FF; false when that is not positive definite. */
static bool factor(const stage *k, const double *Q, const double *lambda, double near, double *R) {
  memset(R, 0, k->Fp * k->Fp * sizeof *R);
  for (size_t i = 0; i < k->Fp; i++) {
    for (size_t j = 0; i < k->F && j <= i; j++) R[i * k->Fp + j] = -Q[i * k->Mp + j];
    R[i * k->Fp + i] += i < k->F ? near * lambda[i] : 1;
  }
  return lip_sym_cholesky(R, k->Fp);
}

static void solve_lower(const double *R, size_t ld, size_t n, double *b) {
  for (size_t i = 0; i < n; i++) b[i] = (b[i] - dot(R + i * ld, b, i)) / R[i * ld + i];
}
static void solve_upper(const double *R, size_t ld, size_t n, double *b) {
  for (size_t i = n; i-- > 0;) {
    b[i] /= R[i * ld + i];
    axpy(b, -b[i], R + i * ld, i);
  }
}

/* Largest eigenvalue of Q, nearly, from below; `top` is where to start and where it ended. */
static double eigenvalue(const stage *k, const double *Q, float *top, double *x, double *y) {
  double length = sqrt(lip_vec_square_sum(top, k->M)), value = 0;
  bool warm = length > 0 && isfinite(length);
  for (size_t i = 0; i < k->Mp; i++)
    x[i] = i >= k->M ? 0
           : warm    ? (double)top[i] / length
                     : (1 + 0.1 * sin((double)(i + 1))) / sqrt((double)k->M);
  for (int it = 0;; it++) {
    lip_sym_apply(Q, k->Mp, x, y);
    value = dot(x, y, k->M) / dot(x, x, k->M);
    double size = sqrt(dot(y, y, k->M));
    if (!(size > 0)) return 0;
    if (it == (warm ? EIGEN_WARM : EIGEN_COLD)) break;
    for (size_t i = 0; i < k->M; i++) x[i] = y[i] / size;
  }
  for (size_t i = 0; i < k->M; i++) top[i] = (float)x[i];
  return value;
}

static double h_of(const stage *k, size_t i) {
  return (k->low[i] + k->high[i]) / 2;
}
static double r_of(const stage *k, size_t i) {
  return (k->high[i] - k->low[i]) / 2;
}

static void set_lambda(const stage *k, local *l, double q, float *theta) {
  double *lambda = l->lambda;
  l->q = q;
  for (size_t i = 0; i < k->F; i++) {
    if (!(theta[i] > 0)) theta[i] = (float)(1 + fmax(fabs(h_of(k, i)) / r_of(k, i), LEAST_SLACK));
    lambda[i] = q * (double)theta[i];
  }
}
static void raise_theta(const stage *k, float *theta, double by) {
  for (size_t i = 0; i < k->F; i++) theta[i] = (float)((double)theta[i] * by);
}

/* The last stage: lambda, c and g. False when v is 0 or not finite. */
static bool start_at_top(const stage *k, room *w, float *theta) {
  local *l = &w->at[k->index];
  double q = dot(w->v, w->v, k->M), c = 0;
  if (!(q > 0) || !isfinite(q)) return false;
  set_lambda(k, l, q, theta);
  for (size_t i = 0; i < k->F; i++) c += w->v[i] * w->v[i] / l->lambda[i];
  if (c > NEAR) {
    raise_theta(k, theta, c / NEAR);
    set_lambda(k, l, q, theta);
    c = NEAR;
  }
  w->c = c;
  for (size_t i = 0; i < k->M; i++) w->g[i] = (i < k->F ? h_of(k, i) : k->low[i]) * w->v[i] / sqrt(1 - c);
  return true;
}

/* Q of the stage below the last: a Gram matrix, row a of A being column a of W, scaled, and W'g. */
static void gram_below_top(const stage *k, const stage *below, room *w) {
  const size_t n = padded(k->F + 1);
  const double *lambda = w->at[k->index].lambda;
  double *Q = w->at[below->index].Q;
  for (size_t i = 0; i < k->F; i++) w->a[i] = sqrt(lambda[i]) * r_of(k, i);
  for (size_t j = 0; j < below->Mp; j++) {
    double *row = w->A + j * n;
    const double *t = k->T + j * k->Mp;
    memset(row, 0, n * sizeof *row);
    if (j >= below->M) continue;
    for (size_t i = 0; i < k->F; i++) row[i] = w->a[i] * t[i];
    row[k->F] = dot(w->g, t, k->M);
  }
  memset(Q, 0, below->Mp * below->Mp * sizeof *Q);
  lip_sym_add_gram(Q, below->Mp, w->A, n, n);
  lip_sym_mirror(Q, below->Mp);
}

/* K of a stage in the middle, (Mp, Mp). */
static void dense_k(const stage *k, room *w) {
  local *l = &w->at[k->index];
  for (size_t p = 0; p < k->Mp; p++) {
    double *e = w->A + p * k->Fp;
    memset(e, 0, k->Fp * sizeof *e);
    if (p >= k->M) continue;
    if (p < k->F)
      e[p] = l->lambda[p] * h_of(k, p);
    else
      for (size_t i = 0; i < k->F; i++) e[i] = l->Q[p * k->Mp + i] * k->low[p];
    solve_lower(l->R, k->Fp, k->F, e);
  }
  memset(w->K, 0, k->Mp * k->Mp * sizeof *w->K);
  lip_sym_add_gram(w->K, k->Mp, w->A, k->Fp, k->Fp);
  lip_sym_mirror(w->K, k->Mp);
  for (size_t p = 0; p < k->F; p++) w->K[p * k->Mp + p] -= l->lambda[p] * k->low[p] * k->high[p];
  for (size_t p = k->F; p < k->M; p++)
    for (size_t i = k->F; i < k->M; i++) w->K[p * k->Mp + i] += k->low[p] * l->Q[p * k->Mp + i] * k->low[i];
}

/* Q below a stage in the middle: W'KW. */
static void product_below(const stage *k, const stage *below, room *w) {
  double *Q = w->at[below->index].Q;
  dense_k(k, w);
  memset(Q, 0, below->Mp * below->Mp * sizeof *Q);
  for (size_t j = 0; j < below->M; j++) {
    memset(w->a, 0, k->Mp * sizeof *w->a);
    for (size_t p = 0; p < k->M; p++) axpy(w->a, k->T[j * k->Mp + p], w->K + p * k->Mp, k->M);
    for (size_t i = 0; i <= j; i++) Q[j * below->Mp + i] = dot(w->a, k->T + i * k->Mp, k->M);
  }
  lip_sym_mirror(Q, below->Mp);
}

/* lambda and R of a stage whose Q is known; theta grows until they exist. */
static bool settle(const stage *k, room *w, float *theta, float *top) {
  local *l = &w->at[k->index];
  double q = eigenvalue(k, l->Q, top, w->a, w->b);
  if (!(q > 0) || !isfinite(q)) return false;
  set_lambda(k, l, q, theta);
  for (int turn = 0; turn < TRIES; turn++) {
    if (factor(k, l->Q, l->lambda, NEAR, l->R)) return factor(k, l->Q, l->lambda, 1, l->R);
    raise_theta(k, theta, RAISE);
    set_lambda(k, l, q, theta);
  }
  return false;
}

static bool matrices(lip_signals *s, room *w, lip_signal *out) {
  const stage *k = &s->stage[s->n - 1];
  if (!start_at_top(k, w, out->theta + k->at)) return false;
  for (; k->index > 0; k--) {
    if (k->index == s->n - 1)
      gram_below_top(k, k - 1, w);
    else
      product_below(k, k - 1, w);
    if (!settle(k - 1, w, out->theta + k[-1].at, out->top + k[-1].at)) return false;
  }
  return true;
}

/* ---- the signal ---- */

/* z of the stage after k. */
static void pass_on(room *w, const stage *k) {
  double *z = w->at[k->index + 1].z;
  memset(z, 0, k[1].Mp * sizeof *z);
  for (size_t j = 0; j < k->M; j++) axpy(z, w->at[k->index].y[j], k[1].T + j * k[1].Mp, k[1].M);
}

/* y of a stage from its z: what maximises. */
static void respond(const stage *k, room *w, bool last) {
  local *l = &w->at[k->index];
  double *b = l->y;
  for (size_t i = k->F; i < k->M; i++) b[i] = k->low[i] * l->z[i];
  for (size_t i = 0; i < k->F; i++) b[i] = l->lambda[i] * h_of(k, i) * l->z[i];
  if (last) {
    double t = dot(w->v + k->F, b + k->F, k->M - k->F), along = 0;
    for (size_t i = 0; i < k->F; i++) {
      b[i] = (b[i] + w->v[i] * t) / l->lambda[i];
      along += w->v[i] * b[i];
    }
    for (size_t i = 0; i < k->F; i++) b[i] += w->v[i] / l->lambda[i] * along / (1 - w->c);
    return;
  }
  for (size_t i = k->F; i < k->M; i++) axpy(b, b[i], l->Q + i * k->Mp, k->F);
  solve_lower(l->R, k->Fp, k->F, b);
  solve_upper(l->R, k->Fp, k->F, b);
}

/* y of the stages from k on, whose z is known; returns v y. */
static double climb(lip_signals *s, room *w, const stage *k) {
  for (;; k++) {
    respond(k, w, k->index + 1 == s->n);
    if (k->index + 1 == s->n) return dot(w->v, w->at[k->index].y, k->M);
    pass_on(w, k);
  }
}

/* delta of the stages from `first` on. */
static void descend_to(lip_signals *s, room *w, const stage *first, double out) {
  for (const stage *k = &s->stage[s->n - 1];; k--) {
    local *l = &w->at[k->index];
    for (size_t i = 0; i < k->F; i++)
      l->delta[i] =
          l->lambda[i] * ((k->low[i] + k->high[i]) * l->y[i] - 2 * k->low[i] * k->high[i] * l->z[i]);
    for (size_t i = k->F; i < k->M; i++)
      l->delta[i] =
          k->low[i] * (k->index + 1 == s->n ? 2 * out * w->v[i]
                                            : dot(k[1].T + i * k[1].Mp, w->at[k->index + 1].delta, k[1].M));
    if (k == first) return;
  }
}

/* x = W' delta / length. */
static void advance(const stage *k, room *w, float *x, float *plain) {
  turn_back(k, w->at[0].delta, plain, w->a);
  memset(w->b, 0, k->N * sizeof *w->b);
  for (size_t i = 0; i < k->M; i++) axpy_float(w->b, (double)plain[i], k->in->W + i * k->N, k->N);
  double length = sqrt(dot(w->b, w->b, k->N));
  if (!(length > 0) || !isfinite(length)) return;
  for (size_t j = 0; j < k->N; j++) x[j] = (float)(w->b[j] / length);
}

/* Adam (Kingma and Ba 2015) on log theta, without the correction of its first steps. */
static double moved(double log_theta, double g, double rate, float *mean, float *square) {
  *mean = (float)(0.9 * (double)*mean + 0.1 * g);
  *square = (float)(0.99 * (double)*square + 0.01 * g * g);
  double to = log_theta - rate * (double)*mean / (sqrt((double)*square) + STILL);
  return fmin(fmax(to, -12), 12);
}

/* d rho / d lambda_k, for unit k at position i. */
static double slack(const stage *k, const local *l, size_t i) {
  return (l->y[i] - k->low[i] * l->z[i]) * (k->high[i] * l->z[i] - l->y[i]);
}

static void descend(const stage *k, const local *l, double rho, double rate, lip_signal *out) {
  float *mean = out->mean + k->at, *square = out->square + k->at, *theta = out->theta + k->at;
  double sum = 0;
  for (size_t i = 0; i < k->F; i++) {
    double g = l->lambda[i] * slack(k, l, i) / rho;
    sum += g;
    if (!out->shared) theta[i] = (float)exp(moved(log((double)theta[i]), g, rate, mean + i, square + i));
  }
  if (!out->shared || k->F == 0) return;
  double factor = exp(moved(0, sum, rate, mean, square));
  for (size_t i = 0; i < k->F; i++) theta[i] = (float)(factor * (double)theta[i]);
}

/* What one signal, in the stages from `first` on, adds to the gradient, `weight` times: y and delta are kept, the part
 * in v is added to w->dv, that in the q of each stage to its `pull`. */
static void keep(lip_signals *s, room *w, const stage *first, double weight, double out, lip_signal *to,
                 size_t source) {
  const stage *top = &s->stage[s->n - 1];
  descend_to(s, w, first, out);
  axpy(w->dv, 2 * weight * out, w->at[top->index].y, top->M);
  for (const stage *k = first; k <= top; k++) {
    local *l = &w->at[k->index];
    float *y = to->y + source * s->units + k->at, *delta = to->delta + source * s->units + k->at;
    for (size_t i = 0; i < k->F; i++) l->pull += weight * slack(k, l, i) * l->lambda[i] / l->q;
    turn_back(k, l->y, y, w->a);
    for (size_t i = 0; i < k->M; i++) w->b[i] = weight * l->delta[i];
    turn_back(k, w->b, delta, w->a);
  }
}

/* The signals of the eigenvalues q, from the first stage on: each weighs what all before it have made of it. */
static void keep_eigenvalues(lip_signals *s, room *w, lip_signal *to) {
  for (const stage *k = s->stage; k->index + 1 < s->n; k++) {
    local *l = &w->at[k->index];
    for (size_t i = 0; i < k->M; i++) l->y[i] = (double)to->top[k->at + i];
    turn_back(k, l->y, to->y + (k->index + 1) * s->units + k->at, w->a);
    pass_on(w, k);
    keep(s, w, k + 1, l->pull, climb(s, w, k + 1), to, k->index + 1);
  }
  axpy(w->dv, 2 * w->at[s->n - 1].pull, w->v, s->stage[s->n - 1].M); /* its q is v v */
}

static void give_up(lip_signals *s, lip_signal *out, double rho) {
  memset(out->y, 0, s->n * s->units * sizeof *out->y);
  memset(out->delta, 0, s->n * s->units * sizeof *out->delta);
  memset(out->dv, 0, s->stage[s->n - 1].M * sizeof *out->dv);
  out->rho = rho;
}

static double forward(lip_signals *s, room *w, const float *x) {
  const stage *k = s->stage;
  for (size_t i = 0; i < k->M; i++) w->a[i] = lip_vec_dot(k->in->W + i * k->N, x, k->N);
  turn(k, w->a, w->at[0].z);
  return climb(s, w, k);
}

void lip_signals_run(lip_signals *s, size_t share, const float *vi, const float *vj, size_t rounds,
                     double rate, lip_signal *out) {
  const stage *top = &s->stage[s->n - 1];
  room *w = &s->room[share];
  for (size_t i = 0; i < top->M; i++) w->a[i] = (double)vi[i] - (double)vj[i];
  turn(top, w->a, w->v);
  double size = dot(w->v, w->v, top->M), vy;
  if (!matrices(s, w, out)) {
    give_up(s, out, size == 0 ? 0 : NAN);
    return;
  }
  for (size_t round = 0;; round++) {
    vy = forward(s, w, out->x);
    if (round == rounds) break;
    descend_to(s, w, s->stage, vy);
    advance(s->stage, w, out->x, out->y);
  }
  memset(w->dv, 0, top->Mp * sizeof *w->dv);
  for (size_t l = 0; l < s->n; l++) w->at[l].pull = 0;
  keep(s, w, s->stage, 1, vy, out, 0);
  out->rho = dot(w->at[0].z, w->at[0].delta, s->stage->M) / 2;
  for (const stage *k = s->stage; k <= top; k++) {
    for (size_t i = 0; out->lambda && i < k->M; i++)
      out->lambda[k->at + k->order[i]] = i < k->F ? w->at[k->index].lambda[i] : 0;
    if (out->mean && out->rho > 0) descend(k, &w->at[k->index], out->rho, rate, out);
  }
  keep_eigenvalues(s, w, out);
  turn_back(top, w->dv, out->dv, w->a);
}

/* ---- making and freeing ---- */

static bool new_stage(lip_signals *s, size_t i) {
  const lip_signal_stage *in = &s->given[i];
  stage *k = &s->stage[i];
  *k = (stage){.M = in->M, .N = in->N, .Mp = padded(in->M), .at = s->units, .index = i, .in = in};
  k->order = lip_alloc(k->M, sizeof *k->order);
  k->low = lip_alloc(k->Mp, sizeof *k->low);
  k->high = lip_alloc(k->Mp, sizeof *k->high);
  if (i > 0) k->T = lip_alloc(k->N * k->Mp, sizeof *k->T);
  if (!k->order || !k->low || !k->high || (i > 0 && !k->T)) return false;
  for (size_t known = 0, at = 0; known < 2; known++)
    for (size_t u = 0; u < k->M; u++) {
      if ((in->low[u] < in->high[u]) == known) continue;
      k->order[at] = (uint32_t)u;
      k->low[at] = in->low[u];
      k->high[at++] = in->high[u];
      k->F += !known;
    }
  k->Fp = padded(k->F);
  s->units += k->M;
  return true;
}

static bool new_room(const lip_signals *s, room *w) {
  size_t wide = 0, tall = 0, square = 0; /* vectors, A, K */
  w->at = lip_alloc(s->n, sizeof *w->at);
  if (!w->at) return false;
  for (size_t i = 0; i < s->n; i++) {
    const stage *k = &s->stage[i];
    local *l = &w->at[i];
    if (k->Mp > wide) wide = k->Mp;
    if (k->N > wide) wide = k->N;
    l->lambda = lip_alloc(4 * k->Mp, sizeof *l->lambda);
    if (!l->lambda) return false;
    l->z = l->lambda + k->Mp;
    l->y = l->z + k->Mp;
    l->delta = l->y + k->Mp;
    if (i + 1 == s->n) break;
    if (i > 0 && k->Mp > square) square = k->Mp;
    l->Q = lip_alloc(k->Mp * k->Mp, sizeof *l->Q);
    l->R = lip_alloc(k->Fp * k->Fp, sizeof *l->R);
    if (!l->Q || !l->R) return false;
    size_t below_top = k->Mp * padded(k[1].F + 1), own = k->Mp * k->Fp;
    if (below_top > tall) tall = below_top;
    if (own > tall) tall = own;
  }
  w->K = lip_alloc(square * square, sizeof *w->K);
  w->A = lip_alloc(tall, sizeof *w->A);
  w->v = lip_alloc(5 * wide, sizeof *w->v);
  if (!w->K || !w->A || !w->v) return false;
  w->g = w->v + wide;
  w->a = w->g + wide;
  w->b = w->a + wide;
  w->dv = w->b + wide;
  return true;
}

lip_signals *lip_signals_new(const lip_signal_stage *given, size_t n, size_t threads) {
  lip_signals *s = lip_alloc(1, sizeof *s);
  if (!s) return NULL;
  size_t wide = 0;
  *s = (lip_signals){.n = n, .threads = threads};
  s->given = lip_alloc(n, sizeof *s->given);
  s->stage = lip_alloc(n, sizeof *s->stage);
  s->room = lip_alloc(threads, sizeof *s->room);
  bool complete = s->given && s->stage && s->room;
  if (complete) memcpy(s->given, given, n * sizeof *given);
  for (size_t i = 0; complete && i < n; i++) complete = new_stage(s, i);
  for (size_t i = 0; complete && i < n; i++)
    if (s->stage[i].N + s->stage[i].Mp > wide) wide = s->stage[i].N + s->stage[i].Mp;
  for (size_t i = 0; complete && i < threads; i++) complete = new_room(s, &s->room[i]);
  if (complete) s->row = lip_alloc(2 * wide, sizeof *s->row);
  if (complete && s->row) return s;
  lip_signals_free(s);
  return NULL;
}

void lip_signals_free(lip_signals *s) {
  if (!s) return;
  for (size_t i = 0; s->stage && i < s->n; i++) {
    lip_free(s->stage[i].order);
    lip_free(s->stage[i].low);
    lip_free(s->stage[i].high);
    lip_free(s->stage[i].T);
  }
  for (size_t t = 0; s->room && t < s->threads; t++) {
    room *w = &s->room[t];
    for (size_t i = 0; w->at && i < s->n; i++) {
      lip_free(w->at[i].Q);
      lip_free(w->at[i].R);
      lip_free(w->at[i].lambda);
    }
    lip_free(w->at);
    lip_free(w->K);
    lip_free(w->A);
    lip_free(w->v);
  }
  lip_free(s->given);
  lip_free(s->stage);
  lip_free(s->room);
  lip_free(s->row);
  lip_free(s);
}
