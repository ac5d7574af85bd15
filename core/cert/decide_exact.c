/* Whether a property is broken at one point by exact arithmetic of the stored weights.
 *
 * First by sums in double of which none is rounded, as each of them shows by itself (the error of a sum: Knuth 1998, 4.2.2,
 * theorem B; of a product: one fused operation): then outputs are known exactly, and so are ties. Where some operation rounds,
 * by bounds over a box without width, whose only slack is that of sums in double: they tell as long as no row that matters
 * is within 1e-12 or so of 0. */
#include <math.h>

#include "core/base/mem.h"
#include "core/cert/decide_parts.h"
#include "core/cert/relax_parts.h"

/* ---- sums that are not rounded ---- */

/* A number, and whether it is what it stands for. */
typedef struct number {
  double v;
  bool exact;
} number;

/* sum + a b */
static number add(number sum, double a, double b) {
  const double p = a * b, off = fma(a, b, -p);
  const bool product = off == 0 && (p != 0 || a == 0 || b == 0) && (p == 0 || fabs(p) > 0x1p-900);
  const double s = sum.v + p, t = s - sum.v, error = (sum.v - (s - t)) + (p - t);
  return (number){s, sum.exact && product && error == 0 && isfinite(s)};
}

/* Values after the matrix of block l from those before it; false: one is rounded. */
static bool through_matrix(const lip_block *b, const double *y, double *z) {
  if (b->fold) return false; /* its bias is not known exactly */
  for (size_t k = 0; k < b->M; k++) {
    number sum = {b->b[k], true};
    for (size_t i = 0; i < b->N && sum.exact; i++)
      if (lip_block_weight(b, k * b->N + i) != 0) sum = add(sum, lip_block_weight(b, k * b->N + i), y[i]);
    if (!sum.exact) return false;
    z[k] = sum.v;
  }
  return true;
}

/* y = phi(z) of block b; false: not known exactly. */
static bool through_phi(const lip_block *b, const double *z, double *y) {
  for (size_t k = 0; k < b->M; k++) {
    const size_t m = b->mate ? b->mate[k] : k;
    lip_range r = {.least = z[k], .most = z[k]};
    if (m == k && k < b->n_phi) lip_phi_range(b, k, z[k], z[k], &r);
    if (m != k) r.least = r.most = (m > k) == b->descending ? fmax(z[k], z[m]) : fmin(z[k], z[m]);
    if (r.least != r.most) return false;
    y[k] = r.least;
  }
  return true;
}

typedef enum state { BROKEN, HOLDS, ROUNDED } state;

static state state_of(const lip_property *p, const double *z) {
  for (size_t i = 0; i < p->n; i++) {
    const lip_clause *c = &p->clause[i];
    size_t above = 0;
    for (size_t r = c->first; r < c->first + c->n; r++) {
      number sum = {p->constant[r], true};
      for (size_t k = 0; k < p->C; k++) sum = add(sum, p->weight[r * p->C + k], z[k]);
      if (!sum.exact) return ROUNDED;
      above += sum.v > 0;
    }
    if (above < c->need) return BROKEN;
  }
  return HOLDS;
}

static state without_rounding(const lip_search *s, const float *x, double *room) {
  const size_t w = s->relax->widest;
  double *y = room, *z = room + w;
  for (size_t i = 0; i < s->n_in; i++) y[i] = x[i];
  for (size_t l = 0; l < s->affine.n; l++) {
    const lip_block *b = &s->affine.block[l];
    if (!through_matrix(b, y, z)) return ROUNDED;
    if (l + 1 < s->affine.n && !through_phi(b, z, y)) return ROUNDED;
  }
  return state_of(s->part.property, z);
}

/* ---- bounds ---- */

/* Rows -w . z - d >= 0 are not above 0. */
static bool by_bounds(lip_search *s, const float *x, double *room) {
  const lip_property *p = s->part.property;
  const size_t n = s->n_in;
  lip_ranges *g = s->ranges[0];
  double *w = room + 2 * n, *d = w + p->m * p->C, *low = d + p->m;
  for (size_t k = 0; k < n; k++) room[k] = room[n + k] = x[k];
  for (size_t i = 0; i < p->m * p->C; i++) w[i] = -p->weight[i];
  for (size_t j = 0; j < p->m; j++) d[j] = -p->constant[j];
  const lip_region box = {.p = LIP_PINF, .boxed = true, .from = room, .to = room + n}, ball = {.x = x, .p = s->question->p};
  const lip_region region = s->question->p == LIP_PINF ? box : ball; /* exact arithmetic */
  lip_ranges_start(g, &region);
  lip_ranges_rows(g, lip_ranges_last(g), w, d, p->m, false, low);
  for (size_t i = 0; i < p->n; i++) {
    const lip_clause *c = &p->clause[i];
    size_t possible = 0;
    for (size_t r = c->first; r < c->first + c->n; r++) possible += low[r] >= 0 ? 0 : 1;
    if (possible < c->need) return true;
  }
  return false;
}

bool lip_search_confirms(lip_search *s, const float *x) {
  const lip_property *p = s->part.property;
  const size_t bounds = 2 * s->n_in + p->m * (p->C + 2), sums = 2 * s->relax->widest;
  double *room = lip_alloc(bounds > sums ? bounds : sums, sizeof *room);
  if (!room) return false;
  const state found = without_rounding(s, x, room);
  const bool broken = found == BROKEN || (found == ROUNDED && by_bounds(s, x, room));
  lip_free(room);
  return broken;
}
