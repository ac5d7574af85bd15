/* base: status texts, memory and its failure hook, random numbers, threads, text buffer. */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/base/str.h"
#include "core/base/thread.h"

static void every_status_has_a_name(void **state) {
  (void)state;
  for (int i = 0; i < LIP_STATUS_COUNT; i++) {
    assert_true(strlen(lip_status_name((lip_status)i)) > 0);
    assert_true(strlen(lip_status_text((lip_status)i)) > 0);
  }
  assert_string_equal(lip_status_name((lip_status)999), "unknown");
}

static void allocation_is_zeroed_aligned_and_counted(void **state) {
  (void)state;
  size_t before = lip_mem_used();
  unsigned char *p = lip_alloc(3, 33);
  assert_non_null(p);
  assert_int_equal((uintptr_t)p % LIP_ALIGN, 0);
  for (int i = 0; i < 99; i++) assert_int_equal(p[i], 0);
  assert_int_equal(lip_mem_used() - before, 99);
  p[98] = 7;
  p = lip_realloc(p, 1000, 1);
  assert_int_equal(p[98], 7);
  assert_int_equal(p[999], 0);
  lip_free(p);
  assert_int_equal(lip_mem_used(), before);
  assert_null(lip_alloc(SIZE_MAX, 2));
}

static void nth_allocation_fails_once(void **state) {
  (void)state;
  lip_mem_fail_nth(2);
  void *a = lip_alloc(1, 1), *b = lip_alloc(1, 1), *c = lip_alloc(1, 1);
  assert_non_null(a);
  assert_null(b);
  assert_non_null(c);
  assert_true(lip_mem_failed());
  lip_mem_fail_nth(0);
  lip_free(a);
  lip_free(c);
}

/* Known answers published with the Random123 library. */
static void philox_known_answers(void **state) {
  (void)state;
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } row[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    uint32_t out[4];
    lip_philox(row[i].counter, row[i].key, out);
    assert_memory_equal(out, row[i].out, sizeof out);
  }
}

static void rng_resumes_anywhere(void **state) {
  (void)state;
  lip_rng a = lip_rng_new(5, LIP_RNG_SHUFFLE, 3);
  for (int i = 0; i < 37; i++) {
    lip_rng b = lip_rng_at(a.key, a.stream, a.position);
    assert_int_equal(lip_rng_u32(&a), lip_rng_u32(&b));
  }
  lip_rng init = lip_rng_new(5, LIP_RNG_INIT, 3), drop = lip_rng_new(5, LIP_RNG_DROPOUT, 3);
  assert_true(lip_rng_u64(&init) != lip_rng_u64(&drop));
}

static void normal_and_below_have_the_right_moments(void **state) {
  (void)state;
  enum { N = 200000 };
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  double sum = 0, square = 0;
  size_t seen[7] = {0};
  for (int i = 0; i < N; i++) {
    double x = lip_rng_normal(&rng);
    sum += x;
    square += x * x;
    seen[lip_rng_below(&rng, 7)]++;
  }
  assert_true(fabs(sum / N) < 5 / sqrt(N));
  assert_true(fabs(square / N - 1) < 5 * sqrt(2.0 / N));
  for (int i = 0; i < 7; i++) assert_true(fabs((double)seen[i] - N / 7.0) < 5 * sqrt(N / 7.0));
}

static void permutation_is_a_permutation(void **state) {
  (void)state;
  uint32_t index[100];
  int count[100] = {0};
  lip_rng rng = lip_rng_new(2, LIP_RNG_SHUFFLE, 0);
  lip_rng_permute(&rng, index, 100);
  for (int i = 0; i < 100; i++) count[index[i]]++;
  for (int i = 0; i < 100; i++) assert_int_equal(count[i], 1);
}

typedef struct job {
  size_t n;
  double out[1000];
  size_t seen[LIP_MAX_THREADS];
} job;

static void square_task(void *arg, const lip_worker *me) {
  job *j = arg;
  size_t begin, end;
  lip_share(me, j->n, 16, &begin, &end);
  for (size_t i = begin; i < end; i++) j->out[i] += (double)i * (double)i;
  j->seen[me->id]++;
}

static void pool_covers_every_index_once(void **state) {
  (void)state;
  static const size_t threads[] = {1, 2, 3, 4, 7};
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    lip_err err;
    lip_pool *pool = lip_pool_new(threads[t], &err);
    assert_non_null(pool);
    job j = {.n = 1000};
    for (int round = 1; round <= 50; round++) {
      lip_pool_run(pool, true, square_task, &j);
      for (size_t i = 0; i < 1000; i += 111) assert_true(j.out[i] == round * (double)i * (double)i);
    }
    for (size_t i = 0; i < threads[t]; i++) assert_int_equal(j.seen[i], 50);
    lip_pool_free(pool);
  }
}

static void denormal_task(void *arg, const lip_worker *me) {
  volatile float tiny = 0x1p-126f;
  ((float *)arg)[me->id] = tiny * 0.5f;
}

static void flush_mode_stays_inside(void **state) {
  (void)state;
  lip_pool *pool = lip_pool_new(2, NULL);
  float out[2];
  lip_pool_run(pool, true, denormal_task, out);
  assert_true(out[0] == 0 && out[1] == 0);
  volatile float tiny = 0x1p-126f;
  assert_true(tiny * 0.5f != 0);
  lip_pool_run(pool, false, denormal_task, out);
  assert_true(out[0] != 0 && out[1] != 0);
  lip_pool_free(pool);
}

/* 1 + 2^-30 in float32: 1 to nearest, more when rounded upwards. */
static void rounding_task(void *arg, const lip_worker *me) {
  volatile float one = 1, bit = 0x1p-30f;
  ((float *)arg)[me->id] = one + bit;
}

static void rounding_mode_stays_outside(void **state) {
  (void)state;
  fesetround(FE_UPWARD); /* before the threads are made: they inherit it */
  for (size_t threads = 1; threads <= 3; threads++) {
    lip_pool *pool = lip_pool_new(threads, NULL);
    for (int flush = 0; flush < 2; flush++) {
      float out[3] = {1, 1, 1};
      lip_pool_run(pool, flush, rounding_task, out);
      assert_int_equal(fegetround(), FE_UPWARD);
      for (size_t i = 0; i < 3; i++) assert_true(out[i] == 1);
    }
    lip_pool_free(pool);
  }
  volatile float one = 1, bit = 0x1p-30f;
  assert_true(one + bit > 1);
  fesetround(FE_TONEAREST);
}

static void slow_task(void *arg, const lip_worker *me) {
  nanosleep(&(struct timespec){0, me->id == 0 ? 20000000 : 0}, NULL);
  atomic_fetch_add((atomic_uint *)arg, 1u << 4 * me->id);
}

/* Shares that a thread has not begun are run by another, each exactly once, and none is left over for later regions. */
static void shares_of_late_threads_are_taken(void **state) {
  (void)state;
  lip_pool *pool = lip_pool_new(7, NULL);
  for (int round = 0; round < 20; round++) {
    atomic_uint seen = 0;
    lip_pool_run(pool, round % 2, slow_task, &seen);
    assert_int_equal(atomic_load(&seen), 0x1111111);
  }
  lip_pool_free(pool);
}

static void pools_have_a_limit(void **state) {
  (void)state;
  lip_err err;
  assert_null(lip_pool_new(LIP_MAX_THREADS + 1, &err));
  assert_int_equal(err.code, LIP_ARGUMENT);
}

static void text_buffer_grows_and_survives_failure(void **state) {
  (void)state;
  lip_str s = {0};
  for (int i = 0; i < 1000; i++) lip_str_printf(&s, "%d,", i);
  assert_int_equal(s.len, 10 * 2 + 90 * 3 + 900 * 4);
  size_t len = s.len;
  lip_mem_fail_nth(1);
  while (!s.failed) lip_str_puts(&s, "some more text");
  assert_true(s.len >= len && s.text[s.len] == '\0');
  lip_mem_fail_nth(0);
  lip_str_free(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_status_has_a_name),
      cmocka_unit_test(allocation_is_zeroed_aligned_and_counted),
      cmocka_unit_test(nth_allocation_fails_once),
      cmocka_unit_test(philox_known_answers),
      cmocka_unit_test(rng_resumes_anywhere),
      cmocka_unit_test(normal_and_below_have_the_right_moments),
      cmocka_unit_test(permutation_is_a_permutation),
      cmocka_unit_test(pool_covers_every_index_once),
      cmocka_unit_test(flush_mode_stays_inside),
      cmocka_unit_test(rounding_mode_stays_outside),
      cmocka_unit_test(shares_of_late_threads_are_taken),
      cmocka_unit_test(pools_have_a_limit),
      cmocka_unit_test(text_buffer_grows_and_survives_failure),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
