/* What an attack on a property climbs. A way to break it is a row of a clause that needs all of its rows, or a clause that
 * needs fewer, by the row that decides it; ways are numbered: rows first, clauses after them. */
#ifndef LIP_ATTACK_GOAL_H
#define LIP_ATTACK_GOAL_H

#include "core/net/property.h"

/* Ways that are worth a run each, for any label; LIP_OPTION: too many to number. */
lip_status lip_goal_ways(const lip_property *p, size_t *ways, lip_err *err);
/* The n ways that are nearest to breaking it for outputs z, in order, of equal ones the first; -1 behind the last. value
 * (n) is working memory. */
void lip_goal_rank(const lip_property *p, size_t y, const float *z, size_t n, int32_t *ranked, double *value);
/* How far a way (-1: whichever is nearest) is along for outputs z, above 0 when it is taken; its gradient into dz (C). */
double lip_goal_rise(const lip_property *p, size_t y, int32_t way, const float *z, float *dz);

#endif
