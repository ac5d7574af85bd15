/* Inside of core/tensor: the micro-kernel that products are made of, and the product on packed panels. Not for layers:
 * they see gemm.h and panel.h.
 *
 * The kernel multiplies a panel of P (mr rows) with a panel of Q (nr rows), C tile (mr, nr) += P Q'. A panel of r rows
 * of a matrix holds for each k its r elements side by side: element (i, k) at [k * r + i]. A kernel that likes
 * columns of C contiguous is given the transposed product, so C is always met in its own order. */
#ifndef LIP_TENSOR_KERNEL_H
#define LIP_TENSOR_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

/* C (m, n) = beta C + alpha P Q'; beta is 0 or 1; element (i, j) of C at i * rs + j * cs, one of them 1. The panels of an
 * operand begin p_step (q_step) floats apart. tile: room for mr x nr floats. */
typedef struct lip_block {
  size_t m, n, k;
  float alpha, beta;
  const float *p, *q;
  size_t p_step, q_step;
  float *C;
  size_t rs, cs;
  float *tile;
  bool
      lower; /* tiles above the diagonal of what C is a part of are left out; C's first row and column there: */
  size_t row, col;
} lip_block;

/* What the instructions of a kernel's family include; other modules keep to the same. */
typedef enum lip_level { LIP_LEVEL_ANY, LIP_LEVEL_AVX2, LIP_LEVEL_AVX512 } lip_level;

typedef struct lip_kernel {
  lip_level level;
  size_t mr, nr;     /* rows of a panel of P and of Q */
  size_t mc, nc, kc; /* largest block that is packed at a time; multiples of mr, of nr, of 1 */
  bool by_columns;   /* C is written best when its columns are contiguous */
  void (*multiply)(const lip_block *b);
} lip_kernel;

/* The kernel of this processor; NULL: there is none, plain loops must do (a build without BLIS, or LIPWB_KERNELS=plain in
 * the environment; the name of a family of BLIS there, such as haswell or generic, asks for that one's). The same answer for the whole run. */
const lip_kernel *lip_kernel_get(void);
const char *lip_kernel_name(void);

/* ---- products (product.c) ---- */

/* One operand of a product, n rows and K columns: either as it stands, element (i, k) at src[i * si + k * sk] with one
 * of the strides 1; or already in panels that begin `step` floats apart. */
typedef struct lip_operand {
  const float *src;
  size_t si, sk;
  const float *panels;
  size_t step;
} lip_operand;

size_t lip_product_scratch(const lip_kernel *kernel); /* bytes */

/* Row-major C (M, N) = beta C + alpha A B', beta 0 or 1, M, N, K > 0. A in panels has lip_kernel_narrow rows in each,
 * B has lip_kernel_wide. Every element sums over k in the same order, wherever it stands. */
typedef struct lip_product {
  lip_operand a, b;
  size_t M, N, K;
  float alpha, beta;
  float *C;
  size_t ldc;
  bool lower; /* elements (i, j) with j > i + diagonal are not wanted, and left out where that saves work */
  size_t diagonal;
} lip_product;
void lip_product_run(const lip_kernel *kernel, const lip_product *x, void *scratch);

/* Rows of a panel of the operand along C's rows, and of the one along its columns. */
size_t lip_kernel_narrow(const lip_kernel *kernel);
size_t lip_kernel_wide(const lip_kernel *kernel);

/* n rows of x from row 0 and k columns from column 0 on into lanes lane.. of a panel of r: dst[k * r + lane + i]. */
void lip_pack_lanes(float *dst, size_t r, size_t n, size_t k, const float *src, size_t si, size_t sk);

#endif
