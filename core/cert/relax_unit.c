/* Units of a block in the relaxation: their biases, and what float32 does to them; derived at the top of relax.c, and of
 * core/affine/fold.c for blocks that have taken in others. */
#include <float.h>
#include <math.h>

#include "core/cert/relax_parts.h"

static size_t mate_of(const lip_block *b, size_t k) {
  return b->mate ? b->mate[k] : k;
}

double lip_bias_size(const slab *s, size_t k) {
  const lip_fold *f = s->block->fold;
  size_t m = mate_of(s->block, k);
  return f ? f->size[k] + (m == k ? 0 : f->size[m]) : fabs(s->c[k]);
}

double lip_bias_off(const slab *s, size_t k) {
  const lip_fold *f = s->block->fold;
  size_t m = mate_of(s->block, k);
  return f ? f->off[k] + (m == k ? 0 : f->off[m]) : 0;
}

static double folded(const lip_fold *f, size_t k, double size, double bulk) {
  double nv = f->rounds[k] * 0x1p-24, way = f->reach + f->rise * bulk;
  if (!(nv < 0.25) || !(size < (double)FLT_MAX / 4) || !(way < (double)FLT_MAX / 4)) return INFINITY;
  return (nv / (1 - nv) * size + f->flat[k] + f->steep[k] * bulk) * (1 + 0x1p-40);
}

double lip_unit_rounding(const slab *s, size_t k, double size, double bulk) {
  if (s->block->fold) return folded(s->block->fold, k, size, bulk);
  double n = s->terms[k], nv = n * 0x1p-24;
  if (n == 0) return 0x1p-122;
  if (!(nv < 0.25) || !(size < (double)FLT_MAX / 4)) return INFINITY;
  double flushed = 0x1p-122 * ((n + 1) * (8 + s->entry[k]) + bulk);
  return (nv * size + 0x1p-24 * size) / (1 - nv) * (1 + 0x1p-40) + flushed;
}
