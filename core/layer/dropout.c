/* dropout: in training y = x m / (1 - rate) with m = 0 with probability `rate`, else 1, independently (Srivastava et
 * al. 2014); otherwise y = x.
 *   dx = dy m / (1 - rate) in training, else dy
 *   constant  1 for every p -> q with q >= p, of the network as used; in training up to 1 / (1 - rate)
 *   float32   exact as used: a copy
 * m depends on (step seed, layer id, row, column) only: word c % 4 of the Philox block whose counter is (c / 4, row,
 * id, 0) decides column c. Rows may be cut at will. */
#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

typedef struct conf {
  double rate;
} conf;

static const lip_opt options[] = {{.name = "rate",
                                   .type = LIP_OPT_REAL,
                                   .offset = offsetof(conf, rate),
                                   .def = 0.5,
                                   .low = 0,
                                   .high = 0.999,
                                   .help = "probability that a value is set to zero in training"},
                                  {.name = NULL}};

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)spec, (void)p, (void)err;
  l->cache = l->n_in; /* 0 or 1 / (1 - rate) */
  return LIP_OK;
}

enum { BLOCKS = 32 };

/* lip_philox for counters (first + i, row, id, 0), BLOCKS at a time. out: word w of block i at 4 i + w. */
LIP_HOT static void philox_blocks(uint32_t out[4 * BLOCKS], uint32_t first, uint32_t row, uint32_t id,
                                  uint32_t k0, uint32_t k1) {
  for (uint32_t i = 0; i < BLOCKS; i++) {
    uint32_t c0 = first + i, c1 = row, c2 = id, c3 = 0, a = k0, b = k1;
    for (int round = 0; round < 10; round++) {
      uint64_t p0 = UINT64_C(0xD2511F53) * c0, p1 = UINT64_C(0xCD9E8D57) * c2;
      c0 = (uint32_t)(p1 >> 32) ^ c1 ^ a;
      c2 = (uint32_t)(p0 >> 32) ^ c3 ^ b;
      c1 = (uint32_t)p1;
      c3 = (uint32_t)p0;
      a += 0x9E3779B9u;
      b += 0xBB67AE85u;
    }
    out[4 * i] = c0;
    out[4 * i + 1] = c1;
    out[4 * i + 2] = c2;
    out[4 * i + 3] = c3;
  }
}

LIP_HOT static void apply(float *restrict y, float *restrict keep, const float *restrict x,
                          const uint32_t *restrict word, uint32_t threshold, float scale, size_t n) {
  for (size_t i = 0; i < n; i++) {
    keep[i] = word[i] >= threshold ? scale : 0.0f;
    y[i] = x[i] * keep[i];
  }
}

LIP_HOT static void multiply(float *restrict out, const float *restrict a, const float *restrict b,
                             size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = a[i] * b[i];
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const double rate = ((const conf *)l->conf)->rate;
  const size_t n = l->n_in;
  if (!pass->training || rate == 0) {
    memcpy(l->y + pass->r0 * n, l->x + pass->r0 * n, (pass->r1 - pass->r0) * n * sizeof(float));
    return;
  }
  const uint64_t key = lip_rng_new(pass->seed, LIP_RNG_DROPOUT, 0).key;
  const uint32_t threshold = (uint32_t)(rate * 0x1p32);
  const float scale = (float)(1 / (1 - rate));
  for (size_t r = pass->r0; r < pass->r1; r++)
    for (size_t c = 0; c < n; c += 4 * BLOCKS) {
      uint32_t word[4 * BLOCKS];
      size_t at = r * n + c, m = n - c < 4 * BLOCKS ? n - c : 4 * BLOCKS;
      philox_blocks(word, (uint32_t)(c / 4), (uint32_t)r, (uint32_t)l->id, (uint32_t)key,
                    (uint32_t)(key >> 32));
      apply(l->y + at, l->kept + at, l->x + at, word, threshold, scale, m);
    }
}

static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  memcpy(y, x, B * l->n_in * sizeof *y);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->n_in, n = (pass->r1 - pass->r0) * l->n_in;
  if (!pass->training || ((const conf *)l->conf)->rate == 0)
    memcpy(l->dx + at, l->dy + at, n * sizeof(float));
  else
    multiply(l->dx + at, l->dy + at, l->kept + at, n);
}

/* Outside training it passes everything on. */
static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  (void)l, (void)e;
  return x;
}

const lip_layer_kind lip_layer_dropout = {
    .desc = {"dropout", "sets values to zero at random in training", options, sizeof(conf)},
    .flags = LIP_LAYER_RANDOM,
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .wide = wide,
    .bound = lip_unit_bound,
    .slopes = lip_identity_slopes, /* outside training it passes everything on */
    .range = lip_identity_range,
    .emit = emit,
    .deviate = lip_exact_deviate,
};
