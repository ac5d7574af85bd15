/* Short sequences go through Batcher's merge exchange network (Knuth 1998, section 5.2.2, algorithm M: any length,
 * about n (log2 n)^2 / 4 comparators), LANES sequences side by side, so that a comparator is a few vector operations
 * and there is no branch on data. The network is not stable by itself: the place is part of the key. Long sequences
 * are radix-sorted one by one in linear time. */
#include "core/tensor/lanesort.h"

#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"

enum { LANES = 16, NETWORK_MAX = 256, DIGIT = 8, DIGITS = 4, BUCKETS = 1 << DIGIT };

/* Signed integers in the order of the floats: negative numbers have their magnitude bits turned round. */
LIP_INLINE int32_t key_of(float x) {
  int32_t bits;
  x += 0.0f; /* -0 becomes +0: they are equal */
  memcpy(&bits, &x, sizeof bits);
  return bits ^ (int32_t)((uint32_t)(bits >> 31) >> 1);
}

LIP_INLINE float value_of(int32_t key) {
  float x;
  key ^= (int32_t)((uint32_t)(key >> 31) >> 1);
  memcpy(&x, &key, sizeof x);
  return x;
}

size_t lip_lanesort_scratch(size_t size) {
  return size <= NETWORK_MAX ? 2 * size * LANES * sizeof(int32_t) : 4 * size * sizeof(uint32_t);
}

/* ---- network ---- */

/* Comparators (a[e], b[e]) for e < n; pa and pb are the places. One long loop over whole runs of comparators: a loop
 * over the lanes of one alone is unrolled into scalars by gcc before it can become vectors. */
LIP_INLINE void exchange(int32_t *restrict a, int32_t *restrict b, int32_t *restrict pa, int32_t *restrict pb,
                         size_t n) {
  for (size_t e = 0; e < n; e++) {
    int32_t x = a[e], y = b[e], i = pa[e], j = pb[e];
    int32_t swap = -(int32_t)((x > y) | ((x == y) & (i > j)));
    int32_t dx = (x ^ y) & swap, di = (i ^ j) & swap;
    a[e] = x ^ dx;
    b[e] = y ^ dx;
    pa[e] = i ^ di;
    pb[e] = j ^ di;
  }
}

/* In Knuth's loop over i the comparators with (i & p) == r come in runs of p, and d >= p keeps a run's two sides
 * apart. */
LIP_HOT static void network(int32_t *key, int32_t *place, size_t n) {
  size_t top = 1;
  if (n < 2) return;
  while (2 * top < n) top *= 2;
  for (size_t p = top; p > 0; p /= 2)
    for (size_t q = top, r = 0, d = p;; d = q - p, q /= 2, r = p) {
      for (size_t i = r; i + d < n; i += 2 * p) {
        size_t run = n - d - i < p ? n - d - i : p, a = i * LANES, b = (i + d) * LANES;
        exchange(key + a, key + b, place + a, place + b, run * LANES);
      }
      if (q == p) break;
    }
}

/* Sequence number t starts at element (t / S) * size * S + t % S and steps by S. */
LIP_INLINE size_t start_of(size_t t, size_t size, size_t S) {
  return S == 1 ? t * size : t / S * size * S + t % S;
}

LIP_HOT static void load(int32_t *restrict key, int32_t *restrict place, const float *restrict x,
                         const size_t at[LANES], size_t size, size_t S) {
  for (size_t k = 0; k < size; k++)
    for (int l = 0; l < LANES; l++) {
      key[k * LANES + (size_t)l] = key_of(x[at[l] + k * S]);
      place[k * LANES + (size_t)l] = (int32_t)k;
    }
}

LIP_HOT static void store(float *restrict y, uint32_t *restrict from, const int32_t *restrict key,
                          const int32_t *restrict place, const size_t at[LANES], size_t used, size_t size,
                          size_t S) {
  for (size_t l = 0; l < used; l++)
    for (size_t k = 0; k < size; k++) {
      y[at[l] + k * S] = value_of(key[k * LANES + l]);
      from[at[l] + k * S] = (uint32_t)place[k * LANES + l];
    }
}

static void sort_lanes(float *y, uint32_t *from, const float *x, size_t n, size_t size, size_t S,
                       void *scratch) {
  int32_t *key = scratch, *place = key + size * LANES;
  for (size_t t = 0; t < n / size; t += LANES) {
    size_t at[LANES], used = n / size - t < LANES ? n / size - t : LANES;
    for (size_t l = 0; l < LANES; l++) at[l] = start_of(t + (l < used ? l : 0), size, S);
    load(key, place, x, at, size, S);
    network(key, place, size);
    store(y, from, key, place, at, used, size, S);
  }
}

/* Pairs side by side need no lanes: what the network does to two, in place. */
LIP_HOT static void sort_pairs(float *restrict y, uint32_t *restrict from, const float *restrict x,
                               size_t pairs) {
  for (size_t i = 0; i < pairs; i++) {
    int32_t a = key_of(x[2 * i]), b = key_of(x[2 * i + 1]);
    uint32_t swap = a > b;
    y[2 * i] = value_of(swap ? b : a);
    y[2 * i + 1] = value_of(swap ? a : b);
    from[2 * i] = swap;
    from[2 * i + 1] = 1 - swap;
  }
}

/* ---- radix sort: stable, least significant digit first (Knuth 1998, section 5.2.5) ---- */

static void radix_pass(uint32_t *restrict to_key, uint32_t *restrict to_place, const uint32_t *restrict key,
                       const uint32_t *restrict place, size_t n, const uint32_t *count, int shift) {
  uint32_t next[BUCKETS], sum = 0;
  for (size_t b = 0; b < BUCKETS; b++) {
    next[b] = sum;
    sum += count[b];
  }
  for (size_t i = 0; i < n; i++) {
    uint32_t to = next[key[i] >> shift & (BUCKETS - 1)]++;
    to_key[to] = key[i];
    to_place[to] = place[i];
  }
}

static void sort_one(float *y, uint32_t *from, const float *x, size_t size, size_t S, void *scratch) {
  uint32_t *key = scratch, *place = key + size, *key2 = place + size, *place2 = key2 + size;
  uint32_t count[DIGITS][BUCKETS] = {{0}};
  for (size_t k = 0; k < size; k++) {
    key[k] = (uint32_t)key_of(x[k * S]) ^ 0x80000000u;
    place[k] = (uint32_t)k;
    for (int d = 0; d < DIGITS; d++) count[d][key[k] >> (d * DIGIT) & (BUCKETS - 1)]++;
  }
  for (int d = 0; d < DIGITS; d += 2) {
    radix_pass(key2, place2, key, place, size, count[d], d * DIGIT);
    radix_pass(key, place, key2, place2, size, count[d + 1], (d + 1) * DIGIT);
  }
  for (size_t k = 0; k < size; k++) {
    y[k * S] = value_of((int32_t)(key[k] ^ 0x80000000u));
    from[k * S] = place[k];
  }
}

void lip_lanesort(float *y, float *from, const float *x, size_t n, size_t size, size_t S, void *scratch) {
  uint32_t *index = (uint32_t *)(void *)from;
  if (size == 2 && S == 1) {
    sort_pairs(y, index, x, n / 2);
    return;
  }
  if (size <= NETWORK_MAX) {
    sort_lanes(y, index, x, n, size, S, scratch);
    return;
  }
  for (size_t t = 0; t < n / size; t++) {
    size_t at = start_of(t, size, S);
    sort_one(y + at, index + at, x + at, size, S, scratch);
  }
}

void lip_lanesort_back(float *dx, const float *dy, const float *from, size_t n, size_t size, size_t S) {
  const uint32_t *index = (const uint32_t *)(const void *)from;
  for (size_t t = 0; t < n / size; t++) {
    size_t at = start_of(t, size, S);
    for (size_t k = 0; k < size; k++) dx[at + index[at + k * S] * S] = dy[at + k * S];
  }
}
