#include "core/base/rng.h"

#include <math.h>

static const uint32_t mul0 = 0xD2511F53u, mul1 = 0xCD9E8D57u;
static const uint32_t weyl0 = 0x9E3779B9u, weyl1 = 0xBB67AE85u;

void lip_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)mul0 * c0, p1 = (uint64_t)mul1 * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += weyl0;
    k1 += weyl1;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* SplitMix64 finaliser (Steele, Lea, Flood 2014): spreads nearby seeds over the key space. */
static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

static void fill_block(lip_rng *rng) {
  uint64_t block = rng->position / 4;
  uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)rng->stream,
                         (uint32_t)(rng->stream >> 32)};
  uint32_t key[2] = {(uint32_t)rng->key, (uint32_t)(rng->key >> 32)};
  lip_philox(counter, key, rng->block);
}

lip_rng lip_rng_at(uint64_t key, uint64_t stream, uint64_t position) {
  lip_rng rng = {key, stream, position, {0}};
  fill_block(&rng);
  return rng;
}

lip_rng lip_rng_new(uint64_t seed, lip_purpose purpose, uint64_t stream) {
  return lip_rng_at(mix(seed + UINT64_C(0x9E3779B97F4A7C15) * ((uint64_t)purpose + 1)), stream, 0);
}

uint32_t lip_rng_u32(lip_rng *rng) {
  if (rng->position % 4 == 0) fill_block(rng);
  return rng->block[rng->position++ % 4];
}

uint64_t lip_rng_u64(lip_rng *rng) {
  uint64_t high = lip_rng_u32(rng);
  return high << 32 | lip_rng_u32(rng);
}

double lip_rng_uniform(lip_rng *rng) {
  return (double)(lip_rng_u64(rng) >> 11) * 0x1p-53;
}

double lip_rng_normal(lip_rng *rng) {
  const double two_pi = 6.283185307179586476925;
  double u = 1 - lip_rng_uniform(rng); /* in (0, 1]: its logarithm is finite */
  double v = lip_rng_uniform(rng);
  return sqrt(-2 * log(u)) * cos(two_pi * v);
}

uint64_t lip_rng_below(lip_rng *rng, uint64_t n) {
  /* reject the incomplete last interval: at most one value in two is refused */
  uint64_t limit = UINT64_MAX - UINT64_MAX % n;
  uint64_t u;
  do u = lip_rng_u64(rng);
  while (u >= limit);
  return u % n;
}

void lip_rng_fill_uniform(lip_rng *rng, float *x, size_t n, float low, float high) {
  for (size_t i = 0; i < n; i++) {
    double u = lip_rng_uniform(rng);
    float v = (float)((double)low + u * ((double)high - (double)low));
    x[i] = v < high || low == high ? v : nextafterf(high, low); /* rounding may reach `high` */
  }
}

void lip_rng_fill_normal(lip_rng *rng, float *x, size_t n, float mean, float deviation) {
  for (size_t i = 0; i < n; i++) x[i] = (float)((double)mean + (double)deviation * lip_rng_normal(rng));
}

void lip_rng_permute(lip_rng *rng, uint32_t *index, size_t n) {
  for (size_t i = 0; i < n; i++) index[i] = (uint32_t)i;
  for (size_t i = n; i > 1; i--) {
    size_t j = (size_t)lip_rng_below(rng, i);
    uint32_t t = index[i - 1];
    index[i - 1] = index[j];
    index[j] = t;
  }
}
