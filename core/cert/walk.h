/* The layers of a net as the certificates see them: constants, and how far the executed float32 activations can be
 * from the exact ones, at one input and over a ball around it. */
#ifndef LIP_CERT_WALK_H
#define LIP_CERT_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/cert/rounding.h"
#include "core/net/net.h"

/* One child of the chain that computes something (aliases are left out). */
typedef struct lip_stage {
  const lip_layer *layer;
  lip_pq pq;  /* its step of the path */
  bool dense; /* then `error` is filled; otherwise the layer's own `deviate` is asked */
  lip_dense_error error;
  double upper;  /* Lipschitz constant of the layer, INFINITY = unknown */
  double before; /* product of the constants of the stages before it, rounded up */
} lip_stage;

typedef struct lip_walk {
  const lip_net *net;
  size_t n;
  lip_stage *stage;    /* (n), owned */
  const char *unknown; /* kind of the first layer without a bound, or NULL */
  double upper;        /* product of all, rounded up */
  lip_p p, q;          /* norms of the input and of the logits */
  bool costly;         /* a stage other than dense works out norms in its `deviate` */
} lip_walk;

/* Constants of all layers for the weights as they are now, along a path of norms (NULL: the net's own). LIP_MEMORY. */
lip_status lip_walk_init(lip_walk *w, const lip_net *net, const lip_path *path, lip_err *err);
void lip_walk_free(lip_walk *w);

/* The layer's own account of how size and error pass through it. */
void lip_stage_deviate(const lip_stage *s, lip_deviation *d);

/* What is known of one input after a forward pass; arrays of w->n + 1, the caller's. */
typedef struct lip_centre {
  const float *x; /* (n_in) */
  double *size;   /* >= norm of the executed input of stage i */
  double *off;    /* >= norm of (executed - exact) there */
  double first;   /* || |W||x| || of a dense first stage */
  size_t nonzero; /* numbers of x that are not zero */
} lip_centre;

/* Norms of row r of the batch that the net has just run (x: all of its rows), read from the activations that the
 * layers leave in their buffers, and the error of that very pass. */
void lip_walk_centre(const lip_walk *w, const float *x, size_t r, lip_centre *at);

/* Size and error of the input of stage `last` (w->n: the logits) for every float32 input within `radius` of the
 * centre: what is executed there may use another batch size or number of threads. */
lip_deviation lip_walk_ball(const lip_walk *w, const lip_centre *at, double radius, size_t last);

#endif
