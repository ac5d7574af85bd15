#include "core/norm/opnorm.h"

#include <math.h>

#include "core/norm/cols.h"
#include "core/norm/power.h"
#include "core/norm/round.h"
#include "core/norm/rows.h"
#include "core/norm/spectral.h"

/* ||W||_{1->q} = largest q-norm of a column, ||W||_{p->inf} = largest dual norm of a row (Higham 2002, 6.2). */
static lip_interval enclose(const float *W, size_t M, size_t N, lip_pq pq) {
  lip_interval top = {0, 0};
  if (pq.p == LIP_P1 && pq.q != LIP_PINF) return lip_cols_norm(W, M, N, pq.q);
  for (size_t i = 0; i < M; i++) {
    lip_interval v = lip_row_norm(W + i * N, N, lip_p_dual(pq.p));
    top.low = v.low > top.low ? v.low : top.low;
    top.high = v.high > top.high ? v.high : top.high;
  }
  return top;
}

static bool is_spectral(lip_pq pq) {
  return pq.p == LIP_P2 && pq.q == LIP_P2;
}

lip_status lip_opnorm_upper(const float *W, size_t M, size_t N, lip_pq pq, double *upper, lip_err *err) {
  fenv_t saved;
  *upper = INFINITY;
  lip_status st = lip_pq_check(pq, err);
  if (st != LIP_OK) return st;
  lip_ieee_enter(&saved);
  if (M == 0 || N == 0)
    *upper = 0;
  else if (!is_spectral(pq))
    *upper = enclose(W, M, N, pq).high;
  else
    st = lip_spectral_upper(W, M, N, upper, err);
  lip_ieee_leave(&saved);
  return st;
}

lip_status lip_opnorm_lower(const float *W, size_t M, size_t N, lip_pq pq, double *lower, lip_err *err) {
  fenv_t saved;
  *lower = 0;
  lip_status st = lip_pq_check(pq, err);
  if (st != LIP_OK || !lip_row_all_finite(W, M * N)) return st;
  lip_ieee_enter(&saved);
  if (M > 0 && N > 0) {
    if (is_spectral(pq))
      st = lip_spectral_lower(W, M, N, lower, err);
    else
      *lower = enclose(W, M, N, pq).low;
  }
  lip_ieee_leave(&saved);
  return st;
}

double lip_opnorm_estimate(const float *W, size_t M, size_t N, lip_pq pq, size_t iterations, double *v,
                           double *scratch) {
  if (!lip_pq_tractable(pq)) return INFINITY;
  if (M == 0 || N == 0) return 0;
  if (is_spectral(pq)) return lip_power_estimate(W, M, N, iterations, v, scratch);
  return enclose(W, M, N, pq).high;
}

lip_status lip_opnorm_gram_upper(const float *W, size_t M, size_t N, size_t iterations, double *upper,
                                 lip_err *err) {
  fenv_t saved;
  *upper = INFINITY;
  lip_ieee_enter(&saved);
  lip_status st = LIP_OK;
  if (M == 0 || N == 0)
    *upper = 0;
  else
    st = lip_spectral_gram(W, M, N, iterations, upper, err);
  lip_ieee_leave(&saved);
  return st;
}
