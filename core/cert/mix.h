/* Clauses that hold here by one row and there by another: proved by weighted sums of rows. */
#ifndef LIP_CERT_MIX_H
#define LIP_CERT_MIX_H

#include "core/cert/relax.h"
#include "core/net/property.h"

/* Numbers of working memory for properties of C outputs. */
size_t lip_mix_work(size_t C);
/* Whether every clause holds all over the region, low (m) being proved bounds of its rows; by relaxation, with the
 * intervals there are. */
bool lip_mix_proves(lip_ranges *g, const lip_property *p, size_t y, const double *low, double *work);

#endif
