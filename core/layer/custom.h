/* Kinds of layers whose functions are handed over while the program runs: the engine knows their shapes and arrays, and
 * asks for everything else. Such a kind is made by lip_custom_init and not in the registry; lip_layer.on_caller keeps all
 * passes through its layers on the calling thread and whole, and what it cannot do is written down in plan->fault.
 *
 * What it says of its constant and its rounding is believed: lip_custom_assumed tells of whom that is true. */
#ifndef LIP_LAYER_CUSTOM_H
#define LIP_LAYER_CUSTOM_H

#include "core/layer/layer.h"

typedef struct lip_custom lip_custom;

/* Rows of a pass. Arrays are lent for the time of the call. */
typedef struct lip_custom_rows {
  size_t rows;
  const float *x;  /* (rows, n_in) */
  float *y;        /* (rows, n_out), in backward what forward has put there */
  const float *dy; /* (rows, n_out); backward only, as those below */
  float *dx;       /* (rows, n_in) to be filled; NULL: nobody needs it */
  float *dw;       /* gradients of the params, one behind the other, 0 before; NULL: not wanted */
  bool training;
  bool gradient; /* forward: a backward may follow */
  uint64_t seed; /* random numbers of this step and layer */
} lip_custom_rows;

/* All on the thread that has called the net. What fails says why, without naming the layer. */
typedef struct lip_custom_ops {
  /* Given l->in: sets l->out and adds the params (lip_layer_add_param; `frozen` if not trained). */
  lip_status (*plan)(const lip_custom *c, lip_layer *l, lip_err *err);
  /* First values of param i, which are 0 before. (optional) */
  lip_status (*reset)(const lip_custom *c, const lip_layer *l, size_t i, uint64_t seed, lip_err *err);
  lip_status (*forward)(const lip_custom *c, const lip_layer *l, const lip_custom_rows *rows, lip_err *err);
  lip_status (*backward)(const lip_custom *c, const lip_layer *l, const lip_custom_rows *rows, lip_err *err);
  /* A Lipschitz constant from norm p to norm p with the params as they are. (optional: c->constant counts) */
  lip_status (*constant)(const lip_custom *c, const lip_layer *l, lip_p p, double *k, lip_err *err);
  /* For exact inputs of norm <= d->size that the executed ones miss by <= d->off, in norm p: *off >= how far executed
   * and exact outputs are apart. (optional: c->relative counts) */
  lip_status (*deviate)(const lip_custom *c, const lip_layer *l, lip_p p, const lip_deviation *d, double *off,
                        lip_err *err);
  /* The last spec of the kind is gone: c may be freed. (optional) */
  void (*drop)(lip_custom *c);
} lip_custom_ops;

struct lip_custom {
  lip_layer_kind kind; /* first: what layers point to */
  lip_custom_ops ops;
  void *owner;
  double constant; /* for p -> p, any p; INFINITY: not known. Not looked at when ops.constant is there */
  double
      relative; /* the local rounding error is at most so many times the norm of the executed input; INFINITY */
  size_t specs; /* that point to the kind */
};

/* Fills c->kind from desc, origin (both lent, to live as long as c), c->ops and c->constant, which the caller has set. */
void lip_custom_init(lip_custom *c, const lip_desc *desc, const char *origin);
/* The definition of a layer's kind, NULL for one of the engine's own. */
const lip_custom *lip_custom_of(const lip_layer_kind *kind);

/* "layer 3 (residual): layer 1 (swish)": where l stands below root, into buf; false: nowhere. */
bool lip_layer_place(const lip_layer *root, const lip_layer *l, char *buf, size_t size);
/* The i-th layer below root whose constant rests on somebody's word, depth first; NULL past the end. */
const lip_layer *lip_custom_assumed(const lip_layer *root, size_t i);
/* The first layer below root that states a constant and not how it rounds; NULL: none. */
const lip_layer *lip_custom_unrounded(const lip_layer *root);

#endif
