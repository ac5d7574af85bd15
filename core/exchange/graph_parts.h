/* What the files that read ONNX share; nobody else includes it. */
#ifndef LIP_EXCHANGE_GRAPH_PARTS_H
#define LIP_EXCHANGE_GRAPH_PARTS_H

#include "core/exchange/graph.h"

/* ---- graph.c: what a graph owns ---- */

typedef struct lip_graph_block lip_graph_block;

/* `n` zeroed elements of `size` bytes that live until lip_graph_give_back; NULL: no memory. */
void *lip_graph_take(lip_graph_block **list, size_t n, size_t size);
void lip_graph_give_back(lip_graph_block **list);

/* ---- graph_names.c ---- */

/* Numbers names from 0 on, in the order in which they come first: number[k] is that of name[k], or LIP_GRAPH_NONE where it
 * is "". In n log n comparisons, whatever the names are. first[i] (room for n) is where number i came first, *distinct how
 * many there are. LIP_MEMORY. */
lip_status lip_graph_number(const char *const *name, size_t n, size_t *number, size_t *first,
                            size_t *distinct);

/* ---- graph_sort.c ---- */

/* Puts nodes into an order in which values are there before they are used; where they stand in such an order they stay as
 * they are. producer[v] is the node that computes value v, or LIP_GRAPH_NONE. LIP_FORMAT names nodes of a circle;
 * LIP_MEMORY. Messages begin with `path`. */
lip_status lip_graph_sort(lip_graph *g, const size_t *producer, const char *path, lip_err *err);

/* ---- graph_settle.c ---- */

/* In a sorted graph: takes out `Constant` nodes and the `Identity` of constants, whose outputs become constants.
 * LIP_FORMAT, LIP_UNSUPPORTED, LIP_MEMORY. */
lip_status lip_graph_settle(lip_graph *g, lip_graph_block **blocks, const char *path, lip_err *err);

/* ---- graph_read_tensor.c, graph_read_outside.c ---- */

struct LipOnnx__TensorProto;

/* A constant to be read. */
typedef struct lip_graph_job {
  struct LipOnnx__TensorProto *from;
  lip_graph_tensor *to;
  const lip_graph_node *node; /* whose attribute it is, or NULL: an initializer */
  char *file;                 /* beside the ONNX file (lip_free), or NULL */
  size_t begin, bytes;        /* of it */
} lip_graph_job;

typedef struct lip_graph_source {
  const char *path; /* of the ONNX file */
  const lip_graph *g;
  bool round;
  lip_graph_block **blocks;
  lip_err *err;
} lip_graph_source;

#define LIP_GRAPH_TENSOR_TEXT 240
/* "constant 'name'" or "constant of node ...", for messages. */
const char *lip_graph_job_text(const lip_graph_source *s, const lip_graph_job *job,
                               char text[LIP_GRAPH_TENSOR_TEXT]);
/* The shape, and how many bytes the file must hold for it. LIP_FORMAT, LIP_UNSUPPORTED. */
lip_status lip_graph_measure(const lip_graph_source *s, lip_graph_job *job);
/* The numbers: of `bytes` (job->bytes of them, from another file), or where that is NULL those of the message. */
lip_status lip_graph_decode(const lip_graph_source *s, const lip_graph_job *job, const unsigned char *bytes);
/* Finds the file and the place of every constant that stands in one, after lip_graph_measure: no two may overlap. */
lip_status lip_graph_place(const lip_graph_source *s, lip_graph_job *job, size_t n);
/* Reads one of them: *bytes is lip_free'd by the caller. */
lip_status lip_graph_fetch(const lip_graph_source *s, const lip_graph_job *job, unsigned char **bytes);

#endif
