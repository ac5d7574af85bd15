/* The weight gradient keeps a few terms of many output channels in registers while it goes over the places of a few
 * images, and adds what it gets to the sums of a strip of channels, in the order of the forward pass' panels. */
#include <string.h>

#include "core/tensor/conv.h"
#include "core/tensor/conv_frame.h"
#include "core/tensor/conv_pixels.h"
#include "core/tensor/conv_planes.h"
#include "core/tensor/vec.h"

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

/* The end of the strip that begins at u: strips end where their group does. */
static size_t strip_end(const frame *f, size_t u, size_t u1) {
  size_t end = (u / f->OUTg + 1) * f->OUTg;
  if (end > u1) end = u1;
  return end - u < f->tile->strip ? end : u + f->tile->strip;
}

/* Adds what n images give, x and dy in pixels; dy from unit u0 on. */
static void add_images(const frame *f, size_t n, const float *x, const float *dy, size_t u0, size_t u1,
                       float *sums, float *base) {
  const size_t places = n * f->P, S = f->tile->strip;
  const size_t *offset = (const size_t *)(const void *)(base + f->terms);
  const size_t *x_at = (const size_t *)(const void *)(base + f->x_at);
  const size_t *dy_at = (const size_t *)(const void *)(base + f->y_at);
  for (size_t p = 0; p < places; p += LIP_FRAME_PLACES) {
    float *strip = sums;
    for (size_t u = u0, end; u < u1; u = end, strip += f->K * S) {
      end = strip_end(f, u, u1);
      lip_tile_outer t = {.x = x,
                          .dy = dy + u - u0,
                          .x_at = x_at + p,
                          .dy_at = dy_at + p,
                          .n = places - p < LIP_FRAME_PLACES ? places - p : LIP_FRAME_PLACES};
      add_terms(f, offset, f->each ? u : u / f->OUTg * f->Cg, &t, end - u, strip, base + f->bias);
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
      for (size_t c = 0; c < f->Cg; c++) *offset++ = (ky * in->W + kx) * g->dilation * in->C + c;
}

/* Channels u0..u1 of dy of n images, into pixels of their own. */
static void bring_units(const frame *f, size_t n, const float *dy, size_t u0, size_t u1, size_t *place,
                        float *to) {
  const lip_direct *s = &f->s;
  const pixels given = bordered(s->at.OH, s->at.OW, s->OUT, s->out.border);
  lip_frame_steps(place, f->P, f->out.C);
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

/* What B images give, for units u0..u1: whole vectors, unless dy is brought. */
static void add_batch(const frame *f, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
                      float *sums, float *base) {
  const lip_direct *s = &f->s;
  const pixels given = bordered(s->at.OH, s->at.OW, s->OUT, s->out.border);
  const bool stands = s->out.pixels && lip_frame_whole_vectors(s);
  const size_t plane = s->at.H * s->at.W, x_image = s->in.pixels ? image(&f->in) : s->C * plane;
  float *X = base + f->x, *Y = base + f->y;
  size_t *place = (size_t *)(void *)(base + f->place);
  if (!s->again) {
    set_patches(f, base);
    memset(X, 0, (f->x_at - f->x) * sizeof *X);
  }
  for (size_t r = 0, n; r < B; r += n) {
    n = B - r < f->images ? B - r : f->images;
    if (!s->in.pixels) {
      lip_frame_places(place, &f->in, s->at.H, s->at.W);
      lip_frame_bring(X, &f->in, place, plane, n, x + r * x_image);
    }
    const float *dy_r = dy + r * image(&given);
    if (!stands) bring_units(f, n, dy_r, u0, u1, place, Y);
    add_images(f, n, s->in.pixels ? x + r * x_image : X, stands ? dy_r + u0 : Y, u0, u1, sums, base);
  }
}

void lip_direct_grad(const lip_direct *s, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
                     float beta, float *dw, void *scratch) {
  const lip_planes *planes = lip_planes_of(s);
  if (planes) {
    planes->grad(s, B, x, dy, u0, u1, beta, dw, scratch);
    return;
  }
  const bool stands = s->out.pixels && lip_frame_whole_vectors(s);
  const size_t lanes = lip_tile_get(LIP_TILE_FULL)->lanes;
  const size_t first = stands ? u0 / lanes * lanes : u0, last = stands ? up(u1, lanes) : u1;
  const frame f = lip_frame_grad(s, last - first, false);
  float *base = scratch, *sums = base + f.panels;
  size_t *term = (size_t *)(void *)(base + f.terms) + f.K;
  memset(sums, 0, (f.bias - f.panels) * sizeof *sums);
  add_batch(&f, B, x, dy, first, last, sums, base);
  lip_frame_terms(term, &f, f.tile->strip);
  for (size_t u = first, end; u < last; u = end, sums += f.K * f.tile->strip) {
    end = strip_end(&f, u, last);
    const size_t a = u < u0 ? u0 : u, b = end < u1 ? end : u1;
    if (a < b) lip_pixels_collect(dw + a * f.K, b - a, f.K, sums + a - u, term, f.K, beta);
  }
}

/* sum[u - u0] += the places of channel u. */
static void add_bias(const lip_direct *s, size_t B, const float *dy, size_t u0, size_t u1, double *sum) {
  const size_t P = s->at.OH * s->at.OW;
  const pixels out = bordered(s->at.OH, s->at.OW, s->OUT, s->out.border);
  for (size_t r = 0; r < B && !s->out.pixels; r++)
    for (size_t u = u0; u < u1; u++) sum[u - u0] += lip_vec_sum(dy + (r * s->OUT + u) * P, P);
  for (size_t r = 0; r < B && s->out.pixels; r++)
    for (size_t y = 0; y < s->at.OH; y++)
      lip_pixels_sum(sum, u1 - u0, dy + r * image(&out) + corner(&out) + y * out.W * out.C + u0, s->at.OW,
                     out.C);
}

void lip_direct_grad_bias(const lip_direct *s, size_t B, const float *dy, size_t u0, size_t u1, float beta,
                          float *db, void *scratch) {
  double one, *sum = s->out.pixels ? scratch : &one;
  const size_t step = s->out.pixels ? u1 - u0 : 1;
  for (size_t u = u0; u < u1; u += step) {
    for (size_t i = 0; i < step; i++) sum[i] = beta != 0 ? (double)db[u + i] : 0;
    add_bias(s, B, dy, u, u + step, sum);
    for (size_t i = 0; i < step; i++) db[u + i] = (float)sum[i];
  }
}

/* ---- by parts of the batch ---- */

/* Floats of the strips of all units; those of the bias follow as doubles. */
static size_t weight_sums(const frame *f) {
  return up(f->groups * f->strips * f->K * f->tile->strip, 16);
}

size_t lip_direct_sums(const lip_direct *s) {
  const frame f = lip_frame_grad(s, s->OUT, true);
  return weight_sums(&f) + up(s->OUT * sizeof(double) / sizeof(float), 16);
}

void lip_direct_grad_add(const lip_direct *s, size_t B, const float *x, const float *dy, bool fresh,
                         float *sums, void *scratch) {
  const frame f = lip_frame_grad(s, s->OUT, true);
  if (fresh) memset(sums, 0, lip_direct_sums(s) * sizeof *sums);
  add_batch(&f, B, x, dy, 0, s->OUT, sums, (float *)scratch + lip_frame_before_grad(s));
  add_bias(s, B, dy, 0, s->OUT, (double *)(void *)(sums + weight_sums(&f)));
}

/* What all parts have summed up for one strip, or where the only one has it. */
static const float *total(const float *sums, size_t parts, size_t step, size_t n, float *to) {
  if (parts == 1) return sums;
  memcpy(to, sums, n * sizeof *to);
  for (size_t p = 1; p < parts; p++) lip_vec_axpy(to, 1, sums + p * step, n);
  return to;
}

void lip_direct_grad_take(const lip_direct *s, size_t parts, const float *sums, size_t step, size_t u0,
                          size_t u1, float beta, float *dw, float *db, void *scratch) {
  const frame f = lip_frame_grad(s, s->OUT, true);
  const size_t n = f.K * f.tile->strip;
  const double *bias = (const double *)(const void *)(sums + weight_sums(&f));
  float *base = scratch;
  size_t *term = (size_t *)(void *)(base + f.terms) + f.K;
  lip_frame_terms(term, &f, f.tile->strip);
  for (size_t u = 0, end; u < u1; u = end, sums += n) {
    end = strip_end(&f, u, s->OUT);
    const size_t a = u < u0 ? u0 : u, b = end < u1 ? end : u1;
    if (a >= b) continue;
    const float *sum = total(sums, parts, step, n, base + f.panels);
    lip_pixels_collect(dw + a * f.K, b - a, f.K, sum + a - u, term, f.K, beta);
  }
  for (size_t u = u0; db && u < u1; u++) {
    double sum = beta != 0 ? (double)db[u] : 0;
    for (size_t p = 0; p < parts; p++) sum += bias[p * step * sizeof(float) / sizeof(double) + u];
    db[u] = (float)sum;
  }
}
