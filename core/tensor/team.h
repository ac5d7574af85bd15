/* Products of one matrix with another on all threads, for work that stands between the parallel regions of a step. The
 * bits are those of lip_gemm on one thread, whatever the number of threads. Shapes must be proved by the caller:
 * nothing is checked, nothing is allocated and nothing can fail. To be called by the thread that owns the pool, outside
 * of its regions. Denormal numbers count as zero, as in a step. */
#ifndef LIP_TENSOR_TEAM_H
#define LIP_TENSOR_TEAM_H

#include "core/base/thread.h"
#include "core/tensor/gemm.h"

typedef struct lip_team {
  lip_pool *pool;         /* NULL: the calling thread alone */
  unsigned char *scratch; /* lip_pool_threads(pool) * each bytes, aligned to 64 */
  size_t each;            /* lip_gemm_scratch() or more, a multiple of 64 */
} lip_team;

/* C (M,N) = alpha * op(A) (M,K) * op(B) (K,N) + beta * C, as lip_gemm. */
void lip_team_gemm(const lip_team *t, lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha,
                   const float *A, size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc);

/* The same for a result that is symmetric in exact arithmetic (C too, where beta is not 0): half the work. What is on
 * and below the diagonal has the bits of lip_gemm; above stands its mirror image, so that C is symmetric bit for bit. */
void lip_team_symmetric(const lip_team *t, lip_trans ta, lip_trans tb, size_t M, size_t K, float alpha,
                        const float *A, size_t lda, const float *B, size_t ldb, float beta, float *C,
                        size_t ldc);

/* C (M,M) = alpha * op(A) (M,K) * op(A)' + beta * C, symmetric as above. */
void lip_team_gram(const lip_team *t, lip_trans ta, size_t M, size_t K, float alpha, const float *A,
                   size_t lda, float beta, float *C, size_t ldc);

/* out (n,n) = alpha * (X + sign X') + beta * out, sign 1 or -1: symmetric and skew parts. out is not X; with beta = 0 it
 * is written without being read. */
void lip_team_fold(const lip_team *t, size_t n, float alpha, const float *X, size_t ldx, float sign,
                   float beta, float *out, size_t ldo);

/* A region of the team, for loops over elements or rows: `work` in multiplications, below some hundred thousand of which
 * the calling thread does them alone (as the only share). */
void lip_team_run(const lip_team *t, double work, lip_task *task, void *arg);

#endif
