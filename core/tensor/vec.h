/* Kernels on contiguous float32 arrays. Lengths may be 0; arrays do not overlap unless stated. */
#ifndef LIP_TENSOR_VEC_H
#define LIP_TENSOR_VEC_H

#include <stdbool.h>
#include <stddef.h>

/* y += a * x */
void lip_vec_axpy(float *y, float a, const float *x, size_t n);
void lip_vec_scale(float *x, float a, size_t n);
/* Each row of y (B, N) += b (N). */
void lip_vec_add_rows(float *y, const float *b, size_t B, size_t N);
/* out (N) = beta * out + sum over the B rows of y (B, N with leading dimension ld), in row order; beta 0 or 1. */
void lip_vec_sum_rows(float *out, const float *y, size_t ld, size_t B, size_t N, float beta);

/* Sums in double; the order depends on n only. Error of dot and sums: at most n * 2^-53 * sum of |terms|. */
double lip_vec_dot(const float *x, const float *y, size_t n);
double lip_vec_sum(const float *x, size_t n);
double lip_vec_abs_sum(const float *x, size_t n);
double lip_vec_square_sum(const float *x, size_t n);
/* Largest |x_i|, 0 for n = 0; NaN if any element is NaN. */
float lip_vec_abs_max(const float *x, size_t n);
/* True when no element is NaN or infinite. */
bool lip_vec_all_finite(const float *x, size_t n);

#endif
