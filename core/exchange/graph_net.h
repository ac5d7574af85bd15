/* A graph on its way to a net of ours; private to the files graph_*.c that make one of it.
 *
 * Nodes are read in order. Every computed value is a run of layers behind a base: the net's input, or an earlier value that
 * several nodes use. A node with one computed input makes its run longer. Where branches over one base meet, the run of the
 * base goes on with one layer that holds them, as soon as none of them is missing; what cannot be taken apart like that is
 * refused. Nothing is executed, and shapes are those of one sample (a batch counts as 1). */
#ifndef LIP_EXCHANGE_GRAPH_NET_H
#define LIP_EXCHANGE_GRAPH_NET_H

#include "core/exchange/onnx.h"

typedef struct lip_piece lip_piece;

/* Layers to be, one after the other; owned. */
typedef struct lip_run {
  size_t n, room;
  lip_piece **piece;
} lip_run;

typedef enum lip_piece_what {
  LIP_PIECE_LAYER, /* spec and arrays */
  LIP_PIECE_MAP,   /* y_c = a_c (x_c - m_c) + b_c by channel, layers are chosen at the end */
  LIP_PIECE_PAD,   /* zeros around an image, waiting for a convolution */
  LIP_PIECE_SUM,   /* weight_1 branch_1 + ..., from the first on */
  LIP_PIECE_JOIN   /* branches end to end */
} lip_piece_what;

enum { LIP_PIECE_ARRAYS = 4 };

struct lip_piece {
  lip_piece_what what;
  bool any_shape; /* does the same whatever shape its input has */
  lip_spec *spec; /* of a layer */
  size_t n_array;
  struct {
    const char *name; /* of the parameter */
    size_t n;
    float *v;
  } array[LIP_PIECE_ARRAYS];
  size_t C;         /* of a map */
  float *a, *m, *b; /* (C) or NULL */
  bool first;       /* a map of the net's input */
  size_t pad[4];    /* top, left, bottom, right */
  size_t n_branch;
  lip_run *branch; /* (n_branch) */
  float *weight;   /* (n_branch) of a sum */
  size_t depth;    /* containers and chains inside each other, this one counted */
};

/* What is known of a value: numbers, or a run of layers. */
typedef struct lip_val {
  bool known;
  int ndim;
  int64_t dim[LIP_GRAPH_DIMS];
  size_t n; /* numbers */
  /* a constant: one of them, lent by the graph or in `own` */
  const float *f;
  const int64_t *i;
  void *own;
  /* computed (neither f nor i): */
  size_t base; /* the value in front of the run; LIP_GRAPH_NONE: the net's input */
  lip_run run;
  lip_shape here; /* our shape behind the run, n numbers */
  uint32_t *map;  /* number i of the value is number map[i] of ours; NULL: i. Owned */
  size_t open;    /* uses that have not been joined again */
} lip_val;

typedef struct lip_onnx {
  const lip_graph *g;
  const lip_onnx_conf *conf;
  lip_onnx_notes *notes;
  lip_err *err;
  lip_val *val;    /* (g->n_value) */
  bool *live;      /* (g->n_node) leads to the output, and has not been read along with another node */
  size_t at;       /* the node that is read */
  lip_shape input; /* of the net */
  int64_t batch;   /* samples that the file is made for; 1 here */
} lip_onnx;

static inline const lip_graph_node *lip_onnx_node(const lip_onnx *o) {
  return &o->g->node[o->at];
}

static inline bool lip_val_computed(const lip_val *v) {
  return !v->f && !v->i;
}

/* ---- graph_run.c: values, runs, pieces, texts. What fails has told o->err why. ---- */

/* "Conv \"c1\": ..." of the node that is read; LIP_UNSUPPORTED. */
lip_status lip_onnx_refuse(const lip_onnx *o, const char *fmt, ...) LIP_PRINTF(2, 3);
lip_status lip_onnx_no_memory(const lip_onnx *o);
/* The same beginning, into the notes. */
lip_status lip_onnx_note(const lip_onnx *o, const char *fmt, ...) LIP_PRINTF(2, 3);
/* "1x3x28x28" into buf; returns buf. */
const char *lip_dims_text(const int64_t *dim, int ndim, char *buf, size_t size);

/* Value k of the node's inputs, NULL when it is left out. */
lip_val *lip_onnx_in(const lip_onnx *o, size_t k);
/* One use of a computed value: *out (empty before) takes its run over, or starts a branch. */
lip_status lip_onnx_take(lip_onnx *o, size_t value, lip_val *out);
/* The same of input k of the node, which must be there and computed. */
lip_status lip_onnx_take_in(lip_onnx *o, size_t k, lip_val *out);
/* *v becomes output 0, or is let go of after a failure; returns status. */
lip_status lip_onnx_end(lip_onnx *o, lip_val *v, lip_status status);
/* *v becomes output k of the node; empty afterwards. Freed where nobody uses it. */
void lip_onnx_give(lip_onnx *o, size_t k, lip_val *v);
void lip_val_free(lip_val *v);
void lip_run_free(lip_run *r);
void lip_piece_free(lip_piece *p);
lip_status lip_val_dims(const lip_onnx *o, lip_val *v, int ndim, const int64_t *dim); /* sets n too */

lip_status lip_run_push(const lip_onnx *o, lip_run *r, lip_piece *p); /* takes p, also on failure */
/* A layer of that kind behind the run, with its default options. NULL: no memory. */
lip_piece *lip_onnx_layer(const lip_onnx *o, lip_val *v, const char *kind);
lip_piece *lip_run_last(const lip_run *r); /* or NULL */
/* A piece without anything yet, behind the run. NULL: no memory, or a Pad is in the way. */
lip_piece *lip_onnx_piece(const lip_onnx *o, lip_run *r, lip_piece_what what);
/* An option of a piece; what its table refuses is the file's. */
lip_status lip_onnx_set(const lip_onnx *o, lip_piece *p, const char *option, double v);
/* Room for a parameter, zeros; NULL: no memory. */
float *lip_onnx_array(const lip_onnx *o, lip_piece *p, const char *name, size_t n);
/* Our shape {n}. */
lip_status lip_onnx_flatten(const lip_onnx *o, lip_val *v);
/* Our shape as that of the value without its batch, in its order: 1 to 3 sides, channels first. */
lip_status lip_onnx_shape(lip_onnx *o, lip_val *v);
/* Attributes, or what counts without them. */
int64_t lip_onnx_int(const lip_onnx *o, const char *name, int64_t absent);
float lip_onnx_float(const lip_onnx *o, const char *name, float absent);
const char *lip_onnx_text(const lip_onnx *o, const char *name, const char *absent);
/* A list of exactly n, each `absent` without the attribute. */
lip_status lip_onnx_ints(const lip_onnx *o, const char *name, size_t n, int64_t absent, int64_t *out);
/* Axis in 0..ndim-1; -1 is the last. */
lip_status lip_onnx_axis(const lip_onnx *o, int64_t axis, int ndim, int *out);

/* ---- operators: read the node o->at ---- */
typedef lip_status lip_onnx_read(lip_onnx *o);

/* ---- graph_fold.c: steps with constants. c is the constant, v the run it acts on, which has one use taken. ---- */

/* One number for each channel, or for all of them. */
typedef struct lip_list {
  size_t C; /* 1, or the channels of v->here */
  float *v; /* owned */
} lip_list;
/* The constant at the numbers of v, which takes the shape that both have together; v becomes flat where the numbers differ
 * inside of channels. */
lip_status lip_fold_spread(lip_onnx *o, const lip_val *c, lip_val *v, lip_list *out);
bool lip_list_all(const lip_list *list, float value);
/* True: v ends with a matrix that has no bias yet. */
bool lip_fold_wants_bias(const lip_val *v);
/* v + list; v - list; list - v; list v. They take the list, also on failure. */
lip_status lip_fold_bias(lip_onnx *o, lip_val *v, lip_list *list); /* of the matrix that v ends with */
lip_status lip_fold_plus(lip_onnx *o, lip_val *v, lip_list *list);
lip_status lip_fold_minus(lip_onnx *o, lip_val *v, lip_list *list);
lip_status lip_fold_from(lip_onnx *o, lip_val *v, lip_list *list);
lip_status lip_fold_times(lip_onnx *o, lip_val *v, lip_list *list);
/* LIP_NOT_FINITE with the node. */
lip_status lip_fold_finite(const lip_onnx *o, const float *v, size_t n);
/* Layers of a map, in place of it. */
lip_status lip_fold_settle(const lip_onnx *o, const lip_piece *map, lip_run *out);

lip_onnx_read lip_onnx_neg, lip_onnx_clip, lip_onnx_max, lip_onnx_min;
lip_onnx_read lip_onnx_mul, lip_onnx_div;

/* ---- graph_matrix.c ---- */
lip_onnx_read lip_onnx_matmul, lip_onnx_gemm;

/* ---- graph_shape.c: the same numbers in another shape or order, and shapes that are computed ---- */
/* Means of whole channels, {1, C, 1, 1} or without `keep` {1, C}. */
lip_status lip_onnx_means(lip_onnx *o, bool keep);
lip_onnx_read lip_onnx_reshape_node, lip_onnx_reduce_mean, lip_onnx_flatten_node, lip_onnx_squeeze,
    lip_onnx_unsqueeze, lip_onnx_transpose;
lip_onnx_read lip_onnx_shape_of, lip_onnx_gather_shape, lip_onnx_join_shapes, lip_onnx_identity;

/* ---- graph_image.c ---- */
lip_onnx_read lip_onnx_conv, lip_onnx_average_pool, lip_onnx_max_pool, lip_onnx_global_pool;
lip_onnx_read lip_onnx_pad;

/* ---- graph_unit.c ---- */
lip_onnx_read lip_onnx_unit, lip_onnx_leaky, lip_onnx_batch_norm;

/* ---- graph_branch.c ---- */
lip_onnx_read lip_onnx_add, lip_onnx_sub, lip_onnx_concat;

/* ---- graph_groups.c: sorting ---- */
lip_onnx_read lip_onnx_split, lip_onnx_top;

/* ---- graph_move.c: the same numbers in other places ---- */
lip_onnx_read lip_onnx_reshape, lip_onnx_gather, lip_onnx_slice;
lip_onnx_read lip_onnx_depth_to_space, lip_onnx_space_to_depth;

/* ---- graph_build.c ---- */
/* The net of a run, which is used up. */
lip_status lip_onnx_build(lip_onnx *o, lip_run *run, const lip_engine *engine, lip_net **out);

#endif
