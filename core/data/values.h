/* Numbers of any type that files hold, as float32. */
#ifndef LIP_DATA_VALUES_H
#define LIP_DATA_VALUES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lip_number {
  char
      kind; /* 'f' IEEE float of 2, 4, 8 bytes; 'e' bfloat16; 'i', 'u' whole of 1, 2, 4, 8 bytes; 'b' truth value */
  size_t item; /* bytes */
  bool big;    /* the most significant byte comes first */
} lip_number;

/* The n numbers at `from`, each the nearest float32; false when one of them is no float32, so that it was rounded (NaN never
 * is; a double beyond the range becomes infinite). */
bool lip_numbers_to_float(const lip_number *type, const void *from, size_t n, float *to);

#endif
