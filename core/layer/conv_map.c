#include "core/layer/conv_map.h"

#include <math.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/mem.h"
#include "core/norm/lanczos.h"
#include "core/norm/rows.h"
#include "core/norm/symmetric.h"
#include "core/tensor/conv.h"
#include "core/tensor/gemm.h"

enum { STEPS = 64 };
#define ACCURACY 0x1p-17

static size_t places(const lip_conv *c) {
  return c->at.OH * c->at.OW;
}

static lip_direct direct(const lip_conv *c) {
  return (lip_direct){.at = c->at, .C = c->C, .OUT = c->OUT, .groups = c->groups};
}

size_t lip_conv_patch_bytes(const lip_conv *c) {
  return (c->K * places(c) * sizeof(float) + LIP_ALIGN - 1) / LIP_ALIGN * LIP_ALIGN;
}

size_t lip_conv_map_scratch(const lip_conv *c) {
  const lip_direct s = direct(c);
  return c->direct ? lip_direct_scratch(&s, INFINITY) : lip_conv_patch_bytes(c) + lip_gemm_scratch();
}

void lip_conv_map(const lip_conv *c, const float *w, size_t B, const float *x, float *y, void *scratch) {
  const lip_direct s = direct(c);
  const size_t P = places(c), image = c->at.H * c->at.W;
  if (c->direct) {
    lip_direct_forward(&s, w, NULL, B, x, y, scratch);
    return;
  }
  for (size_t i = 0; i < B * c->groups; i++, x += c->Cg * image, y += c->OUTg * P) {
    lip_im2col(scratch, x, c->Cg, &c->at);
    lip_gemm(LIP_N, LIP_N, c->OUTg, P, c->K, 1, w + i % c->groups * c->OUTg * c->K, c->K, scratch, P, 0, y, P,
             (unsigned char *)scratch + lip_conv_patch_bytes(c));
  }
}

void lip_conv_map_back(const lip_conv *c, const float *w, size_t B, const float *y, float *x, void *scratch) {
  const lip_direct s = direct(c);
  const size_t P = places(c), image = c->at.H * c->at.W;
  if (c->direct) {
    lip_direct_backward(&s, w, B, y, NULL, x, scratch);
    return;
  }
  memset(x, 0, B * c->C * image * sizeof *x);
  for (size_t i = 0; i < B * c->groups; i++, x += c->Cg * image, y += c->OUTg * P) {
    lip_gemm(LIP_T, LIP_N, c->K, P, c->OUTg, 1, w + i % c->groups * c->OUTg * c->K, c->K, y, P, 0, scratch, P,
             (unsigned char *)scratch + lip_conv_patch_bytes(c));
    lip_col2im_add(x, scratch, c->Cg, &c->at);
  }
}

/* ---- the norm of a group ---- */

/* One group as a convolution of its own. */
typedef struct group {
  lip_conv c;
  float *w; /* entries near 1 */
  float *x, *y;
  void *scratch;
} group;

static void apply(const void *arg, const double *x, double *y) {
  const group *a = arg;
  const size_t n = a->c.C * a->c.at.H * a->c.at.W;
  for (size_t i = 0; i < n; i++) a->x[i] = (float)x[i];
  lip_conv_map(&a->c, a->w, 1, a->x, a->y, a->scratch);
  lip_conv_map_back(&a->c, a->w, 1, a->y, a->x, a->scratch);
  for (size_t i = 0; i < n; i++) y[i] = (double)a->x[i];
}

lip_status lip_conv_estimate(const lip_conv *c, const float *w, size_t g, double *norm, lip_err *err) {
  const size_t size = c->OUTg * c->K, n = c->Cg * c->at.H * c->at.W, m = c->OUTg * places(c);
  const size_t k = (n + LIP_PAD - 1) / LIP_PAD * LIP_PAD, steps = n < STEPS ? n : STEPS;
  const float top = lip_row_abs_max(w + g * size, size);
  int e;
  *norm = 0;
  if (top == 0) return LIP_OK;
  group a = {.c = *c};
  a.c.C = c->Cg, a.c.OUT = c->OUTg, a.c.groups = 1;
  const lip_direct s = direct(&a.c);
  a.c.direct = c->direct && lip_direct_scratch(&s, INFINITY) > 0;
  a.w = lip_alloc(size, sizeof *a.w);
  a.x = lip_alloc(n, sizeof *a.x);
  a.y = lip_alloc(m, sizeof *a.y);
  a.scratch = lip_alloc(lip_conv_map_scratch(&a.c), 1);
  double *V = lip_alloc((steps + 1) * k, sizeof *V);
  lip_status st = LIP_OK;
  if (a.w && a.x && a.y && a.scratch && V) {
    (void)frexpf(top, &e);
    for (size_t i = 0; i < size; i++) a.w[i] = ldexpf(w[g * size + i], -e);
    *norm = ldexp(sqrt(fmax(lip_lanczos(apply, &a, n, k, steps, ACCURACY, V), 0)), e);
    st = lip_cancel_check("the norm of a convolution", err);
  } else {
    st = lip_fail(err, LIP_MEMORY, "no memory for the norm of a convolution of %zu weights", size);
  }
  lip_free(a.w), lip_free(a.x), lip_free(a.y), lip_free(a.scratch), lip_free(V);
  return st;
}
