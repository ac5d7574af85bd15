/* The matrix product: by the micro-kernel, or by plain loops, which are the reference. */
#include "core/tensor/gemm.h"

#include "core/tensor/kernel.h"

void lip_gemm_ref(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, const float *A,
                  size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc) {
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) {
      float sum = 0;
      for (size_t k = 0; k < K; k++) {
        float a = ta == LIP_N ? A[i * lda + k] : A[k * lda + i];
        float b = tb == LIP_N ? B[k * ldb + j] : B[j * ldb + k];
        sum += a * b;
      }
      float old = beta == 0 ? 0 : beta * C[i * ldc + j];
      C[i * ldc + j] = old + alpha * sum;
    }
}

size_t lip_gemm_scratch(void) {
  const lip_kernel *kernel = lip_kernel_get();
  return kernel ? lip_product_scratch(kernel) : 0;
}

const char *lip_gemm_backend(void) {
  return lip_kernel_name();
}

static void scale_rows(float *C, size_t M, size_t N, size_t ldc, float beta) {
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) C[i * ldc + j] = beta == 0 ? 0 : C[i * ldc + j] * beta;
}

static void multiply(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, const float *A,
                     size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc, bool lower,
                     size_t diagonal, void *scratch) {
  const lip_kernel *kernel = lip_kernel_get();
  if (!kernel) {
    lip_gemm_ref(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
    return;
  }
  if (M == 0 || N == 0) return;
  if (K == 0 || (beta != 0 && beta != 1)) { /* the kernels then meet 0 and 1 only */
    scale_rows(C, M, N, ldc, beta);
    if (K == 0) return;
    if (beta != 0) beta = 1;
  }
  lip_product x = {.a = {.src = A, .si = ta == LIP_N ? lda : 1, .sk = ta == LIP_N ? 1 : lda},
                   .b = {.src = B, .si = tb == LIP_N ? 1 : ldb, .sk = tb == LIP_N ? ldb : 1},
                   .M = M,
                   .N = N,
                   .K = K,
                   .alpha = alpha,
                   .beta = beta,
                   .C = C,
                   .ldc = ldc,
                   .lower = lower,
                   .diagonal = diagonal};
  lip_product_run(kernel, &x, scratch);
}

void lip_gemm(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, const float *A,
              size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc, void *scratch) {
  multiply(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc, false, 0, scratch);
}

void lip_gemm_lower(lip_trans ta, lip_trans tb, size_t r0, size_t r1, size_t K, float alpha, const float *A,
                    size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc, void *scratch) {
  if (r0 >= r1) return;
  multiply(ta, tb, r1 - r0, r1, K, alpha, ta == LIP_N ? A + r0 * lda : A + r0, lda, B, ldb, beta,
           C + r0 * ldc, ldc, true, r0, scratch);
}
