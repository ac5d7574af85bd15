/* Texts packed and unpacked in memory: round trips, damage, limits, and every allocation failing once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/data/gz.h"

enum { N = 100000 };

/* Half of it can be packed, half of it is noise. */
static unsigned char *new_text(void) {
  unsigned char *text = lip_alloc(N, 1);
  assert_non_null(text);
  uint32_t x = 1;
  for (size_t i = 0; i < N; i++) {
    x = x * 1664525u + 1013904223u; /* Numerical Recipes' generator: only has to look random */
    text[i] = i % 4096 < 2048 ? (unsigned char)(i % 7) : (unsigned char)(x >> 24);
  }
  return text;
}

static void round_trips(void **state) {
  (void)state;
  unsigned char *text = new_text();
  static const size_t sizes[] = {0, 1, 2, 1000, 65536, N};
  for (int as = LIP_GZIP; as <= LIP_ZLIB; as++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      char *packed, *back;
      size_t n, m;
      lip_err err;
      assert_int_equal(lip_deflate(text, sizes[i], (lip_packing)as, &packed, &n, &err), LIP_OK);
      assert_int_equal(lip_inflate(packed, n, sizes[i], &back, &m, &err), LIP_OK);
      assert_int_equal(m, sizes[i]);
      assert_memory_equal(back, text, m);
      assert_int_equal(back[m], '\0');
      lip_free(back);
      if (sizes[i] > 0) {
        assert_int_equal(lip_inflate(packed, n, sizes[i] - 1, &back, &m, &err), LIP_FORMAT);
        assert_null(back);
      }
      lip_free(packed);
    }
  lip_free(text);
}

/* A bomb costs no more than the limit allows: 4 MB of zeros in a few kilobytes. */
static void a_limit_is_kept(void **state) {
  (void)state;
  size_t n, m, zeros = (size_t)4 << 20;
  char *text = lip_alloc(zeros, 1), *packed, *back;
  lip_err err;
  assert_non_null(text);
  assert_int_equal(lip_deflate(text, zeros, LIP_GZIP, &packed, &n, &err), LIP_OK);
  assert_true(n < 8192);
  lip_free(text);
  size_t before = lip_mem_limit((size_t)1 << 18);
  assert_int_equal(lip_inflate(packed, n, 20000, &back, &m, &err), LIP_FORMAT);
  assert_null(back);
  lip_mem_limit(before);
  lip_free(packed);
}

/* Every byte changed in turn is noticed, but for those that a gzip header leaves open (time, flags of the packer). */
static void damage_is_noticed(void **state) {
  (void)state;
  char *packed, *back;
  size_t n, m;
  lip_err err;
  assert_int_equal(lip_deflate("a text that is damaged", 22, LIP_GZIP, &packed, &n, &err), LIP_OK);
  for (size_t i = 10; i < n; i++) {
    packed[i] = (char)(packed[i] ^ 0x15);
    assert_int_equal(lip_inflate(packed, n, 1000, &back, &m, &err), LIP_FORMAT);
    assert_null(back);
    packed[i] = (char)(packed[i] ^ 0x15);
  }
  for (size_t cut = 0; cut < n; cut++)
    assert_int_equal(lip_inflate(packed, cut, 1000, &back, &m, &err), LIP_FORMAT);
  lip_free(packed);
}

static void no_memory(void **state) {
  (void)state;
  unsigned char *text = new_text();
  char *packed, *back;
  size_t n, m, used = 0;
  lip_err err;
  for (size_t k = 1;; k++) {
    used = lip_mem_used();
    lip_mem_fail_nth(k);
    lip_status s = lip_deflate(text, N, LIP_GZIP, &packed, &n, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    if (!failed) {
      assert_int_equal(s, LIP_OK);
      break;
    }
    assert_int_equal(s, LIP_MEMORY);
    assert_null(packed);
    assert_int_equal(lip_mem_used(), used);
    assert_true(k < 100);
  }
  for (size_t k = 1;; k++) {
    used = lip_mem_used();
    lip_mem_fail_nth(k);
    lip_status s = lip_inflate(packed, n, N, &back, &m, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    if (!failed) {
      assert_int_equal(s, LIP_OK);
      assert_memory_equal(back, text, N);
      lip_free(back);
      break;
    }
    assert_int_equal(s, LIP_MEMORY);
    assert_null(back);
    assert_int_equal(lip_mem_used(), used);
    assert_true(k < 100);
  }
  lip_free(packed);
  lip_free(text);
}

static void checksums(void **state) {
  (void)state;
  assert_int_equal(lip_crc32(0, "123456789", 9), 0xcbf43926); /* the catalogue's check value of CRC-32 */
  assert_int_equal(lip_crc32(lip_crc32(0, "1234", 4), "56789", 5), 0xcbf43926);
  assert_int_equal(lip_crc32(0, "", 0), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trips), cmocka_unit_test(a_limit_is_kept), cmocka_unit_test(damage_is_noticed),
      cmocka_unit_test(no_memory),   cmocka_unit_test(checksums),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
