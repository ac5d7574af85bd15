#include "core/data/sha256.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_SHA_NI
#include <cpuid.h>
#include <immintrin.h>
#endif

/* FIPS 180-4, section 4.2.2: fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_key[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotr(uint32_t x, int n) {
  return x >> n | x << (32 - n);
}

static uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* FIPS 180-4, section 6.2.2. */
static void blocks_plain(uint32_t state[8], const uint8_t *p, size_t blocks) {
  for (; blocks > 0; blocks--, p += 64) {
    uint32_t w[64];
    for (int t = 0; t < 16; t++) w[t] = big_endian(p + 4 * t);
    for (int t = 16; t < 64; t++) {
      uint32_t x = w[t - 15], y = w[t - 2];
      w[t] =
          w[t - 16] + (rotr(x, 7) ^ rotr(x, 18) ^ x >> 3) + w[t - 7] + (rotr(y, 17) ^ rotr(y, 19) ^ y >> 10);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int t = 0; t < 64; t++) {
      uint32_t t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + round_key[t] + w[t];
      uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1;
      d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t add[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) state[i] += add[i];
  }
}

#ifdef HAVE_SHA_NI
/* The same with the x86 SHA extensions (Intel, "SHA extensions", 2013): two rounds per instruction, the state kept
 * as the word pairs ABEF and CDGH that the instruction wants. */
__attribute__((target("sha,sse4.1,ssse3"))) static void blocks_fast(uint32_t state[8], const uint8_t *p,
                                                                    size_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  __m128i abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
  __m128i cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);
  for (; blocks > 0; blocks--, p += 64) {
    __m128i abef0 = abef, cdgh0 = cdgh, w[4];
    for (int i = 0; i < 4; i++)
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      __m128i now = w[i % 4];
      __m128i k = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(const void *)(round_key + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e));
      /* message words 16 steps ahead replace those just used */
      __m128i last = w[(i + 3) % 4];
      __m128i sum =
          _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) % 4]), _mm_alignr_epi8(last, w[(i + 2) % 4], 4));
      w[i % 4] = _mm_sha256msg2_epu32(sum, last);
    }
    abef = _mm_add_epi32(abef, abef0);
    cdgh = _mm_add_epi32(cdgh, cdgh0);
  }
  uint32_t x[4], y[4];
  _mm_storeu_si128((__m128i *)(void *)x, abef);
  _mm_storeu_si128((__m128i *)(void *)y, cdgh);
  const uint32_t out[8] = {x[3], x[2], y[3], y[2], x[1], x[0], y[1], y[0]};
  memcpy(state, out, sizeof out);
}

static int processor_has_sha(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 29)) return 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 19) && (c & 1u << 9);
}
#else
static void blocks_fast(uint32_t state[8], const uint8_t *p, size_t blocks) {
  blocks_plain(state, p, blocks);
}

static int processor_has_sha(void) {
  return 0;
}
#endif

static atomic_int fast = -1; /* -1: not asked yet */

static void run_blocks(uint32_t state[8], const uint8_t *p, size_t blocks) {
  int use = atomic_load_explicit(&fast, memory_order_relaxed);
  if (use < 0) atomic_store(&fast, use = processor_has_sha());
  if (use)
    blocks_fast(state, p, blocks);
  else
    blocks_plain(state, p, blocks);
}

void lip_sha256_allow_fast(int allow) {
  atomic_store(&fast, allow ? -1 : 0);
}

void lip_sha256_init(lip_sha256 *h) {
  /* FIPS 180-4, section 5.3.3 */
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(h->state, start, sizeof start);
  h->length = 0;
}

void lip_sha256_add(lip_sha256 *h, const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  size_t held = (size_t)(h->length % 64);
  h->length += n;
  if (held > 0) {
    size_t take = n < 64 - held ? n : 64 - held;
    if (take > 0) memcpy(h->block + held, p, take);
    if (held + take < 64) return;
    run_blocks(h->state, h->block, 1);
    p += take;
    n -= take;
  }
  run_blocks(h->state, p, n / 64);
  if (n % 64) memcpy(h->block, p + n / 64 * 64, n % 64);
}

void lip_sha256_end(lip_sha256 *h, uint8_t digest[LIP_SHA256_BYTES]) {
  uint64_t bits = h->length * 8;
  uint8_t tail[72] = {0x80};
  size_t zeros = (size_t)((119 - h->length % 64) % 64); /* the length field ends a block */
  for (int i = 0; i < 8; i++) tail[1 + zeros + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
  lip_sha256_add(h, tail, 1 + zeros + 8);
  for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(h->state[i / 4] >> (24 - 8 * (i % 4)));
}

void lip_sha256_hex(const uint8_t digest[LIP_SHA256_BYTES], char text[65]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < 32; i++) {
    text[2 * i] = digits[digest[i] >> 4];
    text[2 * i + 1] = digits[digest[i] & 15];
  }
  text[64] = '\0';
}
