/* The same as quick.h for columns [u0, u1) of a row-major matrix (M,N), in blocks of columns that stay in registers.
 * Every column sums its elements from the first row to the last in a fixed order whatever the range. */
#ifndef LIP_NORM_QUICK_COLS_H
#define LIP_NORM_QUICK_COLS_H

#include <stdbool.h>
#include <stddef.h>

/* Columns handled together. */
#define LIP_BLOCK 64

/* sum[j] = sum of the absolute values of column j of W, any number of columns, as lip_quick_abs_sum, relative error at
 * most lip_quick_cols_error(M). */
void lip_quick_cols_sum(const float *W, size_t M, size_t N, size_t width, double *sum);
double lip_quick_cols_error(size_t M);

/* The same in double, width <= LIP_BLOCK, relative error at most lip_gamma(M). */
void lip_cols_sum(const float *W, size_t M, size_t N, size_t width, double *sum);

/* w *= s[j] to nearest, width <= LIP_BLOCK; s = 1 leaves every bit. */
void lip_quick_cols_shrink(float *W, size_t M, size_t N, size_t width, const float *s);

/* Nearest points of the l1 ball for the columns with todo[j]; tau[j] as in lip_l1_row. Clears todo[j] where that
 * worked, and leaves the column alone otherwise. */
void lip_quick_cols_l1(float *W, size_t M, size_t N, size_t width, double radius, double *tau, bool *todo);

#endif
