/* Circular convolutions as bounds.
 *
 * Along one side an output i reads places j = i s + t - p of an image of n places, zeros outside, for its k taps t = 0, d, 2 d, ...
 * Outputs that read a place of the image have -r <= j < n + r for all their t, r = min(p, (k - 1) d), and their i s lie in
 * n + r consecutive places; the others are 0. Take any multiple G of the stride s with G >= n + r and lay the image on a circle of G places,
 * zeros on the others, where going round once multiplies by a number z of modulus 1: x[j + G] = z x[j]. For j < 0 the place
 * is z^-1 x[G + j] with G + j >= n, a zero; for j >= n it is x[j] itself, a zero as j < G. So with
 *     y[i] = sum_t w[t] x[i s + t - p],  G / s consecutive i,
 * the convolution is this circular one between a restriction to some outputs and an embedding of the image, both of norm 1,
 * and its norm is at most the circular one's. Two sides and several channels change nothing but the indices.
 *
 * Without stride the unitary Fourier transform (of x[j] z^(-j / G), which has period G) makes the operator block diagonal with
 * blocks
 *     X(f) (OUT, C),  X(f)_oc = sum_t w_oct e^(2 pi i f t / G),  f = 0, 1, ... plus arg(z) / 2 pi,
 * up to factors of modulus 1 from p. Keeping every s-th output adds frequencies that differ by multiples of G / s, with the
 * factor 1 / s for two sides, so that the blocks become
 *     [X(f_1) ... X(f_s^2)] / s,   f_a = f + (G / s) a
 * (for one side s of them and 1 / sqrt(s): a kernel of one row has stride 1 across)
 * (Sedghi, Gupta, Long 2019 for z = 1). We take z = 1 or -1 for each side, whichever gives less: an image of n places holds no
 * more than half a wave around the frequency where X is largest, and a circle whose frequencies lie on both sides of it
 * is as tight as the image itself: for w = (1, 1), p = 1, on n places the norm is 2 cos(pi / (2 n + 2)), which is what
 * z = -1 gives, while z = 1 gives 2. Real weights give conj(X(f)) at -f, with the same norm: half of the frequencies are enough. A
 * complex block is looked at as the real matrix [Re -Im; Im Re], whose singular values are the same, twice.
 *
 * Rounding. Sines and cosines come from libm with arguments below 2 pi, rounded three times: off by less than 2^-48. A product
 * of two and a sum of k^2 <= 4096 terms add less than 2^-38 of sum_t |w_oct| in either part. The block is rounded to float32
 * for the proof of norm/verify.c, and what that takes away is summed up as it is. By the triangle inequality
 *     ||X|| <= ||fl(X)|| + ||fl(X) - X||_F + 2^-37 || (sum_t |w_oct|)_oc ||_F.
 * The block that seems largest is bounded first; most others only have to be shown to be below, which takes one Cholesky
 * factorisation. */
#include "core/layer/conv_spectral.h"

#include <math.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/mem.h"
#include "core/norm/opnorm.h"
#include "core/norm/power.h"
#include "core/norm/round.h"
#include "core/norm/spectral.h"
#include "core/norm/symmetric.h"
#include "core/tensor/vec.h"

/* ---- written out ---- */

static size_t group_rows(const lip_conv *c) {
  return c->OUTg * c->at.OH * c->at.OW;
}

static size_t group_columns(const lip_conv *c) {
  return c->Cg * c->at.H * c->at.W;
}

/* A Gram matrix of the smaller side and a few factorisations of it. */
static double proof_cost(double m, double n) {
  double small = fmin(m, n);
  return small * small * (fmax(m, n) / 2 + small);
}

double lip_conv_explicit_cost(const lip_conv *c) {
  return proof_cost((double)group_rows(c), (double)group_columns(c));
}

static void write_out(const lip_conv *c, const float *w, size_t g, float *A) {
  const lip_axis v = lip_patches_y(&c->at), h = lip_patches_x(&c->at);
  const size_t k2 = v.kernel * h.kernel, P = v.out * h.out, N = group_columns(c);
  for (size_t row = 0; row < group_rows(c); row++) {
    size_t o = row / P, oy = row % P / h.out * v.stride, ox = row % h.out * h.stride;
    const float *from = w + (g * c->OUTg + o) * c->K;
    for (size_t t = 0; t < c->K; t++) {
      size_t y = oy + t % k2 / h.kernel * v.dilation, x = ox + t % h.kernel * h.dilation;
      if (y < v.padding || x < h.padding || y - v.padding >= v.n || x - h.padding >= h.n) continue;
      A[row * N + (t / k2 * v.n + y - v.padding) * h.n + x - h.padding] = from[t];
    }
  }
}

lip_status lip_conv_explicit_upper(const lip_conv *c, const float *w, size_t g, double *upper, lip_err *err) {
  const size_t M = group_rows(c), N = group_columns(c);
  float *A = lip_alloc(M, N * sizeof *A);
  if (!A) return lip_fail(err, LIP_MEMORY, "no memory for a convolution as a %zux%zu matrix", M, N);
  write_out(c, w, g, A);
  lip_status st = lip_opnorm_upper(A, M, N, (lip_pq){LIP_P2, LIP_P2}, upper, err);
  lip_free(A);
  return st;
}

/* ---- frequencies ---- */

enum { GUESSES = 3 }; /* power iterations on a block, from the last block's vector */

typedef struct circle {
  lip_axis y, x;               /* the sides */
  size_t Gy, Gx, Ny, Nx, m, n; /* places, frequencies; rows and columns of a complex block */
  double *cy, *sy, *cx, *sx;   /* cos and sin of 2 pi i / 2G */
  double *taps;                /* (k^2, part): the kernel, tap by tap */
  double *re, *im;             /* (part): X(f) */
  size_t part;                 /* m Cg and padding */
  float *X;                    /* (2m, 2n) */
  double *v, *scratch;         /* of power iterations */
  size_t ty, tx;               /* 1: frequencies lie between whole numbers, z = -1 */
  double off;                  /* what the transform may be wrong by, for all blocks */
  double worst;                /* largest norm so far */
} circle;

static size_t places(const lip_axis *a) {
  size_t s = a->stride, reach = (a->kernel - 1) * a->dilation;
  size_t around = a->padding < reach ? a->padding : reach;
  return (a->n + around + s - 1) / s * s;
}

double lip_conv_fourier_cost(const lip_conv *c) {
  const lip_axis y = lip_patches_y(&c->at), x = lip_patches_x(&c->at);
  const double s2 = (double)(y.stride * x.stride), n = 2 * (double)c->Cg * s2, m = 2 * (double)c->OUTg;
  const double blocks = (double)places(&y) * (double)places(&x) / s2 / 2 + 1;
  return blocks * (proof_cost(m, n) + 5 * m * n * (double)lip_patches_taps(&c->at));
}

static bool fill_circle(double **cosine, double **sine, size_t G) {
  *cosine = lip_alloc(2 * G, sizeof(double));
  *sine = lip_alloc(2 * G, sizeof(double));
  for (size_t i = 0; *cosine && *sine && i < 2 * G; i++) {
    double angle = 2 * 3.14159265358979323846 * (double)i / (double)(2 * G);
    (*cosine)[i] = cos(angle);
    (*sine)[i] = sin(angle);
  }
  return *cosine && *sine;
}

static bool allocate(circle *f, size_t k2) {
  f->taps = lip_alloc(k2, f->part * sizeof(double));
  f->re = lip_alloc(f->part, sizeof(double));
  f->im = lip_alloc(f->part, sizeof(double));
  f->X = lip_alloc(2 * f->m, 2 * f->n * sizeof(float));
  f->v = lip_alloc(2 * f->n, sizeof(double));
  f->scratch = lip_alloc(2 * (f->m + f->n), sizeof(double));
  bool y = fill_circle(&f->cy, &f->sy, f->Gy), x = fill_circle(&f->cx, &f->sx, f->Gx);
  return y && x && f->taps && f->re && f->im && f->X && f->v && f->scratch;
}

static bool open_circle(circle *f, const lip_conv *c, const float *w) {
  const size_t k2 = lip_patches_taps(&c->at), pairs = c->OUTg * c->Cg;
  *f = (circle){.y = lip_patches_y(&c->at), .x = lip_patches_x(&c->at), .m = c->OUTg};
  const size_t s2 = f->y.stride * f->x.stride;
  f->n = c->Cg * s2;
  f->Gy = places(&f->y);
  f->Gx = places(&f->x);
  f->Ny = f->Gy / f->y.stride;
  f->Nx = f->Gx / f->x.stride;
  f->part = (pairs + LIP_PAD - 1) / LIP_PAD * LIP_PAD;
  if (!allocate(f, k2)) return false;
  double square = 0;
  for (size_t i = 0; i < pairs; i++) {
    double sum = 0;
    for (size_t t = 0; t < k2; t++) {
      f->taps[t * f->part + i] = (double)w[i * k2 + t];
      sum += fabs((double)w[i * k2 + t]);
    }
    square += sum * sum;
  }
  f->off = sqrt(square) * sqrt((double)s2) * 0x1p-37 + 0x1p-140; /* s2 blocks side by side */
  return true;
}

static void close_circle(circle *f) {
  double *own[] = {f->cy, f->sy, f->cx, f->sx, f->taps, f->re, f->im, f->v, f->scratch};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) lip_free(own[i]);
  lip_free(f->X);
}

/* The block of one frequency, in halves, into columns c0.. of X; returns the square of what rounding to float32 took. */
static double add_block(circle *f, const lip_conv *c, size_t fy, size_t fx, size_t c0) {
  const size_t n = 2 * f->n;
  double lost = 0;
  memset(f->re, 0, f->part * sizeof *f->re);
  memset(f->im, 0, f->part * sizeof *f->im);
  for (size_t y = 0; y < f->y.kernel; y++)
    for (size_t x = 0; x < f->x.kernel; x++) {
      const size_t a = fy * y * f->y.dilation % (2 * f->Gy), b = fx * x * f->x.dilation % (2 * f->Gx);
      const double *tap = f->taps + (y * f->x.kernel + x) * f->part;
      lip_sym_axpy(f->re, f->cy[a] * f->cx[b] - f->sy[a] * f->sx[b], tap, f->part);
      lip_sym_axpy(f->im, f->cy[a] * f->sx[b] + f->sy[a] * f->cx[b], tap, f->part);
    }
  for (size_t o = 0; o < f->m; o++)
    for (size_t ch = 0; ch < c->Cg; ch++) {
      double x = f->re[o * c->Cg + ch], y = f->im[o * c->Cg + ch];
      float *at = f->X + o * n + c0 + ch, *below = at + f->m * n, xf = (float)x, yf = (float)y;
      at[0] = below[f->n] = xf;
      at[f->n] = -yf;
      below[0] = yf;
      lost += (x - (double)xf) * (x - (double)xf) + (y - (double)yf) * (y - (double)yf);
    }
  return lost;
}

/* X at (fy, fx) in whole frequencies, before the twist; returns what rounding may have taken from its norm. */
static double fill_block(circle *f, const lip_conv *c, size_t fy, size_t fx) {
  const size_t down = f->y.stride, right = f->x.stride;
  double lost = 0;
  for (size_t a = 0; a < down; a++)
    for (size_t b = 0; b < right; b++)
      lost += add_block(f, c, 2 * (fy + a * f->Ny) + f->ty, 2 * (fx + b * f->Nx) + f->tx,
                        (a * right + b) * c->Cg);
  return (sqrt(lost) + f->off) * (1 + 0x1p-20);
}

/* Raises `worst` to the norm of the block at (fy, fx) when it is larger. */
static lip_status visit(circle *f, const lip_conv *c, size_t fy, size_t fx, lip_err *err) {
  double extra = fill_block(f, c, fy, fx), norm;
  bool below = false;
  lip_status st = LIP_OK;
  if (f->worst > extra)
    st = lip_spectral_below(f->X, 2 * f->m, 2 * f->n, lip_down(f->worst - extra), &below, err);
  if (st != LIP_OK || below) return st;
  st = lip_spectral_upper(f->X, 2 * f->m, 2 * f->n, &norm, err);
  if (st == LIP_OK && !(lip_up(norm + extra) <= f->worst)) f->worst = lip_up(norm + extra);
  return st;
}

/* One of two frequencies with conjugate blocks. */
static bool is_first(const circle *f, size_t y, size_t x) {
  size_t my = (2 * f->Ny - y - f->ty) % f->Ny, mx = (2 * f->Nx - x - f->tx) % f->Nx;
  return !(my < y || (my == y && mx < x));
}

/* The largest estimate of a norm for the present twist, and the frequency it comes from. */
static lip_status survey(circle *f, const lip_conv *c, double *most, size_t at[2], lip_err *err) {
  *most = -1;
  for (size_t y = 0; y < f->Ny; y++) {
    lip_status st = lip_cancel_check("the norm of a convolution", err);
    if (st != LIP_OK) return st;
    for (size_t x = 0; x < f->Nx; x++) {
      if (!is_first(f, y, x)) continue;
      fill_block(f, c, y, x);
      double now = lip_power_estimate(f->X, 2 * f->m, 2 * f->n, GUESSES, f->v, f->scratch);
      if (now > *most) *most = now, at[0] = y, at[1] = x;
    }
  }
  return LIP_OK;
}

/* Takes the twist whose norm seems smallest; `hardest` is where its largest block seems to be. */
static lip_status choose(circle *f, const lip_conv *c, size_t hardest[2], lip_err *err) {
  double least = INFINITY, most;
  size_t best = 0, at[2] = {0, 0};
  for (size_t twist = 0; twist < 4; twist++) {
    f->ty = twist / 2;
    f->tx = twist % 2;
    lip_status st = survey(f, c, &most, at, err);
    if (st != LIP_OK) return st;
    if (most < least) least = most, best = twist, hardest[0] = at[0], hardest[1] = at[1];
  }
  f->ty = best / 2;
  f->tx = best % 2;
  return LIP_OK;
}

lip_status lip_conv_fourier_upper(const lip_conv *c, const float *w, size_t g, double *upper, lip_err *err) {
  circle f;
  size_t hardest[2] = {0, 0};
  const float *own = w + g * c->OUTg * c->K;
  *upper = INFINITY;
  if (!lip_vec_all_finite(own, c->OUTg * c->K)) return LIP_OK;
  lip_status st = LIP_OK;
  if (!open_circle(&f, c, own))
    st = lip_fail(err, LIP_MEMORY, "no memory for the frequencies of a convolution");
  if (!st) st = choose(&f, c, hardest, err);
  if (!st) st = visit(&f, c, hardest[0], hardest[1], err);
  for (size_t y = 0; !st && y < f.Ny; y++)
    for (size_t x = 0; !st && x < f.Nx; x++)
      if (is_first(&f, y, x) && !(y == hardest[0] && x == hardest[1])) st = visit(&f, c, y, x, err);
  if (st == LIP_OK && f.worst >= 0)
    *upper = lip_up(f.worst / lip_sqrt_down((double)(f.y.stride * f.x.stride)));
  close_circle(&f);
  return st;
}
