/* Nearest point of the l1 ball: x_i = sign(v_i) max(|v_i| - tau, 0) with sum |x_i| = radius (Duchi et al. 2008).
 * tau is the fixed point of tau = (sum_{|v_i| > tau} |v_i| - radius) / #{|v_i| > tau} (Michelot 1986; the same as
 * Newton's method on the convex piecewise linear sum_i max(|v_i| - tau, 0) - radius; Condat 2016). From any start the
 * first step lands at or below the root, and from below the iteration rises monotonically, so a threshold
 * remembered from the last call is a safe start, and the active sets only shrink: equal counts mean equal sets. */
#ifndef LIP_NORM_L1BALL_H
#define LIP_NORM_L1BALL_H

#include <stdbool.h>
#include <stddef.h>

/* Projects one row. *tau: the threshold of the last call (0 at first), replaced. Leaves rows that are inside or not
 * finite as they are. */
void lip_l1_row(float *x, size_t n, double radius, double *tau);
/* Threshold of the exact solution moved up so far that the stored result is feasible: sum and count of the active
 * set, relative error of the sum. */
double lip_l1_threshold(double sum, double radius, size_t count, double error);

#endif
