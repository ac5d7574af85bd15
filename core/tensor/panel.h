/* Matrices kept in the order of the micro-kernel, so that the products of a training step need not pack them again, and
 * those products as whole operations. Only this module knows the order (it is asked for at run time); with
 * plain loops for kernels (see lip_gemm_backend) the matrices stay row-major. The bits are those of lip_gemm.
 *
 * Shapes must be proved by the caller: nothing is checked and nothing can fail. `scratch`: lip_gemm_scratch() bytes,
 * aligned to 64, of this thread's own. */
#ifndef LIP_TENSOR_PANEL_H
#define LIP_TENSOR_PANEL_H

#include <stdbool.h>
#include <stddef.h>

/* What the products sum over, and with it which operation a packed matrix is good for. */
typedef enum lip_panel_sum {
  LIP_SUM_COLS, /* over its columns: the weight of lip_panel_forward */
  LIP_SUM_ROWS  /* over its rows: the weight of lip_panel_backward, the input of lip_panel_grad */
} lip_panel_sum;

/* A packed matrix. The memory is the caller's: lip_panel_floats of them, aligned to 64, zero at first. */
typedef struct lip_panel {
  lip_panel_sum sum;
  size_t rows, cols;
  float *data;
} lip_panel;

/* Floats that a matrix takes, those past its end that kernels read ahead included. */
size_t lip_panel_floats(lip_panel_sum sum, size_t rows, size_t cols);
/* The same for one row of LIP_SUM_ROWS, where memory is given by rows: enough for any multiple of 16 of them. */
size_t lip_panel_row_floats(size_t cols);

/* Brings rows r0..r1 of row-major X (rows, cols) in, and back: bit for bit the same. Other rows may be on their way on
 * other threads. */
void lip_panel_pack(const lip_panel *to, const float *X, size_t r0, size_t r1);
void lip_panel_unpack(const lip_panel *from, float *X, size_t r0, size_t r1);

/* Y (B, OUT) = X (B, IN) W', W (OUT, IN) with LIP_SUM_COLS. */
void lip_panel_forward(const lip_panel *W, size_t B, const float *X, float *Y, void *scratch);
/* dX (B, IN) = dY (B, OUT) W, W (OUT, IN) with LIP_SUM_ROWS. */
void lip_panel_backward(const lip_panel *W, size_t B, const float *dY, float *dX, void *scratch);

/* Rows u0..u1 of dW (OUT, IN) = beta dW + dY' X, beta 0 or 1; X (B or more, IN) with LIP_SUM_ROWS, dY (B, OUT). Made in
 * pieces small enough to stay in the cache: done(arg, a, b) is told of each as soon as it is final (NULL: nobody
 * asks). The bits do not depend on how the rows are cut. */
void lip_panel_grad(const lip_panel *X, size_t B, const float *dY, size_t OUT, size_t u0, size_t u1,
                    float beta, float *dW, void *scratch, void (*done)(void *arg, size_t a, size_t b),
                    void *arg);

#endif
