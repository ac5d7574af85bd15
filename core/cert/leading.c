/* Lanczos' method with full reorthogonalisation, restarted with the Ritz vector (Golub and Van Loan 2013, sections
 * 10.1 and 10.3). The tridiagonal matrix is handled by bisection and inverse iteration: its largest eigenvalue is all
 * that is asked for. */
#include "core/cert/leading.h"

#include <math.h>
#include <string.h>

#include "core/norm/symmetric.h"

enum { STEPS = 32, RESTARTS = 12 };

size_t lip_leading_work(size_t n) {
  return (STEPS + 1) * n;
}

/* All eigenvalues of the tridiagonal matrix are below x exactly when every pivot of T - x is negative. */
static bool all_below(const double *alpha, const double *beta, size_t m, double x) {
  double d = alpha[0] - x;
  for (size_t i = 1; i < m && d < 0; i++) d = alpha[i] - x - beta[i - 1] * beta[i - 1] / d;
  return d < 0;
}

static double largest(const double *alpha, const double *beta, size_t m) {
  double low = alpha[0], high = alpha[0];
  for (size_t i = 0; i < m; i++) {
    low = fmax(low, alpha[i]);
    high = fmax(high, alpha[i] + (i ? beta[i - 1] : 0) + (i + 1 < m ? beta[i] : 0));
  }
  high += 0x1p-45 * high;
  for (int i = 0; i < 60 && high - low > 0x1p-50 * high; i++) {
    double mid = low + (high - low) / 2;
    if (all_below(alpha, beta, m, mid))
      high = mid;
    else
      low = mid;
  }
  return high;
}

/* The eigenvector to `top`, slightly above the eigenvalue: top - T is positive definite, two steps of inverse iteration. */
static void vector_of(const double *alpha, const double *beta, size_t m, double top, double *s) {
  double d[STEPS];
  double shift = top + 0x1p-44 * top;
  d[0] = shift - alpha[0];
  for (size_t i = 1; i < m; i++) d[i] = shift - alpha[i] - beta[i - 1] * beta[i - 1] / d[i - 1];
  for (size_t i = 0; i < m; i++) s[i] = 1;
  for (int pass = 0; pass < 3; pass++) {
    double size = 0;
    for (size_t i = 1; i < m; i++) s[i] += beta[i - 1] / d[i - 1] * s[i - 1];
    s[m - 1] /= d[m - 1];
    for (size_t i = m - 1; i-- > 0;) s[i] = (s[i] + beta[i] * s[i + 1]) / d[i];
    for (size_t i = 0; i < m; i++) size = fmax(size, fabs(s[i]));
    if (!(size > 0) || !isfinite(size)) break;
    for (size_t i = 0; i < m; i++) s[i] /= size;
  }
  double norm = 0;
  for (size_t i = 0; i < m; i++) norm += s[i] * s[i];
  for (size_t i = 0; i < m; i++) s[i] /= sqrt(norm);
}

static double unit(double *x, size_t n) {
  double size = sqrt(lip_sym_dot(x, x, n));
  if (size > 0)
    for (size_t i = 0; i < n; i++) x[i] /= size;
  return size;
}

/* One run from x; *rest = the residual's norm. */
static double run(const double *Q, size_t n, double *x, double tolerance, double *basis, double *rest) {
  double alpha[STEPS], beta[STEPS], s[STEPS], top = 0;
  size_t m = 0;
  memcpy(basis, x, n * sizeof *x);
  while (m < STEPS) {
    double *v = basis + m * n, *w = v + n;
    lip_sym_apply(Q, n, v, w);
    alpha[m] = lip_sym_dot(v, w, n);
    for (int twice = 0; twice < 2; twice++)
      for (size_t i = 0; i <= m; i++) lip_sym_axpy(w, -lip_sym_dot(w, basis + i * n, n), basis + i * n, n);
    beta[m] = unit(w, n);
    m++;
    bool end = m == STEPS || !(beta[m - 1] > 0x1p-50 * alpha[0]);
    if (!end && m % 4) continue;
    top = largest(alpha, beta, m);
    vector_of(alpha, beta, m, top, s);
    *rest = beta[m - 1] * fabs(s[m - 1]);
    if (end || !(*rest > tolerance * top)) break;
  }
  memset(x, 0, n * sizeof *x);
  for (size_t i = 0; i < m; i++) lip_sym_axpy(x, s[i], basis + i * n, n);
  return top;
}

double lip_leading(const double *Q, size_t n, double *x, double tolerance, double *work) {
  double top = 0, rest = 0;
  if (!(unit(x, n) > 0) || !isfinite(lip_sym_dot(x, x, n))) {
    for (size_t i = 0; i < n; i++) x[i] = 1 + 0.25 * sin((double)i + 1);
    unit(x, n);
  }
  for (int i = 0; i < RESTARTS; i++) {
    top = run(Q, n, x, tolerance, work, &rest);
    unit(x, n);
    if (!(rest > tolerance * top)) break;
  }
  return top;
}
