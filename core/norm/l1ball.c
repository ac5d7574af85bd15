#include "core/norm/l1ball.h"

#include <math.h>

#include "core/norm/round.h"
#include "core/norm/rows.h"

/* Newton's iteration ends after at most one step per distinct active set; in practice two to six. */

double lip_l1_threshold(double sum, double radius, size_t count, double error) {
  double tau = (sum - radius) / (double)count;
  /* what the sum may lack, and the roundings of the quotient and of the subtractions |v| - tau */
  return tau + ((sum * error + radius * 0x1p-51) / (double)count + tau * 0x1p-51);
}

/* An element exceeds tau exactly when it exceeds the float below or at tau. */
static lip_above above(const float *x, size_t n, double tau) {
  return lip_row_above(x, n, tau > 0 ? lip_float_down(tau) : 0);
}

void lip_l1_row(float *x, size_t n, double radius, double *tau) {
  double error = 2 * lip_row_sum_error(n), t = *tau;
  lip_above a = above(x, n, t);
  if (!isfinite(a.all) || a.all * (1 + error) * (1 + 0x1p-50) <= radius) return;
  if (a.all * (1 - error) * (1 - 0x1p-50) <= radius && lip_row_inside(x, n, LIP_P1, radius)) return;
  if (a.count == 0) a = above(x, n, t = 0);
  size_t count = 0;
  for (int step = 0; a.count != count; step++) {
    count = a.count;
    double next = (a.sum - radius) / (double)count;
    if (step > 0 && next <= t) break; /* rounding: the root is reached */
    a = above(x, n, t = next > 0 ? next : 0);
    if (a.count == 0) { /* rounding at the top: every active element equals tau */
      lip_row_soft(x, n, INFINITY);
      return;
    }
  }
  *tau = t;
  lip_row_soft(x, n, fmax(t, lip_l1_threshold(a.sum, radius, a.count, error)));
}
