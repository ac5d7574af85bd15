#include "core/norm/power.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/base/simd.h"
#include "core/norm/lanes.h"
#include "core/norm/rows.h"

/* Inside by more than float32 rounding, so that a matrix just scaled is not touched again. */
#define AIM (1 - 0x1p-20)

enum { L = 16, VECTORS = 2, ROWS = 4, COLD_ROUNDS = 12, WARM_ROUNDS = 2 };
#define SETTLED 0x1p-7
/* Maps have many singular values close to the largest (waves of nearly the same frequency), so that estimates grow slowly. */
enum { MAP_COLD_ROUNDS = 40, MAP_WARM_ROUNDS = 3 };
#define MAP_COLD_SETTLED 0x1p-12
#define MAP_SETTLED 0x1p-9
/* Rows that count for nothing beside a norm of 2^-10 or more: units that died and were scaled ever since. Their products
 * would be denormals, which processors are slow at. */
#define NOTHING 0x1p-45f

/* Gram matrices of Y = alpha W Q' and of Z = alpha Y' W. */
typedef struct grams {
  double Y[VECTORS][VECTORS], Z[VECTORS][VECTORS];
} grams;

struct lip_power {
  size_t pieces, M, N, b;
  float *Q,
      *Z; /* (b,pieces,N) each, rows of one piece of Q orthonormal; behind Q: 0 until it has been started */
  /* of maps only: */
  float *Y;     /* (b,pieces,M) */
  float *alpha; /* (pieces) */
  grams *g;     /* (pieces) */
};

/* ---- the pass: four rows at a time, so that they are still cached when they come to be used again ---- */

LIP_INLINE float sum16(const lip_f16 *v) {
  lip_f8 half[2];
  memcpy(half, v, sizeof half);
  half[0] += half[1];
  return LIP_SUM8(half[0]);
}

/* Columns c to c + len of the rows. */
LIP_INLINE void add_products(const float *W, size_t N, size_t rows, size_t b, const float *Q, size_t c,
                             size_t len, lip_f16 (*part)[VECTORS]) {
  lip_f16 w[ROWS], q;
  for (size_t r = 0; r < rows; r++) lip_load16(&w[r], W + r * N + c, len);
  for (size_t k = 0; k < b; k++) {
    lip_load16(&q, Q + k * N + c, len);
    for (size_t r = 0; r < rows; r++) part[r][k] += w[r] * q;
  }
}
LIP_INLINE void add_rows(const float *W, size_t N, size_t rows, size_t b, float *Z, size_t c, size_t len,
                         float (*y)[VECTORS]) {
  lip_f16 w[ROWS], z;
  for (size_t r = 0; r < rows; r++) lip_load16(&w[r], W + r * N + c, len);
  for (size_t k = 0; k < b; k++) {
    lip_load16(&z, Z + k * N + c, len);
    for (size_t r = 0; r < rows; r++) z += w[r] * y[r][k];
    lip_store16(Z + k * N + c, &z, len);
  }
}

LIP_INLINE void rows_step(const float *W, size_t N, size_t rows, size_t b, const float *Q, float *Z,
                          float alpha, float (*y)[VECTORS]) {
  lip_f16 part[ROWS][VECTORS] = {{{0}}};
  float scaled[ROWS][VECTORS];
  size_t c = 0;
  for (; c + L <= N; c += L) add_products(W, N, rows, b, Q, c, L, part);
  if (c < N) add_products(W, N, rows, b, Q, c, N - c, part);
  for (size_t r = 0; r < rows; r++)
    for (size_t k = 0; k < b; k++) {
      y[r][k] = sum16(&part[r][k]);
      scaled[r][k] = fabsf(y[r][k]) < NOTHING ? 0 : y[r][k] * alpha;
    }
  for (c = 0; c + L <= N; c += L) add_rows(W, N, rows, b, Z, c, L, scaled);
  if (c < N) add_rows(W, N, rows, b, Z, c, N - c, scaled);
}

LIP_INLINE void pass(const float *W, size_t M, size_t N, size_t b, const float *Q, float *Z, float alpha,
                     double (*Y)[VECTORS]) {
  for (size_t i = 0, rows; i < M; i += rows) {
    float y[ROWS][VECTORS];
    rows = M - i >= ROWS ? ROWS : 1;
    if (rows == ROWS)
      rows_step(W + i * N, N, ROWS, b, Q, Z, alpha, y);
    else
      rows_step(W + i * N, N, 1, b, Q, Z, alpha, y);
    for (size_t r = 0; r < rows; r++)
      for (size_t k = 0; k < b; k++)
        for (size_t l = 0; l < b; l++) Y[k][l] += (double)y[r][k] * (double)y[r][l];
  }
}
LIP_HOT static void pass1(const float *W, size_t M, size_t N, const float *Q, float *Z, float alpha,
                          double (*Y)[VECTORS]) {
  pass(W, M, N, 1, Q, Z, alpha, Y);
}
LIP_HOT static void pass2(const float *W, size_t M, size_t N, const float *Q, float *Z, float alpha,
                          double (*Y)[VECTORS]) {
  pass(W, M, N, 2, Q, Z, alpha, Y);
}

LIP_HOT static double dot(const float *x, const float *y, size_t n) {
  double part[L] = {0};
  size_t i = 0;
  for (; i + L <= n; i += L)
    for (size_t k = 0; k < L; k++) part[k] += (double)x[i + k] * (double)y[i + k];
  for (size_t k = 0; i + k < n; k++) part[k] += (double)x[i + k] * (double)y[i + k];
  for (size_t half = L / 2; half > 0; half /= 2)
    for (size_t k = 0; k < half; k++) part[k] += part[k + half];
  return part[0];
}

LIP_HOT static void axpy(float *y, float a, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* Sums of squares in the range in which float32 loses nothing that counts. */
static bool precise(const grams *g, size_t b) {
  for (size_t k = 0; k < b; k++)
    if (!(g->Y[k][k] < 0x1p60 && g->Z[k][k] < 0x1p60)) return false;
  return g->Y[0][0] > 0x1p-20 && g->Z[0][0] > 0x1p-40;
}

/* A power of two that brings the n weights near 1; 0: they are zero or not finite. */
static float power_for(const float *W, size_t n) {
  float top = lip_row_abs_max(W, n);
  int e;
  if (top == 0 || !isfinite(top)) return 0;
  (void)frexpf(top, &e);
  return ldexpf(1, e > 100 ? -100 : e < -120 ? 120 : -e);
}

/* One pass with entries as they are, and one with them brought near 1 by a power of two where sums left the range in which
 * float32 is precise. Returns that power, alpha; 0: W is zero or not finite. */
static float multiply(const float *W, size_t M, size_t N, size_t b, float *Q, float *Z, grams *g) {
  float alpha = 1;
  for (int turn = 0; turn < 2; turn++) {
    memset(Z, 0, b * N * sizeof *Z);
    memset(g, 0, sizeof *g);
    (b == 1 ? pass1 : pass2)(W, M, N, Q, Z, alpha, g->Y);
    for (size_t k = 0; k < b; k++)
      for (size_t l = 0; l <= k; l++) g->Z[k][l] = g->Z[l][k] = dot(Z + k * N, Z + l * N, N);
    if (turn == 1 || precise(g, b)) break;
    alpha = power_for(W, M * N);
    if (alpha == 0) return 0;
    for (size_t j = 0; j < b * N; j++) Q[j] *= alpha; /* they are replaced before long */
  }
  return alpha;
}

/* Length 1; false when there is no direction. */
static bool unit(float *q, size_t N) {
  double length = sqrt(dot(q, q, N));
  if (!(length > 0) || !isfinite(length)) return false;
  for (size_t j = 0; j < N; j++) q[j] = (float)((double)q[j] / length);
  return true;
}

static void random_row(float *q, size_t N, lip_rng *rng) {
  for (size_t j = 0; j < N; j++) q[j] = (float)lip_rng_normal(rng);
  unit(q, N);
}

/* ---- estimates ---- */

/* Iterates in float32; what it arrives at is measured in double. */
double lip_power_estimate(const float *W, size_t M, size_t N, size_t iterations, double *v, double *scratch) {
  float *q = (float *)scratch, *z = q + N;
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  grams g;
  double top = 0, sum = 0;
  for (size_t j = 0; v && j < N; j++) top = fmax(top, fabs(v[j]));
  for (size_t j = 0; v && j < N; j++) q[j] = top > 0 ? (float)(v[j] / top) : 0;
  if (!v || !unit(q, N)) random_row(q, N, &rng);
  for (size_t it = 0; it < iterations && !lip_cancelled(); it++) {
    float alpha = multiply(W, M, N, 1, q, z, &g);
    bool moved = alpha > 0 && unit(z, N);
    if (moved) memcpy(q, z, N * sizeof *q);
    if (!moved) break;
  }
  for (size_t i = 0; i < M; i++) {
    double y = dot(W + i * N, q, N);
    sum += y * y;
  }
  double length = sqrt(dot(q, q, N));
  for (size_t j = 0; v && j < N; j++) v[j] = (double)q[j] / length;
  return sqrt(sum) / length;
}

/* ---- the projection ---- */

static lip_power *new_power(size_t pieces, size_t M, size_t N) {
  lip_power *p = lip_alloc(1, sizeof *p);
  if (!p) return NULL;
  *p = (lip_power){.pieces = pieces, .M = M, .N = N, .b = M < VECTORS ? M : VECTORS};
  if (N < p->b) p->b = N;
  p->Q = lip_alloc(p->b * pieces * N + 1, sizeof(float));
  p->Z = lip_alloc(p->b * pieces * N, sizeof(float));
  if (p->Q && p->Z) return p;
  lip_power_free(p);
  return NULL;
}

lip_power *lip_power_new(size_t M, size_t N) {
  return new_power(1, M, N);
}

lip_power *lip_power_new_map(size_t pieces, size_t M, size_t N) {
  lip_power *p = new_power(pieces, M, N);
  if (!p) return NULL;
  p->Y = lip_alloc(p->b * pieces * M, sizeof(float));
  p->alpha = lip_alloc(pieces, sizeof(float));
  p->g = lip_alloc(pieces, sizeof(grams));
  if (p->Y && p->alpha && p->g) return p;
  lip_power_free(p);
  return NULL;
}

void lip_power_free(lip_power *p) {
  if (!p) return;
  lip_free(p->Q);
  lip_free(p->Z);
  lip_free(p->Y);
  lip_free(p->alpha);
  lip_free(p->g);
  lip_free(p);
}

float *lip_power_warm(lip_power *p, size_t *n) {
  *n = p->b * p->pieces * p->N + 1;
  return p->Q;
}

/* The largest t and its direction c with Z c = t Y c, the Gram matrices: t is the largest ||W'y||^2 / ||y||^2 for y in the
 * span of Y. What is left of the second vector of Y once the first is taken out must be there. */
static double largest(const grams *g, size_t b, double c[VECTORS]) {
  double first = g->Z[0][0] / g->Y[0][0];
  c[0] = 1, c[1] = 0;
  if (b == 1 || !(g->Y[0][0] > 0)) return first;
  double shear = g->Y[0][1] / g->Y[0][0], left = g->Y[1][1] - shear * g->Y[0][1];
  if (!(left > 0x1p-20 * g->Y[1][1])) return first;
  /* in the basis y1 / |y1|, (y2 - shear y1) / sqrt(left): a symmetric matrix (p r; r q) */
  double r = (g->Z[0][1] - shear * g->Z[0][0]) / sqrt(g->Y[0][0] * left);
  double q = (g->Z[1][1] - 2 * shear * g->Z[0][1] + shear * shear * g->Z[0][0]) / left;
  double half = (first - q) / 2, root = sqrt(half * half + r * r), t = (first + q) / 2 + root;
  double u = half >= 0 ? half + root : r, w = half >= 0 ? r : root - half; /* eigenvector of t */
  c[1] = w / sqrt(left);
  c[0] = u / sqrt(g->Y[0][0]) - shear * c[1];
  return t;
}

/* Vector k of a piece in Q or Z. */
static float *vector(const lip_power *p, float *of, size_t piece, size_t k) {
  return of + (k * p->pieces + piece) * p->N;
}

/* Rows of Q: the direction found, and what the other vector has beside it. */
static void follow(lip_power *p, size_t piece, const double c[VECTORS]) {
  size_t N = p->N;
  float *z0 = vector(p, p->Z, piece, 0), *z1 = vector(p, p->Z, piece, p->b - 1),
        *q0 = vector(p, p->Q, piece, 0);
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 1);
  double size = fmax(fabs(c[0]), fabs(c[1]));
  const float *other = fabs(c[0]) >= fabs(c[1]) ? z1 : z0;
  memcpy(q0, z0, N * sizeof *q0);
  if (p->b > 1 && size > 0 && isfinite(size)) {
    for (size_t j = 0; j < N; j++) q0[j] = (float)((c[0] * (double)z0[j] + c[1] * (double)z1[j]) / size);
  }
  if (!unit(q0, N)) random_row(q0, N, &rng);
  if (p->b == 1) return;
  float *q = vector(p, p->Q, piece, 1);
  memcpy(q, other, N * sizeof *q);
  for (int turn = 0; turn < 3; turn++) {
    if (!unit(q, N)) random_row(q, N, &rng);
    double along = dot(q0, q, N);
    axpy(q, (float)-along, q0, N);
    if (fabs(along) < 0.9) break;
    if (dot(q, q, N) < 0x1p-30) memset(q, 0, N * sizeof *q); /* nothing was left but rounding */
  }
  unit(q, N);
}

static void restart(lip_power *p, size_t piece) {
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  for (size_t k = 0; k < p->b; k++) random_row(vector(p, p->Q, piece, k), p->N, &rng);
}

/* Larger eigenvalue of a symmetric matrix. */
static double larger(double A[VECTORS][VECTORS], size_t b) {
  if (b == 1) return A[0][0];
  double half = (A[0][0] - A[1][1]) / 2;
  return (A[0][0] + A[1][1]) / 2 + sqrt(half * half + A[0][1] * A[0][1]);
}

/* The estimated norm of a piece from a pass; 0 when there is none. *gain: how much more its square is than before the
 * pass. */
static double settle(lip_power *p, size_t piece, const grams *g, float alpha, double *gain) {
  double c[VECTORS], before[VECTORS][VECTORS], t = largest(g, p->b, c);
  *gain = 0;
  if (!isfinite(t)) { /* the vectors are of no use for this matrix */
    restart(p, piece);
    return 0;
  }
  memcpy(before, g->Y, sizeof before);
  *gain = t / larger(before, p->b) - 1;
  follow(p, piece, c);
  return sqrt(t) / (double)alpha;
}

static double advance(lip_power *p, const float *W, double *gain) {
  grams g;
  float alpha = multiply(W, p->M, p->N, p->b, p->Q, p->Z, &g);
  *gain = 0;
  return alpha == 0 ? 0 : settle(p, 0, &g, alpha, gain);
}

/* One pass when the matrix has moved little, as in training; more as long as the estimate grows. */
void lip_power_radial(lip_power *p, float *W, double radius) {
  float *started = p->Q + p->b * p->N;
  double gain = 0, sigma = 0;
  if (*started == 0) restart(p, 0);
  for (int i = 0; i < (*started == 0 ? COLD_ROUNDS : WARM_ROUNDS); i++) {
    sigma = fmax(sigma, advance(p, W, &gain));
    if (!(gain > SETTLED)) break;
  }
  if (sigma > 0) *started = 1;
  lip_power_scale(W, p->M * p->N, sigma, radius);
}

void lip_power_scale(float *W, size_t n, double sigma, double radius) {
  double s = radius * AIM / sigma;
  if (!(sigma > radius)) return;
  if (s > 0x1p-100)
    lip_row_shrink(W, n, (float)s);
  else
    lip_row_scale(W, n, s);
}

/* ---- of maps ---- */

/* Y = alpha W Q' and Z = alpha Y' W of all pieces, and their Gram matrices. */
static void map_products(lip_power *p, const lip_power_map *m, const float *W, void *scratch) {
  m->forward(m->arg, W, p->b, p->Q, p->Y, scratch);
  for (size_t i = 0; i < p->pieces; i++) {
    grams *g = &p->g[i];
    for (size_t k = 0; k < p->b; k++)
      for (size_t l = 0; l <= k; l++)
        g->Y[k][l] = g->Y[l][k] =
            dot(p->Y + (k * p->pieces + i) * p->M, p->Y + (l * p->pieces + i) * p->M, p->M);
    for (size_t k = 0; k < p->b && p->alpha[i] != 1; k++) {
      float *y = p->Y + (k * p->pieces + i) * p->M;
      for (size_t j = 0; j < p->M; j++) y[j] *= p->alpha[i];
    }
  }
  m->back(m->arg, W, p->b, p->Y, p->Z, scratch);
  for (size_t i = 0; i < p->pieces; i++)
    for (size_t k = 0; k < p->b; k++)
      for (size_t l = 0; l <= k; l++)
        p->g[i].Z[k][l] = p->g[i].Z[l][k] = dot(vector(p, p->Z, i, k), vector(p, p->Z, i, l), p->N);
}

/* Powers of two for the pieces whose sums left the range in which float32 is precise, 0 where weights are zero or not finite.
 * True when some product has to be done once more. */
static bool rescale(lip_power *p, const lip_power_map *m, const float *W) {
  bool again = false;
  for (size_t i = 0; i < p->pieces; i++) {
    if (precise(&p->g[i], p->b)) continue;
    p->alpha[i] = power_for(W + i * m->weights, m->weights);
    if (p->alpha[i] == 0 || p->alpha[i] == 1) continue;
    again = true;
    for (size_t k = 0; k < p->b; k++) {
      float *q = vector(p, p->Q, i, k);
      for (size_t j = 0; j < p->N; j++) q[j] *= p->alpha[i]; /* they are replaced before long */
    }
  }
  return again;
}

/* Raises sigma to what one pass finds; returns the largest gain. */
static double map_advance(lip_power *p, const lip_power_map *m, const float *W, double *sigma,
                          void *scratch) {
  double most = 0, gain;
  for (size_t i = 0; i < p->pieces; i++) p->alpha[i] = 1;
  map_products(p, m, W, scratch);
  if (rescale(p, m, W)) map_products(p, m, W, scratch);
  for (size_t i = 0; i < p->pieces; i++) {
    if (p->alpha[i] == 0) continue;
    sigma[i] = fmax(sigma[i], settle(p, i, &p->g[i], p->alpha[i], &gain));
    most = fmax(most, gain);
  }
  return most;
}

void lip_power_norms(lip_power *p, const lip_power_map *m, const float *W, double *sigma, void *scratch) {
  float *started = p->Q + p->b * p->pieces * p->N;
  double found = 0;
  for (size_t i = 0; i < p->pieces; i++) {
    if (*started == 0) restart(p, i);
    sigma[i] = 0;
  }
  for (int i = 0; i < (*started == 0 ? MAP_COLD_ROUNDS : MAP_WARM_ROUNDS); i++)
    if (!(map_advance(p, m, W, sigma, scratch) > (*started == 0 ? MAP_COLD_SETTLED : MAP_SETTLED))) break;
  for (size_t i = 0; i < p->pieces; i++) found = fmax(found, sigma[i]);
  if (found > 0) *started = 1;
}
