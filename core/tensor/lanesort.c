/* Short sequences go through Batcher's merge exchange network (Knuth 1998, section 5.2.2, algorithm M: any length,
 * about n (log2 n)^2 / 4 comparators), LANES sequences side by side, so that a comparator is a few vector operations
 * and there is no branch on data. The network is not stable by itself: the place is the low half of the key. Long sequences
 * are radix-sorted one by one in linear time. */
#include "core/tensor/lanesort.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"

enum { LANES = 16, NETWORK_MAX = 512, PIECE = 16, DIGIT = 8, DIGITS = 4, BUCKETS = 1 << DIGIT };

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
  return size <= NETWORK_MAX ? size * LANES * sizeof(int64_t) : 4 * size * sizeof(uint32_t);
}

/* ---- network ---- */

/* A key with the place in its low half: one comparison of 64 bits decides, and no two are equal. */
LIP_INLINE int64_t word_of(float x, size_t place) {
  return (int64_t)((uint64_t)(uint32_t)key_of(x) << 32 | place);
}

/* Comparators (a[e], b[e]) for e < n. One long loop over whole runs of comparators: a loop over the lanes of one
 * alone is unrolled into scalars by gcc before it can become vectors. */
LIP_INLINE void exchange(int64_t *restrict a, int64_t *restrict b, size_t n) {
  for (size_t e = 0; e < n; e++) {
    int64_t x = a[e], y = b[e];
    a[e] = x < y ? x : y;
    b[e] = x < y ? y : x;
  }
}

/* In Knuth's loop over i the comparators with (i & p) == r come in runs of p, and d >= p keeps a run's two sides
 * apart. */
LIP_HOT static void network(int64_t *word, size_t n) {
  size_t top = 1;
  if (n < 2) return;
  while (2 * top < n) top *= 2;
  for (size_t p = top; p > 0; p /= 2)
    for (size_t q = top, r = 0, d = p;; d = q - p, q /= 2, r = p) {
      for (size_t i = r; i + d < n; i += 2 * p) {
        size_t run = n - d - i < p ? n - d - i : p;
        exchange(word + i * LANES, word + (i + d) * LANES, run * LANES);
      }
      if (q == p) break;
    }
}

/* Sequence number t starts at element (t / S) * size * S + t % S and steps by S. */
LIP_INLINE size_t start_of(size_t t, size_t size, size_t S) {
  return S == 1 ? t * size : t / S * size * S + t % S;
}

LIP_HOT static void load(int64_t *restrict word, const float *restrict x, const size_t at[LANES], size_t size,
                         size_t S) {
  for (size_t k = 0; k < size; k++)
    for (size_t l = 0; l < LANES; l++) word[k * LANES + l] = word_of(x[at[l] + k * S], k);
}

LIP_HOT static void store(float *restrict y, uint32_t *restrict from, const int64_t *restrict word,
                          const size_t at[LANES], size_t used, size_t size, size_t S) {
  for (size_t l = 0; l < used; l++)
    for (size_t k = 0; k < size; k++) {
      y[at[l] + k * S] = value_of((int32_t)(word[k * LANES + l] >> 32));
      from[at[l] + k * S] = (uint32_t)word[k * LANES + l];
    }
}

typedef int64_t four __attribute__((vector_size(32)));

#if defined(__clang__)
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (four){i, j, k, l})
#endif

/* to[i * out + j] = from[j * in + i] for four i and four j. */
LIP_INLINE void transpose(int64_t *restrict to, size_t out, const int64_t *restrict from, size_t in) {
  four a, b, c, d;
  memcpy(&a, from, sizeof a);
  memcpy(&b, from + in, sizeof b);
  memcpy(&c, from + 2 * in, sizeof c);
  memcpy(&d, from + 3 * in, sizeof d);
  four ab = SHUFFLE(a, b, 0, 4, 2, 6), ba = SHUFFLE(a, b, 1, 5, 3, 7);
  four cd = SHUFFLE(c, d, 0, 4, 2, 6), dc = SHUFFLE(c, d, 1, 5, 3, 7);
  a = SHUFFLE(ab, cd, 0, 1, 4, 5);
  b = SHUFFLE(ba, dc, 0, 1, 4, 5);
  c = SHUFFLE(ab, cd, 2, 3, 6, 7);
  d = SHUFFLE(ba, dc, 2, 3, 6, 7);
  memcpy(to, &a, sizeof a);
  memcpy(to + out, &b, sizeof b);
  memcpy(to + 2 * out, &c, sizeof c);
  memcpy(to + 3 * out, &d, sizeof d);
}

/* The same for LANES sequences one after the other, of a size that four divides: words are made and taken apart in
 * order, and turned in blocks of four by four. `piece`, a constant where it is called, divides the size. */
LIP_INLINE void turn_in(int64_t *restrict word, const float *restrict x, size_t size, size_t piece) {
  int64_t in[LANES * PIECE];
  for (size_t k = 0; k < size; k += piece) {
    for (size_t l = 0; l < LANES; l++)
      for (size_t i = 0; i < piece; i++) in[l * piece + i] = word_of(x[l * size + k + i], k + i);
    for (size_t i = 0; i < piece; i += 4)
      for (size_t l = 0; l < LANES; l += 4)
        transpose(word + (k + i) * LANES + l, LANES, in + l * piece + i, piece);
  }
}

LIP_INLINE void turn_out(float *restrict y, uint32_t *restrict from, const int64_t *restrict word,
                         size_t size, size_t piece) {
  int64_t out[LANES * PIECE];
  for (size_t k = 0; k < size; k += piece) {
    for (size_t l = 0; l < LANES; l += 4)
      for (size_t i = 0; i < piece; i += 4)
        transpose(out + l * piece + i, piece, word + (k + i) * LANES + l, LANES);
    for (size_t l = 0; l < LANES; l++)
      for (size_t i = 0; i < piece; i++) {
        y[l * size + k + i] = value_of((int32_t)(out[l * piece + i] >> 32));
        from[l * size + k + i] = (uint32_t)out[l * piece + i];
      }
  }
}

LIP_HOT static void load_turned(int64_t *restrict word, const float *restrict x, size_t size) {
  if (size % 16 == 0)
    turn_in(word, x, size, 16);
  else if (size % 8 == 0)
    turn_in(word, x, size, 8);
  else
    turn_in(word, x, size, 4);
}

LIP_HOT static void store_turned(float *restrict y, uint32_t *restrict from, const int64_t *restrict word,
                                 size_t size) {
  if (size % 16 == 0)
    turn_out(y, from, word, size, 16);
  else if (size % 8 == 0)
    turn_out(y, from, word, size, 8);
  else
    turn_out(y, from, word, size, 4);
}

static void sort_lanes(float *y, uint32_t *from, const float *x, size_t n, size_t size, size_t S,
                       void *scratch) {
  int64_t *word = scratch;
  for (size_t t = 0; t < n / size; t += LANES) {
    size_t at[LANES], used = n / size - t < LANES ? n / size - t : LANES;
    bool turned = S == 1 && size % 4 == 0 && used == LANES;
    for (size_t l = 0; l < LANES; l++) at[l] = start_of(t + (l < used ? l : 0), size, S);
    if (turned)
      load_turned(word, x + at[0], size);
    else
      load(word, x, at, size, S);
    network(word, size);
    if (turned)
      store_turned(y + at[0], from + at[0], word, size);
    else
      store(y, from, word, at, used, size, S);
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

LIP_HOT static void pairs_back(float *restrict dx, const float *restrict dy, const uint32_t *restrict from,
                               size_t pairs) {
  for (size_t i = 0; i < pairs; i++) {
    float a = dy[2 * i], b = dy[2 * i + 1];
    uint32_t swap = from[2 * i];
    dx[2 * i] = swap ? b : a;
    dx[2 * i + 1] = swap ? a : b;
  }
}

void lip_lanesort_back(float *dx, const float *dy, const float *from, size_t n, size_t size, size_t S) {
  const uint32_t *index = (const uint32_t *)(const void *)from;
  if (size == 2 && S == 1) {
    pairs_back(dx, dy, index, n / 2);
    return;
  }
  for (size_t t = 0; t < n / size; t++) {
    size_t at = start_of(t, size, S);
    for (size_t k = 0; k < size; k++) dx[at + index[at + k * S] * S] = dy[at + k * S];
  }
}
