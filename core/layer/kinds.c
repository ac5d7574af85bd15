/* The table of kinds: here and not in layer.c, which the rows call. */
#include "core/base/registry.h"
#include "core/layer/layer.h"

#define LIP_LAYER(name) extern const lip_layer_kind lip_layer_##name;
#include "core/layer/layers.def"
#undef LIP_LAYER

static const lip_layer_kind *const kinds[] = {
#define LIP_LAYER(name) &lip_layer_##name,
#include "core/layer/layers.def"
#undef LIP_LAYER
};

LIP_REGISTRY(lip_layer_kind, lip_layer_kind, kinds, desc.name)
