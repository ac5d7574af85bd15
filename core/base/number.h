/* Numbers in texts for machines: with a point, whatever locale the process is in. Everything in the engine that writes or
 * reads a floating-point number as text does it between enter and leave, or through lip_snprintf, lip_str_printf and
 * lip_fail, which do so themselves. */
#ifndef LIP_BASE_NUMBER_H
#define LIP_BASE_NUMBER_H

#include <stddef.h>

#include "core/base/error.h"

/* From here to lip_number_leave this thread, and no other, is in the C locale. Pairs may be nested; neither fails. */
void lip_number_enter(void);
void lip_number_leave(void);

/* As snprintf, in the C locale. */
int lip_snprintf(char *to, size_t size, const char *fmt, ...) LIP_PRINTF(3, 4);

#endif
