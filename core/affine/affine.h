/* A net as matrices with scalar nonlinearities between them: the form in which bounds look at it.
 *
 *   z_1 = W_1 x + b_1,   y_1 = phi_1(z_1),   z_2 = W_2 y_1 + b_2,   ...   logits = W_n y_{n-1} + b_n
 *
 * W_l is float32, exact, or the exact product of several such matrices (fold.h). phi_l maps units one by one with slopes in [low_k, high_k], or puts disjoint pairs (a, b) in
 * order; others it passes on. A net with branches is such a chain of wider matrices: what waits beside a branch passes
 * every block as units of slope 1. What executed float32 does with row k of W_l is a sum of as many terms as the row and
 * its bias have numbers that are not zero, in some order; nothing at all where that is one 1. A pair is seen through its sum and difference: y_a + y_b = z_a + z_b and y_a - y_b = +-|z_a - z_b|, so in
 *   s = z_a + z_b,  d = z_a - z_b    the sum has slope exactly 1 and the difference slopes in [-1, 1]
 * (the MaxMin of Anil, Lucas, Grosse 2019 rotated by 45 degrees, without the factor sqrt 2). low, high and everything
 * said of "units" below are about s (at the place of the lower index) and d (at the higher) for a pair. */
#ifndef LIP_AFFINE_AFFINE_H
#define LIP_AFFINE_AFFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/layer/form.h"
#include "core/net/net.h"

/* What a block that has taken in others (fold.h) knows of itself. Its executed float32 unit k is off by at most
 *   gamma_{rounds_k} (|W_k| |y| + size_k) + flat_k + steep_k sum |y|,  gamma_n = n v / (1 - n v), v = 2^-24,
 * for the executed y before it, as long as nothing overflows: reach + rise sum |y| bounds all that is computed on the way. */
typedef struct lip_fold {
  double *W;                     /* (M, N) exact */
  double *c, *off;               /* (M) the bias, and how far that may be from the exact one */
  double *size;                  /* (M) >= |c|, and all terms that c is the sum of, in absolute values */
  double *rounds, *flat, *steep; /* (M) */
  double reach, rise;
} lip_fold;

typedef struct lip_block {
  size_t M, N;
  float *W, *b;       /* (M, N) row-major and (M), owned; exact unless there is a fold */
  lip_fold *fold;     /* NULL: none. Else W and b are rounded from it. Owned */
  double *low, *high; /* (M) slopes of what follows the matrix; owned. The last block: all 1 and never read */
  const lip_layer *
      phi; /* of the net: its kind's `range` is phi_l of the first units; NULL: `bend`, pairs, or all pass on */
  lip_bend *bend; /* (n_phi) phi_l of the first units, or NULL; owned */
  size_t n_phi;   /* how many units that are */
  bool
      descending; /* a pair's larger value goes to the lower index: y_a - y_b = |z_a - z_b|, else -|z_a - z_b| */
  uint32_t *mate; /* (M) partner of a unit, or the unit itself; NULL: no pairs. Owned */
  size_t
      layer; /* place in the net's chain of the layer that asked for these values, from 0; behind it: the outputs */
  size_t own; /* so many of them, the first, are what it takes, or layers in it; the others wait */
} lip_block;

typedef struct lip_affine {
  size_t n;            /* blocks, at least 1 when known */
  lip_block *block;    /* owned */
  size_t n_in, n_out;  /* of the net */
  const char *unknown; /* kind of a layer that has no such form (n is then 0), or NULL */
  const char *inside;  /* kind of the container of the net's chain that it stands in, or NULL */
  size_t unknown_at;   /* place in the net's chain of the one or the other, from 0 */
  bool too_large;      /* it has, with a matrix of too many entries */
} lip_affine;

/* The net's weights as they are now, copied. Layers without this form, or matrices of more than 2^27 entries, 2^28 in all:
 * LIP_OK with `unknown` named. LIP_MEMORY. Free with lip_affine_free also after a failure. */
lip_status lip_affine_init(lip_affine *a, const lip_net *net, lip_err *err);
/* The same of the net's classes: one output f becomes the two logits 0 and f, whose order is its sign. The first is a row of
 * zeros in the last matrix, and executed exactly. */
lip_status lip_affine_classes(lip_affine *a, const lip_net *net, lip_err *err);
void lip_affine_free(lip_affine *a);

/* Entry i of the exact matrix. */
static inline double lip_block_weight(const lip_block *b, size_t i) {
  return b->fold ? b->fold->W[i] : (double)b->W[i];
}

#endif
