/* The tables of kinds: as many rows as their .def files, each found by its own name and by no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/attack/attack.h"
#include "core/bound/method.h"
#include "core/layer/layer.h"
#include "core/net/loss.h"
#include "core/net/optim.h"
#include "core/net/schedule.h"

typedef struct row {
  const void *row;
  const char *name;
} row;

/* at: row i, NULL in both past the end; find: by name. */
static void check_table(row (*at)(size_t i), const void *(*find)(const char *name), size_t rows) {
  for (size_t i = 0; i < rows; i++) {
    row r = at(i);
    assert_non_null(r.row);
    assert_ptr_equal(find(r.name), r.row);
    for (size_t j = 0; j < i; j++) assert_string_not_equal(at(j).name, r.name);
    char longer[80] = {0}, shorter[80] = {0};
    size_t n = strlen(r.name);
    memcpy(longer, r.name, n);
    memcpy(shorter, r.name, n - 1);
    longer[n] = '_';
    assert_null(find(longer));
    const void *other = find(shorter); /* adamw without its last letter is adam */
    assert_true(other == NULL || other != r.row);
  }
  assert_null(at(rows).row);
  assert_null(at(rows + 1).row);
  assert_null(at(SIZE_MAX).row);
  assert_null(find(""));
  assert_null(find("best"));
}

#define TABLE(word, kind, prefix, name_of)                                                                   \
  static row word##_at(size_t i) {                                                                           \
    const kind *k = prefix##_at(i);                                                                          \
    return k ? (row){k, name_of} : (row){0};                                                                 \
  }                                                                                                          \
  static const void *word##_find(const char *name) {                                                         \
    return prefix##_find(name);                                                                              \
  }

TABLE(layer, lip_layer_kind, lip_layer_kind, k->desc.name)
TABLE(loss, lip_loss_kind, lip_loss_kind, k->desc.name)
TABLE(optim, lip_optim_kind, lip_optim_kind, k->desc.name)
TABLE(schedule, lip_schedule_kind, lip_schedule_kind, k->desc.name)
TABLE(method, lip_method, lip_method, k->name)
TABLE(attack, lip_attack_kind, lip_attack_kind, lip_attack_kind_name(k))

static void all_tables(void **state) {
  (void)state;
  enum {
#define LIP_LAYER(name) LAYER_##name,
#include "core/layer/layers.def"
    LAYERS,
  };
  enum {
#define LIP_LOSS(name) LOSS_##name,
#include "core/net/losses.def"
    LOSSES,
  };
  enum {
#define LIP_OPTIM(name) OPTIM_##name,
#include "core/net/optims.def"
    OPTIMS,
  };
  enum {
#define LIP_SCHEDULE(name) SCHEDULE_##name,
#include "core/net/schedules.def"
    SCHEDULES,
  };
  enum {
#define LIP_METHOD(name) METHOD_##name,
#include "core/bound/methods.def"
    METHODS,
  };
  enum {
#define LIP_ATTACK(name) ATTACK_##name,
#include "core/attack/attacks.def"
    ATTACKS,
  };
  check_table(layer_at, layer_find, LAYERS);
  check_table(loss_at, loss_find, LOSSES);
  check_table(optim_at, optim_find, OPTIMS);
  check_table(schedule_at, schedule_find, SCHEDULES);
  check_table(method_at, method_find, METHODS);
  check_table(attack_at, attack_find, ATTACKS);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(all_tables)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
