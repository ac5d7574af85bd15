/* The norms 1, 2, inf, and the path of norms through a network. */
#ifndef LIP_NORM_PNORM_H
#define LIP_NORM_PNORM_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

/* Order matters: a step p -> q is tractable exactly when q >= p. */
typedef enum lip_p { LIP_P1, LIP_P2, LIP_PINF } lip_p;

/* One step of the path: a map from (R^n, p) to (R^m, q). */
typedef struct lip_pq {
  lip_p p, q;
} lip_pq;

#define LIP_MAX_PATH 256

/* The norm at each place: p[0] at the input, p[i] after the i-th weighted layer; the last one repeats. */
typedef struct lip_path {
  size_t n; /* >= 1 */
  lip_p p[LIP_MAX_PATH];
} lip_path;

const char *lip_p_name(lip_p p);                                  /* "1", "2", "inf" */
lip_status lip_p_parse(const char *text, lip_p *p, lip_err *err); /* also "Inf", "linf", "l1", "l2" */
lip_p lip_p_dual(lip_p p);                                        /* 1/p + 1/p* = 1 */
/* "1->inf", static storage. */
const char *lip_pq_name(lip_pq pq);
/* True for q >= p; the others (inf->2, inf->1, 2->1) are NP-hard (Rohn 2000; Steinberg 2005). */
bool lip_pq_tractable(lip_pq pq);
/* LIP_OK, or LIP_UNSUPPORTED with the reason. */
lip_status lip_pq_check(lip_pq pq, lip_err *err);

/* "inf", "1->inf", "2->2->inf": the norms in order. LIP_OPTION or LIP_UNSUPPORTED (a step down). */
lip_status lip_path_parse(const char *text, lip_path *path, lip_err *err);
/* The step of the i-th weighted layer (from 0), and the norm at place i. */
lip_pq lip_path_step(const lip_path *path, size_t i);
lip_p lip_path_at(const lip_path *path, size_t i);
/* "1->inf", as parsed; returns buf. */
const char *lip_path_text(const lip_path *path, char *buf, size_t size);

/* ||x||_p of float32 or double data, sums in double, rounded upwards (never below the exact norm); NaN or infinite
 * input gives infinity. */
double lip_norm_upper(const float *x, size_t n, lip_p p);
double lip_norm_upper_d(const double *x, size_t n, lip_p p);
/* Same norms, nearest: for printing and gradients. */
double lip_norm(const float *x, size_t n, lip_p p);

#endif
