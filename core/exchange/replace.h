/* Files that an export writes under names of its own making: what stands there and is somebody's work stays. */
#ifndef LIP_EXCHANGE_REPLACE_H
#define LIP_EXCHANGE_REPLACE_H

#include "core/base/error.h"

/* LIP_OK: nothing is at `path`, or an empty file, or a text that begins with `mark`, which such exports begin with. LIP_IO: a
 * file that something else has written, or one that cannot be read. */
lip_status lip_replace_text(const char *path, const char *mark, lip_err *err);
/* The same of a safetensors file that net:export{torch =} writes: its metadata say so. */
lip_status lip_replace_arrays(const char *path, lip_err *err);

#endif
