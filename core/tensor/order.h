/* How the images of a batch stand in memory. */
#ifndef LIP_TENSOR_ORDER_H
#define LIP_TENSOR_ORDER_H

#include <stdbool.h>
#include <stddef.h>

/* Planes (C, H, W), or pixels (H + 2 border, W + 2 border, C): their channels side by side, zeros around the image. */
typedef struct lip_order {
  bool pixels;
  size_t border; /* 0 for planes */
} lip_order;

#endif
