/* Certified radii: how far an input may move, in the norm of the net's input, before its class can change. */
#ifndef LIP_CERT_CERTIFY_H
#define LIP_CERT_CERTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/net/net.h"

/* Everything that does not depend on the data: the pair constants L_ij (C, C) of z_i - z_j from the input norm,
 * rounded up (Leino et al. 2021 for pairs in place of a global constant; any p: Hein, Andriushchenko 2017), and the
 * terms of the float32 error. Valid until the weights change. One output f counts as the logits 0 and f (net.h): C = 2, the
 * radius is |f| / L, f = 0 a tie. */
typedef struct lip_certifier lip_certifier;

/* What is executed, that is, what the radii hold for. */
typedef enum lip_arithmetic {
  LIP_ARITHMETIC_FLOAT32, /* lip_net_forward, in any order of summation, fused or not, on any machine */
  LIP_ARITHMETIC_DOUBLE, /* lip_wide_forward: sums and activations in double; labels and margins are that pass's */
  LIP_ARITHMETIC_REAL /* nothing: exact arithmetic on the stored weights; no program attains it */
} lip_arithmetic;
extern const char *const lip_arithmetic_names[]; /* "float32", "double", "real", NULL */

/* How to certify; {0} and NULL: float32, in the norms of the net's own path with the product of its layers. */
typedef struct lip_certify_conf {
  const lip_path *path; /* norms from layer to layer; NULL: the net's own */
  const double
      *pairs; /* (C, C) constants of z_i - z_j from the path's first norm, proved elsewhere; NULL: none */
  lip_arithmetic arithmetic;
  bool
      tight; /* every row is looked at again in double, not only those where rounding costs 1/8 of the radius */
} lip_certify_conf;

/* The self-test: whether this thread and this processor compute as the bounds assume (core/base/ieee.h). Every new
 * certifier asks. LIP_UNSUPPORTED with what is wrong. */
lip_status lip_certify_ready(lip_err *err);

/* Pairwise product bound: K of all layers but the last times ||w_i - w_j||_{q*}; plain product times the norm of
 * e_i - e_j when the last layer is not dense; conf->pairs where they are smaller (read now, not kept). LIP_MEMORY;
 * LIP_UNSUPPORTED for double arithmetic of a layer that has none, and when this thread's arithmetic is not
 * what the bounds assume (core/base/ieee.h); unknown layers give INFINITY and
 * radius 0. */
lip_status lip_certifier_new(lip_net *net, const lip_certify_conf *conf, lip_certifier **out, lip_err *err);
void lip_certifier_free(lip_certifier *c);
size_t lip_certifier_classes(const lip_certifier *c);
const double *lip_certifier_pairs(const lip_certifier *c); /* (C, C), lent */

/* What rounding in float32 may do to a difference of two logits, at most, for every input of norm up to `size` with at most
 * `nonzero` numbers that are not zero: for no such input does lip_certify subtract more for the pass that gave its logits,
 * nor, where `nonzero` is the number of all inputs, for the passes on a ball that stays within `size`. INFINITY: not known.
 * Not for several threads at once. */
double lip_certifier_allowance(lip_certifier *c, double size, size_t nonzero);

/* What holds for one input. */
typedef struct lip_radius {
  int32_t label; /* executed argmax, the lowest index among equals; -1 when a logit is not finite */
  double radius; /* rounded down; 0 for ties and anything not finite */
  double margin; /* smallest difference to another class, as executed */
} lip_radius;

/* Rows of x (B, n_in), B <= capacity: fills out[B]. The radius holds for the network as executed: any float32 input
 * within the radius gets the same label (margins less the rounding error of a forward pass here and over that ball,
 * Higham 2002 section 3.1). */
lip_status lip_certify(lip_certifier *c, const float *x, size_t B, lip_radius *out, lip_err *err);
/* The same for B rows that source->fill writes into the net's input; source->use is not called. */
lip_status lip_certify_stream(lip_certifier *c, const lip_stream *source, size_t B, lip_radius *out,
                              lip_err *err);

#endif
