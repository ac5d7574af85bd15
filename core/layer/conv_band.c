/* A convolution A of one group has two Gram matrices, A A' over its outputs and A' A over its inputs, with the same largest
 * eigenvalue. Places in the order (y, x, channel) make both banded: outputs i, i' along one side meet where some input is
 * read by both, i s + t d = i' s + t' d for taps t, t'; inputs j, j' where some output reads both, j - j' = (t - t') d. With W_t the
 * (OUT, C) matrix of tap t, the block of two places is
 *     sum over the pairs of taps (t, t') that meet there of W_t W_t'^T     (inputs: W_t^T W_t'),
 * and pairs of taps are products of a pair along y and one along x. So all W_t W_t'^T are found once, and each block is
 * a sum of those whose meeting place is inside: the borders are exact. The narrower band is taken.
 *
 * theta I - G is factorised (band.c; the proof is that of norm/verify.c) for theta a little above an estimate of
 * lambda_max. Rounding: an element of G is a sum of products of two float32 numbers, exact in double once they are scaled by
 * a power of two, of which there are at most k^2 n for n channels on the other side, added in two steps: off by at most
 * gamma_(k^2 n) |A| |A|', whose norm is at most ||A||_1->1 ||A||_inf->inf. */
#include "core/layer/conv_band.h"

#include <math.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/mem.h"
#include "core/norm/band.h"
#include "core/norm/round.h"
#include "core/norm/rows.h"
#include "core/norm/symmetric.h"

/* 64 MB of products of taps, 256 MB of a band: what is more is too slow as well. */
#define MOST_PRODUCTS 0x1p23
#define MOST_CELLS 0x1p25

enum { TRIES = 3 };

/* One of the two Gram matrices. */
typedef struct gram {
  const lip_conv *c;
  bool inputs;
  size_t H, W, q; /* places and channels of a place */
  size_t other;   /* channels of the other side */
  size_t half;    /* of the band */
} gram;

/* Pairs of taps that meet along one side. */
typedef struct meeting {
  size_t n, t[LIP_CONV_MAX_KERNEL][2];
} meeting;

static size_t reach(const lip_axis *at) {
  return (at->kernel - 1) * at->dilation;
}

/* Of places i >= j along a side. */
static void meet(const gram *g, const lip_axis *at, size_t i, size_t j, meeting *m) {
  const size_t places = g->inputs ? i - j : (i - j) * at->stride, apart = places / at->dilation;
  m->n = 0;
  if (places % at->dilation != 0) return;
  for (size_t t = 0; t + apart < at->kernel; t++) {
    const size_t ti = g->inputs ? t + apart : t, tj = g->inputs ? t : t + apart;
    bool inside;
    if (g->inputs) {
      const size_t from = i + at->padding - ti * at->dilation; /* of the output, in places */
      inside = i + at->padding >= ti * at->dilation && from % at->stride == 0 && from / at->stride < at->out;
    } else {
      const size_t place = i * at->stride + ti * at->dilation;
      inside = place >= at->padding && place - at->padding < at->n;
    }
    if (inside) m->t[m->n][0] = ti, m->t[m->n++][1] = tj;
  }
}

static gram choose(const lip_conv *c) {
  const lip_axis y = lip_patches_y(&c->at), x = lip_patches_x(&c->at);
  const size_t far_y = reach(&y), far_x = reach(&x), apart_y = far_y / y.stride, apart_x = far_x / x.stride;
  gram in = {c, true, c->at.H, c->at.W, c->Cg, c->OUTg, 0},
       out = {c, false, c->at.OH, c->at.OW, c->OUTg, c->Cg, 0};
  size_t in_y = far_y < in.H ? far_y : in.H - 1, in_x = far_x < in.W ? far_x : in.W - 1;
  size_t out_y = apart_y < out.H ? apart_y : out.H - 1, out_x = apart_x < out.W ? apart_x : out.W - 1;
  in.half = (in_y * in.W + in_x + 1) * in.q - 1;
  out.half = (out_y * out.W + out_x + 1) * out.q - 1;
  return lip_band_cost(in.H * in.W * in.q, in.half) < lip_band_cost(out.H * out.W * out.q, out.half) ? in
                                                                                                     : out;
}

static size_t padded(size_t n) {
  return (n + LIP_PAD - 1) / LIP_PAD * LIP_PAD;
}

double lip_conv_band_cost(const lip_conv *c) {
  const gram g = choose(c);
  const double k2 = (double)lip_patches_taps(&c->at), q = (double)padded(g.q);
  const double n = (double)g.H * (double)g.W * (double)g.q, half = (double)g.half + 1;
  if (k2 * k2 * q * q > MOST_PRODUCTS || n * (half + 64) > MOST_CELLS) return INFINITY;
  return k2 * k2 * q * q * (double)padded(g.other) + lip_band_cost(g.H * g.W * g.q, g.half);
}

/* S (k^2, k^2, q, q): W_t W_t'^T, or W_t^T W_t' for inputs, of the kernel times 2^-e. LIP_MEMORY. */
static double *products(const gram *g, const float *w, int e) {
  const size_t k2 = lip_patches_taps(&g->c->at), q = padded(g->q), n = padded(g->other);
  double *T = lip_alloc(k2, q * n * sizeof *T), *S = lip_alloc(k2 * k2, q * q * sizeof *S);
  const double scale = ldexp(1, -e);
  if (!T || !S) {
    lip_free(T), lip_free(S);
    return NULL;
  }
  for (size_t o = 0; o < g->c->OUTg; o++)
    for (size_t ch = 0; ch < g->c->Cg; ch++)
      for (size_t t = 0; t < k2; t++) {
        const size_t row = g->inputs ? ch : o, column = g->inputs ? o : ch;
        T[(t * q + row) * n + column] = (double)w[(o * g->c->Cg + ch) * k2 + t] * scale;
      }
  for (size_t t = 0; t < k2; t++)
    for (size_t u = 0; u < k2; u++)
      lip_sym_multiply(S + (t * k2 + u) * q * q, q, T + t * q * n, n, q, T + u * q * n, n, q, n);
  lip_free(T);
  return S;
}

/* Adds the block of places (yi, xi) >= (yj, xj) in their order, its lower triangle where they are the same. */
static void add_block(const gram *g, const double *S, const meeting *y, const meeting *x, size_t i, size_t j,
                      lip_band *G) {
  const size_t k = g->c->at.kernel, k2 = lip_patches_taps(&g->c->at), q = padded(g->q);
  for (size_t a = 0; a < y->n; a++)
    for (size_t b = 0; b < x->n; b++) {
      const size_t t = y->t[a][0] * k + x->t[b][0], u = y->t[a][1] * k + x->t[b][1];
      const double *from = S + (t * k2 + u) * q * q;
      for (size_t r = 0; r < g->q; r++) {
        double *to = lip_band_at(G, i * g->q + r, j * g->q);
        for (size_t c = 0; c < (i == j ? r + 1 : g->q); c++) to[c] += from[r * q + c];
      }
    }
}

/* Pairs along a side, in either order of the two places. */
static void meet_either(const gram *g, const lip_axis *at, size_t i, size_t j, meeting *m) {
  meet(g, at, i > j ? i : j, i > j ? j : i, m);
  for (size_t a = 0; i < j && a < m->n; a++) {
    const size_t t = m->t[a][0];
    m->t[a][0] = m->t[a][1], m->t[a][1] = t;
  }
}

static lip_status fill(const gram *g, const double *S, lip_band *G, lip_err *err) {
  const lip_axis side = lip_patches_y(&g->c->at), row = lip_patches_x(&g->c->at);
  const size_t down = reach(&side), far = reach(&row);
  meeting y, x;
  for (size_t yi = 0; yi < g->H; yi++) {
    lip_status st = lip_cancel_check("the norm of a convolution", err);
    if (st != LIP_OK) return st;
    for (size_t yj = yi + 1; yj-- > 0;) {
      meet(g, &side, yi, yj, &y);
      if (yi - yj > down) break; /* nor does anything farther */
      for (size_t xi = 0; y.n > 0 && xi < g->W; xi++)
        for (size_t xj = xi < far ? 0 : xi - far; xj < g->W && xj <= xi + far; xj++) {
          if (yi == yj && xj > xi) break;
          meet_either(g, &row, xi, xj, &x);
          add_block(g, S, &y, &x, yi * g->W + xi, yj * g->W + xj, G);
        }
    }
  }
  return LIP_OK;
}

/* Attempts at estimate^2 (1 + slack), the first one cautious where each takes long. */
static lip_status attempt(const gram *g, const double *S, lip_band *G, double estimate, double error,
                          double *upper, lip_err *err) {
  const bool cheap = lip_conv_band_cost(g->c) < 1e8;
  double slack = cheap ? 0x1p-18 : 0x1p-8, a;
  for (int i = 0; i < TRIES; i++, slack *= cheap ? 32 : 4) {
    memset(G->cell, 0, G->rows * G->width * sizeof *G->cell);
    lip_status st = fill(g, S, G, err);
    if (st != LIP_OK) return st;
    if (lip_band_below(G, estimate * estimate * (1 + slack), error, &a)) {
      *upper = lip_sqrt_up(a);
      return LIP_OK;
    }
  }
  return lip_cancel_check("the norm of a convolution", err);
}

lip_status lip_conv_band_upper(const lip_conv *c, const float *w, size_t g, double estimate, double schur,
                               double *upper, lip_err *err) {
  const gram at = choose(c);
  const size_t k2 = lip_patches_taps(&c->at), size = c->OUTg * c->K;
  const float *own = w + g * size, top = lip_row_abs_max(own, size);
  lip_band G = {.cell = NULL};
  lip_status st = LIP_OK;
  int e = 0;
  *upper = INFINITY;
  if (!isfinite(top) || top == 0 || !isfinite(estimate)) {
    if (top == 0) *upper = 0;
    return LIP_OK;
  }
  (void)frexpf(top, &e);
  const double sum = ldexp(schur, -e), error = lip_gamma(k2 * at.other + 2) * sum * sum * (1 + 0x1p-48);
  double *S = products(&at, own, e);
  if (!S || !lip_band_open(&G, at.H * at.W * at.q, at.half))
    st = lip_fail(err, LIP_MEMORY, "no memory for a band of the norm of a convolution");
  if (!st) st = attempt(&at, S, &G, ldexp(estimate, -e), error, upper, err);
  lip_free(S);
  *upper = ldexp(*upper, e);
  lip_free(G.cell);
  return st;
}
