/* Balls around an input, cut by a box: nearest points, steps, exact distances. All results are float32 points whose
 * exact distance is within the radius: displacements are worked out in double and rounded towards the centre.
 *
 * A ball with a scale s is { x' : ||(x' - x) / s||_p <= eps }. Displacements v are in its units, v_k = (x'_k - x_k) / s_k,
 * and so is what "nearest" means; gradients are by v, too (g_k s_k). Where s_k = 0 all v_k are 0. */
#ifndef LIP_ATTACK_BALL_H
#define LIP_ATTACK_BALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/rng.h"
#include "core/norm/pnorm.h"

/* { x' : ||(x' - x) / scale||_p <= eps and box_low <= x' <= box_high } around an x inside of the box. */
typedef struct lip_ball {
  lip_p p;
  double eps;
  const float *box_low, *box_high; /* (n), finite; NULL: no box */
  const double *scale, *inverse;   /* (n) s_k and 1 / s_k, 0 where s_k = 0; NULL: 1 */
} lip_ball;

/* ||(a - b) / scale||_p of the stored numbers, in the ball's norm and rounded up; infinity when one is not finite, or
 * differs where the scale is 0. work (n). */
double lip_ball_distance(const lip_ball *b, const float *to, const float *from, size_t n, double *work);

/* v (n): differences of points to displacements. */
void lip_ball_units(const lip_ball *b, double *v, size_t n);

/* How far every coordinate may go on its own: the least and largest float within eps s_k of x_k and in the box (n
 * each). */
void lip_ball_limits(const lip_ball *b, const float *x, size_t n, float *low, float *high);

/* out (n) = the point of the ball nearest to x + v (p = inf: coordinate by coordinate). v (n), finite, becomes its
 * displacement. low, high: lip_ball_limits. */
void lip_ball_project(const lip_ball *b, const float *x, const float *low, const float *high, double *v,
                      size_t n, float *out);

/* v (n) += `length` times the direction of steepest ascent for g: sign(g), g / ||g||_2, or for p = 1 the signs of the
 * `active` largest |g_k| that are not stopped by the limits at `from`, divided by their number (Croce and Hein 2021,
 * Tramer and Boneh 2019). Entries of g that are not finite count as 0; false when nothing is left. work (n). */
bool lip_ball_ascend(const lip_ball *b, const float *low, const float *high, const float *from,
                     const float *g, size_t n, double length, size_t active, double *v, uint32_t *work);

/* v (n) = a displacement so far along g that its projection is where <g, .> is largest over the ball and the box. */
bool lip_ball_steepest(const lip_ball *b, const float *g, size_t n, double *v);

/* v (n) = a random displacement, to be projected: uniform for p = inf and 2, sparse for p = 1. */
void lip_ball_random(const lip_ball *b, size_t n, lip_rng *rng, double *v);

#endif
