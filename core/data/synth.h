/* Data made up here: no file, no network. */
#ifndef LIP_DATA_SYNTH_H
#define LIP_DATA_SYNTH_H

#include "core/base/error.h"
#include "core/data/dataset.h"

/* n images 1 x 28 x 28 of the digits 0-9, drawn as pen strokes with a random slant, size, place, thickness, wobble and
 * noise. Sample i depends on (seed, i) only, so a larger set begins with the smaller one. LIP_SHAPE, LIP_MEMORY. */
lip_status lip_synth_digits(size_t n, uint64_t seed, lip_dataset **out, lip_err *err);

#endif
