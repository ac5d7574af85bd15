/* Packed matrices: each panel holds `wide` rows (LIP_SUM_COLS) or columns (LIP_SUM_ROWS) of the matrix over the whole of
 * what is summed, so that a block of the sum is a stretch of every panel. */
#include "core/tensor/panel.h"

#include <string.h>

#include "core/tensor/gemm.h"
#include "core/tensor/kernel.h"

enum { PIECE_FLOATS = 1 << 17 }; /* of a weight gradient between its making and its use */

static size_t panel_rows(void) {
  const lip_kernel *kernel = lip_kernel_get();
  return kernel ? lip_kernel_wide(kernel) : 1;
}

/* BLIS's kernels load the next step of the sum before they know whether there is one: the last panel needs one more. */
size_t lip_panel_floats(lip_panel_sum sum, size_t rows, size_t cols) {
  size_t r = panel_rows(), n = sum == LIP_SUM_COLS ? rows : cols, k = sum == LIP_SUM_COLS ? cols : rows;
  return (n + r - 1) / r * r * k + r;
}

size_t lip_panel_row_floats(size_t cols) {
  size_t r = panel_rows();
  return (cols + r - 1) / r * r + (r + 15) / 16;
}

/* Where the copying between both orders goes, panel by panel: n lanes from `lane` on of the panel that begins at
 * `panel`, k steps of the sum, and the place in X where they begin. */
typedef struct stretch {
  size_t panel, lane, n, k, x;
} stretch;

static size_t stretches(const lip_panel *m, size_t r, size_t r0, size_t r1) {
  return m->sum == LIP_SUM_COLS ? (r1 + r - 1) / r - r0 / r : (m->cols + r - 1) / r;
}

static stretch stretch_at(const lip_panel *m, size_t r, size_t i, size_t r0, size_t r1) {
  if (m->sum == LIP_SUM_COLS) {
    size_t p = r0 / r + i, from = p * r > r0 ? p * r : r0, to = (p + 1) * r < r1 ? (p + 1) * r : r1;
    return (stretch){p * r * m->cols, from - p * r, to - from, m->cols, from * m->cols};
  }
  size_t n = m->cols - i * r < r ? m->cols - i * r : r;
  return (stretch){i * r * m->rows + r0 * r, 0, n, r1 - r0, r0 * m->cols + i * r};
}

void lip_panel_pack(const lip_panel *m, const float *X, size_t r0, size_t r1) {
  const lip_kernel *kernel = lip_kernel_get();
  if (!kernel) {
    memcpy(m->data + r0 * m->cols, X + r0 * m->cols, (r1 - r0) * m->cols * sizeof *X);
    return;
  }
  const size_t r = lip_kernel_wide(kernel), count = stretches(m, r, r0, r1);
  const bool by_rows = m->sum == LIP_SUM_ROWS;
  for (size_t i = 0; i < count; i++) {
    stretch s = stretch_at(m, r, i, r0, r1);
    lip_pack_lanes(m->data + s.panel + s.lane, r, s.n, s.k, X + s.x, by_rows ? 1 : m->cols,
                   by_rows ? m->cols : 1);
  }
}

void lip_panel_unpack(const lip_panel *m, float *X, size_t r0, size_t r1) {
  const lip_kernel *kernel = lip_kernel_get();
  if (!kernel) {
    memcpy(X + r0 * m->cols, m->data + r0 * m->cols, (r1 - r0) * m->cols * sizeof *X);
    return;
  }
  const size_t r = lip_kernel_wide(kernel), count = stretches(m, r, r0, r1);
  const bool by_rows = m->sum == LIP_SUM_ROWS;
  for (size_t i = 0; i < count; i++) {
    stretch s = stretch_at(m, r, i, r0, r1);
    const float *panel = m->data + s.panel + s.lane;
    for (size_t k = 0; k < s.k; k++)
      for (size_t j = 0; j < s.n; j++)
        X[s.x + (by_rows ? k * m->cols + j : j * m->cols + k)] = panel[k * r + j];
  }
}

void lip_panel_forward(const lip_panel *W, size_t B, const float *X, float *Y, void *scratch) {
  const lip_kernel *kernel = lip_kernel_get();
  const size_t OUT = W->rows, IN = W->cols;
  if (!kernel) {
    lip_gemm_ref(LIP_N, LIP_T, B, OUT, IN, 1, X, IN, W->data, IN, 0, Y, OUT);
    return;
  }
  lip_product x = {.a = {.src = X, .si = IN, .sk = 1},
                   .b = {.panels = W->data, .step = lip_kernel_wide(kernel) * IN},
                   .M = B,
                   .N = OUT,
                   .K = IN,
                   .alpha = 1,
                   .C = Y,
                   .ldc = OUT};
  lip_product_run(kernel, &x, scratch);
}

void lip_panel_backward(const lip_panel *W, size_t B, const float *dY, float *dX, void *scratch) {
  const lip_kernel *kernel = lip_kernel_get();
  const size_t OUT = W->rows, IN = W->cols;
  if (!kernel) {
    lip_gemm_ref(LIP_N, LIP_N, B, IN, OUT, 1, dY, OUT, W->data, IN, 0, dX, IN);
    return;
  }
  lip_product x = {.a = {.src = dY, .si = OUT, .sk = 1},
                   .b = {.panels = W->data, .step = lip_kernel_wide(kernel) * OUT},
                   .M = B,
                   .N = IN,
                   .K = OUT,
                   .alpha = 1,
                   .C = dX,
                   .ldc = IN};
  lip_product_run(kernel, &x, scratch);
}

/* Rows of dW in a piece: few enough to stay cached, and whole panels of the kernel on both sides where that leaves any. */
static size_t piece_rows(const lip_kernel *kernel, size_t IN) {
  size_t most = PIECE_FLOATS / IN, wide = kernel ? lip_kernel_wide(kernel) : 1, both = wide;
  while (kernel && both % lip_kernel_narrow(kernel)) both += wide;
  if (most >= both) return most / both * both;
  return most >= wide ? most / wide * wide : wide;
}

void lip_panel_grad(const lip_panel *X, size_t B, const float *dY, size_t OUT, size_t u0, size_t u1,
                    float beta, float *dW, void *scratch, void (*done)(void *arg, size_t a, size_t b),
                    void *arg) {
  const lip_kernel *kernel = lip_kernel_get();
  const size_t IN = X->cols, piece = piece_rows(kernel, IN);
  for (size_t u = u0, end; u < u1; u = end) {
    end = u1 - u < piece ? u1 : u + piece;
    if (!kernel) {
      lip_gemm_ref(LIP_T, LIP_N, end - u, IN, B, 1, dY + u, OUT, X->data, IN, beta, dW + u * IN, IN);
    } else {
      lip_product x = {.a = {.src = dY + u, .si = 1, .sk = OUT},
                       .b = {.panels = X->data, .step = lip_kernel_wide(kernel) * X->rows},
                       .M = end - u,
                       .N = IN,
                       .K = B,
                       .alpha = 1,
                       .beta = beta,
                       .C = dW + u * IN,
                       .ldc = IN};
      lip_product_run(kernel, &x, scratch);
    }
    if (done) done(arg, u, end);
  }
}
