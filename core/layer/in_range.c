/* Not in parametrisation.c, whose tables name the kinds that call this. */
#include <math.h>
#include <string.h>

#include "core/layer/parametrisation.h"
#include "core/tensor/vec.h"

const float *lip_weight_in_range(const lip_weight *w, const float *V, float *room, float *power) {
  const float most = lip_vec_abs_max(V, w->M * w->N);
  *power = 1;
  if (!(most > 0) || !isfinite(most) || (most > 0x1p-30f && most < 0x1p30f)) return V;
  int e;
  (void)frexpf(most, &e);
  if (e < -120) e = -120; /* 2^-e is a float32 number */
  *power = ldexpf(1, -e);
  memcpy(room, V, w->M * w->N * sizeof *room);
  lip_vec_scale(room, *power, w->M * w->N);
  return room;
}
