/* ONNX in and out. A file becomes a net of ours by exact steps alone: constants stay the very float32 numbers, sums and
 * products are put together only where nothing is rounded, and what is executed otherwise than written is told in the
 * notes. Bounds and certificates speak of the net that comes out, as executed here. */
#ifndef LIP_EXCHANGE_ONNX_H
#define LIP_EXCHANGE_ONNX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/exchange/graph.h"
#include "core/net/net.h"

typedef struct lip_onnx_conf {
  lip_shape
      input; /* of one sample, as many numbers as the file says; ndim 0: what the file says without its batch */
  lip_path path; /* norm path; n 0: norm 2 */
  bool
      round; /* numbers that are no float32 (doubles, 1 / divisor, alpha W) are rounded to nearest, not refused */
  bool drop_softmax; /* a Softmax or LogSoftmax at the end is left out: same label, other outputs */
} lip_onnx_conf;

/* What became of the file. */
typedef struct lip_onnx_notes {
  size_t n, room;
  char **text; /* (n) one sentence each: operator, node, what it became; owned */
  int64_t opset;
  char *producer; /* owned, may be "" */
  bool rounded;   /* some number was no float32, and was rounded */
  int ndim;       /* of the input as the file has it, -1: left open */
  int64_t dim[LIP_GRAPH_DIMS];
  /* NULL: the net reads its input in the order of the file. Else number i of the net's input is number order[i] of the
   * file's (images with channels last). (n_in), owned */
  uint32_t *order;
  size_t n_order;
} lip_onnx_notes;
void lip_onnx_notes_free(lip_onnx_notes *notes);

/* A net from the file: budget infinite, never projected, weights bit for bit as stored. *notes is filled also on failure,
 * as far as it came. LIP_UNSUPPORTED: an operator, or a use of one, that there are no layers for, with its node and what
 * is supported; LIP_SHAPE, LIP_OPTION: conf does not fit the file; and what lip_graph_open says. */
lip_status lip_onnx_load(const char *path, const lip_onnx_conf *conf, const lip_engine *engine, lip_net **out,
                         lip_onnx_notes *notes, lip_err *err);
/* The same of a graph at hand. */
lip_status lip_onnx_net(const lip_graph *g, const lip_onnx_conf *conf, const lip_engine *engine,
                        lip_net **out, lip_onnx_notes *notes, lip_err *err);

#endif
