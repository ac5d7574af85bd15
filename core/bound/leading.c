/* Lanczos' method with full reorthogonalisation, restarted with the Ritz vector (Golub and Van Loan 2013, sections
 * 10.1 and 10.3); the tridiagonal matrix by QL steps with implicit shifts (section 8.3; Martin, Wilkinson 1968). */
#include "core/bound/leading.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/norm/symmetric.h"

enum { STEPS = 32, FIRST_CHECK = 8, RESTARTS = 12, SWEEPS = 40 };

size_t lip_leading_work(size_t n) {
  return (STEPS + 1) * n;
}

/* One QL sweep from row m up to row l; d diagonal, e below it, z rows of vectors. */
static void sweep(double *d, double *e, double z[STEPS][STEPS], size_t l, size_t m, size_t n) {
  double g = (d[l + 1] - d[l]) / (2 * e[l]), r = hypot(g, 1), s = 1, c = 1, p = 0;
  g = d[m] - d[l] + e[l] / (g + copysign(r, g));
  for (size_t i = m; i-- > l;) {
    double f = s * e[i], b = c * e[i];
    r = hypot(f, g);
    e[i + 1] = r;
    if (r == 0) {
      d[i + 1] -= p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1] - p;
    r = (d[i] - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    for (size_t k = 0; k < n; k++) {
      f = z[i + 1][k];
      z[i + 1][k] = s * z[i][k] + c * f;
      z[i][k] = c * z[i][k] - s * f;
    }
  }
  d[l] -= p;
  e[l] = g;
  e[m] = 0;
}

/* Eigenvalues of the tridiagonal matrix (n) into d, vectors as rows of z. */
static void tridiagonal(double *d, double *e, double z[STEPS][STEPS], size_t n) {
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < n; k++) z[i][k] = i == k;
  }
  e[n - 1] = 0;
  for (size_t l = 0; l < n; l++)
    for (int pass = 0; pass < SWEEPS; pass++) {
      size_t m = l;
      while (m + 1 < n && fabs(e[m]) > 0x1p-52 * (fabs(d[m]) + fabs(d[m + 1]))) m++;
      if (m == l) break;
      sweep(d, e, z, l, m, n);
    }
}

static double unit(double *x, size_t n) {
  double size = sqrt(lip_sym_dot(x, x, n));
  if (size > 0)
    for (size_t i = 0; i < n; i++) x[i] /= size;
  return size;
}

/* The largest of d not yet taken. */
static size_t pick(double *d, size_t m) {
  size_t top = 0;
  for (size_t i = 1; i < m; i++)
    if (d[i] > d[top]) top = i;
  return top;
}

/* One run from x; returns the residual's norm. */
static double run(const double *Q, size_t n, size_t count, double *value, double *x, double tolerance,
                  double *basis) {
  double alpha[STEPS], beta[STEPS], d[STEPS], e[STEPS], z[STEPS][STEPS], rest = 0;
  size_t m = 0, check = FIRST_CHECK;
  memcpy(basis, x, n * sizeof *x);
  for (bool end = false; !end;) {
    double *v = basis + m * n, *w = v + n;
    lip_sym_apply(Q, n, v, w);
    alpha[m] = lip_sym_dot(v, w, n);
    for (int twice = 0; twice < 2; twice++)
      for (size_t i = 0; i <= m; i++) lip_sym_axpy(w, -lip_sym_dot(w, basis + i * n, n), basis + i * n, n);
    beta[m] = unit(w, n);
    m++;
    end = m == STEPS || m == n || !(beta[m - 1] > 0x1p-50 * alpha[0]);
    if (!end && m != check) continue;
    memcpy(d, alpha, m * sizeof *d);
    memcpy(e, beta, m * sizeof *e);
    tridiagonal(d, e, z, m);
    size_t top = pick(d, m);
    rest = beta[m - 1] * fabs(z[top][m - 1]);
    end |= !(rest > tolerance * d[top]);
    check *= 2;
  }
  memset(x, 0, count * n * sizeof *x);
  for (size_t c = 0; c < count; c++) {
    size_t top = pick(d, m);
    value[c] = d[top];
    if (c < m)
      for (size_t i = 0; i < m; i++) lip_sym_axpy(x + c * n, z[top][i], basis + i * n, n);
    d[top] = -INFINITY;
  }
  return rest;
}

void lip_leading(const double *Q, size_t n, size_t count, double *value, double *x, double tolerance,
                 double *work) {
  if (!(unit(x, n) > 0) || !isfinite(lip_sym_dot(x, x, n))) {
    for (size_t i = 0; i < n; i++) x[i] = 1 + 0.25 * sin((double)i + 1);
    unit(x, n);
  }
  for (int i = 0; i < RESTARTS; i++) {
    double rest = run(Q, n, count, value, x, tolerance, work);
    unit(x, n);
    if (!(rest > tolerance * value[0])) break;
  }
}
