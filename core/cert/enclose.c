#include "core/cert/enclose.h"

#include <math.h>

#include "core/norm/round.h"

lip_status lip_enclose_values(const lip_affine *a, const lip_region *region, bool relaxed, double *bounds,
                              lip_err *err) {
  lip_relax *r = NULL;
  lip_ranges *g = NULL;
  fenv_t saved;
  size_t total = 0;
  for (size_t l = 0; l < a->n; l++) total += a->block[l].own;
  for (size_t i = 0; i < total; i++) bounds[2 * i] = -INFINITY, bounds[2 * i + 1] = INFINITY;
  lip_ieee_enter(&saved);
  lip_status status = lip_relax_new(a, region->p, &r, err);
  if (!status && r) status = lip_ranges_new(r, &g, err);
  if (g) lip_ranges_start(g, region);
  if (g && relaxed) lip_ranges_tighten(g);
  for (size_t l = 0; g && l < a->n; l++) {
    lip_ranges_values(g, l, a->block[l].own, relaxed, bounds);
    bounds += 2 * a->block[l].own;
  }
  lip_ranges_free(g);
  lip_relax_free(r);
  lip_ieee_leave(&saved);
  if (!status && lip_cancel_raised(region->cancel))
    status = lip_fail(err, LIP_CANCELLED, "ranges: cancelled");
  return status;
}
