#include "core/tensor/linalg.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include <lapacke.h>

#include "core/base/mem.h"
#include "core/base/thread.h"

/* LAPACK stores by columns: a row-major (M,N) array is its column-major transpose (N,M). Everything below works on
 * that transpose and so never copies, except where the tall factor is wanted from a row-major tall matrix. */

static lip_status no_memory(lip_err *err, size_t M, size_t N) {
  return lip_fail(err, LIP_MEMORY, "no memory for the decomposition of a %zux%zu matrix", M, N);
}

/* LAPACK counts in `lapack_int` (32 bits in Debian's build), elements and workspace included. */
static lip_status check_size(size_t M, size_t N, lip_err *err) {
  size_t total;
  if (M > INT_MAX || N > INT_MAX || !lip_mul_fits(M, N, &total) || total > INT_MAX)
    return lip_fail(err, LIP_SHAPE, "a %zux%zu matrix is too large to decompose (at most %d elements)", M, N,
                    INT_MAX);
  return LIP_OK;
}

/* The length LAPACK asks for in a workspace query, or 0 when it does not fit. */
static lapack_int work_length(double asked) {
  return asked >= 1 && asked < (double)INT_MAX ? (lapack_int)asked : 0;
}

static bool finite_all(const double *a, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!isfinite(a[i])) return false;
  return true;
}

/* a: column-major (rows, cols), rows >= cols >= 1: replaced by the Q of its QR factorisation with the signs of R's
 * diagonal moved in. tau holds cols doubles. */
static lip_status qr_in_place(double *a, lapack_int rows, lapack_int cols, double *tau, lip_err *err) {
  double asked_qr = 0, asked_q = 0, *work = NULL, *sign = NULL;
  lip_status st = LIP_OK;
  if (LAPACKE_dgeqrf_work(LAPACK_COL_MAJOR, rows, cols, a, rows, tau, &asked_qr, -1) != 0 ||
      LAPACKE_dorgqr_work(LAPACK_COL_MAJOR, rows, cols, cols, a, rows, tau, &asked_q, -1) != 0)
    return lip_fail(err, LIP_UNSUPPORTED, "LAPACK refused the size of a %dx%d QR factorisation", (int)rows,
                    (int)cols);
  lapack_int n_work = work_length(fmax(asked_qr, asked_q));
  if (n_work > 0) work = lip_alloc((size_t)n_work, sizeof *work);
  sign = lip_alloc((size_t)cols, sizeof *sign);
  if (!work || !sign) {
    st = no_memory(err, (size_t)rows, (size_t)cols);
    goto done;
  }
  lapack_int info = LAPACKE_dgeqrf_work(LAPACK_COL_MAJOR, rows, cols, a, rows, tau, work, n_work);
  if (info == 0) {
    for (size_t j = 0; j < (size_t)cols; j++) sign[j] = a[j * (size_t)rows + j] < 0 ? -1 : 1;
    info = LAPACKE_dorgqr_work(LAPACK_COL_MAJOR, rows, cols, cols, a, rows, tau, work, n_work);
  }
  if (info != 0) {
    st = lip_fail(err, LIP_UNSUPPORTED, "the QR factorisation of a %dx%d matrix failed (code %d)", (int)rows,
                  (int)cols, (int)info);
    goto done;
  }
  for (size_t j = 0; j < (size_t)cols; j++)
    for (size_t i = 0; i < (size_t)rows; i++) a[j * (size_t)rows + i] *= sign[j];
done:
  lip_free(work);
  lip_free(sign);
  return st;
}

/* ---- decompositions that take long: they run apart, so that whoever waits can leave ---- */

#define LONG 1e8 /* rows x columns x smaller side from which it does: some hundredths of a second */

static bool takes_long(size_t M, size_t N) {
  return (double)M * (double)N * (double)(M < N ? M : N) > LONG;
}

static lip_status left(lip_err *err) {
  return lip_fail(err, LIP_CANCELLED, "a decomposition: cancelled");
}

typedef struct qr_job {
  double *a, *tau; /* owned */
  lapack_int rows, cols;
  lip_status st;
  lip_err err;
} qr_job;

static void qr_run(void *arg) {
  qr_job *j = arg;
  j->st = qr_in_place(j->a, j->rows, j->cols, j->tau, &j->err);
}

static void qr_free(void *arg) {
  qr_job *j = arg;
  lip_free(j->a);
  lip_free(j->tau);
  lip_free(j);
}

/* Takes a and tau over, and gives them back in any case but LIP_CANCELLED. */
static lip_status qr_apart(double **a, lapack_int rows, lapack_int cols, double **tau, lip_err *err) {
  qr_job *j = lip_alloc(1, sizeof *j);
  if (!j) return no_memory(err, (size_t)rows, (size_t)cols);
  *j = (qr_job){.a = *a, .tau = *tau, .rows = rows, .cols = cols};
  if (!lip_run_apart(qr_run, qr_free, j)) {
    *a = *tau = NULL;
    return left(err);
  }
  lip_status st = j->st;
  if (st != LIP_OK && err) *err = j->err;
  lip_free(j);
  return st;
}

lip_status lip_orthonormalise(float *q, size_t M, size_t N, lip_err *err) {
  if (M == 0 || N == 0) return LIP_OK;
  lip_status st = check_size(M, N, err);
  if (st != LIP_OK) return st;
  bool wide = M <= N;
  size_t rows = wide ? N : M, cols = wide ? M : N;
  double *a = lip_alloc(rows * cols, sizeof *a), *tau = lip_alloc(cols, sizeof *tau);
  if (!a || !tau) {
    st = no_memory(err, M, N);
    goto done;
  }
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) a[wide ? i * N + j : j * M + i] = (double)q[i * N + j];
  if (!finite_all(a, rows * cols)) {
    st = lip_fail(err, LIP_NOT_FINITE, "a %zux%zu matrix with NaN or infinity has no QR factorisation", M, N);
    goto done;
  }
  if (takes_long(M, N))
    st = qr_apart(&a, (lapack_int)rows, (lapack_int)cols, &tau, err);
  else
    st = qr_in_place(a, (lapack_int)rows, (lapack_int)cols, tau, err);
  if (st != LIP_OK) goto done;
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) q[i * N + j] = (float)a[wide ? i * N + j : j * M + i];
done:
  lip_free(a);
  lip_free(tau);
  return st;
}

/* Shapes and numbers proved; a is destroyed. */
static lip_status svd_in_place(double *a, size_t M, size_t N, double *u, double *s, double *vt,
                               lip_err *err) {
  lip_status st = LIP_OK;
  /* The transpose a' = vt' diag(s) u': LAPACK's U is our vt and its VT is our u, each in our layout. */
  lapack_int rows = (lapack_int)N, cols = (lapack_int)M, k = rows < cols ? rows : cols;
  char job = u ? 'S' : 'N';
  double asked = 0, none = 0, *work = NULL;
  lapack_int *pivot = lip_alloc(8 * (size_t)k, sizeof *pivot), info = 0;
  double *left = u ? vt : &none, *right = u ? u : &none;
  lapack_int ld_left = u ? rows : 1, ld_right = u ? k : 1;
  if (!pivot) return no_memory(err, M, N);
  info = LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, job, rows, cols, a, rows, s, left, ld_left, right, ld_right,
                             &asked, -1, pivot);
  lapack_int n_work = info == 0 ? work_length(asked) : 0;
  if (n_work == 0) {
    st = lip_fail(err, LIP_SHAPE, "a %zux%zu matrix is too large for LAPACK's singular values", M, N);
    goto done;
  }
  work = lip_alloc((size_t)n_work, sizeof *work);
  if (!work) {
    st = no_memory(err, M, N);
    goto done;
  }
  info = LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, job, rows, cols, a, rows, s, left, ld_left, right, ld_right,
                             work, n_work, pivot);
  if (info != 0)
    st = lip_fail(err, LIP_UNSUPPORTED, "the singular values of a %zux%zu matrix did not converge (code %d)",
                  M, N, (int)info);
done:
  lip_free(work);
  lip_free(pivot);
  return st;
}

typedef struct svd_job {
  double *a, *u, *s, *vt; /* one block, owned; u and vt may be NULL */
  size_t M, N;
  lip_status st;
  lip_err err;
} svd_job;

static void svd_run(void *arg) {
  svd_job *j = arg;
  j->st = svd_in_place(j->a, j->M, j->N, j->u, j->s, j->vt, &j->err);
}

static void svd_free(void *arg) {
  svd_job *j = arg;
  lip_free(j->a);
  lip_free(j);
}

/* On copies: the caller's memory may be gone before the end. */
static lip_status svd_apart(double *a, size_t M, size_t N, double *u, double *s, double *vt, lip_err *err) {
  size_t k = M < N ? M : N, vectors = u ? k * (M + N) : 0;
  svd_job *j = lip_alloc(1, sizeof *j);
  double *block = j ? lip_alloc(M * N + k + vectors, sizeof *block) : NULL;
  if (!block) {
    lip_free(j);
    return no_memory(err, M, N);
  }
  *j = (svd_job){.a = block, .s = block + M * N, .M = M, .N = N};
  if (u) j->u = j->s + k, j->vt = j->u + M * k;
  memcpy(j->a, a, M * N * sizeof *a);
  if (!lip_run_apart(svd_run, svd_free, j)) return left(err);
  lip_status st = j->st;
  if (st != LIP_OK && err) *err = j->err;
  memcpy(s, j->s, k * sizeof *s);
  if (u) memcpy(u, j->u, M * k * sizeof *u);
  if (u) memcpy(vt, j->vt, k * N * sizeof *vt);
  svd_free(j);
  return st;
}

lip_status lip_svd(double *a, size_t M, size_t N, double *u, double *s, double *vt, lip_err *err) {
  if (M == 0 || N == 0) return LIP_OK;
  lip_status st = check_size(M, N, err);
  if (st != LIP_OK) return st;
  if (!u != !vt) return lip_fail(err, LIP_ARGUMENT, "u and vt must be given together");
  if (!finite_all(a, M * N))
    return lip_fail(err, LIP_NOT_FINITE, "a %zux%zu matrix with NaN or infinity has no singular values", M,
                    N);
  return (takes_long(M, N) ? svd_apart : svd_in_place)(a, M, N, u, s, vt, err);
}
