/* Proof by contradiction: suppose that a row of the outputs is not above 0 somewhere in the region, and look only there.
 *
 * Going back from the row w . z + d gave a . x + rest <= w . z + d for all x of the region. So the x in question lie in the
 * half space a . x + rest <= 0: a small corner of the region, if the bound fails by little. There units have smaller
 * intervals (relax_cut.c; Kotha et al. 2023, "INVPROP", bound units by what is asked of the outputs), their lines come
 * closer, and the row goes back once more. A bound above 0, or a unit with an empty interval, is the contradiction; else the
 * new row gives a new half space. All intervals, sizes and lines on this way hold for the supposed x only, of nets as executed
 * as well as exactly, and are thrown away in the end. */
#include "core/cert/refute.h"

#include <float.h>
#include <string.h>

#include "core/cert/relax_parts.h"

/* A row whose bound falls this part of its way from the region's x beyond 0 is given up, and so is one that comes no closer
 * to 0 in a round than by this factor. */
#define FAR 0.7
#define PROGRESS 0.8

enum { ROUNDS = 4 };

static double bound(lip_ranges *g, const double *w, double d) {
  size_t last = lip_ranges_last(g);
  lip_relax_put(g, last, w, d, 0);
  lip_relax_back(g, last, 1);
  return g->found[0];
}

static bool contradicts(lip_ranges *g, const double *w, double d) {
  double low = bound(g, w, d);
  for (int i = 0; i < ROUNDS && !(low > 0); i++) {
    bool empty = false, known = lip_cut_excess(g, 0, low) < FAR && lip_cut_suppose(g, 0);
    for (size_t l = 0; l < g->r->n && known; l++) known = lip_relax_renew(g, l, &empty);
    if (!known) return empty;
    double now = bound(g, w, d);
    if (!(now > PROGRESS * low)) return false;
    low = now;
  }
  return low > 0;
}

bool lip_ranges_refute(lip_ranges *g, const double *w, double d) {
  if (!g->known) return false;
  lip_relax_keep(g);
  g->cut.wanted = true;
  bool proved = contradicts(g, w, d);
  g->cut.wanted = g->cut.on = false;
  lip_relax_restore(g);
  return proved;
}

/* ---- properties ---- */

/* Row r's weights into w (C); returns its constant. */
static double row_of(const lip_property *p, size_t y, size_t r, double *w) {
  if (p->asked == LIP_ASK_ROWS) {
    memcpy(w, p->weight + r * p->C, p->C * sizeof *w);
    return p->constant[r];
  }
  memset(w, 0, p->C * sizeof *w);
  w[y] = 1;
  w[r] = -1;
  return 0;
}

/* Of a clause's rows that are neither above 0 nor tried, the one with the lowest bound; SIZE_MAX: none is left. */
static size_t lowest(const lip_clause *k, const double *low, const double *tried) {
  size_t found = SIZE_MAX;
  for (size_t r = k->first; r < k->first + k->n; r++) {
    if (r == k->skip || low[r] > 0 || tried[r] > 0) continue;
    if (found == SIZE_MAX || low[r] < low[found]) found = r;
  }
  return found;
}

/* Rows that are farthest from it come first, for they decide. */
static bool clause_holds(lip_ranges *g, const lip_property *p, size_t y, lip_clause k, double *low,
                         double *tried, double *w) {
  size_t above = 0, possible = 0;
  for (size_t r = k.first; r < k.first + k.n; r++) {
    possible += r != k.skip;
    above += r != k.skip && low[r] > 0;
  }
  for (size_t r; above < k.need && (r = lowest(&k, low, tried)) != SIZE_MAX;) {
    double d = row_of(p, y, r, w);
    tried[r] = 1;
    if (lip_ranges_refute(g, w, d))
      low[r] = DBL_TRUE_MIN, above++; /* above 0, by however little */
    else if (--possible < k.need)
      return false;
  }
  return above >= k.need;
}

bool lip_refute_proves(lip_ranges *g, const lip_property *p, size_t y, double *low, double *tried,
                       double *work) {
  size_t n = lip_property_clauses(p, y);
  memset(tried, 0, p->m * sizeof *tried);
  for (size_t i = 0; i < n; i++)
    if (!clause_holds(g, p, y, lip_property_clause(p, y, i), low, tried, work)) return false;
  return n > 0;
}
