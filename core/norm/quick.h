/* One pass each over a row, in float32 on sixteen lanes: two to four times as fast as the double kernels of rows.h. Sums
 * carry an a-priori error bound that decides about nearly every row; who is too close to call asks rows.h. The order of
 * every sum is fixed, whatever the instruction set. */
#ifndef LIP_NORM_QUICK_H
#define LIP_NORM_QUICK_H

#include <stddef.h>

/* Sum of |x_i| within a relative error of lip_quick_error(n). Infinity or NaN: the row is not finite, or four of its
 * elements together are not. */
double lip_quick_abs_sum(const float *x, size_t n);
double lip_quick_error(size_t n);
/* The same for the x_i^2, beside n * 2^-148 for those that underflow. */
double lip_quick_square_sum(const float *x, size_t n);
double lip_quick_square_error(size_t n);

/* Number of the |x_i| > t >= 0 and their sum, good to about 2^-20: a guess. */
typedef struct lip_guess {
  double sum;
  size_t count;
} lip_guess;
lip_guess lip_quick_above(const float *x, size_t n, float t);

/* The |x_i| > t >= 0: their sum in double, relative error at most lip_row_sum_error(n), their number, and the least of them
 * (infinity when there is none). */
typedef struct lip_active {
  double sum;
  size_t count;
  float least;
} lip_active;
lip_active lip_active_above(const float *x, size_t n, float t);

/* sign(x_i) max(|x_i| - tau, 0) towards zero (see quick_soft.h). The difference may come out too large by 2^-46 |x_i|: a threshold that
 * must give a feasible row needs that much more. tau > 2^-100, x finite. */
void lip_quick_soft(float *x, size_t n, double tau);

#endif
