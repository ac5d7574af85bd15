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
#include "core/tensor/conv_planes.h"
#include "core/tensor/conv_tile.h"
#include "core/tensor/vec.h"

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

static size_t up(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/* Floats of one image. */
static size_t image(const pixels *p) {
  return p->H * p->W * p->C;
}

/* Its first number inside the border. */
static size_t corner(const pixels *p) {
  return (p->top * p->W + p->left) * p->C;
}

static pixels bordered(size_t H, size_t W, size_t C, size_t border) {
  return (pixels){H + 2 * border, W + 2 * border, C, border, border};
}

static bool each_alone(const lip_direct *s) {
  return s->groups > 1 && s->groups == s->C && s->groups == s->OUT;
}

static frame common(const lip_direct *s) {
  const bool each = each_alone(s);
  frame f = {.tile = lip_tile_get(each ? LIP_TILE_EACH : LIP_TILE_FULL),
             .s = *s,
             .each = each,
             .groups = each ? 1 : s->groups};
  f.Cg = s->C / s->groups;
  f.OUTg = s->OUT / s->groups;
  f.K = f.Cg * s->at.kernel * s->at.kernel;
  f.P = s->at.OH * s->at.OW;
  f.images = lip_pixels_images(f.P);
  f.in = bordered(s->at.H, s->at.W, s->C, s->in.pixels ? s->in.border : s->at.padding);
  return f;
}

enum { INDEX = sizeof(size_t) / sizeof(float) };

/* Room for the images that are taken at a time, unless they stand in pixels already; `spare` floats may be read or written
 * behind them. */
static size_t room_for(frame *f, const pixels *p, lip_order given, size_t spare) {
  return lip_pixels_room(&f->end, given.pixels ? 0 : f->images * image(p) + spare);
}

static frame forward_frame(const lip_direct *s) {
  frame f = common(s);
  if (f.each) f.OUTg = s->OUT;
  const size_t S = f.tile->strip, places = s->at.H * s->at.W > f.P ? s->at.H * s->at.W : f.P;
  f.strips = (f.OUTg + S - 1) / S;
  f.out = s->out.pixels ? bordered(s->at.OH, s->at.OW, s->OUT, s->out.border)
                        : bordered(s->at.OH, s->at.OW, up((f.groups - 1) * f.OUTg + f.strips * S, 16), 0);
  f.place = lip_pixels_room(&f.end, places * INDEX);
  f.terms = lip_pixels_room(&f.end, f.K * INDEX);
  f.panels = lip_pixels_room(&f.end, f.groups * f.strips * f.K * S);
  f.bias = lip_pixels_room(&f.end, f.groups * f.strips * S);
  f.x = room_for(&f, &f.in, s->in, S);
  f.y = room_for(&f, &f.out, s->out, 0);
  return f;
}

/* Taps along one side that meet one input, at most. */
static size_t taps(const lip_direct *s) {
  return (s->at.kernel + s->at.stride - 1) / s->at.stride;
}

/* The last pixel of dy along a side that an input reads. */
static size_t last_read(const lip_direct *s, size_t n) {
  return (n - 1 + s->at.padding) / s->at.stride;
}

static size_t with_border(const lip_direct *s, size_t n, size_t out) {
  size_t last = last_read(s, n) + 1;
  return taps(s) - 1 + (last > out ? last : out);
}

static frame backward_frame(const lip_direct *s) {
  frame f = common(s);
  if (f.each) f.Cg = s->C;
  const size_t S = f.tile->strip, k2 = s->at.kernel * s->at.kernel, plane = s->at.H * s->at.W;
  const size_t edge = taps(s) - 1;
  f.in = s->out.pixels ? bordered(s->at.OH, s->at.OW, s->OUT, s->out.border)
                       : (pixels){with_border(s, s->at.H, s->at.OH), with_border(s, s->at.W, s->at.OW),
                                  s->OUT, edge, edge};
  f.strips = (f.Cg + S - 1) / S;
  f.out = s->in.pixels ? bordered(s->at.H, s->at.W, s->C, s->in.border)
                       : bordered(s->at.H, s->at.W, up((f.groups - 1) * f.Cg + f.strips * S, 16), 0);
  f.place = lip_pixels_room(&f.end, (plane > f.P ? plane : f.P) * INDEX);
  f.terms = lip_pixels_room(&f.end, k2 * INDEX);
  f.panels = lip_pixels_room(&f.end, f.groups * f.strips * k2 * f.OUTg * S);
  f.bias = lip_pixels_room(&f.end, f.groups * f.strips * S);
  f.x = room_for(&f, &f.in, s->out, S);
  f.y = room_for(&f, &f.out, s->in, 0);
  return f;
}

/* Whether vectors of dy in pixels can be read where they stand: none reaches behind the channels. */
static bool whole_vectors(const lip_direct *s) {
  return s->OUT / s->groups % lip_tile_get(LIP_TILE_FULL)->lanes == 0;
}

/* Of `units` output channels, in whole vectors where dy is read where it stands. */
static frame grad_frame(const lip_direct *s, size_t units) {
  frame f = common(s);
  if (f.each) f.OUTg = s->OUT;
  const size_t S = f.tile->strip, plane = s->at.H * s->at.W;
  const lip_order dy = {s->out.pixels && whole_vectors(s), s->out.border};
  size_t whole = units / f.OUTg + 2; /* groups that may be touched */
  f.strips = (f.OUTg + S - 1) / S;
  if (whole > f.groups) whole = f.groups;
  f.out = dy.pixels ? bordered(s->at.OH, s->at.OW, s->OUT, dy.border)
                    : bordered(s->at.OH, s->at.OW, up(units, f.tile->lanes), 0);
  f.place = lip_pixels_room(&f.end, (plane > f.P ? plane : f.P) * INDEX);
  f.terms = lip_pixels_room(&f.end, 2 * f.K * INDEX);
  f.panels = lip_pixels_room(&f.end, whole * f.strips * f.K * S);
  f.bias = lip_pixels_room(&f.end, S); /* where the rows of a tile go that are none */
  f.x = room_for(&f, &f.in, s->in, S);
  f.y = room_for(&f, &f.out, dy, S);
  f.x_at = lip_pixels_room(&f.end, f.images * f.P * INDEX);
  f.y_at = lip_pixels_room(&f.end, f.images * f.P * INDEX);
  return f;
}

/* The way that is taken instead of pixels, or NULL. */
static const lip_planes *planes_of(const lip_direct *s) {
  static const lip_planes *const all[] = {&lip_planes_depthwise, &lip_planes_point};
  if (s->in.pixels || s->out.pixels) return NULL;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (all[i]->room(s) > 0) return all[i];
  return NULL;
}

size_t lip_direct_scratch(const lip_direct *s, double most) {
  if (!lip_tile_get(LIP_TILE_FULL)) return 0;
  const double pad = 2 * (double)s->at.padding, side = (double)s->at.kernel + (double)s->at.stride;
  const double border = 2 * (double)(s->in.border > s->out.border ? s->in.border : s->out.border);
  const double H = (double)s->at.H + pad + side + border, W = (double)s->at.W + pad + side + border;
  const double wide = (double)s->C + (double)s->OUT + 2 * LIP_TILE_WIDTH;
  const double k2 = (double)s->at.kernel * (double)s->at.kernel;
  if (LIP_PIXELS_MOST * H * W * wide + k2 * wide * wide * LIP_TILE_WIDTH > 0x1p56)
    return 0; /* sums below fit */
  size_t a = forward_frame(s).end, b = backward_frame(s).end, c = grad_frame(s, s->OUT).end;
  size_t end = a > b ? a : b;
  end = (end > c ? end : c) * sizeof(float);
  if (planes_of(s)) end = planes_of(s)->room(s) * sizeof(float);
  return (double)end > most ? 0 : end;
}

/* Where every channel meets itself alone, tiles read vectors of x, which may end behind its channels. */
bool lip_direct_takes_pixels(const lip_direct *s) {
  return !each_alone(s);
}

size_t lip_direct_border_in(const lip_direct *s) {
  return s->at.padding;
}

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

/* Its first output is reached by the last taps of the phases, the one behind its last by the last input. */
size_t lip_direct_border_out(const lip_direct *s) {
  const size_t stride = s->at.stride, k = s->at.kernel, pad = s->at.padding;
  size_t border = larger(last_read(s, s->at.H) + 1, s->at.OH) - s->at.OH;
  border = larger(border, larger(last_read(s, s->at.W) + 1, s->at.OW) - s->at.OW);
  for (size_t a = 0; a < stride && a < k; a++) {
    const size_t reached = (k - a + stride - 1) / stride - 1,
                 first = ((a + stride - pad % stride) % stride + pad) / stride;
    border = larger(border, reached > first ? reached - first : 0);
  }
  return border;
}

/* ---- pixels ---- */

static void set_places(size_t *place, const pixels *to, size_t H, size_t W) {
  for (size_t y = 0; y < H; y++)
    for (size_t x = 0; x < W; x++) *place++ = ((y + to->top) * to->W + x + to->left) * to->C;
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

/* Places of several images: what a place reads begins at x + ..., what it gives goes to y + ..., where its gate stands too
 * if there are gates. */
typedef struct grid {
  size_t images, rows, cols;
  const float *x;
  size_t x_image, x_row, x_col;
  float *y;
  const float *gate;
  size_t y_image, y_row, y_col;
  bool exact; /* nothing may be written behind the channels of a place */
} grid;

/* The first n places of a tile, for `lanes` channels. */
static void run_tile(const lip_tile *tile, const grid *g, lip_tile_sum *t, size_t n, size_t lanes) {
  void (*sum)(const lip_tile_sum *) = tile->sum[lanes > tile->lanes];
  float part[LIP_TILE_PLACES][LIP_TILE_WIDTH], gate[LIP_TILE_PLACES][LIP_TILE_WIDTH], *to[LIP_TILE_PLACES];
  for (size_t i = n; i < tile->places; i++) {
    t->x[i] = t->x[n - 1];
    t->y[i] = t->y[n - 1];
    t->gate[i] = t->gate[n - 1];
  }
  if (!g->exact || lanes % tile->lanes == 0) {
    sum(t);
    return;
  }
  for (size_t i = 0; i < tile->places; i++) {
    to[i] = t->y[i];
    t->y[i] = part[i];
    if (!g->gate) continue;
    memcpy(gate[i], t->gate[i], lanes * sizeof(float));
    t->gate[i] = gate[i];
  }
  sum(t);
  for (size_t i = 0; i < n; i++) memcpy(to[i], part[i], lanes * sizeof(float));
}

static void run_grid(const lip_tile *tile, const grid *g, lip_tile_sum *t, size_t lanes) {
  const size_t N = tile->places;
  size_t filled = 0;
  for (size_t i = 0; i < g->images; i++)
    for (size_t r = 0; r < g->rows; r++) {
      const float *x = g->x + i * g->x_image + r * g->x_row;
      size_t at = i * g->y_image + r * g->y_row;
      for (size_t c = 0; c < g->cols; c++, x += g->x_col, at += g->y_col) {
        t->x[filled] = x;
        t->y[filled] = g->y + at;
        t->gate[filled] = g->gate ? g->gate + at : NULL;
        if (++filled < N) continue;
        run_tile(tile, g, t, N, lanes);
        filled = 0;
      }
    }
  if (filled > 0) run_tile(tile, g, t, filled, lanes);
}

/* All output channels of a grid, strip by strip. A strip that is not full spills over into the next group's channels, which
 * are written after it, or into the room behind the last, unless it must be exact. `panel`: floats from strip to strip. */
static void run_strips(const frame *f, const grid *all, size_t reads, size_t gives, const float *w,
                       size_t panel, const float *bias, lip_tile_sum *t) {
  const size_t S = f->tile->strip;
  for (size_t g = 0; g < f->groups; g++)
    for (size_t i = 0; i < f->strips; i++) {
      grid part = *all;
      part.x += f->each ? i * S : g * reads;
      part.y += g * gives + i * S;
      if (part.gate) part.gate += g * gives + i * S;
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

/* Runs of numbers that a tap row reads; where channels are not split, one run. */
static lip_tile_sum sum_over(const frame *f, size_t rows, size_t cols, size_t length) {
  lip_tile_sum t = {
      .rows = rows, .cols = cols, .length = length, .row_step = f->in.W * f->in.C, .col_step = f->in.C};
  if (f->s.groups == 1) {
    t.length *= t.cols;
    t.cols = 1;
  }
  return t;
}

void lip_direct_forward(const lip_direct *s, const float *w, const float *b, size_t B, const float *x,
                        float *y, void *scratch) {
  const lip_planes *planes = planes_of(s);
  if (planes) {
    planes->forward(s, w, b, B, x, y, scratch);
    return;
  }
  const frame f = forward_frame(s);
  const pixels *in = &f.in, *out = &f.out;
  const size_t S = f.tile->strip, plane = s->at.H * s->at.W;
  float *base = scratch, *X = base + f.x, *Y = base + f.y;
  size_t *place = (size_t *)(void *)(base + f.place), *term = (size_t *)(void *)(base + f.terms);
  if (!s->again) pack_forward(&f, w, b, base + f.panels, base + f.bias, term);
  if (!s->again && !s->in.pixels) memset(X, 0, f.images * image(in) * sizeof *X);
  lip_tile_sum t = sum_over(&f, s->at.kernel, s->at.kernel, f.Cg);
  if (s->relu) t.end = LIP_TILE_RELU;
  grid all = {.rows = s->at.OH,
              .cols = s->at.OW,
              .x_image = image(in),
              .x_row = s->at.stride * in->W * in->C,
              .x_col = s->at.stride * in->C,
              .y_image = image(out),
              .y_row = out->W * out->C,
              .y_col = out->C,
              .exact = s->out.pixels};
  for (size_t r = 0; r < B; r += all.images) {
    all.images = B - r < f.images ? B - r : f.images;
    all.x = s->in.pixels ? x + r * image(in) : X;
    all.x += ((in->top - s->at.padding) * in->W + in->left - s->at.padding) * in->C;
    all.y = (s->out.pixels ? y + r * image(out) : Y) + corner(out);
    if (!s->in.pixels) {
      set_places(place, in, s->at.H, s->at.W);
      bring(X, in, place, plane, all.images, x + r * s->C * plane);
    }
    run_strips(&f, &all, f.Cg, f.OUTg, base + f.panels, f.K * S, base + f.bias, &t);
    if (s->out.pixels) continue;
    lip_pixels_steps(place, f.P, out->C);
    take(y + r * s->OUT * f.P, s->OUT, f.P, all.images, Y, out->C, place);
  }
}

/* The inputs along one side that the taps phase, phase + stride, ... read. */
typedef struct phase {
  size_t taps, first, n; /* the first input, and how many there are, a stride apart */
  size_t from;           /* pixel of dy, `border` pixels counted, where the run of the first one begins */
} phase;

static phase phase_of(const lip_direct *s, size_t a, size_t n, size_t border) {
  const size_t stride = s->at.stride, pad = s->at.padding;
  phase p = {.taps = (s->at.kernel - a + stride - 1) / stride, .first = (a + stride - pad % stride) % stride};
  p.n = p.first < n ? (n - 1 - p.first) / stride + 1 : 0;
  p.from = (p.first + pad) / stride + 1 + border - p.taps;
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

/* The inputs of one phase; `all` is for those of all of them. */
static void run_phase(const frame *f, size_t ay, size_t ax, const grid *all, float *base) {
  const lip_direct *s = &f->s;
  const pixels *in = &f->in, *out = &f->out;
  const size_t S = f->tile->strip, k2 = s->at.kernel * s->at.kernel;
  const phase y = phase_of(s, ay, s->at.H, in->top), x = phase_of(s, ax, s->at.W, in->left);
  const size_t first = (y.first * out->W + x.first) * out->C;
  lip_tile_sum t = sum_over(f, y.taps, x.taps, f->OUTg);
  grid part = *all;
  part.rows = y.n;
  part.cols = x.n;
  part.x += (y.from * in->W + x.from) * in->C;
  part.y += first;
  if (part.gate) part.gate += first;
  if (part.gate) t.end = LIP_TILE_GATED;
  run_strips(f, &part, f->OUTg, f->Cg, base + f->panels + phase_start(f, ay, ax), k2 * f->OUTg * S,
             base + f->bias, &t);
}

void lip_direct_backward(const lip_direct *s, const float *w, size_t B, const float *dy, const float *gate,
                         float *dx, void *scratch) {
  const lip_planes *planes = planes_of(s);
  if (planes) {
    planes->backward(s, w, B, dy, dx, scratch);
    return;
  }
  const frame f = backward_frame(s);
  const pixels *in = &f.in, *out = &f.out;
  const size_t plane = s->at.H * s->at.W, k = s->at.kernel;
  const size_t phases = s->at.stride < k ? s->at.stride : k;
  float *base = scratch, *X = base + f.x, *Y = base + f.y;
  size_t *place = (size_t *)(void *)(base + f.place);
  if (!s->again) {
    pack_backward(&f, w, base + f.panels, (size_t *)(void *)(base + f.terms));
    memset(base + f.bias, 0, (f.x - f.bias) * sizeof *base);
    if (!s->out.pixels) memset(X, 0, f.images * image(in) * sizeof *X);
    if (!s->in.pixels && s->at.stride > k)
      memset(Y, 0, f.images * image(out) * sizeof *Y); /* inputs that no tap reads */
  }
  grid all = {.x_image = image(in),
              .x_row = in->W * in->C,
              .x_col = in->C,
              .y_image = image(out),
              .y_row = s->at.stride * out->W * out->C,
              .y_col = s->at.stride * out->C,
              .exact = s->in.pixels};
  for (size_t r = 0; r < B; r += all.images) {
    all.images = B - r < f.images ? B - r : f.images;
    all.x = s->out.pixels ? dy + r * image(in) : X;
    all.y = (s->in.pixels ? dx + r * image(out) : Y) + corner(out);
    all.gate = gate ? gate + r * image(out) + corner(out) : NULL;
    if (!s->out.pixels) {
      set_places(place, in, s->at.OH, s->at.OW);
      bring(X, in, place, f.P, all.images, dy + r * s->OUT * f.P);
    }
    for (size_t ay = 0; ay < phases; ay++)
      for (size_t ax = 0; ax < phases; ax++) run_phase(&f, ay, ax, &all, base);
    if (s->in.pixels) continue;
    lip_pixels_steps(place, plane, out->C);
    take(dx + r * s->C * plane, s->C, plane, all.images, Y, out->C, place);
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

/* Adds what n images give, x and dy in pixels; dy from unit `first` on. */
static void add_images(const frame *f, size_t n, const float *x, const float *dy, size_t u0, size_t u1,
                       float *base) {
  const size_t places = n * f->P, S = f->tile->strip;
  const size_t *offset = (const size_t *)(const void *)(base + f->terms);
  const size_t *x_at = (const size_t *)(const void *)(base + f->x_at);
  const size_t *dy_at = (const size_t *)(const void *)(base + f->y_at);
  for (size_t p = 0; p < places; p += LIP_PIXELS_PLACES) {
    float *sums = base + f->panels;
    for (size_t u = u0, end; u < u1; u = end, sums += f->K * S) {
      end = strip_end(f, u, u1);
      lip_tile_outer t = {.x = x,
                          .dy = dy + u - u0,
                          .x_at = x_at + p,
                          .dy_at = dy_at + p,
                          .n = places - p < LIP_PIXELS_PLACES ? places - p : LIP_PIXELS_PLACES};
      add_terms(f, offset, f->each ? u : u / f->OUTg * f->Cg, &t, end - u, sums, base + f->bias);
    }
  }
}

/* Where each place's patch begins and its dy stands, and from the former on each term in the order (ky, kx, c). */
static void set_patches(const frame *f, float *base) {
  const pixels *in = &f->in, *out = &f->out;
  const lip_patches *g = &f->s.at;
  size_t *x_at = (size_t *)(void *)(base + f->x_at), *dy_at = (size_t *)(void *)(base + f->y_at);
  size_t *offset = (size_t *)(void *)(base + f->terms);
  const size_t top = in->top - g->padding, left = in->left - g->padding;
  for (size_t i = 0; i < f->images; i++)
    for (size_t y = 0; y < g->OH; y++)
      for (size_t c = 0; c < g->OW; c++) {
        *x_at++ = ((i * in->H + top + y * g->stride) * in->W + left + c * g->stride) * in->C;
        *dy_at++ = ((i * out->H + out->top + y) * out->W + out->left + c) * out->C;
      }
  for (size_t ky = 0; ky < g->kernel; ky++)
    for (size_t kx = 0; kx < g->kernel; kx++)
      for (size_t c = 0; c < f->Cg; c++) *offset++ = (ky * in->W + kx) * in->C + c;
}

/* Channels u0..u1 of dy of n images, into pixels of their own. */
static void bring_units(const frame *f, size_t n, const float *dy, size_t u0, size_t u1, size_t *place,
                        float *to) {
  const lip_direct *s = &f->s;
  const pixels given = bordered(s->at.OH, s->at.OW, s->OUT, s->out.border);
  lip_pixels_steps(place, f->P, f->out.C);
  if (!s->out.pixels) {
    for (size_t i = 0; i < n; i++)
      lip_pixels_spread(to + i * image(&f->out), place, f->P, dy + (i * s->OUT + u0) * f->P, u1 - u0, f->P);
    return;
  }
  for (size_t i = 0; i < n; i++)
    for (size_t y = 0; y < s->at.OH; y++)
      for (size_t c = 0; c < s->at.OW; c++, to += f->out.C)
        memcpy(to, dy + i * image(&given) + corner(&given) + (y * given.W + c) * given.C + u0,
               (u1 - u0) * sizeof *to);
}

void lip_direct_grad(const lip_direct *s, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
                     float beta, float *dw, void *scratch) {
  const lip_planes *planes = planes_of(s);
  if (planes) {
    planes->grad(s, B, x, dy, u0, u1, beta, dw, scratch);
    return;
  }
  const size_t lanes = lip_tile_get(LIP_TILE_FULL)->lanes;
  const bool given = s->out.pixels && whole_vectors(s);
  const size_t first = given ? u0 / lanes * lanes : u0, last = given ? up(u1, lanes) : u1;
  const frame f = grad_frame(s, last - first);
  const pixels all = bordered(s->at.OH, s->at.OW, s->OUT, s->out.border);
  const size_t S = f.tile->strip, plane = s->at.H * s->at.W;
  float *base = scratch, *X = base + f.x, *Y = base + f.y;
  size_t *place = (size_t *)(void *)(base + f.place), *term = (size_t *)(void *)(base + f.terms) + f.K;
  set_patches(&f, base);
  memset(base + f.panels, 0, (f.bias - f.panels + S) * sizeof *base);
  memset(X, 0, (f.x_at - f.x) * sizeof *X);
  for (size_t r = 0, n; r < B; r += n) {
    n = B - r < f.images ? B - r : f.images;
    if (!s->in.pixels) {
      set_places(place, &f.in, s->at.H, s->at.W);
      bring(X, &f.in, place, plane, n, x + r * s->C * plane);
    }
    const float *dy_r = dy + r * image(&all);
    if (!given) bring_units(&f, n, dy_r, u0, u1, place, Y);
    add_images(&f, n, s->in.pixels ? x + r * image(&f.in) : X, given ? dy_r + first : Y, first, last, base);
  }
  const float *sums = base + f.panels;
  set_terms(term, &f, S);
  for (size_t u = first, end; u < last; u = end, sums += f.K * S) {
    end = strip_end(&f, u, last);
    const size_t a = u < u0 ? u0 : u, b = end < u1 ? end : u1;
    if (a < b) lip_pixels_collect(dw + a * f.K, b - a, f.K, sums + a - u, term, f.K, beta);
  }
}

void lip_direct_grad_bias(const lip_direct *s, size_t B, const float *dy, size_t u0, size_t u1, float beta,
                          float *db, void *scratch) {
  const size_t P = s->at.OH * s->at.OW, n = u1 - u0;
  double *sum = scratch;
  if (!s->out.pixels) {
    for (size_t u = u0; u < u1; u++) {
      double all = beta != 0 ? (double)db[u] : 0;
      for (size_t r = 0; r < B; r++) all += lip_vec_sum(dy + (r * s->OUT + u) * P, P);
      db[u] = (float)all;
    }
    return;
  }
  const pixels out = bordered(s->at.OH, s->at.OW, s->OUT, s->out.border);
  for (size_t i = 0; i < n; i++) sum[i] = beta != 0 ? (double)db[u0 + i] : 0;
  for (size_t r = 0; r < B; r++)
    for (size_t y = 0; y < s->at.OH; y++)
      lip_pixels_sum(sum, n, dy + r * image(&out) + corner(&out) + y * out.W * out.C + u0, s->at.OW, out.C);
  for (size_t i = 0; i < n; i++) db[u0 + i] = (float)sum[i];
}
