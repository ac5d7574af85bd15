/* Many short sorts at once: each vector lane sorts a sequence of its own. */
#ifndef LIP_TENSOR_LANESORT_H
#define LIP_TENSOR_LANESORT_H

#include <stddef.h>

/* x holds n / (size * S) groups one after the other, each `size` rows of S positions; every position's column of
 * `size` values is sorted in ascending order, equal values in the order they had. n must be a multiple of size * S.
 * `from` (n words of 32 bits, stored in float memory) gets the row within its group each value came from.
 * NaN sort by their bits, outside the infinities; -0 and +0 are equal and come out as +0.
 * scratch: lip_lanesort_scratch(size) bytes, aligned to 64. The result does not depend on how a batch is cut. */
size_t lip_lanesort_scratch(size_t size);
void lip_lanesort(float *y, float *from, const float *x, size_t n, size_t size, size_t S, void *scratch);

/* The transposed permutation: dx gets each dy where its value came from. */
void lip_lanesort_back(float *dx, const float *dy, const float *from, size_t n, size_t size, size_t S);

#endif
