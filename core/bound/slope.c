/* J = W_n S_{n-1} W_{n-1} ... S_1 W_1, S_l the slopes at the values of the units; for a pair S is diagonal in sum and
 * difference, turn S turn / 2 in the units themselves, and symmetric.
 *
 * J is piecewise constant for relu and its kin, so u' J v has no gradient of use. With the slope s(z) of each unit
 * replaced by its mean over [z - w, z + w],
 *   d(u' J v)/dx = sum_k r_k t_k (s(z_k + w) - s(z_k - w)) / 2w  dz_k/dx,
 * r the gradient of u'f in the unit's output, t the increment of its input along v: a unit whose slope would help is
 * drawn to where its slope is larger. */
#include "core/bound/slope.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/affine/bend.h"
#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/tensor/gemm.h"

/* (P, M) each, in sum and difference for pairs. */
typedef struct lip_slope_block {
  float *z, *s, *ds, *t, *r;
  float *left,
      *right; /* (M) slopes below and above 0 where `kinked`: linear on either side, through the origin */
  bool kinked;
} lip_slope_block;

static void block_free(lip_slope_block *k) {
  lip_free(k->z);
}

/* Slope and value of unit i, which is a difference where the block has pairs. */
static double slope_of(const lip_block *k, size_t i, double z, double *value) {
  lip_range r = {.low = 1, .high = 1, .least = z, .most = z};
  *value = z;
  if (k->mate && k->mate[i] < i) {
    double s = (z < 0) == k->descending ? -1 : 1;
    *value = s * z;
    return s;
  }
  if (i < k->n_phi && isfinite(z)) {
    lip_block_range(k, i, z, z, &r);
    *value = (r.least + r.most) / 2;
  }
  return (r.low + r.high) / 2;
}

/* Whether a few places agree that unit i is s z on the side of z. */
static bool straight(const lip_block *k, size_t i, double side, float *s) {
  static const double places[] = {0x1p-10, 0.75, 3, 0x1p10};
  for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
    double value, slope = slope_of(k, i, side * places[p], &value);
    if (p == 0) *s = (float)slope;
    if ((float)slope != *s || !(fabs(value - slope * side * places[p]) <= 1e-6 * fabs(value))) return false;
  }
  return true;
}

static bool block_init(lip_slope_block *b, const lip_block *k, size_t P) {
  size_t n = P * k->M;
  b->z = lip_alloc(5 * n + 2 * k->M, sizeof(float));
  if (!b->z) return false;
  b->s = b->z + n;
  b->ds = b->z + 2 * n;
  b->t = b->z + 3 * n;
  b->r = b->z + 4 * n;
  b->left = b->z + 5 * n;
  b->right = b->left + k->M;
  b->kinked = true;
  for (size_t i = 0; b->kinked && i < k->M; i++)
    b->kinked = straight(k, i, -1, &b->left[i]) && straight(k, i, 1, &b->right[i]);
  return true;
}

lip_status lip_slope_init(lip_slope *w, const lip_affine *a, size_t P, lip_err *err) {
  size_t n = a->n_in;
  *w = (lip_slope){.a = a, .P = P};
  w->at = lip_alloc(a->n, sizeof *w->at);
  bool complete = w->at != NULL;
  for (size_t l = 0; complete && l < a->n; l++) {
    size_t M = a->block[l].M;
    complete = block_init(&w->at[l], &a->block[l], P);
    n = M > n ? M : n;
  }
  w->y = lip_alloc(P * n, sizeof *w->y);
  w->h = lip_alloc(P * n, sizeof *w->h);
  w->scratch = lip_alloc(lip_gemm_scratch(), 1);
  return complete && w->y && w->h && w->scratch ? LIP_OK
                                                : lip_fail(err, LIP_MEMORY, "out of memory for a search");
}

void lip_slope_free(lip_slope *w) {
  for (size_t l = 0; w->at && l < w->a->n; l++) block_free(&w->at[l]);
  lip_free(w->at);
  lip_free(w->y);
  lip_free(w->h);
  lip_free(w->scratch);
  *w = (lip_slope){0};
}

/* ---- blocks ---- */

static void turn(const lip_block *k, float *v, size_t P, float scale) {
  for (size_t a = 0; k->mate && a < k->M; a++) {
    size_t b = k->mate[a];
    for (size_t r = 0; b > a && r < P; r++) {
      float *x = v + r * k->M, sum = x[a] + x[b], difference = x[a] - x[b];
      x[a] = scale * sum;
      x[b] = scale * difference;
    }
  }
}

/* y = W x (+ b), rows of (P, N) to rows of (P, M). */
static void forth(const lip_slope *w, const lip_block *k, const float *x, size_t P, const float *b,
                  float *y) {
  for (size_t r = 0; b && r < P; r++) memcpy(y + r * k->M, b, k->M * sizeof *y);
  lip_gemm(LIP_N, LIP_T, P, k->M, k->N, 1, x, k->N, k->W, k->N, b ? 1 : 0, y, k->M, w->scratch);
}

static void back(const lip_slope *w, const lip_block *k, const float *y, size_t P, float *x) {
  lip_gemm(LIP_N, LIP_N, P, k->N, k->M, 1, y, k->M, k->W, k->N, 0, x, k->N, w->scratch);
}

LIP_HOT static void respond_kinked(const float *restrict left, const float *restrict right, size_t M,
                                   const float *restrict z, float *restrict s, float *restrict y) {
  for (size_t i = 0; i < M; i++) {
    float l = left[i], u = right[i], v = z[i], a = v > 0 ? u : l;
    s[i] = a;
    y[i] = a * v;
  }
}

/* Differences of slopes `far` to either side: of a kinked unit only where the kink lies between. */
LIP_HOT static void differences_kinked(const lip_slope_block *b, size_t M, const float *restrict z, float far,
                                       float *restrict ds) {
  float f = 1 / (2 * far);
  for (size_t i = 0; i < M; i++) ds[i] = fabsf(z[i]) < far ? (b->right[i] - b->left[i]) * f : 0;
}

/* z (turned) -> slopes, and the values that come out, turned. */
static void respond(const lip_block *k, lip_slope_block *b, size_t P, double width, float *y) {
  for (size_t r = 0; r < P; r++) {
    double square = 0, value, other;
    const float *z = b->z + r * k->M;
    float *s = b->s + r * k->M, *ds = b->ds + r * k->M;
    for (size_t i = 0; width > 0 && i < k->M; i++) square += (double)z[i] * (double)z[i];
    double far = width * sqrt(square / (double)k->M);
    memset(ds, 0, k->M * sizeof *ds);
    if (b->kinked) {
      respond_kinked(b->left, b->right, k->M, z, s, y + r * k->M);
      if (far > 0x1p-100) differences_kinked(b, k->M, z, (float)far, ds);
      continue;
    }
    for (size_t i = 0; i < k->M; i++) {
      s[i] = (float)slope_of(k, i, (double)z[i], &value);
      y[r * k->M + i] = (float)value;
      if (far > 0 && k->low[i] < k->high[i])
        ds[i] = (float)((slope_of(k, i, (double)z[i] + far, &other) -
                         slope_of(k, i, (double)z[i] - far, &other)) /
                        (2 * far));
    }
  }
}

void lip_slope_at(lip_slope *w, const float *x, size_t P, double width) {
  for (size_t l = 0; l < w->a->n; l++) {
    const lip_block *k = &w->a->block[l];
    forth(w, k, l ? w->y : x, P, k->b, w->at[l].z);
    if (l + 1 == w->a->n) return;
    turn(k, w->at[l].z, P, 1);
    respond(k, &w->at[l], P, width, w->y);
    turn(k, w->y, P, 0.5f);
  }
}

void lip_slope_pull(lip_slope *w, const float *u, size_t P, float *g) {
  for (size_t l = w->a->n; l-- > 0;) {
    const lip_block *k = &w->a->block[l];
    const float *from = l + 1 == w->a->n ? u : w->y;
    if (l == 0) {
      back(w, k, from, P, g);
      return;
    }
    const lip_block *below = k - 1;
    lip_slope_block *b = &w->at[l - 1];
    back(w, k, from, P, b->r);
    turn(below, b->r, P, 0.5f);
    for (size_t i = 0; i < P * below->M; i++) w->y[i] = b->s[i] * b->r[i];
    turn(below, w->y, P, 1);
  }
}

void lip_slope_push(lip_slope *w, const float *v, size_t P, float *t) {
  for (size_t l = 0; l < w->a->n; l++) {
    const lip_block *k = &w->a->block[l];
    lip_slope_block *b = &w->at[l];
    bool last = l + 1 == w->a->n;
    forth(w, k, l ? w->y : v, P, NULL, last ? t : b->t);
    if (last) return;
    turn(k, b->t, P, 1);
    for (size_t i = 0; i < P * k->M; i++) w->y[i] = b->s[i] * b->t[i];
    turn(k, w->y, P, 0.5f);
  }
}

/* grad (P, n_in) = sum_k ds_k dz_k/dx, over the units of all blocks. */
static void carry(lip_slope *w, size_t P, float *grad) {
  size_t n = w->a->n;
  if (n == 1) memset(grad, 0, P * w->a->n_in * sizeof *grad);
  for (size_t l = n - 1; l-- > 0;) { /* w->y: the gradient in the values of block l + 1 */
    const lip_block *k = &w->a->block[l];
    const lip_slope_block *b = &w->at[l];
    if (l + 2 < n) {
      back(w, k + 1, w->y, P, w->h);
      turn(k, w->h, P, 0.5f);
    } else {
      memset(w->h, 0, P * k->M * sizeof *w->h);
    }
    for (size_t i = 0; i < P * k->M; i++) w->y[i] = b->s[i] * w->h[i] + b->ds[i];
    turn(k, w->y, P, 1);
    if (l == 0) back(w, k, w->y, P, grad);
  }
}

void lip_slope_bend(lip_slope *w, size_t P, float *grad) {
  for (size_t l = 0; l + 1 < w->a->n; l++) {
    lip_slope_block *b = &w->at[l];
    for (size_t i = 0; i < P * w->a->block[l].M; i++) b->ds[i] *= b->r[i] * b->t[i];
  }
  carry(w, P, grad);
}

/* How much the other slope of each unit of a row promises, by the way to get there; into ds. Returns the sum. */
LIP_HOT static float promises(const lip_slope_block *b, size_t M, size_t at, float size) {
  const float *z = b->z + at, *s = b->s + at, *r = b->r + at, *t = b->t + at;
  float *ds = b->ds + at, sum = 0, near = 0.1f * size + FLT_MIN;
  for (size_t i = 0; i < M; i++) {
    float other = z[i] > 0 ? b->left[i] : b->right[i], gain = (other - s[i]) * r[i] * t[i];
    ds[i] = gain > 0 ? gain / (fabsf(z[i]) + near) : 0;
  }
  for (size_t i = 0; i < M; i++) sum += ds[i];
  return sum;
}

static float promises_smooth(const lip_block *k, const lip_slope_block *b, size_t at, float size,
                             float beyond) {
  float sum = 0, near = 0.1f * size + FLT_MIN;
  for (size_t i = 0; i < k->M; i++) {
    float z = b->z[at + i], gain = 0;
    double value, to = z > 0 ? -(double)beyond : (double)beyond;
    if (k->low[i] < k->high[i])
      gain = ((float)slope_of(k, i, to, &value) - b->s[at + i]) * b->r[at + i] * b->t[at + i];
    b->ds[at + i] = gain > 0 ? gain / (fabsf(z) + near) : 0;
    sum += b->ds[at + i];
  }
  return sum;
}

/* A unit to be taken to the other side, and by how much its value changes. */
typedef struct crossing {
  size_t block, at;
  double by;
} crossing;

/* One unit of row r, drawn with the promises as odds: by = 0 when there is none. Leaves ds at 0. */
static crossing draw(lip_slope *w, size_t r, lip_rng *rng) {
  crossing c = {.by = 0};
  float total = 0;
  for (size_t l = 0; l + 1 < w->a->n; l++) {
    const lip_block *k = &w->a->block[l];
    const lip_slope_block *b = &w->at[l];
    size_t M = k->M, at = r * M;
    float square = 0;
    for (size_t i = 0; i < M; i++) square += b->z[at + i] * b->z[at + i];
    float size = sqrtf(square / (float)M), beyond = size * (float)exp2(-10 * lip_rng_uniform(rng));
    float sum = b->kinked ? promises(b, M, at, size) : promises_smooth(k, b, at, size, beyond);
    if (!(sum < INFINITY)) sum = 0;
    total += sum;
    bool mine = sum > 0 && lip_rng_uniform(rng) * (double)total < (double)sum;
    float left = (float)lip_rng_uniform(rng) * sum;
    for (size_t i = 0; mine && i < M; i++) {
      if (b->ds[at + i] > 0) {
        double z = (double)b->z[at + i];
        c = (crossing){l, at + i, (z > 0 ? -(double)beyond : (double)beyond) - z};
      }
      left -= b->ds[at + i];
      if (left < 0) break;
    }
    memset(b->ds + at, 0, M * sizeof *b->ds);
  }
  return c;
}

void lip_slope_cross(lip_slope *w, size_t P, lip_rng *rng, float *step) {
  size_t n = w->a->n_in;
  crossing c[LIP_SLOPE_ROWS];
  for (size_t r = 0; r < P; r++) c[r] = draw(w, r, rng);
  for (size_t r = 0; r < P; r++)
    if (c[r].by != 0) w->at[c[r].block].ds[c[r].at] = 1;
  carry(w, P, step);
  for (size_t r = 0; r < P; r++) {
    float *d = step + r * n;
    double size = lip_norm(d, n, LIP_P2), f = size > 0 ? c[r].by / (size * size) : 0;
    for (size_t k = 0; k < n; k++) d[k] = (float)(f * (double)d[k]);
  }
}

void lip_dual_vector(float *u, const float *d, size_t n, lip_p q) {
  size_t top = 0;
  double norm = lip_norm(d, n, q);
  for (size_t k = 1; k < n; k++)
    if (fabsf(d[k]) > fabsf(d[top])) top = k;
  float sign = d[top] < 0 ? -1.0f : 1.0f;
  for (size_t k = 0; k < n; k++) {
    if (q == LIP_P1)
      u[k] = d[k] > 0 ? 1.0f : d[k] < 0 ? -1.0f : 0.0f;
    else
      u[k] = q == LIP_P2 && norm > 0 ? (float)((double)d[k] / norm) : 0.0f;
  }
  if (q == LIP_PINF) u[top] = sign;
}
