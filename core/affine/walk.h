/* The layers of a net as the certificates see them: constants, and how far the executed float32 activations can be
 * from the exact ones, at one input and over a ball around it. */
#ifndef LIP_AFFINE_WALK_H
#define LIP_AFFINE_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/affine/rounding.h"
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

/* Error of an operation in the arithmetic of a pass, against float32's: LIP_GRAIN_DOUBLE bounds that of a layer's double
 * mode (core/net/wide.h), and the error of a whole pass likewise, since every bound of it grows at least linearly with the
 * unit roundoff. 0: exact arithmetic. */
#define LIP_GRAIN_FLOAT 1.0
#define LIP_GRAIN_DOUBLE 0x1p-29
#define LIP_GRAIN_EXACT 0.0

/* The layer's own account of how size and error pass through it, in float32. */
void lip_stage_deviate(const lip_stage *s, lip_deviation *d);

/* What a pass in float32 meets at the input of stage `last` (w->n: the logits) for inputs of norm up to `size`, from the
 * weights alone: what lip_walk_centre finds for one of them with at most `nonzero` numbers that are not zero is no more, nor
 * what lip_walk_ball finds where `nonzero` is the number of all inputs. */
lip_deviation lip_walk_reach(const lip_walk *w, double size, size_t nonzero, size_t last);

/* What is known of one input after a forward pass; arrays of w->n + 1, the caller's; terms and result may be NULL. */
typedef struct lip_centre {
  const float *x; /* (n_in) */
  double *size;   /* >= norm of the executed input of stage i */
  double *off;    /* >= norm of (executed - exact) there */
  double *terms;  /* dense stages: >= || |W||h| + |b| || at the executed input h */
  double *result; /* dense stages: >= ||W h + b|| there, in exact arithmetic */
  size_t nonzero; /* products of a unit of a dense first stage that are not zero, at most */
} lip_centre;

/* Norms of row r of the batch that the net has just run (x: all of its rows), read from the activations that the
 * layers leave in their buffers, and the error of that very pass. */
void lip_walk_centre(const lip_walk *w, const float *x, size_t r, lip_centre *at);

/* The same for a pass in double of one input x, which is run here: returns its logits. `room` holds lip_walk_room(w)
 * doubles, aligned to 64. *rows, if the last stage is dense, is (n_out): each >= |w_i|.|h| + |b_i| there. Only for nets
 * that have a double mode, and no costly ones. */
size_t lip_walk_room(const lip_walk *w);
const double *lip_walk_wide(const lip_walk *w, const float *x, double *room, lip_centre *at,
                            const double **rows);

/* What a pass meets at the input of a stage (w->n: the logits) anywhere in the ball around a centre. */
typedef struct lip_ball {
  double off;      /* >= norm of (executed - exact) */
  double executed; /* >= norm of the executed activation */
  double gap;      /* >= norm of its difference to the one executed at the centre */
} lip_ball;

/* The input of stage `last` for every float32 input within `radius` of the centre: what is executed there may use another
 * batch size or number of threads. `at` may come from a pass of another grain than the one of the passes asked about. */
lip_ball lip_walk_ball(const lip_walk *w, const lip_centre *at, double radius, double grain, size_t last);

#endif
