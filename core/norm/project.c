#include "core/norm/project.h"

#include <math.h>
#include <stdint.h>

#include "core/base/mem.h"
#include "core/norm/cols.h"
#include "core/norm/l1ball.h"
#include "core/norm/opnorm.h"
#include "core/norm/power.h"
#include "core/norm/quick.h"
#include "core/norm/round.h"
#include "core/norm/rows.h"
#include "core/norm/spectral.h"

const char *const lip_project_method_names[] = {"euclidean", "rowwise", "radial", NULL};

typedef enum units { ROWS, COLUMNS, WHOLE } units;
typedef void project_fn(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch);

struct lip_projector {
  size_t M, N;
  lip_pq pq;
  units units;
  project_fn *project;
  double *tau; /* thresholds of the last call, by unit */
  lip_cols cols;
  lip_spectral *spectral;
  lip_power *power;
};

/* ---- the projections: W finite or not, 0 < radius < infinity ---- */

static void rows_l1(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  (void)scratch;
  for (size_t i = u0; i < u1; i++) lip_l1_row(W + i * p->N, p->N, radius, &p->tau[i]);
}

static void rows_clamp(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  (void)scratch;
  lip_row_clamp(W + u0 * p->N, (u1 - u0) * p->N, lip_float_down(radius));
}

static void rows_scale(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  (void)scratch;
  lip_p dual = lip_p_dual(p->pq.p);
  for (size_t i = u0; i < u1; i++) {
    float *x = W + i * p->N;
    if (lip_row_inside(x, p->N, dual, radius)) continue;
    double high = lip_row_norm(x, p->N, dual).high;
    if (isfinite(high)) lip_row_scale(x, p->N, lip_scale_inside(radius, high));
  }
}

static void whole_scale(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  double high = INFINITY;
  (void)u0, (void)u1, (void)scratch;
  if (lip_opnorm_upper(W, p->M, p->N, p->pq, &high, NULL) != LIP_OK || high <= radius || !isfinite(high))
    return;
  lip_row_scale(W, p->M * p->N, lip_scale_inside(radius, high));
}

/* A row's norm (1 or 2) enclosed after one pass. */
static lip_interval quick_norm(const float *x, size_t n, lip_p p) {
  double error = (p == LIP_P2 ? lip_quick_square_error(n) : lip_quick_error(n)) * (1 + 0x1p-10);
  double sum = p == LIP_P2 ? lip_quick_square_sum(x, n) : lip_quick_abs_sum(x, n);
  double lost = p == LIP_P2 ? (double)n * 0x1p-147 : 0; /* squares that underflowed */
  lip_interval v = {(sum - lost) * (1 - error), (sum + lost) * (1 + error)};
  if (!isfinite(v.high)) return (lip_interval){0, INFINITY};
  if (p == LIP_P2) v = (lip_interval){v.low > 0 ? sqrt(v.low) : 0, sqrt(v.high)};
  return (lip_interval){v.low * (1 - 0x1p-50), v.high * (1 + 0x1p-50)};
}

/* Rows outside the ball of the dual norm, scaled; one pass decides about nearly every row, a second one scales. */
static void rows_shrink(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  lip_p dual = lip_p_dual(p->pq.p);
  for (size_t i = u0; i < u1; i++) {
    float *x = W + i * p->N;
    lip_interval norm = quick_norm(x, p->N, dual);
    if (norm.high <= radius) continue;
    float s = norm.low > radius ? lip_shrink_inside(radius, norm.high, p->N) : 0;
    if (s > 0)
      lip_row_shrink(x, p->N, s);
    else
      rows_scale(p, W, radius, i, i + 1, scratch);
  }
}

/* A matrix whose norm is the largest of its rows' dual norms, scaled as a whole; enclosed in double only close to the
 * radius. */
static void rows_radial(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  lip_p dual = lip_p_dual(p->pq.p);
  lip_interval top = {0, 0};
  for (size_t i = 0; i < p->M; i++) {
    lip_interval v = quick_norm(W + i * p->N, p->N, dual);
    top.low = v.low > top.low ? v.low : top.low;
    top.high = v.high > top.high ? v.high : top.high;
  }
  if (top.high <= radius) return;
  float s = top.low > radius ? lip_shrink_inside(radius, top.high, p->N) : 0;
  if (s > 0)
    lip_row_shrink(W, p->M * p->N, s);
  else
    whole_scale(p, W, radius, u0, u1, scratch);
}

static void cols_l1(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  (void)scratch;
  lip_cols_l1(W, p->M, p->N, radius, &p->cols, u0, u1);
}

static void cols_scale(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  (void)scratch;
  lip_cols_scale(W, p->M, p->N, p->pq.q, radius, &p->cols, u0, u1);
}

static void spectral_clip(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  (void)u0, (void)u1;
  lip_spectral_clip(p->spectral, W, radius, scratch);
}

static void spectral_radial(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  (void)u0, (void)u1, (void)scratch;
  lip_power_radial(p->power, W, radius);
}

/* ---- one row per pair: what each method does, and the units it leaves independent ---- */

typedef struct entry {
  lip_pq pq;
  struct {
    project_fn *project;
    units units;
  } by[LIP_PROJECT_METHODS];
} entry;

static const entry table[] = {
    {{LIP_P1, LIP_P1},
     {[LIP_EUCLIDEAN] = {cols_l1, COLUMNS},
      [LIP_ROWWISE] = {cols_scale, COLUMNS},
      [LIP_RADIAL] = {whole_scale, WHOLE}}},
    {{LIP_PINF, LIP_PINF},
     {[LIP_EUCLIDEAN] = {rows_l1, ROWS},
      [LIP_ROWWISE] = {rows_shrink, ROWS},
      [LIP_RADIAL] = {rows_radial, WHOLE}}},
    {{LIP_P1, LIP_PINF},
     {[LIP_EUCLIDEAN] = {rows_clamp, ROWS},
      [LIP_ROWWISE] = {rows_clamp, ROWS},
      [LIP_RADIAL] = {whole_scale, WHOLE}}},
    {{LIP_P2, LIP_PINF},
     {[LIP_EUCLIDEAN] = {rows_shrink, ROWS},
      [LIP_ROWWISE] = {rows_shrink, ROWS},
      [LIP_RADIAL] = {rows_radial, WHOLE}}},
    {{LIP_P1, LIP_P2},
     {[LIP_EUCLIDEAN] = {cols_scale, COLUMNS},
      [LIP_ROWWISE] = {cols_scale, COLUMNS},
      [LIP_RADIAL] = {whole_scale, WHOLE}}},
    {{LIP_P2, LIP_P2},
     {[LIP_EUCLIDEAN] = {spectral_clip, WHOLE},
      [LIP_ROWWISE] = {spectral_clip, WHOLE},
      [LIP_RADIAL] = {spectral_radial, WHOLE}}},
};

static const entry *find(lip_pq pq) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i].pq.p == pq.p && table[i].pq.q == pq.q) return &table[i];
  return NULL;
}

/* ---- life ---- */

void lip_projector_free(lip_projector *p) {
  if (!p) return;
  lip_free(p->tau);
  lip_free(p->cols.all);
  lip_free(p->cols.sum);
  lip_free(p->cols.count);
  lip_free(p->cols.before);
  lip_free(p->cols.level);
  lip_spectral_free(p->spectral);
  lip_power_free(p->power);
  lip_free(p);
}

static bool make_columns(lip_projector *p) {
  lip_cols *c = &p->cols;
  size_t n = p->N;
  c->tau = p->tau;
  c->all = lip_alloc(n, sizeof *c->all);
  c->sum = lip_alloc(n, sizeof *c->sum);
  c->count = lip_alloc(n, sizeof *c->count);
  c->before = lip_alloc(n, sizeof *c->before);
  c->level = lip_alloc(n, sizeof *c->level);
  return c->all && c->sum && c->count && c->before && c->level;
}

lip_status lip_projector_new(size_t M, size_t N, lip_pq pq, lip_project_method method, lip_projector **out,
                             lip_err *err) {
  enum { CLIP_BLOCK = 16 };
  *out = NULL;
  lip_status st = lip_pq_check(pq, err);
  if (st != LIP_OK) return st;
  if (M >= UINT32_MAX || N >= UINT32_MAX)
    return lip_fail(err, LIP_SHAPE, "a %zux%zu matrix is too large to project", M, N);
  lip_projector *p = lip_alloc(1, sizeof *p);
  if (!p) goto fail;
  const entry *e = find(pq);
  *p = (lip_projector){
      .M = M, .N = N, .pq = pq, .units = e->by[method].units, .project = e->by[method].project};
  p->tau = lip_alloc(lip_projector_units(p), sizeof *p->tau);
  if (!p->tau || (p->units == COLUMNS && !make_columns(p))) goto fail;
  if (pq.p == LIP_P2 && pq.q == LIP_P2) {
    if (method == LIP_RADIAL)
      p->power = lip_power_new(M, N);
    else
      p->spectral = lip_spectral_new(M, N, CLIP_BLOCK);
    if (!p->power && !p->spectral) goto fail;
  }
  *out = p;
  return LIP_OK;
fail:
  lip_projector_free(p);
  return lip_fail(err, LIP_MEMORY, "no memory to project a %zux%zu matrix", M, N);
}

lip_warm lip_projector_warm(lip_projector *p) {
  if (!p->spectral && !p->power) return (lip_warm){p->tau, true, lip_projector_units(p)};
  lip_warm warm = {.wide = false};
  warm.data = p->power ? lip_power_warm(p->power, &warm.n) : lip_spectral_warm(p->spectral, &warm.n);
  return warm;
}

size_t lip_projector_units(const lip_projector *p) {
  return p->units == ROWS ? p->M : p->units == COLUMNS ? p->N : 1;
}

bool lip_projector_by_rows(const lip_projector *p) {
  return p->units == ROWS;
}

/* ---- use ---- */

/* Radius 0: every unit that holds only numbers becomes zeros. */
static void zero(const lip_projector *p, float *W, size_t u0, size_t u1) {
  size_t M = p->units == ROWS ? u1 : p->M, N = p->units == COLUMNS ? u1 : p->N;
  for (size_t i = p->units == ROWS ? u0 : 0; i < M; i++)
    for (size_t j = p->units == COLUMNS ? u0 : 0; j < N; j++)
      if (!isnan(W[i * p->N + j])) W[i * p->N + j] = 0;
}

void lip_project(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch) {
  fenv_t saved;
  if (u0 >= u1 || p->M == 0 || p->N == 0 || !(radius < INFINITY)) return;
  lip_ieee_enter(&saved);
  if (radius <= 0)
    zero(p, W, u0, u1);
  else
    p->project(p, W, radius, u0, u1, scratch);
  lip_ieee_leave(&saved);
}

void lip_project_by(lip_projector *p, float *W, double factor, double least, void *scratch) {
  fenv_t saved;
  lip_ieee_enter(&saved);
  if (p->spectral)
    lip_spectral_clip_by(p->spectral, W, factor * factor, least, scratch);
  else
    lip_power_scale(W, p->M * p->N, 1, factor);
  lip_ieee_leave(&saved);
}

/* The most rounds it may take: `shrink` is 1 after 22 of them, which gives zeros. */
enum { ROUNDS = 32 };

/* Every other pair is exact already; 2->2 is clipped in double, and what rounding to float32 (or a decomposition that
 * failed) left outside is scaled until the proof holds. */
lip_status lip_project_exact(lip_projector *p, float *W, double radius, lip_err *err) {
  double upper = INFINITY, shrink = 0x1p-22;
  bool spectral = p->pq.p == LIP_P2 && p->pq.q == LIP_P2, clipped = p->project != spectral_clip;
  if (!lip_row_all_finite(W, p->M * p->N))
    return lip_fail(err, LIP_NOT_FINITE, "a weight is NaN or infinite: nothing to project");
  if (!(radius < INFINITY)) return LIP_OK;
  if (!spectral || radius <= 0) {
    lip_project(p, W, radius, 0, lip_projector_units(p), NULL);
    return LIP_OK;
  }
  for (int i = 0; i < ROUNDS; i++) {
    lip_status st = lip_opnorm_upper(W, p->M, p->N, p->pq, &upper, err);
    if (st != LIP_OK) return st;
    if (upper <= radius) return LIP_OK;
    if (!(upper < INFINITY)) break;
    if (!clipped) {
      st = lip_spectral_clip_exact(W, p->M, p->N, radius * (1 - 0x1p-22), err);
      if (st == LIP_MEMORY || st == LIP_NOT_FINITE || st == LIP_CANCELLED) return st;
      clipped = true;
      if (st == LIP_OK) continue;
    }
    lip_row_scale(W, p->M * p->N, shrink < 1 ? radius / upper * (1 - shrink) : 0);
    shrink *= 2;
  }
  return lip_fail(err, LIP_NOT_FINITE, "a %zux%zu matrix has no finite norm to project to %g", p->M, p->N,
                  radius);
}
