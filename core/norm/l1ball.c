#include "core/norm/l1ball.h"

#include <math.h>

#include "core/norm/quick.h"
#include "core/norm/round.h"
#include "core/norm/rows.h"

/* Newton's iteration ends after at most one step per distinct active set; in practice two to six. */

enum { GUESSES = 16 };

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

/* Goes on from the sum and number `a` of the elements above `level`: in float32 as long as the step is so long that the
 * set must be expected to change after it, then with sums in double. Newton's steps end below the root, so the set above
 * a level is the set above the threshold it gives when its least element is. */
static bool quick(float *x, size_t n, double radius, lip_guess a, double level, double *tau) {
  double error = 2 * lip_row_sum_error(n) + 0x1p-45, unsure = a.sum * 0x1p-22;
  for (int step = 0; step < GUESSES && a.count > 0; step++) {
    double count = (double)a.count, next = (a.sum - radius - unsure) / count;
    /* of a step as long as `turn` times the elements' mean distance from the level, half turn^2 is missing to the root */
    double turn = (next - level) / (a.sum / count - level);
    float to = lip_float_down(next > 0 ? next : 0);
    level = (double)to;
    if (turn * turn * count > 1 && next > 0) {
      a = lip_quick_above(x, n, to);
      unsure = a.sum * 0x1p-22;
      continue;
    }
    lip_active set = lip_active_above(x, n, to);
    double t = lip_l1_threshold(set.sum, radius, set.count, error);
    if (t > 0x1p-100 && t >= level && t < (double)set.least) {
      *tau = t;
      lip_quick_soft(x, n, t);
      return true;
    }
    a = (lip_guess){set.sum, set.count};
    unsure = 0;
  }
  return false;
}

void lip_l1_row(float *x, size_t n, double radius, double *tau) {
  if (radius > 0x1p-80) {
    lip_guess a = {0, 0};
    double level = *tau;
    if ((double)n * level > radius * 0x1p-14) a = lip_quick_above(x, n, lip_float_down(level));
    if (!(a.sum * (1 - 0x1p-16) > radius)) { /* otherwise a part of the row is outside already */
      double sum = lip_quick_abs_sum(x, n), error = lip_quick_error(n) * (1 + 0x1p-10);
      if (sum * (1 + error) * (1 + 0x1p-50) <= radius) return;
      if (sum * (1 - error) <= radius) { /* as in rows that were projected before and have not moved since */
        sum = lip_row_abs_sum(x, n);
        error = 2 * lip_row_sum_error(n);
        if (sum * (1 + error) * (1 + 0x1p-50) <= radius) return;
        if (sum * (1 - error) * (1 - 0x1p-50) <= radius) sum = INFINITY;
      }
      level = 0;
      a = (lip_guess){sum, n}; /* zeros counted too: the step is shorter than it could be */
    }
    if (isfinite(a.sum) && quick(x, n, radius, a, level, tau)) return;
  }
  exact(x, n, radius, tau);
}
