/* The matrix product by plain loops: the reference, and the only product when built with LIP_BLAS=ref. */
#include "core/tensor/gemm.h"

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

#if !defined(LIP_BLIS)

size_t lip_gemm_scratch(void) {
  return 0;
}

const char *lip_gemm_backend(void) {
  return "reference";
}

void lip_gemm(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, const float *A,
              size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc, void *scratch) {
  (void)scratch;
  lip_gemm_ref(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

size_t lip_gemm_packed_size(size_t N, size_t K) {
  (void)N, (void)K;
  return 0; /* no packed form: the two below are never called */
}

void lip_gemm_pack(float *packed, const float *W, size_t N, size_t K, size_t n0, size_t n1) {
  (void)packed, (void)W, (void)N, (void)K, (void)n0, (void)n1;
}

void lip_gemm_packed(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *packed, float *C,
                     size_t ldc, void *scratch) {
  (void)M, (void)N, (void)K, (void)A, (void)lda, (void)packed, (void)C, (void)ldc, (void)scratch;
}

#endif
