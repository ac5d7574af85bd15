/* Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random
 * numbers: as easy as 1, 2, 3"). State is explicit, so a run can be resumed bit for bit, and a
 * value depends only on (seed, purpose, stream, position): never on the number of threads. */
#ifndef LIP_BASE_RNG_H
#define LIP_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* Streams that must not disturb each other. Stored in checkpoints: append only. */
typedef enum lip_purpose {
  LIP_RNG_INIT,
  LIP_RNG_SHUFFLE,
  LIP_RNG_DROPOUT,
  LIP_RNG_ATTACK,
  LIP_RNG_DATA,
  LIP_RNG_USER
} lip_purpose;

/* Plain values: copying the struct copies the generator. (key, stream, position) is the whole state. */
typedef struct lip_rng {
  uint64_t key;
  uint64_t stream;
  uint64_t position; /* 32-bit words drawn so far */
  uint32_t block[4]; /* words of the block that `position` stands in, once it has entered it */
} lip_rng;

/* The block function: 10 rounds, 128-bit counter, 64-bit key. */
void lip_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Generator for one purpose of one seed; `stream` tells apart layers, epochs, ... */
lip_rng lip_rng_new(uint64_t seed, lip_purpose purpose, uint64_t stream);

/* A generator put back where a stored (key, stream, position) says. */
lip_rng lip_rng_at(uint64_t key, uint64_t stream, uint64_t position);

uint32_t lip_rng_u32(lip_rng *rng);
uint64_t lip_rng_u64(lip_rng *rng);
/* Uniform in [0, 1), 53 bits. */
double lip_rng_uniform(lip_rng *rng);
/* Standard normal (Box and Muller 1958); always draws the same number of words. */
double lip_rng_normal(lip_rng *rng);
/* Uniform integer in [0, n), unbiased (Lemire 2019); n > 0. */
uint64_t lip_rng_below(lip_rng *rng, uint64_t n);

/* Fills. */
void lip_rng_fill_uniform(lip_rng *rng, float *x, size_t n, float low, float high);
void lip_rng_fill_normal(lip_rng *rng, float *x, size_t n, float mean, float deviation);
/* Random permutation of 0..n-1 (Fisher-Yates). */
void lip_rng_permute(lip_rng *rng, uint32_t *index, size_t n);

#endif
