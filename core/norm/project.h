/* Projections of a float32 matrix W (M,N) onto { ||W||_{p->q} <= radius }.
 *
 *   p->q    norm                    euclidean projection          rowwise                  independent units
 *   1->1    max column l1           each column onto the l1 ball  scale violating columns  columns
 *   inf->inf max row l1             each row onto the l1 ball     scale violating rows     rows
 *   1->inf  max |w|                 clamp the entries             same as euclidean        rows
 *   2->inf  max row l2              scale violating rows          same as euclidean        rows
 *   1->2    max column l2           scale violating columns       same as euclidean        columns
 *   2->2    largest singular value  clip the singular values      same as euclidean        whole
 *
 * `radial` scales the whole matrix by radius / norm when the norm is larger (Gouk et al. 2021); `rowwise` scales
 * each violating row or column (Kitouni et al. 2023); `euclidean` is the nearest point (l1 balls: Duchi et al. 2008,
 * Condat 2016). A matrix, row or column that is inside is left bit for bit as it is. The result is feasible as
 * stored: the aim is moved inside by the rounding of the last operation, so that lip_opnorm_upper(result) <= radius
 * for every pair but 2->2, where that holds for `exact` (below). A radius of 0 gives zeros, INFINITY changes nothing.
 * NaN in a row stays NaN (never hidden). */
#ifndef LIP_NORM_PROJECT_H
#define LIP_NORM_PROJECT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/norm/pnorm.h"

typedef enum lip_project_method {
  LIP_EUCLIDEAN,
  LIP_ROWWISE,
  LIP_RADIAL,
  LIP_PROJECT_METHODS
} lip_project_method;
extern const char *const lip_project_method_names[]; /* "euclidean", "rowwise", "radial", NULL */

/* How a projection is to be done, fixed when a network is planned. */
typedef struct lip_projector lip_projector;

/* Working memory for matrices of this shape: warm starts (thresholds of the last call, singular vectors).
 * `seed` fixes the starting vectors. LIP_MEMORY, LIP_UNSUPPORTED (a step down). */
lip_status lip_projector_new(size_t M, size_t N, lip_pq pq, lip_project_method method, lip_projector **out,
                             lip_err *err);
void lip_projector_free(lip_projector *p); /* accepts NULL */

/* Numbers beside the weights that the next projection depends on. */
typedef struct lip_warm {
  void *data; /* double or float, lent */
  bool wide;  /* double */
  size_t n;
} lip_warm;
/* The warm start. A run that is stored and continued puts it back, so that it goes on with the same bits; any finite
 * values are safe. */
lip_warm lip_projector_warm(lip_projector *p);

/* Number of independent units: rows, columns, or 1. */
size_t lip_projector_units(const lip_projector *p);
/* True when unit i is row i of the matrix. */
bool lip_projector_by_rows(const lip_projector *p);
/* Projects units [u0, u1). Ranges may run at the same time on different threads and give the same bits as one call.
 * Does not allocate. scratch: lip_gemm_scratch() bytes, aligned to 64, one for each thread: 2 MB, which a net has once
 * and not in every layer. For 2->2 this is the cheap step used after every update: warm-started, feasible up to the
 * convergence of the singular vectors, and `exact` below is what makes the norm certain. How far outside it left the
 * layers of a 784-256-256-10 network of budget 1, Adam at rates of 1e-3 and 1e-2: radial 0.2 % at most (15 % during the
 * first twenty steps); euclidean, which lowers at most 16 singular values a step, 12 % and 57 % (many more than 16 rise
 * in a step that is large beside the budget). */
void lip_project(lip_projector *p, float *W, double radius, size_t u0, size_t u1, void *scratch);
/* The cheap step of 2->2 for a norm that is not W's own but grows with it and should become `factor` <= 1 times what it is:
 * `radial` scales by that, the others clip at factor^2 times W's largest singular value, as far as it is known, since the
 * norm may fall by less than W's values do; not below `least`. */
void lip_project_by(lip_projector *p, float *W, double factor, double least, void *scratch);
/* lip_project made rigorous: afterwards lip_opnorm_upper(W) <= radius. Allocates for 2->2. LIP_MEMORY, LIP_NOT_FINITE. */
lip_status lip_project_exact(lip_projector *p, float *W, double radius, lip_err *err);

#endif
