/* What the layers that keep the shape share: plan, constants and executed errors that do not depend on weights. */
#ifndef LIP_LAYER_SAME_SHAPE_H
#define LIP_LAYER_SAME_SHAPE_H

#include "core/layer/layer.h"

/* out = in, nothing learnt, nothing kept. */
lip_status lip_same_shape_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err);

/* *upper = constant for q >= p, where ||.||_q <= ||.||_p carries a p->p constant over; INFINITY for a step down. */
lip_status lip_constant_bound(lip_pq pq, double constant, double *upper);
/* The same for constant 1, as a table entry. */
lip_status lip_unit_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err);
/* Table entries: slopes in [0, 1]; slopes of 1. */
void lip_rising_slopes(const lip_layer *l, double *low, double *high);
void lip_identity_slopes(const lip_layer *l, double *low, double *high);
/* x -> a x on both sides of zero apart: a = `below` for x < 0 and `above` for x >= 0, each executed as one product. */
void lip_two_slopes_range(double below, double above, double from, double to, lip_range *r);
/* A rising function of known values at both ends, each to a relative error of `error`: fills least and most. */
void lip_rising_range(double at_from, double at_to, double error, lip_range *r);
/* Table entry: y = x. */
void lip_identity_range(const lip_layer *l, size_t k, double from, double to, lip_range *r);
/* A table entry for layers that are non-expansive, map 0 to 0 and are executed without rounding. */
void lip_exact_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d);

/* For `deviate`: true and *d infinite when pq is a step down, for which nothing is known. */
bool lip_step_down(lip_pq pq, lip_deviation *d);

/* ||(1, ..., 1)||_p of n ones, rounded up: turns an error per element into a norm. */
double lip_ones_norm(size_t n, lip_p p);
/* A sum or product of a few doubles, moved up past the rounding of those few operations. */
double lip_round_up(double v);

/* The last word of `deviate` where numbers grow: values that float32 cannot hold make the error infinite. */
void lip_check_overflow(lip_deviation *d);

/* Channels C and positions S of one channel: {features} has S = 1. */
void lip_shape_channels(const lip_shape *s, size_t *C, size_t *S);
/* The same of x as it stands: in pixels channels are side by side, S = 1. */
void lip_layer_channels(const lip_layer *l, size_t *C, size_t *S);

#endif
