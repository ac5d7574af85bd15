#include "core/net/loss.h"

#include "core/base/registry.h"

#define LIP_LOSS(name) extern const lip_loss_kind lip_loss_##name;
#include "core/net/losses.def"
#undef LIP_LOSS

static const lip_loss_kind *const kinds[] = {
#define LIP_LOSS(name) &lip_loss_##name,
#include "core/net/losses.def"
#undef LIP_LOSS
};

LIP_REGISTRY(lip_loss_kind, lip_loss_kind, kinds, desc.name)
