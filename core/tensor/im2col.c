#include "core/tensor/im2col.h"

#include <string.h>

lip_axis lip_patches_y(const lip_patches *g) {
  if (g->flat) return (lip_axis){g->H, g->OH, 1, 1, 0, 1};
  return (lip_axis){g->H, g->OH, g->kernel, g->stride, g->padding, g->dilation};
}

lip_axis lip_patches_x(const lip_patches *g) {
  return (lip_axis){g->W, g->OW, g->kernel, g->stride, g->padding, g->dilation};
}

size_t lip_patches_taps(const lip_patches *g) {
  return lip_patches_y(g).kernel * g->kernel;
}

size_t lip_axis_lap(const lip_axis *axis) {
  size_t a = axis->stride, b = axis->dilation;
  while (b > 0) {
    const size_t rest = a % b;
    a = b;
    b = rest;
  }
  return axis->stride / a;
}

size_t lip_patches_lap(const lip_patches *g) {
  const lip_axis x = lip_patches_x(g);
  return lip_axis_lap(&x);
}

/* First output place whose tap k lies inside the input, and the first past the last. */
static void inside(const lip_axis *a, size_t k, size_t *first, size_t *last) {
  const size_t at = k * a->dilation;
  size_t lo = at >= a->padding ? 0 : (a->padding - at + a->stride - 1) / a->stride;
  size_t hi = a->n + a->padding > at ? (a->n + a->padding - at - 1) / a->stride + 1 : 0;
  *first = lo < a->out ? lo : a->out;
  *last = hi < a->out ? hi : a->out;
  if (*last < *first) *last = *first;
}

void lip_im2col(float *col, const float *x, size_t C, const lip_patches *g) {
  const lip_axis y = lip_patches_y(g), row = lip_patches_x(g);
  for (size_t c = 0; c < C; c++, x += g->H * g->W)
    for (size_t ky = 0; ky < y.kernel; ky++)
      for (size_t kx = 0; kx < row.kernel; kx++, col += g->OH * g->OW) {
        size_t y0, y1, x0, x1;
        inside(&y, ky, &y0, &y1);
        inside(&row, kx, &x0, &x1);
        memset(col, 0, y0 * g->OW * sizeof(float));
        memset(col + y1 * g->OW, 0, (g->OH - y1) * g->OW * sizeof(float));
        for (size_t oy = y0; oy < y1; oy++) {
          float *to = col + oy * g->OW;
          const float *from = x + (oy * y.stride + ky * y.dilation - y.padding) * g->W;
          for (size_t ox = 0; ox < x0; ox++) to[ox] = 0;
          for (size_t ox = x0; ox < x1; ox++) to[ox] = from[ox * g->stride + kx * g->dilation - g->padding];
          for (size_t ox = x1; ox < g->OW; ox++) to[ox] = 0;
        }
      }
}

void lip_col2im_add(float *x, const float *col, size_t C, const lip_patches *g) {
  const lip_axis y = lip_patches_y(g), row = lip_patches_x(g);
  for (size_t c = 0; c < C; c++, x += g->H * g->W)
    for (size_t ky = 0; ky < y.kernel; ky++)
      for (size_t kx = 0; kx < row.kernel; kx++, col += g->OH * g->OW) {
        size_t y0, y1, x0, x1;
        inside(&y, ky, &y0, &y1);
        inside(&row, kx, &x0, &x1);
        for (size_t oy = y0; oy < y1; oy++) {
          float *to = x + (oy * y.stride + ky * y.dilation - y.padding) * g->W;
          const float *from = col + oy * g->OW;
          for (size_t ox = x0; ox < x1; ox++) to[ox * g->stride + kx * g->dilation - g->padding] += from[ox];
        }
      }
}
