/* The quadratic bound of one pair of logits, and the signal that attains it. With increments y_l, z_l = W_l y_(l-1),
 * y_0 = x, slopes of unit k in [low, high] and multipliers lambda >= 0,
 *   rho = max over |x| = 1 and all y of  (v y_(n-1))^2 + sum lambda_k (y_k - low_k z_k) (high_k z_k - y_k)
 * bounds (v (y - y'))^2 / |x - x'|^2 (Fazlyab et al. 2019; S-procedure). Maximising over y from the output on, where
 * Q_(n-1) = v v' (all in the coordinates below, F = units with low < high, S = the others, D = their slopes,
 * h = (low + high) / 2, r = (high - low) / 2):
 *   E = [Q_FS D, lambda h],   K = E' (lambda - Q_FF)^-1 E + D Q_SS D - lambda low high,   Q_(l-1) = W_l' K_l W_l
 * and rho is the largest eigenvalue of Q_0. For the last hidden layer, where Q is of rank one,
 *   K = g g' / (1 - c) + lambda r^2,   g = h v on F, D v on S,   c = sum over F of v^2 / lambda  (Sherman and Morrison).
 * A pair that is put in order (maxmin) is seen as sum / sqrt 2, of slope 1, and difference / sqrt 2, slopes in [-1, 1].
 *
 * lambda_k = q theta_k with q the largest eigenvalue of Q. theta = 1 + |h| / r makes K <= q for slopes in [-1, 1], no
 * worse than the product: where to start. From there theta descends to where rho is smaller, all units of a stage
 * together or each for itself (LipSDP-Layer and LipSDP-Neuron, by descent on the recursion).
 *
 * The gradient is that of rho with theta held fixed, which is exact for any theta. By the envelope theorem, y and x
 * being maximisers,
 *   d rho / d W_l = delta_l y_(l-1)',  delta_l = d / d z_l: D (W_(l+1)' delta_(l+1)) on S,
 *                                              lambda ((low + high) y - 2 low high z) on F,
 *   d rho / d v = 2 (v y) y',   d rho / d lambda_k = (y - low z) (high z - y),   d lambda_k = theta_k d q.
 * q of the last stage is |v|^2. Any other q = e'Qe, e the eigenvector, is the same kind of maximum over the stages after
 * its own, with y = e at the start: it has a signal too, and so on. (Holding lambda itself fixed would be right at the
 * minimum over lambda only, and only where that lies inside of lambda > Q: for slopes in [-1, 1], h = 0, it does not.) */
#ifndef LIP_NET_SIGNAL_H
#define LIP_NET_SIGNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

/* A hidden matrix and the units after it. Everything is borrowed. */
typedef struct lip_signal_stage {
  size_t M, N;
  const float *W;     /* (M, N) */
  double *low, *high; /* (M); of a pair: at its higher index */
  size_t *mate;       /* (M), own index: none; NULL: no pairs */
} lip_signal_stage;

/* Room shared by all pairs of a net and, per thread, for one pair at a time. */
typedef struct lip_signals lip_signals;

/* `n` hidden stages, at least 1; `threads` shares. NULL: no memory. */
lip_signals *lip_signals_new(const lip_signal_stage *stage, size_t n, size_t threads);
void lip_signals_free(lip_signals *s); /* accepts NULL */
/* Reads the weights as they are. */
void lip_signals_load(lip_signals *s);

/* One pair. Arrays are owned by the caller; `units` are those of all stages in order, n the number of stages. */
typedef struct lip_signal {
  float *x; /* (N of stage 1), |x| = 1; where the iteration starts, and where it ends */
  /* (n, units): of rho, and in rows s = 1 ... n-1 of the q of stage s: delta there from the next stage on. The gradient
   * in W_l is the sum over rows of delta_l y_(l-1)', y_(l-1) = x for rho in the first stage. */
  float *y, *delta;
  float *dv;            /* (M of the last stage) d rho / d v */
  float *theta;         /* (units) in an order of its own; all 0: where to start */
  float *mean, *square; /* (units) of the gradient in log theta (Adam); both NULL: theta stays */
  bool shared;          /* the theta of a stage move together */
  float *top;           /* (units) leading eigenvectors of the Q; zero: unknown */
  double *lambda;       /* (units) what was taken, 0 where the slope is known; NULL: not asked */
  double rho;           /* bound; 0 when v is 0 */
} lip_signal;

/* `rounds` power iterations at the last; v (M of the last stage) is the difference of two rows. `rate` of the descent.
 * Not finite weights give rho = NaN. */
void lip_signals_run(lip_signals *s, size_t share, const float *vi, const float *vj, size_t rounds,
                     double rate, lip_signal *out);

#endif
