/* Forward and input gradient are the same sum over runs of a bordered image, tile by tile; for the input gradient the
 * image is dy, once for every phase of the stride: the inputs that the same taps reach, last tap first. The weight
 * gradient keeps a few terms of many output channels in registers while it goes over the places of a few images.
 *
 * Several small images are taken at a time, so that tiles are full; a tile may span rows and images, since its places
 * are pointers, and the last one repeats its last place. */
#include "core/tensor/conv.h"

#include <stdbool.h>
#include <string.h>

#include "core/tensor/conv_pixels.h"
#include "core/tensor/conv_tile.h"

enum {
  TOGETHER = 192, /* places that the images taken at a time have at least, if there are enough images */
  MOST_IMAGES = 16,
  PLACES =
      128 /* of dy and x that the weight gradient goes over again and again: they stay in the first cache */
};

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
  pixels in;            /* what the tiles read */
  size_t strips, width; /* of the output channels of a group; floats of an output pixel */
  size_t place, terms, panels, bias, x, y, pointers, end;
} frame;

static size_t up(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

static size_t room(size_t *end, size_t floats) {
  size_t at = *end;
  *end = at + up(floats, 16);
  return at;
}

static frame common(const lip_direct *s) {
  const bool each = s->groups > 1 && s->groups == s->C && s->groups == s->OUT;
  frame f = {.tile = lip_tile_get(each), .s = *s, .each = each, .groups = each ? 1 : s->groups};
  f.Cg = s->C / s->groups;
  f.OUTg = s->OUT / s->groups;
  f.K = f.Cg * s->at.kernel * s->at.kernel;
  f.P = s->at.OH * s->at.OW;
  f.images = (TOGETHER + f.P - 1) / f.P;
  if (f.images > MOST_IMAGES) f.images = MOST_IMAGES;
  f.in =
      (pixels){s->at.H + 2 * s->at.padding, s->at.W + 2 * s->at.padding, s->C, s->at.padding, s->at.padding};
  return f;
}

enum { INDEX = sizeof(size_t) / sizeof(float), POINTER = sizeof(void *) / sizeof(float) };

static frame forward_frame(const lip_direct *s) {
  frame f = common(s);
  if (f.each) f.OUTg = s->OUT;
  const size_t S = f.tile->strip, places = s->at.H * s->at.W > f.P ? s->at.H * s->at.W : f.P;
  f.strips = (f.OUTg + S - 1) / S;
  f.width = up((f.groups - 1) * f.OUTg + f.strips * S, 16);
  f.place = room(&f.end, places * INDEX);
  f.terms = room(&f.end, f.K * INDEX);
  f.panels = room(&f.end, f.groups * f.strips * f.K * S);
  f.bias = room(&f.end, f.groups * f.strips * S);
  f.x = room(&f.end, f.images * f.in.H * f.in.W * f.in.C + S);
  f.y = room(&f.end, f.images * f.P * f.width);
  return f;
}

/* Taps along one side that meet one input, at most. */
static size_t taps(const lip_direct *s) {
  return (s->at.kernel + s->at.stride - 1) / s->at.stride;
}

static size_t bordered(const lip_direct *s, size_t n, size_t out) {
  size_t last = (n - 1 + s->at.padding) / s->at.stride + 1;
  return taps(s) - 1 + (last > out ? last : out);
}

static frame backward_frame(const lip_direct *s) {
  frame f = common(s);
  if (f.each) f.Cg = s->C;
  const size_t S = f.tile->strip, k2 = s->at.kernel * s->at.kernel, image = s->at.H * s->at.W;
  f.in = (pixels){bordered(s, s->at.H, s->at.OH), bordered(s, s->at.W, s->at.OW), s->OUT, taps(s) - 1,
                  taps(s) - 1};
  f.strips = (f.Cg + S - 1) / S;
  f.width = up((f.groups - 1) * f.Cg + f.strips * S, 16);
  f.place = room(&f.end, (image > f.P ? image : f.P) * INDEX);
  f.terms = room(&f.end, k2 * INDEX);
  f.panels = room(&f.end, f.groups * f.strips * k2 * f.OUTg * S);
  f.bias = room(&f.end, f.groups * f.strips * S);
  f.x = room(&f.end, f.images * f.in.H * f.in.W * f.in.C + S);
  f.y = room(&f.end, f.images * image * f.width);
  return f;
}

/* Of `units` output channels from the first of a group on. */
static frame grad_frame(const lip_direct *s, size_t units) {
  frame f = common(s);
  if (f.each) f.OUTg = s->OUT;
  const size_t S = f.tile->strip, image = s->at.H * s->at.W;
  size_t whole = units / f.OUTg + 2; /* groups that may be touched */
  f.strips = (f.OUTg + S - 1) / S;
  if (whole > f.groups) whole = f.groups;
  f.width = up(units, f.tile->lanes);
  f.place = room(&f.end, (image > f.P ? image : f.P) * INDEX);
  f.terms = room(&f.end, 2 * f.K * INDEX);
  f.panels = room(&f.end, whole * f.strips * f.K * S);
  f.bias = room(&f.end, S); /* where the rows of a tile go that are none */
  f.x = room(&f.end, f.images * f.in.H * f.in.W * f.in.C + S);
  f.y = room(&f.end, f.images * f.P * f.width + S);
  f.pointers = room(&f.end, f.images * f.P * POINTER);
  return f;
}

size_t lip_direct_scratch(const lip_direct *s, double most) {
  if (!lip_tile_get(false)) return 0;
  const double pad = 2 * (double)s->at.padding, side = (double)s->at.kernel + (double)s->at.stride;
  const double H = (double)s->at.H + pad + side, W = (double)s->at.W + pad + side;
  const double wide = (double)s->C + (double)s->OUT + 2 * LIP_TILE_WIDTH;
  const double k2 = (double)s->at.kernel * (double)s->at.kernel;
  if (MOST_IMAGES * H * W * wide + k2 * wide * wide * LIP_TILE_WIDTH > 0x1p56) return 0; /* sums below fit */
  size_t a = forward_frame(s).end, b = backward_frame(s).end, c = grad_frame(s, s->OUT).end;
  size_t end = a > b ? a : b;
  end = (end > c ? end : c) * sizeof(float);
  return (double)end > most ? 0 : end;
}

/* ---- pixels ---- */

static void set_places(size_t *place, const pixels *to, size_t H, size_t W) {
  for (size_t y = 0; y < H; y++)
    for (size_t x = 0; x < W; x++) *place++ = ((y + to->top) * to->W + x + to->left) * to->C;
}

static void set_steps(size_t *place, size_t n, size_t step) {
  for (size_t i = 0; i < n; i++) place[i] = i * step;
}

/* n images (C, places) to pixels; borders stay. */
static void bring(float *to, const pixels *shape, const size_t *place, size_t places, size_t n,
                  const float *from) {
  for (size_t i = 0; i < n; i++)
    lip_pixels_spread(to + i * shape->H * shape->W * shape->C, place, places, from + i * shape->C * places,
                      shape->C, places);
}

/* And back, from pixels of `width` numbers. */
static void take(float *to, size_t C, size_t places, size_t n, const float *from, size_t width,
                 const size_t *place) {
  for (size_t i = 0; i < n; i++)
    lip_pixels_collect(to + i * C * places, C, places, from + i * places * width, place, places, 0);
}

/* ---- forward and input gradient ---- */

/* Places of several images: what a place reads begins at x + ..., what it gives goes to y + .... */
typedef struct grid {
  size_t images, rows, cols;
  const float *x;
  size_t x_image, x_row, x_col;
  float *y;
  size_t y_image, y_row, y_col;
} grid;

static void run_grid(const lip_tile *tile, const grid *g, lip_tile_sum *t, size_t lanes) {
  const size_t N = tile->places;
  void (*sum)(const lip_tile_sum *) = tile->sum[lanes > tile->lanes];
  size_t filled = 0;
  for (size_t i = 0; i < g->images; i++)
    for (size_t r = 0; r < g->rows; r++) {
      const float *x = g->x + i * g->x_image + r * g->x_row;
      float *y = g->y + i * g->y_image + r * g->y_row;
      for (size_t c = 0; c < g->cols; c++, x += g->x_col, y += g->y_col) {
        t->x[filled] = x;
        t->y[filled] = y;
        if (++filled < N) continue;
        sum(t);
        filled = 0;
      }
    }
  if (filled == 0) return;
  for (size_t i = filled; i < N; i++) {
    t->x[i] = t->x[filled - 1];
    t->y[i] = t->y[filled - 1];
  }
  sum(t);
}

/* All output channels of a grid, strip by strip. A strip that is not full spills over into the next group's channels, which
 * are written after it, or into the room behind the last. `panel`: floats from strip to strip. */
static void run_strips(const frame *f, const grid *all, size_t reads, size_t gives, const float *w,
                       size_t panel, const float *bias, lip_tile_sum *t) {
  const size_t S = f->tile->strip;
  for (size_t g = 0; g < f->groups; g++)
    for (size_t i = 0; i < f->strips; i++) {
      grid part = *all;
      part.x += f->each ? i * S : g * reads;
      part.y += g * gives + i * S;
      t->w = w + (g * f->strips + i) * panel;
      t->bias = bias + (g * f->strips + i) * S;
      run_grid(f->tile, &part, t, gives - i * S < S ? gives - i * S : S);
    }
}

/* Where term (c, ky, kx) stands among the panel's, which are in the order (ky, kx, c). */
static void set_terms(size_t *term, const frame *f, size_t step) {
  const size_t k2 = f->s.at.kernel * f->s.at.kernel;
  for (size_t c = 0; c < f->Cg; c++)
    for (size_t i = 0; i < k2; i++) *term++ = (i * f->Cg + c) * step;
}

static void pack_forward(const frame *f, const float *w, const float *b, float *panels, float *bias,
                         size_t *term) {
  const size_t S = f->tile->strip;
  set_terms(term, f, S);
  for (size_t g = 0; g < f->groups; g++)
    for (size_t o = 0; o < f->OUTg; o += S, panels += f->K * S, bias += S) {
      size_t lanes = f->OUTg - o < S ? f->OUTg - o : S, from = g * f->OUTg + o;
      if (lanes < S) memset(panels, 0, f->K * S * sizeof *panels);
      lip_pixels_spread(panels, term, f->K, w + from * f->K, lanes, f->K);
      for (size_t i = 0; i < S; i++) bias[i] = b && i < lanes ? b[from + i] : 0;
    }
}

void lip_direct_forward(const lip_direct *s, const float *w, const float *b, size_t B, const float *x,
                        float *y, void *scratch) {
  const frame f = forward_frame(s);
  const pixels *in = &f.in;
  const size_t S = f.tile->strip, image = in->H * in->W * in->C, plane = s->at.H * s->at.W;
  float *base = scratch, *X = base + f.x, *Y = base + f.y;
  size_t *place = (size_t *)(void *)(base + f.place), *term = (size_t *)(void *)(base + f.terms);
  pack_forward(&f, w, b, base + f.panels, base + f.bias, term);
  memset(X, 0, (B < f.images ? B : f.images) * image * sizeof *X);
  lip_tile_sum t = {
      .rows = s->at.kernel, .cols = s->at.kernel, .length = f.Cg, .row_step = in->W * s->C, .col_step = s->C};
  if (s->groups == 1) {
    t.length *= t.cols;
    t.cols = 1;
  }
  grid all = {.rows = s->at.OH,
              .cols = s->at.OW,
              .x = X,
              .x_image = image,
              .x_row = s->at.stride * in->W * s->C,
              .x_col = s->at.stride * s->C,
              .y = Y,
              .y_image = f.P * f.width,
              .y_row = s->at.OW * f.width,
              .y_col = f.width};
  for (size_t r = 0; r < B; r += all.images) {
    all.images = B - r < f.images ? B - r : f.images;
    set_places(place, in, s->at.H, s->at.W);
    bring(X, in, place, plane, all.images, x + r * s->C * plane);
    run_strips(&f, &all, f.Cg, f.OUTg, base + f.panels, f.K * S, base + f.bias, &t);
    set_steps(place, f.P, f.width);
    take(y + r * s->OUT * f.P, s->OUT, f.P, all.images, Y, f.width, place);
  }
}

/* The inputs along one side that the taps phase, phase + stride, ... read. */
typedef struct phase {
  size_t taps, first, n; /* the first input, and how many there are, a stride apart */
  size_t from;           /* pixel of dy, border counted, where the run of the first one begins */
} phase;

static phase phase_of(const lip_direct *s, size_t a, size_t n) {
  const size_t stride = s->at.stride, pad = s->at.padding;
  phase p = {.taps = (s->at.kernel - a + stride - 1) / stride, .first = (a + stride - pad % stride) % stride};
  p.n = p.first < n ? (n - 1 - p.first) / stride + 1 : 0;
  p.from = (p.first + pad) / stride + taps(s) - p.taps;
  return p;
}

/* Floats of a group's strip before the panel of phase (ay, ax). */
static size_t phase_start(const frame *f, size_t ay, size_t ax) {
  const size_t k = f->s.at.kernel, s = f->s.at.stride;
  size_t before = 0;
  for (size_t a = 0; a < ay; a++) before += (k - a + s - 1) / s * k;
  for (size_t a = 0; a < ax; a++) before += (k - a + s - 1) / s * ((k - ay + s - 1) / s);
  return before * f->OUTg * f->tile->strip;
}

static void pack_backward(const frame *f, const float *w, float *panels, size_t *place) {
  const size_t S = f->tile->strip, k = f->s.at.kernel, s = f->s.at.stride, k2 = k * k;
  for (size_t ky = 0; ky < k; ky++)
    for (size_t kx = 0; kx < k; kx++) {
      size_t ay = ky % s, ax = kx % s, ny = (k - ay + s - 1) / s, nx = (k - ax + s - 1) / s;
      size_t at = (ny - 1 - ky / s) * nx + nx - 1 - kx / s;
      place[ky * k + kx] = phase_start(f, ay, ax) + at * f->OUTg * S;
    }
  for (size_t g = 0; g < f->groups; g++)
    for (size_t c = 0; c < f->Cg; c += S, panels += k2 * f->OUTg * S) {
      size_t lanes = f->Cg - c < S ? f->Cg - c : S;
      if (lanes < S) memset(panels, 0, k2 * f->OUTg * S * sizeof *panels);
      for (size_t o = 0; o < f->OUTg; o++)
        lip_pixels_spread(panels + o * S, place, k2, w + (g * f->OUTg + o) * f->K + c * k2, lanes, k2);
    }
}

static void run_phase(const frame *f, size_t ay, size_t ax, size_t images, float *base) {
  const lip_direct *s = &f->s;
  const pixels *in = &f->in;
  const size_t S = f->tile->strip, k2 = s->at.kernel * s->at.kernel;
  const phase y = phase_of(s, ay, s->at.H), x = phase_of(s, ax, s->at.W);
  lip_tile_sum t = {
      .rows = y.taps, .cols = x.taps, .length = f->OUTg, .row_step = in->W * in->C, .col_step = in->C};
  if (s->groups == 1) {
    t.length *= t.cols;
    t.cols = 1;
  }
  grid all = {.images = images,
              .rows = y.n,
              .cols = x.n,
              .x = base + f->x + (y.from * in->W + x.from) * in->C,
              .x_image = in->H * in->W * in->C,
              .x_row = in->W * in->C,
              .x_col = in->C,
              .y = base + f->y + (y.first * s->at.W + x.first) * f->width,
              .y_image = s->at.H * s->at.W * f->width,
              .y_row = s->at.stride * s->at.W * f->width,
              .y_col = s->at.stride * f->width};
  run_strips(f, &all, f->OUTg, f->Cg, base + f->panels + phase_start(f, ay, ax), k2 * f->OUTg * S,
             base + f->bias, &t);
}

void lip_direct_backward(const lip_direct *s, const float *w, size_t B, const float *dy, float *dx,
                         void *scratch) {
  const frame f = backward_frame(s);
  const size_t plane = s->at.H * s->at.W, k = s->at.kernel;
  const size_t phases = s->at.stride < k ? s->at.stride : k;
  float *base = scratch, *X = base + f.x, *Y = base + f.y;
  size_t *place = (size_t *)(void *)(base + f.place);
  pack_backward(&f, w, base + f.panels, (size_t *)(void *)(base + f.terms));
  memset(base + f.bias, 0, (f.x - f.bias) * sizeof *base);
  const size_t most = B < f.images ? B : f.images;
  memset(X, 0, most * f.in.H * f.in.W * f.in.C * sizeof *X);
  if (s->at.stride > k) memset(Y, 0, most * plane * f.width * sizeof *Y); /* inputs that no tap reads */
  for (size_t r = 0, n; r < B; r += n) {
    n = B - r < f.images ? B - r : f.images;
    set_places(place, &f.in, s->at.OH, s->at.OW);
    bring(X, &f.in, place, f.P, n, dy + r * s->OUT * f.P);
    for (size_t ay = 0; ay < phases; ay++)
      for (size_t ax = 0; ax < phases; ax++) run_phase(&f, ay, ax, n, base);
    set_steps(place, plane, f.width);
    take(dx + r * s->C * plane, s->C, plane, n, Y, f.width, place);
  }
}

/* ---- weight gradient ---- */

/* One strip's sums (K, strip) over n places: terms in tiles, the last filled up with rows that nobody reads. */
static void add_terms(const frame *f, const size_t *offset, size_t channel, lip_tile_outer *t, size_t lanes,
                      float *sums, float *nowhere) {
  const size_t N = f->tile->places, S = f->tile->strip;
  for (size_t k = 0; k < f->K; k += N) {
    for (size_t i = 0; i < N; i++) {
      bool real = k + i < f->K;
      t->term[i] = offset[real ? k + i : f->K - 1] + channel;
      t->dw[i] = real ? sums + (k + i) * S : nowhere;
    }
    f->tile->outer[lanes > f->tile->lanes](t);
  }
}

/* Calls for each strip of units u0..u1 in order; strips end where their group does. */
static size_t strip_end(const frame *f, size_t u, size_t u1) {
  size_t end = (u / f->OUTg + 1) * f->OUTg;
  if (end > u1) end = u1;
  return end - u < f->tile->strip ? end : u + f->tile->strip;
}

static void add_images(const frame *f, size_t n, size_t u0, size_t u1, float *base) {
  const size_t places = n * f->P, S = f->tile->strip;
  const size_t *offset = (const size_t *)(const void *)(base + f->terms);
  const float *const *at = (const float *const *)(const void *)(base + f->pointers);
  for (size_t p = 0; p < places; p += PLACES) {
    float *sums = base + f->panels;
    for (size_t u = u0, end; u < u1; u = end, sums += f->K * S) {
      end = strip_end(f, u, u1);
      lip_tile_outer t = {.x = at + p,
                          .n = places - p < PLACES ? places - p : PLACES,
                          .dy_step = f->width,
                          .dy = base + f->y + p * f->width + u - u0};
      add_terms(f, offset, f->each ? u : u / f->OUTg * f->Cg, &t, end - u, sums, base + f->bias);
    }
  }
}

/* Where each place's patch begins, and from there each term in the order (ky, kx, c). */
static void set_patches(const frame *f, const float **at, size_t *offset, const float *x) {
  const pixels *in = &f->in;
  const lip_patches *g = &f->s.at;
  for (size_t i = 0; i < f->images; i++)
    for (size_t y = 0; y < g->OH; y++)
      for (size_t c = 0; c < g->OW; c++)
        *at++ = x + ((i * in->H + y * g->stride) * in->W + c * g->stride) * in->C;
  for (size_t ky = 0; ky < g->kernel; ky++)
    for (size_t kx = 0; kx < g->kernel; kx++)
      for (size_t c = 0; c < f->Cg; c++) *offset++ = (ky * in->W + kx) * in->C + c;
}

void lip_direct_grad(const lip_direct *s, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
                     float beta, float *dw, void *scratch) {
  const frame f = grad_frame(s, u1 - u0);
  const size_t S = f.tile->strip, plane = s->at.H * s->at.W;
  float *base = scratch, *X = base + f.x, *Y = base + f.y;
  size_t *place = (size_t *)(void *)(base + f.place), *offset = (size_t *)(void *)(base + f.terms);
  set_patches(&f, (const float **)(void *)(base + f.pointers), offset, X);
  memset(base + f.panels, 0, (f.bias - f.panels + S) * sizeof *base);
  memset(X, 0, (f.pointers - f.x) * sizeof *X);
  for (size_t r = 0, n; r < B; r += n) {
    n = B - r < f.images ? B - r : f.images;
    set_places(place, &f.in, s->at.H, s->at.W);
    bring(X, &f.in, place, plane, n, x + r * s->C * plane);
    set_steps(place, f.P, f.width);
    for (size_t i = 0; i < n; i++)
      lip_pixels_spread(Y + i * f.P * f.width, place, f.P, dy + ((r + i) * s->OUT + u0) * f.P, u1 - u0, f.P);
    add_images(&f, n, u0, u1, base);
  }
  const float *sums = base + f.panels;
  set_terms(offset + f.K, &f, S);
  for (size_t u = u0, end; u < u1; u = end, sums += f.K * S) {
    end = strip_end(&f, u, u1);
    lip_pixels_collect(dw + u * f.K, end - u, f.K, sums, offset + f.K, f.K, beta);
  }
}
