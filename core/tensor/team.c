/* The product is cut along the longer side of C, a half of a symmetric one into bands of equal area. Every thread packs
 * the whole of the other operand for itself: less than a tenth of the work at 256, and no wait in between. */
#include "core/tensor/team.h"

#include <math.h>

#include "core/base/simd.h"

/* GRAIN: rows or columns of a share, a multiple of every micro-kernel's block (48 would be of all; 16 wastes a few
 * columns of one tile); MIN_WORK: multiplications that waking a second thread is worth. */
enum { GRAIN = 48, MIN_WORK = 1 << 19, MIRROR = 16 };

typedef struct product {
  const lip_team *team;
  lip_trans ta, tb;
  size_t M, N, K;
  float alpha, beta;
  const float *A, *B;
  size_t lda, ldb, ldc;
  float *C;
} product;

static void *scratch_of(const lip_team *t, const lip_worker *me) {
  return t->scratch + me->id * t->each;
}

void lip_team_run(const lip_team *t, double work, lip_task *task, void *arg) {
  lip_pool_run(work < MIN_WORK ? NULL : t->pool, true, task, arg);
}

static void run_rows(void *arg, const lip_worker *me) {
  const product *p = arg;
  size_t r0, r1;
  lip_share(me, p->M, GRAIN, &r0, &r1);
  lip_gemm(p->ta, p->tb, r1 - r0, p->N, p->K, p->alpha, p->A + (p->ta == LIP_N ? r0 * p->lda : r0), p->lda,
           p->B, p->ldb, p->beta, p->C + r0 * p->ldc, p->ldc, scratch_of(p->team, me));
}

static void run_columns(void *arg, const lip_worker *me) {
  const product *p = arg;
  size_t c0, c1;
  lip_share(me, p->N, GRAIN, &c0, &c1);
  lip_gemm(p->ta, p->tb, p->M, c1 - c0, p->K, p->alpha, p->A, p->lda,
           p->B + (p->tb == LIP_N ? c0 : c0 * p->ldb), p->ldb, p->beta, p->C + c0, p->ldc,
           scratch_of(p->team, me));
}

void lip_team_gemm(const lip_team *t, lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha,
                   const float *A, size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc) {
  product p = {t, ta, tb, M, N, K, alpha, beta, A, B, lda, ldb, ldc, C};
  lip_team_run(t, (double)M * (double)N * (double)K, M >= N ? run_rows : run_columns, &p);
}

/* Row where the part `id` of `count` of equal area begins. */
static size_t band(size_t M, size_t id, size_t count) {
  if (id == count) return M;
  size_t row = (size_t)((double)M * sqrt((double)id / (double)count)) / GRAIN * GRAIN;
  return row < M ? row : M;
}

static void run_lower(void *arg, const lip_worker *me) {
  const product *p = arg;
  lip_gemm_lower(p->ta, p->tb, band(p->M, me->id, me->count), band(p->M, me->id + 1, me->count), p->K,
                 p->alpha, p->A, p->lda, p->B, p->ldb, p->beta, p->C, p->ldc, scratch_of(p->team, me));
}

/* C[i][j] = C[j][i] for rows i0..i1 and columns j0..j1. */
LIP_INLINE void mirror_block(float *C, size_t ldc, size_t i0, size_t i1, size_t j0, size_t j1) {
  for (size_t i = i0; i < i1; i++)
    for (size_t j = j0 > i ? j0 : i + 1; j < j1; j++) C[i * ldc + j] = C[j * ldc + i];
}

LIP_HOT static void mirror_rows(float *C, size_t M, size_t ldc, size_t r0, size_t r1) {
  for (size_t i = r0; i < r1; i += MIRROR)
    for (size_t j = i; j < M; j += MIRROR)
      mirror_block(C, ldc, i, i + MIRROR < r1 ? i + MIRROR : r1, j, j + MIRROR < M ? j + MIRROR : M);
}

/* Areas are large at the first rows here, so the bands run the other way. */
static void run_mirror(void *arg, const lip_worker *me) {
  const product *p = arg;
  size_t r0 = p->M - band(p->M, me->count - me->id, me->count),
         r1 = p->M - band(p->M, me->count - me->id - 1, me->count);
  mirror_rows(p->C, p->M, p->ldc, r0, r1);
}

void lip_team_symmetric(const lip_team *t, lip_trans ta, lip_trans tb, size_t M, size_t K, float alpha,
                        const float *A, size_t lda, const float *B, size_t ldb, float beta, float *C,
                        size_t ldc) {
  product p = {t, ta, tb, M, M, K, alpha, beta, A, B, lda, ldb, ldc, C};
  lip_team_run(t, (double)M * (double)M * (double)K / 2, run_lower, &p);
  lip_team_run(t, 4 * (double)M * (double)M, run_mirror, &p);
}

void lip_team_gram(const lip_team *t, lip_trans ta, size_t M, size_t K, float alpha, const float *A,
                   size_t lda, float beta, float *C, size_t ldc) {
  lip_team_symmetric(t, ta, ta == LIP_N ? LIP_T : LIP_N, M, K, alpha, A, lda, A, lda, beta, C, ldc);
}

typedef struct fold {
  size_t n, ldx, ldo;
  float alpha, sign, beta;
  const float *X;
  float *out;
} fold;

/* Blocks small enough that the columns read stay in the first cache. */
LIP_INLINE void fold_block(const fold *f, size_t i0, size_t i1, size_t j0, size_t j1) {
  for (size_t i = i0; i < i1; i++) {
    const float *x = f->X + i * f->ldx, *across = f->X + i;
    float *out = f->out + i * f->ldo;
    for (size_t j = j0; j < j1; j++) {
      const float sum = f->alpha * (x[j] + f->sign * across[j * f->ldx]);
      out[j] = f->beta == 0 ? sum : f->beta * out[j] + sum;
    }
  }
}

LIP_HOT static void fold_rows(const fold *f, size_t r0, size_t r1) {
  for (size_t i = r0; i < r1; i += MIRROR)
    for (size_t j = 0; j < f->n; j += MIRROR)
      fold_block(f, i, i + MIRROR < r1 ? i + MIRROR : r1, j, j + MIRROR < f->n ? j + MIRROR : f->n);
}

static void run_fold(void *arg, const lip_worker *me) {
  const fold *f = arg;
  size_t r0, r1;
  lip_share(me, f->n, MIRROR, &r0, &r1);
  fold_rows(f, r0, r1);
}

void lip_team_fold(const lip_team *t, size_t n, float alpha, const float *X, size_t ldx, float sign,
                   float beta, float *out, size_t ldo) {
  fold f = {n, ldx, ldo, alpha, sign, beta, X, out};
  lip_team_run(t, 4 * (double)n * (double)n, run_fold, &f);
}
