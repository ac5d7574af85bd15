/* An ONNX file as read (graph_read.c): nodes in an order in which every value is there before it is used, constants
 * decoded. What it means as a net is said by graph_net.c. */
#ifndef LIP_EXCHANGE_GRAPH_H
#define LIP_EXCHANGE_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

#define LIP_GRAPH_DIMS 8
#define LIP_GRAPH_NONE SIZE_MAX

/* A constant. Floating-point types become float32 where that is exact, integers int64. */
typedef struct lip_graph_tensor {
  int ndim;
  int64_t dim[LIP_GRAPH_DIMS];
  size_t n;
  float *f;     /* (n), or NULL: it is not floating point */
  int64_t *i;   /* (n), or NULL: it is not whole numbers or truth values */
  bool rounded; /* some double was no float32, and was rounded to the nearest one */
} lip_graph_tensor;

typedef enum lip_graph_type {
  LIP_GRAPH_FLOAT,
  LIP_GRAPH_INT,
  LIP_GRAPH_TEXT,
  LIP_GRAPH_TENSOR,
  LIP_GRAPH_FLOATS,
  LIP_GRAPH_INTS,
  LIP_GRAPH_OTHER /* a subgraph and the like */
} lip_graph_type;

typedef struct lip_graph_attribute {
  const char *name;
  lip_graph_type type;
  float f;
  int64_t i;
  const char *text;
  lip_graph_tensor tensor;
  size_t n; /* of floats or ints */
  const float *floats;
  const int64_t *ints;
} lip_graph_attribute;

typedef struct lip_graph_value {
  const char *name;
  const lip_graph_tensor *constant; /* NULL: computed, or an input */
  int type;                         /* ONNX's number of the element type (1: float32); 0: not stated */
  bool shaped; /* the file states ndim and dim; asked of inputs and outputs alone, which do, mostly */
  int ndim;
  int64_t dim[LIP_GRAPH_DIMS]; /* -1: left open */
} lip_graph_value;

typedef struct lip_graph_node {
  const char *op, *name; /* name may be "" */
  size_t n_in, n_out;
  const size_t *in, *out; /* numbers of values; LIP_GRAPH_NONE: left out */
  size_t n_attribute;
  const lip_graph_attribute *attribute;
} lip_graph_node;

typedef struct lip_graph {
  int64_t opset; /* of the standard operators */
  const char *producer;
  size_t n_node, n_value, n_input, n_output;
  lip_graph_node *node; /* (n_node) sorted */
  lip_graph_value *value;
  size_t *input; /* values that are given, not those of initializers */
  size_t *output;
  bool rounded; /* of some constant */
  void *owner;  /* private to graph_read.c */
} lip_graph;

typedef struct lip_graph_conf {
  bool round; /* doubles that are no float32 are rounded to nearest, not refused */
} lip_graph_conf;

/* A file, unpacked, and the files beside it may have that many bytes at most (protobuf itself ends at twice as many). */
#define LIP_GRAPH_LIMIT ((size_t)1 << 30)

/* Plain or gzip; weights may stand in files beside it (never outside of its folder). Refused, LIP_FORMAT with the reason:
 * what is no ONNX file, cut, cyclic, has a value that nobody computes or two nodes do, more numbers than bytes, a constant
 * that is not finite. LIP_UNSUPPORTED: opsets outside 7..22, operators of other domains, constants of other types, or that
 * are no float32 while conf->round is off. LIP_NOT_FOUND, LIP_IO, LIP_MEMORY. Nothing is allocated that the size of the
 * file (and of those beside it) does not warrant. `Constant` nodes, and `Identity` of constants, are gone: their outputs
 * are constants. The caller owns *out (NULL after a failure). */
lip_status lip_graph_open(const char *path, const lip_graph_conf *conf, lip_graph **out, lip_err *err);
void lip_graph_free(lip_graph *g); /* accepts NULL */

/* "node 'name' (Op)", or of one without a name "node (Op) of 'its output'", for messages. Returns `text`. */
#define LIP_GRAPH_NODE_TEXT 160
const char *lip_graph_node_text(const lip_graph *g, const lip_graph_node *n, char text[LIP_GRAPH_NODE_TEXT]);

/* The attribute of that name, or NULL. Lent. */
const lip_graph_attribute *lip_graph_attribute_of(const lip_graph_node *n, const char *name);

#endif
