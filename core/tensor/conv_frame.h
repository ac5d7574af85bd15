/* Inside of core/tensor: where a direct convolution (conv.c, conv_grad.c) has its arrays, and images in pixels. */
#ifndef LIP_TENSOR_CONV_FRAME_H
#define LIP_TENSOR_CONV_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "core/tensor/conv.h"
#include "core/tensor/conv_tile.h"

/* An image in pixels: C numbers each, H x W of them with the border; the image itself begins at (top, left). */
typedef struct pixels {
  size_t H, W, C, top, left;
} pixels;

/* One of the three passes: where its arrays stand in scratch, in floats from its start. */
typedef struct frame {
  const lip_tile *tile;
  lip_direct s;
  bool each;     /* one channel a group: then the lanes of a strip are groups, and all of them are one here */
  size_t groups; /* that follow each other */
  size_t Cg, OUTg, K, P, images;
  pixels in, out; /* what the tiles read and write (the weight gradient: dy) */
  size_t strips;  /* of the output channels of a group */
  size_t place, terms, panels, bias, x, y, x_at, y_at, end;
} frame;

static inline size_t up(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

static inline size_t room(size_t *end, size_t floats) {
  size_t at = *end;
  *end = at + up(floats, 16);
  return at;
}

/* Floats of one image. */
static inline size_t image(const pixels *p) {
  return p->H * p->W * p->C;
}

/* Its first number inside the border. */
static inline size_t corner(const pixels *p) {
  return (p->top * p->W + p->left) * p->C;
}

static inline pixels bordered(size_t H, size_t W, size_t C, size_t border) {
  return (pixels){H + 2 * border, W + 2 * border, C, border, border};
}

enum {
  LIP_FRAME_MOST = 16, /* images that are taken at a time */
  LIP_FRAME_PLACES =
      128 /* of dy and x that the weight gradient goes over again and again: they stay in the first cache */
};

/* Images of P places that are taken at a time: so many that tiles are full. */
size_t lip_frame_images(size_t P);

frame lip_frame_forward(const lip_direct *s);
frame lip_frame_backward(const lip_direct *s);
/* Of `units` output channels, in whole vectors where dy is read where it stands. With `apart` their sums are kept
 * elsewhere, and `panels` has room for one strip. */
frame lip_frame_grad(const lip_direct *s, size_t units, bool apart);
/* Floats of scratch that the other passes may have in use. */
size_t lip_frame_before_grad(const lip_direct *s);
/* Whether vectors of dy in pixels can be read where they stand: none reaches behind the channels. */
bool lip_frame_whole_vectors(const lip_direct *s);
/* Along one side: the taps a, a + lap, ... (lip_patches_lap), which meet the same inputs, and the first input they read. */
size_t lip_frame_taps(const lip_direct *s, size_t a);
size_t lip_frame_first(const lip_direct *s, size_t a);

/* Where the H x W pixels of an image stand in `to`; or n pixels one after the other. */
void lip_frame_places(size_t *place, const pixels *to, size_t H, size_t W);
void lip_frame_steps(size_t *place, size_t n, size_t step);
/* Where term (c, ky, kx) stands among the panel's, which are in the order (ky, kx, c). */
void lip_frame_terms(size_t *term, const frame *f, size_t step);
/* n images (C, places) to pixels; borders stay. */
void lip_frame_bring(float *to, const pixels *shape, const size_t *place, size_t places, size_t n,
                     const float *from);
/* And back, from pixels of `width` numbers. */
void lip_frame_take(float *to, size_t C, size_t places, size_t n, const float *from, size_t width,
                    const size_t *place);
/* dx[i] = 0 where gate[i] <= 0, i < n. */
void lip_frame_gate(float *dx, const float *gate, size_t n);

#endif
