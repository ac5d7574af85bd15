/* With the tiles of conv_tile.h, turned: a tile is some rows of the matrix by a vector or two of places. What is a broadcast
 * number there is one of the matrix here, and the strip of weights is a strip of the planes, copied together so that
 * planes a power of two apart do not push each other out of the first cache. */
#include "core/tensor/conv_planes.h"

#include <string.h>

#include "core/base/simd.h"
#include "core/tensor/conv_frame.h"
#include "core/tensor/conv_pixels.h"

enum { INDEX = sizeof(size_t) / sizeof(float) };

/* In floats from the start of scratch. */
typedef struct places {
  size_t place, matrix, strip, zeros, end; /* forward and input gradient */
} places;

/* Rows of a matrix with one more column, for a bias. */
static places places_of(size_t rows, size_t cols, size_t strip) {
  places p = {0};
  p.place = room(&p.end, rows * INDEX);
  p.matrix = room(&p.end, rows * (cols + 1));
  p.strip = room(&p.end, (cols + 1) * strip);
  p.zeros = room(&p.end, strip);
  return p;
}

typedef struct grad_places {
  size_t images, width; /* that are taken at a time; floats of a place of dy */
  size_t x_at, place, dy, sums, nowhere, end;
} grad_places;

static grad_places grad_places_of(const lip_direct *s, size_t units, const lip_tile *tile) {
  const size_t P = s->at.OH * s->at.OW, strips = (units + tile->strip - 1) / tile->strip;
  grad_places p = {.images = lip_frame_images(P), .width = strips * tile->strip};
  p.x_at = room(&p.end, p.images * P * INDEX);
  p.place = room(&p.end, (p.images * P > s->C ? p.images * P : s->C) * INDEX);
  p.dy = room(&p.end, p.images * P * p.width);
  p.sums = room(&p.end, strips * s->C * tile->strip);
  p.nowhere = room(&p.end, tile->strip);
  return p;
}

static size_t scratch_room(const lip_direct *s) {
  const lip_patches *g = &s->at;
  const lip_tile *tile = lip_tile_get(LIP_TILE_LOW);
  if (g->kernel != 1 || g->stride != 1 || g->padding != 0 || s->groups != 1) return 0;
  const size_t P = g->OH * g->OW, covered = (P + tile->lanes - 1) / tile->lanes * tile->lanes;
  if (P < tile->strip || covered - P > P / 8) return 0; /* too much would be summed twice */
  const size_t there = places_of(s->OUT, s->C, tile->strip).end,
               back = places_of(s->C, s->OUT, tile->strip).end;
  const size_t products = there > back ? there : back, grad = grad_places_of(s, s->OUT, tile).end;
  return products > grad ? products : grad;
}

LIP_HOT static void copy_strip(float *restrict to, size_t step, const float *restrict x, size_t K, size_t P,
                               size_t width) {
  for (size_t k = 0; k < K; k++)
    for (size_t v = 0; v < width; v++) to[k * step + v] = x[k * P + v];
}

/* y (M, P) = matrix (M, K + 1) [1; x], x (K, P). The last vectors of places overlap those before, so that none is half empty. */
static void multiply(const lip_tile *tile, const float *matrix, size_t M, size_t K, size_t P, const float *x,
                     lip_tile_end end, float *y, float *strip, const float *zeros) {
  const size_t S = tile->strip, N = tile->places;
  lip_tile_sum t = {.w = strip, .bias = zeros, .rows = 1, .cols = 1, .length = K + 1, .end = end};
  for (size_t p = 0, width; p < P; p += width) {
    width = P - p > tile->lanes ? S : tile->lanes;
    if (P - p < width) p = P - width;
    copy_strip(strip + S, S, x + p, K, P, width);
    for (size_t m = 0; m < M; m += N) {
      for (size_t i = 0; i < N; i++) {
        const size_t row = m + i < M ? m + i : M - 1; /* the last one again */
        t.x[i] = matrix + row * (K + 1);
        t.y[i] = y + row * P + p;
      }
      tile->sum[width == S](&t);
    }
  }
}

static void multiply_images(const lip_direct *s, size_t M, size_t K, const places *p, size_t B,
                            const float *x, lip_tile_end end, const float *gate, float *y, float *base) {
  const lip_tile *tile = lip_tile_get(LIP_TILE_LOW);
  const size_t P = s->at.OH * s->at.OW;
  for (size_t v = 0; v < tile->strip; v++) {
    base[p->strip + v] = 1;
    base[p->zeros + v] = 0;
  }
  for (size_t r = 0; r < B; r++) {
    multiply(tile, base + p->matrix, M, K, P, x + r * K * P, end, y + r * M * P, base + p->strip,
             base + p->zeros);
    if (gate) lip_frame_gate(y + r * M * P, gate + r * M * P, M * P);
  }
}

static void forward(const lip_direct *s, const float *w, const float *b, size_t B, const float *x, float *y,
                    float *scratch) {
  const places p = places_of(s->OUT, s->C, lip_tile_get(LIP_TILE_LOW)->strip);
  for (size_t o = 0; o < s->OUT; o++) {
    float *row = scratch + p.matrix + o * (s->C + 1);
    row[0] = b ? b[o] : 0;
    memcpy(row + 1, w + o * s->C, s->C * sizeof *row);
  }
  multiply_images(s, s->OUT, s->C, &p, B, x, s->relu ? LIP_TILE_RELU : LIP_TILE_AS_IT_IS, NULL, y, scratch);
}

static void backward(const lip_direct *s, const float *w, size_t B, const float *dy, const float *gate,
                     float *dx, float *scratch) {
  const places p = places_of(s->C, s->OUT, lip_tile_get(LIP_TILE_LOW)->strip);
  size_t *place = (size_t *)(void *)(scratch + p.place);
  lip_frame_steps(place, s->C, s->OUT + 1);
  for (size_t c = 0; c < s->C; c++) scratch[p.matrix + place[c]] = 0;
  lip_pixels_spread(scratch + p.matrix + 1, place, s->C, w, s->OUT, s->C);
  multiply_images(s, s->C, s->OUT, &p, B, dy, LIP_TILE_AS_IT_IS, gate, dx, scratch);
}

/* ---- weight gradient ---- */

/* n places of some images: x (C, P) each by dy, whose places are side by side. */
static void add_places(const lip_direct *s, const lip_tile *tile, const grad_places *g, size_t n,
                       const float *x, size_t units, float *base) {
  const size_t P = s->at.OH * s->at.OW, S = tile->strip, N = tile->places;
  const size_t *x_at = (const size_t *)(const void *)(base + g->x_at);
  const size_t *dy_at = (const size_t *)(const void *)(base + g->place);
  for (size_t p = 0; p < n; p += LIP_FRAME_PLACES)
    for (size_t u = 0; u < units; u += S) {
      lip_tile_outer t = {.x = x,
                          .dy = base + g->dy + u,
                          .x_at = x_at + p,
                          .dy_at = dy_at + p,
                          .n = n - p < LIP_FRAME_PLACES ? n - p : LIP_FRAME_PLACES};
      float *sums = base + g->sums + u * s->C;
      for (size_t c = 0; c < s->C; c += N) {
        for (size_t i = 0; i < N; i++) {
          const size_t channel = c + i < s->C ? c + i : s->C - 1;
          t.term[i] = channel * P;
          t.dw[i] = c + i < s->C ? sums + (c + i) * S : base + g->nowhere;
        }
        tile->outer[units - u > tile->lanes](&t);
      }
    }
}

static void grad(const lip_direct *s, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
                 float beta, float *dw, float *scratch) {
  const lip_tile *tile = lip_tile_get(LIP_TILE_LOW);
  const grad_places g = grad_places_of(s, u1 - u0, tile);
  const size_t P = s->at.OH * s->at.OW, S = tile->strip;
  size_t *place = (size_t *)(void *)(scratch + g.place), *x_at = (size_t *)(void *)(scratch + g.x_at);
  memset(scratch + g.dy, 0, (g.end - g.dy) * sizeof *scratch);
  for (size_t i = 0; i < g.images * P; i++) x_at[i] = i / P * s->C * P + i % P;
  lip_frame_steps(place, g.images * P, g.width);
  for (size_t r = 0, n; r < B; r += n) {
    n = B - r < g.images ? B - r : g.images;
    for (size_t i = 0; i < n; i++)
      lip_pixels_spread(scratch + g.dy + i * P * g.width, place, P, dy + ((r + i) * s->OUT + u0) * P, u1 - u0,
                        P);
    add_places(s, tile, &g, n * P, x + r * s->C * P, u1 - u0, scratch);
  }
  lip_frame_steps(place, s->C, S);
  for (size_t u = u0; u < u1; u += S)
    lip_pixels_collect(dw + u * s->C, u1 - u < S ? u1 - u : S, s->C, scratch + g.sums + (u - u0) * s->C,
                       place, s->C, beta);
}

const lip_planes lip_planes_point = {scratch_room, forward, backward, grad};
