/* The 2->2 norm: enclosures that do not trust what they are given, and the warm-started clip of a training step. */
#ifndef LIP_NORM_SPECTRAL_H
#define LIP_NORM_SPECTRAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

/* sigma_max(W) <= *upper, proved by a Cholesky factorisation (verify.c). */
lip_status lip_spectral_upper(const float *W, size_t M, size_t N, double *upper, lip_err *err);
/* *below: sigma_max(W) <= limit is proved, in a fraction of the time above. False may also mean within 1e-9 of it. */
lip_status lip_spectral_below(const float *W, size_t M, size_t N, double limit, bool *below, lip_err *err);
/* ||Wx|| / ||x|| of the best x found, rounded down. */
lip_status lip_spectral_lower(const float *W, size_t M, size_t N, double *lower, lip_err *err);
/* The Gram iteration (see opnorm.h). */
lip_status lip_spectral_gram(const float *W, size_t M, size_t N, size_t iterations, double *upper,
                             lip_err *err);
/* State of the in-step projection of one matrix: an orthonormal basis that follows the leading singular vectors of
 * the smaller side. */
typedef struct lip_spectral lip_spectral;
lip_spectral *lip_spectral_new(size_t M, size_t N, size_t block); /* NULL: no memory */
void lip_spectral_free(lip_spectral *s);                          /* accepts NULL */
/* The basis and whether it has been started: what the next call depends on beside W. Lent. */
float *lip_spectral_warm(lip_spectral *s, size_t *n);
/* Lowers the singular values above `radius` in the span of the basis to it. scratch: lip_gemm_scratch() bytes, aligned
 * to 64. */
void lip_spectral_clip(lip_spectral *s, float *W, double radius, void *scratch);
/* The same with the radius `factor` times the largest of them, at least `least`. */
void lip_spectral_clip_by(lip_spectral *s, float *W, double factor, double least, void *scratch);

/* Singular values above `radius` clipped with a full decomposition. Feasible up to float32 rounding only. LIP_MEMORY, LIP_CANCELLED;
 * LIP_NOT_FINITE when an entry would leave float32's range (near FLT_MAX the nearest point may have larger ones): W is
 * as it was. */
lip_status lip_spectral_clip_exact(float *W, size_t M, size_t N, double radius, lip_err *err);

#endif
