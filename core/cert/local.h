/* What holds near one input: verdicts by linear relaxation, and Lipschitz constants of a ball. */
#ifndef LIP_CERT_LOCAL_H
#define LIP_CERT_LOCAL_H

#include "core/bound/method.h"
#include "core/cert/certify.h"
#include "core/cert/relax.h"
#include "core/net/property.h"

/* Sizes of balls to try, and where they are cut. */
typedef struct lip_local_conf {
  lip_p p;
  const double *eps; /* (n_eps) ascending, >= 0 */
  size_t n_eps;
  bool boxed; /* inputs outside from..to do not count (a row that lies outside itself is not cut) */
  const double *from, *to; /* (n_in) when `boxed` */
  const double *scale; /* (n_in) of balls ||(x' - x) / scale||_p <= eps, finite, >= 0; NULL: 1 everywhere */
  size_t halvings; /* between the largest size proved and the smallest refused, that many more are tried */
  lip_executed
      executed; /* what verdicts are about; arithmetic in double errs less than float32, which covers it */
  const lip_property *property; /* what is to hold in the ball; NULL: that the label stays. Borrowed */
} lip_local_conf;

/* One output f counts as the logits 0 and f where labels are asked about (net.h), so that C = 2.
 * A net's relaxation with room for every thread of its pool; valid until the weights change. Nets without the form of
 * affine.h, or too large for it, are looked at by interval arithmetic alone, where all of their layers allow it, and certify
 * nothing otherwise. LIP_MEMORY. */
typedef struct lip_local lip_local;
lip_status lip_local_new(lip_net *net, const lip_local_conf *conf, lip_local **out, lip_err *err);
void lip_local_free(lip_local *c); /* accepts NULL */
const char *
lip_local_unknown(const lip_local *c);    /* why there is no relaxation: kind of a layer, "size"; or NULL */
bool lip_local_boxes(const lip_local *c); /* without one, whether interval arithmetic stands in for it */

/* Rows of x (B, n_in) with labels as executed and radii known otherwise (certify.h) in io: raises io[i].radius to the
 * largest size for which interval arithmetic or relaxation proves that the float32 net gives every float32 input of the
 * ball the label io[i].label. With a scale the radii that come in are of plain balls; those that go out are sizes of scaled
 * ones. LIP_CANCELLED. */
lip_status lip_local_certify(lip_local *c, const float *x, size_t B, lip_radius *io, lip_err *err);

/* The same for conf->property: io[i].label is the label that it is about (0 where there is none), and rows whose margin is
 * not above 0 are left alone, as it does not hold at the input itself. Fills io for outputs z (B, C) as executed: margin =
 * lip_property_value, or 0 where that does not say so exactly; labels (B), NULL: as executed. */
void lip_local_begin(const lip_property *p, const float *z, size_t B, const int32_t *labels, lip_radius *io);

/* low (B, m) <= every row of the property (NULL: the margins z_y - z_j, C of them, 0 at the label) for the ball of size
 * conf->eps[0] around every row of x; -INFINITY where nothing is known or the label is -1. LIP_CANCELLED. */
lip_status lip_local_rows(lip_local *c, const float *x, size_t B, const lip_radius *io, double *low,
                          lip_err *err);

/* Constants of the ball: every method that takes nets in the form of affine.h, on slopes that hold in the region (exact
 * arithmetic). `ask` is for the whole net, with its affine form; `method` names one or "best". LIP_MEMORY,
 * LIP_CANCELLED, LIP_OPTION. */
lip_status lip_local_bound(const char *method, const lip_ask *ask, const lip_region *region, lip_found *out,
                           lip_err *err);

#endif
