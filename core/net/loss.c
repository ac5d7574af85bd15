#include "core/net/loss.h"

#include <string.h>

#define LIP_LOSS(name) extern const lip_loss_kind lip_loss_##name;
#include "core/net/losses.def"
#undef LIP_LOSS

static const lip_loss_kind *const kinds[] = {
#define LIP_LOSS(name) &lip_loss_##name,
#include "core/net/losses.def"
#undef LIP_LOSS
};

const lip_loss_kind *lip_loss_kind_at(size_t i) {
  return i < sizeof kinds / sizeof *kinds ? kinds[i] : NULL;
}

const lip_loss_kind *lip_loss_kind_find(const char *name) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i]->desc.name, name) == 0) return kinds[i];
  return NULL;
}
