/* Circular convolutions as bounds.
 *
 * Along one side an output i reads places j = i s + t - p of an image of n places, 0 <= t < k, with zeros outside. Take any
 * multiple G of the stride s with G >= n + p and lay the image on a circle of G places, zeros on the others. As
 * -p <= j < n + p <= G (the output size leaves nothing beyond), the place j mod G holds what stands at j: for j < 0 it is
 * G + j >= n, for j >= n it is j itself. Outputs with i s >= G read zeros only; any other i is output i of
 *     y[i] = sum_t w[t] x[(i s + t - p) mod G],  0 <= i < G / s,
 * and different i are different outputs there: the convolution is this circular one between a restriction to some outputs
 * and an embedding of the image, both of norm 1, and its norm is at most the circular one's. Two sides and several
 * channels change nothing but the indices.
 *
 * Without stride the unitary Fourier transform makes the circular operator block diagonal with blocks
 *     X(f) (OUT, C),  X(f)_oc = sum_t w_oct e^(2 pi i f t / G),
 * up to factors of modulus 1 from p. Keeping every s-th output adds frequencies that differ by multiples of G / s, with the
 * factor 1 / s for two sides, so that the blocks become
 *     [X(f_1) ... X(f_s^2)] / s,   f_a = f + (G / s) a.
 * Real weights give conj(X(f)) at -f, with the same norm: half of the frequencies are enough. A complex block is looked at
 * as the real matrix [Re -Im; Im Re], whose singular values are the same, twice (Sedghi, Gupta, Long 2019 for the
 * circular operator itself).
 *
 * Rounding. Sines and cosines come from libm with arguments below 2 pi, rounded three times: off by less than 2^-48. A product
 * of two and a sum of k^2 <= 4096 terms add less than 2^-38 of sum_t |w_oct| in either part. The block is rounded to float32
 * for the proof of norm/verify.c, and what that takes away is summed up as it is. By the triangle inequality
 *     ||X|| <= ||fl(X)|| + ||fl(X) - X||_F + 2^-37 || (sum_t |w_oct|)_oc ||_F.
 * Most blocks only have to be shown to be below the largest so far, which takes one Cholesky factorisation. */
#include "core/layer/conv_spectral.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/norm/opnorm.h"
#include "core/norm/round.h"
#include "core/norm/spectral.h"

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
  const size_t k = c->at.kernel, P = c->at.OH * c->at.OW, N = group_columns(c), pad = c->at.padding;
  for (size_t row = 0; row < group_rows(c); row++) {
    size_t o = row / P, oy = row % P / c->at.OW * c->at.stride, ox = row % c->at.OW * c->at.stride;
    const float *from = w + (g * c->OUTg + o) * c->K;
    for (size_t t = 0; t < c->K; t++) {
      size_t y = oy + t / k % k, x = ox + t % k;
      if (y < pad || x < pad || y - pad >= c->at.H || x - pad >= c->at.W) continue;
      A[row * N + (t / (k * k) * c->at.H + y - pad) * c->at.W + x - pad] = from[t];
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

typedef struct circle {
  size_t Gy, Gx, m, n;       /* places; rows and columns of a complex block */
  double *cy, *sy, *cx, *sx; /* cos and sin of 2 pi i / G */
  double *wave;              /* (2, k^2) e^(2 pi i f t / G) */
  float *X;                  /* (2m, 2n) */
  double off;                /* what the transform may be wrong by, for all blocks */
  double worst;              /* largest norm so far */
} circle;

static size_t places(size_t n, const lip_conv *c) {
  size_t s = c->at.stride;
  return (n + c->at.padding + s - 1) / s * s;
}

double lip_conv_fourier_cost(const lip_conv *c) {
  double s = (double)c->at.stride, n = 2 * (double)c->Cg * s * s, m = 2 * (double)c->OUTg;
  double blocks = (double)places(c->at.H, c) / s * ((double)places(c->at.W, c) / s) / 2 + 1;
  return blocks * (proof_cost(m, n) + m * n * (double)(c->at.kernel * c->at.kernel));
}

static bool fill_circle(double **cosine, double **sine, size_t G) {
  *cosine = lip_alloc(G, sizeof(double));
  *sine = lip_alloc(G, sizeof(double));
  for (size_t i = 0; *cosine && *sine && i < G; i++) {
    double angle = 2 * 3.14159265358979323846 * (double)i / (double)G;
    (*cosine)[i] = cos(angle);
    (*sine)[i] = sin(angle);
  }
  return *cosine && *sine;
}

static bool open_circle(circle *f, const lip_conv *c, const float *w, size_t g) {
  const size_t k2 = c->at.kernel * c->at.kernel;
  *f = (circle){.Gy = places(c->at.H, c), .Gx = places(c->at.W, c), .m = c->OUTg};
  f->n = c->Cg * c->at.stride * c->at.stride;
  f->wave = lip_alloc(2, k2 * sizeof(double));
  f->X = lip_alloc(2 * f->m, 2 * f->n * sizeof(float));
  bool y = fill_circle(&f->cy, &f->sy, f->Gy), x = fill_circle(&f->cx, &f->sx, f->Gx);
  double square = 0;
  for (size_t i = 0; i < c->OUTg * c->Cg; i++) {
    double sum = 0;
    for (size_t t = 0; t < k2; t++) sum += fabs((double)w[g * c->OUTg * c->K + i * k2 + t]);
    square += sum * sum;
  }
  f->off = sqrt(square) * (double)c->at.stride * 0x1p-37 + 0x1p-140; /* s^2 blocks side by side */
  return y && x && f->wave && f->X;
}

static void close_circle(circle *f) {
  double *own[] = {f->cy, f->sy, f->cx, f->sx, f->wave};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) lip_free(own[i]);
  lip_free(f->X);
}

/* The block of one frequency into columns c0.. of X; returns the square of what rounding to float32 took. */
static double add_block(circle *f, const lip_conv *c, const float *w, size_t fy, size_t fx, size_t c0) {
  const size_t k = c->at.kernel, k2 = k * k, n = 2 * f->n;
  double *re = f->wave, *im = f->wave + k2, lost = 0;
  for (size_t y = 0; y < k; y++)
    for (size_t x = 0; x < k; x++) {
      size_t a = fy * y % f->Gy, b = fx * x % f->Gx;
      re[y * k + x] = f->cy[a] * f->cx[b] - f->sy[a] * f->sx[b];
      im[y * k + x] = f->cy[a] * f->sx[b] + f->sy[a] * f->cx[b];
    }
  for (size_t o = 0; o < f->m; o++)
    for (size_t ch = 0; ch < c->Cg; ch++) {
      const float *from = w + o * c->K + ch * k2;
      double x = 0, y = 0;
      for (size_t t = 0; t < k2; t++) {
        x += (double)from[t] * re[t];
        y += (double)from[t] * im[t];
      }
      float *at = f->X + o * n + c0 + ch, *below = at + f->m * n, xf = (float)x, yf = (float)y;
      at[0] = below[f->n] = xf;
      at[f->n] = -yf;
      below[0] = yf;
      lost += (x - (double)xf) * (x - (double)xf) + (y - (double)yf) * (y - (double)yf);
    }
  return lost;
}

/* Raises `worst` to the norm of the block at (fy, fx) when it is larger. */
static lip_status visit(circle *f, const lip_conv *c, const float *w, size_t fy, size_t fx, lip_err *err) {
  const size_t s = c->at.stride;
  double lost = 0, norm;
  bool below = false;
  for (size_t a = 0; a < s; a++)
    for (size_t b = 0; b < s; b++)
      lost += add_block(f, c, w, fy + a * (f->Gy / s), fx + b * (f->Gx / s), (a * s + b) * c->Cg);
  double extra = (sqrt(lost) + f->off) * (1 + 0x1p-20);
  lip_status st = LIP_OK;
  if (f->worst > extra)
    st = lip_spectral_below(f->X, 2 * f->m, 2 * f->n, lip_down(f->worst - extra), &below, err);
  if (st != LIP_OK || below) return st;
  st = lip_spectral_upper(f->X, 2 * f->m, 2 * f->n, &norm, err);
  if (st == LIP_OK && !(lip_up(norm + extra) <= f->worst)) f->worst = lip_up(norm + extra);
  return st;
}

lip_status lip_conv_fourier_upper(const lip_conv *c, const float *w, size_t g, double *upper, lip_err *err) {
  circle f;
  lip_status st = LIP_OK;
  const float *own = w + g * c->OUTg * c->K;
  *upper = INFINITY;
  if (!open_circle(&f, c, w, g))
    st = lip_fail(err, LIP_MEMORY, "no memory for the frequencies of a convolution");
  const size_t s = c->at.stride, Ny = f.Gy / s, Nx = f.Gx / s;
  for (size_t y = 0; !st && y <= Ny / 2; y++)
    for (size_t x = 0; !st && x < Nx; x++) {
      size_t my = (Ny - y) % Ny, mx = (Nx - x) % Nx; /* the same norm there */
      if (my < y || (my == y && mx < x)) continue;
      st = visit(&f, c, own, y, x, err);
    }
  if (st == LIP_OK && f.worst >= 0) *upper = lip_up(f.worst / (double)s);
  close_circle(&f);
  return st;
}
