/* The only matrix product. Row-major with leading dimensions (elements from one row to the next).
 *
 *   C (M,N) = alpha * op(A) (M,K) * op(B) (K,N) + beta * C,   op(X) = X or its transpose
 *
 * With beta = 0, C is written without being read (NaN in it does not survive). Shapes must be proved by the
 * caller: nothing is checked and nothing can fail. For a given K the bits of each element of C depend on its
 * row of op(A), its column of op(B), alpha, beta and the kernel family only: not on M, N or where in C it stands, so
 * work may be split over rows and columns at will. */
#ifndef LIP_TENSOR_GEMM_H
#define LIP_TENSOR_GEMM_H

#include <stdbool.h>
#include <stddef.h>

typedef enum lip_trans { LIP_N, LIP_T } lip_trans;

/* Bytes of scratch, aligned to 64, that one call needs; each thread brings its own. Constant after start. */
size_t lip_gemm_scratch(void);

void lip_gemm(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, const float *A,
              size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc, void *scratch);

/* Rows r0..r1 of a square C = alpha * op(A) (M,K) * op(B) (K,M) + beta * C, M >= r1, as far as the diagonal: the same
 * bits as lip_gemm's for half the work. What stands above the diagonal in these rows is not to be relied on. A, B and
 * C are the whole matrices. */
void lip_gemm_lower(lip_trans ta, lip_trans tb, size_t r0, size_t r1, size_t K, float alpha, const float *A,
                    size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc, void *scratch);

/* The same by plain loops: the reference that every other path is compared with. Sums in float32. */
void lip_gemm_ref(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, const float *A,
                  size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc);

/* Which kernels run: "blis 0.9.0 skx"; "plain loops" in a build without BLIS and with LIPWB_KERNELS=plain in the
 * environment, where lip_gemm is lip_gemm_ref. Static storage. */
const char *lip_gemm_backend(void);

#endif
