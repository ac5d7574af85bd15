/* Several small images are taken at a time, so that tiles are full. */
#include "core/tensor/conv_frame.h"

#include "core/base/simd.h"
#include "core/tensor/conv_pixels.h"

size_t lip_frame_images(size_t P) {
  enum { TOGETHER = 192 };
  const size_t images = (TOGETHER + P - 1) / P;
  return images < LIP_FRAME_MOST ? images : LIP_FRAME_MOST;
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
  f.images = lip_frame_images(f.P);
  f.in = bordered(s->at.H, s->at.W, s->C, s->in.pixels ? s->in.border : s->at.padding);
  return f;
}

enum { INDEX = sizeof(size_t) / sizeof(float) };

/* Room for the images that are taken at a time, unless they stand in pixels already; `spare` floats may be read or written
 * behind them. */
static size_t room_for(frame *f, const pixels *p, lip_order given, size_t spare) {
  return room(&f->end, given.pixels ? 0 : f->images * image(p) + spare);
}

frame lip_frame_forward(const lip_direct *s) {
  frame f = common(s);
  if (f.each) f.OUTg = s->OUT;
  const size_t S = f.tile->strip, places = s->at.H * s->at.W > f.P ? s->at.H * s->at.W : f.P;
  f.strips = (f.OUTg + S - 1) / S;
  f.out = s->out.pixels ? bordered(s->at.OH, s->at.OW, s->OUT, s->out.border)
                        : bordered(s->at.OH, s->at.OW, up((f.groups - 1) * f.OUTg + f.strips * S, 16), 0);
  f.place = room(&f.end, places * INDEX);
  f.terms = room(&f.end, f.K * INDEX);
  f.panels = room(&f.end, f.groups * f.strips * f.K * S);
  f.bias = room(&f.end, f.groups * f.strips * S);
  f.x = room_for(&f, &f.in, s->in, S);
  f.y = room_for(&f, &f.out, s->out, 0);
  return f;
}

/* Pixels of dy from what the first tap reads for an input back to what the last one reads, at most. */
static size_t reach(const lip_direct *s) {
  return (s->at.kernel - 1) * s->at.dilation / s->at.stride;
}

/* The last pixel of dy along a side that an input reads. */
static size_t last_read(const lip_direct *s, size_t n) {
  return (n - 1 + s->at.padding) / s->at.stride;
}

static size_t with_border(const lip_direct *s, size_t n, size_t out) {
  size_t last = last_read(s, n) + 1;
  return reach(s) + (last > out ? last : out);
}

frame lip_frame_backward(const lip_direct *s) {
  frame f = common(s);
  if (f.each) f.Cg = s->C;
  const size_t S = f.tile->strip, k2 = s->at.kernel * s->at.kernel, plane = s->at.H * s->at.W;
  const size_t edge = reach(s);
  f.in = s->out.pixels ? bordered(s->at.OH, s->at.OW, s->OUT, s->out.border)
                       : (pixels){with_border(s, s->at.H, s->at.OH), with_border(s, s->at.W, s->at.OW),
                                  s->OUT, edge, edge};
  f.strips = (f.Cg + S - 1) / S;
  f.out = s->in.pixels ? bordered(s->at.H, s->at.W, s->C, s->in.border)
                       : bordered(s->at.H, s->at.W, up((f.groups - 1) * f.Cg + f.strips * S, 16), 0);
  f.place = room(&f.end, (plane > f.P ? plane : f.P) * INDEX);
  f.terms = room(&f.end, k2 * INDEX);
  f.panels = room(&f.end, f.groups * f.strips * k2 * f.OUTg * S);
  f.bias = room(&f.end, f.groups * f.strips * S);
  f.x = room_for(&f, &f.in, s->out, S);
  f.y = room_for(&f, &f.out, s->in, 0);
  return f;
}

bool lip_frame_whole_vectors(const lip_direct *s) {
  return s->OUT / s->groups % lip_tile_get(LIP_TILE_FULL)->lanes == 0;
}

frame lip_frame_grad(const lip_direct *s, size_t units, bool apart) {
  frame f = common(s);
  if (f.each) f.OUTg = s->OUT;
  const size_t S = f.tile->strip, plane = s->at.H * s->at.W;
  const lip_order dy = {s->out.pixels && lip_frame_whole_vectors(s), s->out.border};
  size_t whole = units / f.OUTg + 2; /* groups that may be touched */
  f.strips = (f.OUTg + S - 1) / S;
  if (whole > f.groups) whole = f.groups;
  f.out = dy.pixels ? bordered(s->at.OH, s->at.OW, s->OUT, dy.border)
                    : bordered(s->at.OH, s->at.OW, up(units, f.tile->lanes), 0);
  f.place = room(&f.end, (plane > f.P ? plane : f.P) * INDEX);
  f.terms = room(&f.end, 2 * f.K * INDEX);
  f.panels = room(&f.end, (apart ? 1 : whole * f.strips) * f.K * S);
  f.bias = room(&f.end, S); /* where the rows of a tile go that are none */
  f.x = room_for(&f, &f.in, s->in, S);
  f.y = room_for(&f, &f.out, dy, S);
  f.x_at = room(&f.end, f.images * f.P * INDEX);
  f.y_at = room(&f.end, f.images * f.P * INDEX);
  return f;
}

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

size_t lip_frame_before_grad(const lip_direct *s) {
  return larger(lip_frame_forward(s).end, lip_frame_backward(s).end);
}

size_t lip_direct_scratch_by_parts(const lip_direct *s) {
  return (lip_frame_before_grad(s) + lip_frame_grad(s, s->OUT, true).end) * sizeof(float);
}

/* Where every channel meets itself alone, tiles read vectors of x, which may end behind its channels. */
bool lip_direct_takes_pixels(const lip_direct *s) {
  return !each_alone(s);
}

size_t lip_direct_border_in(const lip_direct *s) {
  return s->at.padding;
}

size_t lip_frame_taps(const lip_direct *s, size_t a) {
  return (s->at.kernel - 1 - a) / lip_patches_lap(&s->at) + 1;
}

size_t lip_frame_first(const lip_direct *s, size_t a) {
  const size_t stride = s->at.stride;
  return (a * s->at.dilation % stride + stride - s->at.padding % stride) % stride;
}

/* Its first output is reached by the last taps of the phases, the one behind its last by the last input. */
size_t lip_direct_border_out(const lip_direct *s) {
  const size_t stride = s->at.stride, k = s->at.kernel, pad = s->at.padding;
  size_t border = larger(last_read(s, s->at.H) + 1, s->at.OH) - s->at.OH;
  border = larger(border, larger(last_read(s, s->at.W) + 1, s->at.OW) - s->at.OW);
  const size_t lap = lip_patches_lap(&s->at);
  for (size_t a = 0; a < lap && a < k; a++) {
    const size_t last = a + (lip_frame_taps(s, a) - 1) * lap, reached = last * s->at.dilation / stride;
    const size_t first = (lip_frame_first(s, a) + pad) / stride;
    border = larger(border, reached > first ? reached - first : 0);
  }
  return border;
}

/* ---- pixels ---- */

void lip_frame_places(size_t *place, const pixels *to, size_t H, size_t W) {
  for (size_t y = 0; y < H; y++)
    for (size_t x = 0; x < W; x++) *place++ = ((y + to->top) * to->W + x + to->left) * to->C;
}

void lip_frame_steps(size_t *place, size_t n, size_t step) {
  for (size_t i = 0; i < n; i++) place[i] = i * step;
}

void lip_frame_bring(float *to, const pixels *shape, const size_t *place, size_t places, size_t n,
                     const float *from) {
  for (size_t i = 0; i < n; i++)
    lip_pixels_spread(to + i * shape->H * shape->W * shape->C, place, places, from + i * shape->C * places,
                      shape->C, places);
}

void lip_frame_take(float *to, size_t C, size_t places, size_t n, const float *from, size_t width,
                    const size_t *place) {
  for (size_t i = 0; i < n; i++)
    lip_pixels_collect(to + i * C * places, C, places, from + i * places * width, place, places, 0);
}

void lip_frame_terms(size_t *term, const frame *f, size_t step) {
  const size_t k2 = f->s.at.kernel * f->s.at.kernel;
  for (size_t c = 0; c < f->Cg; c++)
    for (size_t i = 0; i < k2; i++) *term++ = (i * f->Cg + c) * step;
}

LIP_HOT void lip_frame_gate(float *restrict dx, const float *restrict gate, size_t n) {
  for (size_t i = 0; i < n; i++) dx[i] = gate[i] <= 0 ? 0 : dx[i];
}
