/* Rows of the outputs that relaxation nearly proves to be above 0. */
#ifndef LIP_CERT_REFUTE_H
#define LIP_CERT_REFUTE_H

#include "core/cert/relax.h"
#include "core/net/property.h"

/* Whether w . z + d > 0 all over the region, w (n_out), z the outputs: supposes that it is not so somewhere, and looks for a
 * contradiction there. The intervals there are stay as they are. */
bool lip_ranges_refute(lip_ranges *g, const double *w, double d);
/* Whether every clause holds all over the region, low (m) being proved bounds of its rows: tries those that are missing.
 * tried (m) and work (C) are working memory. */
bool lip_refute_proves(lip_ranges *g, const lip_property *p, size_t y, double *low, double *tried,
                       double *work);

#endif
