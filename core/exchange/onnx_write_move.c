/* Values that change their places, by the operator that says it best. */
#include <string.h>

#include "core/exchange/onnx_write_parts.h"

enum { RANK = 4 }; /* of a batch of images */

/* Value i < n comes from place i, and the rest, if there is one, is 0. */
static bool keeps(const uint32_t *from, size_t n, size_t n_out) {
  for (size_t i = 0; i < n_out; i++)
    if (from[i] != (i < n ? i : LIP_EMIT_ZERO)) return false;
  return true;
}

static bool same_sides(const lip_shape *a, const lip_shape *b) {
  bool same = a->ndim == b->ndim;
  for (int k = 1; same && k < a->ndim; k++) same = a->dim[k] == b->dim[k];
  return same;
}

/* Zero channels behind the others. */
static void put_zeros(lip_onnx_steps *s, const lip_shape *in, const lip_shape *out, const char *x,
                      const char *y) {
  int64_t pads[2 * RANK] = {0};
  const size_t rank = (size_t)in->ndim + 1;
  pads[rank + 1] = (int64_t)(out->dim[0] - in->dim[0]);
  const char *by =
      lip_onnx_file_whole(s->file, lip_onnx_file_text(s->file, "%s.pads", s->path), 2 * rank, pads);
  lip_onnx_put(s, "Pad", "", 2, (const char *const[]){x, by}, y);
}

static void first_channels(lip_onnx_steps *s, const lip_shape *out, const char *x, const char *y) {
  const int64_t from = 0, axis = 1, to = (int64_t)out->dim[0];
  lip_onnx_file *f = s->file;
  const char *starts = lip_onnx_file_whole(f, lip_onnx_file_text(f, "%s.starts", s->path), 1, &from);
  const char *ends = lip_onnx_file_whole(f, lip_onnx_file_text(f, "%s.ends", s->path), 1, &to);
  const char *axes = lip_onnx_file_whole(f, lip_onnx_file_text(f, "%s.axes", s->path), 1, &axis);
  lip_onnx_put(s, "Slice", "", 4, (const char *const[]){x, starts, ends, axes}, y);
}

/* Blocks of b x b pixels of the image {C, H, W} are channels of the deep one, {C b b, H / b, W / b}: place k of that is
 * this place of the image. */
static size_t of_image(const lip_shape *image, size_t b, size_t k) {
  const size_t H = image->dim[1] / b, W = image->dim[2] / b, c = k / (H * W);
  const size_t y = k / W % H * b + c % (b * b) / b, x = k % W * b + c % b;
  return (c / (b * b) * image->dim[1] + y) * image->dim[2] + x;
}

/* The side of such blocks, 0: it is something else. `back`: the image is the output. */
static size_t blocks(const lip_emit_step *step, const lip_shape *in, bool back) {
  const lip_shape *image = back ? &step->out : in, *deep = back ? in : &step->out;
  if (image->ndim != 3 || deep->ndim != 3) return 0;
  const size_t b = image->dim[1] / deep->dim[1], n = lip_shape_size(deep);
  if (b < 2 || deep->dim[1] * b != image->dim[1] || deep->dim[2] * b != image->dim[2] ||
      image->dim[0] * b * b != deep->dim[0])
    return 0;
  for (size_t k = 0; k < n; k++) {
    const size_t i = of_image(image, b, k);
    if (back ? step->u.move.from[i] != k : step->u.move.from[k] != i) return 0;
  }
  return b;
}

/* SpaceToDepth of ONNX puts channels in another order. */
static void to_depth(lip_onnx_steps *s, const lip_shape *in, const lip_shape *out, size_t b, const char *x,
                     const char *y) {
  const size_t split[] = {in->dim[0], out->dim[1], b, out->dim[2], b};
  const char *parts = lip_onnx_put_reshape(s, ".split", x, 5, split, NULL);
  const char *turned = lip_onnx_put(s, "Transpose", ".turn", 1, &parts, NULL);
  lip_onnx_file_ints(s->file, "perm", 6, (const int64_t[]){0, 1, 3, 5, 2, 4});
  lip_onnx_put_reshape(s, "", turned, 3, out->dim, y);
}

/* Any other order: places of the flat value, behind which there is a 0 if one is wanted. */
static void gather(lip_onnx_steps *s, const lip_emit_step *step, const lip_shape *in, const char *x,
                   const char *y) {
  const size_t n_in = lip_shape_size(in), n = lip_shape_size(&step->out);
  int64_t *at = lip_onnx_file_take(s->file, n, sizeof *at);
  bool zeros = false;
  for (size_t i = 0; at && i < n; i++) {
    const bool zero = step->u.move.from[i] == LIP_EMIT_ZERO;
    at[i] = zero ? (int64_t)n_in : (int64_t)step->u.move.from[i];
    zeros = zeros || zero;
  }
  if (!at) return;
  const char *flat = in->ndim > 1 ? lip_onnx_put(s, "Flatten", ".flat", 1, &x, NULL) : x;
  if (zeros) {
    const char *pads = lip_onnx_file_whole(s->file, lip_onnx_file_text(s->file, "%s.pads", s->path), 4,
                                           (const int64_t[]){0, 0, 0, 1});
    flat = lip_onnx_put(s, "Pad", ".zero", 2, (const char *const[]){flat, pads}, NULL);
  }
  const char *places = lip_onnx_file_whole(s->file, lip_onnx_file_text(s->file, "%s.from", s->path), n, at);
  const bool last = step->out.ndim == 1;
  const char *moved = lip_onnx_put(s, "Gather", last ? "" : ".gather", 2, (const char *const[]){flat, places},
                                   last ? y : NULL);
  lip_onnx_file_int(s->file, "axis", 1);
  if (!last) lip_onnx_put_reshape(s, "", moved, (size_t)step->out.ndim, step->out.dim, y);
}

void lip_onnx_put_move(lip_onnx_steps *s, const lip_emit_step *step, const char *x, const char *out) {
  const lip_shape *in = &s->e->step[step->x[0]].out, *to = &step->out;
  const size_t n_in = lip_shape_size(in), n_out = lip_shape_size(to);
  const bool sides = same_sides(in, to);
  const size_t deep = blocks(step, in, false), flat = blocks(step, in, true);
  if (sides && n_out > n_in && keeps(step->u.move.from, n_in, n_out)) {
    put_zeros(s, in, to, x, out);
  } else if (sides && n_out <= n_in && keeps(step->u.move.from, n_out, n_out)) {
    first_channels(s, to, x, out);
  } else if (deep) {
    to_depth(s, in, to, deep, x, out);
  } else if (flat) {
    lip_onnx_put(s, "DepthToSpace", "", 1, &x, out);
    lip_onnx_file_int(s->file, "blocksize", (int64_t)flat);
    lip_onnx_file_word(s->file, "mode", "CRD");
  } else {
    gather(s, step, in, x, out);
  }
}
