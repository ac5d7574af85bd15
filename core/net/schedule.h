/* Learning-rate schedules: factor of the base rate as a function of progress. Pure functions. */
#ifndef LIP_NET_SCHEDULE_H
#define LIP_NET_SCHEDULE_H

#include <stddef.h>

#include "core/base/opt.h"

typedef struct lip_schedule_kind {
  lip_desc desc;
  /* Factor of the base rate at update `step` (from 0) of `total`, `per_epoch` updates an epoch (both >= 1). */
  double (*factor)(const void *conf, double step, double total, double per_epoch);
} lip_schedule_kind;

typedef struct lip_schedule {
  const lip_schedule_kind *kind;
  void *conf;
} lip_schedule;

const lip_schedule_kind *lip_schedule_kind_at(size_t i); /* rows of schedules.def */
const lip_schedule_kind *lip_schedule_kind_find(const char *name);

#endif
