/* The table of kinds: here and not in attack.c, which the rows call. */
#include "core/attack/search.h"
#include "core/base/registry.h"

#define LIP_ATTACK(name) extern const lip_attack_kind lip_attack_##name;
#include "core/attack/attacks.def"
#undef LIP_ATTACK

static const lip_attack_kind *const kinds[] = {
#define LIP_ATTACK(name) &lip_attack_##name,
#include "core/attack/attacks.def"
#undef LIP_ATTACK
};

LIP_REGISTRY(lip_attack_kind, lip_attack_kind, kinds, name)

const char *lip_attack_kind_name(const lip_attack_kind *kind) {
  return kind->name;
}
const char *lip_attack_kind_help(const lip_attack_kind *kind) {
  return kind->help;
}
