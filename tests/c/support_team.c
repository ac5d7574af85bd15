#include "support_team.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/tensor/gemm.h"

lip_team new_team(size_t threads) {
  lip_team t = {.each = (lip_gemm_scratch() + 64) / 64 * 64};
  lip_err err = {0};
  t.pool = lip_pool_new(threads, &err);
  t.scratch = lip_alloc(threads, t.each);
  assert_non_null(t.pool);
  assert_non_null(t.scratch);
  return t;
}

void free_team(lip_team *t) {
  lip_pool_free(t->pool);
  lip_free(t->scratch);
}
