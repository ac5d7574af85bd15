/* What a planned net computes outside training, written down for other programs: a list of steps over numbered values,
 * each value the array of one sample, of a fixed shape. Kinds of layers append steps (the entry `emit` of their table);
 * writers of foreign formats (core/exchange) go through the list and know no kind.
 *
 * A step is what the layer executes: a program that carries the steps out in float32, sums in any order, fused or not,
 * is within what `deviate` and `form` state of the layer. So a step may be split no further, and two are never
 * multiplied together. */
#ifndef LIP_LAYER_EMIT_H
#define LIP_LAYER_EMIT_H

#include "core/layer/layer.h"

typedef enum lip_emit_op {
  LIP_EMIT_INPUT,    /* value 0, the sample */
  LIP_EMIT_CONSTANT, /* the same numbers whatever the sample: a point at which layers are executed too */
  LIP_EMIT_DENSE,    /* y = W x + b */
  LIP_EMIT_CONV,     /* a convolution of {C, H, W}, or of {C, L} with one row */
  LIP_EMIT_MAP,      /* y_k = f(x_k) */
  LIP_EMIT_AFFINE, /* y_c = a_c (x_c - m_c) + b_c for channel c, every place of it: a difference, a product, a sum */
  LIP_EMIT_POOL,    /* windows of every channel */
  LIP_EMIT_SORT,    /* groups of neighbouring channels in order, place by place: compared, not computed */
  LIP_EMIT_MOVE,    /* y_i = x[from[i]], or 0 */
  LIP_EMIT_RESHAPE, /* the same numbers in another shape */
  LIP_EMIT_SUM,     /* y = sum of weight_i x_i, all of one shape, from the first on */
  LIP_EMIT_JOIN     /* end to end along the first dimension */
} lip_emit_op;

typedef enum lip_emit_function {
  LIP_EMIT_RELU,
  LIP_EMIT_LEAKY_RELU, /* x > 0 ? x : parameter x */
  LIP_EMIT_ABS,
  LIP_EMIT_TANH,
  LIP_EMIT_SIGMOID,
  LIP_EMIT_SOFTPLUS /* log(1 + exp(parameter x)) / parameter */
} lip_emit_function;

typedef enum lip_emit_pool {
  LIP_EMIT_MAX, /* of the pixels inside the image, of which every window has one */
  LIP_EMIT_MEAN, /* the sum of products with `factor`, or the sum times it, or the sum divided by kernel[0] kernel[1] */
  LIP_EMIT_L2 /* the root of the sum of squares, which must be in double: in float32 they vanish or overflow */
} lip_emit_pool;

#define LIP_EMIT_ZERO UINT32_MAX /* in `from`: the value is 0 */

typedef struct lip_emit_step {
  lip_emit_op op;
  const lip_layer *layer; /* who has appended it (names of arrays: core/io/params.h); NULL for the input */
  size_t n_x;
  size_t *x; /* (n_x) the values it takes; owned. Its own value has the number of the step */
  lip_shape out;
  union {
    struct {
      const float *v; /* (n_out) */
    } constant;
    struct {
      const float *W, *b; /* (n_out, n_in) and (n_out) or NULL */
    } dense;
    struct {
      const float *W, *b; /* (OUT, C / groups, kernel[0], kernel[1]) and (OUT) or NULL */
      size_t groups, kernel[2], stride[2], padding[2], dilation[2]; /* down, across */
    } conv;
    struct {
      lip_emit_function f;
      double parameter; /* a float32 number */
    } map;
    struct {
      const float *a, *m, *b; /* (channels), or NULL: no such operation */
    } affine;
    struct {
      lip_emit_pool how;
      size_t kernel[2], stride[2],
          padding[2]; /* down, across; pixels outside of the image are 0 or do not count */
      float factor;   /* of means: the largest float32 number that is at most 1 / (kernel[0] kernel[1]) */
    } pool;
    struct {
      size_t size; /* of a group */
      bool descending;
    } sort;
    struct {
      const uint32_t *from; /* (n_out) */
    } move;
    struct {
      const float *weight; /* (n_x); NULL: all 1 */
    } sum;
  } u;
} lip_emit_step;

/* The list. Arrays of steps are lent by the net (weights), or owned by the list. */
struct lip_emit {
  size_t n, room;
  lip_emit_step *step; /* (n), step[i] computes value i; owned */
  size_t n_block, block_room;
  void **block;      /* arrays that steps own */
  size_t out;        /* the value that the net returns */
  lip_status status; /* why it has failed, or LIP_OK */
  lip_err err;
  const lip_layer *layer; /* whose `emit` runs */
};

/* How a writer goes through them:
 *   lip_emit e;
 *   if (!lip_emit_init(&e, net->root, err))
 *     for (size_t i = 1; i < e.n; i++) write(&e.step[i]);   // value i, from values before it
 *   lip_emit_free(&e);                                      // value e.out is what the net returns
 *
 * The steps of a planned layer, the root of a net say, for its weights as they are. LIP_UNSUPPORTED names the kind that
 * cannot be written; LIP_MEMORY. The list borrows the net's weights. Free with lip_emit_free also after a failure. */
lip_status lip_emit_init(lip_emit *e, const lip_layer *root, lip_err *err);
void lip_emit_free(lip_emit *e);

/* ---- for the entry `emit` of kinds: size_t emit(const lip_layer *l, lip_emit *e, size_t x) returns the value of l->y where x
 * is that of l->x. After a failure everything does nothing, and what is returned means nothing. ---- */

/* What layer `l` makes of value x, whatever its kind: containers ask for their children. */
size_t lip_emit_layer(lip_emit *e, const lip_layer *l, size_t x);
/* Appends a copy of *step with the n inputs `x`, and returns its value. */
size_t lip_emit_add(lip_emit *e, const lip_emit_step *step, const size_t *x, size_t n);
/* n elements of `size` bytes that live as long as the list; NULL after a failure. */
void *lip_emit_take(lip_emit *e, size_t n, size_t size);
/* Gives up: why, for people to read. */
void lip_emit_refuse(lip_emit *e, const char *why);
/* y_k = f(x_k). */
size_t lip_emit_map(lip_emit *e, const lip_layer *l, size_t x, lip_emit_function f, double parameter);
/* The sum of n values of the size of l->out, which are reshaped first should their shapes differ; weight (n), lent, or
 * NULL. */
size_t lip_emit_sum(lip_emit *e, const lip_layer *l, const size_t *x, size_t n, const float *weight);
/* All children one after the other. */
size_t lip_emit_chain(const lip_layer *l, lip_emit *e, size_t x);

#endif
