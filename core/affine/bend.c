#include "core/affine/bend.h"

#include <math.h>

#include "core/layer/same_shape.h"

static bool is_exact(double slope) {
  return slope == 0 || fabs(slope) == 1;
}

/* A number times 1 + d, |d| <= 2^-50, moved outwards: the whole interval likewise, as v - |v| d rises with v. */
static void bend_range(const lip_bend *b, double from, double to, lip_range *r) {
  const double error = 0x1p-49, least = 0x1p-1050;
  lip_two_slopes_range(b->below, b->above, from, to, r);
  r->off = lip_round_up(b->off * fmax(fabs(from), fabs(to)) + b->tiny);
  if (is_exact(b->below) && is_exact(b->above)) return;
  double apart = fabs(b->above - b->below), size = fmax(fabs(b->above), fabs(b->below));
  if (!(apart > 2 * error * size)) r->curve = 0; /* which slope is the larger is not known */
  r->low -= error * fabs(r->low);
  r->high += error * fabs(r->high);
  r->least -= error * fabs(r->least) + least;
  r->most += error * fabs(r->most) + least;
}

void lip_block_range(const lip_block *b, size_t k, double from, double to, lip_range *r) {
  if (b->bend)
    bend_range(&b->bend[k], from, to, r);
  else
    b->phi->kind->range(b->phi, k, from, to, r);
}
