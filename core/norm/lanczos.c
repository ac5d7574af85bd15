#include "core/norm/lanczos.h"

#include <math.h>
#include <stdbool.h>

#include "core/base/cancel.h"
#include "core/base/rng.h"
#include "core/norm/symmetric.h"

enum { HALVINGS = 2200 };

/* Number of eigenvalues of the tridiagonal matrix below x is m exactly when every pivot is negative. */
static bool all_below(const double *alpha, const double *beta, size_t m, double x) {
  double d = 1;
  for (size_t i = 0; i < m; i++) {
    double b = i ? beta[i - 1] : 0;
    d = alpha[i] - x - b * b / d;
    if (!(d < 0)) return false;
  }
  return true;
}

/* Largest eigenvalue by bisection, from above to the last bits. */
static double largest(const double *alpha, const double *beta, size_t m) {
  double low = alpha[0], high = 0;
  for (size_t i = 0; i < m; i++) {
    double reach = alpha[i] + (i ? beta[i - 1] : 0) + (i + 1 < m ? beta[i] : 0);
    low = alpha[i] > low ? alpha[i] : low;
    high = reach > high ? reach : high;
  }
  high *= 1 + 0x1p-40;
  for (int i = 0; i < HALVINGS && high - low > 0x1p-50 * high; i++) {
    double mid = low + (high - low) / 2;
    if (all_below(alpha, beta, m, mid))
      high = mid;
    else
      low = mid;
  }
  return high;
}

static bool normalise(double *v, size_t k) {
  double norm = sqrt(lip_sym_dot(v, v, k));
  if (!(norm > 0)) return false;
  for (size_t i = 0; i < k; i++) v[i] /= norm;
  return true;
}

double lip_lanczos(lip_lanczos_apply *apply, const void *arg, size_t n, size_t k, size_t steps,
                   double accuracy, double *V) {
  double alpha[LIP_LANCZOS_MOST], beta[LIP_LANCZOS_MOST], theta = 0;
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  for (size_t i = 0; i < n; i++) V[i] = lip_rng_normal(&rng);
  for (size_t i = n; i < k; i++) V[i] = 0;
  normalise(V, k);
  for (size_t m = 0; m < steps; m++) {
    if (m > 0 && lip_cancelled()) return theta;
    double *v = V + m * k, *w = v + k;
    apply(arg, v, w);
    alpha[m] = lip_sym_dot(v, w, k);
    for (int twice = 0; twice < 2; twice++)
      for (size_t j = 0; j <= m; j++) lip_sym_axpy(w, -lip_sym_dot(V + j * k, w, k), V + j * k, k);
    beta[m] = sqrt(lip_sym_dot(w, w, k));
    bool end = m + 1 == steps || !(beta[m] > 0x1p-50 * alpha[0]) || !normalise(w, k);
    if (!end && m % 8 != 7) continue;
    double now = largest(alpha, beta, m + 1);
    if (end || now - theta <= accuracy * now) return now;
    theta = now;
  }
  return theta;
}
