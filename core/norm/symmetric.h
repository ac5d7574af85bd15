/* Symmetric double matrices (k,k), row-major, lower triangle, k a multiple of LIP_PAD: the kernels of the proofs in
 * verify.c and of those in core/cert. Sums run in blocks; every error bound used there holds for any order. */
#ifndef LIP_NORM_SYMMETRIC_H
#define LIP_NORM_SYMMETRIC_H

#include <stdbool.h>
#include <stddef.h>

#define LIP_PAD 8

/* G += A A^T on the lower triangle; A (k, n), leading dimension lda, n a multiple of LIP_PAD. */
void lip_sym_add_gram(double *G, size_t k, const double *A, size_t lda, size_t n);
/* The same with A B^T, which must be symmetric. */
void lip_sym_add_product(double *G, size_t k, const double *A, size_t lda, const double *B, size_t ldb,
                         size_t n);
/* C (m, r) = A B^T; A (m, n), B (r, n); m, r and n multiples of LIP_PAD. */
void lip_sym_multiply(double *C, size_t ldc, const double *A, size_t lda, size_t m, const double *B,
                      size_t ldb, size_t r, size_t n);
/* Copies the lower triangle to the upper. */
void lip_sym_mirror(double *G, size_t k);
/* Cholesky factorisation in place (lower triangle; the upper is not touched). False as soon as a pivot is not
 * positive (NaN included). */
bool lip_sym_cholesky(double *B, size_t k);
/* The first k columns of a factorisation of more: B (rows, k), rows >= k a multiple of LIP_PAD; below the factor L of
 * the square part, X becomes X L^-T. */
bool lip_sym_cholesky_tall(double *B, size_t rows, size_t k);
/* Two of these that give up with false when the thread's flag is raised (base/cancel.h): for proofs, which may take long
 * and may fail. What they worked on is then of no use. */
bool lip_sym_cholesky_polled(double *B, size_t rows, size_t k);
bool lip_sym_add_gram_polled(double *G, size_t k, const double *A, size_t lda, size_t n);
/* What a proof by a completed factorisation of B (k,k) costs: B = fl(base I - G) and ||A A' - G||_2 <= e prove A A' <= base +
 * shift (verify.c). trace: sum of the |b_ii|, most: the largest. INFINITY: k is too large. */
double lip_sym_proof_shift(size_t k, double trace, double most, double e);
/* X <- X L^-T for the factor L that lip_sym_cholesky has left in B; X (m, k), m a multiple of LIP_PAD. */
void lip_sym_solve_rows(double *X, size_t ldx, size_t m, const double *B, size_t k);
/* x <- L^-1 x, x <- L^-T x. */
void lip_sym_forward(const double *B, size_t k, double *x);
void lip_sym_backward(const double *B, size_t k, double *x);
/* y = G x for a mirrored G. */
void lip_sym_apply(const double *G, size_t k, const double *x, double *y);
/* Dot product and y += a x; n a multiple of LIP_PAD. */
double lip_sym_dot(const double *x, const double *y, size_t n);
void lip_sym_axpy(double *y, double a, const double *x, size_t n);

#endif
