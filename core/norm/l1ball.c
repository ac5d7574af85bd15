#include "core/norm/l1ball.h"

#include <math.h>

#include "core/norm/quick.h"
#include "core/norm/round.h"
#include "core/norm/rows.h"

/* Newton's iteration ends after at most one step per distinct active set; in practice two to six. */

enum { GUESSES = 8 };

double lip_l1_threshold(double sum, double radius, size_t count, double error) {
  double tau = (sum - radius) / (double)count;
  /* what the sum may lack, and the roundings of the quotient and of the subtractions |v| - tau */
  return tau + ((sum * error + radius * 0x1p-51) / (double)count + tau * 0x1p-51);
}

/* An element exceeds tau exactly when it exceeds the float below or at tau. */
static lip_above above(const float *x, size_t n, double tau) {
  return lip_row_above(x, n, tau > 0 ? lip_float_down(tau) : 0);
}

/* Iterates in double, for rows of any size. */
static void exact(float *x, size_t n, double radius, double *tau) {
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

/* Iterates in float32 until two levels, the second aimed a little above the root, have equally many elements above them:
 * none lies between, so the set above the root is known, and its sum in double gives the threshold. True when that
 * threshold has just this set above it. */
static bool quick(float *x, size_t n, double radius, double *tau) {
  float level = lip_float_down(*tau);
  lip_guess a = lip_quick_above(x, n, level);
  if (a.count == 0) a = lip_quick_above(x, n, level = 0);
  for (int step = 0; step < GUESSES && a.count > 0; step++) {
    double next = (a.sum - radius + a.sum * 0x1p-22) / (double)a.count;
    float last = level;
    size_t count = a.count;
    level = next > 0 ? (float)next : 0;
    a = lip_quick_above(x, n, level);
    if (a.count != count) continue;
    double error = 2 * lip_row_sum_error(n) + 0x1p-45;
    double t = lip_l1_threshold(lip_sum_above(x, n, level), radius, count, error);
    if (!(t > 0x1p-100)) return false;
    bool between = t > (double)fminf(last, level) && t < (double)fmaxf(last, level);
    if (!between && lip_quick_above(x, n, lip_float_down(t)).count != count) return false;
    *tau = t;
    lip_quick_soft(x, n, t);
    return true;
  }
  return false;
}

void lip_l1_row(float *x, size_t n, double radius, double *tau) {
  double sum = lip_quick_abs_sum(x, n), error = 2 * lip_quick_error(n);
  if (isfinite(sum) && radius > 0x1p-80) {
    if (sum * (1 + error) <= radius) return;
    if (sum * (1 - error) <= radius) { /* as in rows that were projected before and have not moved since */
      sum = lip_sum_above(x, n, 0);
      error = 2 * lip_row_sum_error(n);
      if (sum * (1 + error) * (1 + 0x1p-50) <= radius) return;
    }
    if (sum * (1 - error) * (1 - 0x1p-50) > radius && quick(x, n, radius, tau)) return;
  }
  exact(x, n, radius, tau);
}
