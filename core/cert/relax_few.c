/* Rows of a block with few numbers: of units that pass, of moves, sums and pools, of convolutions. */
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/cert/relax_parts.h"

enum { PART = 16 }; /* few: at most one in so many */

static size_t count(const double *v, size_t n) {
  size_t k = 0;
  for (size_t i = 0; i < n; i++) k += v[i] != 0; /* NaN counts */
  return k;
}

bool lip_few_init(lip_few *f, const double *V, size_t M, size_t N) {
  size_t all = 0;
  *f = (lip_few){.start = lip_alloc(M + 1, sizeof *f->start)};
  if (!f->start) return false;
  for (size_t k = 0; k < M; k++) {
    size_t n = count(V + k * N, N);
    all += n <= N / PART ? n : 0;
    f->start[k + 1] = all;
  }
  f->column = lip_alloc(all, sizeof *f->column);
  f->value = lip_alloc(all, sizeof *f->value);
  if (!f->column || !f->value) return false;
  for (size_t k = 0, at = 0; k < M; k++)
    for (size_t i = 0; i < N && f->start[k + 1] > f->start[k]; i++) {
      if (V[k * N + i] == 0) continue;
      f->column[at] = (uint32_t)i;
      f->value[at++] = V[k * N + i];
    }
  return true;
}

void lip_few_free(lip_few *f) {
  lip_free(f->start);
  lip_free(f->column);
  lip_free(f->value);
  *f = (lip_few){0};
}

LIP_HOT void lip_few_add(const lip_few *f, double *restrict to, const double *restrict h,
                         const size_t *restrict unit, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const double s = h[i];
    if (s == 0) continue;
    for (size_t e = f->start[unit[i]]; e < f->start[unit[i] + 1]; e++) to[f->column[e]] += s * f->value[e];
  }
}
