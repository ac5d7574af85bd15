/* The certified radius at run time: a function of exported C that tells, of an input and the outputs that the program has
 * given it, how far the input may move before the program's label can change. */
#ifndef LIP_EXCHANGE_C_RADIUS_H
#define LIP_EXCHANGE_C_RADIUS_H

#include "core/cert/certify.h"
#include "core/exchange/c_parts.h"

/* What the function reads: constants of pairs, and what rounding costs by the size of the input. */
struct lip_c_radius {
  const lip_net *net;
  lip_certifier *certifier; /* owned */
  size_t n_in, n_out;
  lip_p p;             /* the norm of inputs and radii */
  size_t C;            /* classes (net.h) */
  float *pair;         /* (C, C) rounded up; -1: unknown */
  size_t n;            /* sizes; 0: nothing is known, and every radius is 0 */
  float *size, *allow; /* (n) rising, and lip_certifier_allowance there, rounded up */
  /* Where zeros among the inputs make less of it: the part of that in an octave of sizes for up to `width`, 2 width, ...
   * inputs that are not zero. parts = 1: they do not. */
  size_t parts, width, octaves;
  float *part; /* (octaves, parts) rounded up */
};

/* `pairs` (C, C): constants of differences of two classes from the norm of the net's input, proved elsewhere; NULL: the
 * products of the layers' constants. LIP_MEMORY; LIP_UNSUPPORTED as in lip_certifier_new. Free also after a failure. */
lip_status lip_c_radius_init(lip_c_radius *r, lip_net *net, const double *pairs, lip_err *err);
void lip_c_radius_free(lip_c_radius *r);

/* Bytes of constants that it brings. */
size_t lip_c_radius_bytes(const lip_c_radius *r);
/* The declaration float NAME_radius(const float x[N], const float y[M]), and what it says, for the header. */
void lip_c_radius_declare(const lip_c_radius *r, const lip_c *c, lip_str *to);
/* Tables and functions. Needs <float.h>, and NAME_label before it. */
void lip_c_radius_write(const lip_c_radius *r, lip_c *c, lip_str *to);

/* What NAME_radius may return for the input x (n_in), in whatever order the program sums: at least bounds[0], and at most
 * bounds[1], the radius that lip_certify gives. Runs the net. LIP_CANCELLED, LIP_MEMORY. */
lip_status lip_c_radius_bounds(const lip_c_radius *r, const float *x, float bounds[2], lip_err *err);

#endif
