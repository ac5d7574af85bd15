#include "core/data/synth.h"

#include <math.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/rng.h"

enum { SIDE = 28, MAX_POINTS = 96 };

typedef struct point {
  double x, y;
} point;

/* A pen stroke: a straight line between the points (x0, y0) and (x1, y1), or part of an ellipse around (x0, y0) with
 * half axes (x1, y1) from angle `from` to `to` in degrees (0 = right, 90 = down). Unit square, y downwards. */
typedef struct stroke {
  char kind; /* 'l' line, 'a' arc, 0 end of the digit */
  double x0, y0, x1, y1, from, to;
} stroke;

enum { MAX_STROKES = 5, STYLES = 2 };

/* Two ways of writing each digit. */
static const stroke digit_strokes[10][STYLES][MAX_STROKES] = {
    {{{'a', .50, .50, .30, .44, 0, 360}}, {{'a', .50, .50, .22, .44, -60, 315}}},
    {{{'l', .50, .06, .50, .94, 0, 0}}, {{'l', .32, .26, .54, .06, 0, 0}, {'l', .54, .06, .54, .94, 0, 0}}},
    {{{'a', .48, .30, .27, .24, 190, 385}, {'l', .72, .42, .22, .92, 0, 0}, {'l', .22, .92, .80, .92, 0, 0}},
     {{'a', .48, .28, .26, .22, 200, 400},
      {'l', .68, .42, .34, .78, 0, 0},
      {'a', .32, .84, .10, .09, -60, 270},
      {'l', .34, .80, .82, .92, 0, 0}}},
    {{{'a', .46, .28, .26, .22, 200, 450}, {'a', .46, .71, .30, .23, 270, 520}},
     {{'l', .22, .08, .74, .08, 0, 0}, {'l', .74, .08, .46, .44, 0, 0}, {'a', .46, .69, .30, .25, 270, 510}}},
    {{{'l', .60, .06, .18, .64, 0, 0}, {'l', .18, .64, .86, .64, 0, 0}, {'l', .64, .36, .64, .96, 0, 0}},
     {{'l', .26, .08, .22, .50, 0, 0}, {'l', .22, .50, .74, .50, 0, 0}, {'l', .74, .08, .70, .94, 0, 0}}},
    {{{'l', .76, .08, .32, .08, 0, 0}, {'l', .32, .08, .28, .44, 0, 0}, {'a', .46, .66, .28, .27, 230, 510}},
     {{'l', .74, .10, .36, .06, 0, 0},
      {'a', .50, .28, .20, .20, 250, 100},
      {'a', .46, .70, .26, .24, 270, 500}}},
    {{{'a', .70, .46, .46, .42, 180, 275},
      {'a', .50, .69, .26, .25, 0, 360},
      {'l', .24, .46, .24, .70, 0, 0}},
     {{'l', .62, .06, .30, .54, 0, 0}, {'a', .48, .70, .22, .22, 0, 360}}},
    {{{'l', .20, .08, .80, .08, 0, 0}, {'l', .80, .08, .42, .94, 0, 0}},
     {{'l', .20, .14, .78, .08, 0, 0}, {'l', .78, .08, .50, .94, 0, 0}, {'l', .40, .50, .76, .50, 0, 0}}},
    {{{'a', .50, .28, .22, .21, 0, 360}, {'a', .50, .72, .27, .23, 0, 360}},
     {{'a', .52, .27, .20, .20, -30, 250},
      {'l', .36, .36, .70, .66, 0, 0},
      {'a', .48, .72, .24, .22, -15, 200},
      {'l', .26, .66, .68, .20, 0, 0}}},
    {{{'a', .48, .30, .26, .24, 0, 360}, {'l', .74, .30, .70, .94, 0, 0}},
     {{'a', .48, .30, .24, .24, 0, 360}, {'a', .36, .40, .37, .52, 0, 95}}},
};

/* How one sample is written. */
typedef struct hand {
  double a, b, c, d, dx, dy; /* pixel = (a b; c d) (unit point - 1/2) + (dx, dy) */
  double wave[2], phase[2], frequency[2];
  double jitter;
  double radius, softness, ink;
  double noise;
} hand;

static double between(lip_rng *rng, double low, double high) {
  return low + (high - low) * lip_rng_uniform(rng);
}

static hand draw_hand(lip_rng *rng) {
  const double degree = 3.14159265358979323846 / 180;
  double turn = between(rng, -16, 16) * degree, slant = between(rng, -.35, .35);
  double width = between(rng, 13, 20), height = between(rng, 16, 21);
  hand h;
  h.a = width * cos(turn);
  h.b = height * (-sin(turn) - slant * cos(turn));
  h.c = width * sin(turn);
  h.d = height * (cos(turn) - slant * sin(turn));
  h.dx = SIDE / 2.0 - .5 + between(rng, -2.5, 2.5);
  h.dy = SIDE / 2.0 - .5 + between(rng, -2.5, 2.5);
  for (int i = 0; i < 2; i++) {
    h.wave[i] = between(rng, 0, .05);
    h.phase[i] = between(rng, 0, 360) * degree;
    h.frequency[i] = between(rng, 3, 8);
  }
  h.jitter = between(rng, 0, .045);
  h.radius = between(rng, .7, 1.7);
  h.softness = between(rng, .6, 1.2);
  h.ink = between(rng, 190, 255);
  h.noise = between(rng, 0, 36);
  return h;
}

/* From the unit square to pixels: the paper bends in two waves, then comes the affine map. */
static point place(const hand *h, double x, double y) {
  double u = x - .5 + h->wave[0] * sin(h->frequency[0] * y + h->phase[0]);
  double v = y - .5 + h->wave[1] * sin(h->frequency[1] * x + h->phase[1]);
  return (point){h->a * u + h->b * v + h->dx, h->c * u + h->d * v + h->dy};
}

/* Points along the stroke, ends moved a little; returns their number. */
static size_t trace(const hand *h, const stroke *s, lip_rng *rng, point *p) {
  const double degree = 3.14159265358979323846 / 180;
  double j[6];
  for (int i = 0; i < 6; i++) j[i] = h->jitter * between(rng, -1, 1);
  size_t n = s->kind == 'l' ? 6 : 6 + (size_t)(fabs(s->to - s->from) / 18);
  for (size_t i = 0; i <= n; i++) {
    double t = (double)i / (double)n, x, y;
    if (s->kind == 'l') {
      x = s->x0 + j[0] + t * (s->x1 + j[1] - s->x0 - j[0]);
      y = s->y0 + j[2] + t * (s->y1 + j[3] - s->y0 - j[2]);
    } else {
      double angle = (s->from + 300 * j[4] + t * (s->to + 300 * (j[5] - j[4]) - s->from)) * degree;
      x = s->x0 + j[0] + (s->x1 + j[1]) * cos(angle);
      y = s->y0 + j[2] + (s->y1 + j[3]) * sin(angle);
    }
    p[i] = place(h, x, y);
  }
  return n + 1;
}

/* Ink of the segment p-q: full inside the pen's radius, fading over `softness`. The darkest stroke wins. */
static void ink_segment(const hand *h, point p, point q, double *image) {
  double reach = h->radius + h->softness, dx = q.x - p.x, dy = q.y - p.y, length = dx * dx + dy * dy;
  int x0 = (int)floor(fmin(p.x, q.x) - reach), x1 = (int)ceil(fmax(p.x, q.x) + reach);
  int y0 = (int)floor(fmin(p.y, q.y) - reach), y1 = (int)ceil(fmax(p.y, q.y) + reach);
  for (int y = y0 < 0 ? 0 : y0; y <= y1 && y < SIDE; y++)
    for (int x = x0 < 0 ? 0 : x0; x <= x1 && x < SIDE; x++) {
      double ux = x - p.x, uy = y - p.y;
      double t = length > 0 ? fmin(1, fmax(0, (ux * dx + uy * dy) / length)) : 0;
      double vx = ux - t * dx, vy = uy - t * dy, gap = sqrt(vx * vx + vy * vy);
      double ink = fmin(1, fmax(0, (reach - gap) / h->softness));
      double *cell = image + y * SIDE + x;
      if (ink > *cell) *cell = ink;
    }
}

static int32_t draw_sample(uint8_t *pixels, uint64_t seed, uint64_t i) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_DATA, i);
  double image[SIDE * SIDE] = {0};
  point p[MAX_POINTS];
  size_t label = (size_t)lip_rng_below(&rng, 10);
  const stroke *strokes = digit_strokes[label][lip_rng_below(&rng, STYLES)];
  hand h = draw_hand(&rng);
  for (size_t k = 0; k < MAX_STROKES && strokes[k].kind; k++) {
    size_t n = trace(&h, &strokes[k], &rng, p);
    for (size_t m = 1; m < n; m++) ink_segment(&h, p[m - 1], p[m], image);
  }
  for (size_t m = 0; m < SIDE * SIDE; m += 4) {
    uint32_t word = lip_rng_u32(&rng); /* four pixels' noise */
    for (size_t k = 0; k < 4; k++, word >>= 8) {
      double v = h.ink * image[m + k] + h.noise * ((double)(word & 255) / 127.5 - 1);
      pixels[m + k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
  }
  return (int32_t)label;
}

lip_status lip_synth_digits(size_t n, uint64_t seed, lip_dataset **out, lip_err *err) {
  const size_t shape[3] = {1, SIDE, SIDE};
  lip_status s = lip_dataset_new("digits", n, 3, shape, out, err);
  if (s) return s;
  s = lip_dataset_alloc(*out, true, true, 0, err);
  if (s) {
    lip_dataset_free(*out);
    *out = NULL;
    return s;
  }
  (*out)->classes = 10;
  for (size_t i = 0; i < n && !lip_cancelled(); i++)
    (*out)->labels[i] = draw_sample((*out)->bytes + i * SIDE * SIDE, seed, i);
  s = lip_cancel_check("digits", err);
  if (!s) return LIP_OK;
  lip_dataset_free(*out);
  *out = NULL;
  return s;
}
