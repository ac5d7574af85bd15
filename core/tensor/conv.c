/* Forward and input gradient are the same sum over runs of a bordered image, tile by tile; for the input gradient the
 * image is dy, once for every phase of the stride: the inputs that the same taps reach, last tap first. A tile may span
 * rows and images, since its places are pointers, and the last one repeats its last place. */
#include "core/tensor/conv.h"

#include <stdbool.h>
#include <string.h>

#include "core/tensor/conv_frame.h"
#include "core/tensor/conv_pixels.h"
#include "core/tensor/conv_planes.h"

size_t lip_direct_scratch(const lip_direct *s, double most) {
  if (s->at.flat || !lip_tile_get(LIP_TILE_FULL)) return 0;
  const double pad = 2 * (double)s->at.padding,
               side = (double)s->at.kernel * (double)s->at.dilation + (double)s->at.stride;
  const double border = 2 * (double)(s->in.border > s->out.border ? s->in.border : s->out.border);
  const double H = (double)s->at.H + pad + side + border, W = (double)s->at.W + pad + side + border;
  const double wide = (double)s->C + (double)s->OUT + 2 * LIP_TILE_WIDTH;
  const double k2 = (double)s->at.kernel * (double)s->at.kernel;
  if (LIP_FRAME_MOST * H * W * wide + k2 * wide * wide * LIP_TILE_WIDTH > 0x1p56)
    return 0; /* sums below fit */
  const lip_planes *planes = lip_planes_of(s);
  const size_t before = lip_frame_before_grad(s), grad = lip_frame_grad(s, s->OUT, false).end;
  const size_t bytes = (planes ? planes->room(s) : before > grad ? before : grad) * sizeof(float);
  return (double)bytes > most ? 0 : bytes;
}

bool lip_direct_does_planes(const lip_direct *s) {
  return lip_tile_get(LIP_TILE_FULL) && lip_planes_of(s);
}

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

static void pack_forward(const frame *f, const float *w, const float *b, float *panels, float *bias,
                         size_t *term) {
  const size_t S = f->tile->strip;
  lip_frame_terms(term, f, S);
  for (size_t g = 0; g < f->groups; g++)
    for (size_t o = 0; o < f->OUTg; o += S, panels += f->K * S, bias += S) {
      size_t lanes = f->OUTg - o < S ? f->OUTg - o : S, from = g * f->OUTg + o;
      if (lanes < S) memset(panels, 0, f->K * S * sizeof *panels);
      lip_pixels_spread(panels, term, f->K, w + from * f->K, lanes, f->K);
      for (size_t i = 0; i < S; i++) bias[i] = b && i < lanes ? b[from + i] : 0;
    }
}

/* Runs of numbers that a tap row reads, taps `apart` pixels; where those are side by side with all channels, one run. */
static lip_tile_sum sum_over(const frame *f, size_t rows, size_t cols, size_t length, size_t apart) {
  lip_tile_sum t = {.rows = rows,
                    .cols = cols,
                    .length = length,
                    .row_step = apart * f->in.W * f->in.C,
                    .col_step = apart * f->in.C};
  if (f->s.groups == 1 && apart == 1) {
    t.length *= t.cols;
    t.cols = 1;
  }
  return t;
}

void lip_direct_forward(const lip_direct *s, const float *w, const float *b, size_t B, const float *x,
                        float *y, void *scratch) {
  const lip_planes *planes = lip_planes_of(s);
  if (planes) {
    planes->forward(s, w, b, B, x, y, scratch);
    return;
  }
  const frame f = lip_frame_forward(s);
  const pixels *in = &f.in, *out = &f.out;
  const size_t S = f.tile->strip, plane = s->at.H * s->at.W;
  float *base = scratch, *X = base + f.x, *Y = base + f.y;
  size_t *place = (size_t *)(void *)(base + f.place), *term = (size_t *)(void *)(base + f.terms);
  if (!s->again) pack_forward(&f, w, b, base + f.panels, base + f.bias, term);
  if (!s->again && !s->in.pixels) memset(X, 0, f.images * image(in) * sizeof *X);
  lip_tile_sum t = sum_over(&f, s->at.kernel, s->at.kernel, f.Cg, s->at.dilation);
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
      lip_frame_places(place, in, s->at.H, s->at.W);
      lip_frame_bring(X, in, place, plane, all.images, x + r * s->C * plane);
    }
    run_strips(&f, &all, f.Cg, f.OUTg, base + f.panels, f.K * S, base + f.bias, &t);
    if (s->out.pixels) continue;
    lip_frame_steps(place, f.P, out->C);
    lip_frame_take(y + r * s->OUT * f.P, s->OUT, f.P, all.images, Y, out->C, place);
  }
}

/* The inputs along one side that the taps a, a + lap, ... read. */
typedef struct phase {
  size_t taps, first, n; /* the first input, and how many there are, a stride apart */
  size_t from;           /* pixel of dy, `border` pixels counted, where the run of the first one begins */
} phase;

static phase phase_of(const lip_direct *s, size_t a, size_t n, size_t border) {
  const size_t stride = s->at.stride;
  phase p = {.taps = lip_frame_taps(s, a), .first = lip_frame_first(s, a)};
  const size_t last = a + (p.taps - 1) * lip_patches_lap(&s->at);
  p.n = p.first < n ? (n - 1 - p.first) / stride + 1 : 0;
  p.from = (p.first + s->at.padding) / stride + border - last * s->at.dilation / stride;
  return p;
}

/* Floats of a group's strip before the panel of phase (ay, ax). */
static size_t phase_start(const frame *f, size_t ay, size_t ax) {
  size_t before = 0;
  for (size_t a = 0; a < ay; a++) before += lip_frame_taps(&f->s, a) * f->s.at.kernel;
  for (size_t a = 0; a < ax; a++) before += lip_frame_taps(&f->s, a) * lip_frame_taps(&f->s, ay);
  return before * f->OUTg * f->tile->strip;
}

static void pack_backward(const frame *f, const float *w, float *panels, size_t *place) {
  const size_t S = f->tile->strip, k = f->s.at.kernel, lap = lip_patches_lap(&f->s.at), k2 = k * k;
  for (size_t ky = 0; ky < k; ky++)
    for (size_t kx = 0; kx < k; kx++) {
      const size_t ay = ky % lap, ax = kx % lap, nx = lip_frame_taps(&f->s, ax);
      const size_t at = (lip_frame_taps(&f->s, ay) - 1 - ky / lap) * nx + nx - 1 - kx / lap;
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
  const size_t leap =
      lip_patches_lap(&s->at) * s->at.dilation / s->at.stride; /* pixels of dy from tap to tap */
  lip_tile_sum t = sum_over(f, y.taps, x.taps, f->OUTg, leap);
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
  const lip_planes *planes = lip_planes_of(s);
  if (planes) {
    planes->backward(s, w, B, dy, gate, dx, scratch);
    return;
  }
  const frame f = lip_frame_backward(s);
  const pixels *in = &f.in, *out = &f.out;
  const size_t plane = s->at.H * s->at.W, k = s->at.kernel;
  const size_t lap = lip_patches_lap(&s->at), phases = lap < k ? lap : k;
  float *base = scratch, *X = base + f.x, *Y = base + f.y;
  size_t *place = (size_t *)(void *)(base + f.place);
  if (!s->again) {
    pack_backward(&f, w, base + f.panels, (size_t *)(void *)(base + f.terms));
    memset(base + f.bias, 0, (f.x - f.bias) * sizeof *base);
    if (!s->out.pixels) memset(X, 0, f.images * image(in) * sizeof *X);
    if (!s->in.pixels && phases < s->at.stride)
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
      lip_frame_places(place, in, s->at.OH, s->at.OW);
      lip_frame_bring(X, in, place, f.P, all.images, dy + r * s->OUT * f.P);
    }
    for (size_t ay = 0; ay < phases; ay++)
      for (size_t ax = 0; ax < phases; ax++) run_phase(&f, ay, ax, &all, base);
    if (s->in.pixels) continue;
    lip_frame_steps(place, plane, out->C);
    lip_frame_take(dx + r * s->C * plane, s->C, plane, all.images, Y, out->C, place);
  }
}
