#include "core/layer/init.h"

#include <math.h>

#include "core/norm/opnorm.h"
#include "core/tensor/linalg.h"

/* Which pieces of W the norm p->q limits one by one: 1->q the columns in norm q, p->inf the rows in the dual norm. */
typedef enum piece { ROWS, COLUMNS, WHOLE } piece;

static piece limited_piece(lip_pq pq) {
  if (pq.q == LIP_PINF) return ROWS;
  return pq.p == LIP_P1 ? COLUMNS : WHOLE;
}

/* ||.||_p of n numbers `step` apart, nearest. */
static double strided_norm(const float *x, size_t n, size_t step, lip_p p) {
  double sum = 0, most = 0;
  for (size_t i = 0; i < n; i++) {
    double a = fabs((double)x[i * step]);
    most = fmax(most, a);
    sum += p == LIP_P2 ? a * a : a;
  }
  if (p == LIP_PINF) return most;
  return p == LIP_P2 ? sqrt(sum) : sum;
}

static void strided_scale(float *x, size_t n, size_t step, double a) {
  for (size_t i = 0; i < n; i++) x[i * step] = (float)(a * (double)x[i * step]);
}

static void put_on_ball(float *x, size_t n, size_t step, lip_p p, double radius) {
  double norm = strided_norm(x, n, step, p);
  if (norm > 0) strided_scale(x, n, step, radius / norm);
}

static lip_status scale_to_ball(float *w, size_t OUT, size_t IN, lip_pq pq, double budget, lip_err *err) {
  switch (limited_piece(pq)) {
  case ROWS:
    for (size_t i = 0; i < OUT; i++) put_on_ball(w + i * IN, IN, 1, lip_p_dual(pq.p), budget);
    return LIP_OK;
  case COLUMNS:
    for (size_t j = 0; j < IN; j++) put_on_ball(w + j, OUT, IN, pq.q, budget);
    return LIP_OK;
  case WHOLE: break;
  }
  double norm;
  lip_status status = lip_opnorm_upper(w, OUT, IN, pq, &norm, err);
  if (!status && norm > 0 && isfinite(norm)) strided_scale(w, OUT * IN, 1, budget / norm);
  return status;
}

/* Scaling, not the nearest point: that one would zero most of a row in the l1 ball before training began. */
static lip_status make_feasible(float *w, size_t OUT, size_t IN, lip_pq pq, double budget, lip_err *err) {
  lip_projector *projector;
  lip_project_method method = limited_piece(pq) == WHOLE ? LIP_RADIAL : LIP_ROWWISE;
  lip_status status = lip_projector_new(OUT, IN, pq, method, &projector, err);
  if (status) return status;
  status = lip_project_exact(projector, w, budget, err);
  lip_projector_free(projector);
  return status;
}

lip_status lip_init_weights(float *w, size_t OUT, size_t IN, lip_init init, lip_pq pq, double budget,
                            lip_rng *rng, lip_err *err) {
  const size_t n = OUT * IN;
  const double in = (double)IN, limit = sqrt(6 / (double)(IN + OUT));
  lip_status status = LIP_OK;
  switch (init) {
  case LIP_INIT_ORTHOGONAL:
    lip_rng_fill_normal(rng, w, n, 0, 1);
    status = lip_orthonormalise(w, OUT, IN, err);
    break;
  case LIP_INIT_GLOROT: lip_rng_fill_uniform(rng, w, n, (float)-limit, (float)limit); break;
  case LIP_INIT_LECUN: lip_rng_fill_normal(rng, w, n, 0, (float)sqrt(1 / in)); break;
  case LIP_INIT_HE:
  case LIP_INIT_ON_BALL: lip_rng_fill_normal(rng, w, n, 0, (float)sqrt(2 / in)); break;
  }
  if (status || isinf(budget)) return status;
  if (init == LIP_INIT_ON_BALL) status = scale_to_ball(w, OUT, IN, pq, budget, err);
  return status ? status : make_feasible(w, OUT, IN, pq, budget, err);
}
