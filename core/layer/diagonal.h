/* y = a_c x + b_c by channel, and sums over a batch by channel: what centre and batch_norm are made of. a_c and b_c are
 * float32 numbers that follow from the layer's parameters as they stand. */
#ifndef LIP_LAYER_DIAGONAL_H
#define LIP_LAYER_DIAGONAL_H

#include "core/layer/layer.h"

/* a and b of channel c. */
typedef void lip_channel_map(const lip_layer *l, size_t c, float *a, float *b);

/* The state of such a layer. What a training pass has seen of each channel (C) stays until the next one: */
typedef struct lip_diagonal {
  lip_channel_map *map;
  double *mean, *variance; /* of x over `count` values */
  double *sum, *dot;       /* room for sums on the way back */
  size_t count;
} lip_diagonal;

/* out = in, l->state a lip_diagonal (released by lip_diagonal_release), l->scratch for 4 C floats. */
lip_status lip_diagonal_plan(lip_layer *l, lip_channel_map *map, lip_err *err);

/* Table entries, of the layer as used. forward and backward use the scratch of l->scratch bytes. */
void lip_diagonal_release(lip_layer *l);
void lip_diagonal_forward(const lip_layer *l, const lip_pass *pass);
void lip_diagonal_backward(const lip_layer *l, const lip_pass *pass);
void lip_diagonal_wide(const lip_layer *l, size_t B, const double *x, double *y);
/* max |a_c| for every step with q >= p, exact; INFINITY when a parameter is NaN. */
lip_status lip_diagonal_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err);
void lip_diagonal_slopes(const lip_layer *l, double *low, double *high);
void lip_diagonal_range(const lip_layer *l, size_t k, double from, double to, lip_range *r);
void lip_diagonal_unit(const lip_layer *l, size_t k, float amb[3]); /* the entry `diagonal` */
/* Two roundings: |error| <= (2u + u^2) |a x| + u |b|, plus underflow. */
void lip_diagonal_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d);

/* sum[c] and dot[c], c0 <= c < c1: those of y and of x y over all values of channel c of rows r0..r1-1, x and y laid out as
 * the input of l. In double, in the order of rows; products of float32 numbers are exact there. */
void lip_channel_sums(const lip_layer *l, const float *x, const float *y, size_t r0, size_t r1, size_t c0,
                      size_t c1, double *sum, double *dot);
/* Fills mean, variance (that of the batch itself) and count from rows r0..r1-1 of l->x. */
void lip_diagonal_measure(const lip_layer *l, size_t r0, size_t r1);
/* y = a_c (x - m_c) + b_c for rows r0..r1-1; amb: a (C), then m (C), then b (C). */
void lip_channel_affine(const lip_layer *l, float *y, const float *x, size_t r0, size_t r1, const float *amb);
/* A running mean of `old` values and what came: (1 - momentum) old + momentum new. `old` where that is no finite float32:
 * one batch must not spoil it for ever, and the update that refuses its gradient comes after. */
float lip_running(float old, double now, double momentum);

#endif
