#include "core/data/values.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static float of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* IEEE 754 binary16: every value is a float32. */
static float of_half(uint32_t h) {
  const uint32_t sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
  if (exponent == 31) return of_bits(sign | 0x7f800000 | fraction << 13);
  if (exponent > 0) return of_bits(sign | (exponent + 112) << 23 | fraction << 13);
  const float tiny = (float)fraction * 0x1p-24f;
  return sign ? -tiny : tiny;
}

static float of_double(uint64_t bits, bool *exact) {
  double x;
  memcpy(&x, &bits, sizeof x);
  const float y = (float)x;
  if ((double)y != x && !isnan(x)) *exact = false;
  return y;
}

static float of_whole(uint64_t v, bool negative, bool *exact) {
  const float y = (float)v;
  if (!(y < 0x1p64f) || (uint64_t)y != v) *exact = false;
  return negative ? -y : y;
}

static float of_raw(const lip_number *t, uint64_t v, bool *exact) {
  if (t->kind == 'e') return of_bits((uint32_t)v << 16);
  if (t->kind == 'f' && t->item == 2) return of_half((uint32_t)v);
  if (t->kind == 'f' && t->item == 4) return of_bits((uint32_t)v);
  if (t->kind == 'f') return of_double(v, exact);
  if (t->kind == 'b') return v != 0;
  const uint64_t sign = UINT64_C(1) << (8 * t->item - 1);
  if (t->kind == 'i' && (v & sign)) /* two's complement */
    return of_whole((~v & (sign - 1)) + 1, true, exact);
  return of_whole(v, false, exact);
}

bool lip_numbers_to_float(const lip_number *t, const void *from, size_t n, float *to) {
  const unsigned char *p = from;
  bool exact = true;
  for (size_t i = 0; i < n; i++, p += t->item) {
    uint64_t v = 0;
    for (size_t k = 0; k < t->item; k++) v = v << 8 | p[t->big ? k : t->item - 1 - k];
    to[i] = of_raw(t, v, &exact);
  }
  return exact;
}
