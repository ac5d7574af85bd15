#include "core/tensor/im2col.h"

#include <string.h>

size_t lip_patches_lap(const lip_patches *g) {
  size_t a = g->stride, b = g->dilation;
  while (b > 0) {
    const size_t rest = a % b;
    a = b;
    b = rest;
  }
  return g->stride / a;
}

/* First output place whose tap, k places from the first one, lies inside an input of length n, and the first past the last. */
static void inside(const lip_patches *g, size_t n, size_t out, size_t k, size_t *first, size_t *last) {
  size_t lo = k >= g->padding ? 0 : (g->padding - k + g->stride - 1) / g->stride;
  size_t hi = n + g->padding > k ? (n + g->padding - k - 1) / g->stride + 1 : 0;
  *first = lo < out ? lo : out;
  *last = hi < out ? hi : out;
  if (*last < *first) *last = *first;
}

void lip_im2col(float *col, const float *x, size_t C, const lip_patches *g) {
  for (size_t c = 0; c < C; c++, x += g->H * g->W)
    for (size_t ky = 0; ky < g->kernel; ky++)
      for (size_t kx = 0; kx < g->kernel; kx++, col += g->OH * g->OW) {
        size_t y0, y1, x0, x1;
        inside(g, g->H, g->OH, ky * g->dilation, &y0, &y1);
        inside(g, g->W, g->OW, kx * g->dilation, &x0, &x1);
        memset(col, 0, y0 * g->OW * sizeof(float));
        memset(col + y1 * g->OW, 0, (g->OH - y1) * g->OW * sizeof(float));
        for (size_t oy = y0; oy < y1; oy++) {
          float *to = col + oy * g->OW;
          const float *from = x + (oy * g->stride + ky * g->dilation - g->padding) * g->W;
          for (size_t ox = 0; ox < x0; ox++) to[ox] = 0;
          for (size_t ox = x0; ox < x1; ox++) to[ox] = from[ox * g->stride + kx * g->dilation - g->padding];
          for (size_t ox = x1; ox < g->OW; ox++) to[ox] = 0;
        }
      }
}

void lip_col2im_add(float *x, const float *col, size_t C, const lip_patches *g) {
  for (size_t c = 0; c < C; c++, x += g->H * g->W)
    for (size_t ky = 0; ky < g->kernel; ky++)
      for (size_t kx = 0; kx < g->kernel; kx++, col += g->OH * g->OW) {
        size_t y0, y1, x0, x1;
        inside(g, g->H, g->OH, ky * g->dilation, &y0, &y1);
        inside(g, g->W, g->OW, kx * g->dilation, &x0, &x1);
        for (size_t oy = y0; oy < y1; oy++) {
          float *to = x + (oy * g->stride + ky * g->dilation - g->padding) * g->W;
          const float *from = col + oy * g->OW;
          for (size_t ox = x0; ox < x1; ox++) to[ox * g->stride + kx * g->dilation - g->padding] += from[ox];
        }
      }
}
