/* Balls around an input, cut by a box: nearest points, steps, exact distances. All results are float32 points whose
 * exact distance is within the radius: displacements are worked out in double and rounded towards the centre. */
#ifndef LIP_ATTACK_BALL_H
#define LIP_ATTACK_BALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/rng.h"
#include "core/norm/pnorm.h"

/* { x' : ||x' - x||_p <= eps and box_low <= x'_k <= box_high } around an x inside of the box. */
typedef struct lip_ball {
  lip_p p;
  double eps;
  float box_low, box_high; /* -FLT_MAX and FLT_MAX: no box */
} lip_ball;

/* ||a - b||_p of the stored numbers, rounded up; infinity when one is not finite. work (n). */
double lip_ball_distance(const float *a, const float *b, size_t n, lip_p p, double *work);

/* How far every coordinate may go on its own: the least and largest float within eps of x_k and in the box (n each). */
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
