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

/* The same by plain loops: the reference that every other path is compared with. Sums in float32. */
void lip_gemm_ref(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, const float *A,
                  size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc);

/* A weight matrix W (N,K) kept in the kernel's own order, so that C (M,N) = A (M,K) W' need not pack it again. The
 * same bits as lip_gemm. Floats it takes; 0 = these kernels have no such form, then the other two are not called. */
#define LIP_GEMM_PACK_GRAIN 32
size_t lip_gemm_packed_size(size_t N, size_t K);
/* Brings rows n0..n1 of W into it; n0 a multiple of LIP_GEMM_PACK_GRAIN, n1 too unless it is N. Different ranges may
 * run at the same time. */
void lip_gemm_pack(float *packed, const float *W, size_t N, size_t K, size_t n0, size_t n1);
void lip_gemm_packed(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *packed, float *C,
                     size_t ldc, void *scratch);

/* Which kernels run: "blis 0.9.0 skx", "reference". Static storage. */
const char *lip_gemm_backend(void);

#endif
