/* Windows that slide over every channel of an image by itself: what the pooling layers share. */
#ifndef LIP_LAYER_WINDOW_H
#define LIP_LAYER_WINDOW_H

#include "core/layer/emit.h"
#include "core/layer/layer.h"

typedef struct lip_window_conf {
  size_t kernel, stride, padding; /* stride 0: the kernel */
} lip_window_conf;

extern const lip_opt lip_window_options[];

/* OH = (H + 2 padding - kernel) / stride + 1, OW likewise. */
typedef struct lip_window {
  size_t C, H, W, kernel, stride, padding, OH, OW;
} lip_window;

/* Checks the input, sets l->out and makes l->state a lip_window (released by lip_window_release). */
lip_status lip_window_plan(lip_layer *l, const lip_window_conf *conf, lip_err *err);
void lip_window_release(lip_layer *l);

/* One axis of n pixels and `out` places. Place o sees the pixels from..to-1 (none: from == to). */
void lip_window_span(const lip_window *g, size_t o, size_t n, size_t *from, size_t *to);
/* The places from..to-1 whose k-th pixel is in the image; it is pixel o * stride + k - padding. */
void lip_window_places(const lip_window *g, size_t k, size_t n, size_t out, size_t *from, size_t *to);

/* On one axis: the most places that see one pixel, and the most pixels that one place sees. */
typedef struct lip_window_count {
  size_t places, pixels;
} lip_window_count;
lip_window_count lip_window_axis(const lip_window *g, size_t n, size_t out);
/* The same in the plane: the windows are products of those of the axes. */
lip_window_count lip_window_plane(const lip_window *g);

/* Images as they stand in x and y: planes one by one, or pixels of n numbers. `images` of them make up a sample; each and
 * its rows begin so many floats after the one before, the first after `first`. */
typedef struct lip_window_side {
  size_t first, image, row;
} lip_window_side;
typedef struct lip_window_view {
  size_t n, images;
  lip_window_side x, y;
} lip_window_view;
lip_window_view lip_window_view_of(const lip_layer *l);

/* What such a layer computes, written down (emit.h); `factor` is that of means. */
size_t lip_window_emit(const lip_layer *l, lip_emit *e, size_t x, lip_emit_pool how, const lip_window *g,
                       float factor);

/* m^(1/q), rounded up. */
double lip_root(double m, lip_p q);

#endif
